package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/internal/cmdmask"
	"github.com/testudo-sec/testudo/internal/linuxabi"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// Deps is what a plane is made of.
type Deps struct {
	Sensor Sensor
	Sink   signal.Sink
	Chain  Chain // nil: events are not joined to requests
	// Redact takes out of a text what is a secret by its looks: detect.Set has it. Nil leaves texts as they are.
	Redact     func(string) string
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nothing is exported
	Now        func() time.Time      // nil: time.Now
	Host       string                // device.hostname of events
	Boot       string                // as /proc/sys/kernel/random/boot_id has it
	Clock      *process.Clock        // nil: this host's
	// Enforces reports whether what a rule refuses is refused; nil: as the configuration says.
	Enforces func(rule string) bool
	// Learned is called when a container is known that was not, and must return at once; may be nil. See [Plane.Workloads].
	Learned func()
	// Watching is called when the sensor has taken what is to be seen, and must return at once; may be nil.
	Watching func()
	// Own are the processes of testudo itself, and Data the folder they keep their state in. What these processes do to files below
	// that folder becomes no event, as recording it would be more of it; all else that they do is seen like anybody's.
	Own  []uint32
	Data string
}

// Plane makes events of what a sensor sees, has them judged, and answers the gates that ask. It is a [Receiver]. Its methods are safe for
// concurrent use, but for Run, which is called once.
type Plane struct {
	cfg     Config
	d       Deps
	now     func() time.Time
	log     *slog.Logger
	table   *process.Table
	inbox   *inbox
	asks    chan ask // about workloads
	files   chan ask // about executables: to read a large one takes its time, and no workload waits for that
	answers chan func()
	kills   chan killing
	metrics *metrics

	mu       sync.Mutex // guards all below
	b        *builder
	lanes    recent[laneKey, *lane]
	waiting  []*lane // lanes with parked records
	parked   int
	leaving  int           // of parked: for want of room
	parkedBy map[group]int // of the others
	exes     recent[exeKey, *executable]
	refused  recent[uint32, refusal]
	declined recent[uint32, decline]
	served   recent[uint32, inherited] // by process id

	event  signal.Event // of the one goroutine that judges what was watched
	rec    record.Record
	own    map[uint32]uint64 // process id of Own -> when that process began, 0 before its first record
	born   uint64            // when the plane was made, in nanoseconds since boot
	health health
	held   standing
	marks  marks // of the records that were taken note of
}

// lookups is how many questions of a kind to the sensor wait, and lookers how many are asked at a time.
const (
	lookups    = 1024
	lookers    = 2
	killers    = 64 // orders to kill that wait
	answersMax = 64
)

// New makes a plane. It starts nothing.
func New(cfg Config, d Deps) (*Plane, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Clock == nil {
		d.Clock = process.NewClock()
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Plane{
		cfg: cfg, d: d, now: d.Now, log: d.Logger, table: process.New(cfg.Processes, d.Boot, d.Clock), inbox: newInbox(int(cfg.Queue)),
		asks: make(chan ask, lookups), files: make(chan ask, lookups), answers: make(chan func(), answersMax), kills: make(chan killing, killers),
		lanes: newRecent[laneKey, *lane](max(cfg.Containers/2, 8)), exes: newRecent[exeKey, *executable](8192), refused: newRecent[uint32, refusal](1024), declined: newRecent[uint32, decline](1024), served: newRecent[uint32, inherited](16384),
		own: map[uint32]uint64{}, parkedBy: map[group]int{}, born: d.Clock.Now(), held: newStanding(),
	}
	for _, pid := range d.Own {
		p.own[pid] = 0
	}
	p.d.Data = strings.TrimRight(d.Data, "/")
	if p.d.Enforces == nil {
		p.d.Enforces = p.cfg.Enforces
	}
	p.b = newBuilder(d.Host, p.table, d.Chain, cmdmask.New(cfg.Masked, d.Redact), linuxabi.MachineOf(runtime.GOARCH))
	p.health.limit = uint64(cfg.MaxLost)
	p.metrics = newMetrics(p)
	if d.Registerer != nil {
		if err := d.Registerer.Register(p.metrics); err != nil {
			return nil, fmt.Errorf("kernel: metrics: %w", err)
		}
	}
	return p, nil
}

// Table returns the processes of this host.
func (p *Plane) Table() *process.Table { return p.table }

// SetReads says what the loaded rules read.
func (p *Plane) SetReads(r Reads) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.b.wanted = wants(r)
}

