package kernel

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// refuse is a judge that refuses what has this path.
func refuse(rule, path string) func(*signal.Event) signal.Verdict {
	return func(e *signal.Event) signal.Verdict {
		if e.Str(signal.FieldProcessFilePath) != path && e.Str(signal.FieldFilePath) != path {
			return signal.Verdict{}
		}
		return signal.Verdict{Decision: signal.Deny, Hits: []signal.Hit{{Rule: "an-alert", Decision: signal.Alert}, {Rule: rule, Decision: signal.Deny}}}
	}
}

func TestGates(t *testing.T) {
	for _, mode := range []string{ModeMonitor, ModeEnforce} {
		cfg := DefaultConfig()
		cfg.Mode = mode
		h := run(t, cfg, nil)
		h.sink.judge = refuse("deny-x", "/tmp/x")
		h.send(execOf(90, 1, "/usr/bin/bash", "-bash"))
		h.wait(t, 1)
		child := execOf(95, 90, "/tmp/x", "x", "--password", "hunter2")
		child.Name = []byte("/tmp/../tmp/x")
		a := h.Ask(t.Context(), child.Append(nil), record.GateFanotify)
		if want := mode == ModeEnforce; a.Deny != want || want && a.Rule != "deny-x" {
			t.Errorf("%s: %+v", mode, a)
		}
		e := h.wait(t, 2)[1]
		if e.Activity != signal.ActivityProcessLaunch || e.Str(signal.FieldProcessFilePath) != "/tmp/x" || e.Str(signal.FieldProcessName) != "x" ||
			e.Str(signal.FieldProcessCmdLine) != "x --password hunter2" || e.RecordedStr(signal.FieldProcessCmdLine) != "x --password *" || e.Str(signal.FieldKernelGate) != "fanotify" {
			t.Errorf("%s", mustJSON(t, e))
		}
		open := callOf(90, record.CallOpenat, 0, "/tmp/x")
		if a := h.Ask(t.Context(), open.Append(nil), record.GateFanotify); a.Deny != (mode == ModeEnforce) {
			t.Errorf("%s: %+v", mode, a)
		}
		if a := h.Ask(t.Context(), []byte("forged"), record.GateFanotify); a.Deny {
			t.Error("what cannot be read is refused")
		}
		h.stop()
		if len(h.sensor.orders) != 0 {
			t.Errorf("what was asked about before it happened is killed: %v", h.sensor.orders)
		}
	}
}

// TestWhatAGateRefusedIsToldOfOnce: the call that comes back refused is no second attempt, another file or another error is; and the refusal belongs to the request that the
// process was started for.
func TestWhatAGateRefusedIsToldOfOnce(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, func(d *Deps) { d.Chain = oneRequest(7) })
	h.sink.judge = refuse("deny-x", "/tmp/x")
	h.send(execOf(90, 1, "/usr/bin/bash", "-bash"))
	h.wait(t, 1)
	fork := record.Record{Kind: record.KindFork, PID: 95, TID: 95, PPID: 90, Start: 100 * second, Time: 100 * second, Token: 7, Comm: []byte("bash")}
	ask := execOf(95, 90, "/tmp/x")
	ask.Start, ask.Time = fork.Start, 101*second
	back, other, missing := callOf(95, record.CallExecve, -1, "/tmp/x"), callOf(95, record.CallExecve, -1, "/tmp/y"), callOf(95, record.CallExecve, -2, "/tmp/x")
	for i, r := range []*record.Record{&back, &other, &missing} {
		r.Start, r.Time = fork.Start, ask.Time+uint64(i+1)*300e6 // the judge took its time
	}
	h.send(fork, execOf(96, 1, "/bin/after", "after"))
	h.wait(t, 2)
	if a := h.Ask(t.Context(), ask.Append(nil), record.GateFanotify); !a.Deny {
		t.Fatalf("%+v", a)
	}
	h.send(back)
	h.send(execOf(97, 1, "/bin/more", "more"))
	h.wait(t, 4)
	if n := len(h.sensor.orders); n != 0 {
		t.Fatalf("who was refused is killed: %v", h.sensor.orders)
	}
	h.send(other, missing)
	all := slices.DeleteFunc(h.ended(), func(e *signal.Event) bool {
		return e.Class == signal.ClassBaseEvent || e.Int(signal.FieldProcessPID) == 97
	})
	if len(all) != 5 {
		for _, e := range all {
			t.Log(mustJSON(t, e))
		}
		t.Fatalf("%d events", len(all))
	}
	if e := all[2]; e.Str(signal.FieldKernelGate) != "fanotify" || e.Str(signal.FieldHTTPRequestUID) != "the-request" {
		t.Errorf("the refusal: %s", mustJSON(t, e))
	}
	if all[3].Str(signal.FieldProcessFilePath) != "/tmp/y" || all[4].Str(signal.FieldStatusCode) != "ENOENT" {
		t.Errorf("%s\n%s", mustJSON(t, all[3]), mustJSON(t, all[4]))
	}
}

