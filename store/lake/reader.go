package lake

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// reader reads one lake file.
type reader struct {
	layout *layout
	part   store.Partition
	file   *os.File
	pq     *parquet.File
	at     []position
}

func openReader(l *layout, path string, p store.Partition) (*reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := &reader{layout: l, part: p, file: f}
	if err := r.open(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) open() error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	if err := checkFooter(r.file, info.Size()); err != nil {
		return err
	}
	r.pq, err = parquet.OpenFile(r.file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return err
	}
	if v, ok := r.pq.Lookup(formatKey); !ok || v != formatVersion {
		return fmt.Errorf("metadata %s is %q, this program reads %q", formatKey, v, formatVersion)
	}
	r.at, err = r.layout.locate(r.pq.Schema())
	return err
}

// checkFooter looks at a file's end (Parquet format, "File format": the footer, its length in four bytes, PAR1)
// before the library does, which takes memory for any length that it reads there.
func checkFooter(f io.ReaderAt, size int64) error {
	const magic = "PAR1"
	var end [8]byte
	if size < int64(len(magic)+len(end)) {
		return fmt.Errorf("%d bytes are no Parquet file", size)
	}
	if _, err := f.ReadAt(end[:], size-int64(len(end))); err != nil {
		return err
	}
	if length := int64(binary.LittleEndian.Uint32(end[:])); string(end[4:]) != magic || length > size-int64(len(magic)+len(end)) {
		return errors.New("no Parquet footer at its end: it was cut or overwritten")
	}
	return nil
}

func (r *reader) close() { _ = r.file.Close() }

// columns chooses what is read of a row.
type columns struct {
	all      bool
	fields   []signal.Field
	unmapped bool
	uid      bool // the event's id
}

// covers reports whether everything of o is in c.
func (c *columns) covers(o *columns) bool {
	if c.all {
		return true
	}
	if o.all || o.unmapped && !c.unmapped {
		return false
	}
	for _, f := range o.fields {
		found := false
		for _, g := range c.fields {
			found = found || f == g
		}
		if !found {
			return false
		}
	}
	return true
}

// rows assembles events from the columns of a row group.
type rows struct {
	reader *reader
	time   *cursor
	nanos  *cursor
	header []*cursor // other header fields
	fields []*cursor
	masked *cursor // nil where it is not needed
	key    *cursor
	value  *cursor
	exact  *cursor
	frame  *cursor
	every  []*cursor
	buf    []byte
}

func (r *reader) rows(group parquet.RowGroup, want *columns) *rows {
	rs := &rows{reader: r}
	chunks := group.ColumnChunks()
	open := func(column int) *cursor {
		leaf := r.at[column].leaf
		if leaf < 0 {
			return nil
		}
		c := newCursor(&r.layout.columns[column], chunks[leaf].(*parquet.FileColumnChunk), r.file)
		rs.every = append(rs.every, c)
		return c
	}
	named := func(name string) *cursor { return open(r.layout.byName[name]) }
	rs.time, rs.nanos = open(r.layout.byField[signal.FieldTime]), named(colNanos)
	fields := want.fields
	if want.all {
		fields = signal.Fields()
	}
	texts, times := false, false
	var seen fieldSet
	for _, f := range fields {
		if f == 0 || f == signal.FieldTime || f == signal.FieldClassUID || seen.add(f) {
			continue
		}
		c := open(r.layout.byField[f])
		if c == nil {
			continue
		}
		if f.IsHeader() {
			rs.header = append(rs.header, c)
			continue
		}
		rs.fields = append(rs.fields, c)
		texts = texts || f.Kind() == signal.KindString || f.Kind() == signal.KindStrings
		times = times || f.Kind() == signal.KindTime
	}
	if want.uid && !seen.add(signal.FieldMetadataUID) {
		rs.header = append(rs.header, open(r.layout.byField[signal.FieldMetadataUID]))
	}
	unmapped := want.all || want.unmapped
	if unmapped {
		rs.key, rs.value = named(colMapKey), named(colMapValue)
	}
	if texts {
		rs.masked = named(colMasked)
	}
	if texts || rs.key != nil {
		rs.frame = named(colFrame)
	}
	if times {
		rs.exact = named(colExact)
	}
	return rs
}

// fieldSet is a set of fields.
type fieldSet [8]uint64

// add adds f and reports whether it was there.
func (s *fieldSet) add(f signal.Field) bool {
	was := s[f>>6&7]&(1<<(f&63)) != 0
	s[f>>6&7] |= 1 << (f & 63)
	return was
}

func (rs *rows) close() {
	for _, c := range rs.every {
		c.close()
	}
}

func (rs *rows) seek(row int64) error {
	for _, c := range rs.every {
		if err := c.seek(row); err != nil {
			return err
		}
	}
	return nil
}

// to fills e with a row.
func (rs *rows) to(row int64, e *signal.Event) error {
	if err := rs.seek(row); err != nil {
		return err
	}
	return rs.next(e)
}

