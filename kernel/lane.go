package kernel

import (
	"context"
	"time"

	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// laneKey names a workload: a cgroup, and where all of a host share one (cgroup v1), a mount namespace.
type laneKey struct {
	cgroup uint64
	mntns  uint32
}

// lane is what is known of a workload, and its records that wait for that, in their order.
type lane struct {
	is       *contained // nil: of no container, or not known
	known    bool       // the sensor has answered
	asking   bool
	answer   chan struct{} // closed when the first question is answered
	answered bool
	again    time.Time // when it may be asked again, where its answer was not whole
	tries    int
	parked   []parked
	group    group
}

// group is who shares the room for what waits: the processes of a mount namespace, so that a container has no more of it for making cgroups
// of its own.
type group struct {
	mntns  uint32
	cgroup uint64 // where the namespace is not known
}

func groupOf(r *record.Record) group {
	if r.MntNS != 0 {
		return group{mntns: r.MntNS}
	}
	return group{cgroup: r.Cgroup}
}

// parked is a record that waits, with its process as it was then.
type parked struct {
	raw  []byte
	proc *process.Process
	exe  *executable
	till time.Time // zero: it has to go for want of room
}

// exeKey names a file and its content, as far as an inode tells.
type exeKey struct {
	device, inode uint64
	changed       int64
}

// executable is what is known of a file that ran.
type executable struct {
	facts *Executable // nil while it is not known
	asked bool
	done  bool // the sensor has answered, be it with an error
}

// ask is a question to the sensor.
type ask struct {
	cgroup uint64
	pid    uint32
	lane   *lane
	exe    *executable
	file   FileRef
}

// Limits of what is asked again.
const (
	maxTries  = 4
	lookupFor = 30 * time.Second // hashing a large file takes its time
)

// lane returns what is known of the workload of a record, and asks about it where nothing is; the lock is held. Nil: of the host.
func (p *Plane) lane(r *record.Record) *lane {
	k := laneKey{cgroup: r.Cgroup}
	if k.cgroup <= 1 {
		if k.mntns = r.MntNS; k.mntns == 0 {
			return nil
		}
	}
	l, ok := p.lanes.get(k)
	if !ok {
		l = &lane{answer: make(chan struct{}), group: groupOf(r)}
		p.lanes.put(k, l)
	}
	if l.asking || l.known && l.again.IsZero() {
		return l
	}
	if now := p.now(); l.again.IsZero() || now.After(l.again) {
		select {
		case p.asks <- ask{cgroup: r.Cgroup, pid: r.PID, lane: l}:
			l.asking = true
		default:
			p.metrics.asksMissed.Add(1)
		}
	}
	return l
}

// executableOf returns what is known of the file that a process runs, and asks about it where nothing is and the record is of
// a program that starts; the lock is held.
func (p *Plane) executableOf(r *record.Record, proc *process.Process) *executable {
	if proc == nil || !proc.HasInode || proc.Inode.Number == 0 {
		return nil
	}
	k := exeKey{proc.Inode.Device, proc.Inode.Number, proc.Inode.Changed}
	x, ok := p.exes.get(k)
	if !ok {
		if r.Kind != record.KindExec {
			return nil
		}
		x = &executable{}
		p.exes.put(k, x)
	}
	if !x.asked && r.Kind == record.KindExec {
		select {
		case p.files <- ask{exe: x, file: FileRef{PID: proc.PID, Start: proc.Start, Cgroup: proc.Cgroup, Path: proc.Exe, Inode: proc.Inode}}:
			x.asked = true
		default:
			p.metrics.asksMissed.Add(1)
		}
	}
	return x
}

// waits reports whether a record must wait: others of its workload do, the workload is being asked about for the first time, or a rule
// asks for what is not known yet of a program that starts.
func (p *Plane) waits(l *lane, x *executable, r *record.Record) bool {
	if l == nil { // what cannot be told apart does not wait for each other
		return false
	}
	return len(l.parked) > 0 || !l.known && l.asking && l.tries == 0 || p.lacks(x, r)
}

func (p *Plane) lacks(x *executable, r *record.Record) bool {
	return p.b.wanted.exe && x != nil && x.asked && !x.done && r.Kind == record.KindExec
}

// park keeps a record until what it waits for is known. Where all room is taken, what goes without waiting is what those have waiting who have most of it; false: that
// is who asks, and has nothing waiting that must come before.
func (p *Plane) park(l *lane, x *executable, proc *process.Process, raw []byte) bool {
	if p.cfg.ParkTime == 0 {
		return false
	}
	till := p.now().Add(p.cfg.ParkTime)
	if p.parked-p.leaving >= p.cfg.ParkEvents {
		if most := p.fattest(); p.parkedBy[most] > p.parkedBy[l.group] {
			p.leave(most)
		} else {
			p.leave(l.group)
		}
		if p.parked-p.leaving >= p.cfg.ParkEvents || l.tries > 0 && !l.known {
			p.metrics.parkFull.Add(1)
			if len(l.parked) == 0 {
				return false
			}
			till = time.Time{} // behind what came before
		}
	}
	if len(l.parked) == 0 {
		p.waiting = append(p.waiting, l)
	}
	var waitFor *executable
	rec := append([]byte(nil), raw...)
	if x != nil && p.b.wanted.exe && !x.done {
		waitFor = x
	}
	l.parked = append(l.parked, parked{raw: rec, proc: proc, exe: waitFor, till: till})
	p.parked++
	if till.IsZero() {
		p.leaving++
	} else {
		p.parkedBy[l.group]++
	}
	p.metrics.parked.Add(1)
	return true
}

// fattest returns who has most waiting.
func (p *Plane) fattest() (most group) {
	n := 0
	for g, count := range p.parkedBy {
		if count > n {
			most, n = g, count
		}
	}
	return most
}

// leave has everything of a group that waits judged next, without what it waits for.
func (p *Plane) leave(g group) {
	for _, l := range p.waiting {
		if l.group != g {
			continue
		}
		l.tries = max(l.tries, 1) // what comes after does not wait for the container either
		for i := range l.parked {
			if q := &l.parked[i]; !q.till.IsZero() {
				q.till = time.Time{}
				p.leaving++
				p.metrics.parkFull.Add(1)
			}
		}
	}
	delete(p.parkedBy, g)
}

// release judges parked records that need not wait any longer; all of them at the end.
func (p *Plane) release(ctx context.Context, all bool) {
	p.mu.Lock()
	if len(p.waiting) == 0 {
		p.mu.Unlock()
		return
	}
	now := p.now()
	kept := p.waiting[:0]
	var rec record.Record
	for _, l := range p.waiting {
		n := 0
		for n < len(l.parked) {
			q := &l.parked[n]
			late := all || !now.Before(q.till)
			if !late && (!l.known && l.tries == 0 || q.exe != nil && !q.exe.done) {
				break
			}
			switch {
			case q.till.IsZero():
				p.leaving--
			case late:
				p.metrics.parkLate.Add(1)
				l.tries = max(l.tries, 1) // the rest does not wait for the container either
				fallthrough
			default:
				if p.parkedBy[l.group]--; p.parkedBy[l.group] <= 0 {
					delete(p.parkedBy, l.group)
				}
			}
			n++
			p.parked--
			if _, err := record.Decode(q.raw, &rec); err != nil {
				continue
			}
			x := p.executableOf(&rec, q.proc)
			if !p.build(&p.event, &rec, q.proc, l, x) {
				continue
			}
			proc := q.proc
			p.mu.Unlock() // only this goroutine changes what waits
			p.submit(ctx, &p.event, proc)
			p.mu.Lock()
		}
		if l.parked = append(l.parked[:0], l.parked[n:]...); len(l.parked) > 0 {
			kept = append(kept, l)
		} else {
			l.parked = nil
		}
	}
	clear(p.waiting[len(kept):])
	p.waiting = kept
	p.mu.Unlock()
}

// look asks the sensor what comes in through asks.
func (p *Plane) look(ctx context.Context, asks <-chan ask) {
	for {
		var q ask
		select {
		case <-ctx.Done():
			return
		case q = <-asks:
		}
		limited, cancel := context.WithTimeout(ctx, lookupFor)
		answer := p.answer(limited, q)
		cancel()
		select {
		case p.answers <- answer:
		case <-ctx.Done():
			return
		}
	}
}

// answer asks the sensor, and returns what the judging goroutine does with the answer.
func (p *Plane) answer(ctx context.Context, q ask) func() {
	if q.exe != nil {
		facts, err := p.d.Sensor.Executable(ctx, q.file)
		return func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if q.exe.done = true; err == nil {
				facts.Package = clean(facts.Package, maxContainerText)
				q.exe.facts = &facts
			} else {
				p.metrics.asksFailed.Add(1)
			}
		}
	}
	c, ok, err := p.d.Sensor.Container(ctx, q.cgroup, q.pid)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.learned(q.lane, c, ok, err)
	}
}

// learned takes over what a workload is; the lock is held.
func (p *Plane) learned(l *lane, c Container, ok bool, err error) {
	l.asking = false
	if l.tries++; !l.answered {
		l.answered = true
		close(l.answer)
	}
	if err != nil {
		p.metrics.asksFailed.Add(1)
	} else {
		l.known = true
		if ok {
			l.is = newContained(c)
			if p.d.Learned != nil {
				p.d.Learned()
			}
		}
	}
	l.again = time.Time{}
	if (err != nil || ok && !c.Known) && l.tries < maxTries { // the runtime may not know it yet
		l.again = p.now().Add(time.Second << (2 * (l.tries - 1)))
	} else {
		l.known = true
	}
}