func TestKillAfterTheFact(t *testing.T) {
	for _, mode := range []string{ModeMonitor, ModeEnforce} {
		cfg := DefaultConfig()
		cfg.Mode = mode
		h := run(t, cfg, func(d *Deps) { d.Own = []uint32{93} })
		h.sink.judge = refuse("deny-x", "/tmp/x")
		h.send(execOf(91, 90, "/tmp/x", "x"), execOf(93, 90, "/tmp/x", "x"), execOf(92, 90, "/bin/y", "y"))
		h.wait(t, 3)
		want := 0
		if mode == ModeEnforce {
			want = 1
		}
		for range 200 {
			h.sensor.mu.Lock()
			n := len(h.sensor.orders)
			h.sensor.mu.Unlock()
			if n == want && want > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		all := h.ended()
		if len(h.sensor.orders) != want {
			t.Fatalf("%s: %v", mode, h.sensor.orders)
		}
		if want == 1 {
			o := h.sensor.orders[0]
			if o.Verb != VerbKill || o.PID != 91 || o.Start != 91*second-5e6 || o.ID == "" {
				t.Errorf("%+v", o)
			}
		}
		own := slices.IndexFunc(all, func(e *signal.Event) bool { return e.Int(signal.FieldProcessPID) == 93 })
		if own < 0 || all[own].Str(signal.FieldKernelGate) != "none" {
			t.Error("the event of a process that is not killed does not say so")
		}
	}
}

func TestWhatTheKernelRefusedIsTheEventOfTheAttempt(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	h.send(execOf(90, 1, "/usr/bin/bash", "-bash"))
	enforced := execOf(90, 1, "/tmp/x", "x", "-a")
	enforced.Kind, enforced.Call, enforced.Ret, enforced.NumLen, enforced.Time = record.KindEnforced, record.CallExecve, -1, 3, 100*second
	enforced.Nums = [6]uint64{0, uint64(record.GateLSM), 1}
	enforced.Comm = []byte("bash")
	second := enforced
	second.Nums[0] = 1 // another rule about the same
	came := callOf(90, record.CallExecve, -1, "/tmp/x")
	came.Time = 100*uint64(1e9) + 5000
	watched := enforced
	watched.Nums[1], watched.Time = uint64(record.GateNone), 101*uint64(1e9)
	h.send(enforced, second, came, watched)
	all := h.ended()
	if len(all) != 2 {
		for _, e := range all {
			t.Log(mustJSON(t, e))
		}
		t.Fatalf("%d events", len(all))
	}
	e := all[1]
	if e.Activity != signal.ActivityProcessLaunch || e.Str(signal.FieldProcessFilePath) != "/tmp/x" || e.Str(signal.FieldProcessName) != "x" || e.Str(signal.FieldProcessCmdLine) != "x -a" ||
		e.Str(signal.FieldKernelGate) != "bpf-lsm" || e.Str(signal.FieldKernelOutcome) != "refused" || e.Str(signal.FieldStatusCode) != "EPERM" || e.Str(signal.FieldKernelMode) != "enforce" {
		t.Errorf("%s", mustJSON(t, e))
	}
	if got, _ := e.Unmapped("evt.type"); got != "execve" {
		t.Errorf("evt.type %q", got)
	}
}

func TestOwnFiles(t *testing.T) {
	h := run(t, DefaultConfig(), func(d *Deps) { d.Own, d.Data = []uint32{91, 94}, "/var/lib/testudo/" })
	moved := callOf(91, record.CallRename, 0, "/var/lib/testudo/a")
	moved.Path2 = []byte("/etc/cron.d/a")
	other := callOf(92, record.CallUnlink, 0, "/var/lib/testudo/x") // another process
	reused := callOf(91, record.CallUnlink, 0, "/var/lib/testudo/z")
	reused.Start += second
	early := execOf(94, 1, "/tmp/late", "late") // has taken over the id of one of testudo's
	early.Start = process.NewClock().Now() + second
	late := callOf(94, record.CallUnlink, 0, "/var/lib/testudo/late")
	late.Start = early.Start
	h.send(execOf(91, 1, "/usr/bin/testudo", "testudo", "up"), callOf(91, record.CallUnlink, 0, "/var/lib/testudo/a/b"), callOf(91, record.CallUnlink, 0, "/var/lib/testudo2/a"),
		callOf(91, record.CallUnlink, 0, "/etc/passwd"), moved, other, reused, early, late)
	got := strings.Join(names(h.ended()), " ")
	if got != "testudo /var/lib/testudo2/a /etc/passwd /var/lib/testudo/a /var/lib/testudo/x /var/lib/testudo/z late /var/lib/testudo/late" {
		t.Errorf("%s", got)
	}
}

func TestLossIsRecordedAndFailsHealth(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxLost = 10
	h := run(t, cfg, nil)
	lost := record.Record{Kind: record.KindLost, NumLen: 2, Nums: [6]uint64{7, uint64(record.KindExec)}}
	h.send(lost)
	e := h.wait(t, 1)[0]
	if e.Class != signal.ClassBaseEvent || e.Int(signal.FieldCount) != 7 || e.Plane != signal.PlaneKernel || !strings.Contains(e.Str(signal.FieldMessage), "7 records of exec") {
		t.Errorf("%s", mustJSON(t, e))
	}
	if err := h.Health(); err != nil {
		t.Errorf("7 of 10 that may be lost: %v", err)
	}
	forged := lost
	forged.Nums = [6]uint64{^uint64(0), ^uint64(0)}
	h.send(lost, forged)
	h.stop()
	if err := h.Health(); err == nil || !strings.Contains(err.Error(), "kernel.max_lost") {
		t.Errorf("%v", err)
	}
	if n := h.metrics.lost[record.KindExec].Load(); n != 14 {
		t.Errorf("%d counted", n)
	}
}

func TestSensorIsStartedAgain(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	h.sensor.mu.Lock()
	h.sensor.watchFails = 2
	h.sensor.mu.Unlock()
	if err := h.SetInterest(t.Context(), Interest{DNS: true}); err == nil {
		t.Error("an error of the sensor is not told")
	}
	h.sensor.fail <- errors.New("the child died")
	eventually(t, "health to say why", func() bool {
		err := h.Health()
		return err != nil && strings.Contains(err.Error(), "the child died")
	})
	<-h.sensor.started
	for range 1000 {
		h.sensor.mu.Lock()
		n := len(h.sensor.watched)
		h.sensor.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "health", func() bool { return h.Health() == nil })
	h.stop()
	if len(h.sensor.watched) == 0 || !h.sensor.watched[0].DNS || h.metrics.restarts.Load() != 1 {
		t.Errorf("%+v, %d restarts", h.sensor.watched, h.metrics.restarts.Load())
	}
	if err := h.Health(); err != nil {
		t.Errorf("%v", err)
	}
}

// testChain knows two requests.
type testChain struct {
	event signal.ID
	seen  []record.Kind
}

func (c *testChain) Apply(r *record.Record) { c.seen = append(c.seen, r.Kind) }

func (c *testChain) Request(token uint64) (Request, bool) {
	switch token {
	case 5:
		return Request{UID: "req-1", Event: c.event, Trace: "trace-1"}, true
	case 6:
		return Request{UID: "req-2", Ambiguous: true}, true
	}
	return Request{}, false
}

func TestRequests(t *testing.T) {
	c := &testChain{event: signal.NewID(bootTime)}
	h := run(t, DefaultConfig(), func(d *Deps) { d.Chain = c })
	var all []record.Record
	for i, token := range []uint64{5, 6, 7, 5} {
		r := callOf(91, record.CallUnlink, 0, "/x")
		if r.Token = token; i == 3 {
			r.Flags = record.FlagAmbiguous
		}
		all = append(all, r)
	}
	serve := record.Record{Kind: record.KindServe, PID: 91, Token: 5}
	h.send(append([]record.Record{serve}, all...)...)
	got := h.ended()
	if len(got) != 4 || len(c.seen) != 5 || c.seen[0] != record.KindServe {
		t.Fatalf("%d events, the chain saw %v", len(got), c.seen)
	}
	if e := got[0]; e.Str(signal.FieldHTTPRequestUID) != "req-1" || e.Parent != c.event || e.Str(signal.FieldTraceUID) != "trace-1" {
		t.Errorf("%s", mustJSON(t, e))
	}
	for i, ambiguous := range []bool{true, false, true} {
		if e := got[i+1]; e.Has(signal.FieldHTTPRequestUID) || e.Bool(signal.FieldKernelAmbiguous) != ambiguous || !e.Parent.IsZero() {
			t.Errorf("%d: %s", i+1, mustJSON(t, e))
		}
	}
}

func TestOddNames(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	exec := execOf(91, 90, "/tmp/a\xff\x1b[2J", "a\n\x1b]0;x\x07", "\xc3\x28")
	h.send(exec, callOf(91, record.CallUnlink, 0, "/tmp/\xfe\u202e\n"))
	all := h.ended()
	if e := all[0]; e.Str(signal.FieldProcessFilePath) != "/tmp/a\\xff\x1b[2J" || e.Str(signal.FieldProcessCmdLine) != "a\n\x1b]0;x\x07 \\xc3(" {
		t.Errorf("%q %q", e.Str(signal.FieldProcessFilePath), e.Str(signal.FieldProcessCmdLine))
	}
	if e := all[1]; e.Str(signal.FieldFilePath) != "/tmp/\\xfe\u202e\n" || e.IsMasked(signal.FieldFilePath) {
		t.Errorf("%q", e.Str(signal.FieldFilePath))
	}
	if s := mustJSON(t, all[1]); strings.ContainsAny(s, "\x1b\n\u202e") && strings.ContainsAny(s, "\x1b\n") {
		t.Errorf("control characters in %q", s)
	}
}

func TestInject(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	attach := callOf(91, record.CallPtrace, 0, "/usr/sbin/sshd", 16, 90)
	self := callOf(91, record.CallPtrace, 0, "", 0, 0)
	read := callOf(91, record.CallProcessVMReadv, 10, "/usr/sbin/sshd", 90)
	suid := callOf(91, record.CallSetuid, 0, "", 33)
	h.send(execOf(90, 1, "/usr/sbin/sshd", "sshd", "-D"), execOf(91, 1, "/tmp/inject", "inject"), attach, self, read, suid)
	all := h.ended()
	if e := all[2]; e.Activity != 4 || e.Str(signal.FieldProcessFilePath) != "/usr/sbin/sshd" || e.Str(signal.FieldProcessName) != "sshd" ||
		e.Int(signal.FieldProcessPID) != 90 || e.Str(signal.FieldActorProcessFilePath) != "/tmp/inject" {
		t.Errorf("%s", mustJSON(t, e))
	}
	if got, _ := all[2].Unmapped("evt.arg.request"); got != "PTRACE_ATTACH" {
		t.Errorf("%q", got)
	}
	if e := all[3]; e.Activity == 4 || e.Has(signal.FieldProcessPID) {
		t.Errorf("%s", mustJSON(t, e))
	}
	if e := all[4]; e.Activity != 3 {
		t.Errorf("%s", mustJSON(t, e))
	}
	if e := all[5]; e.Activity != 5 || e.Str(signal.FieldUserName) != "www-data" {
		t.Errorf("%s", mustJSON(t, e))
	}
	if got, _ := all[5].Unmapped("evt.arg.uid"); got != "www-data" {
		t.Errorf("%q", got)
	}
}

// TestSecretsByTheirLooks holds that what no option names is found too, in arguments and in paths, and in the line of a parent.
func TestSecretsByTheirLooks(t *testing.T) {
	set, err := detect.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	const key = "AKIA" + "IOSFODNN7ABCDEFG" // in two pieces, so that nobody takes this file for a leak
	h := run(t, DefaultConfig(), func(d *Deps) { d.Redact = set.Redact })
	h.send(execOf(90, 1, "/usr/bin/git", "git", "push", key), execOf(91, 90, "/usr/bin/ssh", "ssh", "h"), callOf(91, record.CallUnlink, 0, "/tmp/"+key))
	all := h.ended()
	if !strings.Contains(all[0].Str(signal.FieldProcessCmdLine), key) {
		t.Error("the judge does not see what was run")
	}
	for _, e := range all {
		if s := mustJSON(t, e) + string(e.AppendFrame(nil)); strings.Contains(s, key) {
			t.Errorf("the record holds the secret: %s", s)
		}
	}
}

// TestSecretsInPathsOfProgramsAreMasked: what a program is called, where it runs and what it came from are of its own choice.
func TestSecretsInPathsOfProgramsAreMasked(t *testing.T) {
	set, err := detect.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	const key = "AKIA" + "IOSFODNN7ABCDEFG"
	h := run(t, DefaultConfig(), func(d *Deps) { d.Redact = set.Redact })
	first := execOf(90, 1, "/srv/"+key+"/deploy", "deploy")
	first.Cwd = []byte("/home/" + key)
	named := execOf(91, 90, "/opt/"+key, "tool")
	kill := callOf(92, record.CallKill, 0, "/opt/"+key, 91, 9)
	h.send(first, named, execOf(92, 91, "/usr/bin/id", "id"), callOf(92, record.CallUnlink, 0, "/tmp/x"), kill)
	all := h.ended()
	if all[0].Str(signal.FieldProcessFilePath) != "/srv/"+key+"/deploy" || all[1].Str(signal.FieldProcessFileName) != key || all[0].Str(signal.FieldProcessWorkingDirectory) != "/home/"+key {
		t.Error("the judge does not see what was run")
	}
	if len(all) != 5 {
		t.Errorf("%d events", len(all))
	}
	for _, e := range all {
		if s := mustJSON(t, e) + string(e.AppendFrame(nil)); strings.Contains(s, key) {
			t.Errorf("the record holds the secret: %s", s)
		}
	}
	for _, path := range all[3].Strings(signal.FieldActorProcessLineage) {
		if strings.Contains(path, key) {
			t.Errorf("lineage: %q", path)
		}
	}
	if got := all[2].Strings(signal.FieldProcessLineage); len(got) != 2 || !strings.HasSuffix(got[1], "/deploy") {
		t.Errorf("lineage %q: it has every ancestor that is known, and nothing of those that are not", got)
	}
}

// TestWordsThatWereCutAreNotRecorded: the piece of a secret that was carried cannot be told from a word.
func TestWordsThatWereCutAreNotRecorded(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	cut := execOf(90, 1, "/usr/bin/tool", "tool", strings.Repeat("a", 3000), "pie")
	cut.Flags |= record.FlagTruncated
	tried := callOf(90, record.CallExecve, -13, "/usr/bin/other")
	tried.Args, tried.Flags = cut.Args, record.FlagTruncated
	whole := execOf(93, 1, "/usr/bin/tool", "tool", strings.Repeat("a", 3000), "pie")
	child := execOf(92, 90, "/usr/bin/id", "id")
	h.send(cut, callOf(90, record.CallUnlink, 0, "/tmp/x"), tried, child, whole)
	all := h.ended()
	for i, f := range []signal.Field{signal.FieldProcessCmdLine, signal.FieldActorProcessCmdLine, signal.FieldProcessCmdLine} {
		if got := all[i].RecordedStr(f); strings.HasSuffix(got, "pie") || !strings.HasSuffix(got, "…") {
			t.Errorf("%d is recorded as …%q", i, got[max(len(got)-20, 0):])
		}
		if got := all[i].Str(f); !strings.HasSuffix(got, "pie") {
			t.Errorf("%d is judged as …%q", i, got[max(len(got)-20, 0):])
		}
	}
	if got := all[3].RecordedStr(signal.FieldProcessParentProcessCmdLine); !strings.HasSuffix(got, "…") {
		t.Errorf("a parent is recorded as …%q", got[max(len(got)-20, 0):])
	}
	if got := all[4].RecordedStr(signal.FieldProcessCmdLine); !strings.HasSuffix(got, "pie") {
		t.Errorf("what is whole is recorded as …%q", got[max(len(got)-20, 0):])
	}
}

// oneRequest is a chain that knows one token.
type oneRequest uint64

func (oneRequest) Apply(*record.Record) {}

func (o oneRequest) Request(token uint64) (Request, bool) {
	return Request{UID: "the-request"}, token == uint64(o)
}

// TestKilledAtExecIsOneEventOfItsRequest: the program that kills knows of no request, and the exec is told of once more when it is done.
func TestKilledAtExecIsOneEventOfItsRequest(t *testing.T) {
	h := run(t, DefaultConfig(), func(d *Deps) { d.Chain = oneRequest(7) })
	server := execOf(90, 1, "/srv/shop", "shop")
	fork := record.Record{Kind: record.KindFork, PID: 95, TID: 95, PPID: 90, Start: 100 * second, Time: 100 * second, Token: 7, Comm: []byte("shop")}
	enforced := execOf(95, 90, "/bin/sh", "sh", "-c", "id")
	enforced.Kind, enforced.Call, enforced.Ret, enforced.NumLen = record.KindEnforced, record.CallExecve, -1, 3
	enforced.Start, enforced.Time, enforced.Comm = 100*second, 100*second+1000, []byte("shop")
	enforced.Nums = [6]uint64{0, uint64(record.GateExecKill), 1}
	exec := execOf(95, 90, "/bin/sh", "sh", "-c", "id")
	exec.Start, exec.Time, exec.Token = 100*second, 100*second+3000, 7
	h.send(server, fork, enforced, exec)
	all := h.ended()
	if len(all) != 2 {
		t.Fatalf("%d events: %s", len(all), mustJSON(t, all[len(all)-1]))
	}
	if e := all[1]; e.Str(signal.FieldHTTPRequestUID) != "the-request" || e.Str(signal.FieldKernelOutcome) != "killed" {
		t.Errorf("%s", mustJSON(t, e))
	}
}

// TestAJudgeThatPanics: what it was asked is decided by the guard, and what comes after it is judged.
func TestAJudgeThatPanics(t *testing.T) {
	for _, closed := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Mode = ModeEnforce
		h := run(t, cfg, nil)
		if err := h.SetGuard(t.Context(), Guard{Closed: closed}); err != nil {
			t.Fatal(err)
		}
		says := refuse("deny-x", "/tmp/x")
		h.sink.judge = func(e *signal.Event) signal.Verdict {
			if e.Str(signal.FieldProcessFilePath) == "/tmp/panic" {
				panic("a rule that nobody tried")
			}
			return says(e)
		}
		bad, good, first := execOf(91, 1, "/tmp/panic"), execOf(92, 1, "/tmp/x"), execOf(1, 0, "/tmp/panic")
		if a := h.Ask(t.Context(), bad.Append(nil), record.GateFanotify); a.Deny != closed {
			t.Errorf("closed %t: %+v", closed, a)
		}
		if a := h.Ask(t.Context(), first.Append(nil), record.GateFanotify); a.Deny {
			t.Error("the host's first process is refused")
		}
		if a := h.Ask(t.Context(), good.Append(nil), record.GateFanotify); !a.Deny || a.Rule != "deny-x" {
			t.Errorf("%+v", a)
		}
		h.send(bad, execOf(93, 1, "/bin/after"))
		all := h.ended()
		if e := all[len(all)-1]; e.Str(signal.FieldProcessFilePath) != "/bin/after" || h.metrics.unjudged.Load() != 3 {
			t.Errorf("%s, %d unjudged", mustJSON(t, e), h.metrics.unjudged.Load())
		}
	}
}

