package wire

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Link is what joins the two ends. Both are stream sockets that end when the other end does.
type Link struct {
	Control net.Conn
	Records net.Conn
}

// FromFiles makes a link of two open sockets, and closes the files.
func FromFiles(control, records *os.File) (Link, error) {
	defer control.Close()
	defer records.Close()
	c, err := net.FileConn(control)
	if err != nil {
		return Link{}, fmt.Errorf("wire: %s: %w", control.Name(), err)
	}
	r, err := net.FileConn(records)
	if err != nil {
		_ = c.Close()
		return Link{}, fmt.Errorf("wire: %s: %w", records.Name(), err)
	}
	return Link{c, r}, nil
}

// Close closes both sockets.
func (l Link) Close() {
	_ = l.Control.Close()
	_ = l.Records.Close()
}

// shut ends what is being read and written, so that goroutines of this end come back.
func (l Link) shut() {
	past := time.Unix(1, 0)
	_ = l.Control.SetDeadline(past)
	_ = l.Records.SetDeadline(past)
}

func ours() hello { return hello{magic, version, record.HeaderSize} }
