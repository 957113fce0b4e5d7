package kernel

import (
	"strings"
	"time"

	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// tells reports whether a record becomes an event.
func (p *Plane) tells(r *record.Record, proc *process.Process) bool {
	switch r.Kind {
	case record.KindFork:
		return false
	case record.KindEnforced:
		if r.NumLen < 2 || record.Gate(r.Nums[1]) == record.GateNone {
			return false // it was let pass, and is seen where it happened
		}
		was, ok := p.refused.get(r.TID)
		if ok = ok && was.at == r.Time && was.call == attemptKind(r.Call); ok && was.told {
			return false // another rule about the same
		}
		announced := r.Flags&record.FlagMarked != 0
		p.refused.put(r.TID, refusal{r.Time, attemptKind(r.Call), !announced, record.Gate(r.Nums[1]) == record.GateExecKill})
		if announced {
			return false // until what was seen before is known
		}
	case record.KindExec:
		// Killed as it starts: the program that never ran is told of by the refusal.
		if was, ok := p.refused.get(r.TID); ok && r.Time >= was.at && (r.Time-was.at < uint64(sameRefusal) || was.fatal && r.Time-was.at < uint64(answered)) && was.call == attemptKind(record.CallExecve) {
			return false
		}
	case record.KindCall, record.KindConnect:
		if was, ok := p.refused.get(r.TID); ok && (r.Ret == notPermitted || r.Ret < 0 && was.call == record.KindExec) && r.Time >= was.at && r.Time-was.at < uint64(sameRefusal) && was.call == attemptKind(r.Call) {
			return false // the call that was told of as refused, as it came back
		}
		if p.cameBack(r) && !p.tellsMore(r) {
			return false
		}
	}
	if r.Flags&(record.FlagSeeded|record.FlagThread) != 0 && (r.Kind == record.KindExec || r.Kind == record.KindExit) {
		return false
	}
	return !p.isOwn(r, proc)
}

// inherited is the request that a process was started for.
type inherited struct {
	start  uint64 // of the process
	token  uint64
	unsure record.Flags
}

// refusal is what the kernel refused a thread last.
type refusal struct {
	at   uint64
	call record.Kind
	told bool // it became an event
	// fatal: the process is dying of it, and runs nothing else, however long a busy machine takes to get there.
	fatal bool
}

// decline is what a gate that asks refused a process last. It does not know the thread.
type decline struct {
	at   uint64
	call record.Kind
	path string
	of   uint64 // the request's token, 0 where the gate did not know of one
	gate record.Gate
}

// cameBack reports whether a call is one that a gate refused, which is told of already: it failed as refused calls do, in the same process, and is about the same file.
// The gate knows the file, the call the name that the program passed. Where that led is not known of a program that has ended since: then the process has to do.
func (p *Plane) cameBack(r *record.Record) bool {
	was, ok := p.declined.get(r.PID)
	return ok && r.Kind == record.KindCall && r.Ret == notPermitted && was.call == attemptKind(r.Call) && (was.path == string(r.Path) || r.Flags&record.FlagUnsure != 0) &&
		r.Time >= was.at && r.Time-was.at < uint64(answered)
}

// tellsMore reports whether a call that came back says which request it was for, which the gate did not know.
func (p *Plane) tellsMore(r *record.Record) bool {
	was, _ := p.declined.get(r.PID)
	return was.of == 0 && r.Token != 0
}

const (
	notPermitted = -1 // EPERM
	sameRefusal  = 20 * time.Millisecond
	answered     = 2 * time.Second // within which a gate that asks has its answer and the call is back
)

// isOwn reports whether a record is of testudo's own processes and of a file below its own folder. Neither a name nor a path
// alone makes it so: the process must be one that was named by its id when the plane was made.
func (p *Plane) isOwn(r *record.Record, proc *process.Process) bool {
	if p.d.Data == "" || proc == nil || r.Kind != record.KindCall || len(r.Path) <= len(p.d.Data) {
		return false
	}
	began, ok := p.own[r.PID]
	if !ok || string(r.Path[:len(p.d.Data)]) != p.d.Data || r.Path[len(p.d.Data)] != '/' {
		return false
	}
	if len(r.Path2) > 0 && !strings.HasPrefix(string(r.Path2), p.d.Data+"/") {
		return false
	}
	if r.Start > p.born {
		return false // a process that took over the id of one that was there when the plane was made
	}
	if began == 0 {
		p.own[r.PID] = r.Start
	} else if began != r.Start {
		return false // the process id is another's now
	}
	class, _, _ := ClassOf(r.Kind, r.Call)
	if class != signal.ClassFileActivity {
		return false
	}
	p.metrics.own.Add(1)
	return true
}

// attempt returns the process that would have been if the program had run.
func attempt(proc *process.Process, r *record.Record) *process.Process {
	q := proc.WithArgs(r)
	if len(r.Path) > 0 {
		q.Exe = record.Text(r.Path)
	} else {
		q.Exe = record.Text(r.Name)
	}
	name := q.Exe
	q.Given = ""
	if len(r.Name) > 0 && string(r.Name) != string(r.Path) {
		name, q.Given = record.Text(r.Name), record.Text(r.Name)
	}
	name = baseName(name)
	q.Name = strings.ToValidUTF8(name[:min(len(name), 15)], "")
	q.Inode, q.HasInode = r.Inode, r.HasInode
	q.Flags = r.Flags
	if r.HasCreds {
		q.Creds, q.HasCreds = r.Creds, true
	}
	if r.HasStdio {
		q.Stdio, q.HasStdio = r.Stdio, true
	}
	return q
}
