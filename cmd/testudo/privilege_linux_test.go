package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel/privilege"
)

// Somebody whom no system has.
const testUID, testGID = 61234, 61235

// family is a testudo up that was started as by sudo: the node, its keeper, and the sensor.
type family struct {
	cmd    *exec.Cmd
	dir    string
	log    string
	node   int
	keeper int
	sensor int
	ended  chan error
}

// startFamily starts testudo up behind sudo and waits until its sensor runs.
func startFamily(t *testing.T, args ...string) *family {
	t.Helper()
	require.Root(t)
	short, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	f := &family{dir: filepath.Join(short, "d"), log: filepath.Join(short, "log"), ended: make(chan error, 1)}
	if err := errors.Join(os.Chmod(short, 0o711), os.Mkdir(f.dir, 0o700), os.Chown(f.dir, testUID, testGID)); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(f.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	f.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "testudo", append([]string{"up", "--data", f.dir, "--console", "127.0.0.1:0"}, args...)...)
	f.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "GORACE=" + quickEnd, fmt.Sprintf("SUDO_UID=%d", testUID), fmt.Sprintf("SUDO_GID=%d", testGID)}
	f.cmd.Stdout, f.cmd.Stderr = out, out
	// Something that somebody left open must not come along.
	if f.cmd.ExtraFiles, err = strayFiles(t); err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.node = f.cmd.Process.Pid
	go func() { f.ended <- f.cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(f.node, syscall.SIGKILL)
		for _, pid := range []int{f.keeper, f.sensor} {
			if pid > 0 {
				waitGone(t, f, pid)
			}
		}
	})
	f.await(t, "the start", func() bool {
		return f.find() && strings.Contains(f.text(), "testudo is up") && procStatus(f.sensor)["Seccomp"] == "2"
	})
	return f
}

func strayFiles(t *testing.T) ([]*os.File, error) {
	f, err := os.Open("/etc/shadow")
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return []*os.File{f}, err
}

// find looks for the keeper below the node, and the sensor below that.
func (f *family) find() bool {
	if k := childOf(f.node); k > 0 {
		f.keeper = k
	}
	s := childOf(f.keeper)
	if s > 0 {
		f.sensor = s
	}
	return s > 0
}

func childOf(pid int) int {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range all {
		text, _ := os.ReadFile(path)
		if child, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return child
		}
	}
	return 0
}

func (f *family) text() string {
	b, _ := os.ReadFile(f.log)
	return string(b)
}

