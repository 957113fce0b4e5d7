package lake

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

func open(t testing.TB, dir string, cfg Config) *Lake {
	t.Helper()
	l, err := Open(dir, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// canonical is an event's content independent of the order in which fields were set.
func canonical(e *signal.Event) map[string]any {
	m := map[string]any{
		"id": e.ID, "time": e.Time, "class": e.Class, "activity": e.Activity, "severity": e.Severity,
		"plane": e.Plane, "parent": e.Parent, "seq": e.Seq,
	}
	e.Each(func(f signal.Field) bool {
		var v any
		switch f.Kind() {
		case signal.KindString:
			v = e.RecordedStr(f)
			if e.IsMasked(f) {
				m[f.Name()+" masked"] = true
			}
		case signal.KindFloat:
			v = math.Float64bits(e.Float(f))
		case signal.KindIP:
			v = e.IP(f).String()
		case signal.KindStrings:
			if len(e.Strings(f)) == 0 {
				return true
			}
			v = slices.Clone(e.Strings(f))
		default:
			v = e.Int(f)
		}
		m[f.Name()] = v
		return true
	})
	for _, a := range e.UnmappedAttrs() {
		m["unmapped "+a.Name] = a.Value
	}
	return m
}

// randomEvent draws an event of the class in the hour with fields of every kind.
func randomEvent(t *rapid.T, p store.Partition) *signal.Event {
	e := new(signal.Event)
	e.Class = p.Class
	e.Time = p.Start().UnixNano() + rapid.Int64Range(0, int64(time.Hour)-1).Draw(t, "time")
	e.ID = signal.NewID(time.Unix(0, e.Time))
	e.Activity = rapid.Uint8().Draw(t, "activity")
	e.Severity = signal.Severity(rapid.Uint8Range(0, 6).Draw(t, "severity"))
	e.Plane = signal.Plane(rapid.Uint8Range(0, 8).Draw(t, "plane"))
	e.Seq = rapid.Uint64Range(0, math.MaxInt64).Draw(t, "seq")
	if rapid.Bool().Draw(t, "parent") {
		e.Parent = signal.NewID(time.Unix(1, 0))
	}
	text := rapid.OneOf(rapid.StringN(0, 20, 60), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 12), func(b []byte) string { return string(b) }))
	fields := signal.Fields()
	for range rapid.IntRange(0, 30).Draw(t, "fields") {
		f := fields[rapid.IntRange(0, len(fields)-1).Draw(t, "field")]
		if f.IsHeader() {
			continue
		}
		switch f.Kind() {
		case signal.KindString:
			if rapid.Bool().Draw(t, "masked") {
				e.SetMasked(f, "raw secret", text.Draw(t, "recorded"))
			} else {
				e.SetString(f, text.Draw(t, "string"))
			}
		case signal.KindInt:
			e.SetInt(f, rapid.Int64().Draw(t, "int"))
		case signal.KindBool:
			e.SetBool(f, rapid.Bool().Draw(t, "bool"))
		case signal.KindFloat:
			e.SetFloat(f, rapid.Float64().Draw(t, "float"))
		case signal.KindTime:
			e.SetTime(f, time.Unix(0, rapid.Int64Range(-1<<60, 1<<62).Draw(t, "when")))
		case signal.KindIP:
			b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip")
			a := netip.AddrFrom16([16]byte(b))
			if rapid.Bool().Draw(t, "v4") {
				a = netip.AddrFrom4([4]byte(b))
			}
			e.SetIP(f, a)
		case signal.KindStrings:
			e.SetStrings(f, rapid.SliceOfN(text, 0, 5).Draw(t, "strings"))
		}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "attrs") {
		e.SetUnmapped(fmt.Sprint(i, text.Draw(t, "name")), text.Draw(t, "value"))
	}
	return e
}

