package rxset_test

import (
	"encoding/base64"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
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

// oneClass is for matches of all that are given.
func oneClass(of []expression) []expression {
	for i := range of {
		of[i].Class = 0
	}
	return of
}

// BenchmarkMatch matches the expressions of level 1 over texts that were seen before.
func BenchmarkMatch(b *testing.B) {
	s := newSet(b, oneClass(coreRules(b, 1)))
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

// BenchmarkWanted matches the expressions of all levels, of which those of level 1 are wanted.
func BenchmarkWanted(b *testing.B) {
	of := coreRules(b, 4)
	s := newSet(b, of)
	wanted := rxset.NewBits(len(of))
	for i, e := range of {
		if e.Class == 1 {
			wanted.Add(i)
		}
	}
	for _, c := range benchTexts()[:5] {
		b.Run(c.name, func(b *testing.B) {
			m := s.NewScratch()
			s.MatchWanted(c.text, wanted, m)
			start := cpu()
			for b.Loop() {
				s.MatchWanted(c.text, wanted, m)
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkParallel shares one set between goroutines.
func BenchmarkParallel(b *testing.B) {
	s := newSet(b, oneClass(coreRules(b, 1)))
	all := benchTexts()[:4]
	for _, goroutines := range []int{1, 2, 8} {
		b.Run(strconv.Itoa(goroutines), func(b *testing.B) {
			b.ReportAllocs()
			start := cpu()
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					m := s.NewScratch()
					for i := g; i < b.N; i += goroutines {
						s.Match(all[i%len(all)].text, m)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkCold matches texts that were never seen, and each time are others.
func BenchmarkCold(b *testing.B) {
	for _, noise := range []bool{false, true} {
		b.Run(map[bool]string{false: "mixed", true: "random bytes"}[noise], func(b *testing.B) {
			of := oneClass(coreRules(b, 1))
			s := newSet(b, of)
			m := s.NewScratch()
			x := newTexts(11, of)
			texts := make([]string, b.N)
			bytes := 0
			for i := range texts {
				if texts[i] = x.next(); noise {
					raw := make([]byte, 1024)
					for j := range raw {
						raw[j] = byte(x.IntN(256))
					}
					texts[i] = string(raw)
				}
				bytes += len(texts[i])
			}
			b.ResetTimer()
			start := cpu()
			for _, text := range texts {
				s.Match(text, m)
			}
			spent := cpu() - start
			b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/op")
			b.StopTimer()
			start = cpu()
			for _, text := range texts[:min(b.N, 100)] {
				for _, e := range of {
					e.want.MatchString(text)
				}
			}
			b.ReportMetric(float64(cpu()-start)/float64(min(b.N, 100)), "one-by-one-cpu-ns/op")
			b.Logf("%+v", s.Stats())
		})
	}
}

// BenchmarkNew compiles the expressions of level 1.
func BenchmarkNew(b *testing.B) {
	of := oneClass(coreRules(b, 1))
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		newSet(b, of)
	}
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
}

// BenchmarkOneByOne is the regexp package asked about each expression, as Coraza does.
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

// BenchmarkHostile matches expressions with many states over texts that make them, each of which is another: what the automata cost
// before they give up comes on top of the regexp package.
func BenchmarkHostile(b *testing.B) {
	for _, h := range hostile {
		b.Run(h.name, func(b *testing.B) {
			s, of := hostileSet(b, h.expressions, 1<<20)
			m := s.NewScratch()
			r := rand.New(rand.NewPCG(5, 5))
			texts := make([]string, b.N)
			for i := range texts {
				var w strings.Builder
				for w.Len() < 1000 {
					w.WriteString(h.pieces[r.IntN(len(h.pieces))])
				}
				texts[i] = w.String()
			}
			b.ResetTimer()
			start := cpu()
			for _, text := range texts {
				s.Match(text, m)
			}
			spent := cpu() - start
			b.StopTimer()
			start = cpu()
			for _, text := range texts {
				for _, e := range of {
					e.want.MatchString(text)
				}
			}
			plain := cpu() - start
			b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(plain)/float64(b.N), "one-by-one-cpu-ns/op")
			b.ReportMetric(float64(spent)/float64(plain), "ratio")
		})
	}
}
