package process

import (
	"strings"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Process is one process as it was at a time. It never changes; fields must not be written.
type Process struct {
	Key   string // unique on the host, across boots too: "3f2a91c4-1234-9xk2" (boot, process id, start); "" where the start is not known
	PID   uint32
	PPID  uint32 // of the process that started it; with CLONE_PARENT the kernel names another, which hides nothing here
	Start uint64 // nanoseconds since boot; a multiple of [Tick] where it was found in /proc

	Name    string // as the kernel has it, at most 15 bytes
	Exe     string // path of the executable as the kernel resolved it; of a script its interpreter's
	CmdLine string // arguments joined by one space each, the first one too; not quoted, as Falco, Sigma and auditd have it
	Given   string // what the caller passed to execve, where that is not Exe: a script, a link, a relative path
	Cwd     string
	argv    string // arguments, each ended by a zero byte; "" where CmdLine says all
	// Cut says that CmdLine is only the beginning of what there was: its last word may be a piece.
	Cut bool

	UID, GID uint32 // whom it acts as
	LoginUID uint32 // who signed in; record.NoLogin for nobody
	Creds    record.Creds
	Stdio    [3]record.Descriptor
	Inode    record.Inode // of the executable
	HasCreds bool
	HasStdio bool
	HasInode bool

	State  State
	coarse bool         // Start is exact to a tick only
	Flags  record.Flags // of the record that told of the executable: upper layer, memory, kernel thread, ...
	MntNS  uint32
	PIDNS  uint32
	Cgroup uint64

	Image   uint64   // when it began to run Exe, in nanoseconds since boot: its exec, else that of the process it is a copy of
	Exited  uint64   // when it ended, in nanoseconds since boot; 0 while it lives
	Status  int64    // exit status as wait(2) gives it
	Lineage *Lineage // what it came from; never nil
}

// State says how a process is known.
type State uint8

// The states.
const (
	Seen    State = iota // its beginning was seen, or its exec
	Seeded               // found in /proc
	Unknown              // only what each record carries is known of it: it began before the sensor, or records of it were lost
)

// String returns the lower-case name.
func (s State) String() string {
	return [...]string{"seen", "seeded", "unknown"}[min(s, Unknown)]
}

// ExitCode returns what the process ended with, and the signal that killed it, 0 for none.
func (p *Process) ExitCode() (code int, signal int) {
	return int(p.Status>>8) & 0xff, int(p.Status) & 0x7f
}

// Alive reports whether the process had not ended.
func (p *Process) Alive() bool { return p.Exited == 0 }

// Kernel reports whether it is a thread of the kernel.
func (p *Process) Kernel() bool { return p.Flags&record.FlagKernel != 0 }

// Args returns the arguments, the first one too.
func (p *Process) Args() []string { return split(p.argv, p.CmdLine) }

func split(argv, line string) []string {
	if argv == "" {
		return strings.Fields(line)
	}
	return strings.Split(strings.TrimSuffix(argv, "\x00"), "\x00")
}

// longArgs is the least length, in bytes, at which a sensor cuts arguments.
const longArgs = 2000

// cutArgs reports whether the arguments of a record are cut: what it flags may be another text of it.
func cutArgs(r *record.Record) bool {
	return r.Flags&record.FlagTruncated != 0 && len(r.Args) >= longArgs
}

// WithArgs returns a copy of the process that has the arguments of a record instead.
func (p *Process) WithArgs(r *record.Record) *Process {
	q, args := *p, r.Args
	q.Cut = cutArgs(r)
	q.argv = record.Text(args)
	q.CmdLine = strings.ReplaceAll(strings.TrimSuffix(q.argv, "\x00"), "\x00", " ")
	return &q
}

// Parent returns the process that started it, and nil where that is not known or there is none.
func (p *Process) Parent() *Ancestor {
	if len(p.Lineage.Ancestors) == 0 {
		return nil
	}
	return p.Lineage.Ancestors[0]
}

// Session returns the leader of the process's session: itself or one of its ancestors. Of a leader that is none of them, only
// the table may know; see [Table.Leader].
func (p *Process) Session() *Ancestor { return p.leader(p.Creds.Session) }

// Group returns the leader of its process group, likewise.
func (p *Process) Group() *Ancestor { return p.leader(p.Creds.Group) }

func (p *Process) leader(vpid uint32) *Ancestor {
	if !p.HasCreds || vpid == 0 {
		return nil
	}
	if p.Creds.VPID == vpid {
		return p.ancestor()
	}
	for _, a := range p.Lineage.Ancestors {
		if a.VPID == vpid && a.PIDNS == p.PIDNS {
			return a
		}
	}
	return nil
}

// ancestor is what descendants keep of a process.
func (p *Process) ancestor() *Ancestor {
	return &Ancestor{Key: p.Key, Cut: p.Cut || len(p.CmdLine) > ancestorCmdLine || len(p.argv) > ancestorCmdLine, PID: p.PID, Start: p.Start, Name: p.Name, Exe: p.Exe, CmdLine: shorten(p.CmdLine, ancestorCmdLine), argv: shorten(p.argv, ancestorCmdLine), UID: p.UID,
		LoginUID: p.LoginUID, VPID: p.Creds.VPID, PIDNS: p.PIDNS, Cgroup: p.Cgroup}
}

// ancestorCmdLine bounds what the descendants of a process keep of its command line.
const ancestorCmdLine = 1024

// Ancestor is what is kept of a process for those that come from it, as it was when it started the next in line.
type Ancestor struct {
	Key     string // "" where only the process id is known
	PID     uint32
	Start   uint64 // nanoseconds since boot
	Name    string
	Exe     string
	CmdLine string // at most 1 KB
	argv    string // as that of Process
	Cut     bool   // likewise
	UID     uint32
	// LoginUID is who signed in; VPID the process id in the namespace PIDNS.
	LoginUID, VPID, PIDNS uint32
	Cgroup                uint64
}

// Args returns the arguments, the first one too; the last one may be cut.
func (a *Ancestor) Args() []string { return split(a.argv, a.CmdLine) }

// MaxLineage is how many ancestors are kept, the nearest ones.
const MaxLineage = 32

// Lineage is what a process came from, nearest first. Children of one parent share one; it never changes.
type Lineage struct {
	Ancestors []*Ancestor
	Paths     []string // executables of Ancestors, "" of kernel threads and of what is not known
	Names     []string
	// Whole is false where something was not known of an ancestor when this was made.
	Whole bool
}
