package process

import (
	"bytes"
	"strings"

	"github.com/testudo-sec/testudo/kernel/record"
)

// sampleEvery is after how many nanoseconds of records the clocks are compared.
const sampleEvery = 1_000_000_000

// Apply takes note of the record and returns the process it is of: of a fork the child, of an exec the process as it runs the new
// program, of an exit the process that ended. It is nil for records of no process. The record is not kept.
func (t *Table) Apply(r *record.Record) *Process {
	if r.PID == 0 || r.Kind == record.KindLost || r.Kind == record.KindNone {
		return nil
	}
	t.write.Lock()
	defer t.write.Unlock()
	if r.Time > t.sampled+sampleEvery {
		t.sampled = r.Time
		t.clock.Sample()
		t.forget(r.Time)
	}
	s := t.live[r.PID]
	if s != nil {
		if p := s.p.Load(); !p.is(r) {
			if r.Start < p.Start { // a late record of one that had this process id before
				return t.late(r)
			}
			t.stats.Unseen++
			t.end(s, p, r.Start, 0)
			s = nil
		}
	}
	if s == nil {
		if p := t.past(r.PID, r.Start); p != nil { // it has ended; what is late changes nothing
			return p
		}
	}
	switch r.Kind {
	case record.KindExec:
		return t.exec(s, r)
	case record.KindFork:
		return t.fork(s, r)
	case record.KindExit:
		return t.exit(s, r)
	}
	if s == nil {
		return t.meet(r)
	}
	return t.note(s, r)
}

// note is the way of most records: of a process that is known, and mostly is as it was.
func (t *Table) note(s *slot, r *record.Record) *Process {
	p := s.p.Load()
	if s.turn != t.turn {
		p = t.relink(s, p, 0)
	}
	first := r.TID == r.PID || r.TID == 0
	same := (r.Cgroup == 0 || r.Cgroup == p.Cgroup) && !r.HasStdio && len(r.Cwd) == 0
	if first {
		same = same && r.UID == p.UID && r.GID == p.GID && (r.MntNS == p.MntNS || r.MntNS == 0) && !r.HasCreds && sameComm(&s.comm, r.Comm)
	}
	if same {
		return p
	}
	q := *p
	if r.Cgroup != 0 {
		q.Cgroup = r.Cgroup
	}
	if r.HasStdio {
		q.Stdio, q.HasStdio = r.Stdio, true
	}
	if len(r.Cwd) > 0 {
		q.Cwd = t.texts.of(r.Cwd)
	}
	if first {
		q.UID, q.GID = r.UID, r.GID
		if r.MntNS != 0 {
			q.MntNS = r.MntNS
		}
		if r.HasCreds {
			q.Creds, q.HasCreds = r.Creds, true
		}
		if !sameComm(&s.comm, r.Comm) && len(r.Comm) > 0 {
			q.Name = t.texts.of(r.Comm)
			setComm(&s.comm, r.Comm)
		}
	}
	if q == *p {
		return p
	}
	return t.put(s, &q)
}

// meet makes an entry for a process that is there, but was not seen to begin.
func (t *Table) meet(r *record.Record) *Process {
	t.stats.Unknown++
	p := t.begin(r)
	p.State = Unknown
	if r.HasCreds {
		p.Creds, p.HasCreds = r.Creds, true
	}
	if r.HasStdio {
		p.Stdio, p.HasStdio = r.Stdio, true
	}
	p.Cwd = t.texts.of(r.Cwd)
	t.turn++
	return t.add(p, r)
}

// begin makes what every record tells.
func (t *Table) begin(r *record.Record) *Process {
	p := &Process{Key: makeKey(t.boot, r.PID, r.Start), PID: r.PID, PPID: r.PPID, Start: r.Start, Name: t.texts.of(r.Comm),
		coarse: r.Flags&record.FlagSeeded != 0, Lineage: t.lineage(r.PPID, r.Start)}
	t.head(p, r)
	return p
}