// Records takes whole records. It waits while the queue is full.
func (p *Plane) Records(batch []byte) {
	if !p.inbox.put(batch) {
		p.metrics.late.Add(uint64(len(batch)))
	}
}

// Run runs the sensor, starts it again where it fails, and judges what it sees, until ctx ends; then what was received is judged.
// It returns when all its goroutines are gone.
func (p *Plane) Run(ctx context.Context) error {
	p.inbox.open()
	var sensing, helping sync.WaitGroup
	help, stop := context.WithCancel(context.WithoutCancel(ctx))
	for range lookers {
		helping.Go(func() { p.look(help, p.asks) })
		helping.Go(func() { p.look(help, p.files) })
	}
	helping.Go(func() { p.killer(help) })
	helping.Go(func() { p.apply(help) })
	judged := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(judged)
		p.judge(help, ended)
	}()
	sensing.Go(func() { p.sense(ctx) })
	<-ctx.Done()
	sensing.Wait()
	p.inbox.close()
	close(ended)
	<-judged
	stop()
	helping.Wait()
	return nil
}

// How long a sensor that failed is left alone.
const (
	restartFirst = 500 * time.Millisecond
	restartMost  = 30 * time.Second
)

// sense runs the sensor.
func (p *Plane) sense(ctx context.Context) {
	pause := restartFirst
	for {
		began := p.now()
		p.held.all(errNotTold)
		p.applyAgain()
		p.health.started()
		err := p.d.Sensor.Run(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended")
		}
		p.health.failed(err)
		p.metrics.restarts.Add(1)
		if p.now().Sub(began) > time.Minute {
			pause = restartFirst
		}
		p.log.Error("the sensor of the kernel has stopped, and is started again: what happens until then is not seen", "error", err, "in", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMost)
	}
}

// tick is how often what waits is looked at.
const tick = 20 * time.Millisecond

// judge is the one goroutine that makes events of what was watched.
func (p *Plane) judge(ctx context.Context, ended <-chan struct{}) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		if b := p.inbox.take(); b != nil {
			p.batch(ctx, b)
			p.inbox.done(b)
		} else {
			select {
			case <-p.inbox.ready:
				continue
			case f := <-p.answers:
				f()
			case <-ticks.C:
			case <-ended:
				if p.inbox.size() == 0 {
					p.release(ctx, true)
					p.tellLost(ctx, true)
					return
				}
			}
		}
		for more := true; more; {
			select {
			case f := <-p.answers:
				f()
			default:
				more = false
			}
		}
		p.release(ctx, false)
		p.tellLost(ctx, false)
		p.refresh()
	}
}

// join tells the chain what a batch says of requests, before anything in it is judged: the processors of the machine take no turns, so that
// what a request caused may come before who passed the request on.
func (p *Plane) join(b []byte) {
	if p.d.Chain == nil {
		return
	}
	for len(b) > 0 {
		size, ok := record.Size(b)
		if !ok {
			return
		}
		switch record.KindOf(b) {
		case record.KindServe, record.KindSend:
			if _, err := record.Decode(b, &p.rec); err == nil {
				p.d.Chain.Apply(&p.rec)
			}
		}
		b = b[size:]
	}
}

// batch judges whole records, one behind the other.
func (p *Plane) batch(ctx context.Context, b []byte) {
	p.join(b)
	for len(b) > 0 {
		size, ok := record.Size(b)
		if !ok {
			p.metrics.malformed.Add(1)
			return // where the next one begins cannot be known
		}
		if _, err := record.Decode(b, &p.rec); err != nil {
			p.metrics.malformed.Add(1)
		} else {
			p.one(ctx, &p.rec, b[:size])
		}
		b = b[size:]
	}
}