// next fills e with the next row.
func (rs *rows) next(e *signal.Event) error {
	e.Reset()
	us, err := rs.time.scalar()
	if err != nil {
		return err
	}
	rest, err := rs.nanos.scalar()
	if err != nil {
		return err
	}
	e.Class = rs.reader.part.Class
	e.Time = us.Int64()*1000 + int64(rest.Int32())
	for _, c := range rs.header {
		v, err := c.scalar()
		if err != nil {
			return err
		}
		if !v.IsNull() {
			setHeader(e, c.spec.field, v)
		}
	}
	var masked []string
	if rs.masked != nil {
		if masked, err = rs.masked.strings(); err != nil {
			return err
		}
	}
	for _, c := range rs.fields {
		if err := setField(e, c, masked); err != nil {
			return err
		}
	}
	if rs.key != nil {
		if err := rs.attributes(e); err != nil {
			return err
		}
	}
	if rs.exact != nil {
		v, err := rs.exact.scalar()
		if err != nil {
			return err
		}
		if !v.IsNull() {
			setExact(e, asString(v))
		}
	}
	if rs.frame != nil {
		v, err := rs.frame.scalar()
		if err != nil {
			return err
		}
		if !v.IsNull() {
			rs.buf = append(rs.buf[:0], v.ByteArray()...)
			if frames := signal.ReadFrames(rs.buf); !frames.Next(e) {
				return fmt.Errorf("column %s: %w", colFrame, frames.Err())
			}
		}
	}
	return nil
}

func setHeader(e *signal.Event, f signal.Field, v *parquet.Value) {
	switch f {
	case signal.FieldActivityID:
		e.Activity = uint8(v.Int64())
	case signal.FieldSeverityID:
		e.Severity = signal.Severity(v.Int64())
	case signal.FieldMetadataUID:
		e.ID = readID(v.ByteArray())
	case signal.FieldMetadataSequence:
		e.Seq = uint64(v.Int64())
	case signal.FieldMetadataCorrelationUID:
		e.Parent = readID(v.ByteArray())
	case signal.FieldMetadataLogProvider:
		if p, err := signal.ParsePlane(asString(v)); err == nil {
			e.Plane = p
		}
	}
}

// readID reads what appendID wrote; anything else is no id.
func readID(b []byte) (id signal.ID) {
	if len(b) != 36 {
		return id
	}
	var digits [32]byte
	copy(digits[0:], b[0:8])
	copy(digits[8:], b[9:13])
	copy(digits[12:], b[14:18])
	copy(digits[16:], b[19:23])
	copy(digits[20:], b[24:36])
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return signal.ID{}
	}
	return id
}

func setField(e *signal.Event, c *cursor, masked []string) error {
	f := c.spec.field
	if c.spec.maxRep > 0 {
		list, err := c.strings()
		if err == nil && len(list) > 0 {
			e.SetStrings(f, list)
		}
		return err
	}
	v, err := c.scalar()
	if err == nil && !v.IsNull() {
		setScalar(e, f, v, masked)
	}
	return err
}

// setScalar sets a field that is no list to a value of its column.
func setScalar(e *signal.Event, f signal.Field, v *parquet.Value, masked []string) {
	switch f.Kind() {
	case signal.KindString:
		for _, name := range masked {
			if name == f.Name() {
				e.SetMasked(f, asString(v), asString(v))
				return
			}
		}
		e.SetString(f, asString(v))
	case signal.KindInt:
		e.SetInt(f, v.Int64())
	case signal.KindTime:
		e.SetTime(f, time.UnixMicro(v.Int64()))
	case signal.KindBool:
		e.SetBool(f, v.Boolean())
	case signal.KindFloat:
		e.SetFloat(f, v.Double())
	case signal.KindIP:
		if a, err := netip.ParseAddr(asString(v)); err == nil {
			e.SetIP(f, a)
		}
	}
}

// attributes sets what stands outside of the field table.
func (rs *rows) attributes(e *signal.Event) error {
	names, err := rs.key.strings()
	if err != nil {
		return err
	}
	values, err := rs.value.strings()
	if err != nil {
		return err
	}
	if len(names) != len(values) {
		return fmt.Errorf("column unmapped: %d names, %d values", len(names), len(values))
	}
	for i := range names {
		e.SetUnmapped(names[i], values[i])
	}
	return nil
}

// setExact adds the nanoseconds that the time columns cannot hold.
func setExact(e *signal.Event, s string) {
	for part := range strings.FieldsSeq(s) {
		name, digits, _ := strings.Cut(part, "=")
		f, ok := signal.Lookup(name)
		n, err := strconv.ParseInt(digits, 10, 64)
		if ok && err == nil && f.Kind() == signal.KindTime && e.Has(f) && !f.IsHeader() {
			e.SetTime(f, e.Timestamp(f).Add(time.Duration(n)))
		}
	}
}
