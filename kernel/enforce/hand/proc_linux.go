package hand

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// tick is how many nanoseconds a hundredth of a second has: the kernel gives /proc the beginning of a process in those
// (USER_HZ is 100 on every machine that testudo runs on).
const tick = 10_000_000

// kthread is the flag of kernel threads in /proc/PID/stat (PF_KTHREAD).
const kthread = 0x00200000

// stat is what /proc/PID/stat says of a process.
type stat struct {
	pid, ppid uint32
	start     uint64 // in ticks since the boot
	flags     uint64
	threads   uint64
	state     byte
	name      string
}

// readStat reads it; the error wraps fs.ErrNotExist where there is no such process.
func readStat(pid uint32) (s stat, err error) {
	b, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/stat")
	if errors.Is(err, unix.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return s, err
	}
	s, ok := parseStat(b)
	if !ok || s.pid != pid {
		return s, fmt.Errorf("/proc/%d/stat is not as proc(5) says", pid)
	}
	return s, nil
}

// parseStat reads proc(5)'s line. The name may hold anything, parentheses and line ends too: the last one ends it.
func parseStat(b []byte) (s stat, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return s, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return s, false
	}
	pid, err1 := strconv.ParseUint(strings.TrimSpace(string(b[:open])), 10, 32)
	ppid, err2 := strconv.ParseUint(fields[1], 10, 32)
	flags, err3 := strconv.ParseUint(fields[6], 10, 64)
	threads, err5 := strconv.ParseUint(fields[17], 10, 64)
	start, err4 := strconv.ParseUint(fields[19], 10, 64)
	s = stat{pid: uint32(pid), ppid: uint32(ppid), start: start, flags: flags, threads: threads, state: fields[0][0], name: string(b[open+1 : end])}
	return s, errors.Join(err1, err2, err3, err4, err5) == nil
}

// over reports whether nothing of it runs any more. The first thread of a process may end before the others.
func (s *stat) over() bool { return s.state == 'X' || s.state == 'Z' && s.threads <= 1 }

// touched describes a process for people.
func (s *stat) touched() kernel.Touched {
	exe, _ := os.Readlink("/proc/" + strconv.FormatUint(uint64(s.pid), 10) + "/exe")
	return kernel.Touched{PID: s.pid, Start: s.start * tick, Name: s.name, Exe: exe}
}

// process is one that cannot be mistaken for another while fd is open.
type process struct {
	stat
	fd int
}

func (p *process) close() { _ = unix.Close(p.fd) }

func (p *process) signal(s unix.Signal) error { return unix.PidfdSendSignal(p.fd, s, nil, 0) }

// open takes hold of a process that began in that tick; 0 takes any.
func open(pid uint32, ticks uint64) (p process, err error) {
	gone := func() error { return fmt.Errorf("process %d: %w", pid, kernel.ErrGone) }
	p.fd, err = unix.PidfdOpen(int(pid), 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // EINVAL: a thread that is not its process's first
		return p, gone()
	}
	if err != nil {
		return p, fmt.Errorf("process %d: pidfd: %w", pid, err)
	}
	// Read after the pidfd was opened: had the pid been given away in between, another beginning would be read.
	p.stat, err = readStat(pid)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && ticks != 0 && p.start != ticks, err == nil && p.over():
		err = gone()
	}
	if err != nil {
		p.close()
	}
	return p, err
}

func probePidfd(self uint32) error {
	fd, err := unix.PidfdOpen(int(self), 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// children lists those of all threads of a process. The kernel need not be able to say it
// (CONFIG_PROC_CHILDREN): then every process is asked who its parent is.
func children(pid uint32) ([]uint32, error) {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/task"
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []uint32
	for _, t := range tasks {
		b, err := os.ReadFile(dir + "/" + t.Name() + "/children")
		switch {
		case errors.Is(err, unix.ESRCH): // this thread has ended
			continue
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Stat(dir + "/" + t.Name()); err != nil {
				continue
			}
			return childrenOfAll(pid)
		case err != nil:
			return nil, err
		}
		for _, f := range bytes.Fields(b) {
			if n, err := strconv.ParseUint(string(f), 10, 32); err == nil {
				all = append(all, uint32(n))
			}
		}
	}
	return all, nil
}

func childrenOfAll(pid uint32) ([]uint32, error) {
	var all []uint32
	err := eachProcess(func(other uint32) {
		if s, err := readStat(other); err == nil && s.ppid == pid {
			all = append(all, other)
		}
	})
	return all, err
}

func eachProcess(f func(pid uint32)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			f(uint32(n))
		}
	}
	return nil
}

// protected says why a process must not be touched, "" where it may.
func (h *Hand) protected(s *stat) string {
	switch {
	case s.pid == 1:
		return "process 1 is the machine's own"
	case s.flags&kthread != 0 || s.pid == 2:
		return fmt.Sprintf("process %d (%s) is a part of the kernel", s.pid, s.name)
	case s.pid == h.self:
		return fmt.Sprintf("process %d is testudo itself", s.pid)
	}
	line := h.line
	if line == nil {
		line, _ = h.lineage()
	}
	if began, ok := line[s.pid]; ok && began == s.start {
		return fmt.Sprintf("process %d (%s) started testudo", s.pid, s.name)
	}
	return ""
}

// lineage are who started testudo, and who started those, up to process 1, and when each began, in ticks. whole: none of them ended meanwhile.
func (h *Hand) lineage() (all map[uint32]uint64, whole bool) {
	all = map[uint32]uint64{}
	for pid := h.self; len(all) < 64; {
		s, err := readStat(pid)
		if err != nil {
			return all, false
		}
		if pid != h.self {
			all[pid] = s.start
		}
		if s.ppid <= 1 {
			break
		}
		pid = s.ppid
	}
	return all, true
}

// ancestors are those of the lineage.
func (h *Hand) ancestors() []uint32 {
	line, _ := h.lineage()
	return slices.Collect(maps.Keys(line))
}
