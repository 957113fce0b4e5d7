package match

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/textset"
	"github.com/testudo-sec/testudo/signal"
)

// builder compiles rules to an index.
type builder struct {
	x        *Index
	n        *normalizer
	rules    []Rule
	byColumn map[string]int32
	bodies   map[*Loop]ref
	tokensOf []tokens  // by atom
	accessOf []*access // by atom
	needs    map[*Atom][]required
	regexes  map[*Atom][2]float64 // cost and chance
	byspec   map[spec]int32
	waiting  [][]int32 // rules by token
}

func newBuilder(rules []Rule) *builder {
	return &builder{
		x: &Index{count: len(rules)}, n: newNormalizer(), rules: rules,
		byColumn: map[string]int32{}, bodies: map[*Loop]ref{}, needs: map[*Atom][]required{}, regexes: map[*Atom][2]float64{}, byspec: map[spec]int32{},
	}
}

func (b *builder) build() *Index {
	x := b.x
	b.classes()
	for i, r := range b.rules {
		x.rules = append(x.rules, compiledRule{root: b.n.expr(r.Expr, false), classes: b.mask(i), opens: -1})
	}
	for i := 0; i < len(b.n.nodes); i++ { // bodies add nodes, no loops
		if l, ok := b.n.nodes[i].leaf.(*Loop); ok && !l.Every {
			b.bodies[l] = b.body(l)
		}
	}
	b.fold()
	b.tokensOf = make([]tokens, len(b.n.atoms))
	for i, a := range b.n.atoms {
		b.tokensOf[i], b.tokensOf[i].known = b.specs(a)
	}
	b.weigh()
	b.price()
	for i := range x.rules {
		x.rules[i].access = b.access(x.rules[i].root)
	}
	b.gates()
	b.atoms()
	b.wait()
	b.prepare()
	b.tables()
	b.order()
	b.explainPlans()
	return x
}

// classes gives each class that a rule names a bit.
func (b *builder) classes() {
	x := b.x
	for _, r := range b.rules {
		for _, c := range r.Classes {
			if !slices.Contains(x.classes, c) {
				x.classes = append(x.classes, c)
			}
		}
	}
	if len(x.classes) >= otherClass {
		x.exact = make([][]signal.Class, len(b.rules))
		for i, r := range b.rules {
			x.exact[i] = r.Classes
		}
	}
}

func (b *builder) mask(i int) uint64 {
	if b.rules[i].Classes == nil {
		return math.MaxUint64
	}
	mask := uint64(0)
	for _, c := range b.rules[i].Classes {
		mask |= 1 << b.x.classBit(c)
	}
	return mask
}

// column returns the column of an operand, a new one where there is none.
func (b *builder) column(o Operand, kind valueKind) int32 {
	switch kind {
	case textValues:
		o.Measure = MeasureNone
	case presence:
		o.Measure, o.Steps = MeasureNone, nil
	}
	key := string(o.appendKey([]byte{byte(kind)}))
	if c, ok := b.byColumn[key]; ok {
		return c
	}
	col := column{on: o, kind: kind, texts: -1, name: -1, exists: -1, empty: -1}
	if kind != textValues {
		texts := textsOf(o, kind)
		if o.Measure != MeasureNone || !texts.none() {
			col.texts = b.column(texts, textValues)
		}
	}
	col.gated = o.Any
	c := int32(len(b.x.columns))
	b.x.columns = append(b.x.columns, col)
	b.byColumn[key] = c
	return c
}

// fold finds the columns of whose values some atom disregards the case: all their tokens are those of folded values.
func (b *builder) fold() {
	for _, a := range b.n.atoms {
		if a.On.Elem || a.Other != nil || a.Op < OpEqual || a.Op > OpRegex {
			continue
		}
		fold := a.Fold
		if a.Op == OpRegex {
			fold = slices.ContainsFunc(b.requiredBy(a), func(r required) bool { return r.fold })
		}
		if !fold {
			continue
		}
		for _, o := range a.On.sources() {
			b.x.columns[b.column(o, textValues)].fold = true
		}
	}
}

