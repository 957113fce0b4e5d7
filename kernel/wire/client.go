package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// A Source hands out the link to a sensor that was started, and after its end to the next one.
type Source interface {
	// Next waits for a sensor until ctx ends. An error means that none will come any more.
	Next(ctx context.Context) (Link, error)
}

// Client is the sensor at the other end of a link, and of the next link after that one has ended: what was to be watched and
// enforced is said again then. It implements kernel.Sensor and is safe for concurrent use.
type Client struct {
	links Source
	log   *slog.Logger
	// Ended is told of every end of a sensor that nobody asked for; may be nil. It is set before Run.
	Ended func(err error)
	// Watching is called where a sensor has begun and sees what an earlier one was to see; may be nil. It is set before Run.
	Watching func()
	// Unheld is told where a sensor that begins does not take what holds; may be nil. It is set before Run.
	Unheld func(err error)

	mu      sync.Mutex
	session *session
	changed chan struct{} // closed and replaced when session or fault change
	fault   error         // why there is no session, nil before the first
	over    bool          // no session comes any more
	want    *kernel.Interest
	guard   *kernel.Guard
	starts  uint64
}

// NewClient returns a client of the sensors that links hands out. It has none before Run.
func NewClient(links Source, log *slog.Logger) *Client {
	return &Client{links: links, log: log, changed: make(chan struct{})}
}

// errDown is wrapped by errors of requests while no sensor runs.
var errDown = fmt.Errorf("the sensor does not run: %w", kernel.ErrUnable)

// stopWithin is how long a sensor has to undo what it did to the kernel.
const stopWithin = 15 * time.Second

// Run takes what the sensors see until ctx ends, and then has the last one stop. A sensor that ends by itself is an entry in the
// log and Health's to tell, no error.
func (c *Client) Run(ctx context.Context, to kernel.Receiver) error {
	defer c.set(nil, errors.New("stopped"), true)
	for {
		link, err := c.links.Next(ctx)
		if ctx.Err() != nil {
			if err == nil {
				link.Close()
			}
			return nil
		}
		if err != nil {
			c.log.Error("no sensor of the kernel will run", "error", err)
			c.set(nil, err, true)
			<-ctx.Done()
			return nil
		}
		err = c.serve(ctx, link, to)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || gone(err) {
			err = errors.New("the sensor of the kernel has ended unasked")
		}
		c.log.Error("the kernel is not watched until the sensor runs again", "error", err)
		c.set(nil, err, false)
		if c.Ended != nil {
			c.Ended(err)
		}
	}
}

func (c *Client) set(s *session, fault error, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.fault, c.over = s, fault, c.over || over
	close(c.changed)
	c.changed = make(chan struct{})
}

// Health says why no sensor runs, nil where one does.
func (c *Client) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session != nil:
		return nil
	case c.fault != nil:
		return c.fault
	}
	return errors.New("the sensor is being started")
}

// Starts returns how many sensors have begun.
func (c *Client) Starts() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starts
}

// serve uses one link until it ends.
func (c *Client) serve(ctx context.Context, l Link, to kernel.Receiver) error {
	s := &session{link: l, w: writer{conn: l.Control}, to: to, log: c.log, waits: map[uint32]chan frame{}, done: make(chan struct{})}
	defer l.Close()
	if err := shake(l.Control, &s.w, ours(), true); err != nil {
		return err
	}
	within, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var wait sync.WaitGroup
	wait.Go(func() { cancel(s.listen(within)); s.end() })
	wait.Go(func() {
		if err := s.take(); err != nil && !gone(err) {
			cancel(err)
		}
		s.end()
	})
	c.mu.Lock()
	want, guard := c.want, c.guard
	c.starts++
	c.mu.Unlock()
	unheld := s.again(within, want, guard)
	c.set(s, nil, false)
	if unheld == nil && want != nil && c.Watching != nil {
		c.Watching()
	}
	if unheld != nil {
		c.log.Error("what was to be watched or enforced does not hold after the start of the sensor", "error", unheld)
		if c.Unheld != nil {
			c.Unheld(unheld)
		}
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		if s.w.write(frame{kind: kindStop}) == nil {
			select {
			case <-s.done:
			case <-time.After(stopWithin):
				c.log.Error("the sensor takes too long to stop: what it did to the kernel may not be undone")
			}
		}
	}
	l.shut()
	s.end()
	wait.Wait()
	return context.Cause(within)
}