// TestARefusalOfAProgramThatHasEnded: where the name led that it passed is not known any more. The call that came back is the refused one all the same.
func TestARefusalOfAProgramThatHasEnded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, nil)
	h.sink.judge = func(e *signal.Event) signal.Verdict {
		if strings.HasSuffix(e.Str(signal.FieldProcessFilePath), "sh") {
			return signal.Verdict{Decision: signal.Deny, Hits: []signal.Hit{{Rule: "deny-sh", Decision: signal.Deny}}}
		}
		return signal.Verdict{}
	}
	h.send(execOf(90, 1, "/srv/shop", "shop"))
	h.wait(t, 1)
	ask := execOf(90, 1, "/usr/bin/dash")
	ask.Time = 200 * second
	if a := h.Ask(t.Context(), ask.Append(nil), record.GateFanotify); !a.Deny {
		t.Fatalf("%+v", a)
	}
	back := callOf(90, record.CallExecve, -1, "/bin/sh")
	back.Time, back.Flags = ask.Time+300e6, back.Flags|record.FlagUnsure
	h.send(back)
	if all := h.ended(); len(all) != 2 {
		for _, e := range all {
			t.Log(mustJSON(t, e))
		}
		t.Errorf("%d events", len(all))
	}
	if len(h.sensor.orders) != 0 {
		t.Errorf("who was refused is killed: %v", h.sensor.orders)
	}
}

