package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	startTimeout = 10 * time.Second
	dedupeWindow = 10 * time.Minute
	minPayload   = 1 << 20 // what a batch may take

	reviveInterval = 2 * time.Second // between restarts of a server inside the process that is broken
)

// Bus is a stream of batches. It is safe for concurrent use. It fits store.Bus.
type Bus struct {
	cfg     Config
	opts    Options
	log     *slog.Logger
	subject string

	mu      sync.RWMutex
	link    *link
	revived time.Time // when a restart was last tried
	closed  bool
}

// link is a connection and what was made on it.
type link struct {
	server *server.Server // nil on an external server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Options is what the bus needs to know beside its configuration.
type Options struct {
	// Dir is the folder of the server inside the process.
	Dir string
	// After is the last sequence that the lake holds. Sequences go on behind it, also when
	// the stream's folder was removed.
	After uint64
}

// Open starts the server inside the process, or connects to the external one, and makes the stream
// where it is missing. Close ends what it started.
func Open(ctx context.Context, cfg Config, o Options, log *slog.Logger) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	b := &Bus{cfg: cfg, opts: o, log: log, subject: "testudo." + cfg.Stream + ".batch"}
	var err error
	if b.link, err = b.openLink(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Bus) openLink(ctx context.Context) (l *link, err error) {
	l = &link{}
	defer func() {
		if err != nil {
			l.close()
			l = nil
		}
	}()
	existed := false
	if b.cfg.URL == "" {
		_, statErr := os.Stat(b.streamDir())
		existed = statErr == nil
		err = b.startServer(l)
	} else {
		err = b.connect(l)
	}
	if err != nil {
		return l, err
	}
	if l.js, err = jetstream.New(l.conn); err != nil {
		return l, fmt.Errorf("bus: %w", err)
	}
	return l, b.openStream(ctx, l, existed)
}

// streamDir is the stream's folder on the server inside the process.
func (b *Bus) streamDir() string {
	return filepath.Join(b.opts.Dir, "jetstream", "$G", "streams", b.cfg.Stream)
}

func (b *Bus) openStream(ctx context.Context, l *link, existed bool) error {
	ctx, cancel := context.WithTimeout(ctx, max(b.cfg.Timeout, startTimeout))
	defer cancel()
	after := b.opts.After
	stream, err := l.js.Stream(ctx, b.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if existed {
			return fmt.Errorf("bus: the stream in %s is damaged and was not loaded: restore it from a copy, or move the folder away to "+
				"go on without the events that were not yet in the lake", b.streamDir())
		}
		stream, err = l.js.CreateStream(ctx, b.streamConfig(after))
	}
	if err != nil {
		return fmt.Errorf("bus: stream %s: %w", b.cfg.Stream, b.explain(err))
	}
	l.stream = stream
	info := stream.CachedInfo()
	if want := b.streamConfig(0); info.Config.MaxBytes != want.MaxBytes || !info.Config.AllowDirect || info.Config.Discard != want.Discard {
		want.FirstSeq = info.Config.FirstSeq
		if l.stream, err = l.js.UpdateStream(ctx, want); err != nil {
			return fmt.Errorf("bus: stream %s: %w", b.cfg.Stream, b.explain(err))
		}
	}
	if info.State.LastSeq >= after {
		return nil
	}
	if info.State.Msgs > 0 {
		return fmt.Errorf("bus: stream %s is another one than the lake was written from: it ends at batch %d and the lake at %d: "+
			"give this node a stream of its own, or move %s away", b.cfg.Stream, info.State.LastSeq, after, b.where())
	}
	return b.trim(ctx, l, after)
}

func (b *Bus) streamConfig(after uint64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        b.cfg.Stream,
		Description: "batches of testudo events on their way into the lake",
		Subjects:    []string{b.subject},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    int64(b.cfg.MaxSize),
		Storage:     jetstream.FileStorage,
		Duplicates:  dedupeWindow,
		AllowDirect: true,
		FirstSeq:    after + 1,
	}
}

func (b *Bus) where() string {
	if b.cfg.URL == "" {
		return b.streamDir()
	}
	return "the stream"
}

// explain adds what the user can do to errors that come from outside.
func (b *Bus) explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		if b.cfg.URL != "" {
			return fmt.Errorf("%w: the server at %s has JetStream switched off", err, b.cfg.URL)
		}
		return fmt.Errorf("%w: the log says why", err)
	case refused(err):
		return fmt.Errorf("the stream is full: the lake does not take batches as fast as they come, or max_size (%s) is too small: %w", b.cfg.MaxSize, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("no answer within %s: %w", b.cfg.Timeout, err)
	}
	return err
}

