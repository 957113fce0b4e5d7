package match

import (
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// Proof says why a condition has its answer for an event: a tree in the shape of the
// condition, every part with its own answer.
type Proof struct {
	Kind   string  `json:"kind"` // and, or, not, atom, any, every, function, constant
	Text   string  `json:"text"` // of an atom or a function: what it asks
	Answer Answer  `json:"answer"`
	Parts  []Proof `json:"parts,omitempty"`

	// Of an atom: the values that it looked at, in recorded form, those first for which it holds.
	Operand string  `json:"operand,omitempty"`
	Values  []Value `json:"values,omitempty"`
	// Fields that the part reads and that the event had in another form than was recorded, or was
	// read back without: the answer may not be the one of the moment.
	Masked []string `json:"masked,omitempty"`
}

// Value is a value that an atom looked at.
type Value struct {
	Text  string `json:"text"`            // recorded form, bounded
	Holds bool   `json:"holds"`           // whether the atom holds for it
	Match string `json:"match,omitempty"` // the constant for which it holds
}

// The bounds of a proof.
const (
	maxProofValues = 8
	maxProofText   = 512
	maxProofParts  = 4096
)

// Explain returns why a condition has its answer for the event. The answer is that of
// [Eval]; the values that are shown are recorded forms.
func Explain(x Expr, e *signal.Event) Proof {
	ex := explainer{left: maxProofParts}
	return ex.prove(x, &scope{e: e})
}

type explainer struct{ left int }

func (ex *explainer) prove(x Expr, s *scope) Proof {
	ex.left--
	p := Proof{Answer: eval(x, s)}
	parts := func(kind string, list []Expr) {
		p.Kind = kind
		for _, part := range list {
			if ex.left <= 0 {
				return
			}
			p.Parts = append(p.Parts, ex.prove(part, s))
		}
	}
	switch x := x.(type) {
	case Const:
		p.Kind, p.Text = "constant", String(x)
	case And:
		parts("and", x)
	case Or:
		parts("or", x)
	case Not:
		parts("not", []Expr{x.Part})
	case *Func:
		p.Kind, p.Text = "function", x.Text
		for _, f := range x.Fields[:min(len(x.Fields), maxProofValues)] {
			if s.e.IsMasked(f) {
				p.Masked = append(p.Masked, f.Name())
			}
			if v := s.e.RecordedText(f); v != "" {
				p.Values = append(p.Values, Value{Text: f.Name() + " = " + clip(v), Holds: p.Answer == Yes})
			}
		}
	case *Loop:
		p.Kind = "any"
		if x.Every {
			p.Kind = "every"
		}
		p.Operand, p.Text = x.List.String(), String(x)
		ex.values(&p, &x.List, s, func(v string) (bool, string) {
			return eval(x.Body, &scope{e: s.e, elem: v}) == Yes, ""
		})
	case *Atom:
		p.Kind, p.Text, p.Operand = "atom", x.String(), x.On.String()
		ex.values(&p, &x.On, s, func(v string) (bool, string) { return x.holdsFor(s, v) })
	}
	return p
}

// values fills in what an atom or loop looked at. Masked values are shown as they are recorded, without
// what matched in them.
func (ex *explainer) values(p *Proof, o *Operand, s *scope, holds func(string) (bool, string)) {
	masked := o.Field != 0 && s.e.IsMasked(o.Field)
	if masked {
		p.Masked = []string{o.Field.Name()}
	}
	var rest []Value
	shown := *o
	shown.Measure = MeasureNone
	shown.texts(s, func(v string) bool {
		ok, constant := holds(v)
		one := Value{Text: clip(v), Holds: ok, Match: clip(constant)}
		if masked {
			one.Text, one.Match = clip(s.e.RecordedStr(o.Field)), ""
		}
		switch {
		case ok && len(p.Values) < maxProofValues:
			p.Values = append(p.Values, one)
		case !ok && len(rest) < maxProofValues:
			rest = append(rest, one)
		}
		return len(p.Values) >= maxProofValues
	})
	p.Values = append(p.Values, rest[:min(len(rest), maxProofValues-len(p.Values))]...)
}

// holdsFor reports whether the atom holds for one value of its operand, and for which of its constants.
func (a *Atom) holdsFor(s *scope, v string) (bool, string) {
	// The value has been through the steps.
	one := *a
	one.On = Operand{Elem: true, Measure: a.On.Measure}
	if a.On.Measure == MeasureCount || a.On.Field.Kind() != signal.KindString && a.On.Field.Kind() != signal.KindStrings && a.On.Field != 0 {
		return a.holds(s), "" // the field's own type, not its text, was compared
	}
	inner := &scope{e: s.e, elem: v}
	if !one.holds(inner) {
		return false, ""
	}
	for i := range a.Texts {
		one.Texts = a.Texts[i : i+1]
		if one.holds(inner) {
			return true, a.Texts[i]
		}
	}
	return true, ""
}

// Held returns the atoms and functions that make a condition hold for the event, at most limit of them, in
// the order in which they stand: of a choice the first part that holds. What holds because something
// is not so is left out. It is nil where the condition does not hold.
func Held(x Expr, e *signal.Event, limit int) []Proof {
	h := holder{s: scope{e: e}, limit: limit}
	if eval(x, &h.s) != Yes {
		return nil
	}
	h.visit(x)
	return h.held
}

type holder struct {
	s     scope
	limit int
	held  []Proof
}

// visit looks at a part that holds.
func (h *holder) visit(x Expr) {
	if len(h.held) >= h.limit {
		return
	}
	switch x := x.(type) {
	case And:
		for _, part := range x {
			h.visit(part)
		}
	case Or:
		for _, part := range x {
			if eval(part, &h.s) == Yes {
				h.visit(part)
				return
			}
		}
	case *Atom, *Loop, *Func:
		ex := explainer{left: 1}
		p := ex.prove(x, &h.s)
		if a, ok := x.(*Atom); ok && len(a.Texts) > 1 && len(p.Values) > 0 && p.Values[0].Match != "" {
			one := *a // of a hundred constants, the one that was there
			one.Texts = []string{p.Values[0].Match}
			p.Text = one.String()
		}
		h.held = append(h.held, p)
	}
}

// MarshalText writes the lower-case name.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func clip(s string) string {
	if len(s) <= maxProofText {
		return s
	}
	return strings.ToValidUTF8(s[:maxProofText], "") + "…"
}
