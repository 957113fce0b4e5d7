package lake

import (
	"errors"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"
)

const cursorValues = 256

// cursor reads one column of a row group forwards. Strings that it hands out stay
// valid until the row after the next is read.
type cursor struct {
	spec   *columnSpec
	chunk  *parquet.FileColumnChunk
	pages  *parquet.FilePages
	page   parquet.Page
	old    parquet.Page // the page before, whose strings the current row may hold
	values parquet.ValueReader
	buf    []parquet.Value
	pos, n int
	row    int64 // the next row
	list   []string
}

func newCursor(spec *columnSpec, chunk *parquet.FileColumnChunk, r io.ReaderAt) *cursor {
	return &cursor{spec: spec, chunk: chunk, pages: chunk.PagesFrom(r), buf: make([]parquet.Value, cursorValues)}
}

func (c *cursor) close() {
	parquet.Release(c.old)
	parquet.Release(c.page)
	_ = c.pages.Close()
}

// fill makes sure that there is a value at pos; io.EOF says that the column has no more.
func (c *cursor) fill() error {
	for c.pos == c.n {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err != nil {
				return err
			}
			parquet.Release(c.old)
			c.old, c.page = c.page, page
			c.values = page.Values()
		}
		n, err := c.values.ReadValues(c.buf)
		c.pos, c.n = 0, n
		if err != nil {
			c.values = nil
			if !errors.Is(err, io.EOF) {
				return err
			}
		}
	}
	return nil
}

// scalar returns the value of the next row.
func (c *cursor) scalar() (*parquet.Value, error) {
	if c.pos == c.n {
		if err := c.fill(); err != nil {
			return nil, unexpected(err)
		}
	}
	v := &c.buf[c.pos]
	c.pos++
	c.row++
	return v, nil
}

// strings returns the list of the next row without nulls at its end. The slice is the
// cursor's until the next call.
func (c *cursor) strings() ([]string, error) {
	c.list = c.list[:0]
	if err := c.fill(); err != nil {
		return nil, unexpected(err)
	}
	for first := true; ; first = false {
		v := &c.buf[c.pos]
		if !first && v.RepetitionLevel() == 0 {
			break
		}
		if v.DefinitionLevel() == c.spec.maxDef {
			c.list = append(c.list, asString(v))
		}
		c.pos++
		if err := c.fill(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	c.row++
	return c.list, nil
}

// seek makes row the next one.
func (c *cursor) seek(row int64) error {
	if row == c.row {
		return nil
	}
	if c.spec.maxRep == 0 && row > c.row && row-c.row < int64(c.n-c.pos) {
		c.pos += int(row - c.row)
		c.row = row
		return nil
	}
	if row > c.row && row-c.row < cursorValues { // reading on is cheaper than finding the page
		return c.pass(row)
	}
	if _, err := c.chunk.OffsetIndex(); err != nil { // SeekToRow uses it where it was read
		return err
	}
	if err := c.pages.SeekToRow(row); err != nil {
		return err
	}
	c.pos, c.n, c.values, c.row = 0, 0, nil, row
	return nil
}

// pass reads on up to a row that is not far.
func (c *cursor) pass(row int64) error {
	for c.row < row {
		if c.spec.maxRep > 0 {
			if _, err := c.strings(); err != nil {
				return err
			}
			continue
		}
		if _, err := c.scalar(); err != nil {
			return err
		}
	}
	return nil
}

// unexpected is for the end of a column before the end of its row group.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// asString returns a text value without a copy.
func asString(v *parquet.Value) string {
	b := v.ByteArray()
	return unsafe.String(unsafe.SliceData(b), len(b))
}
