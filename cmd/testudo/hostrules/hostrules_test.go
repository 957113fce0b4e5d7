package hostrules

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/rules"
	"github.com/testudo-sec/testudo/signal"
)

func load(t *testing.T, sources ...policy.Source) *policy.Set {
	t.Helper()
	loader := &policy.Loader{Dialects: []policy.Dialect{falco.New(), native.New(native.Actions()...)}, MaxFile: 1 << 20}
	set, _, err := loader.LoadSome(context.Background(), sources...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// rule makes a set of one native rule.
func rule(t *testing.T, on, when, then string) *policy.Set {
	t.Helper()
	text := "id: it\ntitle: A rule\nseverity: high\non: " + on + "\nwhen: |\n  " + when + "\nthen: " + then +
		"\nwhy: it\nfix: none\ntests:\n  - name: x\n    event: {activity_id: 1}\n    fires: false\n"
	loader := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}, MaxFile: 1 << 20}
	set, err := loader.Load(context.Background(), policy.Embedded("test:", fstest.MapFS{"it.yaml": {Data: []byte(text)}}))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestInterest(t *testing.T) {
	opens := []record.Call{record.CallOpen, record.CallOpenat, record.CallOpenat2}
	for _, c := range []struct {
		name, on, when string
		calls          []record.Call
		want           kernel.Interest
	}{
		{"starts of programs", "process_activity", `activity_id == 1 && process.name == "nc"`, []record.Call{record.CallExecve, record.CallExecveat}, kernel.Interest{}},
		{"a file is read", "file_activity", `activity_id == 14 && file.path == "/etc/shadow"`, opens,
			kernel.Interest{Reads: kernel.Paths{Exact: []string{"/etc/shadow"}}, Writes: kernel.Paths{Exact: []string{"/etc/shadow"}}}},
		{"a file is written", "file_activity", `activity_id == 14 && open_flags.exists(f, f == "O_WRONLY") && file.path.startsWith("/etc/cron.d/")`, opens,
			kernel.Interest{Writes: kernel.Paths{Prefix: []string{"/etc/cron.d/"}}}},
		{"a name", "file_activity", `activity_id == 5 && file.name == ".Bash_History"`, []record.Call{record.CallRename, record.CallRenameat, record.CallRenameat2},
			kernel.Interest{Changes: kernel.Paths{Name: []string{".bash_history"}}}},
		{"any path", "file_activity", `activity_id == 5 && actor.process.name != "mv"`, []record.Call{record.CallRename, record.CallRenameat, record.CallRenameat2},
			kernel.Interest{AnyPath: map[record.Call]bool{record.CallRename: true, record.CallRenameat: true, record.CallRenameat2: true}}},
		{"few programs", "file_activity", `activity_id == 14 && open_flags == ["O_RDONLY"] && actor.process.name == "tar"`, opens, kernel.Interest{Readers: []string{"tar"}}},
		{"names", "dns_activity", `query.hostname.endsWith(".onion")`, nil, kernel.Interest{DNS: true}},
		{"nothing of a host", "http_activity", `http_request.url.path == "/x"`, nil, kernel.Interest{}},
		{"only records of Windows", "file_activity", `metadata.log_product == "windows" && file.path.contains("x")`, nil, kernel.Interest{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Calls = map[record.Call]bool{}
			for _, call := range c.calls {
				c.want.Calls[call] = true
			}
			got := Interest(rule(t, c.on, c.when, "alert"))
			if c.name == "few programs" { // flags that the examples differ in stay open
				got.Writers, got.Writes = nil, kernel.Paths{}
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNamesOfServersAreAskedFor holds that rules over the names of servers have what tells them: the answers of name servers.
func TestNamesOfServersAreAskedFor(t *testing.T) {
	if !Interest(rule(t, "network_activity", `activity_id == 1 && dst_endpoint.hostname == "evil.example"`, "alert")).DNS {
		t.Error("DNS is not asked for")
	}
	if Interest(rule(t, "network_activity", `activity_id == 1 && dst_endpoint.port == 4444`, "alert")).DNS {
		t.Error("DNS is asked for by a rule over ports")
	}
}

// TestInterestOfShippedRules holds the rules that ship to what a busy host can bear: no rule asks for every file.
func TestInterestOfShippedRules(t *testing.T) {
	got := Interest(load(t, policy.Embedded("builtin:", rules.Judging())))
	if got.Reads.All || got.Writes.All || got.Changes.All || len(got.AnyPath) > 0 {
		t.Errorf("rules ask for every path: reads %v, writes %v, changes %v, of calls %v", got.Reads.All, got.Writes.All, got.Changes.All, got.AnyPath)
	}
	if len(got.Reads.Prefix) > 40 || slices.Contains(got.Reads.Prefix, "/usr/lib/") {
		t.Errorf("reads below %d folders: %v", len(got.Reads.Prefix), got.Reads.Prefix)
	}
	if !got.Calls[record.CallIoUringSetup] { // by a ring files are opened without a call
		t.Error("rings of io_uring are not asked for")
	}
}

// TestInterestCoversTests holds the derivation to the tests in the rule files: what a rule fires on, the sensor is asked for.
func TestInterestCoversTests(t *testing.T) {
	set := load(t, policy.Embedded("builtin:", rules.Judging()))
	files := fim.Default()
	want := Union(Interest(set), files.Interest()) // rules over changed files see what their monitor asks for
	seen := 0
	for _, r := range set.Rules() {
		for _, test := range r.Tests {
			for _, step := range test.Steps {
				e := step.Event
				path := e.Str(signal.FieldFilePath)
				if !step.Fires || e.Class != signal.ClassFileActivity || !strings.HasPrefix(path, "/") || e.Str(signal.FieldMetadataLogProduct) == "windows" {
					continue
				}
				if change, _ := e.Unmapped(fim.AttrChange); change == fim.Tampered {
					continue // no call, the monitor's own finding
				}
				seen++
				in := want.Reads.Has(path) || want.Writes.Has(path) || want.Changes.Has(path) || want.Changes.Has(e.Str(signal.FieldFileResultPath)) || want.Writes.Has(e.Str(signal.FieldFileResultPath))
				if !in {
					t.Errorf("rule %s fires on %s, which the sensor is not asked for", r.ID, path)
				}
			}
		}
	}
	if seen < 40 {
		t.Errorf("%d tests only", seen)
	}
}

func TestInterestOfFalco(t *testing.T) {
	got := Interest(load(t, policy.Disk(require.Corpora(t)+"/falco")))
	for _, c := range []record.Call{record.CallExecve, record.CallOpenat, record.CallConnect, record.CallPtrace, record.CallDup2, record.CallSetuid, record.CallFinitModule} {
		if !got.Calls[c] {
			t.Errorf("%s is not asked for", c)
		}
	}
	if !slices.Contains(got.Readers, "tar") || !slices.Contains(got.Readers, "sshd") {
		t.Errorf("readers %v", got.Readers)
	}
}

func TestCompile(t *testing.T) {
	for _, c := range []struct {
		name, on, when string
		want           []kernel.GuardRule
		residue        []string
		scoped         bool
	}{
		{"a path", "process_activity", `activity_id == 1 && process.file.path == "/usr/bin/nc"`,
			[]kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{Exact: []string{"/usr/bin/nc"}}}}, nil, false},
		{"either of two", "process_activity", `activity_id == 1 && (process.file.path.startsWith("/dev/shm/") || process.file.path.matches("^/tmp/(a|b)$") && process.user.uid == "33")`,
			[]kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{Prefix: []string{"/dev/shm/"}}},
				{Hook: kernel.HookExec, Exe: kernel.Paths{Exact: []string{"/tmp/a", "/tmp/b"}}, UIDs: []uint32{33}}}, nil, false},
		{"a part that only the judge can tell", "process_activity", `activity_id == 1 && (process.file.path == "/x" || process.cmd_line.contains("evil"))`,
			[]kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{Exact: []string{"/x"}}}}, []string{"process.cmd_line contains 'evil'"}, false},
		{"the host alone", "process_activity", `activity_id == 1 && process.file.path == "/x" && !has(container.uid)`,
			[]kernel.GuardRule{{Hook: kernel.HookExec, Host: true, Exe: kernel.Paths{Exact: []string{"/x"}}}}, nil, false},
		{"a file is written", "file_activity", `activity_id in [1, 3, 14] && file.path == "/etc/passwd" && open_flags.exists(f, f in ["O_WRONLY", "O_RDWR", "O_CREAT"])`,
			[]kernel.GuardRule{{Hook: kernel.HookOpen, Write: true, File: kernel.Paths{Exact: []string{"/etc/passwd"}}}}, nil, false},
		{"a file is opened", "file_activity", `activity_id in [1, 3, 14] && file.path == "/etc/shadow"`,
			[]kernel.GuardRule{{Hook: kernel.HookOpen, File: kernel.Paths{Exact: []string{"/etc/shadow"}}}}, nil, false},
		{"a name", "process_activity", `activity_id == 1 && process.file.name == "nc"`,
			[]kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{Name: []string{"nc"}}}}, nil, false},
		{"a workload", "process_activity", `activity_id == 1 && process.file.path == "/x" && container.image.name == "shop"`,
			[]kernel.GuardRule{{Hook: kernel.HookExec, Cgroups: []uint64{7}, Exe: kernel.Paths{Exact: []string{"/x"}}}}, nil, true},
		{"a connection", "network_activity", `activity_id == 1 && connection_info.direction_id == 2 && cidr(dst_endpoint.ip, "169.254.169.254/32") && dst_endpoint.port in [80, 443]`,
			[]kernel.GuardRule{{Hook: kernel.HookConnect, Remote: []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32")}, Ports: []uint16{80, 443}}}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Compile(rule(t, c.on, c.when, "deny"))
			got := p.Guard([]kernel.Workload{{Cgroup: 7, Container: kernel.Container{ID: "c", Image: "shop"}}, {Cgroup: 8, Container: kernel.Container{ID: "d", Image: "other"}}},
				func(string) bool { return false })
			for i := range c.want {
				c.want[i].Rule = "it"
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			var why []string
			for _, r := range p.Residue {
				why = append(why, r.Why)
			}
			if diff := cmp.Diff(c.residue, why, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAlertsAreNotEnforced(t *testing.T) {
	if p := Compile(rule(t, "process_activity", `process.file.path == "/x"`, "alert")); len(p.Clauses)+len(p.Residue) > 0 {
		t.Errorf("%+v", p)
	}
}

// TestClausesHoldOnlyWhereTheRuleDoes: clauses never refuse what the rule does not.
func TestClausesHoldOnlyWhereTheRuleDoes(t *testing.T) {
	set := rule(t, "process_activity", `activity_id == 1 && process.file.path.startsWith("/opt/") && process.user.uid != "0"`, "deny")
	p := Compile(set)
	if len(p.Clauses) != 0 || len(p.Residue) == 0 {
		t.Fatalf("a rule with a not is no clause: %+v", p.Clauses)
	}
}

func TestAsk(t *testing.T) {
	always := func(string) bool { return true }
	for _, c := range []struct {
		name, on, when string
		want           []kernel.AskScope
	}{
		{"who runs it decides", "process_activity", `activity_id == 1 && process.file.path == "/usr/bin/nc" && process.lineage.exists(a, a == "/usr/sbin/nginx")`,
			[]kernel.AskScope{{Hook: kernel.HookExec, Mount: "/", Files: kernel.Paths{Exact: []string{"/usr/bin/nc"}}}}},
		{"any file", "process_activity", `activity_id == 1 && process.parent_process.name == "nginx"`,
			[]kernel.AskScope{{Hook: kernel.HookExec, Mount: "/", Files: kernel.Paths{All: true}}}},
		{"arguments are not known before", "process_activity", `activity_id == 1 && process.cmd_line.contains("x")`, nil},
		{"the kernel needs no help", "process_activity", `activity_id == 1 && process.file.path == "/usr/bin/nc"`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Compile(rule(t, c.on, c.when, "deny"))
			if diff := cmp.Diff(c.want, p.Ask([]string{"/"}, always), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if got := p.Ask([]string{"/"}, func(string) bool { return false }); len(got) > 0 {
				t.Errorf("asked for rules that are not enforced: %+v", got)
			}
		})
	}
}

// TestReadsOfShippedRules holds the rules that ship to a few attributes: making all of them costs.
func TestReadsOfShippedRules(t *testing.T) {
	got := Reads(load(t, policy.Embedded("builtin:", rules.Judging())))
	if got.Attrs == nil || len(got.Attrs) > 20 {
		t.Errorf("%d attributes are read (0: all): %v", len(got.Attrs), got.Attrs)
	}
	if !got.Attrs["proc.stdin.type"] {
		t.Errorf("what a rule reads is missing: %v", got.Attrs)
	}
}

// TestNativeAttributesNarrow holds what rules of our own ask of attributes to what the sensor is asked for.
func TestNativeAttributesNarrow(t *testing.T) {
	got := Interest(rule(t, "process_activity", `attr("evt.type") in ["setns", "unshare"] && attr("evt.arg.flags") != ""`, "alert"))
	if diff := cmp.Diff(map[record.Call]bool{record.CallSetns: true, record.CallUnshare: true}, got.Calls); diff != "" {
		t.Error(diff)
	}
}
