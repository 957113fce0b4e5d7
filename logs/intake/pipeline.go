package intake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Pipeline reads streams one after the other, parses their records on several processors, and hands the events on in
// the order in which they were read. Its memory is bounded by the batches that are under way.
type Pipeline struct {
	in      *Intake
	ctx     context.Context
	cancel  context.CancelCauseFunc
	free    chan *batch
	work    chan *batch
	ordered chan *batch
	wait    sync.WaitGroup
	current *batch
	file    uint64 // streams begun
}

// The size of a batch: large enough that handing it on costs nothing beside parsing it.
const (
	batchRecords = 256
	batchBytes   = 256 << 10
)

// batch is records of one stream.
type batch struct {
	feed   *Feed
	format logs.Format
	path   string
	source logs.Source
	file   uint64 // number of the stream, in which a parser reads
	text   []byte
	ends   []int
	lines  []int64
	events []signal.Event
	errs   []error
	parsed chan struct{} // holds a token once the batch is parsed
}

// NewPipeline starts a pipeline with so many parsers. [Pipeline.Close] ends it.
func (in *Intake) NewPipeline(ctx context.Context, parsers int) *Pipeline {
	parsers = max(parsers, 1)
	p := &Pipeline{in: in, free: make(chan *batch, parsers+3), work: make(chan *batch, parsers+3), ordered: make(chan *batch, parsers+3)}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	for range cap(p.free) {
		p.free <- &batch{parsed: make(chan struct{}, 1)}
	}
	for range parsers {
		p.wait.Go(p.parse)
	}
	p.wait.Go(p.hand)
	return p
}

// parse is one parser.
func (p *Pipeline) parse() {
	var s *Session
	file := uint64(0)
	for b := range p.work {
		if p.ctx.Err() == nil {
			if s == nil || file != b.file {
				s, file = b.feed.session(b.format, b.source), b.file
			}
			from := 0
			for i, to := range b.ends {
				b.events[i].Reset()
				b.errs[i] = s.parse(b.text[from:to], &b.events[i])
				from = to
			}
		}
		b.parsed <- struct{}{}
	}
}

// hand hands events on in their order.
func (p *Pipeline) hand() {
	g := newGuard()
	for b := range p.ordered {
		<-b.parsed
		from := 0
		for i, to := range b.ends {
			if p.ctx.Err() != nil {
				break
			}
			at := Place{b.path, b.lines[i]}
			if err := b.errs[i]; err != nil {
				b.feed.reject(b.text[from:to], at, b.format.Name, err)
			} else if err := b.feed.take(p.ctx, &b.events[i], at, g, b.format.Name, to-from); err != nil {
				p.cancel(err)
			}
			from = to
		}
		p.free <- b
	}
}

// next returns an empty batch.
func (p *Pipeline) next(f *Feed, format logs.Format, path string, source logs.Source) (*batch, error) {
	select {
	case b := <-p.free:
		b.feed, b.format, b.path, b.source, b.file = f, format, path, source, p.file
		b.text, b.ends, b.lines = b.text[:0], b.ends[:0], b.lines[:0]
		return b, nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

// flush has the current batch parsed.
func (p *Pipeline) flush() {
	b := p.current
	p.current = nil
	if b == nil {
		return
	}
	if len(b.ends) == 0 {
		p.free <- b
		return
	}
	for len(b.events) < len(b.ends) {
		b.events = append(b.events, signal.Event{})
		b.errs = append(b.errs, nil)
	}
	p.ordered <- b
	p.work <- b
}

// Read reads a stream to its end, and says which format it is of. What was changed then tells the year of
// times that state none. The error is the stream's, ErrFormat, or that
// of Deps.Handle. What it read may still be under way when it returns.
func (p *Pipeline) Read(f *Feed, stream io.Reader, path string, changed time.Time) (format string, err error) {
	sample, found, err := f.sample(stream)
	if err != nil {
		return "", err
	}
	source := f.source
	if source.Now == nil && !changed.IsZero() {
		source.Now = func() time.Time { return changed }
	}
	p.file++
	r := logs.NewReader(&rest{sample, &prompt{p, stream}}, found, f.options(found))
	defer func() { f.oversize(r.Stats(), logs.Stats{}) }()
	defer p.flush()
	finished := false
	for {
		record, err := r.Next()
		switch {
		case err == nil:
		case quiet(err):
			r.Settle()
			continue
		case errors.Is(err, io.EOF) && !finished:
			r.Finish()
			finished = true
			continue
		case errors.Is(err, io.EOF):
			return found.Name, nil
		default:
			return found.Name, err
		}
		if p.current == nil {
			if p.current, err = p.next(f, found, path, source); err != nil {
				return found.Name, err
			}
		}
		b := p.current
		b.text = append(b.text, record...)
		b.ends = append(b.ends, len(b.text))
		b.lines = append(b.lines, r.Line())
		if len(b.ends) == batchRecords || len(b.text) >= batchBytes {
			p.flush()
		}
	}
}

// prompt hands on what was read before it waits for more: somebody may be typing.
type prompt struct {
	p      *Pipeline
	stream io.Reader
}

func (s *prompt) Read(b []byte) (int, error) {
	s.p.flush()
	return s.stream.Read(b)
}

// Close waits until everything that was read has been handed on, and returns the error of Deps.Handle, or
// that of the context.
func (p *Pipeline) Close() error {
	close(p.work)
	close(p.ordered)
	p.wait.Wait()
	err := context.Cause(p.ctx)
	p.cancel(nil)
	return err
}

// First returns the time of the first record of a stream that has one, in nanoseconds since the Unix epoch, by
// the stream's beginning; 0 where there is none. It counts nothing. What was changed is for [Pipeline.Read].
func (f *Feed) First(stream io.Reader, changed time.Time) int64 {
	sample := make([]byte, logs.SampleSize)
	n, _ := io.ReadFull(stream, sample)
	sample = sample[:n]
	format, err := f.detect(sample)
	if err != nil {
		return 0
	}
	source := f.source
	if source.Now == nil && !changed.IsZero() {
		source.Now = func() time.Time { return changed }
	}
	s := f.session(format, source)
	r := logs.NewReader(bytes.NewReader(sample), format, f.options(format))
	for range 20 { // the first may be a heading, or the rest of a record
		record, err := r.Next()
		if err != nil {
			return 0
		}
		s.event.Reset()
		if s.parse(record, &s.event) == nil && s.event.Time > 0 {
			return s.event.Time
		}
	}
	return 0
}
