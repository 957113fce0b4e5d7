package privilege

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Keeper is the node's view of the keeper: it hands out the node's ends of links to sensors.
type Keeper struct {
	conn *net.UnixConn

	mu   sync.Mutex
	last News
}

// News is what the keeper says. It says it to the node; the node says nothing.
type News struct {
	// PID of a sensor that was started; with it come two descriptors. 0 where one has ended.
	PID int `json:"pid,omitempty"`
	// Ended says how the last one ended, with its last words.
	Ended string `json:"ended,omitempty"`
	// Again says when another one is started.
	Again time.Duration `json:"again,omitempty"`
}

// maxNews bounds a message of the keeper, in bytes.
const maxNews = 8 << 10

// Last returns what the keeper said last.
func (k *Keeper) Last() News {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// Next waits for a sensor and returns the node's ends of its link. Told of everything that the keeper says meanwhile is
// news, which may be nil. The error wraps ErrNoKeeper when the keeper is gone. One goroutine calls it.
func (k *Keeper) Next(ctx context.Context, news func(News)) (control, records *os.File, err error) {
	stop := context.AfterFunc(ctx, func() { _ = k.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxNews)
	oob := make([]byte, 256)
	for {
		n, m, _, _, err := k.conn.ReadMsgUnix(buf, oob)
		switch {
		case ctx.Err() != nil:
			closeAll(filesOf(oob[:max(m, 0)]))
			return nil, nil, ctx.Err()
		case err != nil || n == 0:
			return nil, nil, ErrNoKeeper
		}
		files := filesOf(oob[:m])
		var said News
		if err := json.Unmarshal(buf[:n], &said); err != nil {
			closeAll(files)
			return nil, nil, fmt.Errorf("what the keeper says is malformed: %w", err)
		}
		k.mu.Lock()
		k.last = said
		k.mu.Unlock()
		if news != nil {
			news(said)
		}
		if said.PID != 0 && len(files) == 2 {
			return files[0], files[1], nil
		}
		closeAll(files)
	}
}

// Close lets the keeper end, and the sensor if one runs.
func (k *Keeper) Close() error { return k.conn.Close() }

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
