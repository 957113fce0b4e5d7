package confine

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultTasks is how many processes and threads a program may have at once where nothing is said.
const DefaultTasks = 4096

// crowd bounds how many tasks a program and all that it started have at once. RLIMIT_NPROC would not: it counts those of a user, and does not hold for root.
//
// The supervisor is the reaper of what the program leaves behind, so that all of it stays below this process however often it forks. Tasks that are made are
// counted; those that end are noticed by counting anew, when the limit seems to be reached.
type crowd struct {
	limit   int
	program int    // its process
	full    func() // called when a fork is refused for the first time; may be nil

	mu      sync.Mutex
	tasks   int       // at most so many: without those that have ended since counted
	counted time.Time // when last looked
	wasFull bool      // and what was found then
	told    bool
	refused uint64
}

// countEvery is how often is counted anew while the program is found at its limit.
const countEvery = 50 * time.Millisecond

// admit reports whether one more task may be made.
func (c *crowd) admit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tasks >= c.limit && (!c.wasFull || time.Since(c.counted) >= countEvery) {
		reap(c.program)
		_, c.tasks = below(os.Getpid())
		c.counted, c.wasFull = time.Now(), c.tasks >= c.limit
	}
	if c.tasks < c.limit {
		c.tasks++
		return true
	}
	c.refused++
	if !c.told && c.full != nil {
		c.told = true
		go c.full()
	}
	return false
}

// adopt makes this process the parent of what its descendants leave behind.
func adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// member is a process below this one.
type member struct {
	pid, ppid int
	threads   int
	zombie    bool
}

// members reads all processes from /proc, by who started them.
func members() map[int][]member {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	names, _ := dir.Readdirnames(-1)
	_ = dir.Close()
	all := map[int][]member{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		end := bytes.LastIndexByte(b, ')')
		if err != nil || end < 0 {
			continue
		}
		f := strings.Fields(string(b[end+1:])) // proc_pid_stat(5), from the third field on
		if len(f) < 18 {
			continue
		}
		ppid, _ := strconv.Atoi(f[1])
		threads, _ := strconv.Atoi(f[17])
		all[ppid] = append(all[ppid], member{pid, ppid, max(threads, 1), f[0] == "Z"})
	}
	return all
}

// below returns the processes that a filter was put on below one, and how many tasks they have together.
func below(pid int) (out []member, tasks int) {
	all := members()
	for todo := confined(all[pid]); len(todo) > 0; {
		m := todo[0]
		todo = append(todo[1:], all[m.pid]...) // a filter is inherited
		out = append(out, m)
		tasks += m.threads
	}
	return out, tasks
}

// confined returns the children of this process that have a filter: others are not the program's.
func confined(children []member) []member {
	return slices.DeleteFunc(slices.Clone(children), func(m member) bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(m.pid) + "/status")
		return err != nil || !strings.Contains(string(b), "\nSeccomp:\t2\n")
	})
}

// reap takes the status of what was left to this process and has ended. The program itself is waited for by who started it.
func reap(program int) {
	for _, m := range confined(members()[os.Getpid()]) {
		if m.zombie && m.pid != program {
			var status unix.WaitStatus
			_, _ = unix.Wait4(m.pid, &status, unix.WNOHANG, nil)
		}
	}
}

// endRounds is how often is looked for what is left to be killed. Nothing of it can start anything any more: nobody answers for it.
const endRounds = 20

// endAll kills all that the program started and that is still there.
func endAll(program int) {
	for range endRounds {
		left := 0
		all, _ := below(os.Getpid())
		for _, m := range all {
			if !m.zombie {
				left++
				m.kill()
			}
		}
		reap(program)
		if left == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill kills the process, and no other one that has its number now: that would have another parent.
func (m *member) kill() {
	fd, err := unix.PidfdOpen(m.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	b, err := os.ReadFile("/proc/" + strconv.Itoa(m.pid) + "/stat")
	_, rest, ok := bytes.Cut(b, []byte(") "))
	if f := strings.Fields(string(rest)); err == nil && ok && len(f) > 1 && (f[1] == strconv.Itoa(m.ppid) || f[1] == strconv.Itoa(os.Getpid())) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}
