package isolate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/isolate"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/respond/workload/workloadtest"
)

func newResponder(t *testing.T, m *workloadtest.Machine, keep ...string) *isolate.Responder {
	t.Helper()
	cfg := isolate.DefaultConfig()
	cfg.Keep = keep
	i, err := isolate.New(cfg, workload.DefaultProtection(), m)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func person(target string) respond.Request { return workloadtest.Person(isolate.Kind, target) }
func rule(target string) respond.Request   { return workloadtest.Rule(isolate.Kind, target) }

func TestContract(t *testing.T) {
	workloadtest.Contract(t, isolate.Kind, func(m *workloadtest.Machine) respond.Part { return newResponder(t, m).Part(respond.Needs{}) })
}

func TestPlans(t *testing.T) {
	m := workloadtest.New()
	workloadtest.Plans(t, m, newResponder(t, m, "10.0.0.5:443", "[::ffff:10.0.0.6]:0"),
		workloadtest.Plan{Request: rule("web"), Says: []string{"Lets nothing in or out of the network of container web (a1b2c3d4a1b2) of shop/web (2 processes).",
			"Still reachable: [10.0.0.5:443 10.0.0.6:0].", "3 established connections fall silent"}, SaysNot: []string{"cut off too"}},
		workloadtest.Plan{Request: rule("host"), Says: []string{"of the network that it is in (2 processes)"}, SaysNot: []string{"container", "connection"}},
		workloadtest.Plan{Request: person("crowd"), Says: []string{"1 other process shares this network and will be cut off too: pause (6)"}},
		workloadtest.Plan{Request: rule("ended"), Refusal: "it has ended", Says: []string{"Touches nothing"}},
		workloadtest.Plan{Request: rule("init"), Refusal: "process 1 is the machine's own"},
		workloadtest.Plan{Request: person("dns"), Refusal: `lists "kube-system"`},
		workloadtest.Plan{Request: rule("sshd"), Refusal: "respond.protect.executables", Forceable: true},
		workloadtest.Plan{Request: rule("crowd"), Refusal: "respond.isolate.max_processes lets rules touch 1000", Forceable: true},
	)
	workloadtest.Plans(t, m, newResponder(t, m), workloadtest.Plan{Request: rule("web"), Says: []string{"Nothing stays reachable: respond.isolate.keep can name addresses."}})
}

func TestOrders(t *testing.T) {
	m := workloadtest.New()
	keep := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:443"), netip.MustParseAddrPort("[fd00::5]:0"), netip.MustParseAddrPort("10.0.0.6:22")}
	workloadtest.Orders(t, m, newResponder(t, m, "10.0.0.5:443", "[fd00::5]:0", "[::ffff:10.0.0.6]:22"),
		workload.Order{Verb: workload.Isolate, Keep: keep}, workload.Order{Verb: workload.Join})
}

func TestConfig(t *testing.T) {
	good := isolate.DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	hour := isolate.Config{Default: time.Hour, Max: time.Hour, MaxProcesses: 1}
	keeping := func(keep ...string) isolate.Config { c := hour; c.Keep = keep; return c }
	for _, c := range []struct {
		bad  isolate.Config
		want string
	}{
		{isolate.Config{}, "default: 0s"},
		{isolate.Config{Default: time.Hour, Max: time.Minute, MaxProcesses: 1}, "max: 1m0s"},
		{isolate.Config{Default: 1, Max: 2, MaxProcesses: 1}, "default: 1ns"},
		{isolate.Config{Default: time.Hour, Max: time.Hour}, "max_processes: 0"},
		{keeping("10.0.0.1"), `keep: "10.0.0.1" is no address with a port`},
		{keeping("[fe80::1%eth0]:1"), `keep: "[fe80::1%eth0]:1"`},
		{keeping("console:443"), `keep: "console:443"`},
		{keeping(slices.Repeat([]string{"10.0.0.1:1"}, 65)...), "keep: 65 addresses, at most 64"},
	} {
		if err := c.bad.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.bad, err, c.want)
		}
		if _, err := isolate.New(c.bad, workload.Protection{}, workloadtest.New()); err == nil || !strings.HasPrefix(err.Error(), "respond.isolate: ") {
			t.Errorf("%+v: %v", c.bad, err)
		}
	}
	if c := keeping(slices.Repeat([]string{"10.0.0.1:1"}, 64)...); c.Validate() != nil {
		t.Error("64 addresses are too many")
	}
	part := newResponder(t, workloadtest.New()).Part(respond.Needs{})
	if part.Kind != isolate.Kind || part.Momentary || part.Default != good.Default || part.Max != good.Max {
		t.Errorf("%+v", part)
	}
}
