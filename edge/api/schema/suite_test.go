package schema

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/jsontree"
	"github.com/testudo-sec/testudo/internal/require"
)

// suite returns the folder of the official tests of draft 2020-12, which a Go module among the dependencies brings along.
func suite(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kaptinlin/jsonschema").Output()
	dir := ""
	if err == nil {
		dir = filepath.Join(strings.TrimSpace(string(out)), "testdata", "JSON-Schema-Test-Suite", "tests", "draft2020-12")
		_, err = os.Stat(dir)
	}
	require.Part(t, "modules", err == nil, "run `go mod download`")
	return dir
}

// elsewhere are the suite's files about what a Set does not do, with the reason.
var elsewhere = map[string]string{
	"format.json":     "formats are asserted here, not annotations",
	"refRemote.json":  "nothing is loaded from the network",
	"vocabulary.json": "dialects of one's own are not loaded",
}

func TestOfficialSuite(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(suite(t), "*.json"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	ran, byLibrary := 0, 0
	for _, file := range files {
		if elsewhere[filepath.Base(file)] != "" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := jsontree.Decode(text, jsontree.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for i, group := range v.([]any) {
			g := group.(map[string]any)
			s := g["schema"]
			if strings.Contains(fmt.Sprint(s), "http://localhost:1234/") && strings.Contains(fmt.Sprint(g["description"]), "remote") || strings.Contains(fmt.Sprint(s), "draft2019-09") {
				continue // loads from the suite's own server
			}
			if m, ok := s.(map[string]any); ok && m["$id"] == nil {
				m["$id"] = fmt.Sprintf("https://suite.invalid/%s/%d", filepath.Base(file), i)
			}
			set, err := Compile(map[string]any{"t": s})
			if err != nil {
				if strings.Contains(err.Error(), "nothing is loaded from the network") {
					continue
				}
				t.Errorf("%s: %s: %v", filepath.Base(file), g["description"], err)
				continue
			}
			if set.Get("t").library != nil {
				byLibrary++
			}
			for _, one := range g["tests"].([]any) {
				c := one.(map[string]any)
				ran++
				problems := set.Get("t").Check(c["data"], Neither)
				if (len(problems) == 0) != c["valid"].(bool) || set.Get("t").Fulfilled(c["data"], Neither) != c["valid"].(bool) {
					data, _ := json.Marshal(c["data"])
					t.Errorf("%s: %s: %s: %s: %v, want valid %v", filepath.Base(file), g["description"], c["description"], data, problems, c["valid"])
				}
			}
		}
	}
	t.Logf("%d cases, %d schemas left to the library", ran, byLibrary)
	if ran < 1000 || byLibrary > 40 {
		t.Errorf("%d cases, %d schemas left to the library", ran, byLibrary)
	}
}
