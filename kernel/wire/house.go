package wire

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/kernel"
)

// house is what an order must never touch: the first process, kernel threads, this process, and what it descends from, which
// is testudo's own.
type house struct {
	proc    string // /proc
	cgroups []string
	self    int
	plane   int // process at the other end, 0 where it is not known
	// line is what self and plane descend from, with them, and when each began. It is read once, as an order to kill must not wait for it: who loses a
	// parent is given to another of the same line, so that a line only becomes shorter.
	line map[int]uint64
}

func newHouse(plane int) *house {
	h := &house{proc: "/proc", cgroups: []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}, self: os.Getpid(), plane: plane}
	h.line, _ = h.forebears()
	return h
}

// forebears follows the lines of self and plane. whole: to their ends.
func (h *house) forebears() (line map[int]uint64, whole bool) {
	line = map[int]uint64{}
	for _, own := range []int{h.self, h.plane} {
		for at, steps := own, 0; at > 0; steps++ {
			s, err := h.stat(at)
			if err != nil || steps == 4096 {
				return nil, false
			}
			line[at] = s.start
			at = s.parent
		}
	}
	return line, true
}

// stat is what an order looks at in /proc/PID/stat, proc_pid_stat(5).
type stat struct {
	parent int
	flags  uint64
	start  uint64 // ticks of 10 ms since the boot
}

// flagKernelThread is PF_KTHREAD.
const flagKernelThread = 0x00200000

func (h *house) stat(pid int) (stat, error) {
	text, err := os.ReadFile(filepath.Join(h.proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	// The name of a process may hold spaces and parentheses: what follows it does not.
	_, rest, ok := strings.Cut(string(text[max(strings.LastIndexByte(string(text), ')'), 0):]), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return stat{}, fmt.Errorf("%d: its stat is malformed", pid)
	}
	parent, err1 := strconv.Atoi(f[1])
	flags, err2 := strconv.ParseUint(f[6], 10, 64)
	start, err3 := strconv.ParseUint(f[19], 10, 64)
	return stat{parent, flags, start}, errors.Join(err1, err2, err3)
}

// tick is a unit of times in /proc, in nanoseconds: USER_HZ is 100 on every machine that Go runs on.
const tick = 10_000_000

// checkProcess refuses the processes that no order may be about, and one whose number was given to another.
func (h *house) checkProcess(pid uint32, start uint64) error {
	s, err := h.stat(int(pid))
	if err != nil {
		return fmt.Errorf("order: process %d: %w", pid, kernel.ErrGone)
	}
	if start == 0 || start/tick != s.start {
		return fmt.Errorf("order: process %d is not the one that is meant, which began at another time: %w", pid, kernel.ErrGone)
	}
	if pid <= 2 || s.flags&flagKernelThread != 0 || s.parent == 2 {
		return fmt.Errorf("order: process %d is the system's", pid)
	}
	line := h.line
	if line == nil { // somebody in it ended while it was read
		whole := false
		if line, whole = h.forebears(); !whole {
			return errors.New("order: what testudo descends from cannot be told")
		}
	}
	if began, ok := line[int(pid)]; ok && began == s.start {
		return fmt.Errorf("order: process %d is testudo, or testudo descends from it", pid)
	}
	return nil
}

// checkCgroup refuses the cgroups that the first process, or one of testudo's, is within.
func (h *house) checkCgroup(id uint64) error {
	if id <= 1 {
		return errors.New("order: the root of all cgroups is meant")
	}
	for _, pid := range []int{1, h.self, h.plane} {
		if pid == 0 {
			continue
		}
		text, err := os.ReadFile(filepath.Join(h.proc, strconv.Itoa(pid), "cgroup"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			folder, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
			if !ok {
				continue
			}
			for at := filepath.Clean("/" + folder); ; at = filepath.Dir(at) {
				for _, root := range h.cgroups {
					if n, ok := inodeOf(filepath.Join(root, at)); ok && n.number == id {
						return fmt.Errorf("order: process %d, which testudo does not touch, is within cgroup %s", pid, at)
					}
				}
				if at == "/" {
					break
				}
			}
		}
	}
	return nil
}

// runs reports whether the process that is named runs the file that is named.
func (h *house) runs(r *kernel.FileRef) bool {
	if r.PID == 0 {
		return false
	}
	k, ok := inodeOf(filepath.Join(h.proc, strconv.FormatUint(uint64(r.PID), 10), "exe"))
	return ok && k == fileKey{r.Inode.Device, r.Inode.Number}
}