// TestNobodyIsKilledForAProgramThatDidNotStart: a shell looks for a program in one folder after the other.
func TestNobodyIsKilledForAProgramThatDidNotStart(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, nil)
	h.sink.judge = refuse("deny-x", "/usr/local/bin/x")
	h.send(execOf(90, 1, "/bin/bash", "bash"))
	missing := callOf(90, record.CallExecve, -2, "/usr/local/bin/x")
	h.send(missing)
	all := h.ended()
	if len(all) != 2 || all[1].Str(signal.FieldStatusCode) != "ENOENT" || all[1].Str(signal.FieldKernelGate) != record.GateNone.String() {
		t.Errorf("%d events, the last: %s", len(all), mustJSON(t, all[len(all)-1]))
	}
	if len(h.sensor.orders) != 0 {
		t.Errorf("who looks for a program is killed: %v", h.sensor.orders)
	}
}

// TestARefusalThatComesBackSaysItsRequest: the gate does not know which thread asks. The call that comes back does: it is told as the refusal that it is, and nobody is killed for it.
func TestARefusalThatComesBackSaysItsRequest(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, func(d *Deps) { d.Chain = oneRequest(7) })
	h.sink.judge = refuse("deny-x", "/tmp/x")
	h.send(execOf(90, 1, "/srv/shop", "shop"))
	h.wait(t, 1)
	open := callOf(90, record.CallOpenat, 0, "/tmp/x")
	open.Time = 200 * second
	if a := h.Ask(t.Context(), open.Append(nil), record.GateFanotify); !a.Deny {
		t.Fatalf("%+v", a)
	}
	back := callOf(90, record.CallOpenat, -1, "/tmp/x")
	back.TID, back.Token, back.Time = 95, 7, open.Time+1e6
	h.send(back)
	all := h.ended()
	e := all[len(all)-1]
	if len(all) != 3 || e.Str(signal.FieldHTTPRequestUID) != "the-request" || e.Str(signal.FieldKernelGate) != "fanotify" || e.Str(signal.FieldKernelOutcome) != OutcomeRefused ||
		e.Int(signal.FieldStatusID) != 2 || e.Str(signal.FieldStatusCode) != "EPERM" {
		t.Errorf("%d events: %s", len(all), mustJSON(t, e))
	}
	if len(h.sensor.orders) != 0 {
		t.Errorf("who was refused is killed: %v", h.sensor.orders)
	}
}