// one takes a record.
func (p *Plane) one(ctx context.Context, r *record.Record, raw []byte) {
	p.metrics.records[r.Kind].Add(1)
	if r.Flags&record.FlagUnsure != 0 {
		p.metrics.unsure.Add(1)
	}
	if r.Kind == record.KindMark {
		p.marks.reach(r.Time)
		return
	}
	p.mu.Lock()
	if r.Kind == record.KindLost {
		p.lost(r)
		p.mu.Unlock()
		return
	}
	switch r.Kind {
	case record.KindServe, record.KindSend:
		p.served.put(r.PID, inherited{}) // it serves by itself from now on
		p.mu.Unlock()
		return // join has seen to them
	case record.KindFork:
		if r.Flags&record.FlagThread == 0 && r.Token != 0 {
			p.served.put(r.PID, inherited{r.Start, r.Token, r.Flags & record.FlagAmbiguous})
		}
	}
	if p.d.Chain != nil {
		p.d.Chain.Apply(r)
	}
	before := p.before(r)
	proc := p.table.Apply(r)
	if before != nil {
		proc = before
	}
	if proc != nil && r.Kind == record.KindExec {
		p.b.keepEnvironment(proc, r)
	}
	if !p.tells(r, proc) {
		p.mu.Unlock()
		return
	}
	if r.Kind == record.KindEnforced && proc != nil {
		if r.Call == record.CallExecve || r.Call == record.CallExecveat {
			proc = attempt(proc, r)
		}
	} else if r.Kind == record.KindCall && (r.Call == record.CallExecve || r.Call == record.CallExecveat) && proc != nil {
		proc = attempt(proc, r)
	}
	l := p.lane(r)
	x := p.executableOf(r, proc)
	if p.waits(l, x, r) && p.park(l, x, proc, raw) {
		p.mu.Unlock()
		return
	}
	ok := p.build(&p.event, r, proc, l, x)
	p.mu.Unlock()
	if ok {
		p.submit(ctx, &p.event, proc)
	}
}

// before returns the process as it was when it made a call that gives it all capabilities, of a namespace of its own: what counts is what it
// had when it asked. Nil for other calls.
func (p *Plane) before(r *record.Record) *process.Process {
	if r.Kind != record.KindCall || r.Call != record.CallUnshare && r.Call != record.CallSetns || r.Ret < 0 {
		return nil
	}
	if was := p.table.Find(r); was.HasCreds {
		return was
	}
	return nil
}

// build makes the event of a record; the lock is held.
func (p *Plane) build(e *signal.Event, r *record.Record, proc *process.Process, l *lane, x *executable) bool {
	v := view{r: r}
	if l != nil {
		v.c = l.is
	}
	if proc != nil {
		v.s = p.b.subject(proc, v.c != nil)
	}
	if x != nil {
		v.exe = x.facts
	}
	if r.Kind == record.KindEnforced {
		v.gate, v.mode = record.Gate(r.Nums[1]), ModeEnforce
		p.inherit(r, r.Start) // the program that refuses does not know of requests
	} else if p.cameBack(r) {
		was, _ := p.declined.get(r.PID)
		v.gate, v.mode, v.outcome = was.gate, ModeEnforce, OutcomeRefused
	}
	return p.b.build(e, &v)
}

// inherit has what a process does belong to the request that it was started for.
func (p *Plane) inherit(r *record.Record, start uint64) {
	if was, ok := p.served.get(r.PID); ok && r.Token == 0 && was.start/process.Tick == start/process.Tick { // of /proc it is exact to a tick
		r.Token, r.Flags = was.token, r.Flags|was.unsure
	}
}

// refresh takes over what has changed of the host's accounts.
func (p *Plane) refresh() {
	now := p.now()
	p.mu.Lock()
	a := p.b.accounts
	p.mu.Unlock()
	if now.Sub(a.looked) < lookAgain {
		return
	}
	changed := a.refresh(now)
	p.mu.Lock()
	p.b.accounts = a
	if changed {
		p.b.subjects = newRecent[*process.Process, *subject](p.b.subjects.limit)
	}
	p.mu.Unlock()
}
