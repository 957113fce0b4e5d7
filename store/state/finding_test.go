package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/signal"
)

var (
	ctx   = context.Background()
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
)

func at(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }

func eventID(n int) signal.ID {
	id := signal.NewID(at(n))
	id[15] = byte(n)
	return id
}

func finding(id string, minute int, change ...func(*signal.Finding)) *signal.Finding {
	f := &signal.Finding{
		ID: id, Kind: signal.FindingPosture, Rule: "secret.aws-key", Title: "AWS key in code", Desc: "a key", Severity: signal.SeverityHigh,
		Plane: signal.PlaneScan, Asset: "repository:shop", First: at(minute), Last: at(minute), Count: 1,
		Location: signal.Location{Path: "config/prod.env", Line: 3, Snippet: "AKIA****"}, Fix: "rotate it",
		Evidence: []signal.Evidence{{Name: "prefix", Value: "AKIA"}}, References: []string{"https://example.org"}, Tags: []string{"cloud"},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func mustPut(t *testing.T, db *DB, f *signal.Finding) (bool, signal.Finding) {
	t.Helper()
	isNew, stored, err := db.PutFinding(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	return isNew, stored
}

func TestFindingIsKeptWhole(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		f := finding("f1", 0, func(f *signal.Finding) { f.Events = []signal.ID{eventID(1)} })
		isNew, stored := mustPut(t, db, f)
		want := *f
		want.State = signal.FindingOpen
		if diff := cmp.Diff(want, stored); diff != "" || !isNew {
			t.Errorf("new %v, stored otherwise:\n%s", isNew, diff)
		}
		_ = db.Close()
		got, ok, err := open().Finding(ctx, "f1")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error("read back otherwise:\n" + diff)
		}
		if _, ok, err := open().Finding(ctx, "f2"); ok || err != nil {
			t.Errorf("a finding that is not there: %v %v", ok, err)
		}
	})
}

func TestSightingsAreOneFinding(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		mustPut(t, db, finding("f1", 10))
		isNew, _ := mustPut(t, db, finding("f1", 20, func(f *signal.Finding) { f.Title, f.Count, f.Location.Line = "moved", 5, 9 }))
		if isNew {
			t.Error("the second sighting is new")
		}
		// A late one widens, and describes nothing anew.
		_, got := mustPut(t, db, finding("f1", 5, func(f *signal.Finding) { f.Title = "old"; f.Count = 0 }))
		if got.Title != "moved" || got.Location.Line != 9 || got.Count != 7 || !got.First.Equal(at(5)) || !got.Last.Equal(at(20)) {
			t.Errorf("%+v", got)
		}
		for i := range 30 {
			id := eventID(i)
			_, got = mustPut(t, db, finding("f1", 30, func(f *signal.Finding) { f.Events = []signal.ID{id, id} }))
		}
		if len(got.Events) != signal.MaxFindingEvents || got.Events[0][15] != 10 || got.Events[19][15] != 29 {
			t.Errorf("events %v", got.Events)
		}
		again, _, err := db.Finding(ctx, "f1")
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
}

func TestFindingStates(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		now := at(100)
		db.now = func() time.Time { return now }
		mustPut(t, db, finding("f1", 0))
		set := func(to signal.FindingState, by, reason string) {
			t.Helper()
			if f, ok, err := db.SetFindingState(ctx, "f1", to, by, reason); err != nil || !ok || f.State != to {
				t.Fatal(f.State, ok, err)
			}
		}
		put := func(minute int, want signal.FindingState) {
			t.Helper()
			if _, f := mustPut(t, db, finding("f1", minute)); f.State != want {
				t.Fatalf("seen at %d: %s, want %s", minute, f.State, want)
			}
			if f, _, err := db.Finding(ctx, "f1"); err != nil || f.State != want {
				t.Fatalf("stored after %d: %s, want %s", minute, f.State, want)
			}
		}
		set(signal.FindingResolved, "person:ann", "rotated")
		put(99, signal.FindingResolved) // seen before it was resolved, told after
		now = at(101)
		put(101, signal.FindingOpen)
		set(signal.FindingMuted, "person:bob", "test key")
		set(signal.FindingMuted, "person:eve", "again") // changes nothing
		put(200, signal.FindingMuted)
		changes, err := db.FindingChanges(ctx, "f1")
		want := []Change{
			{at(100), signal.FindingOpen, signal.FindingResolved, "person:ann", "rotated"},
			{at(101), signal.FindingResolved, signal.FindingOpen, "testudo", "seen again"},
			{at(101), signal.FindingOpen, signal.FindingMuted, "person:bob", "test key"},
		}
		if diff := cmp.Diff(want, changes); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if _, ok, err := db.SetFindingState(ctx, "f2", signal.FindingOpen, "x", ""); ok || err != nil {
			t.Errorf("a finding that is not there: %v %v", ok, err)
		}
		if _, _, err := db.SetFindingState(ctx, "f1", "gone", "x", ""); !errors.Is(err, ErrQuery) {
			t.Errorf("a state that is none: %v", err)
		}
		for i := range 2 * maxChanges {
			set([]signal.FindingState{signal.FindingOpen, signal.FindingResolved}[i%2], "person:ann", fmt.Sprint(i))
		}
		changes, _ = db.FindingChanges(ctx, "f1")
		if len(changes) != maxChanges || changes[maxChanges-1].Reason != "199" {
			t.Errorf("%d changes are kept, the last %+v", len(changes), changes[len(changes)-1])
		}
	})
}