// gates makes a gate of what rules ask beside their tokens of every text of the event: those texts are gone
// through where a gate lets the event pass. A gate with few tokens behind it has a column of its own, in which a few literals
// are found much faster than those of all gates.
func (b *builder) gates() {
	x := b.x
	type gate struct {
		node  ref
		opens int32
	}
	var order []gate
	behind := map[gate][]int{}
	tokens := map[gate]map[spec]bool{}
	for i := range b.rules {
		if x.rules[i].access == nil || !x.rules[i].access.any {
			continue
		}
		node := b.beside(x.rules[i].root)
		for _, sp := range x.rules[i].access.specs {
			if !x.columns[sp.column].gated {
				continue
			}
			g := gate{node, sp.column}
			if tokens[g] == nil {
				tokens[g] = map[spec]bool{}
				order = append(order, g)
			}
			tokens[g][sp] = true
			if rules := behind[g]; len(rules) == 0 || rules[len(rules)-1] != i {
				behind[g] = append(rules, i)
			}
		}
	}
	b.price() // of the nodes that are new
	for _, g := range order {
		opens, classes := g.opens, uint64(0)
		if len(tokens[g]) <= fewTokens {
			opens = int32(len(x.columns))
			x.columns = append(x.columns, x.columns[g.opens])
		}
		for _, i := range behind[g] {
			classes |= x.rules[i].classes
			own := *x.rules[i].access // atoms share it
			own.specs = slices.Clone(own.specs)
			for k := range own.specs {
				if own.specs[k].column == g.opens {
					own.specs[k].column = opens
				}
			}
			x.rules[i].access = &own
		}
		x.rules = append(x.rules, compiledRule{root: g.node, classes: classes, opens: opens, access: b.access(g.node)})
	}
}

// beside returns what a condition asks beside what it asks of every text: the event must have it for it to match.
func (b *builder) beside(r ref) ref {
	parts := []ref{r}
	if root := &b.n.nodes[r.number()]; root.kind == nodeAnd {
		parts = root.kids
	}
	var beside []ref
	for _, p := range parts {
		if n := &b.n.nodes[p.number()]; !n.any && n.kind != nodeLeaf && n.cost < gateCost {
			beside = append(beside, p)
		}
	}
	return b.n.join(beside, false)
}

// fewTokens is up to how many tokens a gate has a column of its own for.
const fewTokens = 4

// gateCost bounds what a part of a gate may cost, in nanoseconds.
const gateCost = 200

// wait registers every rule with the tokens of its access set.
func (b *builder) wait() {
	x := b.x
	for i := range x.rules {
		r := &x.rules[i]
		x.live |= r.classes
		if r.access == nil {
			for class := range x.residual {
				if r.classes>>class&1 == 1 {
					x.residual[class] = append(x.residual[class], int32(i))
				}
			}
			continue
		}
		for _, sp := range r.access.specs {
			id, ok := b.byspec[sp]
			if !ok {
				id = int32(len(x.tokens))
				b.byspec[sp] = id
				x.tokens = append(x.tokens, token{spec: sp})
				b.waiting = append(b.waiting, nil)
			}
			if w := b.waiting[id]; len(w) == 0 || w[len(w)-1] != int32(i) {
				b.waiting[id] = append(w, int32(i))
			}
			x.columns[sp.column].classes |= r.classes
		}
	}
	for id := range x.tokens {
		x.tokens[id].from = int32(len(x.postings))
		x.postings = append(x.postings, b.waiting[id]...)
		x.tokens[id].to = int32(len(x.postings))
	}
	// An atom whose tokens are all looked up need not be evaluated where the event has none of them.
	for i := range x.atoms {
		specs := b.tokensOf[i].specs
		ids := make([]int32, 0, len(specs))
		for _, sp := range specs {
			if id, ok := b.byspec[sp]; ok {
				ids = append(ids, id)
			}
		}
		if len(specs) == 0 || len(ids) < len(specs) {
			continue
		}
		var scanned []int32
		for _, sp := range specs {
			if !slices.Contains(scanned, sp.column) {
				scanned = append(scanned, sp.column)
			}
		}
		at := &x.atoms[i]
		at.tokens, at.scanned, at.exact = x.keep(ids), x.keep(scanned), b.tokensOf[i].exact
	}
}

