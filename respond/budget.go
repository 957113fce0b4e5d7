package respond

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what the budget remembers.
const (
	maxGroups   = 4096
	maxRefusals = 4096
	maxRules    = 4096
)

// budget bounds what rules may do. Two buckets are asked, that of the network first: what one
// network's flood is denied does not use up the rule's own. Someone who has more networks
// than the budget remembers shares one bucket for all the rest.
//
// An action that is denied is no request that is let through: requests are judged one by
// one in any case, and blocking is what spares that work.
type budget struct {
	perRule, perGroup int
	refusalEvery      time.Duration

	mu       sync.Mutex
	rules    map[string]*rate.Limiter
	groups   map[string]*rate.Limiter
	rest     *rate.Limiter
	refusals map[string]time.Time
	dropped  map[string]*Dropped
}

// Dropped says what a rule asked for beyond its budget.
type Dropped struct {
	Rule   string    `json:"rule"`
	Count  uint64    `json:"count"` // since the start
	Last   time.Time `json:"last"`
	Reason string    `json:"reason"` // of the last
}

func newBudget(cfg Config) budget {
	return budget{
		perRule: cfg.RulePerMinute, perGroup: cfg.GroupPerMinute, refusalEvery: cfg.RefusalEvery,
		rules: map[string]*rate.Limiter{}, groups: map[string]*rate.Limiter{}, rest: perMinute(cfg.GroupPerMinute),
		refusals: map[string]time.Time{}, dropped: map[string]*Dropped{},
	}
}

func perMinute(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(float64(n)/60), n) }

// take takes one action of a rule against a group from both budgets, or says which is used up.
func (b *budget) take(now time.Time, rule, group string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if group != "" && !b.group(now, rule+" "+group).AllowN(now, 1) {
		return b.dropLocked(now, rule, fmt.Sprintf("more than %d actions a minute against %s", b.perGroup, group))
	}
	l := b.rules[rule]
	if l == nil {
		if len(b.rules) >= maxRules { // rules are not an attacker's to name; a full table is one of rules long gone
			clear(b.rules)
		}
		l = perMinute(b.perRule)
		b.rules[rule] = l
	}
	if !l.AllowN(now, 1) {
		return b.dropLocked(now, rule, fmt.Sprintf("more than %d actions a minute", b.perRule))
	}
	return nil
}

func (b *budget) group(now time.Time, name string) *rate.Limiter {
	if l := b.groups[name]; l != nil {
		return l
	}
	if len(b.groups) >= maxGroups {
		for k, l := range b.groups {
			if l.TokensAt(now) >= float64(b.perGroup) { // nothing to remember
				delete(b.groups, k)
			}
		}
	}
	if len(b.groups) >= maxGroups {
		return b.rest
	}
	l := perMinute(b.perGroup)
	b.groups[name] = l
	return l
}

func (b *budget) drop(now time.Time, rule, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_ = b.dropLocked(now, rule, reason)
}

func (b *budget) dropLocked(now time.Time, rule, reason string) error {
	d := b.dropped[rule]
	if d == nil {
		if len(b.dropped) >= maxRules {
			clear(b.dropped)
		}
		d = &Dropped{Rule: rule}
		b.dropped[rule] = d
	}
	d.Count++
	d.Last, d.Reason = now, reason
	return fmt.Errorf("%w: %s", ErrBudget, reason)
}

// refusedLately reports whether the same was refused a short while ago, and remembers it.
func (b *budget) refusedLately(now time.Time, what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.refusals[what]; ok && now.Sub(last) < b.refusalEvery {
		return true
	}
	if len(b.refusals) >= maxRefusals {
		for k, last := range b.refusals {
			if now.Sub(last) >= b.refusalEvery {
				delete(b.refusals, k)
			}
		}
	}
	if len(b.refusals) >= maxRefusals {
		return true
	}
	b.refusals[what] = now
	return false
}

// droppedSince returns what was dropped at that moment or later.
func (b *budget) droppedSince(t time.Time) (all []Dropped) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.dropped {
		if !d.Last.Before(t) {
			all = append(all, *d)
		}
	}
	return all
}
