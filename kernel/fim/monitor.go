package fim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// Deps is what a monitor is made of.
type Deps struct {
	Examiner kernel.Examiner
	Sink     signal.Sink // takes the events of the plane, and those of changed files
	Book     Book
	File     string              // where the baseline is kept
	Host     string              // device.hostname of events
	Redact   func(string) string // takes secrets out of a path; nil leaves it as it is
	Now      func() time.Time    // nil: time.Now
	Logger   *slog.Logger
	// Registerer takes the metrics; nil: nothing is exported.
	Registerer prometheus.Registerer
}

// Monitor tells of files that are not what they were. It is a [signal.Sink] that hands on every event. Its methods are safe for concurrent use, but
// for Run, which is called once.
type Monitor struct {
	cfg Config
	d   Deps
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	pending map[string]*pending
	actors  map[string]*signal.Event // by process.uid, of those that pending files wait with
	moved   []moved                  // folders of which all that is below may have changed
	scanAt  time.Time                // when all files are to be looked at at the latest
	behind  bool                     // something may have changed before it was seen, and no walk has begun since
	scanned time.Time
	took    time.Duration
	full    bool
	ready   bool  // known is
	problem error // why there is no baseline
	base    *Baseline
	digest  string
	known   map[string]kernel.File // what was told last

	work sync.Mutex // one look at a time
	wake chan struct{}

	seen, unseen, dropped, failed atomic.Uint64
}

// pending is a file that is to be looked at.
type pending struct {
	due    time.Time
	looks  int // that were made since the last event
	causes []cause
}

// cause is an event that may have changed a file.
type cause struct {
	event signal.ID
	actor *signal.Event // fields of who acted
}

// moved is a folder that came or went whole.
type moved struct {
	prefix string
	cause  cause
}

const (
	maxCauses = 4
	maxMoved  = 64
	looks     = 3 // at a file after an event: who has it open for writing may write later
	soon      = 10 * time.Second
	retry     = 5 * time.Second
	// maxTold bounds the events of one walk; what is beyond is one event with a number.
	maxTold = 2048
)

// New makes a monitor. It starts nothing.
func New(cfg Config, d Deps) (*Monitor, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("fim: %w", err)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Monitor{cfg: cfg, d: d, log: d.Logger, now: d.Now, pending: map[string]*pending{}, actors: map[string]*signal.Event{}, known: map[string]kernel.File{},
		wake: make(chan struct{}, 1)}
	if d.Registerer != nil {
		if err := d.Registerer.Register(metrics{m}); err != nil {
			return nil, fmt.Errorf("fim: metrics: %w", err)
		}
	}
	return m, nil
}

// Interest returns what a sensor has to see, so that changes are told of as they happen.
func (c *Config) Interest() kernel.Interest {
	var p kernel.Paths
	for _, root := range c.roots() {
		p.Exact = append(p.Exact, root)
		p.Prefix = append(p.Prefix, root+"/")
	}
	return kernel.Interest{Calls: changingCalls(), Writes: p, Changes: p}
}

// Event implements signal.Sink.
func (m *Monitor) Event(ctx context.Context, e *signal.Event) (signal.Verdict, error) {
	v, err := m.d.Sink.Event(ctx, e)
	m.note(e)
	return v, err
}

// changes reports whether a file event may have changed its file.
func changes(e *signal.Event) bool {
	switch e.Activity {
	case activityRead, activityMount, activityUnmount:
		return false
	case activityOpen:
		return slices.ContainsFunc(e.Strings(signal.FieldOpenFlags), func(f string) bool {
			return f == "O_WRONLY" || f == "O_RDWR" || f == "O_CREAT" || f == "O_TRUNC"
		})
	}
	return true
}

const (
	activityRead    uint8 = 2
	activityMount   uint8 = 12
	activityUnmount uint8 = 13
	activityOpen    uint8 = 14
)

