package block_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/internal/addrset"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/block"
	"github.com/testudo-sec/testudo/respond/respondtest"
	"github.com/testudo-sec/testudo/signal"
	"pgregory.net/rapid"
)

var ctx = context.Background()

// traffic tells what came from where.
type traffic struct {
	total, good uint64
	err         error
	asked       netip.Prefix
	window      time.Duration
}

func (t *traffic) Recent(_ context.Context, p netip.Prefix, window time.Duration) (uint64, uint64, error) {
	t.asked, t.window = p, window
	return t.total, t.good, t.err
}

func newResponder(t testing.TB, list block.Blocklist, traffic block.Traffic, change ...func(*block.Config)) *block.Responder {
	t.Helper()
	cfg := block.DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	b, err := block.New(cfg, list, traffic, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/28"), netip.MustParsePrefix("2001:db8:9::5/128")})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func person(target string) respond.Request {
	return respond.Request{Kind: block.Kind, Target: target, Actor: "person:ann", For: time.Hour}
}

func rule(target string) respond.Request {
	return respond.Request{Kind: block.Kind, Target: target, Actor: "rule:edge.waf"}
}

// world describes a table without its hits.
func world(list *addrset.Table) string {
	var lines []string
	for e := range list.All() {
		lines = append(lines, fmt.Sprint(e.Prefix, " ", e.ID, " ", e.Until.UTC().Format(time.RFC3339Nano)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestContract(t *testing.T) {
	respondtest.Run(t, func(t *testing.T) respondtest.Subject {
		list := addrset.New(100)
		return respondtest.Subject{
			Part: newResponder(t, list, &traffic{}).Part(), World: func() string { return world(list) },
			Good: []respond.Request{person("203.0.113.7"), person("203.0.113.0/24"), person("::ffff:203.0.113.8/127"), person("2001:db8::1"), person("2001:db8::/48")},
			Bad:  []respond.Request{person(""), person("shop"), person("203.0.113.0/33"), person("203.0.113.7 "), person("0.0.0.0/0"), person("::/0"), person("::ffff:0:0/90"), person("203.0.113.0/24/8"), person("203.0.113.7\x00")},
		}
	})
}

func TestTargets(t *testing.T) {
	b := newResponder(t, addrset.New(10), &traffic{}, func(c *block.Config) {
		c.Never = []string{"203.0.113.66", "2001:db8:5:5::1"}
		c.AllowPrivate = []string{"127.0.0.66", "10.1.0.0/16", "10.2.0.0/16", "fd00:1::/32"}
	})
	for _, c := range []struct {
		r         respond.Request
		target    string
		addresses string
		refusal   string // a part of it
		forceable bool
		err       string // a part of it
	}{
		{r: rule("203.0.113.7"), target: "203.0.113.7", addresses: "1"},
		{r: rule("::ffff:203.0.113.7"), target: "203.0.113.7", addresses: "1"},
		{r: rule("2001:db8:1:2:3:4:5:6"), target: "2001:db8:1:2::/64", addresses: "2^64"},
		{r: rule("203.0.113.0/24"), err: "a rule blocks single addresses"},
		{r: rule("2001:db8::/63"), err: "/64 is the widest that a rule blocks"},
		{r: rule("127.0.0.1"), target: "127.0.0.1", addresses: "1", refusal: "127.0.0.1 is part of loopback, this machine itself (127.0.0.0/8): is it a proxy", forceable: true},
		{r: rule("127.0.0.66"), target: "127.0.0.66", addresses: "1"},
		{r: rule("10.0.0.1"), target: "10.0.0.1", addresses: "1", refusal: "a private network", forceable: true},
		{r: rule("10.1.2.3"), target: "10.1.2.3", addresses: "1"},
		{r: rule("192.168.1.1"), target: "192.168.1.1", addresses: "1", refusal: "a private network", forceable: true},
		{r: rule("172.31.255.255"), target: "172.31.255.255", addresses: "1", refusal: "a private network", forceable: true},
		{r: rule("100.64.0.1"), target: "100.64.0.1", addresses: "1", refusal: "a provider's customers", forceable: true},
		{r: rule("169.254.169.254"), target: "169.254.169.254", addresses: "1", refusal: "link-local", forceable: true},
		{r: rule("fe80::1%eth0"), target: "fe80::1", addresses: "1", refusal: "link-local", forceable: true},
		{r: rule("::1"), target: "::1", addresses: "1", refusal: "loopback", forceable: true},
		{r: rule("0.0.0.0"), target: "0.0.0.0", addresses: "1", refusal: "no sender", forceable: true},
		{r: rule("fd00::1"), target: "fd00::1", addresses: "1", refusal: "a private network", forceable: true},
		{r: rule("fd00:1::1"), target: "fd00:1::/64", addresses: "2^64"},
		{r: rule("64:ff9b::203.0.113.7"), target: "64:ff9b::cb00:7107", addresses: "1", refusal: "NAT64", forceable: true},
		{r: rule("198.51.100.3"), target: "198.51.100.3", addresses: "1", refusal: "198.51.100.3 is part of the proxies that the edge trusts (198.51.100.0/28)", forceable: true},
		{r: rule("2001:db8:9::6"), target: "2001:db8:9::6", addresses: "1"}, // beside a proxy: the address alone
		{r: rule("2001:db8:9::5"), target: "2001:db8:9::5", addresses: "1", refusal: "proxies", forceable: true},
		{r: rule("203.0.113.66"), target: "203.0.113.66", addresses: "1", refusal: "respond.block.never"},
		{r: rule("2001:db8:5:5::2"), target: "2001:db8:5:5::2", addresses: "1"},
		{r: person("203.0.113.7/32"), target: "203.0.113.7", addresses: "1"},
		{r: person("203.0.113.77/24"), target: "203.0.113.0/24", addresses: "256", refusal: "the configuration lists 203.0.113.66"},
		{r: person("198.0.0.0/8"), target: "198.0.0.0/8", addresses: "16777216", refusal: "198.0.0.0/8 contains the proxies that the edge trusts (198.51.100.0/28)", forceable: true},
		{r: person("8.0.0.0/7"), err: "/8 is the widest"},
		{r: person("2001:db8::/31"), err: "/32 is the widest"},
		{r: person("2001:db7::/32"), target: "2001:db7::/32", addresses: "2^96"},
		{r: person("2001:db8::1"), target: "2001:db8::1", addresses: "1"}, // a person says what is meant
		{r: person("10.0.0.0/8"), target: "10.0.0.0/8", addresses: "16777216", refusal: "is part of a private network", forceable: true},
		{r: person("10.2.0.0/15"), target: "10.2.0.0/15", addresses: "131072", refusal: "a private network", forceable: true}, // half of it is allowed
		{r: person("10.1.2.0/24"), target: "10.1.2.0/24", addresses: "256"},
	} {
		p, err := b.Plan(ctx, c.r)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s of %s: %v", c.r.Target, c.r.Actor, err)
			}
			continue
		}
		if err != nil || p.Target != c.target || p.Radius.Addresses != c.addresses || p.Forceable != c.forceable ||
			(c.refusal == "") != (p.Refusal == "") || !strings.Contains(p.Refusal, c.refusal) {
			t.Errorf("%s of %s: %+v %v", c.r.Target, c.r.Actor, p, err)
		}
	}
}

func TestRadius(t *testing.T) {
	tr := &traffic{total: 41, good: 12}
	b := newResponder(t, addrset.New(10), tr, func(c *block.Config) { c.ManyGood = 12 })
	r := person("203.0.113.0/24")
	r.Asker = netip.MustParseAddr("::ffff:203.0.113.9")
	p, err := b.Plan(ctx, r)
	want := signal.Radius{
		Summary:   "Refuses every request from 203.0.113.0/24 (256 addresses) at the edge. 41 came from there in the last 10m; 12 were allowed.",
		Addresses: "256", Requests: 41, Good: 12, Window: "10m",
		Warnings: []string{"your own address, 203.0.113.9, is among them", "12 requests from there were allowed in the last 10m: honest users may share it"},
	}
	if diff := cmp.Diff(want, p.Radius); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if tr.asked.String() != "203.0.113.0/24" || tr.window != 10*time.Minute {
		t.Errorf("asked for %v, %v", tr.asked, tr.window)
	}
	tr.good = 11
	r.Asker = netip.MustParseAddr("203.0.114.9")
	if p, _ := b.Plan(ctx, r); len(p.Radius.Warnings) != 0 {
		t.Errorf("%+v", p.Radius)
	}
	for _, tr := range []block.Traffic{nil, &traffic{err: errors.New("gone")}} {
		p, err := newResponder(t, addrset.New(10), tr).Plan(ctx, rule("203.0.113.7"))
		if err != nil || p.Refusal != "" || len(p.Radius.Warnings) != 1 || !strings.Contains(p.Radius.Warnings[0], "not known") || p.Radius.Window != "" {
			t.Errorf("%+v %v", p, err)
		}
	}
	shared := newResponder(t, addrset.New(10), &traffic{total: 500, good: 400}, func(c *block.Config) { c.RuleMaxGood = 400 })
	if p, _ := shared.Plan(ctx, rule("203.0.113.7")); !strings.Contains(p.Refusal, "rule_max_good is 400") || !p.Forceable {
		t.Errorf("%+v", p)
	}
	if p, _ := shared.Plan(ctx, person("203.0.113.7")); p.Refusal != "" {
		t.Errorf("%+v", p)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*block.Config){
		"":                 func(*block.Config) {},
		"default":          func(c *block.Config) { c.Default = 0 },
		"default: 10m":     func(c *block.Config) { c.Max = time.Minute },
		"rule_ipv6_bits":   func(c *block.Config) { c.RuleIPv6Bits = 32 },
		"person_ipv4_bits": func(c *block.Config) { c.PersonIPv4Bits = 0 },
		"person_ipv6_bits": func(c *block.Config) { c.PersonIPv6Bits = 129 },
		"window":           func(c *block.Config) { c.Window = 0 },
		`never: "office" is no address: write one as in 203.0.113.7`: func(c *block.Config) { c.Never = []string{"203.0.113.7", "office"} },
		"allow_private: ": func(c *block.Config) { c.AllowPrivate = []string{"10.0.0.0/99"} },
	} {
		c := block.DefaultConfig()
		change(&c)
		if err := c.Validate(); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func newHost(t testing.TB, b *block.Responder, store respond.Store, now *time.Time) *respond.Host {
	t.Helper()
	h, err := respond.New(respond.DefaultConfig(), []respond.Part{b.Part()}, respond.Options{
		Store: store, Ledger: respondtest.NewLedger(), Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFullListIsAnError(t *testing.T) {
	now := time.Now()
	list := addrset.New(1)
	store := respondtest.NewStore()
	h := newHost(t, newResponder(t, list, nil), store, &now)
	if _, err := h.Order(ctx, person("203.0.113.7")); err != nil {
		t.Fatal(err)
	}
	a, err := h.Order(ctx, person("203.0.113.8"))
	var full *addrset.FullError
	if !errors.As(err, &full) || a.State != signal.ActionFailed || h.Active() != 1 {
		t.Errorf("%+v %v", a, err)
	}
}

func TestHitsSurviveARestart(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	addr := netip.MustParseAddr("203.0.113.7")
	store := respondtest.NewStore()
	list := addrset.New(10)
	h := newHost(t, newResponder(t, list, nil), store, &now)
	a, err := h.Order(ctx, rule("203.0.113.7"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		list.Lookup(addr, now)
	}
	run, cancel := context.WithCancel(ctx)
	cancel()
	if err := h.Run(run); err != nil {
		t.Fatal(err)
	}
	list = addrset.New(10)
	h = newHost(t, newResponder(t, list, nil), store, &now)
	if _, err := h.Expire(ctx); err != nil {
		t.Fatal(err)
	}
	if e, ok := list.Lookup(addr, now); !ok || e.ID != a.ID || !e.Until.Equal(now.Add(10*time.Minute)) {
		t.Errorf("%+v %v", e, ok)
	}
	now = now.Add(10 * time.Minute)
	if _, ok := list.Lookup(addr, now); ok {
		t.Error("the list itself does not keep the limit")
	}
	if n, err := h.Expire(ctx); n != 1 || err != nil {
		t.Error(n, err)
	}
	if got, _, _ := store.Action(ctx, a.ID); got.Hits != 4 || got.State != signal.ActionExpired {
		t.Errorf("%+v", got)
	}
}

// Whatever is planned for a rule: it never touches what is protected or never to be blocked.
func TestRulesNeverTouchWhatIsProtected(t *testing.T) {
	b := newResponder(t, addrset.New(10), nil, func(c *block.Config) { c.Never = []string{"203.0.113.66", "2001:db8:5:5::1"} })
	never := []string{"127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "::1/128", "fe80::/10", "fc00::/7",
		"198.51.100.0/28", "2001:db8:9::5/128", "203.0.113.66/32", "2001:db8:5:5::1/128"}
	bases := append(slices.Clone(never), "203.0.113.0/24", "2001:db8:5:5::/64", "2001:db8:9::/64", "2001:db8::/32")
	rapid.Check(t, func(t *rapid.T) {
		base := netip.MustParsePrefix(rapid.SampledFrom(bases).Draw(t, "base"))
		raw := base.Addr().AsSlice()
		for i := range raw {
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				raw[i] ^= rapid.Byte().Draw(t, "by")
			}
		}
		addr, _ := netip.AddrFromSlice(raw)
		p, err := b.Plan(ctx, rule(addr.String()))
		if err != nil || p.Refusal != "" {
			return
		}
		target, err := netip.ParsePrefix(p.Target)
		if err != nil {
			a := netip.MustParseAddr(p.Target)
			target = netip.PrefixFrom(a, a.BitLen())
		}
		if !target.Contains(addr.Unmap()) {
			t.Fatalf("%v is planned as %v", addr, target)
		}
		for _, n := range never {
			if netip.MustParsePrefix(n).Overlaps(target) {
				t.Fatalf("%v for %v touches %s", target, addr, n)
			}
		}
	})
}

func FuzzPlan(f *testing.F) {
	for _, s := range []string{"203.0.113.7", "203.0.113.0/24", "::ffff:1.2.3.4", "::ffff:0:0/95", "fe80::1%eth0", "1.2.3.4/0", "", "1.2.3.4/032"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	list := addrset.New(1 << 20)
	b := newResponder(f, list, nil)
	f.Fuzz(func(t *testing.T, target string, automatic bool) {
		r := person(target)
		if automatic {
			r = rule(target)
		}
		p, err := b.Plan(ctx, r)
		if err != nil {
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := b.Plan(ctx, respond.Request{Kind: r.Kind, Target: p.Target, Actor: r.Actor})
		if err != nil || again.Target != p.Target {
			t.Fatalf("%q is %q, and that is %q, %v", target, p.Target, again.Target, err)
		}
		before := world(list)
		a := &signal.Action{ID: "x", Target: p.Target, Until: time.Now().Add(time.Hour)}
		if err := b.Apply(ctx, a); err != nil {
			t.Fatal(err)
		}
		if err := b.Undo(ctx, a); err != nil || world(list) != before {
			t.Fatalf("undo of %q: %v, left %s", target, err, world(list))
		}
	})
}
