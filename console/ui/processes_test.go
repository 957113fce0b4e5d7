package ui_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

func has(t *testing.T, at string, body []byte, want ...string) {
	t.Helper()
	for _, w := range want {
		if !bytes.Contains(body, []byte(w)) {
			t.Errorf("%s does not show %q", at, w)
		}
	}
}

func hasNot(t *testing.T, at string, body []byte, not ...string) {
	t.Helper()
	for _, w := range not {
		if bytes.Contains(body, []byte(w)) {
			t.Errorf("%s shows %q", at, w)
		}
	}
}

// TestProcesses: what runs, by container; what has ended when it is asked for; a process with its tree, its deeds and its request.
func TestProcesses(t *testing.T) {
	w := consoletest.New()
	kernelFinding(w)
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)

	_, body := p.get("/processes")
	has(t, "/processes", body, ">Host<", "shop", "pod <bdi>db-0</bdi>", "registry.example/shop:1.14", "privileged", "/processes/"+consoletest.Shop, "kind=freeze")
	hasNot(t, "/processes", body, "/processes/"+consoletest.Shell)
	_, body = p.get("/processes?show=all")
	has(t, "all", body, "/processes/"+consoletest.Shell, "killed by signal 9", "exit 7")
	_, body = p.get("/processes?show=all&q=ping")
	has(t, "search", body, "ping -c 1 127.0.0.1")
	hasNot(t, "search", body, "/usr/lib/postgresql")
	_, body = p.get("/processes?q=nothing-like-this")
	has(t, "none", body, "No process fits")

	at := "/processes/" + consoletest.Shell
	_, body = p.get(at)
	has(t, at, body, "killed by signal 9", "/processes/"+consoletest.Shop, "ping -c 1 127.0.0.1", "9f86d081884c", "dash 0.5.12-2", "/chain/"+consoletest.Traced, "198.51.100.9", "Freeze its container")
	hasNot(t, at, body, "Kill…") // it has ended
	_, body = p.get("/processes/" + consoletest.Shop)
	has(t, "shop", body, "Kill…", "kind=kill&amp;target="+consoletest.Shop)
	if status, _ := p.get("/processes/3f2a91c4-1-zzz"); status != http.StatusNotFound {
		t.Errorf("a process that nobody knows: %d", status)
	}
	viewer := signedIn(t, w, s, consoletest.ViewerName)
	for _, at := range []string{"/processes", "/processes/" + consoletest.Shop} {
		_, body = viewer.get(at)
		hasNot(t, at, body, "/actions/new", "Kill…", "Freeze")
	}

	// Long lists say how much more there is, and lead to it.
	var many []console.ProcessLine
	for i := range 900 {
		many = append(many, console.ProcessLine{UID: "many-" + strings.Repeat("i", i%7+1), PID: 10000 + i, CmdLine: "worker", Started: w.Start})
	}
	w.MoreProcesses = []console.ProcessGroup{{Container: &console.ContainerView{ID: strings.Repeat("a", 64), Name: "many"}, Processes: many}}
	_, body = p.get("/processes")
	has(t, "many", body, "840 more", "/processes?container="+strings.Repeat("a", 64))
	if n := bytes.Count(body, []byte(">worker<")); n != 60 {
		t.Errorf("%d rows of one container, want 60", n)
	}
}

