package intake

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// toy is a format for tests: a line is an event's message; some lines are special.
var toy = logs.Format{Name: "toy", Title: "toy", New: func(s logs.Source) logs.Parser { return &toyParser{source: s} },
	Detect: func(sample []byte) bool { return bytes.HasPrefix(sample, []byte("toy")) }}

type toyParser struct{ source logs.Source }

func (p *toyParser) Parse(record []byte, e *signal.Event) error {
	text := string(record)
	switch {
	case strings.HasPrefix(text, "bad"):
		return &logs.ParseError{Format: "toy", Class: logs.BadShape, Reason: "it is bad", Offset: -1}
	case strings.HasPrefix(text, "panic"):
		panic("no such luck")
	case text == "forged":
		// Everything that a record may not say.
		for _, f := range signal.Fields() {
			if f.IsHeader() {
				continue
			}
			switch f.Kind() {
			case signal.KindString:
				e.SetString(f, "forged")
			case signal.KindInt:
				e.SetInt(f, 7)
			case signal.KindBool:
				e.SetBool(f, true)
			case signal.KindStrings:
				e.SetStrings(f, []string{"forged"})
			}
		}
		e.ID, e.Parent = signal.NewID(time.Unix(1, 0)), signal.NewID(time.Unix(1, 0))
		e.Seq, e.Plane, e.Class = 99, signal.PlaneTestudo, signal.ClassDetectionFinding
		e.SetUnmapped(SourceAttr, "forged")
	case text == "future":
		e.Time = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	case text == "year" && p.source.Now != nil:
		e.Time = p.source.Now().UnixNano()
	case strings.HasPrefix(text, "slow"):
		time.Sleep(time.Millisecond)
	}
	e.SetString(signal.FieldMessage, text)
	return nil
}

// stream is a Stream that says what it is told to.
type stream struct {
	io.Reader
	lines, committed, commitLines int64
}

func (s *stream) Path() string          { return "app.log" }
func (s *stream) Lines() int64          { return s.lines }
func (s *stream) Commit(n, lines int64) { s.committed, s.commitLines = n, lines }

// kept keeps what an intake hands on.
type kept struct {
	mu     sync.Mutex
	events []string
	last   signal.Event
	fail   string // the message that is not taken
}

