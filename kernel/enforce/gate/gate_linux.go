package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Gate asks before files are opened or run. It is safe for concurrent use.
type Gate struct {
	cfg    Config
	log    *slog.Logger
	self   int32
	exempt []exempt
	cgroup string
	closed atomic.Bool
	places chan struct{} // of those that are asked about
	queue  chan struct{} // of those that wait for such a place
	stuck  atomic.Bool   // one waited for as long as he may, and nobody was answered meanwhile
	born   time.Time
	last   atomic.Int64 // when somebody was answered in time, in nanoseconds since it was born
	counts struct {
		seen, own, passed, allowed, denied, late, full, unknown, lost, unread, gone atomic.Uint64
	}

	mu     sync.Mutex // over guard and marks, not over answers
	scopes []kernel.AskScope
	to     kernel.Receiver // while it runs
	now    *reader
	all    sync.WaitGroup
}

// exempt is a process that is never asked about: the judge must not wait for itself. While pidfd says that it has not
// ended, its pid is nobody else's.
type exempt struct{ pid, pidfd int32 }

// reader reads one group of marks.
type reader struct {
	*marks
	waiting sync.WaitGroup
	done    chan struct{}
	quit    chan struct{} // closed to have the marks follow no more mounts
	follows sync.WaitGroup
}

// New returns a gate. The processes that judge and store are named, so that they never wait for themselves; this one need not be.
func New(cfg Config, log *slog.Logger, judges ...int) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{cfg: cfg, log: log, born: time.Now(), self: int32(os.Getpid()), cgroup: mountOfCgroup2(), places: make(chan struct{}, cfg.Waiting),
		queue: make(chan struct{}, maxQueued)}
	for _, pid := range judges {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("gate: process %d, which judges: %w", pid, err)
		}
		g.exempt = append(g.exempt, exempt{int32(pid), int32(fd)})
	}
	return g, nil
}

// Close releases what New took; Run has returned.
func (g *Gate) Close() {
	for _, e := range g.exempt {
		_ = unix.Close(int(e.pidfd))
	}
	g.exempt = nil
}

// Guard asks about these scopes from now on, in the place of those before: about all or, with an error, about those as before. While
// Run does not run they are only tried and kept. closed says what becomes of what cannot be judged.
func (g *Gate) Guard(_ context.Context, scopes []kernel.AskScope, closed bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	scopes = slices.Clone(scopes)
	if g.to == nil {
		if len(scopes) > 0 {
			m, err := mark(scopes)
			if err != nil {
				return err
			}
			_ = m.fan.Close()
		}
		g.scopes = scopes
		g.closed.Store(closed)
		return nil
	}
	before := g.closed.Swap(closed)
	if err := g.replace(scopes); err != nil {
		g.closed.Store(before)
		return err
	}
	g.scopes = scopes
	return nil
}

// replace puts new marks in the place of the old: first the new ones, so that nothing slips through between. Hold mu.
func (g *Gate) replace(scopes []kernel.AskScope) error {
	var fresh *reader
	if len(scopes) > 0 {
		m, err := mark(scopes)
		if err != nil {
			return err
		}
		fresh = &reader{marks: m, done: make(chan struct{}), quit: make(chan struct{})}
		to := g.to
		g.all.Go(func() { defer close(fresh.done); g.read(fresh, to) })
		fresh.follows.Go(func() { m.follow(fresh.quit) })
	}
	if old := g.now; old != nil {
		close(old.quit)
		old.follows.Wait()
		old.lift()
		<-old.done
	}
	g.now = fresh
	return nil
}