// TestChain: the request, what it caused, how that is known; and the ways to it.
func TestChain(t *testing.T) {
	w := consoletest.New()
	kernelFinding(w)
	w.MoreTrace = []console.TraceLine{{Depth: 1, Kind: "service", Text: "batch", PID: 5000, Joined: "header", Unsure: true}}
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	event := w.Log[len(w.Log)-2].ID.String()

	_, body := p.get("/chain/" + consoletest.Traced)
	has(t, "chain", body, "joined by <bdi>socket</bdi>", "perhaps", "/traffic/"+event, "198.51.100.9:80", "/rules/host-shell-of-a-service")
	path := body[bytes.Index(body, []byte(`class="chain"`)):bytes.Index(body, []byte("All of it"))]
	last := -1
	for _, kind := range []string{"k-request", "k-service", "k-process", "k-network"} {
		at := bytes.Index(path, []byte(kind))
		if at <= last {
			t.Errorf("%s stands at %d of the path, behind %d is its place:\n%s", kind, at, last, path)
		}
		last = at
	}
	for at, want := range map[string][]string{
		"/traffic/" + event: {"/chain/" + consoletest.Traced, "/processes/" + consoletest.Shell, "What its request caused"},
		"/findings/shell":   {"/chain/" + consoletest.Traced, "/processes/" + consoletest.Shell, "ping -c 1 127.0.0.1"},
	} {
		_, body := p.get(at)
		has(t, at, body, want...)
	}
	if status, _ := p.get("/chain/01a20000-0000-7000-8000-000000000000"); status != http.StatusNotFound {
		t.Errorf("a request that nobody knows: %d", status)
	}

	// A process that the table has forgotten is drawn from its event.
	old := w.Log[len(w.Log)-2]
	old.SetString(signal.FieldProcessUID, "3f2a91c4-99-gone")
	_, body = p.get("/traffic/" + event)
	has(t, "forgotten", body, "ended too long ago", "containerd-shim-runc-v2")
	hasNot(t, "forgotten", body, "/processes/3f2a91c4-99-gone")
}

// TestHostPages: what the kernel can do, what was lost, what stops what; files that changed.
func TestHostPages(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	_, body := p.get("/system/host")
	has(t, "host", body, "bpf-lsm", "What would change it", "2,310", "412", "host-mining-pool", "cgroup-connect", ">enforce<", ">monitor<", "contains &#39;curl&#39;", ">661<")
	_, body = p.get("/system/files")
	has(t, "files", body, "%1B[2J&lt;script&gt;", "openssh-client", "not as its package has it")
	hasNot(t, "files", body, "/system/files/accept")
	admin := signedIn(t, w, s, consoletest.AdminName)
	_, body = admin.get("/system/files")
	has(t, "files", body, "/system/files/accept")
	has(t, "files", body, "Not what their package says")
}

// TestOrderProcess: what an order touches is said before it is done, and only who may gives one.
func TestOrderProcess(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	for kind, want := range map[string]string{"kill": "and 2 that it started", "freeze": "Freeze for 1 hour", "isolate": "Cut it off the network for 1 hour"} {
		_, body := p.get("/actions/new?kind=" + kind + "&target=" + consoletest.Shop)
		has(t, kind, body, want, `name="kind" value="`+kind+`"`, "What it would touch")
		if (kind == "kill") == bytes.Contains(body, []byte(`name="for"`)) {
			t.Errorf("%s: whether it asks for how long is wrong", kind)
		}
		form := url.Values{"kind": {kind}, "target": {consoletest.Shop}, "reason": {"test"}, "csrf": {p.csrf()}}
		if status, _, body := p.do(http.MethodPost, "/actions", form); status != http.StatusSeeOther {
			t.Errorf("%s: %d %.200s", kind, status, body)
		}
		got := w.Actions[len(w.Actions)-1]
		if got.Kind != kind || got.Target != consoletest.Shop || got.Reason != "test" {
			t.Errorf("ordered %s of %s because of %q, want %s of %s", got.Kind, got.Target, got.Reason, kind, consoletest.Shop)
		}
	}
	if status, _ := p.get("/actions/new?kind=reboot&target=x"); status != http.StatusUnprocessableEntity {
		t.Errorf("a kind that nobody has: %d", status)
	}
	viewer := signedIn(t, w, s, consoletest.ViewerName)
	if status, _ := viewer.get("/actions/new?kind=kill&target=" + consoletest.Shop); status != http.StatusForbidden {
		t.Errorf("a viewer looks at an order: %d", status)
	}
}
