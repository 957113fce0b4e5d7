package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// openRoot takes a folder for the root of a system.
func (i *Image) openRoot(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("image %s: %w", scan.Printable(dir), inner(err))
	}
	i.root, i.mounts = root, notFiles()
	return nil
}

// openContainer takes the root of a running container.
func (i *Image) openContainer(sort, rest string) error {
	pid, err := strconv.Atoi(rest)
	if sort == "container" {
		pid, err = i.processOf(rest)
	}
	switch {
	case err != nil && sort == "pid":
		return fmt.Errorf("%q is no process id", scan.Printable(cut(rest, 100)))
	case err != nil:
		return err
	case pid <= 0:
		return fmt.Errorf("%d is no process id", pid)
	}
	proc := filepath.Join(i.options.system, "proc", strconv.Itoa(pid))
	// The link is opened, not read: what it names lies in another mount namespace.
	if i.root, err = os.OpenRoot(filepath.Join(proc, "root")); err != nil {
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("process %d: its files are for root alone: run as root", pid)
		}
		return fmt.Errorf("process %d: %w", pid, inner(err))
	}
	own, err := os.Stat(i.options.system)
	theirs, err2 := i.root.Stat(".")
	if err := errors.Join(err, err2); err != nil || os.SameFile(own, theirs) {
		i.root.Close()
		i.root = nil
		return errors.Join(err, fmt.Errorf("process %d is in no container: its root is the one of this machine", pid))
	}
	i.mounts = mountsOf(filepath.Join(proc, "mountinfo"))
	i.PID = pid
	return nil
}

// maxState bounds the files in which runtimes keep what they run.
const maxState = 16 << 20

// processOf finds the first process of a container in what the runtimes keep. The id may be shortened to twelve characters.
func (i *Image) processOf(id string) (int, error) {
	if len(id) < 12 && !isName(id) || !isName(id) {
		return 0, fmt.Errorf("%q is no id of a container: want at least twelve of its characters", scan.Printable(cut(id, 100)))
	}
	for _, place := range []struct {
		pattern string
		pid     func([]byte) int
	}{
		{"var/lib/docker/containers/" + id + "*/config.v2.json", func(b []byte) int {
			var c struct{ State struct{ Pid int } }
			_ = json.Unmarshal(b, &c)
			return c.State.Pid
		}},
		{"run/containerd/io.containerd.runtime.v2.task/*/" + id + "*/init.pid", number},
		{"run/containers/storage/overlay-containers/" + id + "*/userdata/pidfile", number},
		{"var/run/containers/storage/overlay-containers/" + id + "*/userdata/pidfile", number},
		{"run/runc/" + id + "*/state.json", initPID},
		{"run/docker/runtime-runc/moby/" + id + "*/state.json", initPID},
		{"run/crun/" + id + "*/status", func(b []byte) int {
			var c struct{ Pid int }
			_ = json.Unmarshal(b, &c)
			return c.Pid
		}},
	} {
		names, err := filepath.Glob(filepath.Join(i.options.system, place.pattern))
		if err != nil || len(names) == 0 {
			continue
		}
		if len(names) > 1 {
			return 0, fmt.Errorf("container %s: several ids begin so", scan.Printable(id))
		}
		data, err := readState(names[0])
		if err != nil {
			return 0, fmt.Errorf("container %s: %w", scan.Printable(id), err)
		}
		if pid := place.pid(data); pid > 0 {
			return pid, nil
		}
		return 0, fmt.Errorf("container %s does not run", scan.Printable(id))
	}
	return 0, fmt.Errorf("container %s: no runtime on this machine knows it; containers of other machines are scanned by their image", scan.Printable(id))
}

// isName tells ids from patterns and paths.
func isName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) >= 3 && len(s) <= 128
}

func number(b []byte) int {
	n, _ := strconv.Atoi(string(bytes.TrimSpace(b)))
	return n
}

func initPID(b []byte) int {
	var c struct {
		PID int `json:"init_process_pid"`
	}
	_ = json.Unmarshal(b, &c)
	return c.PID
}

func readState(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, inner(err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxState))
}

// notFiles are the patterns of what the kernel shows in a root filesystem that is in use.
func notFiles() []string { return []string{"/proc/", "/sys/", "/dev/"} }

// mountsOf returns the patterns that leave out what is mounted into a container: its volumes are not its own, /proc and /sys no files.
func mountsOf(mountinfo string) []string {
	patterns := notFiles()
	data, err := readState(mountinfo)
	if err != nil {
		return patterns
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[4] == "/" || strings.ContainsAny(fields[4], `\*?[!#`) || len(patterns) > 1000 {
			continue
		}
		patterns = append(patterns, fields[4])
	}
	return patterns
}

// rootFiles gives the files of a root filesystem.
func (i *Image) rootFiles(ctx context.Context, v scan.Visitor) error {
	c := i.options.Scan
	c.Ignore = false // ignore files in an image are somebody else's
	c.Exclude = append(append([]string(nil), c.Exclude...), i.mounts...)
	return (&scan.Tree{Root: i.Name, Config: c, Opened: i.root}).Files(ctx, v)
}
