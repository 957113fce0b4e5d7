package schema

import (
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// libraryOf compiles the schemas for the library alone, the judge of these tests.
func libraryOf(name string, defs map[string]any, t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for _, f := range formats() {
		c.RegisterFormat(f)
	}
	if err := c.AddResource("https://judge.invalid/s", map[string]any{"$defs": defs}); err != nil {
		t.Fatal(err)
	}
	l, err := c.Compile("https://judge.invalid/s#/$defs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
