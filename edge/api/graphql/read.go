package graphql

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// maxForm bounds the parts and fields of a form that are looked at.
const maxForm = 100

// calls reads the operations that a request asks for.
func (c *Checker) calls(r *Request, out *Result) []call {
	inURL := len(r.Query["query"])+len(r.Query["extensions"])+len(r.Query["id"]) > 0
	if r.Get {
		if len(r.Body) > 0 || r.Truncated {
			out.add(CodeRepeated, "", "there is a body in a GET request")
		}
		return c.fromValues(r.Query, out)
	}
	kind, _, _ := strings.Cut(r.ContentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if inURL && r.Query.Get("query") != "" && len(r.Body) > 0 {
		out.add(CodeRepeated, "", "there is a query in the URL and a body: servers differ in which one they take")
	}
	if r.Truncated {
		out.add(CodeNotChecked, "", "only the beginning of the body is here")
		return nil
	}
	switch {
	case r.Parsed && isJSON(kind):
		return c.fromJSON(r.JSON, out)
	case isJSON(kind):
		return c.decode(string(r.Body), out)
	case kind == "application/graphql":
		return []call{{text: string(r.Body), name: r.Query.Get("operationName")}}
	case kind == "application/x-www-form-urlencoded":
		if bytes.Count(r.Body, []byte("&")) > maxForm {
			out.add(CodeNotChecked, "", "there are more than 100 fields")
			return nil
		}
		values, err := url.ParseQuery(string(r.Body))
		if err != nil {
			out.add(CodeSyntax, "", "the form is not well written")
			return nil
		}
		return c.fromValues(values, out)
	case kind == "multipart/form-data":
		return c.fromMultipart(r, out)
	case len(r.Body) == 0 && inURL:
		return c.fromValues(r.Query, out)
	}
	out.add(CodeContentType, "", "no content type that carries GraphQL")
	return nil
}

func isJSON(kind string) bool {
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

func (c *Checker) decode(text string, out *Result) []call {
	v, notes, err := jsontree.DecodeString(text, jsontree.Limits{})
	for _, n := range notes {
		if n.Kind == jsontree.Duplicate {
			out.add(CodeRepeated, n.Where, "stands twice in one object: servers differ in which one they take")
		}
	}
	switch {
	case errors.Is(err, jsontree.ErrDepth), errors.Is(err, jsontree.ErrValues):
		out.add(CodeNotChecked, "", err.Error())
		return nil
	case err != nil:
		out.add(CodeSyntax, "", err.Error())
		return nil
	}
	return c.fromJSON(v, out)
}

func (c *Checker) fromJSON(v any, out *Result) []call {
	batch, is := v.([]any)
	if !is {
		batch = []any{v}
	}
	if len(batch) == 0 {
		out.add(CodeOperation, "", "the batch is empty")
	}
	calls := make([]call, 0, min(len(batch), 1000))
	for _, one := range batch {
		m, is := one.(map[string]any)
		if !is {
			out.add(CodeSyntax, "", "an operation must be an object")
			continue
		}
		var c call
		var ok1, ok2, ok3 bool
		c.text, ok1 = text(m["query"])
		c.name, ok2 = text(m["operationName"])
		if variables := m["variables"]; variables != nil {
			c.variables, ok3 = variables.(map[string]any)
		} else {
			ok3 = true
		}
		if !ok1 || !ok2 || !ok3 {
			out.add(CodeSyntax, "", "query and operationName must be text, and variables an object")
			continue
		}
		c.digest = c.text == "" && (m["extensions"] != nil || m["id"] != nil || m["documentId"] != nil)
		calls = append(calls, c)
	}
	return calls
}

func text(v any) (string, bool) {
	if v == nil {
		return "", true
	}
	s, ok := v.(string)
	return s, ok
}

func (c *Checker) fromValues(values url.Values, out *Result) []call {
	for _, name := range []string{"query", "operationName", "variables", "extensions"} {
		if len(values[name]) > 1 {
			out.add(CodeRepeated, name, "is given more than once: servers differ in which one they take")
		}
	}
	one := call{text: values.Get("query"), name: values.Get("operationName")}
	if v := values.Get("variables"); v != "" {
		tree, _, err := jsontree.DecodeString(v, jsontree.Limits{})
		variables, is := tree.(map[string]any)
		if err != nil || !is && tree != nil {
			out.add(CodeSyntax, "variables", "must be a JSON object")
		}
		one.variables = variables
	}
	if one.text == "" {
		if values.Get("extensions") == "" && values.Get("id") == "" && values.Get("documentId") == "" {
			out.add(CodeOperation, "", "there is no query")
			return nil
		}
		one.digest = true
	}
	return []call{one}
}

// fromMultipart reads uploads: a part "operations" that is JSON, a part "map", and files.
func (c *Checker) fromMultipart(r *Request, out *Result) []call {
	_, params, err := mime.ParseMediaType(r.ContentType)
	boundary := params["boundary"]
	if err != nil || boundary == "" || len(boundary) > 70 {
		out.add(CodeSyntax, "", "the content type names no boundary")
		return nil
	}
	reader := multipart.NewReader(bytes.NewReader(r.Body), boundary)
	operations, found := "", 0
	for n := 0; ; n++ {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			out.add(CodeSyntax, "", "the body is no complete multipart")
			return nil
		}
		if n >= maxForm {
			out.add(CodeNotChecked, "", "there are more than 100 parts")
			return nil
		}
		if part.FormName() != "operations" {
			continue
		}
		found++
		text, err := io.ReadAll(part)
		if err != nil {
			out.add(CodeSyntax, "operations", "the part is not complete")
			return nil
		}
		operations = string(text)
	}
	switch found {
	case 0:
		out.add(CodeOperation, "operations", "there is no part of this name")
		return nil
	case 1:
	default:
		out.add(CodeRepeated, "operations", "is given more than once: servers differ in which one they take")
	}
	return c.decode(operations, out)
}
