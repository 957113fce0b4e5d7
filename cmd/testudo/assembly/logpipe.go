package assembly

import (
	"context"
	"io"
	"os"
)

// openFile opens a file. A pipe waits to be opened until somebody writes to it, and no longer than ctx: then the
// goroutine that waits is left behind, for nothing else ends it.
func openFile(ctx context.Context, f logFile) (*os.File, error) {
	if f.regular {
		return os.Open(f.path)
	}
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		file, err := os.Open(f.path)
		done <- opened{file, err}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// patient returns a reader of what may never end and never come, as from a terminal: a Read of it ends with ctx. The one
// that it has begun is then left behind.
func patient(ctx context.Context, r io.Reader) io.Reader {
	return &patientReader{ctx: ctx, r: r, buf: make([]byte, 128<<10), done: make(chan read, 1)}
}

type patientReader struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte
	done chan read
	last read // what came and was not delivered yet
}

type read struct {
	text []byte
	err  error
}

func (p *patientReader) Read(b []byte) (int, error) {
	for len(p.last.text) == 0 {
		if p.last.err != nil {
			return 0, p.last.err
		}
		go func() {
			n, err := p.r.Read(p.buf)
			p.done <- read{p.buf[:n], err}
		}()
		select {
		case p.last = <-p.done:
		case <-p.ctx.Done():
			p.last.err = p.ctx.Err()
		}
	}
	n := copy(b, p.last.text)
	p.last.text = p.last.text[n:]
	return n, nil
}
