package assembly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/logs/follow"
	"github.com/testudo-sec/testudo/logs/intake"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// LogScan judges logs once: it needs no data directory, and starts no server.
type LogScan struct {
	Files      []string // as named: files, folders, patterns, "-" for Stdin
	Stdin      io.Reader
	Rules      []string // files and folders
	Builtin    bool     // judge by the rules that ship, too
	Strict     bool     // rules that do not load are an error
	Spec       intake.Spec
	Since      time.Time // passes over what happened before
	Follow     bool      // go on until ctx ends
	DeadLetter string    // file for records that do not parse; "" for none
	Policy     *Policy
	Logger     *slog.Logger

	Found    func(Detection)   // called in the order of the records
	Progress func(LogProgress) // called ten times a second; nil: nobody looks
}

// Detection is a rule that fired on a record.
type Detection struct {
	Event *signal.Event // valid during the call
	Hit   *signal.Hit
	Rule  *policy.Rule
	At    intake.Place
}

// LogProgress is how far a scan has come.
type LogProgress struct {
	Read, Total int64 // bytes of the files as they lie there; Total 0 where nobody knows
	Events      uint64
	Detections  uint64
	Elapsed     time.Duration
}

// RuleCount is how often a rule fired.
type RuleCount struct {
	Rule        string          `json:"rule"`
	Title       string          `json:"title"`
	Severity    signal.Severity `json:"severity"`
	Count       uint64          `json:"count"`
	First, Last time.Time       `json:"-"`
}

// NameCount is how often a name came.
type NameCount struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// LogSummary is what a scan read and found.
type LogSummary struct {
	Files      int
	Unread     []string // files that could not be read, with the reason
	Stopped    bool     // ctx ended before everything was read, and nothing is followed
	Unkept     error    // why records that do not parse were not kept in the file that is for them
	Bytes      int64    // read, as the files lie there
	Events     uint64
	Older      uint64 // passed over because of Since
	Formats    map[string]uint64
	Rejected   map[string]uint64 // by reason
	Examples   []string          // of records that did not parse: place and reason
	Detections uint64
	BySeverity map[signal.Severity]uint64
	Top        []RuleCount
	Hosts      []NameCount // of detections
	Users      []NameCount
	RuleSet    *policy.CheckReport
	RulesTotal int
	Faults     uint64        // events that a rule could not be worked out for
	Late       uint64        // matches that rules over time did not count, because they had seen much later ones of the same group
	Loading    time.Duration // of the rules
	Elapsed    time.Duration // in all
	Highest    signal.Severity
}

// The bounds of what is counted by name.
const (
	maxLogFiles    = 100_000
	maxCountNames  = 10_000
	maxLogExamples = 3
)

// Run judges the logs. It returns what was found also with an error that came up midway.
func (s *LogScan) Run(ctx context.Context) (*LogSummary, error) {
	started := time.Now()
	r := &logScan{LogScan: s, sum: LogSummary{BySeverity: map[signal.Severity]uint64{}, Rejected: map[string]uint64{}, Formats: map[string]uint64{}},
		rules: map[string]*RuleCount{}, hosts: map[string]uint64{}, users: map[string]uint64{}}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.sum.Loading = time.Since(started)
	files, err := r.expand()
	if err != nil {
		return nil, err
	}
	deps := intake.Deps{Formats: LogFormats(), Handle: r.judge, Logger: s.Logger, Rejected: r.rejected}
	if s.DeadLetter != "" {
		dead := &intake.DeadLetters{Path: s.DeadLetter, Max: 1 << 30, Once: true, Now: time.Now, Redact: redactor()}
		defer dead.Close()
		defer func() { r.sum.Unkept = dead.Stats().Fault }()
		deps.Dead = dead
	}
	in, err := intake.New(intake.DefaultConfig(), deps)
	if err != nil {
		return nil, err
	}
	feed, err := in.Feed(s.Spec, "logs")
	if err != nil {
		return nil, err
	}
	stop := r.report(started)
	if s.Follow {
		err = r.follow(ctx, feed, files)
	} else {
		err = r.readAll(ctx, in, feed, files)
	}
	stop()
	r.finish(feed, started)
	return &r.sum, err
}

type logScan struct {
	*LogScan
	engine *policy.Engine
	sum    LogSummary
	rules  map[string]*RuleCount
	hosts  map[string]uint64
	users  map[string]uint64

	mu                 sync.Mutex // files that are followed are read side by side
	read, total        atomic.Int64
	events, detections atomic.Uint64
}