// head takes over what a record of any kind tells of its process.
func (t *Table) head(p *Process, r *record.Record) {
	p.UID, p.GID, p.LoginUID = r.UID, r.GID, r.LoginUID
	p.MntNS, p.PIDNS, p.Cgroup = r.MntNS, r.PIDNS, r.Cgroup
	p.Flags |= r.Flags & record.FlagKernel
}

func (t *Table) fork(s *slot, r *record.Record) *Process {
	if r.Flags&record.FlagThread != 0 {
		if s == nil {
			return t.meet(r)
		}
		return s.p.Load()
	}
	if s != nil && s.p.Load().State != Unknown {
		// What a gate took for a fork may be one of what its parent ran before: the gate does not wait for the records that say so.
		guessed := s.p.Load().coarse && s.p.Load().State == Seen && r.Flags&record.FlagSeeded == 0 && s.p.Load().Key == makeKey(t.boot, r.PID, r.Start)
		switch {
		case !guessed && s.p.Load().coarse && r.Flags&record.FlagSeeded == 0:
			return t.startedBy(s, r)
		case !guessed:
			return s.p.Load()
		}
	}
	from, began := starter(r)
	parent := t.parent(from, began)
	p := t.begin(r)
	if p.PPID != from {
		p.PPID, p.Lineage = from, t.lineage(from, began)
	}
	p.Image = r.Time
	if parent == nil {
		p.State = Unknown
	} else {
		q := parent.p.Load()
		p.State, p.Exe, p.CmdLine, p.argv, p.Cut, p.Given, p.Cwd, p.Image = q.State, q.Exe, q.CmdLine, q.argv, q.Cut, q.Given, q.Cwd, q.Image
		if p.State == Seeded {
			p.State = Seen
		}
		p.Creds, p.HasCreds, p.Stdio, p.HasStdio, p.Inode, p.HasInode = q.Creds, q.HasCreds, q.Stdio, q.HasStdio, q.Inode, q.HasInode
		p.Flags = q.Flags&^(record.FlagSeeded|record.FlagKernel) | r.Flags&record.FlagKernel
		p.Creds.VPID, p.Creds.VTID = 0, 0
		if p.PIDNS == 0 {
			p.PIDNS = q.PIDNS
		}
		if p.PIDNS == q.PIDNS && q.Creds.VPID == q.PID { // in the first namespace
			p.Creds.VPID, p.Creds.VTID = p.PID, p.PID
		}
	}
	if r.HasCreds {
		p.Creds, p.HasCreds = r.Creds, true
	}
	if p.State == Unknown {
		t.stats.Unknown++
	}
	if s != nil {
		return t.put(s, p)
	}
	return t.add(p, r)
}

// startedBy takes over from the record of its fork who started a process that was found in /proc, where the kernel names another once that one has ended. What it
// runs by now is known already.
func (t *Table) startedBy(s *slot, r *record.Record) *Process {
	q := *s.p.Load()
	from, began := starter(r)
	if q.Key == makeKey(t.boot, r.PID, r.Start) { // else by a piece of a tick, and its events have that key
		q.Start, q.coarse = r.Start, false
	}
	if t.parent(from, began) != nil || q.PPID != from {
		q.PPID, q.Lineage = from, t.lineage(from, began)
	}
	return t.put(s, &q)
}

// starter returns who made the call that a process was made by, and when it began.
func starter(r *record.Record) (pid uint32, start uint64) {
	if r.NumLen >= 2 && r.Nums[0] != 0 {
		return uint32(r.Nums[0]), r.Nums[1]
	}
	return r.PPID, r.Start
}