// TestADecisionIsAnnouncedBeforeItIsTold: the call that comes back before the decision is told is not another attempt.
func TestADecisionIsAnnouncedBeforeItIsTold(t *testing.T) {
	h := run(t, DefaultConfig(), func(d *Deps) { d.Chain = oneRequest(7) })
	decision := execOf(95, 90, "/bin/sh", "sh", "-c", "id")
	decision.Kind, decision.Call, decision.Ret, decision.NumLen = record.KindEnforced, record.CallExecve, -1, 3
	decision.Start, decision.Time, decision.Comm = 100*second, 100*second+1000, []byte("shop")
	decision.Nums = [6]uint64{0, uint64(record.GateExecKill), 1}
	announced := decision
	announced.Flags |= record.FlagMarked
	fork := record.Record{Kind: record.KindFork, PID: 95, TID: 95, PPID: 90, Start: 100 * second, Time: 100 * second, Token: 7, Comm: []byte("shop")}
	back := callOf(95, record.CallExecve, -4, "/bin/sh")
	back.Start, back.Time, back.Token = 100*second, decision.Time+5000, 7
	h.send(execOf(90, 1, "/srv/shop", "shop"), announced, announced, fork, back, decision, decision)
	all := h.ended()
	if len(all) != 2 {
		t.Fatalf("%d events: %s", len(all), mustJSON(t, all[len(all)-1]))
	}
	if e := all[1]; e.Str(signal.FieldHTTPRequestUID) != "the-request" || e.Str(signal.FieldKernelOutcome) != "killed" {
		t.Errorf("%s", mustJSON(t, e))
	}
}
