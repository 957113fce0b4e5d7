package intake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// DeadLetters is a file of records that are no events, one JSON object a line:
//
//	{"time":"…","source":"nginx","format":"access","at":"/var/log/nginx/access.log:17","reason":"syntax",
//	 "error":"access: …","record":"…","bytes":5120}
//
// It has mode 0600. When it is full it is renamed to FILE.1, over the one before, and begun anew. Of a record the
// first 4 KiB are kept, with secrets masked. Where Sample is set, no more than so many records a minute are kept
// of one source and reason; the others are only counted. It is safe for concurrent use.
type DeadLetters struct {
	Path   string
	Max    bytesize.Size
	Sample int                      // records a minute of one source and reason; 0 keeps all
	Once   bool                     // do not begin anew: what comes after the file is full is dropped
	Redact func(text string) string // nil: nothing is masked
	Now    func() time.Time

	mu      sync.Mutex
	f       *os.File
	size    int64
	buf     bytes.Buffer
	kept    uint64
	dropped uint64
	fault   error
	minute  int64
	given   map[string]int
}

// maxLetter is how much of a record is kept, in bytes.
const maxLetter = 4 << 10

type letter struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"`
	Format string    `json:"format"`
	At     string    `json:"at"`
	Reason string    `json:"reason"`
	Error  string    `json:"error"`
	Record string    `json:"record"`
	Bytes  int       `json:"bytes"`
}

// Add keeps a record, or counts that it was not kept.
func (d *DeadLetters) Add(source, format string, at Place, reason, text string, record []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.Now()
	if d.Sample > 0 {
		if minute := now.Unix() / 60; minute != d.minute || d.given == nil {
			d.minute, d.given = minute, map[string]int{}
		}
		key := source + "\x00" + reason
		if d.given[key]++; d.given[key] > d.Sample {
			d.dropped++
			return
		}
	}
	l := letter{Time: now.UTC(), Source: source, Format: format, At: at.String(), Reason: reason, Error: text, Bytes: len(record)}
	l.Record = strings.ToValidUTF8(string(record[:min(len(record), maxLetter)]), "\uFFFD")
	if d.Redact != nil {
		l.Record = d.Redact(l.Record)
	}
	d.buf.Reset()
	enc := json.NewEncoder(&d.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		d.lose(err)
		return
	}
	if err := d.write(d.buf.Bytes()); err != nil {
		d.lose(err)
		return
	}
	d.kept++
	d.fault = nil
}

func (d *DeadLetters) lose(err error) {
	d.dropped++
	d.fault = err
}

func (d *DeadLetters) write(line []byte) error {
	if err := d.open(); err != nil {
		return err
	}
	if d.size > 0 && d.size+int64(len(line)) > int64(d.Max) {
		if d.Once {
			return fmt.Errorf("%s is full: it holds %v", d.Path, d.Max)
		}
		_ = d.f.Close()
		d.f = nil
		if err := os.Rename(d.Path, d.Path+".1"); err != nil {
			return err
		}
		if err := d.open(); err != nil {
			return err
		}
	}
	n, err := d.f.Write(line)
	d.size += int64(n)
	return err
}

// open opens the file, if it is not open.
func (d *DeadLetters) open() error {
	if d.f != nil {
		return nil
	}
	f, err := os.OpenFile(d.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", d.Path)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	d.f, d.size = f, info.Size()
	return nil
}

// DeadStats says what became of records that are no events.
type DeadStats struct {
	Kept    uint64
	Dropped uint64 // not kept: sampled away, no room, or an error
	Fault   error  // why the last one could not be kept
}

// Stats returns the counters.
func (d *DeadLetters) Stats() DeadStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return DeadStats{d.kept, d.dropped, d.fault}
}

// Close closes the file.
func (d *DeadLetters) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil {
		return nil
	}
	f := d.f
	d.f = nil
	return f.Close()
}