func TestSweep(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		for _, c := range []struct {
			id     string
			minute int
			change func(*signal.Finding)
		}{
			{"gone-1", 0, func(*signal.Finding) {}},
			{"gone-2", 9, func(*signal.Finding) {}},
			{"still", 10, func(*signal.Finding) {}},
			{"other-asset", 0, func(f *signal.Finding) { f.Asset = "repository:other" }},
			{"other-plane", 0, func(f *signal.Finding) { f.Plane = signal.PlaneEdge }},
			{"other-scanner", 0, func(f *signal.Finding) { f.Rule = "SECRET.x" }},
			{"muted", 0, func(*signal.Finding) {}},
		} {
			mustPut(t, db, finding(c.id, c.minute, c.change))
		}
		if _, _, err := db.SetFindingState(ctx, "muted", signal.FindingMuted, "person:ann", ""); err != nil {
			t.Fatal(err)
		}
		scan := Scan{Plane: signal.PlaneScan, Asset: "repository:shop", RulePrefix: "secret.", Started: at(10), By: "scan:7"}
		got, err := db.Sweep(ctx, scan)
		if diff := cmp.Diff([]string{"gone-1", "gone-2"}, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
		changes, _ := db.FindingChanges(ctx, "gone-2")
		if len(changes) != 1 || changes[0].By != "scan:7" || changes[0].To != signal.FindingResolved || changes[0].From != signal.FindingOpen {
			t.Errorf("%+v", changes)
		}
		if got, err := db.Sweep(ctx, scan); len(got) != 0 || err != nil {
			t.Errorf("a second sweep: %v %v", got, err)
		}
		scan.RulePrefix = ""
		if got, err := db.Sweep(ctx, scan); !slices.Equal(got, []string{"other-scanner"}) || err != nil {
			t.Errorf("a sweep of all scanners: %v %v", got, err)
		}
		counts, err := db.FindingCounts(ctx)
		if err != nil || counts.Total(signal.FindingOpen) != 3 || counts[signal.FindingResolved][signal.SeverityHigh] != 3 || counts.Total(signal.FindingMuted) != 1 {
			t.Errorf("%v %v", counts, err)
		}
	})
}