// load loads the rules.
func (r *logScan) load(ctx context.Context) error {
	var sources []policy.Source
	if r.Builtin {
		sources = append(sources, BuiltinRules())
	}
	for _, path := range r.Rules {
		if _, err := os.Stat(path); err != nil {
			return err
		}
		sources = append(sources, policy.Disk(path))
	}
	set, report, err := Loader(r.Policy).LoadSome(ctx, sources...)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	if r.Strict && !report.OK() {
		return fmt.Errorf("rules: %w", report.Problems)
	}
	if set.Len() == 0 {
		return errors.New("no rule to judge by: name a folder of rules with --rules, or do not switch off those that ship")
	}
	r.engine = policy.NewEngine(set)
	r.sum.RuleSet, r.sum.RulesTotal = report, set.Len()
	return nil
}

// counting counts what is read of a file.
type counting struct {
	io.Reader
	n *atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// readAll reads the files one after the other.
func (r *logScan) readAll(ctx context.Context, in *intake.Intake, feed *intake.Feed, files []logFile) error {
	for _, f := range files {
		r.total.Add(f.size)
	}
	r.inTime(ctx, feed, files)
	p := in.NewPipeline(ctx, runtime.GOMAXPROCS(0))
	for _, f := range files {
		format, err := r.readOne(ctx, p, feed, f)
		if ctx.Err() != nil {
			break
		}
		if f.path == "-" {
			f.path = "stdin"
		}
		switch {
		case err == nil:
			r.sum.Files++
		case errors.Is(err, intake.ErrFormat):
			r.sum.Unread = append(r.sum.Unread, f.path+": the format is not recognised: if it is a log, name it with --format")
		case format != "":
			r.sum.Files++
			r.sum.Unread = append(r.sum.Unread, fmt.Sprintf("%s: breaks off, what comes before that was judged: %s", f.path, plainError(err)))
		default:
			r.sum.Unread = append(r.sum.Unread, fmt.Sprintf("%s: %s", f.path, plainError(err)))
		}
	}
	err := p.Close()
	if ctx.Err() == nil {
		return err
	}
	r.sum.Stopped = true
	return nil // what an interrupted scan has found is an answer
}

// inTime sorts files by the time of their first record, for rules that count over time count in its order: rotation
// names the newest first (auth.log, auth.log.1). Files that state no time, standard input and pipes come first.
func (r *logScan) inTime(ctx context.Context, feed *intake.Feed, files []logFile) {
	if len(files) < 2 {
		return
	}
	first := make(map[string]int64, len(files))
	for _, f := range files {
		if !f.regular {
			continue
		}
		if z, changed, err := r.open(ctx, f, new(atomic.Int64)); err == nil {
			first[f.path] = feed.First(z, changed)
			_ = z.Close()
		}
	}
	slices.SortStableFunc(files, func(a, b logFile) int { return cmp.Compare(first[a.path], first[b.path]) })
}

// open opens a file, or standard input, whose bytes are counted.
func (r *logScan) open(ctx context.Context, f logFile, read *atomic.Int64) (z io.ReadCloser, changed time.Time, err error) {
	if f.path == "-" {
		z, err = intake.Decompress(&counting{patient(ctx, r.Stdin), read})
		return z, changed, err
	}
	file, err := openFile(ctx, f)
	if err != nil {
		return nil, changed, err
	}
	var src io.Reader = file
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		changed = info.ModTime()
	} else {
		src = patient(ctx, file)
	}
	if z, err = intake.Decompress(&counting{src, read}); err != nil {
		_ = file.Close()
		return nil, changed, err
	}
	return unpacked{z, file}, changed, nil
}

// unpacked is a file and what unpacks it.
type unpacked struct {
	io.ReadCloser
	file io.Closer
}

func (u unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.file.Close()) }

func (r *logScan) readOne(ctx context.Context, p *intake.Pipeline, feed *intake.Feed, f logFile) (format string, err error) {
	z, changed, err := r.open(ctx, f, &r.read)
	if err != nil {
		return "", err
	}
	defer z.Close()
	path := f.path
	if path == "-" {
		path = "stdin"
	}
	return p.Read(feed, z, path, changed)
}

