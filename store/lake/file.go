package lake

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

// Sizes of what a file is made of.
const (
	rowGroupRows  = 1 << 16   // small enough to hold in memory, large enough for statistics to be worth it
	pageBytes     = 256 << 10 // of values in memory, before compression
	dictionaryMax = 512 << 10 // a column with more distinct bytes than this is written plain
)

// fileWriter writes events into one Parquet file that is not yet part of the lake.
type fileWriter struct {
	layout *layout
	groups groupSet
	at     []position
	file   *os.File
	buf    *bufio.Writer
	writer *parquet.GenericWriter[any]
	rows   int // in all
	inRow  int // in the current row group
}

func createFile(l *layout, dir string, groups groupSet) (*fileWriter, error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return nil, err
	}
	groups = union(groups, l.alwaysSet())
	schema := l.schema(groups)
	w := &fileWriter{layout: l, groups: groups, file: f, buf: bufio.NewWriterSize(f, 256<<10)}
	if w.at, err = l.locate(schema); err != nil {
		w.discard()
		return nil, err
	}
	w.writer = parquet.NewGenericWriter[any](w.buf, schema,
		parquet.Compression(l.codec),
		parquet.PageBufferSize(pageBytes), parquet.DictionaryMaxBytes(dictionaryMax),
		// Readers take bounds from footer and page index; the pages' own would be computed a second time.
		parquet.DataPageStatistics(false), parquet.CreatedBy("testudo", formatVersion, ""),
		parquet.KeyValueMetadata(formatKey, formatVersion))
	return w, nil
}

func union(a, b groupSet) groupSet {
	a.union(&b)
	return a
}

// write appends the stage's rows; its groups must be among the file's.
func (w *fileWriter) write(s *stage) error {
	if w.inRow+s.rows > rowGroupRows {
		w.inRow = 0
		if err := w.writer.Flush(); err != nil {
			return err
		}
	}
	columns := w.writer.ColumnWriters()
	for i := range w.at {
		leaf := w.at[i].leaf
		if leaf < 0 {
			continue
		}
		c := &s.cols[i]
		vals := c.vals
		if c.rows == 0 {
			vals = s.nulls[:s.rows]
		} else if c.rows < s.rows {
			s.pad(c, s.rows)
			vals = c.vals
		}
		if _, err := columns[leaf].WriteRowValues(vals); err != nil {
			return fmt.Errorf("column %s: %w", w.layout.columns[i].name, err)
		}
	}
	w.rows += s.rows
	w.inRow += s.rows
	return nil
}

// finish writes the footer and makes the file durable. The file stays open.
func (w *fileWriter) finish() error {
	if err := w.writer.Close(); err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	return w.file.Sync()
}

// rename gives the finished file its name in the same folder, durably.
func (w *fileWriter) rename(name string) error {
	dir := filepath.Dir(w.file.Name())
	if err := w.file.Chmod(0o600); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	if err := w.file.Close(); err != nil {
		return err
	}
	w.file = nil
	return syncDir(dir)
}

// discard removes the file unless it was renamed.
func (w *fileWriter) discard() {
	if w.file != nil {
		_ = w.file.Close()
		_ = os.Remove(w.file.Name())
		w.file = nil
	}
}

// syncDir makes renames in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
