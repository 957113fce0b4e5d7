package lake

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// FuzzFile reads whatever bytes stand in a lake file: it may be marked as damaged, and nothing worse.
func FuzzFile(f *testing.F) {
	p := hourOf(signal.ClassHTTPActivity)
	l := open(f, f.TempDir(), DefaultConfig())
	events := requests(0, 3)
	events[1].SetUnmapped("vendor", "x")
	events[2].SetMasked(signal.FieldHTTPRequestURLQueryString, "q=secret", "q=***")
	write(f, l, p, 1, 1, events...)
	good, err := os.ReadFile(filepath.Join(l.dir, p.String(), fileName(1, 1)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(good[len(good)/2:])
	f.Add([]byte("PAR1PAR1"))
	for i := 50; i < len(good); i += len(good) / 20 {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		folder := filepath.Join(dir, p.String())
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fileName(1, 1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, q := range fuzzedQueries() {
			l, err := Open(dir, DefaultConfig(), slog.New(slog.DiscardHandler)) // one that has not met the file yet
			if err != nil {
				t.Fatal(err)
			}
			view := l.View()
			var stats store.ScanStats
			events := 0
			err = view.Scan(context.Background(), &q, &stats, func(e *signal.Event) bool {
				events++
				return events < 1000
			})
			view.Release()
			if err != nil {
				t.Fatal(err)
			}
			if len(stats.Damaged) == 0 && events == 0 && stats.Files == 0 {
				t.Error("the file was neither read nor marked as damaged")
			}
		}
	})
}

// fuzzedQueries read a file in every way.
func fuzzedQueries() []store.Query {
	test := func(f signal.Field) *store.Filter {
		return &store.Filter{Op: store.FilterTest, Field: f, Test: func(e *signal.Event) store.Truth {
			return store.Truth(len(e.Str(f))+len(e.Strings(f))+int(e.Int(f)&3)) % 3
		}}
	}
	two := test(signal.FieldHTTPResponseCode)
	two.Other = signal.FieldHTTPRequestURLPath
	attr := test(0)
	attr.Attr = func(name string) bool { return len(name) > 2 }
	filter := &store.Filter{Op: store.FilterOr, Parts: []*store.Filter{
		test(signal.FieldHTTPRequestURLPath), test(signal.FieldHTTPResponseCode), test(signal.FieldHTTPRequestHeaderNames), test(signal.FieldHTTPRequestUID),
		test(signal.FieldMetadataLogProvider), two, attr, {Op: store.FilterNot, Parts: []*store.Filter{test(signal.FieldSrcEndpointIP)}},
	}}
	where := func(*signal.Event) bool { return true }
	return []store.Query{
		{},
		{Sequenced: true},
		{Filter: filter, Where: where, Masks: []signal.Field{signal.FieldHTTPRequestURLQueryString}},
		{Filter: filter, Where: where, Newest: true, Limit: 2},
		{Filter: filter, Where: where, Sequenced: true, Masks: []signal.Field{signal.FieldHTTPRequestURLQueryString}},
	}
}
