package match

import (
	"math"
	"net/netip"
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
}

// maxRanges bounds the ranges of one column, since all of them may overlap.
const maxRanges = 2000

// specs returns the tokens of an atom, none where it cannot have any. The columns' folds are known.
func (b *builder) specs(a *Atom) tokens {
	if a.On.Elem {
		return tokens{}
	}
	there := tokens{specs: []spec{{column: b.column(a.On, presence), kind: specExists}}, exact: a.Op == OpExists}
	for _, s := range a.On.Steps {
		if s == StepBase64 {
			there.exact = false
		}
	}
	switch {
	case a.Op == OpExists || a.Other != nil || a.Op == OpCompare:
		if a.Op != OpCompare {
			return there
		}
		if a.On.Measure == MeasureCount {
			return tokens{} // it counts what is not there
		}
		whole := a.On
		whole.At = 0 // numbers of a field are looked at whatever element is asked for
		return tokens{specs: []spec{{column: b.column(whole, presence), kind: specExists}}}
	case a.Op == OpInt:
		t := tokens{exact: true}
		c := b.column(a.On, intValues)
		for _, r := range a.Ints {
			if r.Min <= r.Max {
				t.specs = append(t.specs, spec{column: c, kind: specInt, min: r.Min, max: r.Max})
			}
		}
		return t
	case a.Op == OpNumber:
		t := tokens{exact: true}
		c := b.column(a.On, numberValues)
		for _, r := range a.Numbers {
			if low, high, ok := r.closed(); ok {
				t.specs = append(t.specs, spec{column: c, kind: specNumber, min: int64(math.Float64bits(low)), max: int64(math.Float64bits(high))})
			}
		}
		return t
	case a.Op == OpCIDR:
		t := tokens{exact: true}
		c := b.column(a.On, addrValues)
		for _, p := range a.Prefixes {
			if p.IsValid() {
				t.specs = append(t.specs, spec{column: c, kind: specAddr, text: p.Masked().String()})
			}
		}
		return t
	}
	return b.textSpecs(a, there)
}

// textSpecs returns the tokens of an atom over texts; there is the token that says that there is one.
func (b *builder) textSpecs(a *Atom, there tokens) tokens {
	there.exact = false
	c := b.column(a.On, textValues)
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
		needs, ok := requiredOf(a.Regex.String())
		if !ok {
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