// note remembers the files of an event that may have changed. A path in a container is another file than the one of that name on the host.
func (m *Monitor) note(e *signal.Event) {
	if e.Class != signal.ClassFileActivity || e.Plane != signal.PlaneKernel || !changes(e) || e.Has(signal.FieldContainerUID) {
		return
	}
	unknown := !e.Has(signal.FieldActorProcessPID) // as inotify tells it
	var at *cause
	for _, f := range [...]signal.Field{signal.FieldFilePath, signal.FieldFileResultPath} {
		name := e.Str(f)
		if name == "" || !m.cfg.Covers(name) {
			continue
		}
		m.mu.Lock()
		if at == nil {
			at = m.causeOf(e)
		}
		m.expect(name, *at, unknown)
		m.mu.Unlock()
	}
	if at != nil {
		m.nudge()
	}
}

func (m *Monitor) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// causeOf keeps of an event who acted. The lock is held.
func (m *Monitor) causeOf(e *signal.Event) *cause {
	// One process may act for several requests, one behind the other.
	key := e.Str(signal.FieldActorProcessUID) + "\x00" + e.Str(signal.FieldHTTPRequestUID)
	a := m.actors[key]
	if a == nil {
		a = &signal.Event{}
		copyActor(a, e)
		if len(m.actors) < m.cfg.Pending {
			m.actors[key] = a
		}
	}
	return &cause{e.ID, a}
}

// expect has a file looked at. The lock is held.
func (m *Monitor) expect(name string, c cause, unknown bool) {
	p := m.pending[name]
	if p == nil {
		if len(m.pending) >= m.cfg.Pending {
			m.dropped.Add(1)
			m.follow(path.Dir(name), c)
			return
		}
		p = &pending{}
		m.pending[name] = p
	}
	same := slices.IndexFunc(p.causes, func(o cause) bool { return o.actor == c.actor })
	switch {
	case unknown: // it is looked at soon, and by whom stays open
	case p.looks > 0:
		// The file was looked at since the others acted: what changes from now on is first of all this one's.
		if same >= 0 {
			p.causes = slices.Delete(p.causes, same, same+1)
		}
		p.causes = slices.Insert(p.causes, 0, c)
		p.causes = p.causes[:min(len(p.causes), maxCauses)]
	case same < 0 && len(p.causes) < maxCauses:
		p.causes = append(p.causes, c)
	}
	p.looks = 0
	p.due = m.now().Add(m.cfg.Settle)
	if strings.ContainsRune(name, 0xfffd) {
		m.follow(path.Dir(name), c) // the event does not have the name as it is: a walk does
	}
}

// follow has all files looked at soon, and remembers who moved what. The lock is held.
func (m *Monitor) follow(prefix string, c cause) {
	if at := m.now().Add(soon); m.scanAt.IsZero() || at.Before(m.scanAt) {
		m.scanAt = at
	}
	for i := range m.moved {
		if m.moved[i].prefix == prefix {
			return
		}
	}
	if len(m.moved) < maxMoved {
		m.moved = append(m.moved, moved{prefix, c})
	}
}

// Watching says that changes are seen from now on, for the first time or again: all files are looked at, for what changed since the last look without being seen.
func (m *Monitor) Watching() {
	m.mu.Lock()
	m.behind = true
	if m.ready {
		m.scanAt = m.now()
	}
	m.mu.Unlock()
	m.nudge()
}

// nextScan returns when all files are looked at again, when that was done just now. The lock is held.
func (m *Monitor) nextScan() time.Time {
	if m.behind {
		return m.now()
	}
	return m.now().Add(m.cfg.Rescan)
}

// Run watches until ctx ends. What it finds out at first: whether the baseline is the one of the ledger; where there has never been one, it is taken.
func (m *Monitor) Run(ctx context.Context) error {
	if !m.cfg.Enabled {
		<-ctx.Done()
		return nil
	}
	m.begin(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-timer.C:
		}
		next := m.step(ctx)
		timer.Reset(max(next.Sub(m.now()), time.Millisecond))
	}
}

