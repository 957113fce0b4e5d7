package engine

import (
	mathbits "math/bits"
	"regexp"
	"slices"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/transform"
	"github.com/testudo-sec/testudo/internal/rxset"
)

// The expressions of rules are not asked one by one. All of a class of rules that look at a source (a variable, or the names of
// one) are asked at once about each of its texts, when the first of these rules comes up; what was found is kept with the text,
// and a rule whose expression was met by no text of its sources is passed over by a look at one bit.

// source is a variable whose texts are looked at: the variable itself, or with names added, its keys.
type source int

const (
	names   source = 256
	sources source = 512
)

// class groups rules that are run together or not at all: those of a paranoia level. Which rules form a class decides what
// is looked for in one pass, never what is found.
type class int

const classes = 5

func classOf(tags []string) class {
	for _, tag := range tags {
		if level, ok := strings.CutPrefix(tag, "paranoia-level/"); ok && len(level) == 1 && level[0] >= '1' && level[0] <= '4' {
			return class(level[0] - '0')
		}
	}
	return 0
}

// pattern is an expression that some rules ask for.
type pattern struct {
	expression string
	op         tester
}

// tester is an operator that needs to know nothing but the value.
type tester interface {
	test(tx *Transaction, value string) bool
}

// demand is what rules of a class look for in the texts of a source, after one chain of transformations.
type demand struct {
	chain int // index in heads.chains
	every bits
	keyed []keyDemand
}

// keyDemand is for the texts of one key, or of those that an expression matches.
type keyDemand struct {
	key  string // in lower case
	rx   *regexp.Regexp
	mask bits
}

// heads are the expressions of a program.
type heads struct {
	patterns   []pattern
	chains     []*transform.Chain // the first is nil: texts as they are
	transforms []transform.Transform
	steps      [][]int // by chain: indices in transforms
	plan       [classes][sources][]demand
	// set has the expressions among the patterns, by the same numbers. The others stand for nothing there.
	set         *rxset.Tiers
	expressions bits
}

// match finds which of the wanted patterns match a text, and sets their bits in out.
func (tx *Transaction) match(text string, wanted, out bits) {
	h := &tx.engine.heads
	copy(tx.asked, wanted)
	any := uint64(0)
	for i, w := range tx.asked {
		any |= w & h.expressions[i]
	}
	if any != 0 {
		found := h.set.MatchWanted(text, rxset.Bits(wanted), tx.rx)
		for i := range out {
			out[i] |= found[i] & wanted[i]
			tx.asked[i] &^= h.expressions[i]
		}
	}
	for at, w := range tx.asked {
		for ; w != 0; w &= w - 1 {
			if i := at<<6 + mathbits.TrailingZeros64(w); h.patterns[i].op.test(tx, text) {
				out.set(i)
			}
		}
	}
}

// sourcesOf returns the sources of a variable, none if its texts change while rules are run.
func sourcesOf(v variables.RuleVariable) []source {
	switch v {
	case variables.MatchedVar, variables.MatchedVarName, variables.MatchedVars, variables.MatchedVarsNames, variables.TX, variables.HighestSeverity:
		return nil
	case variables.Args:
		return []source{source(variables.ArgsGet), source(variables.ArgsPost), source(variables.ArgsPath)}
	case variables.ArgsNames:
		return []source{source(variables.ArgsGet) + names, source(variables.ArgsPost) + names}
	case variables.XML:
		return []source{source(variables.RequestXML)}
	}
	switch shapeOf(v) {
	case isSingle, isKeyed:
		return []source{source(v)}
	case isNames:
		return []source{source(namesOf(v)) + names}
	}
	return nil
}

// headed gives a rule the number of its expression, which its operator and argument name, if it is one whose targets do not change while rules are run.
func (e *Engine) headed(r *rule, expression string) {
	r.pattern = -1
	if len(r.targets) == 0 {
		return
	}
	for i := range r.targets {
		t := &r.targets[i]
		if t.sources = sourcesOf(t.Variable); len(t.sources) == 0 || t.Count {
			return
		}
	}
	h := &e.heads
	r.pattern = slices.IndexFunc(h.patterns, func(p pattern) bool { return p.expression == expression })
	if r.pattern < 0 {
		r.pattern = len(h.patterns)
		h.patterns = append(h.patterns, pattern{expression, r.op.(tester)})
	}
	if !r.MultiMatch || r.chain == nil {
		r.chainNumbers = []int{h.chain(r.chain)}
		return
	}
	for _, c := range r.chain.Prefixes() {
		r.chainNumbers = append(r.chainNumbers, h.chain(c))
	}
}

// chain returns the number of a chain. Those of one name are one.
func (h *heads) chain(c *transform.Chain) int {
	at := slices.IndexFunc(h.chains, func(other *transform.Chain) bool {
		return c == other || c != nil && other != nil && c.Name == other.Name
	})
	if at < 0 {
		at = len(h.chains)
		h.chains = append(h.chains, c)
		h.steps = append(h.steps, h.stepsOf(c))
	}
	return at
}

