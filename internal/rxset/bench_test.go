package rxset_test

import (
	"encoding/base64"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/internal/rxset"
)

func benchTexts() []struct{ name, text string } {
	r := rand.New(rand.NewPCG(7, 7))
	noise := make([]byte, 1024)
	for i := range noise {
		noise[i] = byte(r.IntN(256))
	}
	return []struct{ name, text string }{
		{"token", "a8Fk29xQ7Lp3"},
		{"URL", values[8]},
		{"agent", values[9]},
		{"sentence", values[10]},
		{"JSON 1 KB", json(1 << 10)},
		{"JSON 10 KB", json(10 << 10)},
		{"base64", base64.StdEncoding.EncodeToString(noise[:300])},
		{"SQL attack", attacks[1]},
		{"XSS attack", attacks[6]},
		{"random bytes", string(noise)},
	}
}

func BenchmarkMatch(b *testing.B) {
	of := coreRules(b, 1)
	s := newSet(b, of)
	for _, c := range benchTexts() {
		b.Run(c.name, func(b *testing.B) {
			m := s.NewScratch()
			s.Match(c.text, m)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.text)))
			start := cpu()
			for b.Loop() {
				s.Match(c.text, m)
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(len(rxset.Candidates(s, m))), "candidates")
			b.ReportMetric(float64(rxset.Passes(s, m)), "passes")
		})
	}
}

func BenchmarkOneByOne(b *testing.B) {
	of := coreRules(b, 1)
	for _, c := range benchTexts() {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.text)))
			start := cpu()
			for b.Loop() {
				for _, e := range of {
					e.want.MatchString(c.text)
				}
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu is the processor time of this process: the clock of a busy machine says little.
func cpu() int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
