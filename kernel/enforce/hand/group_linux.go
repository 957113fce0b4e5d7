package hand

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// Bounds of what is walked.
const (
	maxFolders   = 50_000
	maxProcesses = 200_000
)

// group is a cgroup.
type group struct {
	dir  string // its folder
	path string // below the root of its hierarchy, "/" for the root
	v2   bool
}

// mounted finds where the hierarchies are: only whole ones, not a piece that is bound somewhere.
func mounted(mountinfo string) (v2, freezer string) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		at, kind := strings.Fields(before), strings.Fields(after)
		if len(at) < 5 || len(kind) < 3 || at[3] != "/" {
			continue
		}
		switch {
		case kind[0] == "cgroup2" && v2 == "":
			v2 = at[4]
		case kind[0] == "cgroup" && freezer == "" && slices.Contains(strings.Split(kind[2], ","), "freezer"):
			freezer = at[4]
		}
	}
	return v2, freezer
}

// groupOf finds the cgroup of an order; of a process, the closest that it is in.
func (h *Hand) groupOf(o *kernel.Order) (group, error) {
	switch {
	case o.PID != 0:
		p, err := open(o.PID, o.Start/tick)
		if err != nil {
			return group{}, err
		}
		defer p.close()
		return h.groupOfProcess(p.pid)
	case o.Cgroup != 0:
		g, err := h.groupByID(o.Cgroup)
		if err == nil || o.Container == "" {
			return g, err
		}
	}
	return h.groupOfContainer(o.Container)
}

func (h *Hand) groupOfProcess(pid uint32) (group, error) {
	b, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/cgroup")
	if err != nil {
		return group{}, fmt.Errorf("process %d: %w", pid, kernel.ErrGone)
	}
	var v1 group
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(parts) != 3 || strings.HasPrefix(parts[2], "/.."):
		case parts[0] == "0" && h.v2 != "" && parts[2] != "/":
			return group{dir: filepath.Join(h.v2, parts[2]), path: parts[2], v2: true}, nil
		case h.v1 != "" && slices.Contains(strings.Split(parts[1], ","), "freezer"):
			v1 = group{dir: filepath.Join(h.v1, parts[2]), path: parts[2]}
		}
	}
	if v1.path == "" {
		v1.path = "/"
	}
	return v1, nil
}

// groupByID finds a folder of cgroup v2 by the number that the kernel gives it, which is its file handle too.
func (h *Hand) groupByID(id uint64) (group, error) {
	if h.v2 == "" {
		return group{}, fmt.Errorf("cgroup %d: version 2 is not mounted: %w", id, kernel.ErrUnable)
	}
	root, err := unix.Open(h.v2, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return group{}, err
	}
	defer unix.Close(root)
	const kernfs = 0xfe // FILEID_KERNFS
	fd, err := unix.OpenByHandleAt(root, unix.NewFileHandle(kernfs, binary.NativeEndian.AppendUint64(nil, id)), unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		if errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOENT) {
			err = kernel.ErrGone
		}
		return group{}, fmt.Errorf("cgroup %d: there is none, or no longer: %w", id, err)
	}
	defer unix.Close(fd)
	dir, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	path, ok := strings.CutPrefix(dir, h.v2)
	if err != nil || !ok {
		return group{}, fmt.Errorf("cgroup %d is not below %s", id, h.v2)
	}
	if path == "" {
		path = "/"
	}
	return group{dir: dir, path: path, v2: true}, nil
}

// groupOfContainer finds the folder that a runtime named after its container: the id alone (runc, Docker's cgroupfs), or within a
// word, as in docker-ID.scope and cri-containerd-ID.scope.
func (h *Hand) groupOfContainer(id string) (group, error) {
	var empty *group
	for _, root := range []struct {
		dir string
		v2  bool
	}{{h.v2, true}, {h.v1, false}} {
		if root.dir == "" {
			continue
		}
		var found []group
		folders := 0
		err := filepath.WalkDir(root.dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // a folder that went away meanwhile
			}
			if folders++; folders > maxFolders {
				return fmt.Errorf("%s has more than %d folders", root.dir, maxFolders)
			}
			if p != root.dir && named(d.Name(), id) {
				found = append(found, group{dir: p, path: strings.TrimPrefix(p, root.dir), v2: root.v2})
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return group{}, fmt.Errorf("container %s: %w", id, err)
		}
		if len(found) > 1 {
			return group{}, fmt.Errorf("container %s: it may be %s or %s: give its whole id", id, found[0].path, found[1].path)
		}
		if len(found) == 1 {
			if n, err := found[0].procs(nil); err == nil && n > 0 {
				return found[0], nil
			}
			empty = &found[0] // its processes may be in the other hierarchy
		}
	}
	if empty != nil {
		return *empty, nil
	}
	return group{}, fmt.Errorf("container %s: no cgroup is named after it: %w, or is none of this machine", id, kernel.ErrGone)
}

