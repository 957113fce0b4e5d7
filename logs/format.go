package logs

import (
	"bytes"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Source says which log a stream is, in Sigma's words. What the user states overrides what a format would say; an empty
// part leaves it to the format.
type Source struct {
	Product  string `yaml:"product"`  // metadata.log_product: windows, linux, aws, ...
	Service  string `yaml:"service"`  // metadata.log_name: security, sysmon, cloudtrail, ...
	Category string `yaml:"category"` // metadata.log_category: process_creation, webserver, ...
	Name     string `yaml:"name"`     // the user's own name of the stream, in metadata.labels

	// Zone is that of times that state none; nil is UTC.
	Zone *time.Location `yaml:"-"`
	// Now tells the year of times that state none (RFC 3164): a live stream's clock, a file's time of change. nil leaves
	// such a record without a time.
	Now func() time.Time `yaml:"-"`
}

// Or returns the source with its empty parts filled from other.
func (s Source) Or(other Source) Source {
	fill := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	fill(&s.Product, other.Product)
	fill(&s.Service, other.Service)
	fill(&s.Category, other.Category)
	fill(&s.Name, other.Name)
	return s
}

// Framing is how a stream is cut into records.
type Framing uint8

// The framings.
const (
	// Lines is one record a line, ended by LF or CR LF. Empty lines are no records.
	Lines Framing = iota
	// Documents are JSON objects one after another: one a line, printed over many lines, in arrays, or in an envelope
	// that the format names ({"Records":[...]}). Arrays and envelopes are opened, each element is a record. A document
	// breaks off where a text in quotes meets the end of its line, or where its first line leaves brackets open and the
	// next line begins with one; it is handed out as it is, and reading goes on at the next line.
	Documents
)

// Part is what a line is to a record of many lines.
type Part uint8

// The parts.
const (
	Alone  Part = iota // a record of its own
	More               // others of its key may follow
	Last               // the last line of its record
	Closer             // says that the record of its key is complete, and is no part of it
)

// Format is one kind of log.
type Format struct {
	Name    string // as the user states it: "cloudtrail"
	Title   string // for people: "AWS CloudTrail"
	Framing Framing
	// Envelopes are the keys whose array is opened where it stands first in a document, for Documents only.
	Envelopes []string
	// Group says which lines make one record, for Lines only; nil where every line is one. It returns the key that the
	// lines of one record share, a part of the line, and what the line is to its record. A record then is its lines
	// joined by LF.
	Group func(line []byte) (key []byte, part Part)
	// MaxRecord is the longest record where Options.MaxRecord is 0, in bytes; DefaultMaxRecord where this is 0 too.
	MaxRecord int
	// Unpack takes a record apart that holds several, each of which the Parser reads; nil where every record is one. What it
	// cannot read it returns an error for, and the parser is given the record itself.
	Unpack func(record []byte) (Unpacked, error)
	// Detect reports whether a stream that begins with sample (up to 64 KiB) is of this format. nil is never.
	Detect func(sample []byte) bool
	// New makes a parser for one stream.
	New func(Source) Parser
}

// Unpacked is a record that holds several.
type Unpacked interface {
	// Next returns the next of them, valid until the next call; ok is false where there is none.
	Next() (record []byte, ok bool)
}

// Parser turns records into events. It may keep what it learned of earlier records to be faster, never to judge a
// record differently: the same record gives the same event. A Parser is not safe for concurrent use.
type Parser interface {
	// Parse sets the fields of e, which is empty, from one record. No string of e aliases record. An error is a
	// *[ParseError] and leaves e in no certain state: the caller counts the record and goes on.
	Parse(record []byte, e *signal.Event) error
}

// SampleSize is how much of a stream [Detect] is given at most, in bytes.
const SampleSize = 64 << 10

// detectLines is how many lines may stand before the first one by which a format is recognised: what a program says
// at its start, a trace of its stack, the end of a line that was rotated.
const detectLines = 25

// Detect returns the first of formats that recognises the beginning of a stream, or, where none does, what is left of it after
// a line, or a few. The order of the list matters: the more special format comes first.
func Detect(formats []Format, sample []byte) (Format, bool) {
	sample = sample[:min(len(sample), SampleSize)]
	for range detectLines {
		for _, f := range formats {
			if f.Detect != nil && f.Detect(sample) {
				return f, true
			}
		}
		end := bytes.IndexByte(sample, '\n')
		if end < 0 {
			break
		}
		sample = sample[end+1:]
	}
	return Format{}, false
}

// Truncated is the unmapped attribute that says how many attributes of a record were dropped, because they were
// too many or their names too long.
const Truncated = "testudo.truncated"

// ErrorClass is why a record did not parse; counters are labelled with it.
type ErrorClass string

// The classes of errors.
const (
	BadSyntax ErrorClass = "syntax" // not the notation: broken JSON, no audit record, no log line
	BadShape  ErrorClass = "shape"  // the notation, but not a record of this format
	TooLarge  ErrorClass = "large"  // beyond a bound
)

// ParseError is a record that does not parse. It never quotes the record, which may hold secrets.
type ParseError struct {
	Format string
	Class  ErrorClass
	Reason string // short, without text of the record
	Offset int    // in the record, where that is known, else -1
}

// Error says what is wrong.
func (e *ParseError) Error() string {
	if e.Offset >= 0 {
		return fmt.Sprintf("%s: byte %d: %s", e.Format, e.Offset, e.Reason)
	}
	return fmt.Sprintf("%s: %s", e.Format, e.Reason)
}
