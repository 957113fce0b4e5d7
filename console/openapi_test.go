package console_test

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

func document(t testing.TB, b *bench) *openapi3.T {
	t.Helper()
	w := b.send(b.request("GET", "/api/v1/openapi.json", "", ""))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestDocumentIsValid checks the document by the specification, and that table and
// document name the same routes.
func TestDocumentIsValid(t *testing.T) {
	b := newBench(t, nil)
	doc := document(t, b)
	if err := doc.Validate(context.Background(), openapi3.EnableSchemaFormatValidation(), openapi3.EnableSchemaDefaultsValidation()); err != nil {
		t.Fatal(err)
	}
	if !doc.IsOpenAPI31OrLater() {
		t.Errorf("the document is OpenAPI %s", doc.OpenAPI)
	}
	in := map[string]bool{}
	for _, rt := range b.Table() {
		if !strings.HasPrefix(rt.Path, "/api/") || strings.HasSuffix(rt.Path, "/openapi.json") {
			continue
		}
		if rt.Op() == "" {
			t.Errorf("%s %s is not described", rt.Method, rt.Path)
			continue
		}
		in[rt.Method+" "+rt.Path] = true
		item := doc.Paths.Value(rt.Path)
		if item == nil || item.GetOperation(rt.Method) == nil {
			t.Errorf("%s %s is not in the document", rt.Method, rt.Path)
			continue
		}
		op := item.GetOperation(rt.Method)
		if op.Summary == "" || op.OperationID != rt.Op() || op.Extensions["x-role"] != rt.Role.String() {
			t.Errorf("%s %s is described as %q %q for %v", rt.Method, rt.Path, op.OperationID, op.Summary, op.Extensions["x-role"])
		}
		for _, p := range op.Parameters {
			if p.Value.Description == "" {
				t.Errorf("%s: parameter %s has no description", op.OperationID, p.Value.Name)
			}
		}
		for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.Path, -1) {
			if op.Parameters.GetByInAndName("path", name[1]) == nil {
				t.Errorf("%s: the path's %s is no parameter", op.OperationID, name[1])
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if !in[method+" "+path] {
				t.Errorf("the document has %s %s, which is not in the table", method, path)
			}
		}
	}
}

// TestAnswersFitTheDocument sends a request to every documented route and validates
// what comes back, and what went in.
func TestAnswersFitTheDocument(t *testing.T) {
	doc := document(t, newBench(t, nil))
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			t.Run(op.OperationID, func(t *testing.T) {
				b := newBench(t, nil)
				ex := b.example(op.OperationID)
				ex.path = strings.Replace(ex.path, "SESSION", sessionID(b, consoletest.ViewerName), 1)
				send := b.send
				if op.Responses.Value("200") != nil && op.Responses.Value("200").Value.Content.Get("text/event-stream") != nil {
					send = b.sendStream
				}
				w := send(b.request(method, ex.path, ex.body, consoletest.AdminName))
				resp := op.Responses.Value(strconv.Itoa(w.Code))
				if resp == nil {
					t.Fatalf("%s %s answered %d, which is not documented: %s", method, path, w.Code, w.Body)
				}
				if ex.body != "" {
					fits(t, op.RequestBody.Value.Content.Get("application/json").Schema.Value, []byte(ex.body))
				}
				if w.Code == http.StatusNoContent {
					if w.Body.Len() > 0 {
						t.Errorf("204 with the body %s", w.Body)
					}
					return
				}
				kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
				media := resp.Value.Content.Get(kind)
				if media == nil {
					t.Fatalf("the answer is %s, documented is %v", kind, resp.Value.Content)
				}
				switch kind {
				case "application/json":
					fits(t, media.Schema.Value, w.Body.Bytes())
				case "application/x-ndjson":
					lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
					item, _ := media.Schema.Value.Extensions["x-item"].(map[string]any)
					ref, _ := item["$ref"].(string)
					line := doc.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")].Value
					for _, l := range lines {
						fits(t, line, []byte(l))
					}
				}
			})
		}
	}
	// An error fits too.
	b := newBench(t, nil)
	w := b.send(b.request("GET", "/api/v1/findings/unknown", "", consoletest.AdminName))
	fits(t, doc.Components.Schemas["Problem"].Value, w.Body.Bytes())
	if p := decode[console.Problem](t, w); p.Status != http.StatusNotFound || !strings.Contains(p.Detail, "unknown") {
		t.Errorf("the problem is %+v", p)
	}
}

func fits(t *testing.T, schema *openapi3.Schema, body []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.EnableFormatValidation()); err != nil {
		t.Errorf("%.1000s\nin %.400s", err, body)
	}
	undocumented(t, schema, v, "")
}

// undocumented names keys of an answer that its schema does not: the document leaves room for
// more, this version has none.
func undocumented(t *testing.T, s *openapi3.Schema, v any, at string) {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		if s.AdditionalProperties.Schema != nil || len(s.Properties) == 0 || s.Properties["class_uid"] != nil {
			return // a map, or an event, which OCSF describes
		}
		for key, val := range v {
			p := s.Properties[key]
			if p == nil {
				t.Errorf("%s.%s is not documented", at, key)
				continue
			}
			undocumented(t, p.Value, val, at+"."+key)
		}
	case []any:
		for _, item := range v {
			undocumented(t, s.Items.Value, item, at+"[]")
		}
	}
}
