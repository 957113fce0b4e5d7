package personal

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table in docs/data-leaks.md")

// TestDocument: docs/data-leaks.md has the kinds as they are.
func TestDocument(t *testing.T) {
	const path, begin, end = "../../docs/data-leaks.md", "<!-- kinds -->\n", "<!-- /kinds -->"
	var b strings.Builder
	b.WriteString("\n| kind | what | proved by | without a word before it |\n|---|---|---|---|\n")
	alone := map[string][]string{}
	words := map[string]bool{}
	for _, n := range numbers() {
		words[n.kind.ID] = true
		for _, f := range n.forms {
			if f.alone > 0 {
				alone[n.kind.ID] = append(alone[n.kind.ID], fmt.Sprintf("`%s` %s", f.shape, f.alone))
			}
		}
	}
	alone["iban"] = []string{"all, high"}
	for _, k := range Kinds() {
		said := strings.Join(alone[k.ID], ", ")
		switch {
		case k.Group == Contact:
			said = "from the 21st on"
		case !words[k.ID]:
			said = "yes"
		case said == "":
			said = "no"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.ID, k.Name, k.Proof, said)
	}
	b.WriteByte('\n')
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := bytes.Cut(page, []byte(begin))
	old, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the kinds", path)
	}
	if string(old) == b.String() {
		return
	}
	if !*update {
		t.Fatalf("%s has another table of kinds: go test ./detect/personal -run TestDocument -update", path)
	}
	if err := os.WriteFile(path, []byte(string(head)+begin+b.String()+end+string(tail)), 0o644); err != nil {
		t.Fatal(err)
	}
}
