package logs

import (
	"bytes"
	"errors"
	"io"
)

// DefaultMaxRecord bounds a record where [Options] do not, in bytes.
const DefaultMaxRecord = 1 << 20

// Options of a [Reader].
type Options struct {
	MaxRecord int // longest record that is handed out, in bytes; DefaultMaxRecord where it is 0
	MaxGroups int // records of many lines that may be open at once; 64 where it is 0
}

// Stats counts what a [Reader] did.
type Stats struct {
	Records  uint64 // handed out
	Oversize uint64 // skipped whole, because they were longer than Options.MaxRecord
	Skipped  uint64 // bytes of those
	Broken   uint64 // documents that broke off, handed out as they are
	Unclosed uint64 // records of many lines handed out before their last line was seen
}

// Reader cuts a stream into records. It holds one record and what was read ahead, so its memory is bounded by
// twice Options.MaxRecord and, where lines are grouped, by as much again. It is not safe for concurrent use.
//
// The end of the stream is not final: a file that is followed has more later. Next returns [io.EOF] when the
// source does, and goes on when it is called again and the source has more. A last record without its end stays with
// the reader until [Reader.Finish] says that nothing comes any more.
type Reader struct {
	src    io.Reader
	format Format
	max    int

	buf      []byte
	at, end  int   // what is read and not handed out: buf[at:end]
	base     int64 // offset of buf[0] in the stream
	scanned  int   // up to here buf was searched for the record's end
	skipping bool  // in a record that is too long
	finished bool
	lines    int64 // line feeds before buf[counted]
	counted  int
	line     int64 // of the last record

	doc    document
	groups groups
	inner  Unpacked // the records of the last one that holds several
	from   place    // of that one
	stats  Stats
}

// place is where a record begins.
type place struct{ offset, line int64 }

// NewReader returns a reader of the records of src, which is of format f.
func NewReader(src io.Reader, f Format, o Options) *Reader {
	if o.MaxRecord <= 0 {
		o.MaxRecord = f.MaxRecord
	}
	if o.MaxRecord <= 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if o.MaxGroups <= 0 {
		o.MaxGroups = 64
	}
	return &Reader{src: src, format: f, max: o.MaxRecord, groups: groups{limit: o.MaxGroups, max: o.MaxRecord}}
}

// Stats returns what the reader counted so far.
func (r *Reader) Stats() Stats { return r.stats }

// Offset returns how many bytes of the stream the records handed out so far make, with what lies between them. A
// reader that starts there goes on with the next record. Of lines that are grouped, those of the oldest record that
// is not handed out are counted as unread, so that after a restart some lines may be seen twice, none is lost. So is
// a record that holds several, until all of them are handed out.
func (r *Reader) Offset() int64 {
	if r.inner != nil {
		return r.from.offset
	}
	if o, ok := r.groups.oldest(); ok {
		return o
	}
	return r.base + int64(r.at)
}

// Line returns the number of the line of the stream on which the record begins that Next returned last, from 1.
func (r *Reader) Line() int64 { return r.line }

// Lines returns how many line feeds lie before Offset.
func (r *Reader) Lines() int64 {
	if r.inner != nil {
		return r.from.line - 1
	}
	if len(r.groups.open) > 0 {
		return r.groups.open[0].line - 1
	}
	return r.lines + int64(bytes.Count(r.buf[r.counted:r.at], []byte{'\n'}))
}

// mark notes on which line the record begins, which is a part of buf.
func (r *Reader) mark(record []byte) {
	at := cap(r.buf) - cap(record)
	r.lines += int64(bytes.Count(r.buf[r.counted:at], []byte{'\n'}))
	r.counted = at
	r.line = r.lines + 1
}

// Settle closes records of many lines that wait for more lines. Whoever follows a file calls it when the file
// has been quiet for some seconds; Next then hands them out.
func (r *Reader) Settle() { r.groups.settle() }

// Finish says that nothing comes after what the source has: Next hands out the rest, then returns [io.EOF].
func (r *Reader) Finish() { r.finished = true }

