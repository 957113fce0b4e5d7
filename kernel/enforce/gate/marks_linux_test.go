package gate

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestGuardHoldsAsAWhole(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a", dir+"/b")
	var yes atomic.Bool
	j := &judge{says: func(*record.Record) bool { return !yes.Load() }}
	scope := func(name string) kernel.AskScope {
		return kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{Name: []string{name}}}
	}
	g, _ := begin(t, DefaultConfig(), j, false, scope("a"))
	both := func() string { return strings.ReplaceAll(run(t, "as-opener", dir+"/a", dir+"/b"), "\n", ", ") }
	if got := both(); got != refused+", "+opened {
		t.Fatal(got)
	}
	for _, bad := range []kernel.AskScope{{Hook: kernel.HookOpen, Mount: "/proc"}, {Hook: kernel.HookOpen, Mount: "/sys/kernel"}, {Hook: kernel.HookOpen, Mount: dir + "/none"},
		{Hook: kernel.HookConnect, Mount: dir}, {Hook: kernel.HookOpen, Mount: "relative"}, {Hook: kernel.HookExec}} {
		if err := g.Guard(t.Context(), []kernel.AskScope{scope("b"), bad}, true); err == nil {
			t.Errorf("%+v is taken", bad)
		}
		if got := both(); got != refused+", "+opened || g.closed.Load() {
			t.Errorf("after %+v: %s", bad, got)
		}
	}
	if err := g.Guard(t.Context(), []kernel.AskScope{scope("b")}, false); err != nil {
		t.Fatal(err)
	}
	if got := both(); got != opened+", "+refused {
		t.Error(got)
	}
	yes.Store(true)
	if got := both(); got != opened+", "+opened {
		t.Error(got)
	}
	yes.Store(false)
	if err := g.Guard(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if got := both(); got != opened+", "+opened {
		t.Error(got)
	}
	if err := g.Run(t.Context(), j); err == nil {
		t.Error("it runs twice")
	}
}

// While one guard is put in the place of another again and again, nothing slips through, and nothing is left behind.
func TestChangesLeaveNoGap(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/a")
	j := &judge{says: func(*record.Record) bool { return true }}
	scope := kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}}
	g, end := begin(t, DefaultConfig(), j, false, scope)
	before, _ := os.ReadDir("/proc/self/fd")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := g.Guard(context.Background(), []kernel.AskScope{scope}, false); err != nil {
				t.Error(err)
			}
		}
	})
	for range 10 {
		if got := run(t, "as-opener", slices.Repeat([]string{dir + "/a"}, 200)...); strings.Contains(got, "true false") {
			t.Fatal("one slipped through")
		}
	}
	close(stop)
	wg.Wait()
	after, _ := os.ReadDir("/proc/self/fd")
	if len(after) > len(before)+2 {
		t.Errorf("%d descriptors, and were %d", len(after), len(before))
	}
	end()
}

// A file system that is mounted below a scope's path later is asked about too, as a container's.
func TestMountsAreFollowed(t *testing.T) {
	dir := tmpfs(t)
	create(t, dir+"/sub dir/x")
	j := &judge{says: func(r *record.Record) bool { return strings.HasSuffix(string(r.Path), "/a") }}
	_, end := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{All: true}})
	if err := unix.Mount("testudo-test", dir+"/sub dir", "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		end()
		if err := unix.Unmount(dir+"/sub dir", 0); err != nil {
			t.Error(err)
		}
	}()
	create(t, dir+"/sub dir/a", dir+"/sub dir/b")
	for until := time.Now().Add(10 * time.Second); run(t, "as-opener", dir+"/sub dir/a") != refused; {
		if time.Now().After(until) {
			t.Fatal("it is never asked about")
		}
	}
	if got := run(t, "as-opener", dir+"/sub dir/b"); got != opened {
		t.Error(got)
	}
}

// TestRootsOfProcesses: the file system that a container's process has its root on is asked about; a process that has ended meanwhile is no error, and a root
// in a user namespace, where anybody may serve files himself, is left alone.
func TestRootsOfProcesses(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	require.Part(t, "busybox", err == nil, "busybox-static, a program that runs on an empty file system")
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	start := func(flags uintptr) (root, place string, stop func()) {
		root = tmpfs(t)
		if err := os.WriteFile(root+"/busybox", program, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		create(t, root+"/file")
		cmd := exec.Command("/busybox", "sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = own, own
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		t.Cleanup(stop)
		return root, fmt.Sprintf("/proc/%d/root", cmd.Process.Pid), stop
	}
	_, gone, stop := start(0)
	stop()
	mine, ofContainer, _ := start(0)
	users, ofUser, _ := start(syscall.CLONE_NEWUSER)
	j := &judge{says: func(*record.Record) bool { return true }}
	all := kernel.Paths{Name: []string{"file"}}
	_, end := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: gone, Files: all}, kernel.AskScope{Hook: kernel.HookOpen, Mount: ofContainer, Files: all},
		kernel.AskScope{Hook: kernel.HookOpen, Mount: ofUser, Files: all})
	defer end()
	if got := run(t, "as-opener", mine+"/file", users+"/file"); got != refused+"\n"+opened {
		t.Error(got)
	}
}