// Run asks the receiver until ctx ends. When it has returned everything is let through, as nothing is marked any more.
func (g *Gate) Run(ctx context.Context, to kernel.Receiver) error {
	g.mu.Lock()
	if g.to != nil {
		g.mu.Unlock()
		return errors.New("gate: it runs already")
	}
	g.to = to
	err := g.replace(g.scopes)
	if err != nil {
		g.to = nil
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	<-ctx.Done()
	g.mu.Lock()
	_ = g.replace(nil)
	g.to = nil
	g.mu.Unlock()
	g.all.Wait()
	return nil
}

// read answers events until the marks are lifted. It opens nothing but in /proc: what it waited for, nobody would answer.
func (g *Gate) read(r *reader, to kernel.Receiver) {
	buf := make([]byte, 8192)
	for {
		n, err := r.fan.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			for n := r.rest(buf); n > 0; n = r.rest(buf) {
				g.take(r, to, buf[:n])
			}
			r.waiting.Wait() // each is answered at its deadline
			_ = r.fan.Close()
			return
		case err != nil:
			// Out of descriptors: the kernel has refused that event. It goes on when some were answered.
			if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) && !errors.Is(err, unix.EINTR) {
				g.log.Warn("fanotify", "error", err)
			}
			g.counts.unread.Add(1)
			time.Sleep(time.Millisecond)
		default:
			g.take(r, to, buf[:n])
		}
	}
}

func (g *Gate) take(r *reader, to kernel.Receiver, b []byte) {
	for len(b) > 0 {
		e, rest, err := next(b)
		if err != nil {
			g.log.Error("an event of fanotify cannot be read", "error", err)
			return
		}
		b = rest
		g.decide(r, to, e)
	}
}

// decide answers what needs no judge, and has the others wait for it.
func (g *Gate) decide(r *reader, to kernel.Receiver, e event) {
	if e.mask&unix.FAN_Q_OVERFLOW != 0 || e.fd < 0 {
		g.counts.lost.Add(1)
		closeAll(e)
		return
	}
	g.counts.seen.Add(1)
	if e.pid == g.self || g.judges(e.pid) {
		g.counts.own.Add(1)
		g.finish(r, e, false)
		return
	}
	exec := e.mask&unix.FAN_OPEN_EXEC_PERM != 0
	rec := &record.Record{Kind: record.KindCall, Call: record.CallOpenat, Time: boottime()}
	if exec {
		rec.Kind, rec.Call = record.KindExec, record.CallExecve
	}
	fileOf(e.fd, rec)
	switch {
	case len(rec.Path) == 0 && !r.matters(exec, ""): // what is asked about by name cannot be told
		g.counts.unknown.Add(1)
		g.finish(r, e, g.closed.Load())
		return
	case !r.matters(exec, string(rec.Path)):
		g.counts.passed.Add(1)
		g.finish(r, e, false)
		return
	}
	till := time.Now().Add(g.cfg.Deadline)
	select {
	case g.places <- struct{}{}:
		r.waiting.Add(1)
		g.all.Go(func() {
			defer func() { <-g.places }()
			g.ask(r, to, e, rec, till)
		})
		return
	default:
	}
	if !g.stuck.Load() { // else nobody answers
		select {
		case g.queue <- struct{}{}:
			r.waiting.Add(1)
			g.all.Go(func() { g.wait(r, to, e, rec, till) })
			return
		default:
		}
	}
	g.counts.full.Add(1)
	g.finish(r, e, g.closed.Load())
}

// maxQueued bounds those that wait for a place: whoever asks much at once, and be it to have one thing pass among many, waits longer, but is asked about. Each holds two
// descriptors.
const maxQueued = 4096

// wait has an event asked about as soon as there is a place.
func (g *Gate) wait(r *reader, to kernel.Receiver, e event, rec *record.Record, till time.Time) {
	late := time.NewTimer(time.Until(till))
	defer late.Stop()
	select {
	case g.places <- struct{}{}:
		<-g.queue
		defer func() { <-g.places }()
		g.ask(r, to, e, rec, till)
	case <-late.C:
		<-g.queue
		g.counts.full.Add(1)
		g.finish(r, e, g.closed.Load())
		r.waiting.Done()
	}
}

// judges reports whether a process is one of those that judge, and not another one that has its pid now.
func (g *Gate) judges(pid int32) bool {
	for _, e := range g.exempt {
		if e.pid == pid {
			return unix.PidfdSendSignal(int(e.pidfd), 0, nil, 0) == nil
		}
	}
	return false
}