// stepsOf returns the transformations of a chain by number.
func (h *heads) stepsOf(c *transform.Chain) []int {
	if c == nil {
		return nil
	}
	var steps []int
	for _, t := range c.Steps() {
		at := slices.IndexFunc(h.transforms, func(other transform.Transform) bool { return t.Name == other.Name })
		if at < 0 {
			at = len(h.transforms)
			h.transforms = append(h.transforms, t)
		}
		steps = append(steps, at)
	}
	return steps
}

// planHeads notes who looks for what where.
func (e *Engine) planHeads() error {
	h := &e.heads
	for _, head := range e.rules {
		for r := head; r != nil; r = r.next {
			if r.pattern < 0 {
				continue
			}
			r.class = classOf(head.Tags)
			for i := range r.targets {
				t := &r.targets[i]
				for _, s := range t.sources {
					for _, n := range r.chainNumbers {
						h.demand(r, n, s, t)
					}
				}
			}
		}
	}
	return h.compile()
}

// compile builds the automata.
func (h *heads) compile() error {
	h.expressions = newBits(len(h.patterns))
	list := make([]rxset.Pattern, len(h.patterns))
	for i, p := range h.patterns {
		switch op := p.op.(type) {
		case *rx:
			list[i] = rxset.Pattern{Expr: "(?sm)" + op.expression, Plain: op.re}
		case *binaryRx:
			list[i] = rxset.Pattern{Expr: op.expression, Binary: true, Plain: op.re}
		default:
			list[i] = rxset.Pattern{Expr: never}
			continue
		}
		h.expressions.set(i)
	}
	var err error
	h.set, err = rxset.NewTiers(list, rxset.Options{})
	return err
}

// never matches nothing.
const never = `[^\x00-\x{10FFFF}]`

func (h *heads) demand(r *rule, chain int, s source, t *target) {
	list := &h.plan[r.class][s]
	at := slices.IndexFunc(*list, func(d demand) bool { return d.chain == chain })
	if at < 0 {
		at = len(*list)
		*list = append(*list, demand{chain: chain, every: newBits(len(h.patterns))})
	}
	d := &(*list)[at]
	if t.Key == "" {
		d.every.set(r.pattern)
		return
	}
	key := strings.ToLower(t.Key)
	k := slices.IndexFunc(d.keyed, func(k keyDemand) bool { return k.rx == t.KeyRx && (k.rx != nil || k.key == key) })
	if k < 0 {
		k = len(d.keyed)
		d.keyed = append(d.keyed, keyDemand{key, t.KeyRx, newBits(len(h.patterns))})
	}
	d.keyed[k].mask.set(r.pattern)
}

// search looks for all that the class wants in a text of a source, which has the key.
func (tx *Transaction) search(l *look, c class, s source, key string) {
	if l.done[c] {
		return
	}
	l.done[c] = true
	h, known := &tx.engine.heads, tx.engine.known
	key = strings.ToLower(key)
	again := known != nil && repeats(s, key, l.text)
	var place int
	var mark uint32
	if again {
		if place, mark = known.at(c, s, key, l.text); known.recall(tx, l, c, s, key, place) {
			return
		}
	}
	for i := range h.plan[c][s] {
		d := &h.plan[c][s][i]
		f := l.form(tx, d.chain)
		f.wanted.add(d.every)
		for j := range d.keyed {
			if k := &d.keyed[j]; k.rx != nil && k.rx.MatchString(key) || k.rx == nil && k.key == key {
				f.wanted.add(k.mask)
			}
		}
	}
	for i := range l.forms {
		if f := &l.forms[i]; f.wanted.any() {
			tx.match(f.text, f.wanted, f.found)
			tx.lit[s].add(f.found)
			clear(f.wanted)
		}
	}
	if again {
		known.learn(tx, l, c, s, key, place, mark)
	}
}

// searchAll looks at all texts of a source for a class, once in a phase.
func (tx *Transaction) searchAll(c class, s source) {
	if tx.searched[c][s] || len(tx.engine.heads.plan[c][s]) == 0 {
		return
	}
	tx.searched[c][s] = true
	v := variables.RuleVariable(s &^ names)
	if shapeOf(v) == isSingle {
		tx.search(tx.looking(&tx.singleLook[v], tx.singles[v]), c, s, "")
		return
	}
	for i := range tx.keyed[v] {
		e := &tx.keyed[v][i]
		if s&names != 0 {
			tx.search(tx.looking(&e.keyLook, e.key), c, s, e.lower)
		} else {
			tx.search(tx.looking(&e.valueLook, e.value), c, s, e.lower)
		}
	}
}

// put gives a variable without keys another text while rules are run.
func (tx *Transaction) put(v variables.RuleVariable, text string) {
	tx.singles[v] = text
	for c := range tx.searched {
		tx.searched[c][v] = false
	}
}

// lights reports whether a text of the target's sources meets the rule's expression, whatever the target leaves out.
func (tx *Transaction) lights(r *rule, t *target) bool {
	for _, s := range t.sources {
		tx.searchAll(r.class, s)
		if tx.lit[s].has(r.pattern) {
			return true
		}
	}
	return false
}