// follow reads the files to their ends, and on.
func (r *logScan) follow(ctx context.Context, feed *intake.Feed, files []logFile) error {
	var paths []string
	for _, f := range files {
		path, err := filepath.Abs(f.path)
		if err != nil {
			return err
		}
		// What was found by name is meant by name.
		paths = append(paths, strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path))
	}
	f, err := follow.New(follow.DefaultConfig(), []follow.Input{{Files: follow.Files{Paths: paths},
		Consumer: consumer(func(ctx context.Context, s *follow.Stream) error { return feed.Follow(ctx, &countedStream{s, &r.read}) })}},
		follow.Deps{Logger: r.Logger})
	if err != nil {
		return err
	}
	r.sum.Files = len(files)
	return f.Run(ctx)
}

type countedStream struct {
	*follow.Stream
	n *atomic.Int64
}

func (c *countedStream) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// consumer fits a function to follow.Consumer.
type consumer func(ctx context.Context, s *follow.Stream) error

func (c consumer) Consume(ctx context.Context, s *follow.Stream) error { return c(ctx, s) }

// judge takes an event.
func (r *logScan) judge(_ context.Context, e *signal.Event, at intake.Place) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Since.IsZero() && e.Time != 0 && e.Time < r.Since.UnixNano() {
		r.sum.Older++
		return nil
	}
	r.events.Add(1)
	v := r.engine.Judge(e)
	for i := range v.Hits {
		r.hit(e, &v.Hits[i], at)
	}
	return nil
}

func (r *logScan) hit(e *signal.Event, h *signal.Hit, at intake.Place) {
	r.detections.Add(1)
	r.sum.BySeverity[h.Severity]++
	r.sum.Highest = max(r.sum.Highest, h.Severity)
	c := r.rules[h.Rule]
	if c == nil {
		c = &RuleCount{Rule: h.Rule, Title: h.Title, Severity: h.Severity}
		r.rules[h.Rule] = c
	}
	c.Count++
	if e.Time != 0 {
		t := time.Unix(0, e.Time).UTC()
		if c.First.IsZero() || t.Before(c.First) {
			c.First = t
		}
		if t.After(c.Last) {
			c.Last = t
		}
	}
	host := cmp.Or(e.RecordedStr(signal.FieldDeviceHostname), e.RecordedStr(signal.FieldDeviceUID))
	if host == "" {
		if a := e.IP(signal.FieldSrcEndpointIP); a.IsValid() {
			host = a.String()
		}
	}
	countName(r.hosts, host)
	countName(r.users, cmp.Or(e.RecordedStr(signal.FieldActorUserName), e.RecordedStr(signal.FieldUserName)))
	if r.Found != nil {
		r.Found(Detection{Event: e, Hit: h, Rule: r.engine.Set().Rule(h.Rule), At: at})
	}
}

func countName(m map[string]uint64, name string) {
	if _, known := m[name]; name != "" && (known || len(m) < maxCountNames) {
		m[name]++
	}
}

func (r *logScan) rejected(at intake.Place, _ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sum.Examples) < maxLogExamples {
		r.sum.Examples = append(r.sum.Examples, fmt.Sprintf("%s: %v", at, err))
	}
}

// report calls Progress until it is stopped.
func (r *logScan) report(started time.Time) (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r.Progress(LogProgress{r.read.Load(), r.total.Load(), r.events.Load(), r.detections.Load(), time.Since(started)})
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (r *logScan) finish(feed *intake.Feed, started time.Time) {
	st := feed.Stats()
	r.sum.Formats, r.sum.Rejected = st.Formats, st.Rejected
	r.sum.Bytes, r.sum.Events, r.sum.Detections = r.read.Load(), r.events.Load(), r.detections.Load()
	for _, c := range r.rules {
		r.sum.Top = append(r.sum.Top, *c)
	}
	slices.SortFunc(r.sum.Top, func(a, b RuleCount) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Rule, b.Rule))
	})
	r.sum.Hosts, r.sum.Users = mostNamed(r.hosts), mostNamed(r.users)
	for _, info := range r.engine.Infos() {
		r.sum.Faults += info.Faults
		r.sum.Late += info.Windows.Late
	}
	r.sum.Elapsed = time.Since(started)
}

func mostNamed(m map[string]uint64) []NameCount {
	var all []NameCount
	for _, name := range slices.Sorted(maps.Keys(m)) {
		all = append(all, NameCount{name, m[name]})
	}
	slices.SortStableFunc(all, func(a, b NameCount) int { return cmp.Compare(b.Count, a.Count) })
	return all[:min(len(all), 5)]
}

// plainError is the error without the path, which stands before it already.
func plainError(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
