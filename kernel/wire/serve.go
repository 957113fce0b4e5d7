package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Bounds on what is under way at once.
const (
	maxRequests = 64
	maxAsks     = 256
	maxRequest  = 5 * time.Minute // that a request may take
)

// server is the child's end.
type server struct {
	link   Link
	w      writer
	sensor kernel.Sensor
	house  *house
	ran    *ranFiles
	out    *outbox
	closed atomic.Bool // gates that ask refuse where nobody answers

	mu      sync.Mutex
	cancels map[uint32]context.CancelFunc
	asks    map[uint32]chan kernel.Answer
	nextAsk uint32
	places  chan struct{} // of asks
}

// Serve lets the plane at the other end use the sensor that build makes, until ctx ends, the other end is gone, or asks to stop. It
// returns when the sensor has returned from Run. What the sensor logs is written where the plane's log goes.
//
// The plane gets no more than this: any Interest, Guard and Status within bounds; Container; Executable of files that were told of as
// having run, or that the process that is named runs; Examine of what the sensor's own configuration names; Do of the verbs that kernel declares, kill and freeze and isolate on no
// kernel thread, not on the first process, on nothing that testudo runs in or descends from, and on a process only with the time that it began.
func Serve(ctx context.Context, l Link, build func(*slog.Logger) kernel.Sensor) error {
	defer l.Close()
	srv := &server{link: l, w: writer{conn: l.Control}, ran: newRanFiles(), cancels: map[uint32]context.CancelFunc{},
		asks: map[uint32]chan kernel.Answer{}, places: make(chan struct{}, maxAsks)}
	srv.out = newOutbox(outboxLimit, srv.ran, bootTime)
	plane := 0
	if c, ok := l.Control.(syscall.Conn); ok {
		plane = peerOf(c)
	}
	srv.house = newHouse(plane)
	if c, ok := l.Records.(interface{ SetWriteBuffer(int) error }); ok {
		_ = c.SetWriteBuffer(1 << 20) // fewer, larger writes; the kernel may give less
	}
	if err := shake(l.Control, &srv.w, ours(), false); err != nil {
		return fmt.Errorf("the plane does not greet: %w", err)
	}
	srv.sensor = build(slog.New(newLines(srv.line)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	wait.Go(func() { cancel(srv.listen(ctx)) })
	done := make(chan struct{})
	written := make(chan error, 1)
	wait.Go(func() {
		err := srv.out.write(l.Records, done)
		written <- err
		if err != nil {
			cancel(err)
		}
	})
	err := srv.sensor.Run(ctx, srv)
	if err == nil && ctx.Err() == nil {
		err = errors.New("the sensor ended by itself")
	}
	// What was seen until now is still handed on, to a plane that reads.
	_ = l.Records.SetWriteDeadline(time.Now().Add(time.Second))
	close(done)
	werr := <-written
	cancel(nil)
	l.shut()
	wait.Wait()
	if err == nil && werr != nil && !gone(werr) && !errors.Is(werr, context.Canceled) {
		err = werr
	}
	if cause := context.Cause(ctx); err == nil && cause != nil && !gone(cause) && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// errStop says that the plane asked to stop.
var errStop = errors.New("the plane asks to stop")

// gone reports whether an error only says that the other end is there no more.
func gone(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, errStop) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrClosedPipe) || errors.As(err, &timeout) && timeout.Timeout()
}

// listen takes requests until the other end is gone.
func (s *server) listen(ctx context.Context) error {
	var requests sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer requests.Wait()
	defer cancel()
	places := make(chan struct{}, maxRequests)
	for {
		f, err := readFrame(s.link.Control, false)
		if err != nil {
			return err
		}
		switch f.kind {
		case kindStop:
			return errStop
		case kindCancel:
			s.mu.Lock()
			if cancel := s.cancels[f.id]; cancel != nil {
				cancel()
			}
			s.mu.Unlock()
			continue
		case kindAnswer:
			if err := s.answered(f); err != nil {
				return err
			}
			continue
		case kindHello:
			return errors.New("wire: a second hello")
		}
		if len(f.payload) < 4 {
			return fmt.Errorf("wire: a request of %v has no time limit", f.kind)
		}
		select {
		case places <- struct{}{}:
		default:
			if err := s.w.write(frame{kind: kindReply, outcome: outcomeBusy, id: f.id}); err != nil {
				return err
			}
			continue
		}
		limit := min(time.Duration(binary.LittleEndian.Uint32(f.payload))*time.Millisecond, maxRequest)
		within, end := context.WithTimeout(ctx, limit)
		s.mu.Lock()
		if s.cancels[f.id] != nil {
			s.mu.Unlock()
			end()
			return fmt.Errorf("wire: request %d is under way already", f.id)
		}
		s.cancels[f.id] = end
		s.mu.Unlock()
		requests.Go(func() {
			reply := s.do(within, f)
			s.mu.Lock()
			delete(s.cancels, f.id)
			s.mu.Unlock()
			end()
			<-places
			if err := s.w.write(reply); err != nil {
				_ = s.link.Control.SetReadDeadline(time.Unix(1, 0)) // half a frame may be out: nothing more can be said
			}
		})
	}
}

// contained is the answer to a question for a container.
type contained struct {
	Container kernel.Container
	OK        bool
}

// containerOf is the question.
type containerOf struct {
	Cgroup uint64
	PID    uint32
}

func (s *server) do(ctx context.Context, f frame) frame {
	answer, err := s.ask(ctx, f.kind, f.payload[4:])
	reply := frame{kind: kindReply, id: f.id}
	if err == nil {
		if reply.payload, err = json.Marshal(answer); err == nil {
			if most, _ := kindReply.most(true); len(reply.payload) > most {
				reply.payload, err = nil, fmt.Errorf("the answer to %v has %d bytes, at most %d are carried", f.kind, len(reply.payload), most)
			}
		}
	}
	if err != nil {
		reply.outcome = outcomeError
		switch {
		case errors.Is(err, kernel.ErrUnable):
			reply.outcome = outcomeUnable
		case errors.Is(err, kernel.ErrGone):
			reply.outcome = outcomeGone
		}
		text := err.Error()
		reply.payload = []byte(text[:min(len(text), maxLine)])
	}
	return reply
}

func (s *server) ask(ctx context.Context, k kind, payload []byte) (any, error) {
	switch k {
	case kindWatch:
		var w kernel.Interest
		if err := errors.Join(decode(payload, &w), checkInterest(&w)); err != nil {
			return nil, err
		}
		return struct{}{}, s.sensor.Watch(ctx, w)
	case kindGuard:
		var g kernel.Guard
		if err := errors.Join(decode(payload, &g), checkGuard(&g)); err != nil {
			return nil, err
		}
		if err := s.sensor.Guard(ctx, g); err != nil {
			return nil, err
		}
		s.closed.Store(g.Closed)
		return struct{}{}, nil
	case kindContainer:
		var q containerOf
		if err := decode(payload, &q); err != nil {
			return nil, err
		}
		c, ok, err := s.sensor.Container(ctx, q.Cgroup, q.PID)
		return contained{c, ok}, err
	case kindExecutable:
		var r kernel.FileRef
		if err := decode(payload, &r); err != nil {
			return nil, err
		}
		if err := s.house.checkFile(&r, s.ran); err != nil {
			return nil, err
		}
		return s.sensor.Executable(ctx, r)
	case kindDo:
		var o kernel.Order
		if err := decode(payload, &o); err != nil {
			return nil, err
		}
		if err := s.house.checkOrder(&o); err != nil {
			return nil, err
		}
		return s.sensor.Do(ctx, o)
	case kindExamine:
		var q kernel.ExamineRequest
		if err := errors.Join(decode(payload, &q), checkExamine(&q)); err != nil {
			return nil, err
		}
		if x, ok := s.sensor.(kernel.Examiner); ok {
			return x.Examine(ctx, q)
		}
		return nil, fmt.Errorf("files: %w", kernel.ErrUnable)
	case kindStatus:
		st, err := s.sensor.Status(ctx)
		st.Lost = s.out.dropped(st.Lost)
		return st, err
	}
	return nil, fmt.Errorf("%v is no request", k)
}

// Records implements kernel.Receiver.
func (s *server) Records(batch []byte) { s.out.add(batch) }

// Ask implements kernel.Receiver. Where the plane does not answer in time, or too much is asked at once, the guard says what holds.
func (s *server) Ask(ctx context.Context, rec []byte, gate record.Gate) kernel.Answer {
	silent := func() kernel.Answer { return kernel.Answer{Deny: s.closed.Load()} }
	if n, ok := record.Size(rec); !ok || n != len(rec) {
		return silent()
	}
	select { // who asks has a deadline
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-ctx.Done():
		return silent()
	}
	answer := make(chan kernel.Answer, 1)
	s.mu.Lock()
	s.nextAsk++
	id := s.nextAsk
	s.asks[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.asks, id)
		s.mu.Unlock()
	}()
	if kindOf(rec) == record.KindExec {
		s.ran.note(rec)
	}
	payload := append(make([]byte, 0, 1+len(rec)), byte(gate))
	if err := s.w.write(frame{kind: kindAsk, id: id, payload: append(payload, rec...)}); err != nil {
		return silent()
	}
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		return silent()
	}
}

// answered takes the plane's answer to a gate. One that comes too late is nobody's.
func (s *server) answered(f frame) error {
	if len(f.payload) < 1 || f.payload[0] > 1 || len(f.payload)-1 > maxID {
		return errors.New("wire: an answer is malformed")
	}
	s.mu.Lock()
	c := s.asks[f.id]
	s.mu.Unlock()
	if c != nil {
		select {
		case c <- kernel.Answer{Deny: f.payload[0] == 1, Rule: string(f.payload[1:])}:
		default:
		}
	}
	return nil
}
