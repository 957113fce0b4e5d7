package match

import (
	"math"
	"net/netip"
	"regexp/syntax"
	"unicode/utf8"
)

// spec describes a token: what a value of a column has.
type spec struct {
	column   int32
	kind     specKind
	text     string // or an address prefix
	min, max int64  // or the bits of floats
}

type specKind uint8

const (
	specExists specKind = iota
	specEqual
	specPrefix
	specSuffix
	specContains
	specInt
	specNumber
	specAddr
)

// tokens is what an atom needs: where it holds, the event has one of the tokens.
type tokens struct {
	specs []spec
	exact bool // and where the event has one, the atom holds
	known bool // false where the atom may hold without any token
}

// maxRanges bounds the ranges of one atom that are looked up, since all of them may overlap.
const maxRanges = 2000

// sources returns the operand's places one by one: its field, its attribute, all texts. Where an atom holds, it
// holds for one of them, and what atoms of different operands ask of one place is looked up together.
func (o Operand) sources() []Operand {
	if o.Elem {
		return nil
	}
	var all []Operand
	if o.Field != 0 {
		one := o
		one.Attr, one.Any = "", false
		all = append(all, one)
	}
	one := o
	one.Field, one.At = 0, 0
	switch {
	case o.Any:
		one.Attr = ""
		all = append(all, one)
	case o.Attr != "":
		all = append(all, one)
	}
	return all
}

// specs returns the tokens of an atom, and whether it can have any. The columns' folds are known.
func (b *builder) specs(a *Atom) (all tokens, ok bool) {
	all.exact = true
	if a.On.Measure != MeasureNone && (a.Op == OpInt || a.Op == OpNumber) { // places count together
		if a.On.Elem {
			return all, false
		}
		return b.specsAt(a, a.On)
	}
	if a.On.Elem || a.Op == OpCompare && a.On.Measure == MeasureCount { // a count is there where nothing is
		return all, false
	}
	for _, o := range a.On.sources() {
		t, ok := b.specsAt(a, o)
		if !ok {
			return all, false
		}
		all.specs = append(all.specs, t.specs...)
		all.exact = all.exact && t.exact
	}
	return all, true
}

// specsAt returns the tokens of an atom in one place.
func (b *builder) specsAt(a *Atom, o Operand) (tokens, bool) {
	there := tokens{specs: []spec{{column: b.column(o, presence), kind: specExists}}, exact: a.Op == OpExists}
	for _, s := range o.Steps {
		if s == StepBase64 {
			there.exact = false
		}
	}
	t := tokens{exact: true}
	switch {
	case a.Op == OpCompare:
		o.At = 0 // numbers of a field are looked at whatever element is asked for
		return tokens{specs: []spec{{column: b.column(o, presence), kind: specExists}}}, true
	case a.Op == OpExists || a.Other != nil:
		return there, true
	case a.Op == OpInt:
		c := b.column(o, intValues)
		for _, r := range a.Ints {
			if r.Min <= r.Max {
				t.specs = append(t.specs, spec{column: c, kind: specInt, min: r.Min, max: r.Max})
			}
		}
	case a.Op == OpNumber:
		c := b.column(o, numberValues)
		for _, r := range a.Numbers {
			if low, high, ok := r.closed(); ok {
				t.specs = append(t.specs, spec{column: c, kind: specNumber, min: int64(math.Float64bits(low)), max: int64(math.Float64bits(high))})
			}
		}
	case a.Op == OpCIDR:
		c := b.column(o, addrValues)
		for _, p := range a.Prefixes {
			if p.IsValid() {
				t.specs = append(t.specs, spec{column: c, kind: specAddr, text: p.Masked().String()})
			}
		}
	default:
		return b.textSpecs(a, o, there), true
	}
	if len(t.specs) > maxRanges && a.Op != OpCIDR {
		return tokens{}, false
	}
	return t, true
}

// textSpecs returns the tokens of an atom over texts; there is the token that says that there is one.
func (b *builder) textSpecs(a *Atom, o Operand, there tokens) tokens {
	there.exact = false
	c := b.column(o, textValues)
	col := &b.x.columns[c]
	t := tokens{exact: col.fold == a.Fold}
	// add adds a token that may have to be one of a folded value.
	add := func(kind specKind, text string) bool {
		if col.fold != a.Fold {
			if !utf8.ValidString(text) {
				return false // folding the value may change what is around it
			}
			text = Fold(text)
		}
		t.specs = append(t.specs, spec{column: c, kind: kind, text: text})
		return true
	}
	if a.Op == OpRegex {
		needs := b.requiredBy(a)
		if needs == nil {
			return there
		}
		t.exact = false
		for _, lit := range needs {
			text := lit.text
			if col.fold {
				text = Fold(text)
			}
			t.specs = append(t.specs, spec{column: c, kind: specContains, text: text})
		}
		return t
	}
	kinds := map[Op]specKind{OpEqual: specEqual, OpPrefix: specPrefix, OpSuffix: specSuffix, OpContains: specContains, OpPathPrefix: specPrefix}
	for _, text := range a.Texts {
		ok := true
		switch {
		case a.Op == OpGlob:
			t.exact = false
			kind, piece := longestPiece(text)
			ok = piece != "" && add(kind, piece)
		case a.Op == OpPathPrefix:
			t.exact = false
			if text == "" {
				ok = add(specEqual, "") && add(specPrefix, "/")
				break
			}
			ok = add(specPrefix, text)
		default:
			ok = add(kinds[a.Op], text)
		}
		if !ok {
			return there
		}
	}
	return t
}

// requiredBy returns the texts that a regular expression needs and that are worth looking for in every value.
func (b *builder) requiredBy(a *Atom) []required {
	needs, ok := b.needs[a]
	if !ok {
		if tree, err := syntax.Parse(a.Regex.String(), syntax.Perl); err == nil {
			needs, _ = requiredOf(tree, leastRequired)
		}
		b.needs[a] = needs
	}
	return needs
}

// longestPiece returns the longest text that stands in a pattern between its stars and question marks, and where
// in the text it must be.
func longestPiece(pattern string) (specKind, string) {
	best, kind := "", specContains
	var piece []byte
	first := true
	end := func(last bool) {
		if len(piece) > len(best) {
			best, kind = string(piece), specContains
			switch {
			case first:
				kind = specPrefix
			case last:
				kind = specSuffix
			}
		}
		piece, first = piece[:0], false
	}
	for p := 0; p < len(pattern); {
		c, next := globByte(pattern, p)
		if c == globStar || c == globAny {
			end(false)
		} else {
			piece = append(piece, byte(c))
		}
		p = next
	}
	end(true)
	return kind, best
}

// String returns the token as text for people, without its operand.
func (t spec) String() string {
	quoted := "'" + t.text + "'"
	switch t.kind {
	case specExists:
		return "is there"
	case specEqual:
		return "is " + quoted
	case specPrefix:
		return "starts with " + quoted
	case specSuffix:
		return "ends with " + quoted
	case specContains:
		return "contains " + quoted
	case specInt:
		return "is " + IntRange{t.min, t.max}.String()
	case specNumber:
		return "is " + NumberRange{Min: math.Float64frombits(uint64(t.min)), Max: math.Float64frombits(uint64(t.max))}.String()
	}
	return "is in " + t.text
}

func (t spec) prefix() netip.Prefix { return netip.MustParsePrefix(t.text) }
