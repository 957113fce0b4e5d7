package logfields

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite docs/log-fields.md")

// TestPage holds docs/log-fields.md to the table.
func TestPage(t *testing.T) {
	or := func(s string) string {
		if s == "" {
			return "any"
		}
		return "`" + s + "`"
	}
	lines := map[string][]string{}
	for _, r := range Rows() {
		from := or(r.From.Product) + " | " + or(r.From.Service) + " | " + or(r.From.Category)
		field := "`" + r.Field + "`"
		if r.ReadOnly {
			field += " (rules look here too)"
		}
		lines[from] = append(lines[from], "`"+r.Attr+"` → "+field)
	}
	var b strings.Builder
	b.WriteString("# Which field holds an attribute of a log\n\n" +
		"Written by `go test ./internal/logfields -update` from `internal/logfields/fields.tsv`; do not edit. Product, service and category are\n" +
		"Sigma's words for log sources. The row that names most of them wins; of as many, service before category before product. Attributes\n" +
		"without a row keep their own name: see [logs.md](logs.md#what-maps-where).\n\n" +
		"| product | service | category | attributes |\n|---|---|---|---|\n")
	var sources []string
	for from := range lines {
		sources = append(sources, from)
	}
	slices.Sort(sources)
	for _, from := range sources {
		slices.Sort(lines[from])
		b.WriteString("| " + from + " | " + strings.Join(lines[from], "<br>") + " |\n")
	}
	page := filepath.Join("..", "..", "docs", "log-fields.md")
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("run go test ./internal/logfields -update:\n%s", d)
	}
}
