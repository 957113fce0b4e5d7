package gate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// TestLoaderRunsAProgram: for the kernel the loader is what runs, and the program a file that it opens. So a question about running does not see it, and one about opening does.
func TestLoaderRunsAProgram(t *testing.T) {
	found, _ := filepath.Glob("/lib*/ld-linux-*.so.[12]")
	require.Part(t, "ld.so", len(found) > 0, "the GNU C library")
	dir := tmpfs(t)
	evil := program(t, dir+"/evil")
	j := &judge{says: func(r *record.Record) bool { return string(r.Path) == evil }}
	for _, c := range []struct {
		hook kernel.Hook
		by   string
		runs bool
	}{
		{kernel.HookExec, "running", true},
		{kernel.HookOpen, "opening", false}, // the loader starts, and ends as it cannot open it
	} {
		j.asked()
		_, end := begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: c.hook, Mount: dir, Files: kernel.Paths{All: true}})
		name := t.TempDir() + "/ran"
		_ = run(t, "as-loader", found[0], evil, name)
		_, err := os.Stat(name)
		if ran := err == nil; ran != c.runs {
			t.Errorf("a rule about %s: ran %t", c.by, ran)
		}
		if got := j.asked(); (len(got) == 0) != c.runs {
			t.Errorf("a rule about %s was asked about %q", c.by, got)
		}
		end()
	}
}

// TestInterpreterOfAFormat: what binfmt_misc has run is asked about as a script is, the file and then its interpreter, and also where the kernel has the interpreter open since the format was
// made known (flag F).
func TestInterpreterOfAFormat(t *testing.T) {
	dir := tmpfs(t)
	evil, data := program(t, dir+"/evil"), dir+"/data"
	formats := t.TempDir()
	err := unix.Mount("binfmt_misc", formats, "binfmt_misc", 0, "")
	require.Part(t, "binfmt_misc", err == nil, fmt.Sprintf("a kernel with CONFIG_BINFMT_MISC: %v", err))
	t.Cleanup(func() { _ = unix.Unmount(formats, unix.MNT_DETACH) })
	magic := fmt.Sprintf("testudo-test-%d", os.Getpid()) // it is known to the whole host: nobody else has such a file
	if err := os.WriteFile(data, []byte(magic+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	j := &judge{says: func(r *record.Record) bool { return r.Kind == record.KindExec && string(r.Path) == evil }}
	begin(t, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookExec, Mount: dir, Files: kernel.Paths{All: true}})
	for _, flags := range []string{"", "F"} {
		format := formats + "/" + magic
		if err := os.WriteFile(formats+"/register", fmt.Appendf(nil, ":%s:M::%s::%s:%s", magic, magic, evil, flags), 0); err != nil {
			t.Fatal(err)
		}
		forget := func() { _ = os.WriteFile(format, []byte("-1"), 0) }
		t.Cleanup(forget)
		j.asked()
		if got := run(t, "as-runner", data, "1", t.TempDir()); got != "1 0" {
			t.Errorf("flags %q: refused, ran: %s", flags, got)
		}
		if got := j.asked(); !slices.Equal(got, []string{data, evil}) {
			t.Errorf("flags %q: asked about %q", flags, got)
		}
		forget()
	}
}

// program puts one that makes the file of its argument.
func program(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("/bin/touch")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
