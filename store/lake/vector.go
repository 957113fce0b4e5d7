package lake

import (
	"fmt"
	"math/bits"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// vectors reads the columns of a row group as wholes.
type vectors struct {
	reader *reader
	group  parquet.RowGroup
	at     int // of the group in the file
	rows   int
	event  signal.Event // holds the one value that a test is asked about
	asking *bool        // set while a test runs: see scan.inYield
	free   []rowset     // memory to use again
	codes  map[int][]int32
	flat   map[int]*elements
	dicts  map[int]*column // columns whose dictionaries were read
	asked  map[*store.Filter]*answers
}

// maxGroupRows bounds the rows for which memory is taken at once, whatever a file says. Row groups of ours have
// rowGroupRows.
const maxGroupRows = 1 << 20

// answers are what a test says of a column.
type answers struct {
	known []store.Truth // of the dictionary's entries; nil where there is no dictionary
	null  store.Truth   // where the column has no value
	all   store.Truth   // of every row; Open where they differ
}

func (r *reader) vectors(at int, group parquet.RowGroup, asking *bool) (*vectors, error) {
	if n := group.NumRows(); n < 0 || n > maxGroupRows {
		return nil, fmt.Errorf("a row group of %d rows", n)
	}
	return &vectors{reader: r, group: group, asking: asking, codes: make(map[int][]int32), flat: make(map[int]*elements), dicts: make(map[int]*column), at: at, rows: int(group.NumRows()), asked: make(map[*store.Filter]*answers)}, nil
}

// take returns an empty set of the group's rows; give takes it back.
func (v *vectors) take() rowset {
	if n := len(v.free); n > 0 {
		s := v.free[n-1]
		v.free = v.free[:n-1]
		clear(s)
		return s
	}
	return newRowset(v.rows)
}

func (v *vectors) give(sets ...rowset) { v.free = append(v.free, sets...) }

// chunk returns a column of the group, nil where the file does not have it.
func (v *vectors) chunk(column int) *parquet.FileColumnChunk {
	leaf := v.reader.at[column].leaf
	if leaf < 0 {
		return nil
	}
	return v.group.ColumnChunks()[leaf].(*parquet.FileColumnChunk)
}

func (v *vectors) metadata(column int) *format.ColumnMetaData {
	return &v.reader.pq.Metadata().RowGroups[v.at].Columns[v.reader.at[column].leaf].MetaData
}

// allNull reports whether the column is known to have no value.
func (v *vectors) allNull(column int) bool {
	c := v.chunk(column)
	return c == nil || c.NullCount() == c.NumValues() && c.NumValues() >= int64(v.rows)
}

// coded reports whether every value of the column stands in its dictionary: pages that were written after the
// dictionary had become too large hold values themselves.
func (v *vectors) coded(column int) bool {
	m := v.metadata(column)
	if m.DictionaryPageOffset == 0 {
		return false
	}
	pages := 0
	for _, s := range m.EncodingStats {
		if s.PageType != format.DataPage && s.PageType != format.DataPageV2 {
			continue
		}
		if s.Encoding != format.RLEDictionary {
			return false
		}
		pages++
	}
	return pages > 0
}

// dictionary returns the dictionary of a column, nil where it has none. It is valid until close.
func (v *vectors) dictionary(at int) (parquet.Dictionary, error) {
	c := v.dicts[at]
	if c == nil {
		c = v.column(at)
		v.dicts[at] = c
	}
	return c.pages.ReadDictionary()
}

// close frees what was read.
func (v *vectors) close() {
	for _, c := range v.dicts {
		c.close()
	}
}

// page is one page of a column.
type page struct {
	first, rows int // in the group, of the rows that begin here
	def, rep    []byte
	index       []int32   // places in the dictionary, of the values that are there
	ints        []int64   // or the values themselves
	small       []int32   // of 32 bits
	floats      []float64 //
	bits        []byte    // of booleans
	data        []byte    // of texts
	ends        []uint32  // of the texts in data, the beginning of the first before them
}

// column is a column of a row group that is read page by page.
type column struct {
	spec  *columnSpec
	pages *parquet.FilePages
	dict  parquet.Dictionary
	row   int // of the next page
	read  parquet.Page
	page  page
}

func (v *vectors) column(at int) *column {
	return &column{spec: &v.reader.layout.columns[at], pages: v.chunk(at).PagesFrom(v.reader.file)}
}

func (c *column) close() {
	parquet.Release(c.read)
	_ = c.pages.Close()
}

// next reads the next page; io.EOF says that there is none.
func (c *column) next() (*page, error) {
	parquet.Release(c.read)
	c.read = nil
	p, err := c.pages.ReadPage()
	if err != nil {
		return nil, err
	}
	c.read = p
	out := page{first: c.row, rows: int(p.NumRows()), def: p.DefinitionLevels(), rep: p.RepetitionLevels()}
	values := p.Data()
	switch {
	case p.Dictionary() != nil:
		c.dict = p.Dictionary()
		out.index = values.Int32()
	case c.spec.shape.kind() == parquet.Int64:
		out.ints = values.Int64()
	case c.spec.shape.kind() == parquet.Int32:
		out.small = values.Int32()
	case c.spec.shape.kind() == parquet.Double:
		out.floats = values.Double()
	case c.spec.shape.kind() == parquet.Boolean:
		out.bits = values.Boolean()
	default:
		out.data, out.ends = values.ByteArray()
	}
	if c.spec.maxRep == 0 {
		out.rows = int(p.NumValues())
	}
	c.row += out.rows
	c.page = out
	return &c.page, nil
}

// value returns the i-th value that is there.
func (p *page) value(c *column, i int) parquet.Value {
	switch {
	case p.index != nil:
		return c.dict.Index(p.index[i])
	case p.ints != nil:
		return parquet.Int64Value(p.ints[i])
	case p.small != nil:
		return parquet.Int32Value(p.small[i])
	case p.floats != nil:
		return parquet.DoubleValue(p.floats[i])
	case p.bits != nil:
		return parquet.BooleanValue(p.bits[i>>3]>>(i&7)&1 != 0)
	}
	return parquet.ByteArrayValue(p.data[p.ends[i]:p.ends[i+1]])
}

// ask has a test answer for a field with one value, or with none where it is null.
func (v *vectors) ask(f *store.Filter, spec *columnSpec, value parquet.Value) store.Truth {
	v.event.Reset()
	v.event.Class = v.reader.part.Class
	v.set(spec, value)
	return v.answer(f)
}

// set gives v.event one value of a column, none where it is null.
func (v *vectors) set(spec *columnSpec, value parquet.Value) {
	switch e := &v.event; {
	case value.IsNull():
	case spec.field.IsHeader():
		setHeader(e, spec.field, &value)
	case spec.maxRep > 0:
		e.SetStrings(spec.field, []string{asString(&value)})
	default:
		setScalar(e, spec.field, &value, nil)
	}
}

// answer asks the test about v.event.
func (v *vectors) answer(f *store.Filter) store.Truth {
	*v.asking = true
	t := f.Test(&v.event)
	*v.asking = false
	return t
}

// answers asks a test about the entries of the column's dictionary, and about no value.
func (v *vectors) answers(f *store.Filter) (*answers, error) {
	if a := v.asked[f]; a != nil {
		return a, nil
	}
	if f.Field == 0 {
		return v.attrNames(f)
	}
	at := v.reader.layout.byField[f.Field]
	spec := &v.reader.layout.columns[at]
	a := &answers{null: store.False} // a list without elements
	v.asked[f] = a
	if spec.maxRep == 0 {
		a.null = v.ask(f, spec, parquet.NullValue())
	}
	if v.allNull(at) {
		a.all = a.null
		return a, nil
	}
	if v.metadata(at).DictionaryPageOffset == 0 {
		return a, nil
	}
	d, err := v.dictionary(at)
	if err != nil || d == nil {
		return a, err
	}
	a.known = make([]store.Truth, d.Len())
	for i := range a.known {
		a.known[i] = v.ask(f, spec, d.Index(int32(i)))
	}
	if !v.coded(at) || len(a.known) == 0 {
		return a, nil
	}
	same := a.known[0]
	for _, k := range a.known {
		if k != same {
			return a, nil
		}
	}
	// Of a list every row has the answer of its elements only where that is the one of no element.
	if nulls := v.chunk(at).NullCount() > 0 || spec.maxRep > 0; !nulls || a.null == same {
		a.all = same
	}
	return a, nil
}

// test asks a test about the rows of in, and returns those for which it is True and those for which it is False.
func (v *vectors) test(f *store.Filter, in rowset) (yes, no rowset, err error) {
	yes, no = v.take(), v.take()
	if f.Field.Kind() == signal.KindTime {
		return yes, no, nil // the column lacks the nanoseconds
	}
	if f.Other != 0 {
		return yes, no, v.pair(f, in, yes, no)
	}
	a, err := v.answers(f)
	if err != nil || a.all != store.Open {
		v.put(a.all, in, yes, no)
		return yes, no, err
	}
	if f.Field == 0 {
		return yes, no, v.attrs(f, a, in, yes, no)
	}
	at := v.reader.layout.byField[f.Field]
	if v.allNull(at) {
		return yes, no, nil
	}
	if a.known != nil && v.reader.layout.columns[at].maxRep == 0 && v.coded(at) {
		codes, err := v.places(at, len(a.known))
		if err == nil {
			a.spread(codes, in, yes, no)
		}
		return yes, no, err
	}
	if a.known != nil && v.coded(at) {
		flat, err := v.elements(at, len(a.known))
		if err != nil {
			return yes, no, err
		}
		copy(no, in)
		open := v.take()
		for i, code := range flat.codes {
			if code >= 0 {
				mark(a.known[code], int(flat.rows[i]), yes, open)
			}
		}
		yes.intersect(in)
		no.subtract(yes)
		no.subtract(open)
		v.give(open)
		return yes, no, nil
	}
	c := v.column(at)
	defer c.close()
	for c.row < v.rows {
		p, err := v.nextOf(c)
		if err != nil {
			return yes, no, err
		}
		switch {
		case c.spec.maxRep > 0:
			v.lists(f, c, p, a.known, yes, no)
		case in.anyIn(p.first, c.row):
			v.scalars(f, c, p, a, in, yes, no)
		}
	}
	if c.spec.maxRep > 0 { // no holds the rows that are open
		for i := range no {
			no[i] = in[i] &^ (yes[i] | no[i])
		}
	}
	yes.intersect(in)
	no.intersect(in)
	return yes, no, nil
}

// nextOf reads the next page of a column that has as many rows as the group.
func (v *vectors) nextOf(c *column) (*page, error) {
	p, err := c.next()
	if err != nil {
		return nil, unexpected(err)
	}
	if c.row > v.rows {
		return nil, fmt.Errorf("column %s has more than %d rows", c.spec.name, v.rows)
	}
	return p, nil
}

// places returns for each row where in the column's dictionary its value stands, one behind
// the last entry for those without. Several tests of a filter look at the same column.
func (v *vectors) places(at, entries int) ([]int32, error) {
	if codes := v.codes[at]; codes != nil {
		return codes, nil
	}
	codes := make([]int32, v.rows)
	c := v.column(at)
	defer c.close()
	for c.row < v.rows {
		p, err := v.nextOf(c)
		if err != nil {
			return nil, err
		}
		for _, i := range p.index {
			if uint32(i) >= uint32(entries) {
				return nil, fmt.Errorf("column %s has a value that its dictionary lacks", c.spec.name)
			}
		}
		out := codes[p.first:c.row]
		if p.def == nil || len(p.index) == len(out) {
			copy(out, p.index)
			continue
		}
		n := 0
		for i, d := range p.def {
			if d == 1 {
				out[i] = p.index[n]
				n++
			} else {
				out[i] = int32(entries)
			}
		}
	}
	v.codes[at] = codes
	return codes, nil
}

// spread gives the rows of in the answers of their values.
func (a *answers) spread(codes []int32, in, yes, no rowset) {
	of := make([]uint8, len(a.known)+1)
	for i, t := range a.known {
		of[i] = uint8(t)
	}
	of[len(a.known)] = uint8(a.null)
	for w, rows := range in {
		if rows == 0 {
			continue
		}
		var y, n uint64
		if rows == ^uint64(0) {
			for k, code := range codes[w<<6 : w<<6+64] {
				t := of[code]
				y |= uint64(t&1) << k
				n |= uint64(t>>1) << k
			}
		} else {
			for left := rows; left != 0; left &= left - 1 {
				k := bits.TrailingZeros64(left)
				t := of[codes[w<<6+k]]
				y |= uint64(t&1) << k
				n |= uint64(t>>1) << k
			}
		}
		yes[w], no[w] = y, n
	}
}

// put gives all rows the same answer.
func (v *vectors) put(t store.Truth, in, yes, no rowset) {
	switch t {
	case store.True:
		copy(yes, in)
	case store.False:
		copy(no, in)
	}
}

// scalars answers for the rows of a page of single values.
func (v *vectors) scalars(f *store.Filter, c *column, p *page, a *answers, in, yes, no rowset) {
	var last parquet.Value
	answer, asked := store.Open, false
	at := 0 // of the value in the page
	for i := range p.rows {
		row := p.first + i
		t := a.null
		if p.def == nil || p.def[i] == 1 {
			switch {
			case p.index != nil:
				t = a.known[p.index[at]]
			case in.has(row):
				if value := p.value(c, at); !asked || !parquet.Equal(value, last) {
					last, asked = value, true
					answer = v.ask(f, c.spec, value)
				}
				t = answer
			}
			at++
		}
		yes[row>>6] |= uint64(t&1) << (row & 63)
		no[row>>6] |= uint64(t>>1) << (row & 63)
	}
}

// lists adds the rows of a page of lists to yes where the test holds for an element, and to open where it is
// open for one.
func (v *vectors) lists(f *store.Filter, c *column, p *page, known []store.Truth, yes, open rowset) {
	at, row := 0, p.first-1
	for i := range p.def {
		if p.rep[i] == 0 {
			row++
		}
		if int(p.def[i]) != c.spec.maxDef {
			continue
		}
		var t store.Truth
		if p.index != nil {
			t = known[p.index[at]]
		} else {
			t = v.ask(f, c.spec, p.value(c, at))
		}
		at++
		mark(t, row, yes, open)
	}
}

// mark adds a row to yes where an element's answer is True, to open where it is Open.
func mark(t store.Truth, row int, yes, open rowset) {
	switch t {
	case store.True:
		yes.add(row)
	case store.Open:
		open.add(row)
	}
}

// framed returns the rows that stand in the column of frames: their other columns do not hold what they hold.
func (v *vectors) framed() (rowset, error) {
	rows := v.take()
	at := v.reader.layout.at.frame
	if v.allNull(at) {
		return rows, nil
	}
	c := v.column(at)
	defer c.close()
	for c.row < v.rows {
		p, err := c.next()
		if err != nil {
			return rows, unexpected(err)
		}
		for i := range min(p.rows, v.rows-p.first) {
			if p.def == nil || p.def[i] == 1 {
				rows.add(p.first + i)
			}
		}
	}
	return rows, nil
}

// times returns the times of all rows in nanoseconds.
func (v *vectors) times() ([]int64, error) {
	l := v.reader.layout
	out := make([]int64, v.rows)
	for _, at := range []int{l.at.time, l.at.nanos} {
		c := v.column(at)
		for c.row < v.rows {
			p, err := c.next()
			if err != nil {
				c.close()
				return nil, unexpected(err)
			}
			for i := range min(p.rows, v.rows-p.first) {
				switch {
				case p.small != nil:
					out[p.first+i] += int64(p.small[i])
				default:
					value := p.value(c, i)
					out[p.first+i] += value.Int64() * 1000
				}
			}
		}
		c.close()
	}
	return out, nil
}

// masked returns the rows in which a field was masked, nil for none.
func (v *vectors) masked(f signal.Field) (rowset, error) {
	at := v.reader.layout.at.masked
	if v.allNull(at) {
		return nil, nil
	}
	is := func(value parquet.Value) store.Truth {
		if asString(&value) == f.Name() {
			return store.True
		}
		return store.False
	}
	d, err := v.dictionary(at)
	if err != nil {
		return nil, err
	}
	c := v.column(at)
	defer c.close()
	rows := v.take()
	known, some := []store.Truth(nil), !v.coded(at)
	if d != nil {
		known = make([]store.Truth, d.Len())
		for i := range known {
			known[i] = is(d.Index(int32(i)))
			some = some || known[i] == store.True
		}
	}
	for some && c.row < v.rows {
		p, err := c.next()
		if err != nil {
			return rows, unexpected(err)
		}
		at, row := 0, p.first-1
		for i := range p.def {
			if p.rep[i] == 0 {
				row++
			}
			if int(p.def[i]) != c.spec.maxDef {
				continue
			}
			t := store.False
			if p.index != nil {
				t = known[p.index[at]]
			} else {
				t = is(p.value(c, at))
			}
			at++
			if t == store.True && row < v.rows {
				rows.add(row)
			}
		}
	}
	return rows, nil
}
