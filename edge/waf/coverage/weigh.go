package coverage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
)

// Setting is a firewall, and from which score on a request is an attack to it.
type Setting struct {
	WAF                 waf.Config
	Paranoia, Threshold int
}

// firewall judges attacks.
type firewall struct {
	*waf.WAF
	paranoia, threshold int
	dir                 string
}

func open(s *Setting) (*firewall, error) {
	dir, err := os.MkdirTemp("", "testudo-coverage-") // Coraza would write uploads there
	if err != nil {
		return nil, err
	}
	f := &firewall{paranoia: s.Paranoia, threshold: s.Threshold, dir: dir}
	if f.WAF, err = waf.New(s.WAF, dir); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return f, nil
}

func (f *firewall) close() { _ = os.RemoveAll(f.dir) }

// outcome is what became of a request.
type outcome struct {
	attack bool // it scores enough
	rules  []string
	err    error
}

// judge inspects a request, with the exclusion of that number, 0 for none.
func (f *firewall) judge(m *message, exclusion int) outcome {
	r := m.request()
	if exclusion > 0 {
		r.Header = r.Header.Clone()
		r.Header.Set(guardField, strconv.Itoa(exclusion))
	}
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 7}), 4711)
	i := f.Begin(context.Background(), edge.Exchange{Request: r, Client: client, Server: client, ID: "coverage", Paranoia: f.paranoia})
	defer i.Close()
	res, limit := i.Headers()
	if limit > 0 {
		res = i.Body(m.body[:min(int64(len(m.body)), limit)], int64(len(m.body)) > limit)
	}
	return outcome{res.Score >= f.threshold, res.Rules, res.Err}
}

// detected reports whether an attack that was an attack, or matched its rule, is so still.
func (o *outcome) detected(before *outcome, rule string) bool {
	if before.attack {
		return o.attack
	}
	return slices.Contains(o.rules, rule)
}