func (k *kept) take(_ context.Context, e *signal.Event, at Place) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := e.Str(signal.FieldMessage); k.fail != "" && m == k.fail {
		return errors.New("not taken")
	}
	k.events = append(k.events, at.String()+" "+e.Str(signal.FieldMessage))
	e.CopyTo(&k.last)
	return nil
}

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func newIntake(t *testing.T, k *kept, dead *DeadLetters, clock func() time.Time) *Intake {
	t.Helper()
	in, err := New(Config{MaxRecord: 1024, DeadLetters: 1 << 20}, Deps{Formats: []logs.Format{toy}, Handle: k.take, Now: clock, Dead: dead, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func live() time.Time { return now }

func feedOf(t *testing.T, in *Intake, s Spec) *Feed {
	t.Helper()
	f, err := in.Feed(s, "label")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFollow(t *testing.T) {
	var k kept
	dead := &DeadLetters{Path: filepath.Join(t.TempDir(), "dead"), Max: 1 << 20, Now: live, Redact: func(s string) string { return strings.ReplaceAll(s, "hunter2", "*") }}
	defer dead.Close()
	f := feedOf(t, newIntake(t, &k, dead, live), Spec{Name: "app"})
	text := "toy one\nbad password=hunter2\n\npanic\n" + strings.Repeat("x", 3000) + "\ntwo\nlast"
	s := &stream{Reader: strings.NewReader(text), lines: 10}
	if err := f.Follow(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"app.log:11 toy one", "app.log:16 two", "app.log:17 last"}, k.events); d != "" {
		t.Error(d)
	}
	if s.committed != int64(len(text)) || s.commitLines != 6 {
		t.Errorf("committed %d bytes, %d lines", s.committed, s.commitLines)
	}
	st := f.Stats()
	if d := cmp.Diff(map[string]uint64{"shape": 1, "panic": 1, "oversize": 1}, st.Rejected); d != "" || st.Events != 3 || st.Formats["toy"] != 3 || st.Source != "app" {
		t.Errorf("%s %+v", d, st)
	}
	letters, err := os.ReadFile(dead.Path)
	if err != nil {
		t.Fatal(err)
	}
	var l letter
	if err := json.Unmarshal(bytes.SplitN(letters, []byte("\n"), 2)[0], &l); err != nil || l.At != "app.log:12" || l.Reason != "shape" || l.Record != "bad password=*" || l.Source != "app" {
		t.Errorf("the letter is %+v, %v", l, err)
	}
	if e := &k.last; e.Plane != signal.PlaneLogs || e.Time != now.UnixNano() || e.Str(signal.FieldEdgeClientTrust) != "undeclared" {
		t.Errorf("the event is %v", e)
	}
}

// TestFollowNotTaken commits nothing from the record on that was not taken.
func TestFollowNotTaken(t *testing.T) {
	k := kept{fail: "two"}
	f := feedOf(t, newIntake(t, &k, nil, live), Spec{Format: "toy"})
	s := &stream{Reader: strings.NewReader("one\ntwo\nthree\n")}
	if err := f.Follow(t.Context(), s); err == nil || s.committed != 4 {
		t.Errorf("%v, committed %d", err, s.committed)
	}
}

func TestFormats(t *testing.T) {
	var k kept
	in := newIntake(t, &k, nil, live)
	if _, err := in.Feed(Spec{Format: "toi"}, "x"); err == nil || !strings.Contains(err.Error(), "did you mean toy?") {
		t.Errorf("unknown format: %v", err)
	}
	f := feedOf(t, in, Spec{Format: Auto})
	if err := f.Follow(t.Context(), &stream{Reader: strings.NewReader("what is this\n")}); !errors.Is(err, ErrFormat) {
		t.Errorf("unknown records: %v", err)
	}
	if err := f.Follow(t.Context(), &stream{Reader: strings.NewReader("")}); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := f.Messages(); err == nil {
		t.Error("a listener finds out its format")
	}
}

// TestForged has a record say everything that only testudo says.
func TestForged(t *testing.T) {
	var k kept
	f := feedOf(t, newIntake(t, &k, nil, live), Spec{Format: "toy", Act: true})
	s, err := f.Messages()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Take(t.Context(), []byte("forged"), Place{Path: "192.0.2.1:514"}); err != nil {
		t.Fatal(err)
	}
	e := &k.last
	e.Each(func(field signal.Field) bool {
		if Reserved(field) {
			t.Errorf("%s is set: %v", field, e)
		}
		return true
	})
	for _, field := range []signal.Field{signal.FieldMetadataReporterUID, signal.FieldVerdictRules, signal.FieldVerdictReason, signal.FieldPolicyUID, signal.FieldIsAlert,
		signal.FieldEdgeError, signal.FieldEdgeMode, signal.FieldWAFScore, signal.FieldFindingInfoUID, signal.FieldFirewallRuleUID, signal.FieldDispositionID, signal.FieldActionID} {
		if e.Has(field) {
			t.Errorf("%s is set", field)
		}
	}
	if e.Plane != signal.PlaneLogs || !e.ID.IsZero() || !e.Parent.IsZero() || e.Seq != 0 || e.Class != signal.ClassBaseEvent {
		t.Errorf("the head is %v %v %v %v %v", e.Plane, e.ID, e.Parent, e.Seq, e.Class)
	}
	if from, _ := e.Unmapped(SourceAttr); from != "192.0.2.1:514" {
		t.Errorf("it came from %q", from)
	}
	if st := f.Stats(); st.Forged != 1 {
		t.Errorf("stats are %+v", st)
	}
}

func TestTimes(t *testing.T) {
	var k kept
	f := feedOf(t, newIntake(t, &k, nil, live), Spec{Format: "toy"})
	s, _ := f.Messages()
	if err := s.Take(t.Context(), []byte("future"), Place{}); err != nil {
		t.Fatal(err)
	}
	if k.last.Time != now.UnixNano() || k.last.Str(signal.FieldMetadataOriginalTime) != "2200-01-01T00:00:00Z" || f.Stats().Future != 1 {
		t.Errorf("a time in the future: %v", &k.last)
	}
	// After the fact nobody knows better.
	f = feedOf(t, newIntake(t, &k, nil, nil), Spec{Format: "toy"})
	s, _ = f.Messages()
	for text, want := range map[string]int64{"future": time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), "none": 0} {
		if err := s.Take(t.Context(), []byte(text), Place{}); err != nil || k.last.Time != want {
			t.Errorf("%s: %v %v", text, k.last.Time, err)
		}
	}
}

// TestPipeline has many parsers: the order is that of the records, what does not parse included.
func TestPipeline(t *testing.T) {
	var k kept
	in := newIntake(t, &k, nil, nil)
	f := feedOf(t, in, Spec{})
	var want []string
	var text strings.Builder
	text.WriteString("toy\n")
	want = append(want, "a:1 toy")
	for i := range 5000 {
		line := fmt.Sprintf("line %d", i)
		switch {
		case i%500 == 3:
			line = fmt.Sprintf("slow %d", i)
		case i%700 == 4:
			text.WriteString("bad\n")
			want = append(want, "")
			continue
		}
		text.WriteString(line + "\n")
		want = append(want, fmt.Sprintf("a:%d %s", len(want)+1, line))
	}
	want = append(want, "b:1 toy", "c:1 toyear")
	var events []string
	for _, w := range want {
		if w != "" {
			events = append(events, w)
		}
	}
	p := in.NewPipeline(t.Context(), 4)
	for path, text := range map[string]string{"a": text.String()} {
		if format, err := p.Read(f, strings.NewReader(text), path, time.Time{}); err != nil || format != "toy" {
			t.Fatal(format, err)
		}
	}
	if _, err := p.Read(f, strings.NewReader("toy"), "b", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(f, strings.NewReader("nothing known"), "x", time.Time{}); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := p.Read(f, strings.NewReader("toyear"), "c", now); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(events, k.events); d != "" {
		t.Error(d)
	}
	if st := f.Stats(); st.Rejected["shape"] != 8 {
		t.Errorf("stats are %+v", st)
	}
}

func TestPipelineNotTaken(t *testing.T) {
	k := kept{fail: "toy stop"}
	in := newIntake(t, &k, nil, nil)
	f := feedOf(t, in, Spec{Format: "toy"})
	p := in.NewPipeline(t.Context(), 2)
	text := "toy\ntoy stop\n" + strings.Repeat("toy\n", 100_000)
	if _, err := p.Read(f, strings.NewReader(text), "a", time.Time{}); err == nil {
		t.Error("reading went on to the end")
	}
	if err := p.Close(); err == nil || err.Error() != "not taken" {
		t.Errorf("the error is %v", err)
	}
	if len(k.events) != 1 {
		t.Errorf("%d events were handed on", len(k.events))
	}
}

// TestPipelinePrompt hands on what was read before it waits for more.
func TestPipelinePrompt(t *testing.T) {
	var k kept
	in := newIntake(t, &k, nil, nil)
	f := feedOf(t, in, Spec{Format: "toy"})
	p := in.NewPipeline(t.Context(), 2)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := p.Read(f, r, "stdin", time.Time{})
		done <- err
	}()
	if _, err := io.WriteString(w, "toy typed\n"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		k.mu.Lock()
		n := len(k.events)
		k.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the line waits for others")
		}
	}
	_ = w.Close()
	if err := errors.Join(<-done, p.Close()); err != nil {
		t.Error(err)
	}
}

func TestDecompress(t *testing.T) {
	const text = "toy one\ntoy two\n"
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write([]byte(text))
	_ = g.Close()
	z, _ := zstd.NewWriter(&zs)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	wide := func(text string, order binary.AppendByteOrder) string {
		var b []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
			b = order.AppendUint16(b, u)
		}
		return string(b)
	}
	var gzWide bytes.Buffer
	g = gzip.NewWriter(&gzWide)
	_, _ = g.Write([]byte(wide(text, binary.LittleEndian)))
	_ = g.Close()
	const odd = "toy \U0001F422 ü\r\n" // a pair of surrogates
	long := strings.Repeat(odd, 10_000)
	bz, err := base64.StdEncoding.DecodeString("QlpoOTFBWSZTWWIFquMAAAVRgAAQQAACAYSgIAAhoZHqEMCIxazhCzIvF3JFOFCQYgWq4w==")
	if err != nil {
		t.Fatal(err)
	}
	for name, packed := range map[string]string{"plain": text, "gzip": gz.String(), "two gzips": gz.String() + gz.String(), "zstd": zs.String(), "short": "t", "none": "",
		"bzip2": string(bz), "UTF-16": wide(text, binary.LittleEndian), "UTF-16BE": wide(text, binary.BigEndian), "gzip of UTF-16": gzWide.String(),
		"pairs": wide(long, binary.LittleEndian), "half a pair": "\xff\xfea\x00\x3d\xd8", "half before a letter": "\xff\xfe\x3d\xd8a\x00", "odd": "\xff\xfea\x00b"} {
		r, err := Decompress(strings.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		_ = r.Close()
		want := map[string]string{"two gzips": text + text, "short": "t", "none": "", "pairs": long, "half a pair": "a\ufffd",
			"half before a letter": "\ufffda", "odd": "a\ufffd"}
		w, special := want[name]
		if !special {
			w = text
		}
		if err != nil || string(got) != w {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// A stream's first time is that of the first record that has one; asking counts nothing.
func TestFirst(t *testing.T) {
	var k kept
	in := newIntake(t, &k, nil, nil)
	f := feedOf(t, in, Spec{Format: "toy"})
	changed := time.Date(2020, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]int64{"bad\npanic\ntoy\nyear\nfuture\n": changed.UnixNano(), "toy\n": 0, "": 0} {
		if got := f.First(strings.NewReader(text), changed); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if st := f.Stats(); len(st.Rejected) != 0 || len(k.events) != 0 {
		t.Errorf("stats are %+v", st)
	}
}

// Of files that hold logs and cannot be read, the error says what to do.
func TestForeign(t *testing.T) {
	for begins, want := range map[string]string{"\xfd7zXZ\x00\x00": "xz -dk", "ElfFile\x00....": "evtx_dump", "LPKSHHRH....": "journalctl"} {
		if _, err := Decompress(strings.NewReader(begins)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", begins, err)
		}
	}
	if r, err := Decompress(strings.NewReader("ElfF")); err != nil {
		t.Error(err)
	} else if got, err := io.ReadAll(r); err != nil || string(got) != "ElfF" {
		t.Errorf("%q %v", got, err)
	}
}

// TestBomb reads what is a thousand times larger once it is unpacked, in bounded memory.
func TestBomb(t *testing.T) {
	var packed bytes.Buffer
	g := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range 64 {
		_, _ = g.Write(zeros)
	}
	_ = g.Close()
	var k kept
	in := newIntake(t, &k, nil, nil)
	f := feedOf(t, in, Spec{Format: "toy"})
	p := in.NewPipeline(t.Context(), 1)
	r, err := Decompress(&packed)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := p.Read(f, r, "bomb", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("64 MiB of zeros made %d MiB of garbage", grown>>20)
	}
	if st := f.Stats(); st.Rejected[Oversize] != 1 || st.Events != 0 {
		t.Errorf("stats are %+v", st)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead")
	clock := now
	d := &DeadLetters{Path: path, Max: 16 << 10, Sample: 3, Now: func() time.Time { return clock }}
	add := func(n int) {
		for range n {
			d.Add("s", "toy", Place{Path: "f", Line: 1}, "shape", "bad", bytes.Repeat([]byte("x"), 10_000))
		}
	}
	add(10) // of one minute, three
	if st := d.Stats(); st.Kept != 3 || st.Dropped != 7 {
		t.Errorf("stats are %+v", st)
	}
	for range 10 {
		clock = clock.Add(time.Minute)
		add(3)
	}
	_ = d.Close()
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil || info.Size() > 16<<10 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	all, _ := filepath.Glob(path + "*")
	if len(all) != 2 {
		t.Errorf("files are %v", all)
	}
	// It goes on where it was.
	again := &DeadLetters{Path: path, Max: 32 << 10, Once: true, Now: live}
	for range 10 {
		again.Add("s", "toy", Place{}, "shape", "bad", bytes.Repeat([]byte("x"), 4000))
	}
	if st := again.Stats(); st.Kept == 0 || st.Dropped == 0 || st.Fault == nil {
		t.Errorf("stats are %+v", st)
	}
	_ = again.Close()
	if info, _ := os.Stat(path); info.Size() > 32<<10 {
		t.Errorf("%d bytes", info.Size())
	}
}

// BenchmarkPipeline is what a record costs beside its parser and its judge.
func BenchmarkPipeline(b *testing.B) {
	text := []byte(strings.Repeat("toy a line of some length, as they are in logs of web servers and the like\n", 10_000))
	in, err := New(DefaultConfig(), Deps{Formats: []logs.Format{toy}, Handle: func(context.Context, *signal.Event, Place) error { return nil }})
	if err != nil {
		b.Fatal(err)
	}
	f, _ := in.Feed(Spec{Format: "toy"}, "x")
	p := in.NewPipeline(b.Context(), 2)
	b.SetBytes(int64(len(text)) / 10_000)
	b.ReportAllocs()
	for n := 0; n < b.N; n += 10_000 {
		if _, err := p.Read(f, bytes.NewReader(text), "x", time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}
