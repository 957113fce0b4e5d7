// Package block is the responder that blocks addresses at the edge: every request from
// the target is refused before it is judged.
//
// A target is an address or a prefix. A rule blocks single addresses only; of IPv6 it
// takes the /64 around the address, since that is what one customer or machine is given
// and moves about in (RFC 6177, RFC 7934), unless something protected lies within it. A person may
// block prefixes up to a configured width.
//
// Loopback, private, link-local and other special addresses (RFC 6890), and the proxies
// that the edge trusts, are protected: a rule does not block them unless the configuration
// allows it, a person must insist. What the configuration lists as never to be blocked, nobody
// blocks.
package block

import (
	"context"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
)

// Kind is the kind of this responder's actions.
const Kind = "block"

// A Blocklist is what the edge asks on every request. *addrset.Table is one. Its methods are safe
// for concurrent use with the edge's.
type Blocklist interface {
	// Add puts a prefix into the list until that moment; under an id that it is in the list
	// with already, only the moment changes.
	Add(prefix netip.Prefix, until time.Time, id string) error
	// Remove takes out what was added under that prefix and id.
	Remove(prefix netip.Prefix, id string) bool
}

// Traffic knows what came from where lately.
type Traffic interface {
	// Recent returns how many requests came from a prefix within the last window, and how
	// many of them were allowed.
	Recent(ctx context.Context, prefix netip.Prefix, window time.Duration) (total, good uint64, err error)
}

