package match

import (
	"math"
	"unicode/utf8"

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
	shareChance = 0.002  // for each further atom that asks for the token
	rareEqual   = 0.0003 // a value that a single atom asks for
	rareText    = 1e-6   // a literal in a text
	shortEqual  = 0.05   // a value of one or two bytes
	mostChance  = 0.5
	mostShared  = 0.1 // however many atoms ask for a token
	fallback    = 0.05
	fewValues   = 0.6 // of fields that have a handful of values, and that there is a value at all
	places      = 60  // in a text, where a literal may stand
	// textPrice is what a literal in a text filter costs all events, as a chance to be evaluated.
	textPrice  = 0.00005
	shortPrice = 0.1  // of literals too short for the filter
	anyPrice   = 0.05 // of going through every text of an event
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
		if l, ok := n.leaf.(*Loop); ok && !r.turned() { // every is true of no value at all: it has no body here
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
		if !t.known {
			continue
		}
		a, short := &access{specs: t.specs}, false
		for _, sp := range t.specs {
			chance, price := b.chance(sp, shared[sp])
			if col := &b.x.columns[sp.column]; col.on.Field == 0 && b.n.atoms[i].On.Field != 0 {
				chance, price = chance*fallback, price*fallback // a parser puts values into the field where it can
			}
			a.chance += chance
			a.price += price
			a.any = a.any || b.x.columns[sp.column].on.Any
			short = short || sp.kind == specContains && len(sp.text) < 4 && sp.text[0] < utf8.RuneSelf
		}
		if short {
			a.price += shortPrice
		}
		if a.any {
			a.price += anyPrice
		}
		a.chance = math.Min(a.chance, 1)
		b.accessOf[i] = a
	}
}

// chance estimates how often an event has a token, and its price.
func (b *builder) chance(sp spec, shared int) (chance, price float64) {
	col := &b.x.columns[sp.column]
	least, common := rareEqual, math.Min(shareChance*float64(shared-1), mostShared)
	switch sp.kind {
	case specExists:
		return fewValues, fewValues
	case specInt, specNumber:
		if sp.min != sp.max {
			common = math.Max(common, 0.3)
		}
	case specAddr:
		common = math.Max(common, math.Pow(2, -float64(sp.prefix().Bits())/3))
	case specEqual:
		if len(sp.text) < 3 {
			common = math.Max(common, shortEqual)
		}
		switch Fold(sp.text) {
		case "true", "false", "yes", "no", "success", "get", "post":
			common = mostChance
		}
	case specPrefix, specSuffix:
		common = math.Max(common, 4*likely(sp.text))
	case specContains:
		least = rareText
		common = math.Max(common, places*likely(sp.text))
	}
	chance = math.Min(math.Max(common, least), mostChance)
	if few := handful(col.on.Field); few > 0 {
		chance = few
	}
	price = chance
	if sp.kind == specContains {
		price += textPrice
	}
	return chance, price
}

// likely estimates how often a text stands at a place of a value: its bytes depend on each other.
func likely(text string) float64 { return math.Pow(textset.Commonness(text), 0.7) }

// handful returns how often an event has a certain value of a field that has a few values only, so that none of them is rare; 0 for
// other fields.
func handful(f signal.Field) float64 {
	switch f {
	case signal.FieldMetadataLogProduct, signal.FieldSeverityID, signal.FieldActivityID, signal.FieldHTTPRequestHTTPMethod, signal.FieldProcessIntegrity:
		return 0.6
	case signal.FieldMetadataLogName, signal.FieldMetadataLogProvider, signal.FieldClassUID:
		return 0.3
	case signal.FieldMetadataLogCategory:
		return 0.2
	}
	if f.Kind() == signal.KindBool {
		return mostChance
	}
	return 0
}
