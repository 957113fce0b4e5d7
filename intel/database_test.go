package intel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/internal/require"
)

var built = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// sample returns advisories of one family that use every field.
func sample(r *rand.Rand, family string, n int) []*intel.Advisory {
	var out []*intel.Advisory
	for i := range n {
		a := &intel.Advisory{
			ID: fmt.Sprintf("TEST-%s-%05d", strings.ToUpper(family), i), Aliases: []string{fmt.Sprintf("CVE-2024-%04d", i)},
			Summary: "a flaw", Details: strings.Repeat("It reads past the end of the buffer. ", r.IntN(20)),
			Published: built.Add(-time.Duration(r.IntN(1e6)) * time.Second), Modified: built.Add(-time.Duration(r.IntN(1e6)) * time.Microsecond),
			Severity:   []intel.Severity{{Type: "CVSS_V3", Score: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}},
			References: []intel.Reference{{Type: "WEB", URL: fmt.Sprintf("https://example.com/%d", i)}},
			CWE:        []string{"CWE-79"},
		}
		if i%50 == 0 {
			a.Withdrawn = built
		}
		a.Malicious = i%31 == 0
		for range 1 + r.IntN(4) {
			release := []string{"", ":11", ":12", ":13"}[r.IntN(4)]
			e := intel.Affected{Ecosystem: family + release, Name: fmt.Sprintf("pkg-%d", r.IntN(1+n/3)),
				Ranges: []intel.Range{{Type: "ECOSYSTEM", Events: []intel.Event{{Introduced: "0"}, {Fixed: fmt.Sprint(r.IntN(100))}}}}}
			if r.IntN(3) == 0 {
				e.Versions = []string{"1.0", "1.1"}
				e.PURL = "pkg:generic/" + e.Name
				e.Ranges = append(e.Ranges, intel.Range{Type: "GIT", Repo: "https://example.com/x.git", Events: []intel.Event{{Introduced: "a"}, {LastAffected: "b"}, {Limit: "c"}}},
					intel.Range{Type: "ODD", Events: []intel.Event{{Introduced: "1"}}})
				e.Severity = []intel.Severity{{Type: "WORD", Score: "low"}}
				e.Imports = []intel.Import{{Path: "a/b", Symbols: []string{"F", "T.M"}, GOOS: []string{"linux"}, GOARCH: []string{"arm64"}}}
			}
			a.Affected = append(a.Affected, e)
		}
		out = append(out, a)
	}
	return out
}

func build(t testing.TB, path string, families map[string][]*intel.Advisory) {
	t.Helper()
	w, err := intel.Create(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for family, list := range families {
		s, err := w.Source(intel.Source{Kind: intel.KindOSV, Name: family, From: "test"})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			if err := s.Add(a); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(built); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, path string) *intel.Database {
	t.Helper()
	d, err := intel.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func affecting(t testing.TB, d *intel.Database, ecosystem, name string) []*intel.Advisory {
	t.Helper()
	var out []*intel.Advisory
	for a, err := range d.Affecting(ecosystem, name) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *intel.Advisory) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// naive is what Affecting promises, the slow way.
func naive(list []*intel.Advisory, ecosystem, name string) []*intel.Advisory {
	var out []*intel.Advisory
	family, release, _ := strings.Cut(ecosystem, ":")
	for _, a := range list {
		var affected []intel.Affected
		for i := range a.Affected {
			e := &a.Affected[i]
			if e.Name != name {
				continue
			}
			if f, r, _ := strings.Cut(e.Ecosystem, ":"); f == family && (r == "" || release == "" || r == release) {
				affected = append(affected, *e)
			}
		}
		if len(affected) > 0 {
			c := *a
			slices.SortStableFunc(affected, func(a, b intel.Affected) int { return strings.Compare(a.Ecosystem, b.Ecosystem) })
			c.Affected = affected
			out = append(out, &c)
		}
	}
	slices.SortFunc(out, func(a, b *intel.Advisory) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func TestAffectingAgreesWithTheSlowWay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "db")
	all := map[string][]*intel.Advisory{"Debian": sample(r, "Debian", 1500), "npm": sample(r, "npm", 40)}
	build(t, path, all)
	d := open(t, path)
	if err := d.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	found := 0
	for family, list := range all {
		for i := 0; i < 510; i += require.Stride(3) {
			name := fmt.Sprintf("pkg-%d", i)
			for _, release := range []string{"", ":11", ":12", ":99"} {
				want, got := naive(list, family+release, name), affecting(t, d, family+release, name)
				if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("%s%s %s:\n%s", family, release, name, d)
				}
				found += len(got)
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d were compared", found)
	}
	for _, a := range all["Debian"][:50] {
		for _, id := range []string{a.ID, strings.ToLower(a.ID)} {
			got, err := d.Advisory(id)
			if err != nil {
				t.Fatal(err)
			}
			byName := cmpopts.SortSlices(func(a, b intel.Affected) bool {
				return fmt.Sprint(a.Ecosystem, a.Name, a.Ranges) < fmt.Sprint(b.Ecosystem, b.Name, b.Ranges)
			})
			if d := cmp.Diff(a, got, byName, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("%s:\n%s", id, d)
			}
		}
		named, err := d.Named(a.Aliases[0])
		if err != nil || !slices.ContainsFunc(named, func(n *intel.Advisory) bool { return n.ID == a.ID }) {
			t.Fatalf("Named(%s) = %v, %v", a.Aliases[0], named, err)
		}
	}
	if _, err := d.Advisory("CVE-1999-0001"); !errors.Is(err, intel.ErrNotFound) {
		t.Errorf("an unknown id: %v", err)
	}
	if n := d.Info().Advisories; n != 1540 {
		t.Errorf("%d advisories", n)
	}
}

func TestOpenRefusesWhatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	for _, text := range []string{"", "short", strings.Repeat("x", 500), "testudo-intel 2\n" + strings.Repeat("x", 500), "testudo-intel 1\n", "testudo-intel 1\n" + strings.Repeat("x", 500)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := intel.Open(path); err == nil {
			d.Close()
			t.Errorf("%.20q was opened", text)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name the file: %v", err)
		}
	}
	if _, err := intel.Open(t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}
}