func TestFindingQueries(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		var batch []*signal.Finding
		for i := range 25 {
			batch = append(batch, finding(fmt.Sprintf("f%02d", i), i/2, func(f *signal.Finding) {
				f.Severity = signal.Severity(1 + i%5)
				f.Title = fmt.Sprintf("Title %d 100%% of_it", i)
				if i%2 == 0 {
					f.Kind, f.Plane, f.Rule, f.Asset = signal.FindingDetection, signal.PlaneEdge, "edge.sqli", "application:shop"
				}
			}))
		}
		batch[7].Title, batch[8].Evidence[0].Value = `ÄRGER \ C:\path`, "203.0.113.7"
		isNew, _, err := db.PutFindings(ctx, batch)
		if err != nil || slices.Contains(isNew, false) {
			t.Fatal(isNew, err)
		}
		if _, _, err := db.SetFindingState(ctx, "f03", signal.FindingMuted, "x", ""); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			q    FindingQuery
			want func(i int, f *signal.Finding) bool
		}{
			{"all", FindingQuery{}, func(int, *signal.Finding) bool { return true }},
			{"worst first", FindingQuery{WorstFirst: true}, func(int, *signal.Finding) bool { return true }},
			{"open", FindingQuery{State: signal.FindingOpen}, func(i int, _ *signal.Finding) bool { return i != 3 }},
			{"severity", FindingQuery{MinSeverity: signal.SeverityHigh}, func(i int, f *signal.Finding) bool { return f.Severity >= signal.SeverityHigh }},
			{"kind", FindingQuery{Kind: signal.FindingDetection}, func(i int, _ *signal.Finding) bool { return i%2 == 0 }},
			{"plane", FindingQuery{Plane: signal.PlaneScan}, func(i int, _ *signal.Finding) bool { return i%2 == 1 }},
			{"rule", FindingQuery{Rule: "edge.sqli"}, func(i int, _ *signal.Finding) bool { return i%2 == 0 }},
			{"asset", FindingQuery{Asset: "application:shop"}, func(i int, _ *signal.Finding) bool { return i%2 == 0 }},
			{"since", FindingQuery{Since: at(10)}, func(i int, _ *signal.Finding) bool { return i/2 >= 10 }},
			{"text", FindingQuery{Text: "TITLE 1"}, func(i int, f *signal.Finding) bool { return strings.HasPrefix(f.Title, "Title 1") }},
			{"text in evidence", FindingQuery{Text: "203.0.113"}, func(i int, _ *signal.Finding) bool { return i == 8 }},
			{"text beyond ASCII", FindingQuery{Text: "ärger"}, func(i int, _ *signal.Finding) bool { return i == 7 }},
			{"percent is no wildcard", FindingQuery{Text: "t%le"}, func(int, *signal.Finding) bool { return false }},
			{"percent is found", FindingQuery{Text: "100%"}, func(i int, _ *signal.Finding) bool { return i != 7 }},
			{"underscore is no wildcard", FindingQuery{Text: "f_rt"}, func(int, *signal.Finding) bool { return false }},
			{"backslash is found", FindingQuery{Text: `c:\path`}, func(i int, _ *signal.Finding) bool { return i == 7 }},
			{"injection in text", FindingQuery{Text: `x' OR '1'='1`}, func(int, *signal.Finding) bool { return false }},
			{"injection in state", FindingQuery{State: `open' OR '1'='1`}, func(int, *signal.Finding) bool { return false }},
			{"injection in rule", FindingQuery{Rule: `'; DROP TABLE findings; --`}, func(int, *signal.Finding) bool { return false }},
			{"NUL in text", FindingQuery{Text: "\x00"}, func(int, *signal.Finding) bool { return false }},
		} {
			var want []string
			for i, f := range batch {
				if c.want(i, f) {
					want = append(want, f.ID)
				}
			}
			slices.SortFunc(want, func(a, b string) int { // as the documentation promises
				fa, fb := batch[index(batch, a)], batch[index(batch, b)]
				if c.q.WorstFirst && fa.Severity != fb.Severity {
					return int(fb.Severity) - int(fa.Severity)
				}
				if !fa.Last.Equal(fb.Last) {
					return fb.Last.Compare(fa.Last)
				}
				return strings.Compare(b, a)
			})
			for _, limit := range []int{0, 4} {
				var got []string
				q := c.q
				q.Limit = limit
				for pages := 0; pages < 30; pages++ {
					page, next, err := db.Findings(ctx, q)
					if err != nil {
						t.Fatalf("%s: %v", c.name, err)
					}
					if limit > 0 && len(page) > limit {
						t.Errorf("%s: a page of %d", c.name, len(page))
					}
					for _, f := range page {
						got = append(got, f.ID)
					}
					if q.After = next; next == "" {
						break
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, limit %d: %s", c.name, limit, diff)
				}
			}
		}
		for _, q := range []FindingQuery{{After: "!"}, {After: "Zm9v"}, {After: cursor("f", 1), WorstFirst: true}, {After: cursor("", 1)},
			{Text: strings.Repeat("x", 300)}, {After: strings.Repeat("A", 5000)}} {
			if _, _, err := db.Findings(ctx, q); !errors.Is(err, ErrQuery) || errors.Is(err, ErrCursor) != (q.After != "") {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if n := db.count(t, "SELECT count(*) FROM findings"); n != 25 {
			t.Errorf("%d findings are left", n)
		}
	})
}