// Next returns the next record, valid until the next call. The error is [io.EOF], or the source's own.
func (r *Reader) Next() ([]byte, error) {
	if r.format.Group != nil {
		return r.nextGroup()
	}
	if r.format.Unpack == nil {
		return r.next()
	}
	for {
		if r.inner != nil {
			if record, ok := r.inner.Next(); ok {
				r.stats.Records++
				return record, nil
			}
			r.inner = nil
		}
		offset := r.Offset()
		record, err := r.next()
		if err != nil {
			return nil, err
		}
		inner, err := r.format.Unpack(record)
		if err != nil {
			return record, nil // the parser says what is wrong with it
		}
		r.stats.Records--
		r.inner, r.from = inner, place{offset, r.line}
	}
}

func (r *Reader) next() ([]byte, error) {
	for {
		var record []byte
		var ok bool
		if r.format.Framing == Documents {
			record, ok = r.cutDocument()
		} else {
			record, ok = r.cutLine()
		}
		if ok {
			if len(record) == 0 {
				continue
			}
			if len(record) > r.max { // its end was in the buffer already
				r.stats.Oversize++
				r.stats.Skipped += uint64(len(record))
				continue
			}
			r.stats.Records++
			r.mark(record)
			return record, nil
		}
		if r.end-r.at > r.max {
			r.skip()
		}
		if err := r.fill(); err != nil {
			if rest := r.rest(err); rest != nil {
				r.stats.Records++
				r.mark(rest)
				return rest, nil
			}
			return nil, err
		}
	}
}

// rest returns the last record, which has no end, once nothing comes any more.
func (r *Reader) rest(err error) []byte {
	if !r.finished || !errors.Is(err, io.EOF) || r.at == r.end {
		return nil
	}
	rest := bytes.TrimSpace(r.buf[r.at:r.end])
	broken := r.format.Framing == Documents
	if r.skipping || broken && r.doc.envelope == tail {
		rest = nil
	}
	r.at, r.scanned, r.skipping = r.end, r.end, false
	r.doc = document{}
	if len(rest) == 0 {
		return nil
	}
	if broken {
		r.stats.Broken++
	}
	return rest
}

// skip drops what is read of a record that is too long.
func (r *Reader) skip() {
	if !r.skipping {
		r.skipping = true
		r.stats.Oversize++
	}
	r.stats.Skipped += uint64(r.end - r.at)
	r.at, r.scanned = r.end, r.end
}

// fill reads more. It moves what is not handed out to the front first.
func (r *Reader) fill() error {
	const chunk = 64 << 10
	if r.at > 0 {
		r.lines += int64(bytes.Count(r.buf[r.counted:r.at], []byte{'\n'}))
		r.counted = 0
		n := copy(r.buf, r.buf[r.at:r.end])
		r.base += int64(r.at)
		r.scanned -= r.at
		r.doc.start -= r.at
		r.at, r.end = 0, n
	}
	if len(r.buf)-r.end < chunk/2 {
		grown := make([]byte, max(2*len(r.buf), 2*chunk))
		copy(grown, r.buf[:r.end])
		r.buf = grown
	}
	for tries := 0; ; tries++ {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		switch {
		case n > 0:
			return nil // an error comes again
		case err != nil:
			return err
		case tries == 100:
			return io.ErrNoProgress
		}
	}
}

func (r *Reader) cutLine() ([]byte, bool) {
	i := bytes.IndexByte(r.buf[r.scanned:r.end], '\n')
	if i < 0 {
		r.scanned = r.end
		return nil, false
	}
	line := r.buf[r.at : r.scanned+i]
	r.at = r.scanned + i + 1
	r.scanned = r.at
	if r.skipping {
		r.skipping = false
		r.stats.Skipped += uint64(len(line))
		return nil, true
	}
	return trimLine(line), true
}

// trimLine drops a carriage return and a byte order mark.
func trimLine(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	return line
}