func (t *Table) exec(s *slot, r *record.Record) *Process {
	seeded := r.Flags&record.FlagSeeded != 0
	var p *Process
	if s == nil {
		p = t.begin(r)
	} else {
		old := s.p.Load()
		if seeded && old.State != Unknown && r.Time <= old.Image {
			return old // read before what is known happened
		}
		if s.turn != t.turn {
			old = t.relink(s, old, 0)
		}
		q := *old
		p = &q
		if seeded && old.State != Unknown && p.Exe == string(r.Path) {
			if line, _ := t.arguments(r.Args); line == p.CmdLine {
				return old
			}
		}
		if p.State == Unknown {
			t.turn++ // descendants that were met before may learn of it
		}
		p.Name = t.texts.of(r.Comm)
		t.head(p, r)
	}
	p.State, p.Image = Seen, r.Time
	if seeded {
		p.State = Seeded
	}
	p.Flags = r.Flags
	p.Exe, p.Given = t.texts.of(r.Path), ""
	if len(r.Name) > 0 && !bytes.Equal(r.Name, r.Path) {
		p.Given = t.texts.of(r.Name)
	}
	if len(r.Cwd) > 0 {
		p.Cwd = t.texts.of(r.Cwd)
	}
	p.CmdLine, p.argv = t.arguments(r.Args)
	p.Cut = cutArgs(r)
	if p.Inode, p.HasInode = r.Inode, r.HasInode; r.HasCreds {
		p.Creds, p.HasCreds = r.Creds, true
	}
	if r.HasStdio {
		p.Stdio, p.HasStdio = r.Stdio, true
	}
	if s == nil {
		t.turn++
		return t.add(p, r)
	}
	setComm(&s.comm, r.Comm)
	return t.put(s, p)
}

// arguments joins what is ended by zeros. The second text holds them as they came, where the first cannot be taken apart again.
func (t *Table) arguments(b []byte) (joined, argv string) {
	if len(b) == 0 {
		return "", ""
	}
	argv = t.texts.of(b)
	joined = strings.ReplaceAll(strings.TrimSuffix(argv, "\x00"), "\x00", " ")
	joined = t.texts.of([]byte(joined))
	if !bytes.ContainsAny(b, " \t\n\v\f\r\u0085\u00a0") && !bytes.Contains(b, []byte("\x00\x00")) && b[0] != 0 {
		argv = ""
	}
	return joined, argv
}

func (t *Table) exit(s *slot, r *record.Record) *Process {
	if s == nil {
		p := t.begin(r)
		p.State = Unknown
		p.Exited, p.Status = max(r.Time, 1), r.Ret
		t.stats.Unknown++
		if r.Flags&record.FlagThread == 0 {
			t.remember(p)
		}
		return p
	}
	if r.Flags&record.FlagThread != 0 {
		return s.p.Load()
	}
	return t.end(s, s.p.Load(), r.Time, r.Ret)
}

// late is a record of a process whose id another one has now.
func (t *Table) late(r *record.Record) *Process {
	if p := t.past(r.PID, r.Start); p != nil {
		return p
	}
	p := t.begin(r)
	p.State = Unknown
	return p
}

// end moves a living process to those that ended.
func (t *Table) end(s *slot, p *Process, at uint64, status int64) *Process {
	q := *p
	q.Exited, q.Status = max(at, 1), status
	t.size -= s.size
	t.mu.Lock()
	delete(t.live, p.PID)
	t.mu.Unlock()
	t.remember(&q)
	return &q
}

// add makes a place for a living process. What it returns may say more than what is kept.
func (t *Table) add(p *Process, r *record.Record) *Process {
	if len(t.live) >= t.cfg.Live {
		t.stats.Refused++
		return p
	}
	s := &slot{turn: t.turn}
	setComm(&s.comm, r.Comm)
	kept := t.bounded(p)
	s.p.Store(kept)
	s.size = kept.size()
	t.size += s.size
	t.mu.Lock()
	t.live[p.PID] = s
	t.mu.Unlock()
	return p
}

// put puts p in the place of what was in the slot.
func (t *Table) put(s *slot, p *Process) *Process {
	kept := t.bounded(p)
	s.family = nil
	s.p.Store(kept)
	size := kept.size()
	t.size += size - s.size
	s.size = size
	return p
}

func sameComm(have *[16]byte, b []byte) bool {
	n := min(len(b), len(have))
	return n == 0 || string(have[:n]) == string(b[:n]) && (n == len(have) || have[n] == 0)
}

func setComm(have *[16]byte, b []byte) {
	*have = [16]byte{}
	copy(have[:], b)
}