// current returns the session that a request goes to. It waits for the first one.
func (c *Client) current(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, fault, over, changed := c.session, c.fault, c.over, c.changed
		c.mu.Unlock()
		switch {
		case s != nil:
			return s, nil
		case fault != nil || over:
			return nil, fmt.Errorf("%w: %w", errDown, fault)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: it is being started", errDown)
		}
	}
}

// Watch implements kernel.Sensor. What is wanted holds for sensors that are started later, too.
func (c *Client) Watch(ctx context.Context, want kernel.Interest) error {
	if err := checkInterest(&want); err != nil {
		return err
	}
	c.mu.Lock()
	c.want = &want
	c.mu.Unlock()
	return c.request(ctx, kindWatch, want, &struct{}{})
}

// Guard implements kernel.Sensor. It holds for sensors that are started later, unless this one refuses it.
func (c *Client) Guard(ctx context.Context, g kernel.Guard) error {
	if err := checkGuard(&g); err != nil {
		return err
	}
	c.mu.Lock()
	before := c.guard
	c.guard = &g
	c.mu.Unlock()
	err := c.request(ctx, kindGuard, g, &struct{}{})
	if err != nil && !errors.Is(err, errDown) {
		c.mu.Lock()
		if c.guard == &g {
			c.guard = before
		}
		c.mu.Unlock()
	}
	return err
}

// Container implements kernel.Sensor.
func (c *Client) Container(ctx context.Context, cgroup uint64, pid uint32) (kernel.Container, bool, error) {
	var a contained
	err := c.request(ctx, kindContainer, containerOf{cgroup, pid}, &a)
	return a.Container, a.OK, err
}

// Executable implements kernel.Sensor.
func (c *Client) Executable(ctx context.Context, r kernel.FileRef) (e kernel.Executable, err error) {
	err = c.request(ctx, kindExecutable, r, &e)
	return e, err
}

// Examine implements kernel.Examiner.
func (c *Client) Examine(ctx context.Context, q kernel.ExamineRequest) (a kernel.Examined, err error) {
	if err := checkExamine(&q); err != nil {
		return a, err
	}
	err = c.request(ctx, kindExamine, q, &a)
	return a, err
}

// Do implements kernel.Sensor.
func (c *Client) Do(ctx context.Context, o kernel.Order) (d kernel.Done, err error) {
	err = c.request(ctx, kindDo, o, &d)
	return d, err
}

// Status implements kernel.Sensor.
func (c *Client) Status(ctx context.Context) (st kernel.Status, err error) {
	err = c.request(ctx, kindStatus, nil, &st)
	return st, err
}

func (c *Client) request(ctx context.Context, k kind, question, answer any) error {
	s, err := c.current(ctx)
	if err != nil {
		return err
	}
	return s.request(ctx, k, question, answer)
}

// session is the use of one link.
type session struct {
	link Link
	w    writer
	to   kernel.Receiver
	log  *slog.Logger

	mu    sync.Mutex
	next  uint32
	waits map[uint32]chan frame
	once  sync.Once
	done  chan struct{}
}

func (s *session) end() { s.once.Do(func() { close(s.done) }) }

// again says what an earlier sensor was told.
func (s *session) again(ctx context.Context, want *kernel.Interest, guard *kernel.Guard) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var errs []error
	if guard != nil {
		errs = append(errs, s.request(ctx, kindGuard, *guard, &struct{}{}))
	}
	if want != nil {
		errs = append(errs, s.request(ctx, kindWatch, *want, &struct{}{}))
	}
	return errors.Join(errs...)
}

// defaultWithin is the limit of a request whose context has none.
const defaultWithin = 30 * time.Second

