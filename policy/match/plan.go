package match

import (
	"math"
	"unsafe"
)

// Plan says how an index serves a rule.
type Plan struct {
	// Access lists what an event must have one of for the rule to be evaluated: "process.file.path ends with '\hh.exe'".
	Access []string
	// Gate is what an event must have beside for all of its texts to be looked through; "" where the rule asks nothing of them.
	Gate string
	// Residual says that there is no such thing, and Why: the rule is evaluated for every event of its classes.
	Residual bool
	Why      string
	// Chance estimates the share of events for which the rule is evaluated, and Cost what that costs, in nanoseconds.
	Chance float64
	Cost   float64
}

// EventCost estimates what the rule costs an event of its classes, in nanoseconds.
func (p *Plan) EventCost() float64 { return p.Chance * p.Cost }

// Totals sum an index up.
type Totals struct {
	Rules    int // that may match at all
	Residual int // evaluated for every event of their classes
	Atoms    int // different ones
	Shared   int // of them, those that several conditions ask
	Tokens   int // that values are looked up for
	Columns  int // operands with tokens
	Bytes    int // that the tables take, texts not included
}

// Plan returns how rule i is served.
func (x *Index) Plan(i int) Plan {
	r := &x.rules[i]
	p := Plan{Cost: r.cost}
	if r.access == nil {
		p.Residual, p.Why, p.Chance = true, x.why[int32(i)], 1
		return p
	}
	p.Chance = r.access.chance
	seen := map[string]bool{}
	for _, sp := range r.access.specs {
		if text := x.columns[sp.column].on.String() + " " + sp.String(); !seen[text] {
			seen[text] = true
			p.Access = append(p.Access, text)
		}
	}
	if r.access.any {
		p.Gate = x.why[int32(i)]
	}
	return p
}

// Totals returns the sums of the index.
func (x *Index) Totals() Totals {
	t := Totals{Atoms: len(x.atoms), Tokens: len(x.tokens), Shared: x.shared}
	for i := range x.rules[:x.count] {
		switch r := &x.rules[i]; {
		case r.access == nil:
			t.Rules++
			t.Residual++
		case len(r.access.specs) > 0:
			t.Rules++
		}
	}
	for c := range x.columns {
		col := &x.columns[c]
		if col.classes != 0 {
			t.Columns++
		}
		for _, size := range []func() int{col.equal.Size, col.prefix.Size, col.suffix.Size, col.contains.Size} {
			t.Bytes += size()
		}
	}
	t.Bytes += len(x.codes)*int(unsafe.Sizeof(code{})) + len(x.atoms)*int(unsafe.Sizeof(atom{})) + len(x.columns)*int(unsafe.Sizeof(column{})) +
		len(x.tokens)*int(unsafe.Sizeof(token{})) + 4*(len(x.kids)+len(x.numbers)+len(x.postings)) + x.names.Size()
	return t
}

// explainPlans says why rules have no tokens, and what gates ask.
func (b *builder) explainPlans() {
	x := b.x
	x.why = map[int32]string{}
	for i := range x.rules[:x.count] {
		r := &x.rules[i]
		n := &b.n.nodes[r.root.number()]
		r.cost = math.Round(n.cost)
		switch {
		case r.access == nil:
			x.why[int32(i)] = b.culprit(r.root)
		case r.access.any:
			x.why[int32(i)] = b.text(b.beside(r.root))
		}
	}
	for i := range b.n.nodes {
		if n := &b.n.nodes[i]; n.kind == nodeAtom && n.uses > 1 {
			x.shared++
		}
	}
}

// culprit says what in a condition without tokens may hold for an event that has nothing of what rules look for.
func (b *builder) culprit(r ref) string {
	n := &b.n.nodes[r.number()]
	switch n.kind {
	case nodeConst:
		return "it holds for every event"
	case nodeAtom:
		if r.turned() {
			return "\"" + b.text(r) + "\" also holds where nothing is there"
		}
		return "\"" + b.text(r) + "\" may hold whatever is there"
	case nodeLeaf:
		return "\"" + b.text(r) + "\" is worked out anew for every event"
	case nodeAnd:
		text := b.culprit(n.kids[0])
		if len(n.kids) > 1 {
			text += ", and what stands beside it is no narrower"
		}
		return text
	}
	for _, kid := range n.kids {
		if b.access(kid) == nil {
			return b.culprit(kid)
		}
	}
	return ""
}

// text returns a node as text for people.
func (b *builder) text(r ref) string { return String(b.expr(r)) }

// expr returns a node as a condition.
func (b *builder) expr(r ref) Expr {
	n := &b.n.nodes[r.number()]
	var x Expr
	switch n.kind {
	case nodeConst:
		return Const(!r.turned())
	case nodeAtom:
		x = b.n.atoms[n.atom]
	case nodeLeaf:
		x = n.leaf
	case nodeAnd, nodeOr:
		parts := make([]Expr, len(n.kids))
		for i, kid := range n.kids {
			parts[i] = b.expr(kid)
		}
		x = Or(parts)
		if n.kind == nodeAnd {
			x = And(parts)
		}
	}
	if r.turned() {
		return Not{x}
	}
	return x
}
