package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Feed is one configured source. It is safe for concurrent use.
type Feed struct {
	in     *Intake
	spec   Spec
	label  string
	format *logs.Format // nil: found out
	source logs.Source

	events, bytes, forged, future atomic.Uint64
	last                          atomic.Int64 // Unix nanoseconds of the last event

	mu       sync.Mutex
	rejected map[string]uint64 // by reason
	formats  map[string]uint64 // records by format
}

// Label names the feed.
func (f *Feed) Label() string { return f.label }

// The reasons for which a record is no event, beside the classes of logs.ParseError.
const (
	Oversize = "oversize" // longer than max_record
	Panic    = "panic"    // the parser broke
	Other    = "other"
)

func reasonOf(err error) string {
	var p *logs.ParseError
	var broke *parserPanic
	switch {
	case errors.As(err, &p):
		return string(p.Class)
	case errors.As(err, &broke):
		return Panic
	}
	return Other
}

// parserPanic is a mistake in a parser that a record brought to light.
type parserPanic struct {
	format string
	what   any
}

func (p *parserPanic) Error() string {
	return fmt.Sprintf("%s: the parser broke: %v", p.format, p.what)
}

// reject counts a record that is no event, and keeps a sample.
func (f *Feed) reject(record []byte, at Place, format string, err error) {
	reason := reasonOf(err)
	f.count(reason, 1)
	if f.in.deps.Rejected != nil {
		f.in.deps.Rejected(at, reason, err)
	}
	if reason == Panic {
		f.in.deps.Logger.Error("a record broke its parser", "source", f.label, "at", at.String(), "error", err)
	}
	if f.in.deps.Dead != nil {
		f.in.deps.Dead.Add(f.label, format, at, reason, err.Error(), record)
	}
}

func (f *Feed) count(reason string, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejected[reason] += n
}

// Session is one stream, connection or socket of a feed. It belongs to one goroutine.
type Session struct {
	feed   *Feed
	format logs.Format
	source logs.Source
	parser logs.Parser
	event  signal.Event
	guard  guard

	rejected int64 // records that were no events
	last     error // why the last one was none
}

// session begins a session with a format.
func (f *Feed) session(format logs.Format, source logs.Source) *Session {
	return &Session{feed: f, format: format, source: source, parser: format.New(source), guard: newGuard()}
}

// Messages begins a session whose records are handed in one by one; it needs a format that is named.
func (f *Feed) Messages() (*Session, error) {
	if f.format == nil {
		return nil, fmt.Errorf("source %s: a listener needs a format that is named", f.label)
	}
	return f.session(*f.format, f.source), nil
}

// parse parses a record; a parser that breaks is replaced.
func (s *Session) parse(record []byte, e *signal.Event) (err error) {
	defer func() {
		if what := recover(); what != nil {
			s.parser = s.format.New(s.source)
			err = &parserPanic{s.format.Name, what}
		}
	}()
	return s.parser.Parse(record, e)
}

// Take hands a record in. An error is that of Deps.Handle: the record was not taken.
func (s *Session) Take(ctx context.Context, record []byte, at Place) error {
	s.event.Reset()
	if err := s.parse(record, &s.event); err != nil {
		s.feed.reject(record, at, s.format.Name, err)
		s.rejected, s.last = s.rejected+1, err
		return nil
	}
	return s.feed.take(ctx, &s.event, at, s.guard, s.format.Name, len(record))
}

// Rejected returns how many records of the session were no events, and why the last one was none.
func (s *Session) Rejected() (n int64, last error) { return s.rejected, s.last }

// take hands an event on, without what it may not say.
func (f *Feed) take(ctx context.Context, e *signal.Event, at Place, g guard, format string, size int) error {
	if g.clean(e) {
		f.forged.Add(1)
	}
	if now := f.in.deps.Now; now != nil {
		t := now()
		if e.Time > t.Add(maxAhead).UnixNano() {
			f.future.Add(1)
		}
		receive(e, t)
		e.SetUnmapped(SourceAttr, at.String())
		if !f.spec.Act {
			// The node gives no orders about an address that nobody vouches for.
			e.SetString(signal.FieldEdgeClientTrust, "undeclared")
		}
	}
	if err := f.in.deps.Handle(ctx, e, at); err != nil {
		return err
	}
	f.events.Add(1)
	f.bytes.Add(uint64(size))
	f.last.Store(e.Time)
	f.mu.Lock()
	f.formats[format]++
	f.mu.Unlock()
	return nil
}

// A Stream is what a file that is followed looks like. Read's error may have a method Quiet() bool that
// says true: then the stream goes on, and what waits for more is handed on as it is.
type Stream interface {
	io.Reader
	Path() string
	Lines() int64 // that lie before the stream
	Commit(n, lines int64)
}

