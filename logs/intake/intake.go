// Package intake is what happens to a record of a log, from wherever it came: it is parsed, what it may not say
// about testudo is taken out of it, and it is handed on as an event. A record that does not parse is counted,
// sampled into a dead-letter file, and stops nothing.
//
// An [Intake] holds what all sources share. A [Feed] is one configured source with its counters; it makes
// sessions, one for each stream, connection or socket, for parsers belong to one goroutine. A [Pipeline] parses on
// several processors and hands events over in the order of their records; it is for files that are read once.
//
// # What a record may not say
//
// Whoever can write to a log can write anything into it. An event from a log therefore never has another plane
// than logs, an id, a number or a parent of its own choosing, a verdict, an alert, a rule set, a finding, or any of
// the fields in which edge and firewall say what they did; see Reserved. A class of findings becomes the base event, for
// findings about findings are not made. A time that lies in the future becomes that of receipt. And unless the
// source's configuration says that its records may be acted on, rules cannot have an address blocked because of
// them: else a forged line would be a way to have anybody blocked.
package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Auto is the name of the format that is found out from what is read.
const Auto = "auto"

// Spec says what the records of a source are.
type Spec struct {
	// Name is what the source is called in counters, in the dead-letter file and in metadata.labels.
	Name string `yaml:"name"`
	// Format is the records' format, as in "jsonlines"; "auto" finds it out from the beginning of what is read.
	Format string `yaml:"format"`
	// Product is metadata.log_product, in Sigma's words: windows, linux, aws. Empty leaves it to the format.
	Product string `yaml:"product"`
	// Service is metadata.log_name, in Sigma's words: security, sysmon, cloudtrail. Empty leaves it to the format.
	Service string `yaml:"service"`
	// Category is metadata.log_category, in Sigma's words: process_creation, webserver. Empty leaves it to the
	// format.
	Category string `yaml:"category"`
	// Zone is the time zone of times that state none, as in Europe/Berlin; empty is UTC.
	Zone string `yaml:"zone"`
	// Act lets rules have something done because of a record, such as an address blocked. Whoever can write
	// to the source can then have it done to anybody: set it for files that only a server of yours writes.
	Act bool `yaml:"act"`
}

// Validate checks what can be checked without the list of formats.
func (s *Spec) Validate() error {
	if _, err := time.LoadLocation(s.Zone); err != nil {
		return fmt.Errorf("zone is %q, which is no time zone: want a name such as Europe/Berlin", s.Zone)
	}
	return nil
}

// Config bounds what is read and what is kept of records that do not parse.
type Config struct {
	// MaxRecord is the longest record; longer ones are passed over and counted.
	MaxRecord bytesize.Size `yaml:"max_record"`
	// DeadLetters is the size of the file of records that do not parse, logs-rejected.jsonl in the data
	// directory; when it is full it is renamed once, and begun anew. 0 keeps none.
	DeadLetters bytesize.Size `yaml:"dead_letters"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{MaxRecord: bytesize.MiB, DeadLetters: 16 * bytesize.MiB}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.MaxRecord < 1024 || c.MaxRecord > 64*bytesize.MiB:
		return fmt.Errorf("max_record is %v: want 1KiB to 64MiB", c.MaxRecord)
	case c.DeadLetters < 0 || c.DeadLetters > bytesize.GiB:
		return fmt.Errorf("dead_letters is %v: want 0 to 1GiB", c.DeadLetters)
	}
	return nil
}

// Place is where a record came from.
type Place struct {
	Path string // file, or address of the sender
	Line int64  // line of the file, from 1; 0 where there are none
}

// String returns "file:line", or the path alone.
func (p Place) String() string {
	if p.Line == 0 {
		return p.Path
	}
	return fmt.Sprintf("%s:%d", p.Path, p.Line)
}

// Deps is what an Intake is made of.
type Deps struct {
	Formats []logs.Format
	// Handle takes each event; it may keep nothing of it. An error means that the event was not taken: a file is
	// read again from there later.
	Handle func(ctx context.Context, e *signal.Event, at Place) error
	// Now is the time of receipt. nil leaves events without a time of their own without one, and
	// believes times in the future: for what is read after the fact.
	Now        func() time.Time
	Rejected   func(at Place, reason string, err error) // called for each record that does not parse; nil: nobody
	Dead       *DeadLetters                             // nil: records that do not parse are only counted
	Logger     *slog.Logger                             // nil: none
	Registerer prometheus.Registerer                    // nil: none
}

// Intake turns records into events. It is safe for concurrent use.
type Intake struct {
	cfg  Config
	deps Deps

	mu    sync.Mutex
	feeds []*Feed
}

// New returns an Intake. It starts nothing.
func New(cfg Config, deps Deps) (*Intake, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	in := &Intake{cfg: cfg, deps: deps}
	if deps.Registerer != nil {
		return in, deps.Registerer.Register(collector{in})
	}
	return in, nil
}

// Format returns the format of that name.
func (in *Intake) Format(name string) (logs.Format, error) {
	names := make([]string, 0, len(in.deps.Formats))
	for _, f := range in.deps.Formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if near := spell.Nearest(name, names); near != "" {
		return logs.Format{}, fmt.Errorf("format %q is not known; did you mean %s?", name, near)
	}
	return logs.Format{}, fmt.Errorf("format %q is not known: want %s or %s", name, Auto, strings.Join(names, ", "))
}

// Feed returns a new source. The label names it where the spec does not.
func (in *Intake) Feed(spec Spec, label string) (*Feed, error) {
	f := &Feed{in: in, spec: spec, label: cmp.Or(spec.Name, label), rejected: map[string]uint64{}, formats: map[string]uint64{}}
	f.source = logs.Source{Product: spec.Product, Service: spec.Service, Category: spec.Category, Name: spec.Name, Now: in.deps.Now}
	if spec.Zone != "" {
		zone, err := time.LoadLocation(spec.Zone)
		if err != nil {
			return nil, fmt.Errorf("zone %q: %w", spec.Zone, err)
		}
		f.source.Zone = zone
	}
	if spec.Format != "" && spec.Format != Auto {
		format, err := in.Format(spec.Format)
		if err != nil {
			return nil, err
		}
		f.format = &format
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.feeds = append(in.feeds, f)
	return f, nil
}

// ErrFormat says that nobody knows what is in a stream.
var ErrFormat = errors.New("the format is not recognised: name it")

// detect returns the feed's format, or the one that recognises the sample.
func (f *Feed) detect(sample []byte) (logs.Format, error) {
	if f.format != nil {
		return *f.format, nil
	}
	if found, ok := logs.Detect(f.in.deps.Formats, sample); ok {
		return found, nil
	}
	return logs.Format{}, ErrFormat
}
