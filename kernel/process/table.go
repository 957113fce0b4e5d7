package process

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Config bounds the table.
type Config struct {
	// Live is how many living processes are kept. What starts when there are as many is reported all the same, with what its
	// parent and its own events tell.
	Live int `yaml:"live"`
	// Exited is how many ended processes are remembered; the ones that ended first are forgotten first.
	Exited int `yaml:"exited"`
	// Keep is for how long ended processes are remembered.
	Keep time.Duration `yaml:"keep"`
	// Texts is how many bytes of command lines and paths are kept for all of them. Beyond it ended processes are forgotten
	// and long command lines are cut.
	Texts bytesize.Size `yaml:"texts"`
}

// Default returns the bounds for a host of ordinary size: some 40 MB when full.
func Default() Config {
	return Config{Live: 32768, Exited: 16384, Keep: 24 * time.Hour, Texts: 32 * bytesize.MiB}
}

// Validate says what is wrong.
func (c Config) Validate() error {
	switch {
	case c.Live < 64 || c.Live > 4<<20:
		return errors.New("live: want 64 to 4194304 processes")
	case c.Exited < 0 || c.Exited > 4<<20:
		return errors.New("exited: want 0 to 4194304 processes")
	case c.Keep < 0:
		return errors.New("keep: want a duration that is not negative")
	case c.Texts < bytesize.MiB || c.Texts > 4*bytesize.GiB:
		return errors.New("texts: want 1MiB to 4GiB")
	}
	return nil
}

// Table holds the processes of one boot. Its methods are safe for concurrent use. Those that change it wait for each other;
// those that read it wait for them only while an entry is added or removed.
type Table struct {
	cfg   Config
	boot  string
	clock *Clock

	write   sync.Mutex // held by what changes the table; guards all below but the maps' reading
	mu      sync.RWMutex
	live    map[uint32]*slot
	gone    map[id]*Process
	order   queue // of gone, first to end first
	texts   texts
	size    int64  // bytes of texts of live and gone
	turn    uint64 // counts what became known late; see slot.turn
	sampled uint64 // when the clock was compared last
	stats   Stats
}

// slot is where a living process stands.
type slot struct {
	p      atomic.Pointer[Process]
	comm   [16]byte // Name as it came
	family *Lineage // of its children, made when it has the first one; nil again when it changes
	turn   uint64   // the table's, when its lineage was last tried to be made whole
	size   int64    // bytes of its texts
}

// Stats counts.
type Stats struct {
	Live, Exited int
	Texts        int64  // bytes
	Refused      uint64 // processes that were not kept because there were too many
	Forgotten    uint64 // ended processes that made room
	Unknown      uint64 // processes that were first met in the middle of their lives
	Unseen       uint64 // ends that were not seen: another process has the process id, or /proc has it no more
	Cut          uint64 // command lines and folders that were cut
}

// New makes an empty table. The boot id is that of /proc/sys/kernel/random/boot_id.
func New(cfg Config, boot string, clock *Clock) *Table {
	return &Table{cfg: cfg, boot: tagOf(boot), clock: clock, live: map[uint32]*slot{}, gone: map[id]*Process{}, texts: newTexts()}
}

// Wall returns the time of day of a time since boot.
func (t *Table) Wall(boot uint64) time.Time { return t.clock.Wall(boot) }

// Stats returns the counts.
func (t *Table) Stats() Stats {
	t.write.Lock()
	defer t.write.Unlock()
	s := t.stats
	s.Live, s.Exited, s.Texts = len(t.live), len(t.gone), t.size
	return s
}

// Find returns the process that the record is of, as it is known now: what a gate asks that cannot wait for the records before
// it. It is never nil. A start that came from /proc, exact to a tick, has FlagSeeded. A process that is not known while its parent is, is taken to be a fork of it, whose record is still on its way; of
// any other it says what the record says.
func (t *Table) Find(r *record.Record) *Process {
	t.mu.RLock()
	s := t.live[r.PID]
	t.mu.RUnlock()
	if s != nil {
		if p := s.p.Load(); p.is(r) {
			return p
		}
	}
	if p := t.past(r.PID, r.Start); p != nil {
		return p
	}
	if _, ok := t.ByPID(r.PPID); ok && s == nil && r.PID != 0 && r.Start != 0 {
		fork := record.Record{Kind: record.KindFork, Flags: r.Flags & record.FlagSeeded, Time: r.Start, Start: r.Start, Cgroup: r.Cgroup, PID: r.PID, TID: r.PID, PPID: r.PPID, UID: r.UID, GID: r.GID,
			LoginUID: r.LoginUID, MntNS: r.MntNS, PIDNS: r.PIDNS, Comm: r.Comm}
		if p := t.Apply(&fork); p != nil {
			return p
		}
	}
	p := &Process{Key: makeKey(t.boot, r.PID, r.Start), PID: r.PID, PPID: r.PPID, Start: r.Start, Name: record.Text(r.Comm), State: Unknown, Lineage: &Lineage{}}
	t.head(p, r)
	return p
}

// Get returns the process of a key, living or ended.
func (t *Table) Get(key string) (*Process, bool) {
	boot, at, err := parseKey(key)
	if err != nil || boot != t.boot {
		return nil, false
	}
	t.mu.RLock()
	s, p := t.live[at.pid], t.gone[at]
	t.mu.RUnlock()
	if s != nil {
		if p := s.p.Load(); p.Key == key {
			return p, true
		}
	}
	return p, p != nil
}

// ByPID returns the living process of a process id.
func (t *Table) ByPID(pid uint32) (*Process, bool) {
	t.mu.RLock()
	s := t.live[pid]
	t.mu.RUnlock()
	if s == nil {
		return nil, false
	}
	return s.p.Load(), true
}

// Leader returns the leader of the process's session: see [Process.Session].
func (t *Table) Leader(p *Process) *Ancestor { return t.leader(p, p.Creds.Session) }

// GroupLeader returns the leader of the process's group.
func (t *Table) GroupLeader(p *Process) *Ancestor { return t.leader(p, p.Creds.Group) }

func (t *Table) leader(p *Process, vpid uint32) *Ancestor {
	if a := p.leader(vpid); a != nil || !p.HasCreds || vpid == 0 || p.Creds.VPID != p.PID {
		return a
	}
	// In the first namespace the numbers are the table's own.
	if q, ok := t.ByPID(vpid); ok && q.PIDNS == p.PIDNS && q.Start <= p.Start {
		return q.ancestor()
	}
	return nil
}

// past looks for an ended process.
func (t *Table) past(pid uint32, start uint64) *Process {
	if start == 0 {
		return nil
	}
	at := idOf(pid, start)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p := t.gone[at]; p != nil {
		return p
	}
	for _, near := range [...]id{{pid, at.tick - 1}, {pid, at.tick + 1}} {
		if p := t.gone[near]; p != nil && p.coarse {
			return p
		}
	}
	return nil
}

// is reports whether the record is of this process.
func (p *Process) is(r *record.Record) bool {
	return r.Start == 0 || p.Start == 0 && p.PID > 2 || sameStart(p.Start, p.coarse, r.Start, r.Flags&record.FlagSeeded != 0)
}