// refused reports whether the stream is full, which is no failure of the server.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.Contains(api.Description, "maximum bytes exceeded")
}

var errClosed = errors.New("bus: closed")

func (b *Bus) current() (*link, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed || b.link == nil {
		return nil, errClosed
	}
	return b.link, nil
}

// Publish stores a batch and returns its sequence; see store.Publisher.
func (b *Bus) Publish(ctx context.Context, id string, payload []byte) (uint64, error) {
	l, err := b.current()
	if err != nil {
		return 0, err
	}
	sending, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	ack, err := l.js.Publish(sending, b.subject, payload, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
	if err == nil {
		return ack.Sequence, nil
	}
	if l.server != nil && ctx.Err() == nil && !refused(err) {
		if reviveErr := b.revive(ctx, l); reviveErr != nil {
			return 0, reviveErr
		}
	}
	return 0, fmt.Errorf("bus: %w", b.explain(err))
}

// revive starts the server inside the process anew: after a write that failed, as on a full disk, it
// answers no more. It does so once the disk can be written again, because until then the old
// one can at least be read.
func (b *Bus) revive(ctx context.Context, broken *link) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.link != broken || time.Since(b.revived) < reviveInterval {
		return nil
	}
	b.revived = time.Now()
	if err := probe(b.opts.Dir); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	b.log.Warn("the bus inside the process does not take batches and is started anew")
	broken.close()
	l, err := b.openLink(ctx)
	if err != nil {
		return err // the closed link fails the next publication, which tries again
	}
	b.link = l
	return nil
}

// probe writes as much as a batch and the server's own files take.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 4<<20)); err != nil {
		return err
	}
	return f.Sync()
}

// Bounds returns the sequences of the first and last batch; see store.Log.
func (b *Bus) Bounds(ctx context.Context) (first, last uint64, err error) {
	l, err := b.current()
	if err != nil {
		return 0, 0, err
	}
	return b.bounds(ctx, l)
}

func (b *Bus) bounds(ctx context.Context, l *link) (first, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("bus: %w", b.explain(err))
	}
	if info.State.Msgs == 0 {
		return info.State.LastSeq + 1, info.State.LastSeq, nil
	}
	return info.State.FirstSeq, info.State.LastSeq, nil
}

// Read hands out batches from a sequence on; see store.Log.
func (b *Bus) Read(ctx context.Context, from uint64, yield func(seq uint64, payload []byte) bool) error {
	l, err := b.current()
	if err != nil {
		return err
	}
	first, last, err := b.bounds(ctx, l)
	if err != nil {
		return err
	}
	for seq := max(from, first); seq <= last; {
		msg, err := b.get(ctx, l, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("bus: batch %d: %w", seq, b.explain(err))
		}
		if msg.Sequence > last || !yield(msg.Sequence, msg.Data) {
			return nil
		}
		seq = msg.Sequence + 1
	}
	return nil
}

// get returns the first message at or behind a sequence.
func (b *Bus) get(ctx context.Context, l *link, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	return l.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(b.subject))
}

// Trim forgets batches up to and including a sequence; see store.Log. Where the stream is empty
// its next batch comes behind that sequence.
func (b *Bus) Trim(ctx context.Context, through uint64) error {
	l, err := b.current()
	if err != nil {
		return err
	}
	return b.trim(ctx, l, through)
}

func (b *Bus) trim(ctx context.Context, l *link, through uint64) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)); err != nil {
		return fmt.Errorf("bus: trim: %w", b.explain(err))
	}
	return nil
}

// Health returns nil, or why the server cannot be reached.
func (b *Bus) Health() error {
	l, err := b.current()
	if err != nil || l.conn.IsConnected() {
		return err
	}
	target := b.cfg.URL
	if l.server != nil {
		target = "the server inside the process"
	}
	if err := l.conn.LastError(); err != nil {
		return fmt.Errorf("bus: not connected to %s: %w", target, err)
	}
	return fmt.Errorf("bus: not connected to %s", target)
}

// Close ends the connection and the server inside the process, and returns when its goroutines
// are gone. It may be called twice.
func (b *Bus) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.link.close()
	}
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
	}
	if l.server != nil {
		l.server.Shutdown()
		l.server.WaitForShutdown()
	}
}