func (s *session) request(ctx context.Context, k kind, question, answer any) error {
	within := defaultWithin
	if end, ok := ctx.Deadline(); ok {
		within = max(min(time.Until(end), maxRequest), time.Millisecond)
	}
	payload := binary.LittleEndian.AppendUint32(nil, uint32(within.Milliseconds()))
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return fmt.Errorf("wire: %w", err)
		}
		payload = append(payload, text...)
	}
	if most, _ := k.most(false); len(payload) > most {
		return fmt.Errorf("%v: %d bytes, the sensor takes at most %d", k, len(payload), most)
	}
	reply := make(chan frame, 1)
	s.mu.Lock()
	if len(s.waits) >= maxRequests {
		s.mu.Unlock()
		return errBusy
	}
	s.next++
	id := s.next
	s.waits[id] = reply
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waits, id)
		s.mu.Unlock()
	}()
	if err := s.w.write(frame{kind: k, id: id, payload: payload}); err != nil {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	// The child keeps the time; should it not, this end does not wait for ever.
	timer := time.NewTimer(within + patience)
	defer timer.Stop()
	select {
	case f := <-reply:
		return outcomeOf(f, answer)
	case <-ctx.Done():
		_ = s.w.write(frame{kind: kindCancel, id: id})
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%v: the sensor does not answer", k)
	case <-s.done:
		return errDown
	}
}

var errBusy = errors.New("too many questions to the sensor are under way: ask later")

func outcomeOf(f frame, answer any) error {
	switch f.outcome {
	case outcomeOK:
		return decode(f.payload, answer)
	case outcomeBusy:
		return errBusy
	case outcomeUnable:
		text := strings.TrimSuffix(strings.TrimSuffix(printable(f.payload), kernel.ErrUnable.Error()), ": ")
		if text == "" {
			return kernel.ErrUnable
		}
		return fmt.Errorf("%s: %w", text, kernel.ErrUnable)
	case outcomeGone:
		return goneError{printable(f.payload)}
	}
	return errors.New(printable(f.payload))
}

// goneError is an error of the child that wraps kernel.ErrGone there.
type goneError struct{ text string }

func (e goneError) Error() string { return e.text }
func (e goneError) Unwrap() error { return kernel.ErrGone }

// printable is a text of the child as it may be shown.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(b[:min(len(b), maxLine)]), "?"))
}

// listen takes answers and a gate's questions until the other end is gone.
func (s *session) listen(ctx context.Context) error {
	var asks sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer asks.Wait()
	defer cancel()
	places := make(chan struct{}, 2*maxAsks) // those that the child has given up are still being answered
	for {
		f, err := readFrame(s.link.Control, true)
		if err != nil {
			return err
		}
		switch f.kind {
		case kindReply:
			s.mu.Lock()
			c := s.waits[f.id]
			delete(s.waits, f.id)
			s.mu.Unlock()
			if c != nil {
				c <- f // has room for the one answer
			}
		case kindLog:
			s.logged(f.payload)
		case kindAsk:
			if len(f.payload) < 1+record.HeaderSize {
				return errors.New("wire: a gate's question holds no record")
			}
			if n, ok := record.Size(f.payload[1:]); !ok || n != len(f.payload)-1 {
				return errors.New("wire: a gate's question holds no whole record")
			}
			select {
			case places <- struct{}{}:
			default:
				continue // the child keeps to its bound, so that this is not its question to answer
			}
			asks.Go(func() {
				defer func() { <-places }()
				s.answer(ctx, f)
			})
		default:
			return fmt.Errorf("wire: %v comes out of turn", f.kind)
		}
	}
}

// askWithin is how long the judge may take for a gate.
const askWithin = 2 * time.Second

func (s *session) answer(ctx context.Context, f frame) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	a := s.to.Ask(ctx, f.payload[1:], record.Gate(f.payload[0]))
	payload := []byte{0}
	if a.Deny {
		payload[0] = 1
	}
	payload = append(payload, a.Rule[:min(len(a.Rule), maxID)]...)
	_ = s.w.write(frame{kind: kindAnswer, id: f.id, payload: payload}) // the end of the link is listen's to notice
}

// take hands on records until the other end is gone, or sends what is none.
func (s *session) take() error {
	buf := make([]byte, 4*record.MaxSize)
	filled := 0
	for {
		n, err := s.link.Records.Read(buf[filled:])
		filled += n
		whole := 0
		for whole+4 <= filled {
			size := int(binary.NativeEndian.Uint32(buf[whole:]))
			if size < record.HeaderSize || size > record.MaxSize {
				return fmt.Errorf("wire: a record of %d bytes", size)
			}
			if whole+size > filled {
				break
			}
			whole += size
		}
		if whole > 0 {
			s.to.Records(buf[:whole])
			filled = copy(buf, buf[whole:filled])
		}
		if err != nil {
			if filled > 0 && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}