func write(t testing.TB, l *Lake, p store.Partition, first, last uint64, events ...*signal.Event) {
	t.Helper()
	part, err := l.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Discard()
	for _, e := range events {
		if err := part.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := part.Commit(first, last); err != nil {
		t.Fatal(err)
	}
}

func scanAll(t testing.TB, l *Lake, q store.Query) ([]*signal.Event, store.ScanStats) {
	t.Helper()
	var out []*signal.Event
	var stats store.ScanStats
	view := l.View()
	defer view.Release()
	err := view.Scan(context.Background(), &q, &stats, func(e *signal.Event) bool {
		kept := new(signal.Event)
		signal.ReadFrames(e.AppendFrame(nil)).Next(kept)
		out = append(out, kept)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, stats
}

func hourOf(class signal.Class) store.Partition {
	return store.Partition{Class: class, Hour: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Unix() / 3600}
}

func TestRoundTrip(t *testing.T) {
	p := hourOf(signal.ClassProcessActivity)
	l := open(t, t.TempDir(), DefaultConfig())
	seq := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		if seq++; seq%uint64(require.Stride(4)) != 0 {
			return
		}
		var want []*signal.Event
		for range rapid.IntRange(1, 8).Draw(rt, "events") {
			want = append(want, randomEvent(rt, p))
		}
		write(t, l, p, seq, seq, want...)
		r, err := openReader(l.layout, filepath.Join(l.dir, p.String(), fileName(seq, seq)), p)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.close()
		rows := r.rows(r.pq.RowGroups()[0], &columns{all: true})
		defer rows.close()
		var got signal.Event
		for i := range want {
			if err := rows.next(&got); err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(canonical(want[i].Recorded()), canonical(&got)); diff != "" {
				rt.Fatalf("event %d (-want +got):\n%s", i, diff)
			}
			if bytes.Contains(got.AppendFrame(nil), []byte("raw secret")) {
				rt.Fatal("a raw form reached the lake")
			}
		}
	})
}

func requests(from, n int) []*signal.Event {
	events := make([]*signal.Event, n)
	start := hourOf(signal.ClassHTTPActivity).Start()
	for i := range events {
		events[i] = new(signal.Event)
		httpEvent(events[i], from+i)
		events[i].Time = start.Add(time.Duration(from+i) * 10 * time.Millisecond).UnixNano()
		events[i].ID = signal.NewID(time.Unix(0, events[i].Time))
	}
	return events
}

func sequences(events []*signal.Event) []uint64 {
	var out []uint64
	for _, e := range events {
		out = append(out, e.Seq)
	}
	return out
}

// TestWiden adds attributes that the file began without, after rows have left the stage.
func TestWiden(t *testing.T) {
	l := open(t, t.TempDir(), DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	events := requests(0, 3*stageRows)
	events[2*stageRows].SetString(signal.FieldOrchestratorPodName, "shop-1")
	events[3*stageRows-1].SetUnmapped("vendor", "x")
	write(t, l, p, 1, 9, events...)
	got, _ := scanAll(t, l, store.Query{})
	if len(got) != len(events) {
		t.Fatalf("%d events, want %d", len(got), len(events))
	}
	for i := range got {
		if diff := cmp.Diff(canonical(events[i].Recorded()), canonical(got[i])); diff != "" {
			t.Fatalf("event %d (-want +got):\n%s", i, diff)
		}
	}
	assertClean(t, l)
}

// assertClean checks that no unfinished file is left.
func assertClean(t testing.TB, l *Lake) {
	t.Helper()
	err := filepath.WalkDir(l.dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), tempPrefix) {
			t.Errorf("%s is left over", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestScanPrunes(t *testing.T) {
	l := open(t, t.TempDir(), DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	events := requests(0, rowGroupRows+2000)
	write(t, l, p, 1, 5, events...)
	late := events[rowGroupRows+100]

	t.Run("columns", func(t *testing.T) {
		n := 0
		q := store.Query{Columns: []signal.Field{signal.FieldHTTPRequestURLPath}}
		view := l.View()
		defer view.Release()
		var stats store.ScanStats
		err := view.Scan(t.Context(), &q, &stats, func(e *signal.Event) bool {
			if e.Str(signal.FieldHTTPRequestURLPath) != events[n].Str(signal.FieldHTTPRequestURLPath) || e.Time != events[n].Time {
				t.Fatalf("event %d: %s at %d", n, e.Str(signal.FieldHTTPRequestURLPath), e.Time)
			}
			if e.Has(signal.FieldHTTPRequestUserAgent) {
				t.Fatal("a column was read that was not asked for")
			}
			n++
			return true
		})
		if err != nil || n != len(events) {
			t.Errorf("%d events, error %v", n, err)
		}
	})
	t.Run("where", func(t *testing.T) {
		got, stats := scanAll(t, l, store.Query{
			Where:        func(e *signal.Event) bool { return e.Int(signal.FieldSrcEndpointPort) == 30123 },
			WhereColumns: []signal.Field{signal.FieldSrcEndpointPort},
		})
		var want []uint64
		for _, e := range events {
			if e.Int(signal.FieldSrcEndpointPort) == 30123 {
				want = append(want, e.Seq)
			}
		}
		if diff := cmp.Diff(want, sequences(got)); diff != "" || len(want) < 2 {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if stats.Events != int64(len(events)) || stats.Matched != int64(len(want)) {
			t.Errorf("stats %+v", stats)
		}
		if diff := cmp.Diff(canonical(events[want[1]-1].Recorded()), canonical(got[1])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("time", func(t *testing.T) {
		got, stats := scanAll(t, l, store.Query{Since: time.Unix(0, late.Time), Until: time.Unix(0, late.Time+20_000_000)})
		if diff := cmp.Diff([]uint64{late.Seq, late.Seq + 1}, sequences(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if stats.Skipped != 1 || stats.Events != 2000 {
			t.Errorf("stats %+v: want the first row group ruled out by its statistics", stats)
		}
	})
	t.Run("id", func(t *testing.T) {
		got, stats := scanAll(t, l, store.Query{ID: late.ID})
		if diff := cmp.Diff([]uint64{late.Seq}, sequences(got)); diff != "" || stats.Skipped != 1 {
			t.Errorf("%s, stats %+v", diff, stats)
		}
	})
	t.Run("newest", func(t *testing.T) {
		got, _ := scanAll(t, l, store.Query{Newest: true, Limit: 3, Until: time.Unix(0, late.Time)})
		if !slices.Contains(sequences(got), late.Seq-1) || !slices.Contains(sequences(got), late.Seq-3) {
			t.Errorf("got %v, want the three before %d", sequences(got), late.Seq)
		}
	})
	t.Run("class", func(t *testing.T) {
		got, stats := scanAll(t, l, store.Query{Classes: []signal.Class{signal.ClassDNSActivity}})
		if len(got) != 0 || stats.Files != 0 {
			t.Errorf("%d events, stats %+v", len(got), stats)
		}
	})
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	var all []*signal.Event
	for i := range 5 {
		events := requests(i*100, 100)
		if i == 3 {
			events[7].SetString(signal.FieldOrchestratorNamespace, "shop")
		}
		all = append(all, events...)
		write(t, l, p, uint64(i*10+1), uint64(i*10+10), events...)
	}
	before := l.View() // a scan that began before
	if err := l.Maintain(t.Context(), p.End().Add(5*time.Minute), 100); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Files != 5 {
		t.Fatalf("%d files: an hour that just ended must wait for late events", s.Files)
	}
	if err := l.Maintain(t.Context(), p.End().Add(time.Hour), 30); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Files != 5 {
		t.Fatalf("%d files: files that the bus may hand in again must stay", s.Files)
	}
	if err := l.Maintain(t.Context(), p.End().Add(time.Hour), 100); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Files != 1 || s.Compacted != 5 || l.Held(p) != 50 {
		t.Fatalf("stats %+v, held %d", s, l.Held(p))
	}
	var q store.Query
	var stats store.ScanStats
	n := 0
	if err := before.Scan(t.Context(), &q, &stats, func(*signal.Event) bool { n++; return true }); err != nil || n != 500 || len(stats.Damaged) > 0 {
		t.Fatalf("the view from before reads %d events, error %v, stats %+v", n, err, stats)
	}
	before.Release()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil || len(files) != 1 || filepath.Base(files[0]) != fileName(1, 50) {
		t.Fatalf("files %v, error %v", files, err)
	}
	got, _ := scanAll(t, open(t, dir, DefaultConfig()), store.Query{})
	for i := range all {
		if diff := cmp.Diff(canonical(all[i].Recorded()), canonical(got[i])); diff != "" {
			t.Fatalf("event %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestOpenAfterCrash meets what a crash can leave: an unfinished file, and files that a compaction
// has joined but not removed.
func TestOpenAfterCrash(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	write(t, l, p, 1, 4, requests(0, 10)...)
	write(t, l, p, 5, 9, requests(10, 10)...)
	folder := filepath.Join(dir, p.String())
	inputs := map[string][]byte{}
	for _, name := range []string{fileName(1, 4), fileName(5, 9)} {
		raw, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		inputs[name] = raw
	}
	if err := l.Maintain(t.Context(), p.End().Add(time.Hour), 100); err != nil {
		t.Fatal(err)
	}
	for name, raw := range inputs {
		if err := os.WriteFile(filepath.Join(folder, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{tempPrefix + "123", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l = open(t, dir, DefaultConfig())
	got, _ := scanAll(t, l, store.Query{})
	if len(got) != 20 {
		t.Errorf("%d events, want 20", len(got))
	}
	assertClean(t, l)
	entries, _ := os.ReadDir(folder)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{fileName(1, 9), "notes.txt"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDamagedFile(t *testing.T) {
	p := hourOf(signal.ClassHTTPActivity)
	for name, damage := range map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"cut":       func(b []byte) []byte { return b[:len(b)/2] },
		"no footer": func(b []byte) []byte { return append(b[:len(b)-8], "garbage!"...) },
		"data": func(b []byte) []byte {
			for i := 200; i < 5000; i++ {
				b[i] ^= 0x55
			}
			return b
		},
		"foreign": func([]byte) []byte { return []byte("PAR1 not parquet at all PAR1") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, DefaultConfig())
			write(t, l, p, 1, 4, requests(0, 1000)...)
			write(t, l, p, 5, 9, requests(1000, 10)...)
			path := filepath.Join(dir, p.String(), fileName(1, 4))
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(raw)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir, DefaultConfig())
			got, stats := scanAll(t, l, store.Query{})
			if len(got) < 10 || !slices.Contains(sequences(got), 1010) {
				t.Errorf("%d events: the other file must be read", len(got))
			}
			if len(stats.Damaged) != 1 || !strings.Contains(stats.Damaged[0], fileName(1, 4)) {
				t.Errorf("damaged %v", stats.Damaged)
			}
			if err := l.Health(); err == nil || !strings.Contains(err.Error(), fileName(1, 4)) {
				t.Errorf("health %v: want the file's name", err)
			}
			if err := l.Maintain(t.Context(), p.End().Add(time.Hour), 100); err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("the damaged file was changed: %v", err)
			}
		})
	}
}

func TestRetention(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxAge = 48 * time.Hour
	dir := t.TempDir()
	l := open(t, dir, cfg)
	newest := hourOf(signal.ClassHTTPActivity)
	for i, hours := range []int64{100, 47, 2, 0} {
		p := store.Partition{Class: newest.Class, Hour: newest.Hour - hours}
		e := requests(i, 1)[0]
		e.Time = p.Start().UnixNano()
		write(t, l, p, uint64(i*10+1), uint64(i*10+10), e)
	}
	now := newest.Start().Add(30 * time.Minute)
	if err := l.Maintain(t.Context(), now, 5); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Files != 4 {
		t.Errorf("%d files: what the bus has not forgotten must stay", s.Files)
	}
	if err := l.RecordGaps(3, []store.Gap{{Count: 1, FirstTime: now.Add(-72 * time.Hour).UnixNano(), LastTime: now.Add(-71 * time.Hour).UnixNano()}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Maintain(t.Context(), now, 100); err != nil {
		t.Fatal(err)
	}
	got, stats := scanAll(t, l, store.Query{})
	if diff := cmp.Diff([]uint64{2, 3, 4}, sequences(got)); diff != "" || len(stats.Gaps) != 0 {
		t.Errorf("by age (-want +got):\n%s gaps %v", diff, stats.Gaps)
	}
	l.cfg.MaxSize = 16 * bytesize.KiB // two of the files
	if err := l.Maintain(t.Context(), now, 100); err != nil {
		t.Fatal(err)
	}
	got, _ = scanAll(t, open(t, dir, cfg), store.Query{})
	if len(got) == 0 || len(got) == 3 || got[len(got)-1].Seq != 4 {
		t.Errorf("by size: %v: want the oldest gone and the hour being written kept", sequences(got))
	}
	if s := l.Stats(); s.Expired == 0 || s.ExpiredBytes == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestGaps(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	gap := store.Gap{Plane: signal.PlaneEdge, Count: 7, FirstSeq: 3, LastSeq: 9, FirstTime: 1000, LastTime: 2000}
	if err := l.RecordGaps(42, []store.Gap{gap}); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, DefaultConfig())
	if l.GapsHeld() != 42 || l.LastSequence() != 42 {
		t.Errorf("held %d, last %d", l.GapsHeld(), l.LastSequence())
	}
	_, in := scanAll(t, l, store.Query{Until: time.Unix(0, 1500)})
	_, out := scanAll(t, l, store.Query{Since: time.Unix(0, 2001)})
	if diff := cmp.Diff([]store.Gap{gap}, in.Gaps); diff != "" || len(out.Gaps) != 0 {
		t.Errorf("(-want +got):\n%s out of range: %v", diff, out.Gaps)
	}
}

func TestConfig(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"max_age":       func(c *Config) { c.MaxAge = time.Minute },
		"max_size":      func(c *Config) { c.MaxSize = 1 },
		"compact_size":  func(c *Config) { c.CompactSize = -1 },
		"compact_after": func(c *Config) { c.CompactAfter = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// BenchmarkScan reads two columns with a condition that hardly any event fulfils.
func BenchmarkScan(b *testing.B) {
	l := open(b, b.TempDir(), DefaultConfig())
	events := requests(0, 200_000)
	write(b, l, hourOf(signal.ClassHTTPActivity), 1, 2, events...)
	fields := []signal.Field{signal.FieldHTTPRequestURLPath, signal.FieldSrcEndpointPort}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		scanAll(b, l, store.Query{WhereColumns: fields, Where: func(e *signal.Event) bool {
			n++
			return e.Int(signal.FieldSrcEndpointPort) == 30007 && e.Str(signal.FieldHTTPRequestURLPath) == "/nowhere"
		}})
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkScanAll reads every column of every event.
func BenchmarkScanAll(b *testing.B) {
	l := open(b, b.TempDir(), DefaultConfig())
	write(b, l, hourOf(signal.ClassHTTPActivity), 1, 2, requests(0, 100_000)...)
	n := 0
	for b.Loop() {
		view := l.View()
		var q store.Query
		var stats store.ScanStats
		if err := view.Scan(b.Context(), &q, &stats, func(*signal.Event) bool { n++; return true }); err != nil {
			b.Fatal(err)
		}
		view.Release()
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
