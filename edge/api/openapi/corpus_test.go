package openapi

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
	"github.com/testudo-sec/testudo/internal/require"
)

// documents returns the real documents in the folder that TESTUDO_OPENAPI names.
func documents(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("TESTUDO_OPENAPI")
	var files []string
	for _, pattern := range []string{"*.json", "*.yaml", "*.yml"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		files = append(files, found...)
	}
	require.Part(t, "openapi-documents", dir != "" && len(files) > 0,
		"set TESTUDO_OPENAPI to a folder of documents, such as generated/api.github.com.json of `npm pack @octokit/openapi`")
	return files
}

// example is a value that a document gives for one of its schemas.
type example struct {
	where  string
	schema *openapi3.Schema
	ours   *schema.Schema
	value  any
}

// examples pairs what kin-openapi and we made of a document's bodies, with the values that the document gives for them.
func examples(t *testing.T, judge *openapi3.T, d *Document) []example {
	t.Helper()
	var out []example
	add := func(where string, content openapi3.Content, ours *body) {
		for kind, m := range content {
			k, _ := mediaType(kind)
			if m.Schema == nil || ours == nil || !isJSON(k) || ours.media[k] == nil {
				continue
			}
			values := []any{m.Example}
			for _, e := range m.Examples {
				if e.Value != nil {
					values = append(values, e.Value.Value)
				}
			}
			for _, v := range values {
				if v != nil {
					out = append(out, example{where, m.Schema.Value, ours.media[k].schema, v})
				}
			}
		}
	}
	for _, op := range d.Operations() {
		item := judge.Paths.Value(op.Path)
		if item == nil || item.GetOperation(op.Method) == nil {
			t.Errorf("%s %s: kin-openapi does not know it", op.Method, op.Path)
			continue
		}
		theirs := item.GetOperation(op.Method)
		if theirs.RequestBody != nil {
			add(op.Method+" "+op.Path, theirs.RequestBody.Value.Content, op.body)
		}
		for status, r := range theirs.Responses.Map() {
			if ours := op.responses[strings.ToUpper(status)]; ours != nil && r.Value != nil {
				add(op.Method+" "+op.Path+" "+status, r.Value.Content, ours.body)
			}
		}
	}
	return out
}

// mutate changes one thing somewhere in a value.
func mutate(r *rand.Rand, v any) any {
	odd := []any{json.Number("-1"), json.Number("1.5"), "", "x", true, []any{}, map[string]any{}, json.Number("1e12")}
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 || r.IntN(6) == 0 {
			out := map[string]any{"unheard_of": odd[r.IntN(len(odd))]}
			for k, inner := range v {
				out[k] = inner
			}
			return out
		}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		chosen := keys[r.IntN(len(keys))]
		out := map[string]any{}
		for k, inner := range v {
			if k != chosen {
				out[k] = inner
			}
		}
		if r.IntN(4) > 0 {
			out[chosen] = mutate(r, v[chosen])
		}
		return out
	case []any:
		if len(v) == 0 {
			return []any{odd[r.IntN(len(odd))]}
		}
		out := slices.Clone(v)
		i := r.IntN(len(v))
		out[i] = mutate(r, v[i])
		return out
	}
	return odd[r.IntN(len(odd))]
}

// TestRealDocuments loads real documents whole and holds the values they give, and changed ones, to their schemas. kin-openapi is the judge.
func TestRealDocuments(t *testing.T) {
	for _, name := range documents(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Load(filepath.Base(name), b, nil)
			if err != nil {
				t.Fatal(err)
			}
			var options []openapi3.SchemaValidationOption
			if !strings.HasPrefix(d.Format, "3.0") {
				options = append(options, openapi3.EnableJSONSchema2020())
			}
			b = withoutFormats(t, b)
			if d, err = Load(filepath.Base(name), b, nil); err != nil {
				t.Fatal(err)
			}
			judge, err := openapi3.NewLoader().LoadFromData(b)
			if err != nil {
				t.Logf("loaded, but not by the judge: %.200v", err)
				return
			}
			all := examples(t, judge, d)
			values, broken, differ := 0, 0, 0
			r := rand.New(rand.NewPCG(7, 7))
			for _, e := range all {
				v := exactly(t, e.value)
				for i := range 6 {
					if i > 0 {
						v = mutate(r, exactly(t, e.value))
					}
					values++
					problems := e.ours.Check(v, schema.Neither)
					verdict := e.schema.VisitJSON(loosely(t, v), options...)
					if verdict != nil {
						broken++
					}
					if (verdict == nil) != (len(problems) == 0) {
						if differ++; differ <= 5 {
							text, _ := json.Marshal(v)
							t.Errorf("%s: here %v, kin-openapi %.300v: %.300s", e.where, problems, verdict, text)
						}
					}
				}
			}
			t.Logf("%d operations, %d values, %d of them broken, %d differ", len(d.Operations()), values, broken, differ)
		})
	}
}

// withoutFormats takes the formats out of a document: which ones are asserted is each library's own.
func withoutFormats(t *testing.T, b []byte) []byte {
	t.Helper()
	s := &sources{files: map[string]*source{}}
	f, err := s.add("document", b)
	if err != nil {
		t.Fatal(err)
	}
	var strip func(v any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["format"].(string); ok {
				delete(v, "format")
			}
			for _, inner := range v {
				strip(inner)
			}
		case []any:
			for _, inner := range v {
				strip(inner)
			}
		}
	}
	strip(f.tree)
	out, err := json.Marshal(f.tree)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// exactly makes a value what jsontree would have read.
func exactly(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := jsontree.Decode(text, jsontree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// loosely makes a value what encoding/json would have read.
func loosely(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDocumentsOfOthers loads the documents that kin-openapi tests itself with: what it takes is taken here too, but for the reasons that are listed.
func TestDocumentsOfOthers(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/getkin/kin-openapi").Output()
	require.Part(t, "modules", err == nil, "run `go mod download`")
	reasons := []string{"describes no operation", "leads out of the document's folder", "OpenAPI 3 is not read"}
	loaded, both := 0, 0
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(out)), "openapi3", "testdata"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)) {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil || !bytes.Contains(b, []byte("openapi")) {
			return err
		}
		_, here := Load(d.Name(), b, func(name string) ([]byte, error) {
			return os.ReadFile(filepath.Join(filepath.Dir(p), filepath.FromSlash(name)))
		})
		if here == nil {
			loaded++
		}
		l := openapi3.NewLoader()
		l.IsExternalRefsAllowed = true
		doc, there := l.LoadFromFile(p)
		if there != nil || doc.Validate(l.Context, openapi3.DisableExamplesValidation()) != nil {
			return nil
		}
		if here == nil {
			both++
		} else if !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(here.Error(), r) }) {
			t.Errorf("%s: kin-openapi takes it, here: %v", p, here)
		}
		return nil
	})
	if err != nil || both < 40 {
		t.Errorf("%d documents loaded, %d by both: %v", loaded, both, err)
	}
}