func index(list []*signal.Finding, id string) int {
	return slices.IndexFunc(list, func(f *signal.Finding) bool { return f.ID == id })
}

func TestHostileTextIsStored(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		f := finding("f1", 0, func(f *signal.Finding) {
			f.Title = "a\x00b\xff'\"; DROP TABLE findings; --"
			f.Location.Path = "\xc3\x28\x00" + strings.Repeat("é", 10_000)
			f.Desc = strings.Repeat("x", 1<<20)
			f.Rule = strings.Repeat("r", 1000)
			f.Tags = slices.Repeat([]string{"\x00"}, 1000)
			f.Evidence = slices.Repeat([]signal.Evidence{{Name: "n", Value: strings.Repeat("\x00", 10_000)}}, 1000)
			f.Events = slices.Repeat([]signal.ID{eventID(1)}, 1000)
			f.Last = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		})
		_, stored := mustPut(t, db, f)
		got, _, err := db.Finding(ctx, "f1")
		if diff := cmp.Diff(stored, got); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
		if got.Title != "a\uFFFDb\uFFFD'\"; DROP TABLE findings; --" || len(got.Desc) > maxText || len(got.Evidence) != maxItems || len(got.Events) != 1 {
			t.Errorf("%q, %d bytes, %d pieces of evidence, %d events", got.Title, len(got.Desc), len(got.Evidence), len(got.Events))
		}
		if n := db.count(t, "SELECT length(body) FROM findings"); n > 1<<20 {
			t.Errorf("%d bytes are stored", n)
		}
		for _, id := range []string{"", strings.Repeat("x", 300), "a\x00", "\xff"} {
			if _, _, err := db.PutFinding(ctx, finding(id, 0)); !errors.Is(err, ErrQuery) {
				t.Errorf("id %q: %v", id, err)
			}
			if _, ok, err := db.Finding(ctx, id); ok || err != nil {
				t.Errorf("read id %q: %v %v", id, ok, err)
			}
		}
	})
}

func TestBatchIsAllOrNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open(func(c *Config) { c.MaxFindings = 1000 })
		db.findings.most = 10
		var batch []*signal.Finding
		for i := range 11 {
			batch = append(batch, finding(fmt.Sprintf("f%02d", i), i))
		}
		if _, _, err := db.PutFindings(ctx, batch); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "raise state.max_findings") {
			t.Errorf("eleven of ten: %v", err)
		}
		if n := db.count(t, "SELECT count(*) FROM findings"); n != 0 {
			t.Errorf("%d findings of a refused batch", n)
		}
		if _, _, err := db.PutFindings(ctx, batch[:10]); err != nil {
			t.Fatal(err)
		}
		if isNew, _ := mustPut(t, db, batch[3]); isNew {
			t.Error("a known finding is new in a full table")
		}
		if _, _, err := db.SetFindingState(ctx, "f05", signal.FindingResolved, "x", ""); err != nil {
			t.Fatal(err)
		}
		mustPut(t, db, batch[10])
		if _, ok, _ := db.Finding(ctx, "f05"); ok {
			t.Error("the resolved finding did not make room")
		}
		if n := db.count(t, "SELECT count(*) FROM findings"); n != 10 {
			t.Errorf("%d findings", n)
		}
	})
}

func TestConcurrentSightings(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		a := open()
		b := open() // another process, as far as the database can tell
		const workers, rounds = 4, 15
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				db := []*DB{a, b}[w%2]
				for i := range rounds {
					batch := []*signal.Finding{finding("x", i), finding(fmt.Sprintf("y%d", i), i), finding("a", i)}
					if w%2 == 0 {
						slices.Reverse(batch)
					}
					if _, _, err := db.PutFindings(ctx, batch); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for _, id := range []string{"x", "a"} {
			if f, _, err := a.Finding(ctx, id); err != nil || f.Count != workers*rounds {
				t.Errorf("%s was counted %d times: %v", id, f.Count, err)
			}
		}
	})
}

func BenchmarkPutFinding(b *testing.B) {
	db := mustOpen(b, b.TempDir())
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch-%d", size), func(b *testing.B) {
			batch := make([]*signal.Finding, size)
			n := 0
			for b.Loop() {
				for i := range batch {
					n++
					batch[i] = finding(fmt.Sprintf("b%d", n%5000), n)
				}
				if _, _, err := db.PutFindings(ctx, batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "findings/s")
		})
	}
}
