package wire

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
)

// logged writes a line that the child sent: a level and a text.
func (s *session) logged(payload []byte) {
	if len(payload) < 1 {
		return
	}
	level := slog.Level(int8(payload[0]))
	s.log.Log(context.Background(), min(max(level, slog.LevelDebug), slog.LevelError), "sensor: "+printable(payload[1:]))
}

// line sends a line of the child's log. Who cannot be written to has no log either.
func (s *server) line(level slog.Level, text []byte) {
	payload := append(make([]byte, 0, 1+len(text)), byte(int8(min(max(level, slog.LevelDebug), slog.LevelError))))
	_ = s.w.write(frame{kind: kindLog, payload: append(payload, text[:min(len(text), maxLine)]...)})
}

// linesEach bounds the lines of a second.
const linesEach = 20

// lines is a slog.Handler that hands on each entry as a text without its time, which the other end adds. What is more than linesEach in
// a second is left out, and the next line says so.
type lines struct {
	out  func(slog.Level, []byte)
	text slog.Handler
	*linesState
}

type linesState struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	second int64
	n      int
	missed int
}

func newLines(out func(slog.Level, []byte)) *lines {
	l := &lines{out: out, linesState: &linesState{}}
	l.text = slog.NewTextHandler(&l.buf, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}})
	return l
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l *lines) Handle(ctx context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now().Unix(); now != l.second {
		l.second, l.n = now, 0
	}
	if l.n++; l.n > linesEach {
		l.missed++
		return nil
	}
	if l.missed > 0 {
		r = r.Clone()
		r.Add("left_out_before", l.missed)
		l.missed = 0
	}
	l.buf.Reset()
	err := l.text.Handle(ctx, r)
	l.out(r.Level, bytes.TrimSpace(l.buf.Bytes()))
	return err
}

func (l *lines) WithAttrs(a []slog.Attr) slog.Handler {
	return &lines{l.out, l.text.WithAttrs(a), l.linesState}
}

func (l *lines) WithGroup(name string) slog.Handler {
	return &lines{l.out, l.text.WithGroup(name), l.linesState}
}
