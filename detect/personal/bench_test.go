package personal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// harmless are bodies without anything to find, as services send them.
func harmless() map[string]string {
	var orders, page, log strings.Builder
	for i := range 400 {
		fmt.Fprintf(&orders, `{"id":%d,"uuid":"550e8400-e29b-41d4-a716-%012x","name":"Lamp number %d","price":%d.99,"created_at":"2024-05-%02dT10:%02d:00.123Z","ts":17000000%05d,"tags":["home","light"],"active":true,"lat":52.5%d,"desc":"A lamp made of brass, for tables and desks."},`+"\n",
			i*7919, i*104729, i, i%100, i%28+1, i%60, i, i)
		fmt.Fprintf(&page, `<div class="item" id="p%d"><a href="/catalogue/item?id=%d&amp;page=2"><img src="/static/img/%x.webp" alt="Lamp" width="320" height="200"></a><p class="text">A lamp made of brass, for tables and desks.</p></div>`+"\n", i, i, i*104729)
		fmt.Fprintf(&log, "2024-05-%02d 10:%02d:00.123 INFO [main] server.go:42 GET /catalogue?q=lamp&page=%d 200 %dus request_id=%x\n", i%28+1, i%60, i, i*13, i*104729)
	}
	return map[string]string{"json": "[" + orders.String() + "{}]", "html": page.String(), "log": log.String(),
		"prose": strings.Repeat("The quick brown fox jumps over the lazy dog, and nobody in the year 1998 minded that at all. ", 1000)}
}

func BenchmarkFind(b *testing.B) {
	d := detector(b)
	for _, name := range []string{"json", "html", "log", "prose"} {
		text := []byte(harmless()[name])
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				d.Find(text, func(Match) bool { return true })
			}
		})
	}
}

// BenchmarkStream passes a JSON body through in pieces of 4 KiB.
func BenchmarkStream(b *testing.B) {
	d := detector(b)
	text := []byte(harmless()["json"])
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	st := d.Stream(nil)
	for b.Loop() {
		for at := 0; at < len(text); at += 4096 {
			st.Write(text[at:min(len(text), at+4096)])
		}
	}
}

// hostile are texts made to cost time.
func hostile() map[string]string {
	repeat := func(s string) string { return strings.Repeat(s, 256<<10/len(s)) }
	return map[string]string{
		"cards":     repeat("4111 1111 1111 1112 "),
		"digits":    repeat("4111111111111112,"),
		"ssn":       repeat("536-22-1234 "),
		"escapes":   repeat(`\u0034`),
		"frames":    repeat("  at a.b.c.d.e.f "),
		"php":       repeat("Warning</b>: "),
		"tokens":    repeat("eyJhbGciOiJIUzI1NiJ9.e "),
		"pem":       repeat("-----BEGIN PRIVATE KEY-----"),
		"at":        repeat("a@"),
		"dots":      repeat("a.b-c.d@e.f-"),
		"ruby":      repeat("a/b.rb:1"),
		"openai":    repeat("sk-proj-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-"),
		"onepass":   repeat("ops_eyJ-"),
		"uppercase": repeat("AB 12 34 56 Z "),
	}
}

func BenchmarkHostile(b *testing.B) {
	d := detector(b)
	for name, s := range hostile() {
		text := []byte(s)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				d.Find(text, func(Match) bool { return true })
			}
		})
	}
}

func TestNothingFoundAllocatesNothing(t *testing.T) {
	d := detector(t)
	for name, s := range harmless() {
		text := []byte(s)
		if got := collect(d, s); len(got) != 0 {
			t.Fatalf("%s: %v", name, describe(got, s))
		}
		// The pool may lose its scanner to the collector now and then.
		if n := testing.AllocsPerRun(20, func() { d.Find(text, func(Match) bool { return true }) }); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestHarmlessFiles reports what is found in files that hold nothing, below the folders in TESTUDO_HARMLESS (separated as in PATH). It is how the
// rates in docs/data-leaks.md were measured.
func TestHarmlessFiles(t *testing.T) {
	folders := os.Getenv("TESTUDO_HARMLESS")
	require.Part(t, "harmless-files", folders != "", "name folders of harmless files in TESTUDO_HARMLESS")
	d := detector(t)
	total, kinds, shown := 0, map[string]int{}, map[string]int{}
	for _, folder := range filepath.SplitList(folders) {
		filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil || len(text) > 8<<20 || strings.IndexByte(string(text[:min(len(text), 4096)]), 0) >= 0 {
				return nil
			}
			total += len(text)
			d.Find(text, func(m Match) bool {
				name := m.Kind.ID
				if m.Rule != "" {
					name += " " + m.Rule
				}
				kinds[name]++
				if shown[name]++; shown[name] <= 12 {
					from := max(0, m.Start-30)
					t.Logf("%s %s: %s %q", name, m.Confidence, path, text[from:min(len(text), m.End+10, m.Start+80)])
				}
				return true
			})
			return nil
		})
	}
	t.Logf("%d MB", total>>20)
	for k, n := range kinds {
		t.Logf("%-40s %6d  %.3f per MB", k, n, float64(n)/(float64(total)/(1<<20)))
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		detector(b)
	}
}
