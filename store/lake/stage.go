package lake

import (
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/testudo-sec/testudo/signal"
)

// Bounds of how many events are turned into columns at a time: few enough for the values to stay in the
// processor's cache, and for a part of large events not to take much memory.
const (
	stageRows  = 1024
	stageBytes = 4 << 20
	arenaKept  = 2 << 20        // room for texts that an empty stage keeps
	valsKept   = 16 * stageRows // room for values that a column of it keeps
	listCost   = 8              // of s.bytes for a value of a list, which may be empty
)

// stage turns events into column values. Its columns are those of the whole layout; the
// ones that no event has set stay empty and cost nothing.
type stage struct {
	layout *layout
	cols   []staged
	rows   int
	groups groupSet // groups that the staged events set
	bytes  int64    // about what the values take
	arena  []byte   // texts; those of events are copied, for each would hold a whole batch of the bus in memory
	touch  []int    // lists that the current event sets
	exact  []byte
	nulls  []parquet.Value
	consts struct{ version, product parquet.Value }
}

// staged is a column of a stage. It remembers what the row before holds, because most columns
// of most events repeat: what is the same needs no check, no conversion, and no memory.
type staged struct {
	vals []parquet.Value
	rows int // rows that vals stand for

	last parquet.Value // the scalar that was set last, with its levels; null for none
	text string        // of last, where it is a text
	num  int64         // of last, where it is a number
	list int           // where the list of the row before begins in vals, -1 where it is not to be repeated
}

func newStage(l *layout) *stage {
	s := &stage{layout: l, cols: make([]staged, len(l.columns)), nulls: make([]parquet.Value, stageRows)}
	s.consts.version = text(signal.OCSFVersion)
	s.consts.product = text("testudo")
	return s
}

// full reports whether the stage is to be written before more is added.
func (s *stage) full() bool { return s.rows >= stageRows || s.bytes >= stageBytes }

