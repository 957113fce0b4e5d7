package match

import (
	"net/netip"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/internal/textset"
	"github.com/testudo-sec/testudo/signal"
)

// valueKind says as what a column takes the values of its operand.
type valueKind uint8

const (
	textValues valueKind = iota
	intValues
	numberValues
	addrValues
	presence // only whether there is one
)

// column is one operand of any number of atoms, and what their tokens are looked up in.
type column struct {
	on      Operand
	kind    valueKind
	fold    bool   // tokens are those of folded values
	gated   bool   // it is scanned where a gate opens only
	parent  int32  // the column whose values need only the last steps to become this one's; -1 for none
	steps   []Step // that they need
	texts   int32  // the column of the texts that the values are read from; -1 where there are none
	name    int32  // number of the attribute's name, -1 for none
	classes uint64 // of the rules that wait for its tokens

	exists, empty  int32 // tokens: there is a value, an empty one; -1 for none
	equal          *textset.Equal
	prefix, suffix *textset.Affix
	contains       *textset.Contains
	joined         bool // every text of the event, looked through as one: see joinTexts
	ints           *intervals[int64]
	numbers        *intervals[float64]
	addrs          *prefixes
}

// scan lights the tokens of a column.
func (s *scratch) scan(c int32) {
	s.columns[c].scanned = s.now
	col := &s.x.columns[c]
	switch col.kind {
	case presence:
		if s.present(col) {
			s.lit.Add(col.exists)
		}
	case intValues:
		s.eachInt(col, func(n int64) bool {
			for _, id := range col.ints.find(n) {
				s.lit.Add(id)
			}
			return false
		})
	case numberValues:
		s.eachNumber(col, func(n float64) bool {
			for _, id := range col.numbers.find(n) {
				s.lit.Add(id)
			}
			return false
		})
	case addrValues:
		s.eachAddr(col, func(a netip.Addr) bool {
			col.addrs.find(a, &s.lit)
			return false
		})
	default:
		s.scanTexts(c, col)
	}
}

func (s *scratch) scanTexts(c int32, col *column) {
	if col.joined {
		s.joinTexts(col)
		return
	}
	for at := s.gather(c); at >= 0; at = s.values[at].next {
		text := s.values[at].raw
		if col.fold {
			text = s.folded(at)
		}
		if text == "" {
			if col.empty >= 0 {
				s.lit.Add(col.empty)
			}
			continue // no other token is empty
		}
		if col.equal != nil {
			col.equal.Find(text, &s.lit)
		}
		if col.prefix != nil {
			col.prefix.Find(text, &s.lit)
		}
		if col.suffix != nil {
			col.suffix.Find(text, &s.lit)
		}
		if col.contains != nil {
			col.contains.Find(text, &s.lit)
		}
	}
}

// joinTexts looks every text of the event through at once, a zero byte behind each: most are short, and what is done
// for each is more than what is done for its bytes. No literal that is looked for has a zero byte.
func (s *scratch) joinTexts(col *column) {
	all := &s.joined[flag(col.fold)]
	if all.stamp == s.now {
		col.contains.Find(all.text, &s.lit)
		return
	}
	from := len(s.text)
	for i := range s.e.UnmappedAttrs() {
		s.join(col, s.e.UnmappedAttrs()[i].Value)
	}
	for i := range s.e.NumFields() {
		f := s.e.FieldAt(i)
		switch {
		case Added(f):
		case f.Kind() == signal.KindString:
			s.join(col, s.e.Str(f))
		case f.Kind() == signal.KindStrings:
			for _, v := range s.e.Strings(f) {
				s.join(col, v)
			}
		}
	}
	all.stamp, all.text = s.now, view(s.text[from:])
	col.contains.Find(all.text, &s.lit)
}

func (s *scratch) join(col *column, text string) {
	if col.fold {
		s.text, _ = foldInto(s.text, text)
	} else {
		s.text = append(s.text, text...)
	}
	s.text = append(s.text, 0)
}

