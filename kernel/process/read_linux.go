package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Reader reads single processes, as [Seed] reads all of them. It is not safe for concurrent use.
type Reader struct {
	w    *walker
	proc string
}

// maxNamespaces bounds the mount namespaces whose overlays a reader remembers.
const maxNamespaces = 1024

// NewReader returns a reader of the processes below root, as for [Seed].
func NewReader(root string) *Reader {
	w := &walker{root: root, shift: timeShift(), buf: make([]byte, maxEnviron), overlays: map[uint32][]MountLine{}}
	w.cgroups = CgroupMount(root)
	return &Reader{w: w, proc: filepath.Join(root, "proc")}
}

// Read returns what is known of a process that runs, as an exec with [record.FlagSeeded]; false where there is none. The record is
// valid until the next call.
func (r *Reader) Read(pid uint32) (*record.Record, bool) {
	if len(r.w.overlays) > maxNamespaces {
		clear(r.w.overlays)
	}
	return r.w.read(r.proc, pid)
}

// Look returns what tells one program of a process from the next: when the process began, in nanoseconds since the boot, and the file that it runs
// ("" where that is hidden, or a kernel thread).
func (r *Reader) Look(pid uint32) (start uint64, exe string, ok bool) {
	folder, err := unix.Open(filepath.Join(r.proc, strconv.FormatUint(uint64(pid), 10)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, "", false
	}
	defer unix.Close(folder)
	d := folderOf{folder}
	s, err := parseStat(d.read("stat", r.w.buf[:maxStatus]))
	if err != nil || s.pid != pid || s.state == 'Z' {
		return 0, "", false
	}
	exe, _ = d.link("exe")
	return uint64(max(int64(s.start)*Tick-r.w.shift, 0)), exe, true
}

// Ancestry appends what is known of a process that runs and of at most so many of those that it descends from, the first of them first, as execs with
// [record.FlagSeeded]. None of them is another one that has the process id by now. Who started a process and has ended is not there: the kernel names another then.
func (r *Reader) Ancestry(batch []byte, pid uint32, most int) []byte {
	var all [][]byte // the process first
	for below := uint32(0); len(all) <= most; {
		rec, ok := r.Read(pid)
		if !ok || below != 0 && r.parent(below) != pid {
			break // of what was read it is not certain that it was the parent
		}
		all = append(all, rec.Append(nil))
		if below, pid = pid, rec.PPID; pid == 0 {
			break
		}
	}
	for _, one := range slices.Backward(all) {
		batch = append(batch, one...)
	}
	return batch
}

// parent returns who the kernel says is the parent of a process, 0 for nobody.
func (r *Reader) parent(pid uint32) uint32 {
	b, err := os.ReadFile(filepath.Join(r.proc, strconv.FormatUint(uint64(pid), 10), "stat"))
	if err != nil {
		return 0
	}
	s, err := parseStat(b)
	if err != nil {
		return 0
	}
	return s.ppid
}