// text is a string value without a copy.
func text(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// reset empties the stage and keeps its memory.
func (s *stage) reset() {
	large := cap(s.arena) > arenaKept
	for i := range s.cols {
		if c := &s.cols[i]; c.rows > 0 {
			*c = staged{vals: c.vals[:0]}
			if large || cap(c.vals) > valsKept {
				c.vals = nil // they point into the arena
			}
		}
	}
	s.rows, s.groups, s.bytes, s.arena = 0, groupSet{}, 0, s.arena[:0]
	if large {
		s.arena = nil
	}
}

// pad fills a column with nulls up to the row that is being added.
func (s *stage) pad(c *staged, row int) {
	for missing := row - c.rows; missing > 0; {
		n := min(missing, len(s.nulls))
		c.vals = append(c.vals, s.nulls[:n]...)
		missing -= n
	}
	c.rows = row
}

// scalar sets a column of the current row.
func (s *stage) scalar(column int, v parquet.Value) {
	c := &s.cols[column]
	if c.rows < s.rows {
		s.pad(c, s.rows)
	}
	c.vals = append(c.vals, v)
	c.rows++
}

// optional sets an optional scalar of the current row.
func (s *stage) optional(column int, v parquet.Value) { s.scalar(column, v.Level(0, 1, 0)) }

// number sets an optional integer of the current row.
func (s *stage) number(column int, v int64) {
	c := &s.cols[column]
	if c.last.IsNull() || c.num != v {
		c.num, c.last = v, parquet.Int64Value(v).Level(0, 1, 0)
	}
	s.bytes += 8
	s.scalar(column, c.last)
}

// text sets an optional text of the current row, and reports whether it is UTF-8: what is not is replaced.
func (s *stage) text(column int, v string) (ok bool) {
	c := &s.cols[column]
	ok = true
	if c.last.IsNull() || c.text != v {
		if ok = utf8.ValidString(v); !ok {
			v = valid(v)
		}
		c.last = s.copied(v).Level(0, 1, 0)
		c.text = asString(&c.last)
	}
	s.bytes += int64(len(v))
	s.scalar(column, c.last)
	return ok
}

// made sets an optional text of the current row to the end of the arena.
func (s *stage) made(column, from int) {
	b := s.arena[from:]
	c := &s.cols[column]
	if !c.last.IsNull() && c.text == string(b) {
		s.arena = s.arena[:from]
	} else {
		c.last = s.keep(from).Level(0, 1, 0)
		c.text = asString(&c.last)
	}
	s.bytes += int64(len(c.text))
	s.scalar(column, c.last)
}

// copied is a string value that is a copy in the arena.
func (s *stage) copied(v string) parquet.Value {
	from := len(s.arena)
	s.arena = append(s.arena, v...)
	return s.keep(from)
}

// keep returns a string of the arena from that offset to its end.
func (s *stage) keep(from int) parquet.Value {
	return parquet.ByteArrayValue(s.arena[from:len(s.arena):len(s.arena)])
}

// add appends the event as a row.
func (s *stage) add(e *signal.Event) {
	l := s.layout
	s.header(e)
	s.touch, s.exact = s.touch[:0], s.exact[:0]
	lossless, masked := true, false
	e.Each(func(f signal.Field) bool {
		column := l.byField[f]
		spec := &l.columns[column]
		s.groups.add(spec.group)
		switch f.Kind() {
		case signal.KindString:
			lossless = s.text(column, e.RecordedStr(f)) && lossless
			masked = masked || e.IsMasked(f)
		case signal.KindInt:
			s.number(column, e.Int(f))
		case signal.KindTime:
			us, rest := micros(e.Int(f))
			if rest != 0 {
				s.addExact(f.Name(), rest)
			}
			s.number(column, us)
		case signal.KindBool:
			s.optional(column, parquet.BooleanValue(e.Bool(f)))
		case signal.KindFloat:
			s.bytes += 8
			s.optional(column, parquet.DoubleValue(e.Float(f)))
		case signal.KindIP:
			from := len(s.arena)
			s.arena = e.IP(f).AppendTo(s.arena)
			s.made(column, from)
		case signal.KindStrings:
			values := e.Strings(f)
			if len(values) == 0 {
				return true
			}
			if set := &l.lists[spec.list]; len(set.columns) == 1 {
				lossless = s.strings(column, spec.maxDef, values, len(values)) && lossless
			} else if !s.touched(spec.list) {
				s.touch = append(s.touch, spec.list)
			}
		}
		return true
	})
	for _, list := range s.touch {
		lossless = s.objects(e, list) && lossless
	}
	s.extras(e, lossless, masked)
	s.rows++
}

func (s *stage) touched(list int) bool {
	for _, t := range s.touch {
		if t == list {
			return true
		}
	}
	return false
}

// header sets the columns that every event has.
func (s *stage) header(e *signal.Event) {
	l := s.layout
	us, rest := micros(e.Time)
	s.scalar(l.at.time, parquet.Int64Value(us))
	s.scalar(l.at.nanos, parquet.Int32Value(int32(rest)))
	s.scalar(l.at.class, parquet.Int64Value(int64(e.Class)))
	s.scalar(l.at.activity, parquet.Int64Value(int64(e.Activity)))
	s.scalar(l.at.severity, parquet.Int64Value(int64(e.Severity)))
	s.scalar(l.at.category, parquet.Int64Value(int64(e.Class.Category())))
	s.scalar(l.at.typ, parquet.Int64Value(int64(e.Class)*100+int64(e.Activity)))
	s.scalar(l.at.version, s.consts.version)
	s.scalar(l.at.product, s.consts.product)
	s.scalar(l.at.uid, s.id(e.ID))
	if e.Seq != 0 {
		s.optional(l.at.sequence, parquet.Int64Value(int64(e.Seq)))
	}
	if !e.Parent.IsZero() {
		s.optional(l.at.parent, s.id(e.Parent))
	}
	if e.Plane != signal.PlaneNone {
		s.text(l.at.plane, e.Plane.String())
	}
	s.bytes += 64
}

// id formats an id as OCSF has it, 36 characters, empty for none.
func (s *stage) id(id signal.ID) parquet.Value {
	from := len(s.arena)
	if !id.IsZero() {
		s.arena = appendID(s.arena, id)
	}
	return s.keep(from)
}

func appendID(b []byte, id signal.ID) []byte {
	const digits = "0123456789abcdef"
	for i, v := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return b
}

// strings sets a list column of the current row to the values and nulls up to n of them. It reports
// whether they are UTF-8: what is not is replaced.
func (s *stage) strings(column, maxDef int, values []string, n int) (ok bool) {
	c := &s.cols[column]
	if c.rows < s.rows {
		s.pad(c, s.rows)
		c.list = -1
	}
	c.rows++
	before := c.list
	c.list = len(c.vals)
	s.bytes += int64(n * listCost)
	if before >= 0 && before < c.list && len(values) == n && same(values, c.vals[before:c.list]) {
		c.vals = append(c.vals, c.vals[before:c.list]...)
		return true
	}
	ok = true
	rep := 0
	for i := range n {
		if i < len(values) {
			v := values[i]
			if !utf8.ValidString(v) {
				ok, v = false, valid(v)
			}
			s.bytes += int64(len(v))
			c.vals = append(c.vals, s.copied(v).Level(rep, maxDef, 0))
		} else {
			c.vals = append(c.vals, parquet.NullValue().Level(rep, maxDef-1, 0))
		}
		rep = 1
	}
	if !ok || len(values) < n {
		c.list = -1
	}
	return ok
}

// same reports whether the values are those of the list.
func same(list []string, vals []parquet.Value) bool {
	if len(list) != len(vals) {
		return false
	}
	for i := range list {
		if asString(&vals[i]) != list[i] {
			return false
		}
	}
	return true
}

// objects sets the columns of a list of objects, whose i-th object holds the i-th value of each.
func (s *stage) objects(e *signal.Event, list int) (ok bool) {
	columns := s.layout.lists[list].columns
	n := 0
	for _, column := range columns {
		n = max(n, len(e.Strings(s.layout.columns[column].field)))
	}
	ok = true
	for _, column := range columns {
		spec := &s.layout.columns[column]
		ok = s.strings(column, spec.maxDef, e.Strings(spec.field), n) && ok
	}
	return ok
}

// extras sets the columns that no field stands for.
func (s *stage) extras(e *signal.Event, lossless, masked bool) {
	l := s.layout
	if attrs := e.UnmappedAttrs(); len(attrs) > 0 {
		s.groups.add(l.columns[l.at.key].group)
		key, value := &s.cols[l.at.key], &s.cols[l.at.value]
		s.pad(key, s.rows)
		s.pad(value, s.rows)
		for i, a := range attrs {
			lossless = lossless && utf8.ValidString(a.Name) && utf8.ValidString(a.Value)
			rep := min(i, 1)
			key.vals = append(key.vals, s.copied(valid(a.Name)).Level(rep, 2, 0))
			value.vals = append(value.vals, s.copied(valid(a.Value)).Level(rep, 3, 0))
			s.bytes += int64(len(a.Name) + len(a.Value))
		}
		key.rows++
		value.rows++
	}
	if masked {
		column := l.at.masked
		c := &s.cols[column]
		s.pad(c, s.rows)
		rep := 0
		e.Each(func(f signal.Field) bool {
			if e.IsMasked(f) {
				c.vals = append(c.vals, text(f.Name()).Level(rep, 2, 0))
				rep = 1
			}
			return true
		})
		c.rows++
	}
	if len(s.exact) > 0 {
		from := len(s.arena)
		s.arena = append(s.arena, s.exact...)
		s.optional(l.at.exact, s.keep(from))
	}
	if !lossless {
		from := len(s.arena)
		s.arena = e.AppendFrame(s.arena)
		s.bytes += int64(len(s.arena) - from)
		s.optional(l.at.frame, s.keep(from))
	}
}

func (s *stage) addExact(name string, rest int64) {
	if len(s.exact) > 0 {
		s.exact = append(s.exact, ' ')
	}
	s.exact = append(append(s.exact, name...), '=')
	s.exact = strconv.AppendInt(s.exact, rest, 10)
}

// micros splits nanoseconds into whole microseconds, rounded down, and the rest.
func micros(ns int64) (us, rest int64) {
	us = ns / 1000
	if rest = ns % 1000; rest < 0 {
		us, rest = us-1, rest+1000
	}
	return us, rest
}

// valid replaces what is not UTF-8 by U+FFFD.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