// tables lays out what the values of each column are looked up in.
func (b *builder) tables() {
	x := b.x
	type lists struct {
		equal, prefix, suffix, contains []textset.Constant
		ints                            []span[int64]
		numbers                         []span[float64]
	}
	all := make([]lists, len(x.columns))
	used := make([]bool, len(x.columns))
	for i := range x.tokens {
		id, sp := int32(i), x.tokens[i].spec
		col, l := &x.columns[sp.column], &all[sp.column]
		used[sp.column] = true
		constant := textset.Constant{Text: sp.text, ID: id}
		switch sp.kind {
		case specExists:
			col.exists = id
		case specEqual:
			if sp.text == "" {
				col.empty = id
			} else {
				l.equal = append(l.equal, constant)
			}
		case specPrefix:
			l.prefix = append(l.prefix, constant)
		case specSuffix:
			l.suffix = append(l.suffix, constant)
		case specContains:
			l.contains = append(l.contains, constant)
		case specInt:
			l.ints = append(l.ints, span[int64]{sp.min, sp.max, id})
		case specNumber:
			l.numbers = append(l.numbers, span[float64]{math.Float64frombits(uint64(sp.min)), math.Float64frombits(uint64(sp.max)), id})
		case specAddr:
			if col.addrs == nil {
				col.addrs = newPrefixes()
			}
			col.addrs.add(sp.prefix(), id)
		}
	}
	for c := range x.columns {
		col, l := &x.columns[c], &all[c]
		if len(l.equal) > 0 {
			col.equal = textset.NewEqual(l.equal)
		}
		if len(l.prefix) > 0 {
			col.prefix = textset.NewPrefix(l.prefix)
		}
		if len(l.suffix) > 0 {
			col.suffix = textset.NewSuffix(l.suffix)
		}
		if len(l.contains) > 0 {
			col.contains = textset.NewContains(l.contains)
			col.joined = col.on.Any && col.kind == textValues && len(col.on.Steps) == 0 && col.empty < 0 &&
				len(l.equal)+len(l.prefix)+len(l.suffix) == 0 &&
				!slices.ContainsFunc(l.contains, func(c textset.Constant) bool { return strings.IndexByte(c.Text, 0) >= 0 })
		}
		if col.kind == intValues {
			col.ints = newIntervals(l.ints, afterInt)
		}
		if col.kind == numberValues {
			col.numbers = newIntervals(l.numbers, afterFloat)
		}
		if col.kind == addrValues && col.addrs == nil {
			col.addrs = newPrefixes()
		}
	}
	b.visit(used)
}

// visit says on which events the columns with tokens are scanned, and numbers the names of attributes.
func (b *builder) visit(used []bool) {
	x := b.x
	b.parents()
	x.byField = make([][]int32, len(signal.Fields())+1)
	ids := map[string]int32{}
	var constants []textset.Constant
	for c := range x.columns {
		col := &x.columns[c]
		o := &col.on
		if o.Attr != "" {
			id, ok := ids[o.Attr]
			if !ok {
				id = int32(len(x.byName))
				ids[o.Attr] = id
				x.byName = append(x.byName, nil)
				if _, plain := appendAttrName(nil, o.Attr); plain { // no attribute fits a name with an index
					constants = append(constants, textset.Constant{Text: o.Attr, ID: id})
				}
			}
			col.name = id
			x.nameAny = true
			if used[c] {
				x.byName[id] = append(x.byName[id], int32(c))
			}
		}
		switch {
		case !used[c] || col.gated:
		case o.Measure == MeasureCount || o.Field.IsHeader():
			x.always = append(x.always, int32(c))
		case o.Field != 0:
			x.byField[o.Field] = append(x.byField[o.Field], int32(c))
		}
	}
	x.names = textset.NewEqual(constants)
}

// parents finds for each column with steps one with fewer of the same: what they make is made once.
func (b *builder) parents() {
	for c := range b.x.columns {
		col := &b.x.columns[c]
		col.parent, col.steps = -1, col.on.Steps
		for n := len(col.on.Steps) - 1; n >= 0 && col.kind == textValues && col.parent < 0; n-- {
			o := col.on
			o.Steps = o.Steps[:n]
			if parent, ok := b.byColumn[string(o.appendKey([]byte{byte(textValues)}))]; ok {
				col.parent, col.steps = parent, col.on.Steps[n:]
			}
		}
	}
}

// order lays the nodes out for evaluation: what is cheap and decides often comes first.
func (b *builder) order() {
	x, nodes := b.x, b.n.nodes
	b.price()
	for i := range x.rules {
		b.use(x.rules[i].root)
	}
	x.codes = make([]code, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		c := code{kind: n.kind, shared: n.uses > 1}
		switch n.kind {
		case nodeAtom:
			c.from = n.atom
		case nodeLeaf:
			c.from = int32(len(x.leaves))
			x.leaves = append(x.leaves, n.leaf)
		default:
			c.from = int32(len(x.kids))
			x.kids = append(x.kids, n.kids...)
			c.to = int32(len(x.kids))
			slices.SortStableFunc(x.kids[c.from:c.to], func(l, r ref) int { return cmp.Compare(b.worth(n, l), b.worth(n, r)) })
		}
		x.codes[i] = c
	}
}

// worth returns what it costs to decide a node by one of its kids: the least is tried first.
func (b *builder) worth(n *node, r ref) float64 {
	kid := &b.n.nodes[r.number()]
	decides := kid.chance
	if r.turned() {
		decides = 1 - decides
	}
	if n.kind == nodeAnd {
		decides = 1 - decides
	}
	return kid.cost / math.Max(decides, 0.001)
}

// use counts how many conditions have a node.
func (b *builder) use(r ref) {
	n := &b.n.nodes[r.number()]
	if n.uses++; n.uses > 1 {
		return
	}
	for _, kid := range n.kids {
		b.use(kid)
	}
}
