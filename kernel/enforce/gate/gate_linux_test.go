package gate

import (
	"os"
	"strings"
	"testing"
	"time"

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

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Deadline: time.Second}, {Waiting: 10}, {Deadline: time.Minute, Waiting: 10}, {Deadline: time.Second, Waiting: 1 << 20}} {
		if _, err := New(c, nil); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