// ask asks the judge, and answers in its place when its time is over.
func (g *Gate) ask(r *reader, to kernel.Receiver, e event, rec *record.Record, till time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), till)
	defer cancel()
	var once sync.Once
	finish := func(deny bool, count *atomic.Uint64) {
		once.Do(func() {
			count.Add(1)
			g.finish(r, e, deny)
			r.waiting.Done()
		})
	}
	who, ok := callerOf(e.pid, e.pidfd, g.cgroup, rec)
	if !ok {
		finish(true, &g.counts.gone) // nobody waits
		return
	}
	if g.ours(who, rec.PPID) {
		finish(false, &g.counts.own)
		return
	}
	giveUp := func() {
		if time.Duration(g.last.Load()) < till.Add(-g.cfg.Deadline).Sub(g.born) { // else it is this question that takes long
			g.stuck.Store(true)
		}
		finish(g.closed.Load(), &g.counts.late)
	}
	late := time.AfterFunc(time.Until(till), giveUp)
	defer late.Stop()
	a := to.Ask(ctx, rec.Append(nil), record.GateFanotify)
	if a.Rule == "" && ctx.Err() != nil { // it is no verdict that comes with the deadline and names no rule
		giveUp()
		return
	}
	if late.Stop() {
		g.last.Store(int64(time.Since(g.born)))
		g.stuck.Store(false)
	}
	if a.Deny {
		finish(true, &g.counts.denied)
	} else {
		finish(false, &g.counts.allowed)
	}
}

// ours reports whether a process is a child of testudo that runs nothing else yet: it is about to run a program, and whoever
// started it waits for that, perhaps the judge.
func (g *Gate) ours(c caller, ppid uint32) bool {
	return c.flags&forkNoExec != 0 && (int32(ppid) == g.self || g.judges(int32(ppid)))
}

func (g *Gate) finish(r *reader, e event, deny bool) {
	if err := r.answer(e.fd, deny); err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, unix.ENOENT) { // ENOENT: killed while it waited
		g.log.Warn("an answer of fanotify did not get through", "error", err)
	}
	closeAll(e)
}

func closeAll(e event) {
	for _, fd := range []int32{e.fd, e.pidfd} {
		if fd >= 0 {
			_ = unix.Close(int(fd))
		}
	}
}

// Counts returns what became of the events.
func (g *Gate) Counts() Counts {
	c := &g.counts
	return Counts{Seen: c.seen.Load(), Own: c.own.Load(), Passed: c.passed.Load(), Allowed: c.allowed.Load(), Denied: c.denied.Load(),
		Late: c.late.Load(), Full: c.full.Load(), Unknown: c.unknown.Load(), Lost: c.lost.Load(), Unread: c.unread.Load(), Gone: c.gone.Load()}
}

// Features says whether the kernel lets it ask, and what stands in the way of that now.
func (g *Gate) Features() []kernel.Feature {
	f := kernel.Feature{Name: "fanotify", OK: true, Detail: "asks the judge before a file is opened or run; when testudo dies everything is let through"}
	fd, pidfds, err := newGroup()
	if err != nil {
		return []kernel.Feature{{Name: "fanotify", Detail: "the kernel refuses permission events: " + err.Error(),
			Cost: "rules that need the whole judge are enforced after the fact only: the program is killed", Mend: "CAP_SYS_ADMIN, and CONFIG_FANOTIFY_ACCESS_PERMISSIONS"}}
	}
	_ = unix.Close(fd)
	if !pidfds {
		f.Detail += "; without pidfd (Linux 5.15)"
	}
	var notes []string
	c := g.Counts()
	for _, n := range []struct {
		count uint64
		what  string
	}{{c.Lost, "were let through by the kernel, as its queue was full"}, {c.Unread, "were refused by the kernel, as testudo had no descriptor left"}, {c.Late, "had no verdict in time"}, {c.Full, "came when too many waited, or waited too long for their turn"},
		{c.Unknown, "had a path that is too long to tell"}} {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	f.Cost = strings.Join(notes, ", ")
	return []kernel.Feature{f}
}
