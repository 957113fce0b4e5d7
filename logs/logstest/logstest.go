// Package logstest is the conformance kit of log formats: every format runs it on samples of its own.
package logstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Now is the time that the kit gives to times without a year.
var Now = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// Source returns the source that the kit gives to parsers.
func Source() logs.Source { return logs.Source{Now: func() time.Time { return Now }} }

// Records returns the records of a stream.
func Records(t testing.TB, f logs.Format, stream []byte) [][]byte {
	t.Helper()
	r := logs.NewReader(bytes.NewReader(stream), f, logs.Options{})
	r.Finish()
	var all [][]byte
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bytes.Clone(record))
	}
}

// samples returns the sample files of a folder.
func samples(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range all {
		if st, err := os.Stat(f); err == nil && !st.IsDir() && !strings.HasSuffix(f, ".golden") {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no samples in %s", dir)
	}
	return files
}

// Golden reads every sample in the folder dir with the format, which must recognise it, and compares its events in OCSF
// form, and its errors, with the file's golden one. others are formats that must not take the sample for theirs.
func Golden(t *testing.T, dir string, f logs.Format, others ...logs.Format) {
	t.Helper()
	update := flag.Lookup("update")
	for _, file := range samples(t, dir) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			stream, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !f.Detect(stream[:min(len(stream), logs.SampleSize)]) {
				t.Errorf("%s does not recognise its sample", f.Name)
			}
			for _, other := range others {
				if other.Detect(stream) {
					t.Errorf("%s takes the sample for its own", other.Name)
				}
			}
			p := f.New(Source())
			var got bytes.Buffer
			var e signal.Event
			for _, record := range Records(t, f, stream) {
				e.Reset()
				if err := p.Parse(record, &e); err != nil {
					var bad *logs.ParseError
					if !errors.As(err, &bad) {
						t.Fatalf("%T is no ParseError", err)
					}
					got.WriteString("error (" + string(bad.Class) + "): " + err.Error() + "\n")
					continue
				}
				if err := json.Indent(&got, e.AppendJSON(nil), "", "  "); err != nil {
					t.Fatal(err)
				}
				got.WriteByte('\n')
			}
			golden := file + ".golden"
			if update != nil && update.Value.String() == "true" {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("events (rewrite by -update):\n%s", d)
			}
		})
	}
}

// Fuzz holds for any record what every parser promises: it ends, an error is a *logs.ParseError, what it read before
// does not matter, no string of the event is a part of the record, and the event's OCSF form can be read again.
func Fuzz(f *testing.F, dir string, format logs.Format) {
	f.Helper()
	for _, file := range samples(f, dir) {
		stream, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		records := Records(f, format, stream)
		for i, r := range records {
			f.Add(r, records[(i+1)%len(records)])
			f.Add(r[:len(r)/2], r)
		}
	}
	f.Fuzz(func(t *testing.T, record, before []byte) {
		var fresh, used signal.Event
		fresh.Reset()
		p := format.New(Source())
		err := p.Parse(bytes.Clone(record), &fresh)
		var bad *logs.ParseError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("%T is no ParseError", err)
		}
		other := format.New(Source())
		other.Parse(before, &used)
		used.Reset()
		again := bytes.Clone(record)
		err2 := other.Parse(again, &used)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("what was read before matters: %v, then %v", err, err2)
		}
		if err != nil {
			return
		}
		for i := range again {
			again[i] = 'X'
		}
		a, b := fresh.AppendJSON(nil), used.AppendJSON(nil)
		if d := cmp.Diff(string(a), string(b)); d != "" {
			t.Fatalf("the event depends on what was read before, or on the record's memory:\n%s", d)
		}
		if len(fresh.UnmappedAttrs()) > signal.MaxUnmapped {
			t.Fatal("too many attributes")
		}
		seen := map[string]bool{}
		for _, at := range fresh.UnmappedAttrs() {
			if seen[at.Name] {
				t.Fatalf("two attributes are called %q", at.Name)
			}
			seen[at.Name] = true
		}
		var back signal.Event
		if err := back.UnmarshalJSON(a); err != nil {
			t.Fatalf("the OCSF form cannot be read again: %v\n%s", err, a)
		}
	})
}

// Bench measures how fast the records of a sample are read and parsed.
func Bench(b *testing.B, format logs.Format, file string) {
	b.Helper()
	stream, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	records := Records(b, format, stream)
	good := records[:0]
	size := 0
	p := format.New(Source())
	var e signal.Event
	for _, r := range records {
		e.Reset()
		if p.Parse(r, &e) == nil {
			good = append(good, r)
			size += len(r)
		}
	}
	b.SetBytes(int64(size / len(good)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e.Reset()
		if err := p.Parse(good[i%len(good)], &e); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
