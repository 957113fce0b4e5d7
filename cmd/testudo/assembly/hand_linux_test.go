package assembly

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	kernelhand "github.com/testudo-sec/testudo/kernel/enforce/hand"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/isolate"
	"github.com/testudo-sec/testudo/respond/kill"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/signal"
)

// handsOnly is a sensor that acts and sees nothing.
type handsOnly struct {
	kernel.Sensor
	*kernelhand.Hand
}

func (h handsOnly) Do(ctx context.Context, o kernel.Order) (kernel.Done, error) {
	return h.Hand.Do(ctx, o)
}

func (handsOnly) Container(context.Context, uint64, uint32) (kernel.Container, bool, error) {
	return kernel.Container{}, false, kernel.ErrUnable
}

// runContainer starts a container that counts into a file of its root, and returns its id and that file.
func runContainer(t *testing.T) (id, count string, pid int) {
	t.Helper()
	require.Root(t)
	runc := require.Program(t, "runc", "runc")
	busybox := require.Program(t, "runc", "busybox", "/bin/busybox")
	dir := t.TempDir()
	bin := filepath.Join(dir, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	must := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(runc, append([]string{"--root", filepath.Join(dir, "state")}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("runc %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	must("spec")
	spec := filepath.Join(dir, "config.json")
	var config map[string]any
	raw, err := os.ReadFile(spec)
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	id = fmt.Sprintf("%064x", time.Now().UnixNano())
	config["root"] = map[string]any{"path": "rootfs", "readonly": false}
	p := config["process"].(map[string]any)
	p["terminal"] = false
	p["args"] = []string{"/bin/busybox", "sh", "-c", "while :; do /bin/busybox echo x >> /count; /bin/busybox sleep 0.01; done"}
	if raw, err = json.Marshal(config); err == nil {
		err = os.WriteFile(spec, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	// With its streams closed, runc does not wait for who holds them.
	cmd := exec.Command(runc, "--root", filepath.Join(dir, "state"), "run", "--detach", id)
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		require.Part(t, "runc", false, "runc cannot start a container here: "+err.Error())
	}
	t.Cleanup(func() {
		for range 50 {
			if exec.Command(runc, "--root", filepath.Join(dir, "state"), "delete", "--force", id).Run() == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error("the container of the test is left")
	})
	var state struct{ Pid int }
	if err := json.Unmarshal([]byte(must("state", id)), &state); err != nil || state.Pid == 0 {
		t.Fatal(err, state)
	}
	return id, filepath.Join(dir, "rootfs", "count"), state.Pid
}

func countSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func grows(path string) bool {
	before := countSize(path)
	for range 50 {
		time.Sleep(10 * time.Millisecond)
		if countSize(path) > before {
			return true
		}
	}
	return false
}

// The responders, the fit and the hand on a container that runc started: plan, do, restart, undo, kill.
func TestResponderOnAContainer(t *testing.T) {
	id, count, pid := runContainer(t)
	if !grows(count) {
		t.Fatal("the container does nothing")
	}
	hands := newHand(func() kernel.Sensor { return handsOnly{Hand: kernelhand.New()} })
	protect := workload.DefaultProtection()
	k, _ := kill.New(kill.DefaultConfig(), protect, hands)
	f, _ := freeze.New(freeze.DefaultConfig(), protect, hands)
	cfg := isolate.DefaultConfig()
	cfg.Keep = []string{netip.MustParseAddrPort("192.0.2.9:443").String()}
	i, _ := isolate.New(cfg, protect, hands)
	store, ledger := respondtest.NewStore(), respondtest.NewLedger()
	start := func() *respond.Host {
		h, err := respond.New(respond.DefaultConfig(), []respond.Part{k.Part(respond.Needs{}), f.Part(respond.Needs{}), i.Part(respond.Needs{})},
			respond.Options{Store: store, Ledger: ledger})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := start()
	ctx := t.Context()
	ask := func(kind, target string) respond.Request {
		return respond.Request{Kind: kind, Target: target, Actor: "person:ann", For: time.Minute}
	}
	order := func(kind, target string) signal.Action {
		t.Helper()
		a, err := h.Order(ctx, ask(kind, target))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	// A process of a container stands for the container, where all of it is touched.
	for _, target := range []string{id, fmt.Sprint(pid)} {
		p, err := h.Preview(ctx, ask("freeze", target))
		if err != nil || p.Target != id || p.Refusal != "" || !strings.Contains(p.Radius.Summary, "container "+id[:12]) || !strings.Contains(p.Radius.Summary, "sh (") && !strings.Contains(p.Radius.Summary, "busybox (") {
			t.Errorf("%+v %v", p, err)
		}
	}
	frozen := order("freeze", id)
	if grows(count) {
		t.Error("it is frozen and goes on")
	}
	h = start() // a restart leaves it frozen
	if _, err := h.Expire(ctx); err != nil || h.Active() != 1 || grows(count) {
		t.Errorf("%d in force after a restart, %v", h.Active(), err)
	}
	if _, err := h.Undo(ctx, frozen.ID, "person:ann", ""); err != nil || !grows(count) {
		t.Errorf("it does not go on: %v", err)
	}

	tables := func() string {
		out, err := exec.Command("nsenter", "-t", fmt.Sprint(pid), "-n", "nft", "list", "ruleset").CombinedOutput()
		require.Part(t, "nftables", err == nil, "install nftables and util-linux: "+string(out))
		return string(out)
	}
	before := tables()
	cut := order("isolate", fmt.Sprint(pid))
	if cut.Target != id || !strings.Contains(tables(), "table inet testudo_"+strings.ReplaceAll(cut.ID, "-", "_")) {
		t.Errorf("%+v\n%s", cut, tables())
	}
	if _, err := h.Undo(ctx, cut.ID, "person:ann", ""); err != nil || tables() != before {
		t.Errorf("%v\n%s", err, tables())
	}

	// The process alone has its key as its name.
	p, err := h.Preview(ctx, ask("kill", fmt.Sprint(pid)))
	if err != nil || !strings.HasPrefix(p.Target, hands.boot+"-"+fmt.Sprint(pid)+"-") || !strings.Contains(p.Radius.Summary, "It runs in container "+id[:12]) {
		t.Errorf("%+v %v", p, err)
	}
	again, err := h.Preview(ctx, ask("kill", p.Target))
	if err != nil || again.Target != p.Target {
		t.Errorf("%+v %v", again, err)
	}
	done := order("kill", id)
	if done.State != signal.ActionDone || unix.Kill(pid, 0) == nil && !zombie(pid) {
		t.Errorf("%+v", done)
	}
	// What has ended is refused, not an error: rules ask for what they saw.
	for _, target := range []string{p.Target, id} {
		a, err := h.Order(ctx, respond.Request{Kind: "kill", Target: target, Actor: "rule:shell"})
		if !errors.Is(err, respond.ErrRefused) || a.State != signal.ActionRefused || !strings.Contains(a.Error, "has ended") {
			t.Errorf("%s: %+v %v", target, a, err)
		}
	}
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func TestTargetsOfTheHand(t *testing.T) {
	hands := newHand(func() kernel.Sensor { return handsOnly{Hand: kernelhand.New()} })
	for _, c := range []struct{ target, words string }{
		{"", "is no process and no container"}, {"../x", "is no process and no container"}, {"a b", "is no process and no container"}, {"0", "is no process"},
		{"00000000-1-1", "has ended"}, {hands.boot + "-4294967295-1", "has ended"}, {hands.boot + "-4194303-1", "has ended"}, {"no-such-container", "has ended"},
		{"4194303", "has ended"},
	} {
		d, err := hands.Do(t.Context(), workload.Order{Verb: workload.Radius, For: workload.Kill, Target: c.target})
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%q: %+v, %v; want %q", c.target, d, err, c.words)
		}
	}
	self := fmt.Sprint(os.Getpid())
	if d, err := hands.Do(t.Context(), workload.Order{Verb: workload.Radius, For: workload.Kill, Target: self}); err != nil || !strings.Contains(d.Refusal, "testudo itself") {
		t.Errorf("%+v %v", d, err)
	}
	// A number alone is good for looking, never for acting.
	if _, err := hands.Do(t.Context(), workload.Order{Verb: workload.Kill, Target: "4194303"}); err == nil {
		t.Error("killed by number")
	}
	none := newHand(func() kernel.Sensor { return nil })
	if _, err := none.Do(t.Context(), workload.Order{Verb: workload.Thaw, ID: "x"}); !errors.Is(err, respond.ErrUnavailable) {
		t.Error(err)
	}
}
