package license

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

func today() time.Time { return time.Date(2027, 2, 1, 12, 0, 0, 0, time.UTC) }

func found(t *testing.T, c Config, packages ...scan.Package) []string {
	t.Helper()
	m, err := New(c, today)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ids := map[string]bool{}
	if err := m.Match(context.Background(), &scan.Inventory{Packages: packages}, func(f signal.Finding, _ scan.Confidence) {
		if f.ID == "" || ids[f.ID] || f.Fix == "" || f.Severity == signal.SeverityUnknown || f.Location.Path == "" {
			t.Errorf("%+v", f)
		}
		ids[f.ID] = true
		out = append(out, f.Rule+" "+f.Title)
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func named(license string) scan.Package {
	p := scan.Package{PURL: "pkg:npm/a@1.0", Name: "a", Version: "1.0", Path: "package-lock.json", Line: 3}
	if license != "" {
		p.Licenses = strings.Split(license, ";")
	}
	return p
}

func TestPolicy(t *testing.T) {
	c := Config{Allow: []string{"MIT", "Apache-2.0", "LGPL-*", "GPL-2.0-only WITH Classpath-exception-2.0"}, Deny: []string{"GPL-*", "AGPL-3.0-only"}, Unknown: "report"}
	for license, want := range map[string]string{
		"MIT": "", "MIT OR GPL-3.0-only": "", "LGPL-2.1-or-later": "", "MIT AND Apache-2.0": "", "GPL-2.0-only WITH Classpath-exception-2.0": "",
		"GPL-3.0-only": "denied GPL-3.0-only", "MIT AND GPL-3.0-only": "denied GPL-3.0-only", "ISC": "not-allowed ISC", "ISC OR GPL-3.0-only": "not-allowed ISC",
		"MIT;AGPL-3.0-only": "denied AGPL-3.0-only", "": "unknown", "see LICENSE": "unknown", "Apache-2.0 WITH LLVM-exception": "", "(ISC AND MIT) OR Apache-2.0": "",
	} {
		got := found(t, c, named(license))
		rule, what, _ := strings.Cut(want, " ")
		if (want == "") != (len(got) == 0) || want != "" && (!strings.HasPrefix(got[0], "license-"+rule) || !strings.Contains(got[0], what)) {
			t.Errorf("%q: %v, want %q", license, got, want)
		}
	}
	// A licence with an exception may be allowed where the licence alone, by its name, is denied.
	c = Config{Allow: []string{"GPL-2.0-only WITH Classpath-exception-2.0"}, Deny: []string{"GPL-2.0-only"}}
	if got := found(t, c, named("GPL-2.0-only WITH Classpath-exception-2.0")); got != nil {
		t.Error(got)
	}
	if got := found(t, c, named("GPL-2.0-only")); len(got) != 1 {
		t.Error(got)
	}
	if got := found(t, DefaultConfig(), named("GPL-2.0-only"), named("")); got != nil {
		t.Errorf("without a policy: %v", got)
	}
}

func TestExceptions(t *testing.T) {
	deny := Config{Deny: []string{"GPL-3.0-only"}}
	for name, e := range map[string]struct {
		Exception
		want int
	}{
		"purl":       {Exception{Package: "pkg:npm/a", Reason: "r"}, 0},
		"version":    {Exception{Package: "pkg:npm/a@1.0", Reason: "r"}, 0},
		"older":      {Exception{Package: "pkg:npm/a@0.9", Reason: "r"}, 1},
		"name":       {Exception{Package: "a", Reason: "r", License: "GPL-*"}, 0},
		"star":       {Exception{Package: "pkg:npm/*", Reason: "r"}, 0},
		"other":      {Exception{Package: "b", Reason: "r"}, 1},
		"licence":    {Exception{Package: "a", Reason: "r", License: "MIT"}, 1},
		"last day":   {Exception{Package: "a", Reason: "r", Until: "2027-02-01"}, 0},
		"day before": {Exception{Package: "a", Reason: "r", Until: "2027-01-31"}, 1},
	} {
		c := deny
		c.Exceptions = []Exception{e.Exception}
		if got := found(t, c, named("GPL-3.0-only")); len(got) != e.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	dev := named("GPL-3.0-only")
	dev.Dev = true
	root := named("GPL-3.0-only")
	root.Relation = scan.Root
	if got := found(t, deny, dev, root); got != nil {
		t.Error(got)
	}
	deny.Dev = true
	if got := found(t, deny, dev); len(got) != 1 {
		t.Error(got)
	}
}

func TestValidate(t *testing.T) {
	var got []string
	for _, c := range []Config{
		{Allow: []string{"Apache 2"}}, {Deny: []string{"nothing"}}, {Allow: []string{"MIT OR ISC"}}, {Deny: []string{"*"}}, {Unknown: "maybe"},
		{Exceptions: []Exception{{Package: "a"}}}, {Exceptions: []Exception{{Reason: "r"}}}, {Exceptions: []Exception{{Package: "a", Reason: "r", Until: "soon"}}},
	} {
		_, err := New(c, today)
		if err == nil {
			t.Fatalf("%+v is taken", c)
		}
		got = append(got, err.Error())
	}
	want := []string{
		`allow: "Apache 2" is not how SPDX writes it: want "Apache-2.0"`, `deny: "nothing": licence expression: "nothing" is not a licence of the SPDX list`,
		`allow: "MIT OR ISC": want one licence in each entry`, `deny: "*": want a licence or the beginning of one before the star`, `unknown is "maybe": want ignore or report`,
		`exceptions 1: a needs a reason`, `exceptions 1: package is missing or too long: want a package URL or a name`, `exceptions 1: until is "soon": want a day, as 2027-01-31`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