func (f *family) await(t *testing.T, what string, until func() bool) {
	t.Helper()
	for range 1200 {
		if until() {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s did not come about:\n%s", what, f.text())
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func waitGone(t *testing.T, f *family, pid int) {
	t.Helper()
	for range 1200 {
		if !alive(pid) {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d stays behind:\n%s", pid, f.text())
}

// procStatus returns the lines of /proc/PID/status.
func procStatus(pid int) map[string]string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		lines[name] = strings.Join(strings.Fields(value), " ")
	}
	return lines
}

// stop has the node stop as a terminal's interrupt does.
func (f *family) stop(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(f.node, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-f.ended:
		if err != nil {
			t.Errorf("stop: %v\n%s", err, f.text())
		}
	case <-time.After(time.Minute):
		t.Fatalf("it does not stop:\n%s", f.text())
	}
	waitGone(t, f, f.keeper)
	waitGone(t, f, f.sensor)
}

func mask(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// unexpected returns what a process has open that does not fit the pattern, by descriptor.
func unexpected(t *testing.T, pid int, pattern string) map[string]string {
	t.Helper()
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if len(names) < 4 {
		t.Errorf("%d descriptors of process %d are seen", len(names), pid)
	}
	open, expected := map[string]string{}, regexp.MustCompile(pattern)
	for _, fd := range names {
		if to, err := os.Readlink(fd); err == nil && !expected.MatchString(to) {
			open[fd] = to
		}
	}
	return open
}

// TestPrivileges holds what each of the three processes may do, as the kernel tells it.
func TestPrivileges(t *testing.T) {
	f := startFamily(t)
	node, keeper, sensor := procStatus(f.node), procStatus(f.keeper), procStatus(f.sensor)
	own := fmt.Sprint(testUID)
	if want := strings.Join([]string{own, own, own, own}, " "); node["Uid"] != want {
		t.Errorf("the node is uid %s", node["Uid"])
	}
	if group := fmt.Sprint(testGID); node["Gid"] != strings.Join([]string{group, group, group, group}, " ") || node["Groups"] != group {
		t.Errorf("the node is of groups %s, %s", node["Gid"], node["Groups"])
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"} {
		if caps := mask(t, node[set]); caps&^(1<<10) != 0 {
			t.Errorf("the node has %s %x", set, caps)
		}
	}
	// Nobody of the same user may look into it, or act in its place.
	if info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", f.node)); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the node can be traced by its user: %v", err)
	}
	var allowed uint64
	for _, c := range privilege.Capabilities() {
		allowed |= 1 << c.Number
	}
	for name, st := range map[string]map[string]string{"keeper": keeper, "sensor": sensor} {
		if st["Uid"] != "0 0 0 0" {
			t.Errorf("the %s is uid %s", name, st["Uid"])
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if caps := mask(t, st[set]); caps&^allowed != 0 {
				t.Errorf("the %s has %s %x, at most %x is needed", name, set, caps, allowed)
			}
		}
		if caps := mask(t, st["CapEff"]); caps&(1<<5) == 0 {
			t.Errorf("the %s has no CAP_KILL: %x", name, caps)
		}
	}
	for name, st := range map[string]map[string]string{"node": node, "keeper": keeper, "sensor": sensor} {
		if st["NoNewPrivs"] != "1" {
			t.Errorf("the %s may gain privileges", name)
		}
	}
	if sensor["Seccomp"] != "2" {
		t.Errorf("the sensor has seccomp mode %s", sensor["Seccomp"])
	}
	names := map[int]string{f.node: "node", f.keeper: "keeper", f.sensor: "sensor"}
	for pid, pattern := range map[int]string{
		f.node:   `^(socket:|pipe:|anon_inode:\[(eventpoll|eventfd|inotify)\]|/dev/null$|/dev/urandom$|/sys/fs/cgroup/|` + regexp.QuoteMeta(f.dir) + `|` + regexp.QuoteMeta(f.log) + `)`,
		f.keeper: `^(socket:|pipe:|anon_inode:\[(eventpoll|eventfd|pidfd)\]|/dev/null$|/sys/fs/cgroup/)`,
		// The root is the sensor's own, in which it follows the names that processes of the host gave.
		f.sensor: `^(socket:|pipe:|anon_inode:|/dev/null$|/sys/fs/cgroup|/sys/kernel/btf/|/proc/|/$)`,
	} {
		// What the sensor reads just now, as a program's digest, is open for a moment. What came along stays.
		stays := unexpected(t, pid, pattern)
		for end := time.Now().Add(20 * time.Second); len(stays) > 0 && time.Now().Before(end); {
			time.Sleep(250 * time.Millisecond)
			now := unexpected(t, pid, pattern)
			maps.DeleteFunc(stays, func(fd, to string) bool { return now[fd] != to })
		}
		for _, to := range stays {
			t.Errorf("the %s (%d) has %s open", names[pid], pid, to)
		}
	}
	for _, pid := range []int{f.keeper, f.sensor} {
		if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); string(env) != "GOTRACEBACK=single\x00" {
			t.Errorf("process %d has the environment %q", pid, env)
		}
	}
	limits, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", f.sensor))
	if !regexp.MustCompile(`(?m)^Max file size +0 +0 `).Match(limits) {
		t.Errorf("the sensor may write files:\n%s", limits)
	}
	f.stop(t)
	if files, _ := filepath.Glob(filepath.Join(f.dir, "*")); len(files) < 3 {
		t.Errorf("the data directory holds %v", files)
	}
}

// TestSensorDies: another one is started, and the node lives on.
func TestSensorDies(t *testing.T) {
	f := startFamily(t)
	for range 2 {
		old := f.sensor
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.await(t, "the next sensor", func() bool { return f.find() && f.sensor != old && procStatus(f.sensor)["Seccomp"] == "2" })
		waitGone(t, f, old)
	}
	f.await(t, "the reason", func() bool { return strings.Contains(f.text(), "signal: killed") })
	f.stop(t)
}

// TestNodeDies: however it dies, nobody who is root stays behind.
func TestNodeDies(t *testing.T) {
	f := startFamily(t)
	if err := syscall.Kill(f.node, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-f.ended
	waitGone(t, f, f.sensor)
	waitGone(t, f, f.keeper)
}

// TestKeeperDies: the host is watched on, what rules refuse is refused on, and the node says that this sensor is the last: at once, in its log, its health and to doctor.
func TestKeeperDies(t *testing.T) {
	dir := openDir(t)
	child := copyOf(t, "/bin/touch", dir, "refused")
	f := startFamily(t, "--config", enforceRules(t, dir, "ebpf", map[string]string{"no-such-program": fmt.Sprintf("process.file.path == %q", child)}))
	refused := func() bool { return refusedAlways(t, child) }
	f.await(t, "the guard", refused)
	if err := syscall.Kill(f.keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, f, f.keeper)
	f.await(t, "the node says so", func() bool { return strings.Contains(f.text(), "no other sensor will be started") })
	f.await(t, "doctor says so", func() bool {
		out, _ := f.client(t, "doctor")
		return strings.Contains(out, "keeper of the sensor is gone")
	})
	if !refused() {
		t.Error("what a rule refuses runs")
	}
	if !alive(f.sensor) || !alive(f.node) {
		t.Fatalf("sensor %v, node %v", alive(f.sensor), alive(f.node))
	}
	if err := syscall.Kill(f.sensor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.await(t, "the message", func() bool { return strings.Contains(f.text(), privilege.ErrNoKeeper.Error()) })
	if !alive(f.node) {
		t.Error("the node died of it")
	}
	f.stop(t)
}

// A signal to all of a terminal's, or a service's, processes ends them in the node's order.
func TestSignalToAll(t *testing.T) {
	f := startFamily(t)
	for _, pid := range []int{f.sensor, f.keeper} {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			if err := syscall.Kill(pid, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	if !alive(f.sensor) || !alive(f.keeper) {
		t.Error("they end before the node")
	}
	f.stop(t)
	if strings.Contains(f.text(), "ended unasked") {
		t.Errorf("the stop is taken for a crash:\n%s", f.text())
	}
}

// Nobody but testudo up starts these, and what root's ports need is there when the edge begins to listen.
func TestSensorAlone(t *testing.T) {
	require.Root(t)
	for _, args := range [][]string{{"sensor"}, {"sensor", "--keep"}} {
		cmd := exec.CommandContext(t.Context(), "testudo", args...)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "started by testudo up alone") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestLowPort(t *testing.T) {
	require.Root(t)
	free := ""
	for port := 1023; port > 900 && free == ""; port-- {
		if ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			free = ln.Addr().String()
			_ = ln.Close()
		}
	}
	f := startFamily(t, "--no-kernel=false", "--edge", free, "--protect", "http://127.0.0.1:1")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", free)
	if err != nil {
		t.Fatalf("the edge does not listen on %s: %v\n%s", free, err, f.text())
	}
	_ = conn.Close()
	f.stop(t)
}