// Follow reads a stream to its end, and commits what was taken.
func (f *Feed) Follow(ctx context.Context, stream Stream) error {
	sample, format, err := f.sample(stream)
	if err != nil {
		return err
	}
	s := f.session(format, f.source)
	r := logs.NewReader(&rest{sample, stream}, format, f.options(format))
	path, before := stream.Path(), stream.Lines()
	var was logs.Stats
	for {
		record, err := r.Next()
		if err == nil {
			if err := s.Take(ctx, record, Place{path, before + r.Line()}); err != nil {
				return err
			}
		}
		stream.Commit(r.Offset(), r.Lines())
		was = f.oversize(r.Stats(), was)
		switch {
		case err == nil:
		case quiet(err):
			r.Settle()
		case errors.Is(err, io.EOF):
			r.Finish()
			for {
				record, err := r.Next()
				if err != nil {
					break
				}
				if err := s.Take(ctx, record, Place{path, before + r.Line()}); err != nil {
					return err
				}
			}
			stream.Commit(r.Offset(), r.Lines())
			f.oversize(r.Stats(), was)
			return nil
		default:
			return err
		}
	}
}

// options bounds the records of a format.
func (f *Feed) options(format logs.Format) logs.Options {
	return logs.Options{MaxRecord: max(int(f.in.cfg.MaxRecord), format.MaxRecord)}
}

// oversize counts the records that the reader passed over since it was last asked.
func (f *Feed) oversize(now, was logs.Stats) logs.Stats {
	if now.Oversize > was.Oversize {
		f.count(Oversize, now.Oversize-was.Oversize)
	}
	return now
}

func quiet(err error) bool {
	var q interface{ Quiet() bool }
	return errors.As(err, &q) && q.Quiet()
}

// sample reads enough of a stream to tell its format: a line at least, or what there is.
func (f *Feed) sample(stream io.Reader) ([]byte, logs.Format, error) {
	if f.format != nil {
		return nil, *f.format, nil
	}
	sample := make([]byte, 0, logs.SampleSize)
	for {
		n, err := stream.Read(sample[len(sample):cap(sample)])
		sample = sample[:len(sample)+n]
		full := len(sample) == cap(sample)
		if n > 0 || full || errors.Is(err, io.EOF) {
			if format, known := f.detect(sample); known == nil {
				return sample, format, nil
			}
		}
		switch {
		case errors.Is(err, io.EOF) && len(sample) == 0:
			return nil, logs.Format{Name: "empty", New: func(logs.Source) logs.Parser { return nil }}, nil
		case full, errors.Is(err, io.EOF):
			return nil, logs.Format{}, ErrFormat
		case err != nil && !quiet(err):
			return nil, logs.Format{}, err
		}
	}
}

// rest is what was read ahead, then the stream.
type rest struct {
	ahead  []byte
	stream io.Reader
}

func (r *rest) Read(p []byte) (int, error) {
	if len(r.ahead) > 0 {
		n := copy(p, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	return r.stream.Read(p)
}

// Stats are a feed's counters since the start.
type Stats struct {
	Source   string            `json:"source"`
	Events   uint64            `json:"events"`
	Bytes    uint64            `json:"bytes"`              // of their records
	Rejected map[string]uint64 `json:"rejected,omitempty"` // records that are no events, by reason
	Formats  map[string]uint64 `json:"formats,omitempty"`  // events by format
	Forged   uint64            `json:"forged,omitempty"`   // events that claimed what no record may
	Future   uint64            `json:"future,omitempty"`   // events whose time lay in the future
	Last     time.Time         `json:"last,omitzero"`      // time of the last event
}

// Stats returns the counters.
func (f *Feed) Stats() Stats {
	s := Stats{Source: f.label, Events: f.events.Load(), Bytes: f.bytes.Load(), Forged: f.forged.Load(), Future: f.future.Load(),
		Rejected: map[string]uint64{}, Formats: map[string]uint64{}}
	if last := f.last.Load(); last != 0 {
		s.Last = time.Unix(0, last).UTC()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, v := range f.rejected {
		s.Rejected[k] = v
	}
	for k, v := range f.formats {
		s.Formats[k] = v
	}
	return s
}

// Stats returns the counters of all feeds in the order in which they were made.
func (in *Intake) Stats() []Stats {
	in.mu.Lock()
	feeds := in.feeds
	in.mu.Unlock()
	all := make([]Stats, len(feeds))
	for i, f := range feeds {
		all[i] = f.Stats()
	}
	return all
}
