package match

import (
	"math"

	"github.com/testudo-sec/testudo/internal/textset"
	"github.com/testudo-sec/testudo/signal"
)

// access is a set of tokens of which an event must have one for a condition to answer anything but No.
type access struct {
	specs  []spec
	chance float64 // that an event has one of them
	price  float64 // chance, and what looking for the tokens costs every event, in the same unit
	any    bool    // a token is one of every text of the event
}

// The model of how often events have a token. It only has to order choices: what is rare is worth waiting for.
// Rules share what is common ("\powershell.exe", "windows"), so the number of atoms that ask for a
// token says more about it than its text does.
const (
	shareChance  = 0.002 // for each further atom that asks for the token
	mostChance   = 0.5
	fewValues    = 0.3   // of fields that have a handful of values
	rareEqual    = 0.002 // a value that a single atom asks for
	textsPerText = 60    // places in a text where a literal may stand
	// textPrice is what a literal in a text filter costs all events, as a chance to be evaluated.
	textPrice  = 0.0005
	shortPrice = 0.05 // of a literal too short for the filter
	anyPrice   = 0.1  // of a literal that is looked for in every text
)

// access returns the cheapest set of tokens for a node, nil where it has none.
func (b *builder) access(r ref) *access {
	n := &b.n.nodes[r.number()]
	switch n.kind {
	case nodeConst:
		if r.turned() {
			return &access{} // never anything but No
		}
	case nodeAtom:
		if !r.turned() {
			return b.accessOf[n.atom]
		}
	case nodeAnd:
		var best *access
		for _, kid := range n.kids {
			if a := b.access(kid); a != nil && (best == nil || a.price < best.price) {
				best = a
			}
		}
		return best
	case nodeOr:
		all := &access{}
		for _, kid := range n.kids {
			a := b.access(kid)
			if a == nil {
				return nil
			}
			all.specs = append(all.specs, a.specs...)
			all.chance += a.chance
			all.price += a.price
			all.any = all.any || a.any
		}
		all.chance = math.Min(all.chance, 1)
		return all
	case nodeLeaf:
		if l, ok := n.leaf.(*Loop); ok && !l.Every && !r.turned() {
			if body, ok := b.bodies[l]; ok {
				return b.access(body)
			}
		}
	}
	return nil
}

// body returns what a loop's body asks of one value, asked of all values of its list. Where the loop holds, each
// atom of it that stands behind no not may hold, which is all that [builder.access] looks at.
func (b *builder) body(l *Loop) ref {
	var over func(x Expr) Expr
	over = func(x Expr) Expr {
		list := func(parts []Expr) []Expr {
			all := make([]Expr, len(parts))
			for i, part := range parts {
				all[i] = over(part)
			}
			return all
		}
		switch x := x.(type) {
		case And:
			return And(list(x))
		case Or:
			return Or(list(x))
		case Not:
			return Not{over(x.Part)}
		case *Atom:
			if !x.On.Elem {
				return x
			}
			textual := x.Op <= OpRegex && x.Other == nil && x.On.Measure == MeasureNone && x.On.Field == 0 && x.On.Attr == "" && !x.On.Any
			if !textual {
				return unknown
			}
			one := *x
			one.On = l.List
			one.On.Measure = MeasureNone
			one.On.Steps = append(append([]Step(nil), l.List.Steps...), x.On.Steps...)
			return &one
		}
		return unknown
	}
	return b.n.expr(over(l.Body), false)
}

// unknown stands for what tokens cannot be had of.
var unknown = &Func{Text: "unknown", Call: func(*signal.Event) Answer { return Fault }}

// weigh works out the access set of every atom, when it is known how many atoms share each token.
func (b *builder) weigh() {
	shared := map[spec]int{}
	for _, t := range b.tokensOf {
		for _, sp := range t.specs {
			shared[sp]++
		}
	}
	b.accessOf = make([]*access, len(b.n.atoms))
	for i, t := range b.tokensOf {
		if t.specs == nil && !b.neverHolds(b.n.atoms[i]) {
			continue
		}
		a := &access{specs: t.specs}
		for _, sp := range t.specs {
			chance, price := b.chance(sp, shared[sp])
			a.chance += chance
			a.price += price
			a.any = a.any || b.x.columns[sp.column].on.Any
		}
		a.chance = math.Min(a.chance, 1)
		b.accessOf[i] = a
	}
}

// neverHolds reports whether an atom compares with nothing that a value could be.
func (b *builder) neverHolds(a *Atom) bool {
	return (a.Op == OpInt || a.Op == OpNumber || a.Op == OpCIDR) && !a.On.Elem
}

// chance estimates how often an event has a token, and its price.
func (b *builder) chance(sp spec, shared int) (chance, price float64) {
	col := &b.x.columns[sp.column]
	common := shareChance * float64(shared-1)
	switch {
	case sp.kind == specExists:
		return 0.6, 0.6
	case handful(col.on.Field):
		return fewValues, fewValues
	case sp.kind == specInt && sp.min != sp.max, sp.kind == specNumber && sp.min != sp.max:
		return 0.3, 0.3
	case sp.kind == specAddr:
		common = math.Max(common, math.Pow(2, -float64(sp.prefix().Bits())/3))
	case sp.kind == specContains, sp.kind == specPrefix && len(sp.text) < 8, sp.kind == specSuffix && len(sp.text) < 5:
		common = math.Max(common, textsPerText*math.Sqrt(textset.Commonness(sp.text)))
		if sp.kind != specContains {
			common /= textsPerText / 4
		}
	}
	chance = math.Min(math.Max(common, rareEqual), mostChance)
	price = chance
	if sp.kind == specContains {
		chance = math.Min(math.Max(common, rareEqual/20), mostChance)
		price = chance + textPrice
		if len(sp.text) < 4 {
			price += shortPrice
		}
		if col.on.Any {
			price += anyPrice
		}
	}
	return chance, price
}

// handful reports whether a field has a few values only, so that none of them is rare.
func handful(f signal.Field) bool {
	switch f {
	case signal.FieldMetadataLogProduct, signal.FieldMetadataLogName, signal.FieldMetadataLogCategory, signal.FieldMetadataLogProvider,
		signal.FieldClassUID, signal.FieldActivityID, signal.FieldSeverityID:
		return true
	}
	return f.Kind() == signal.KindBool
}