// each calls do for the numbers below n, on all processors.
func each(ctx context.Context, n int, do func(i int)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// Difference is what two settings make of all attacks.
type Difference struct {
	Attacks  int // in the corpus
	Detected int // with the first setting
	// Lost and Gained are names of attacks that the first alone detects, or the second alone.
	Lost, Gained []string
}

// Compare sends all attacks through both settings: lost are those that the first detects and the second does not. Detected is what
// scores enough, and what does not but matches the rule that it is to match.
func Compare(ctx context.Context, c *Corpus, before, after Setting) (*Difference, error) {
	a, err := open(&before)
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := open(&after)
	if err != nil {
		return nil, err
	}
	defer b.close()
	type pair struct{ was, is bool }
	pairs := make([]pair, len(c.Attacks))
	if err := each(ctx, len(c.Attacks), func(i int) {
		attack := &c.Attacks[i]
		rule := strconv.Itoa(attack.Rule)
		x, y := a.judge(&attack.request, 0), b.judge(&attack.request, 0)
		was := x.attack || slices.Contains(x.rules, rule)
		pairs[i] = pair{was, was && y.detected(&x, rule) || !was && (y.attack || slices.Contains(y.rules, rule))}
	}); err != nil {
		return nil, err
	}
	out := &Difference{Attacks: len(c.Attacks)}
	for i, p := range pairs {
		if p.was {
			out.Detected++
		}
		switch {
		case p.was && !p.is:
			out.Lost = append(out.Lost, c.Attacks[i].Name)
		case !p.was && p.is:
			out.Gained = append(out.Gained, c.Attacks[i].Name)
		}
	}
	return out, nil
}

// maxExamples bounds the tests that are named for a price.
const maxExamples = 5

// Weigh prices proposals about one alarm: each is tried on all attacks, and on their values in the parameters that the
// proposals are about, in a request like the alarm's. What does not match one of the excluded rules is asked once for all.
func Weigh(ctx context.Context, c *Corpus, s Setting, a *Alarm, proposals []Proposal) error {
	program, err := waf.Program(s.WAF)
	if err != nil {
		program = nil // Coraza executes the rules; phases are those of most
	}
	w := newWriter(program)
	var guarded strings.Builder
	for i := range proposals {
		w.guard = i + 1
		for j := range proposals[i].Exclusions {
			guarded.WriteString(w.conditional(&proposals[i].Exclusions[j]))
		}
	}
	s.WAF.Before = guarded.String() + s.WAF.Before
	f, err := open(&s)
	if err != nil {
		return err
	}
	defer f.close()
	asIs := make([]trial, len(c.Attacks))
	for i := range c.Attacks {
		asIs[i] = trial{&c.Attacks[i].request, c.Attacks[i].Name, strconv.Itoa(c.Attacks[i].Rule)}
	}
	lost, detected, err := f.try(ctx, asIs, proposals)
	if err != nil {
		return err
	}
	for i := range proposals {
		proposals[i].Price = Price{Attacks: detected, Lost: len(lost[i])}
		proposals[i].Price.name(asIs, lost[i])
	}
	var placed []trial
	for _, target := range targetsOf(proposals) {
		for i := range c.Payloads {
			if m, ok := a.place(target, c.Payloads[i].Text); ok {
				placed = append(placed, trial{m, c.Payloads[i].Attack, ""})
			}
		}
	}
	if lost, detected, err = f.try(ctx, placed, proposals); err != nil {
		return err
	}
	for i := range proposals {
		p := &proposals[i].Price
		p.Placed, p.LostPlaced = detected, len(lost[i])
		p.name(placed, lost[i])
	}
	return nil
}

func (p *Price) name(trials []trial, lost []int) {
	for _, i := range lost {
		if name := trials[i].name; len(p.Examples) < maxExamples && !slices.Contains(p.Examples, name) {
			p.Examples = append(p.Examples, name)
		}
	}
}

// trial is a request that is tried.
type trial struct {
	m    *message
	name string
	rule string // that is to match; "" where only the score counts
}

// try returns which of the requests that are detected without a proposal are lost with each.
func (f *firewall) try(ctx context.Context, trials []trial, proposals []Proposal) (lost [][]int, detected int, err error) {
	lost = make([][]int, len(proposals))
	rules := make([][]string, len(proposals))
	for i := range proposals {
		for _, x := range proposals[i].Exclusions {
			for _, id := range x.Rules {
				rules[i] = append(rules[i], strconv.Itoa(id))
			}
		}
	}
	var mu sync.Mutex
	err = each(ctx, len(trials), func(i int) {
		t := &trials[i]
		before := f.judge(t.m, 0)
		if before.err != nil || !before.attack && !slices.Contains(before.rules, t.rule) {
			return
		}
		var gone []int
		for p := range proposals {
			if !slices.ContainsFunc(rules[p], func(id string) bool { return slices.Contains(before.rules, id) }) {
				continue
			}
			if after := f.judge(t.m, p+1); !after.detected(&before, t.rule) {
				gone = append(gone, p)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		detected++
		for _, p := range gone {
			lost[p] = append(lost[p], i)
		}
	})
	for i := range lost {
		slices.Sort(lost[i])
	}
	return lost, detected, err
}

// targetsOf returns the parameters that proposals are about, each once.
func targetsOf(proposals []Proposal) []string {
	var out []string
	for i := range proposals {
		for _, x := range proposals[i].Exclusions {
			if strings.Contains(x.Target, ":") && !strings.Contains(x.Target, ":/") && !slices.Contains(out, x.Target) {
				out = append(out, x.Target)
			}
		}
	}
	return out
}

// place makes a request like the alarm's with a value in one of its parameters. It reports false where it knows none.
func (a *Alarm) place(target, value string) (*message, bool) {
	variable, name, _ := strings.Cut(target, ":")
	path := a.Path
	if !strings.HasPrefix(path, "/") {
		path = "/"
	}
	m := &message{method: cmp.Or(a.Method, http.MethodGet), uri: strings.ReplaceAll(path, "*", "1"), proto: "HTTP/1.1", host: "localhost",
		header: http.Header{"User-Agent": {"Mozilla/5.0"}, "Accept": {"text/html"}}}
	switch variable {
	case "ARGS", "ARGS_GET", "ARGS_POST":
		m.argument(a, variable, name, value)
	case "REQUEST_COOKIES":
		m.header.Set("Cookie", name+"="+url.QueryEscape(value))
	case "REQUEST_HEADERS":
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) || strings.EqualFold(name, "Content-Type") || strings.EqualFold(name, "Content-Length") {
			return nil, false
		}
		if strings.EqualFold(name, "Host") {
			m.host = value
		} else {
			m.header.Set(name, value)
		}
	default:
		return nil, false
	}
	return m, true
}

func (m *message) argument(a *Alarm, variable, name, value string) {
	bodied := m.method != http.MethodGet && m.method != http.MethodHead
	switch {
	case bodied && strings.Contains(a.ContentType, "json") && strings.HasPrefix(name, "json."):
		m.header.Set("Content-Type", "application/json")
		m.body = nested(strings.Split(strings.TrimPrefix(name, "json."), "."), value)
	case bodied && variable != "ARGS_GET" && !inQuery(a.Query, name):
		m.header.Set("Content-Type", "application/x-www-form-urlencoded")
		m.body = []byte(url.QueryEscape(name) + "=" + url.QueryEscape(value))
	default:
		m.uri += "?" + url.QueryEscape(name) + "=" + url.QueryEscape(value)
		if bodied {
			m.header.Set("Content-Length", "0")
		}
		return
	}
	m.header.Set("Content-Length", fmt.Sprint(len(m.body)))
}

func inQuery(query, name string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if n, _, _ := strings.Cut(pair, "="); strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// maxElements bounds the elements in front of the one that a value is put into.
const maxElements = 64

// nested writes JSON in which the value has that name: {"items":[0,{"name":value}]} for items.1.name.
func nested(names []string, value string) []byte {
	var tree any = value
	for _, name := range slices.Backward(names) {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < maxElements {
			list := make([]any, n+1)
			for i := range n {
				list[i] = 0
			}
			list[n] = tree
			tree = list
			continue
		}
		tree = map[string]any{name: tree}
	}
	var out bytes.Buffer
	w := json.NewEncoder(&out)
	w.SetEscapeHTML(false)
	if err := w.Encode(tree); err != nil {
		return nil // there is nothing in it that could not be written
	}
	return bytes.TrimSpace(out.Bytes())
}