// Config says what may be blocked, and for how long.
type Config struct {
	// Default is how long a block lasts where nobody says otherwise.
	Default time.Duration `yaml:"default"`
	// Max is the longest that anybody may ask for.
	Max time.Duration `yaml:"max"`
	// Never lists addresses and prefixes that nobody blocks, as in 203.0.113.7 or 203.0.113.0/24:
	// those of your offices, of your monitoring, of whoever must always get in.
	Never []string `yaml:"never"`
	// AllowPrivate lists special addresses and prefixes (loopback, private, link-local, trusted
	// proxies) that rules may block as they do any other.
	AllowPrivate []string `yaml:"allow_private"`
	// RuleIPv6Bits is the length of the prefix that a rule blocks around an IPv6 address.
	RuleIPv6Bits int `yaml:"rule_ipv6_bits"`
	// PersonIPv4Bits is the shortest IPv4 prefix that a person may block.
	PersonIPv4Bits int `yaml:"person_ipv4_bits"`
	// PersonIPv6Bits is the shortest IPv6 prefix that a person may block.
	PersonIPv6Bits int `yaml:"person_ipv6_bits"`
	// Window is what "lately" means when the requests from a target are counted.
	Window time.Duration `yaml:"window"`
	// ManyGood is the number of allowed requests from a target within the window from which on
	// people are warned that they may block honest users.
	ManyGood uint64 `yaml:"many_good"`
	// RuleMaxGood is the number of allowed requests from a target within the window from which
	// on a rule does not block it, as many honest users may share the address; 0 for no
	// such bound. An attacker who sends so many honest requests is not blocked then, though each
	// attack is still judged.
	RuleMaxGood uint64 `yaml:"rule_max_good"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config {
	return Config{
		Default: 10 * time.Minute, Max: 30 * 24 * time.Hour, RuleIPv6Bits: 64, PersonIPv4Bits: 8, PersonIPv6Bits: 32,
		Window: 10 * time.Minute, ManyGood: 20,
	}
}

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	if c.Default < time.Second || c.Max < c.Default || c.Max > 10*365*24*time.Hour {
		return fmt.Errorf("default: %v, max: %v: want 1s <= default <= max <= 10 years", c.Default, c.Max)
	}
	for _, n := range []struct {
		name         string
		bits, lo, hi int
	}{{"rule_ipv6_bits", c.RuleIPv6Bits, 48, 128}, {"person_ipv4_bits", c.PersonIPv4Bits, 1, 32}, {"person_ipv6_bits", c.PersonIPv6Bits, 8, 128}} {
		if n.bits < n.lo || n.bits > n.hi {
			return fmt.Errorf("%s: %d: want %d to %d", n.name, n.bits, n.lo, n.hi)
		}
	}
	if c.Window < time.Minute || c.Window > 48*time.Hour {
		return fmt.Errorf("window: %v: want 1m to 48h", c.Window)
	}
	for _, list := range []struct {
		name  string
		items []string
	}{{"never", c.Never}, {"allow_private", c.AllowPrivate}} {
		if _, err := parseList(list.items); err != nil {
			return fmt.Errorf("%s: %w", list.name, err)
		}
	}
	return nil
}

// Responder blocks addresses. It is safe for concurrent use.
type Responder struct {
	cfg      Config
	list     Blocklist
	traffic  Traffic
	never    []netip.Prefix
	allowed  []netip.Prefix
	special  []named
	counters counter
}

type named struct {
	prefix netip.Prefix
	what   string
}

func (n *named) refusal(p netip.Prefix) string {
	verb := "is part of"
	if n.prefix.Bits() > p.Bits() {
		verb = "contains"
	}
	return fmt.Sprintf("%s %s %s (%s)", text(p), verb, n.what, text(n.prefix))
}

// counter is what a Blocklist that counts hits is asked.
type counter interface {
	Hits(prefix netip.Prefix, id string) uint64
}

// New returns the responder. proxies are those that the edge trusts; traffic may be nil: the
// radius then says that recent requests are not known.
func New(cfg Config, list Blocklist, traffic Traffic, proxies []netip.Prefix) (*Responder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("respond.block: %w", err)
	}
	b := &Responder{cfg: cfg, list: list, traffic: traffic, special: special()}
	b.never, _ = parseList(cfg.Never)
	b.allowed, _ = parseList(cfg.AllowPrivate)
	for _, p := range proxies {
		b.special = append(b.special, named{normal(p), proxy})
	}
	b.counters, _ = list.(counter)
	return b, nil
}

// Part returns the responder as the host takes it.
func (b *Responder) Part() respond.Part {
	return respond.Part{Kind: Kind, Default: b.cfg.Default, Max: b.cfg.Max, Responder: b}
}

// Apply implements respond.Responder.
func (b *Responder) Apply(_ context.Context, a *signal.Action) error {
	p, err := parse(a.Target)
	if err != nil {
		return err
	}
	return b.list.Add(p, a.Until, a.ID)
}

// Undo implements respond.Responder.
func (b *Responder) Undo(_ context.Context, a *signal.Action) error {
	p, err := parse(a.Target)
	if err != nil {
		return err
	}
	b.list.Remove(p, a.ID)
	return nil
}

// Hits implements respond.Counter.
func (b *Responder) Hits(a *signal.Action) uint64 {
	p, err := parse(a.Target)
	if err != nil || b.counters == nil {
		return 0
	}
	return b.counters.Hits(p, a.ID)
}

// Plan implements respond.Responder.
func (b *Responder) Plan(ctx context.Context, r respond.Request) (respond.Plan, error) {
	p, err := parse(r.Target)
	if err != nil {
		return respond.Plan{}, err
	}
	if p, err = b.width(p, &r); err != nil {
		return respond.Plan{}, err
	}
	plan := respond.Plan{Target: text(p), Group: group(p)}
	if n, ok := within(b.never, p); ok {
		plan.Refusal = fmt.Sprintf("the configuration lists %s under respond.block.never", text(n))
	} else if s, ok := b.protects(p); ok {
		plan.Refusal, plan.Forceable = s.refusal(p), true
		if r.Automatic() && s.what != proxy {
			plan.Refusal += ": is it a proxy that edge.trusted_proxies does not name? respond.block.allow_private lets rules block it"
		}
	}
	b.radius(ctx, &plan, p, &r)
	return plan, nil
}

// width gives a rule's target the width that rules block, and refuses what is too wide.
func (b *Responder) width(p netip.Prefix, r *respond.Request) (netip.Prefix, error) {
	if !r.Automatic() {
		least := b.cfg.PersonIPv4Bits
		if p.Addr().Is6() {
			least = b.cfg.PersonIPv6Bits
		}
		if p.Bits() < least {
			return p, fmt.Errorf("%s is too wide: /%d is the widest that may be blocked", p, least)
		}
		return p, nil
	}
	if p.Addr().Is4() {
		if p.Bits() != 32 {
			return p, fmt.Errorf("%s is too wide: a rule blocks single addresses", p)
		}
		return p, nil
	}
	if p.Bits() < b.cfg.RuleIPv6Bits {
		return p, fmt.Errorf("%s is too wide: /%d is the widest that a rule blocks", p, b.cfg.RuleIPv6Bits)
	}
	wide := netip.PrefixFrom(p.Addr(), b.cfg.RuleIPv6Bits).Masked()
	_, never := within(b.never, wide)
	if _, special := b.protects(wide); never || special {
		return p, nil // a neighbour of something protected: the address alone
	}
	return wide, nil
}

// protects returns the special prefix that a target touches, unless the configuration allows it.
func (b *Responder) protects(p netip.Prefix) (named, bool) {
	for _, a := range b.allowed {
		if a.Bits() <= p.Bits() && a.Contains(p.Addr()) {
			return named{}, false
		}
	}
	for _, s := range b.special {
		if s.prefix.Overlaps(p) {
			return s, true
		}
	}
	return named{}, false
}

func (b *Responder) radius(ctx context.Context, plan *respond.Plan, p netip.Prefix, r *respond.Request) {
	v := &plan.Radius
	v.Addresses = addresses(p)
	noun := "addresses"
	if p.IsSingleIP() {
		noun = "address"
	}
	v.Summary = fmt.Sprintf("Refuses every request from %s (%s %s) at the edge.", text(p), v.Addresses, noun)
	if asker := r.Asker.Unmap().WithZone(""); asker.IsValid() && p.Contains(asker) {
		v.Warnings = append(v.Warnings, fmt.Sprintf("your own address, %s, is among them", asker))
	}
	if b.traffic == nil {
		v.Warnings = append(v.Warnings, "recent requests from there are not known")
		return
	}
	total, good, err := b.traffic.Recent(ctx, p, b.cfg.Window)
	if err != nil {
		v.Warnings = append(v.Warnings, "recent requests from there are not known: "+err.Error())
		return
	}
	v.Requests, v.Good, v.Window = total, good, brief(b.cfg.Window)
	switch total {
	case 0:
		v.Summary += fmt.Sprintf(" None came from there in the last %s.", v.Window)
	case 1:
		v.Summary += fmt.Sprintf(" 1 came from there in the last %s; %d was allowed.", v.Window, good)
	default:
		v.Summary += fmt.Sprintf(" %d came from there in the last %s; %d were allowed.", total, v.Window, good)
	}
	if good >= b.cfg.ManyGood && b.cfg.ManyGood > 0 {
		v.Warnings = append(v.Warnings, fmt.Sprintf("%d requests from there were allowed in the last %s: honest users may share it", good, v.Window))
	}
	if r.Automatic() && plan.Refusal == "" && b.cfg.RuleMaxGood > 0 && good >= b.cfg.RuleMaxGood {
		plan.Refusal, plan.Forceable = fmt.Sprintf("%d requests from there were allowed in the last %s, and respond.block.rule_max_good is %d",
			good, v.Window, b.cfg.RuleMaxGood), true
	}
}

// addresses says how many addresses a prefix has: a number up to 2^24, else a power of two.
func addresses(p netip.Prefix) string {
	n := p.Addr().BitLen() - p.Bits()
	if n > 24 {
		return "2^" + strconv.Itoa(n)
	}
	return new(big.Int).Lsh(big.NewInt(1), uint(n)).String()
}

// brief is a duration without the zeros that Duration.String ends in.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