// present reports whether the operand of a column has a value, its steps passed over.
func (s *scratch) present(col *column) bool {
	o := &col.on
	if o.Field != 0 && s.e.Has(o.Field) {
		if o.Field.Kind() == signal.KindStrings {
			if n := len(s.e.Strings(o.Field)); o.At <= n && n > 0 {
				return true
			}
		} else if o.At <= 1 {
			return true
		}
	}
	if o.Any {
		return s.gather(col.texts) >= 0
	}
	return col.name >= 0 && s.attrs[col.name].stamp == s.now
}

// eachInt calls yield for each whole number of a column, until it returns true.
func (s *scratch) eachInt(col *column, yield func(int64) bool) bool {
	o := &col.on
	switch o.Measure {
	case MeasureCount:
		n := int64(0)
		for at := s.gather(col.texts); at >= 0; at = s.values[at].next {
			n++
		}
		return yield(n)
	case MeasureBytes:
		for at := s.gather(col.texts); at >= 0; at = s.values[at].next {
			if yield(int64(len(s.values[at].raw))) {
				return true
			}
		}
		return false
	case MeasureRunes:
		for at := s.gather(col.texts); at >= 0; at = s.values[at].next {
			if yield(int64(utf8.RuneCountInString(s.values[at].raw))) {
				return true
			}
		}
		return false
	}
	if isInt(o.Field) && s.e.Has(o.Field) && yield(s.e.Int(o.Field)) {
		return true
	}
	if col.texts < 0 {
		return false
	}
	for at := s.gather(col.texts); at >= 0; at = s.values[at].next {
		if n, ok := ParseInt(s.values[at].raw); ok && yield(n) {
			return true
		}
	}
	return false
}

// eachNumber calls yield for each number of a column, until it returns true.
func (s *scratch) eachNumber(col *column, yield func(float64) bool) bool {
	o := &col.on
	switch {
	case o.Measure != MeasureNone:
		return s.eachInt(col, func(n int64) bool { return yield(float64(n)) })
	case isInt(o.Field):
		if s.e.Has(o.Field) && yield(float64(s.e.Int(o.Field))) {
			return true
		}
	case o.Field.Kind() == signal.KindFloat:
		if s.e.Has(o.Field) && yield(s.e.Float(o.Field)) {
			return true
		}
	}
	if col.texts < 0 {
		return false
	}
	for at := s.gather(col.texts); at >= 0; at = s.values[at].next {
		if n, ok := ParseNumber(s.values[at].raw); ok && yield(n) {
			return true
		}
	}
	return false
}

// eachAddr calls yield for each address of a column, until it returns true.
func (s *scratch) eachAddr(col *column, yield func(netip.Addr) bool) bool {
	if o := &col.on; o.Field.Kind() == signal.KindIP {
		if a := s.e.IP(o.Field); a.IsValid() && yield(a) {
			return true
		}
	}
	if col.texts < 0 {
		return false
	}
	for at := s.gather(col.texts); at >= 0; at = s.values[at].next {
		if a, ok := ParseAddr(s.values[at].raw); ok && yield(a) {
			return true
		}
	}
	return false
}

// textsOf returns the operand whose texts a column's values are read from: without the
// field where its own type is looked at. It has neither field nor attribute where there are no such texts.
func textsOf(o Operand, kind valueKind) Operand {
	measured := o.Measure != MeasureNone && kind != addrValues
	o.Measure = MeasureNone
	typed := kind == intValues && isInt(o.Field) ||
		kind == numberValues && (isInt(o.Field) || o.Field.Kind() == signal.KindFloat) ||
		kind == addrValues && o.Field.Kind() == signal.KindIP
	if typed && !measured {
		o.Field = 0
	}
	return o
}

func (o *Operand) none() bool { return o.Field == 0 && o.Attr == "" && !o.Any && !o.Elem }
