package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/internal/httpframe"
)

// clientBody is the body of a request on its way to the upstream: first what was held
// back for inspection, then the rest as it comes. It bounds size and slowness. The
// transport may still read it, in a goroutine of its own, while the response is already being
// copied; so what others ask of it is atomic.
type clientBody struct {
	from  io.Reader
	limit int64 // largest size, 0 any
	stall time.Duration
	rate  int64 // bytes per second
	ctl   *http.ResponseController
	h1    *http1Conn // nil on HTTP/2
	ctx   context.Context
	tail  http.Header // trailer, which is there at the end

	prefix []byte // held back, not yet handed on
	begun  time.Time
	until  time.Time   // read deadline
	done   atomic.Bool // its end was read

	over   atomic.Bool            // the exchange has ended: the connection serves others now
	read   atomic.Int64           // bytes that came from the client
	taken  atomic.Bool            // handed on in part at least
	reason atomic.Pointer[string] // why reading failed by the client's fault
}

var errBody = errors.New("edge: the client's body was refused")

func (b *clientBody) Read(p []byte) (int, error) {
	b.taken.Store(true)
	if len(b.prefix) > 0 {
		n := copy(p, b.prefix)
		b.prefix = b.prefix[n:]
		return n, nil
	}
	return b.readFromClient(p)
}

// Close is called by the transport; net/http closes the real body.
func (b *clientBody) Close() error { return nil }

func (b *clientBody) readFromClient(p []byte) (int, error) {
	if b.done.Load() {
		return 0, io.EOF
	}
	if b.over.Load() {
		return 0, errBody
	}
	now := time.Now()
	if b.begun.IsZero() {
		b.begun = now
	}
	if b.until.Sub(now) < b.stall*3/4 {
		b.until = now.Add(b.stall)
		b.ctl.SetReadDeadline(b.until) // not every ResponseWriter can
	}
	n, err := b.from.Read(p)
	total := b.read.Add(int64(n))
	if b.limit > 0 && total > b.limit {
		return 0, b.fail(reasonBodySize)
	}
	switch {
	case err == nil:
		if under := time.Since(b.begun); b.rate > 0 && under > b.stall && total < int64(under.Seconds()*float64(b.rate)) {
			return n, b.fail(reasonSlowBody)
		}
		return n, nil
	case err == io.EOF:
		limitTrailer(b.tail) // before anybody learns of the end, and sends it
		b.done.Store(true)
		b.ctl.SetReadDeadline(time.Time{})
		return n, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, b.fail(reasonSlowBody)
	}
	if m, ok := errors.AsType[*httpframe.Error](err); ok {
		return n, b.fail(m.Reason)
	}
	if b.ctx.Err() == nil {
		b.fail(httpframe.Chunk) // net/http found what the framer let pass
	}
	return n, err
}

func (b *clientBody) fail(reason string) error {
	b.reason.CompareAndSwap(nil, &reason)
	return errBody
}

// why returns the client's fault, "" where there is none. It may be asked of nil.
func (b *clientBody) why() string {
	if b == nil {
		return ""
	}
	if r := b.reason.Load(); r != nil {
		return *r
	}
	if b.h1 != nil {
		if r := b.h1.fault.Load(); r != nil {
			return *r
		}
	}
	return ""
}

func (b *clientBody) size() int64 {
	if b == nil {
		return 0
	}
	return b.read.Load()
}

// hold reads up to limit bytes and keeps them to be handed on later. It reports whether more
// is to come.
func (b *clientBody) hold(limit int64, declared int64) (held []byte, truncated bool, err error) {
	size := limit + 1
	if declared >= 0 && declared < size {
		size = declared + 1 // one more, to see the end
	}
	buf := make([]byte, 0, min(size, 16<<10))
	for int64(len(buf)) < size {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(int64(cap(buf))*4, size))
			copy(grown, buf)
			buf = grown
		}
		n, err := b.readFromClient(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	b.prefix = buf
	if int64(len(buf)) > limit {
		return buf[:limit], true, nil
	}
	return buf, false, nil
}
