package gate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// A program that is refused never runs: what it would do never happens.
func TestExec(t *testing.T) {
	dir := tmpfs(t)
	evil, good := dir+"/evil", dir+"/good"
	for _, p := range []string{evil, good} {
		b, err := os.ReadFile("/bin/touch")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	j := &judge{says: func(r *record.Record) bool {
		return r.Kind == record.KindExec && strings.HasSuffix(string(r.Path), "/evil")
	}}
	begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookExec, Mount: dir, Files: kernel.Paths{All: true}})
	if got := run(t, "as-runner", evil, "300", t.TempDir()); got != "300 0" {
		t.Error("refused, ran: ", got)
	}
	if got := run(t, "as-runner", good, "3", t.TempDir()); got != "0 3" {
		t.Error("refused, ran: ", got)
	}
	// A script: it, and its interpreter, are opened to be run.
	script := dir + "/script"
	if err := os.WriteFile(script, []byte("#!"+evil+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	j.asked()
	if got := run(t, "as-runner", script, "1", t.TempDir()); got != "1 0" {
		t.Error(got)
	}
	if got := j.asked(); len(got) != 2 || got[0] != script || got[1] != evil {
		t.Error(got)
	}
	// It is opened to be read, which nobody asks about here.
	if got := run(t, "as-opener", evil); got != opened || len(j.asked()) > 0 {
		t.Error(got)
	}
}

// TestOtherWaysToRun: what is judged is the file that the kernel opens, by whatever way it is named. What has another name, or none, is another: so the package says.
func TestOtherWaysToRun(t *testing.T) {
	dir := tmpfs(t)
	evil := dir + "/evil"
	text, err := os.ReadFile("/bin/touch")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(evil, text, 0o755); err != nil {
		t.Fatal(err)
	}
	effects := t.TempDir()
	j := &judge{says: func(r *record.Record) bool { return string(r.Path) == evil }}
	begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookExec, Mount: dir, Files: kernel.Paths{All: true}})
	if err := os.Symlink(evil, effects+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(evil, dir+"/hard"); err != nil {
		t.Fatal(err)
	}
	n := 0
	did := func(way, program string) (said string, ran bool) {
		n++
		name := fmt.Sprintf("%s/%d", effects, n)
		said = run(t, "as-exec", way, program, name)
		_, err := os.Stat(name)
		return said, err == nil
	}
	for _, way := range []string{"name", "descriptor", "descriptor of a path", "procfs", "dots", "relative", "another root"} {
		if said, ran := did(way, evil); ran || said != unix.EPERM.Error() {
			t.Errorf("%s: %q, ran: %t", way, said, ran)
		}
	}
	if said, ran := did("name", effects+"/link"); ran || said != unix.EPERM.Error() {
		t.Errorf("link: %q, ran: %t", said, ran)
	}
	j.asked()
	// It is asked about under the name by which it was opened.
	if said, ran := did("name", dir+"/hard"); !ran {
		t.Errorf("hard link: %q", said)
	}
	if got := j.asked(); len(got) != 1 || got[0] != dir+"/hard" {
		t.Errorf("asked about %q", got)
	}
	// No file system holds it: the hooks in the kernel know it (kernel/enforce), this gate is not asked.
	if said, ran := did("memory", evil); !ran || len(j.asked()) > 0 {
		t.Errorf("memory: %q, ran: %t", said, ran)
	}
}

// TestSwappedWhileItIsAskedAbout: two programs change names at full speed; what runs is the file that was asked about.
func TestSwappedWhileItIsAskedAbout(t *testing.T) {
	dir := tmpfs(t)
	for name, program := range map[string]string{"a": "/bin/true", "b": "/bin/touch"} {
		text, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/b", &st); err != nil {
		t.Fatal(err)
	}
	j := &judge{says: func(r *record.Record) bool { return r.HasInode && r.Inode.Number == st.Ino }}
	g, _ := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookExec, Mount: dir, Files: kernel.Paths{All: true}})
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_EXCHANGE)
			}
		}
	}()
	effects := t.TempDir()
	for c := g.Counts(); c.Denied < 20 || c.Allowed < 20; c = g.Counts() {
		run(t, "as-runner", dir+"/a", "10", effects)
	}
	close(stop)
	<-done
	if ran, err := os.ReadDir(effects); err != nil || len(ran) > 0 {
		t.Errorf("%v: the refused program ran %d times", err, len(ran))
	}
}

// TestOverlay: a file system as containers have it, mounted when the gate is there already, is asked about by the paths that it shows, changed files and those of the image alike; and by those
// of its layers for who goes there.
func TestOverlay(t *testing.T) {
	dir := tmpfs(t)
	for _, name := range []string{"lower", "upper", "work", "root"} {
		if err := os.Mkdir(dir+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("/bin/touch")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/lower/evil", text, 0o755); err != nil {
		t.Fatal(err)
	}
	root := dir + "/root"
	j := &judge{says: func(r *record.Record) bool { return filepath.Base(string(r.Path)) == "evil" }}
	begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookExec, Mount: dir, Files: kernel.Paths{Name: []string{"evil"}}})
	if err := unix.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)); err != nil {
		require.Part(t, "overlay", false, "a kernel with overlayfs: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	effects := t.TempDir()
	until := time.Now().Add(time.Minute)
	for run(t, "as-runner", root+"/evil", "1", effects) != "1 0" { // a mount is noticed a moment later
		if time.Now().After(until) {
			t.Fatal("the overlay is not asked about")
		}
		_ = os.Remove(effects + "/0")
	}
	if got := run(t, "as-runner", root+"/evil", "20", effects); got != "20 0" {
		t.Error("of the image: refused, ran: ", got)
	}
	if err := os.WriteFile(root+"/evil", append(text, 0), 0o755); err != nil { // it is copied up
		t.Fatal(err)
	}
	if got := run(t, "as-runner", root+"/evil", "20", effects); got != "20 0" {
		t.Error("changed: refused, ran: ", got)
	}
	for _, path := range j.asked() {
		if path != root+"/evil" {
			t.Errorf("asked about %q", path)
		}
	}
	if got := run(t, "as-runner", dir+"/upper/evil", "1", effects); got != "1 0" {
		t.Error("by its layer: refused, ran: ", got)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Deadline: time.Second}, {Waiting: 10}, {Deadline: time.Minute, Waiting: 10}, {Deadline: time.Second, Waiting: 1 << 20}} {
		if _, err := New(c, nil); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
