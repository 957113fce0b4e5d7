package match

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/signal"
)

// scope is what an operand needs to know beside the event.
type scope struct {
	e    *signal.Event
	elem string // the value of the loop around it
	room []byte // for folded texts
}

// Texts calls yield for each value of the operand in the event as text, changed by its steps, until
// yield returns true, and reports whether it did. A text is valid until yield returns. Operands with Elem have no value.
func (o *Operand) Texts(e *signal.Event, yield func(string) bool) bool {
	return o.texts(&scope{e: e}, yield)
}

// texts calls yield for each value of the operand as text, changed by its steps, until yield
// returns true, and reports whether it did.
func (o *Operand) texts(s *scope, yield func(string) bool) bool {
	if len(o.Steps) > 0 {
		inner := yield
		yield = func(v string) bool {
			v, ok := applySteps(o.Steps, v)
			return ok && inner(v)
		}
	}
	if o.Elem && yield(s.elem) {
		return true
	}
	if o.Field != 0 && fieldTexts(s.e, o.Field, o.At, yield) {
		return true
	}
	if o.Attr != "" || o.Any {
		for _, a := range s.e.UnmappedAttrs() {
			if (o.Any || AttrIs(a.Name, o.Attr)) && yield(a.Value) {
				return true
			}
		}
	}
	if o.Any {
		found := false
		s.e.Each(func(f signal.Field) bool {
			if (f.Kind() == signal.KindString || f.Kind() == signal.KindStrings) && !Added(f) {
				found = fieldTexts(s.e, f, 0, yield)
			}
			return !found
		})
		return found
	}
	return false
}

// fieldTexts calls yield for the values of a field that is set, until it returns true.
func fieldTexts(e *signal.Event, f signal.Field, at int, yield func(string) bool) bool {
	if !e.Has(f) {
		return false
	}
	switch f.Kind() {
	case signal.KindString:
		return at <= 1 && yield(e.Str(f))
	case signal.KindStrings:
		list := e.Strings(f)
		if at > 0 {
			return at <= len(list) && yield(list[at-1])
		}
		for _, v := range list {
			if yield(v) {
				return true
			}
		}
		return false
	}
	v, ok := e.AppendText(nil, f)
	return ok && at <= 1 && yield(view(v))
}

// Added reports whether a field is written by testudo itself when an event is judged or
// recorded: no rule can read it before.
func Added(f signal.Field) bool {
	switch f {
	case signal.FieldMetadataReporterUID, signal.FieldMetadataSequence, signal.FieldDispositionID, signal.FieldActionID, signal.FieldIsAlert,
		signal.FieldFirewallRuleUID, signal.FieldFirewallRuleName, signal.FieldVerdictRules, signal.FieldVerdictReason,
		signal.FieldPolicyUID, signal.FieldVerdictFeeding,
		signal.FieldKernelGate, signal.FieldKernelMode, signal.FieldKernelOutcome:
		return true
	}
	return false
}

// AttrIs reports whether an attribute's name in an event is the one that an operand asks for: equal
// to it once every "[n]" is left out.
func AttrIs(name, want string) bool {
	if strings.IndexByte(name, '[') < 0 {
		return name == want
	}
	var room [128]byte
	short, plain := appendAttrName(room[:0], name)
	return plain && name == want || !plain && string(short) == want
}

// appendAttrName appends an attribute's name without its indexes, "[n]". It reports whether the name has none, and
// then appends nothing.
func appendAttrName(b []byte, name string) (short []byte, plain bool) {
	was := len(b)
	plain = true
	for {
		open := strings.IndexByte(name, '[')
		if open < 0 {
			break
		}
		end := open + 1
		for end < len(name) && '0' <= name[end] && name[end] <= '9' {
			end++
		}
		if end == open+1 || end == len(name) || name[end] != ']' {
			b = append(b, name[:end]...) // a bracket that is part of the name
			name = name[end:]
			continue
		}
		b = append(b, name[:open]...)
		name, plain = name[end+1:], false
	}
	if plain {
		return b[:was], true
	}
	return append(b, name...), false
}

// ints calls yield for each value of the operand that is a whole number, until it returns true.
func (o *Operand) ints(s *scope, yield func(int64) bool) bool {
	switch o.Measure {
	case MeasureCount:
		n := int64(0)
		o.texts(s, func(string) bool { n++; return false })
		return yield(n)
	case MeasureBytes:
		return o.texts(s, func(v string) bool { return yield(int64(len(v))) })
	case MeasureRunes:
		return o.texts(s, func(v string) bool { return yield(int64(utf8.RuneCountInString(v))) })
	}
	if isInt(o.Field) {
		if s.e.Has(o.Field) && yield(s.e.Int(o.Field)) {
			return true
		}
		return o.rest().ints(s, yield)
	}
	return o.texts(s, func(v string) bool {
		n, ok := ParseInt(v)
		return ok && yield(n)
	})
}

// rest is the operand without its field.
func (o *Operand) rest() *Operand {
	r := *o
	r.Field = 0
	return &r
}

func isInt(f signal.Field) bool {
	switch f.Kind() {
	case signal.KindInt, signal.KindTime, signal.KindBool:
		return true
	}
	return false
}

// numbers calls yield for each value of the operand that is a number, until it returns true.
func (o *Operand) numbers(s *scope, yield func(float64) bool) bool {
	switch {
	case o.Measure != MeasureNone:
		return o.ints(s, func(n int64) bool { return yield(float64(n)) })
	case isInt(o.Field), o.Field.Kind() == signal.KindFloat:
		if s.e.Has(o.Field) {
			v := s.e.Float(o.Field)
			if isInt(o.Field) {
				v = float64(s.e.Int(o.Field))
			}
			if yield(v) {
				return true
			}
		}
		return o.rest().numbers(s, yield)
	}
	return o.texts(s, func(v string) bool {
		n, ok := ParseNumber(v)
		return ok && yield(n)
	})
}

// addrs calls yield for each value of the operand that is an address, until it returns true.
func (o *Operand) addrs(s *scope, yield func(netip.Addr) bool) bool {
	if o.Field.Kind() == signal.KindIP {
		if a := s.e.IP(o.Field); a.IsValid() && yield(a) {
			return true
		}
		return o.rest().addrs(s, yield)
	}
	return o.texts(s, func(v string) bool {
		a, ok := ParseAddr(v)
		return ok && yield(a)
	})
}

// ParseInt reads a whole number in decimal.
func ParseInt(v string) (int64, bool) {
	if len(v) == 0 || len(v) > 20 || v[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	return n, err == nil
}

// ParseNumber reads a number in decimal, with or without fraction and exponent.
func ParseNumber(v string) (float64, bool) {
	if len(v) == 0 || len(v) > 64 {
		return 0, false
	}
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case '0' <= c && c <= '9', c == '.', c == '-', c == '+', c == 'e', c == 'E':
		default:
			return 0, false
		}
	}
	n, err := strconv.ParseFloat(v, 64)
	return n, err == nil
}

// ParseAddr reads an address as fields hold them: without zone, IPv4-mapped ones as IPv4.
func ParseAddr(v string) (netip.Addr, bool) {
	if len(v) < 2 || len(v) > 64 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(v)
	return a.Unmap().WithZone(""), err == nil
}