// named reports whether a folder's name is that of a container.
func named(folder, id string) bool {
	if folder == id {
		return true
	}
	if len(id) < 12 || strings.Contains(folder, "conmon") { // conmon watches a container from outside
		return false
	}
	name := strings.TrimSuffix(folder, ".scope")
	at := strings.LastIndexByte(name, '-') + 1
	return strings.HasPrefix(name[at:], id) || len(id) < 64 && at == 0 && strings.HasPrefix(name, id)
}

// id is the kernel's number of a cgroup of version 2, 0 for others.
func (g *group) id() uint64 {
	var st unix.Stat_t
	if !g.v2 || unix.Stat(g.dir, &st) != nil {
		return 0
	}
	return st.Ino
}

// procs calls f for every process in the cgroup and below, and returns how many those are.
func (g *group) procs(f func(pid uint32)) (n int, err error) {
	folders := 0
	err = filepath.WalkDir(g.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p == g.dir {
				return err
			}
			return nil
		}
		if !d.IsDir() {
			return nil
		}
		if folders++; folders > maxFolders {
			return fmt.Errorf("cgroup %s has more than %d folders", g.path, maxFolders)
		}
		b, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil //nolint:nilerr // it went away, or is one of threads: its processes are above
		}
		for line := range strings.Lines(string(b)) {
			pid, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32)
			if err != nil || pid == 0 { // 0: of another pid namespace
				continue
			}
			if n++; n > maxProcesses {
				return fmt.Errorf("cgroup %s has more than %d processes", g.path, maxProcesses)
			}
			if f != nil {
				f(uint32(pid))
			}
		}
		return nil
	})
	return n, err
}

// refusal says why a cgroup must not be killed or frozen, "" where it may.
func (h *Hand) refusal(g *group) string {
	if g.path == "/" || g.path == "" {
		return "it is in no cgroup of its own: that would be the whole machine"
	}
	why := ""
	_, err := g.procs(func(pid uint32) {
		if why != "" {
			return
		}
		if s, err := readStat(pid); err == nil {
			why = h.protected(&s)
		}
	})
	if err != nil && why == "" {
		return fmt.Sprintf("cgroup %s: %v", g.path, err)
	}
	if why != "" {
		return fmt.Sprintf("cgroup %s holds what must not be touched: %s", g.path, why)
	}
	return ""
}

// allowed finds the cgroup of an order that is to kill or freeze it.
func (h *Hand) allowed(o *kernel.Order) (group, error) {
	g, err := h.groupOf(o)
	if err != nil {
		return group{}, err
	}
	if why := h.refusal(&g); why != "" {
		return group{}, errors.New(why)
	}
	return g, nil
}

// describe says who is in the cgroup.
func (g *group) describe() kernel.Done {
	done := kernel.Done{Cgroup: g.path, CgroupID: g.id()}
	done.Count, _ = g.procs(func(pid uint32) {
		if len(done.Processes) < kernel.MaxTouched {
			if s, err := readStat(pid); err == nil {
				done.Processes = append(done.Processes, s.touched())
			}
		}
	})
	return done
}

// killGroup kills everything in a cgroup and below.
func (h *Hand) killGroup(ctx context.Context, o *kernel.Order) (kernel.Done, error) {
	g, err := h.allowed(o)
	if err != nil {
		return kernel.Done{}, fmt.Errorf("kill: %w", err)
	}
	done := g.describe()
	if g.v2 {
		err = write(g.dir, "cgroup.kill", "1")
		if errors.Is(err, fs.ErrNotExist) { // before Linux 5.14
			err = g.killFrozen(ctx)
		}
	} else {
		err = g.killFrozen(ctx)
	}
	if err == nil {
		err = wait(ctx, func() (bool, error) {
			n, err := g.procs(nil)
			return n == 0 || errors.Is(err, fs.ErrNotExist), nil
		})
	}
	if err != nil {
		left, _ := g.procs(nil)
		return done, fmt.Errorf("kill: cgroup %s: %d of %d processes are left: %w", g.path, left, done.Count, err)
	}
	done.Detail = fmt.Sprintf("killed all %d processes of cgroup %s", done.Count, g.path)
	return done, nil
}

// killFrozen kills where the kernel cannot do it in one: what stands still starts nothing. It is left thawed.
func (g *group) killFrozen(ctx context.Context) error {
	frozen := g.set(true)
	if frozen == nil {
		frozen = wait(ctx, g.isFrozen)
	}
	_, err := g.procs(func(pid uint32) {
		if p, err := open(pid, 0); err == nil {
			_ = p.signal(unix.SIGKILL)
			p.close()
		}
	})
	return errors.Join(frozen, err, g.set(false)) // in the freezer of v1 they die when they are thawed
}

// wait looks until it is so, or ctx ends.
func wait(ctx context.Context, so func() (bool, error)) error {
	pause := 50 * time.Microsecond
	for {
		ok, err := so()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Millisecond)
	}
}

func write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0) // never creates
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