// begin loads the baseline, takes the first one, or says what is wrong. While the sensor cannot be asked it tries again.
func (m *Monitor) begin(ctx context.Context) {
	base, digest, err := load(ctx, m.d.File, m.d.Book)
	if err == nil {
		m.mu.Lock()
		m.set(base, digest)
		m.ready, m.scanAt = true, m.now()
		m.mu.Unlock()
		return
	}
	first := errors.Is(err, ErrNone)
	if !first {
		m.log.Error("the baseline of files is not the one that was signed: nothing is compared with it until one is taken anew (testudo fim baseline)", "error", err)
		m.mu.Lock()
		m.problem = err
		m.mu.Unlock()
		m.tellBaseline(ctx, err)
	}
	for {
		if first {
			var st Status
			if st, err = m.Take(ctx, "system", nil); err == nil {
				m.log.Info("a first baseline of files was taken", "files", st.Files)
			}
		} else {
			err = m.adopt(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		if m.problem == nil || first {
			m.problem = err
		}
		m.mu.Unlock()
		m.log.Warn("files cannot be looked at yet", "error", err, "again_in", retry)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
		m.mu.Lock()
		done := m.ready
		m.mu.Unlock()
		if done {
			return // somebody took one meanwhile
		}
	}
}

// adopt takes what is there now as known, without a baseline.
func (m *Monitor) adopt(ctx context.Context) error {
	m.work.Lock()
	defer m.work.Unlock()
	b, err := Collect(ctx, m.d.Examiner, &m.cfg, m.d.Host, m.now(), nil)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.know(b.Files)
	m.ready, m.scanAt = true, m.nextScan()
	return nil
}

// set makes a baseline the one in force. The lock is held.
func (m *Monitor) set(b *Baseline, digest string) {
	m.base, m.digest, m.problem = b, digest, nil
	m.full = b.Full
	m.know(b.Files)
}

func (m *Monitor) know(files []kernel.File) {
	m.known = make(map[string]kernel.File, len(files))
	for _, f := range files {
		m.known[string(f.Path)] = f
	}
}

// step does what is due, and returns when there is more.
func (m *Monitor) step(ctx context.Context) time.Time {
	now := m.now()
	m.mu.Lock()
	scan := m.ready && !m.scanAt.IsZero() && !m.scanAt.After(now)
	m.mu.Unlock()
	if scan {
		if err := m.Scan(ctx); err != nil && ctx.Err() == nil {
			m.failed.Add(1)
			m.log.Warn("the files that are watched could not be looked at", "error", err, "again_in", retry)
			m.mu.Lock()
			m.scanAt = m.now().Add(retry)
			m.mu.Unlock()
		}
	}
	m.check(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	next := now.Add(time.Minute)
	if m.ready && !m.scanAt.IsZero() && m.scanAt.Before(next) {
		next = m.scanAt
	}
	if m.ready {
		for _, p := range m.pending {
			if p.due.Before(next) {
				next = p.due
			}
		}
	}
	return next
}

// check looks at the files that are due.
func (m *Monitor) check(ctx context.Context) {
	m.work.Lock()
	defer m.work.Unlock()
	for ctx.Err() == nil {
		now := m.now()
		var due []kernel.FilePath
		m.mu.Lock()
		if m.ready {
			for name, p := range m.pending {
				if !p.due.After(now) && len(due) < kernel.MaxExamined {
					due = append(due, kernel.FilePath(name))
				}
			}
		}
		m.mu.Unlock()
		if len(due) == 0 {
			return
		}
		slices.Sort(due)
		a, err := m.d.Examiner.Examine(ctx, kernel.ExamineRequest{Paths: due})
		if err == nil && len(a.Files) != len(due) {
			err = fmt.Errorf("%d files were asked for, %d came", len(due), len(a.Files))
		}
		if err != nil {
			m.failed.Add(1)
			if ctx.Err() == nil {
				m.log.Warn("changed files could not be looked at", "files", len(due), "error", err, "again_in", retry)
			}
			m.mu.Lock()
			for _, name := range due {
				if p := m.pending[string(name)]; p != nil {
					p.due = now.Add(retry)
				}
			}
			m.mu.Unlock()
			return
		}
		for i := range a.Files {
			a.Files[i].Path = due[i]
			m.looked(ctx, &a.Files[i], now)
		}
	}
}

// looked takes what a file is that an event was about.
func (m *Monitor) looked(ctx context.Context, f *kernel.File, now time.Time) {
	name := string(f.Path)
	m.mu.Lock()
	p := m.pending[name]
	var causes []cause
	if p != nil {
		causes = slices.Clone(p.causes)
		// Who opened the file for writing may write later: it is looked at again, and again.
		if p.looks++; p.looks >= looks || !f.Exists {
			m.forget(name)
		} else {
			p.due = now.Add(m.cfg.Settle * time.Duration([...]int{1, 5, 30}[p.looks]))
		}
	}
	before, ok := m.known[name]
	if !ok {
		before = kernel.File{Path: f.Path}
	}
	what := compare(&before, f)
	if len(what) > 0 {
		m.learn(f)
		if (f.Mode|before.Mode)&typeMask == typeFolder && len(causes) > 0 && what[0] != Mode && what[0] != Owner {
			m.follow(name, causes[0])
		}
	}
	m.mu.Unlock()
	if len(what) > 0 {
		m.tell(ctx, &Change{Path: f.Path, What: what, Before: before, After: *f}, causes)
	}
}

const typeFolder = 0o040000

// learn takes over what a file is. The lock is held.
func (m *Monitor) learn(f *kernel.File) {
	switch _, ok := m.known[string(f.Path)]; {
	case !f.Exists:
		delete(m.known, string(f.Path))
	case ok || len(m.known) < m.cfg.MaxFiles:
		m.known[string(f.Path)] = *f
	default:
		m.full = true
	}
}

// forget takes a file from those that wait. The lock is held.
func (m *Monitor) forget(name string) {
	delete(m.pending, name)
	if len(m.pending) == 0 {
		clear(m.actors)
	}
}

// Scan looks at all files now, and tells of those that are not what they were.
func (m *Monitor) Scan(ctx context.Context) error {
	m.work.Lock()
	defer m.work.Unlock()
	began := m.now()
	m.mu.Lock()
	base := m.base
	m.behind = false
	m.mu.Unlock()
	now, cut, err := again(ctx, m.d.Examiner, &m.cfg, base, m.d.Host, began)
	if err != nil {
		return err
	}
	m.mu.Lock()
	if !m.ready {
		m.mu.Unlock()
		return errors.New("there is no baseline yet: it is being taken")
	}
	was := m.sorted()
	if cut != "" {
		was = slices.DeleteFunc(was, func(f kernel.File) bool { return beyond(cut, base, &f) })
	}
	differ := Diff(was, now.Files)
	type told struct {
		change Change
		causes []cause
	}
	var list []told
	var more int
	for _, c := range differ {
		if len(list) < maxTold {
			list = append(list, told{c, m.causesOf(string(c.Path))})
		} else {
			more++
		}
	}
	m.know(now.Files)
	m.full, m.scanned, m.took = now.Full, m.now(), m.now().Sub(began)
	m.scanAt, m.moved = m.nextScan(), nil
	m.mu.Unlock()
	for i := range list {
		m.tell(ctx, &list[i].change, list[i].causes)
	}
	if more > 0 {
		m.log.Error("more files are changed than are told of one by one: testudo fim diff lists them", "more", more)
	}
	return nil
}

// beyond reports whether a walk that was cut short did not look at a file.
func beyond(cut string, base *Baseline, f *kernel.File) bool {
	if comparePaths(string(f.Path), cut) <= 0 {
		return false
	}
	if base == nil {
		return true
	}
	_, of := base.Find(string(f.Path))
	return !of
}

// sorted returns what is known in the order of a walk. The lock is held.
func (m *Monitor) sorted() []kernel.File {
	all := make([]kernel.File, 0, len(m.known))
	for _, f := range m.known {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b kernel.File) int { return comparePaths(string(a.Path), string(b.Path)) })
	return all
}

// causesOf returns who may have changed a file that a walk found changed. The lock is held.
func (m *Monitor) causesOf(name string) []cause {
	if p := m.pending[name]; p != nil {
		return slices.Clone(p.causes)
	}
	for i := range m.moved {
		if at := m.moved[i].prefix; name == at || strings.HasPrefix(name, at+"/") {
			return []cause{m.moved[i].cause}
		}
	}
	return nil
}

// tell has the change of a file judged and recorded.
func (m *Monitor) tell(ctx context.Context, c *Change, causes []cause) {
	var e signal.Event
	m.fill(&e, c, causes)
	if len(causes) > 0 {
		m.seen.Add(1)
	} else {
		m.unseen.Add(1)
	}
	e.SetString(signal.FieldKernelGate, record.GateNone.String()) // nobody can be killed for it
	if _, err := m.d.Sink.Event(ctx, &e); err != nil && ctx.Err() == nil {
		m.log.Error("a changed file was not judged", "path", c.Path, "error", err)
	}
}
