package detect

import (
	"testing"
)

func builtin(t testing.TB) *Set {
	t.Helper()
	s, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRuleExamples runs the examples in the rule files.
func TestRuleExamples(t *testing.T) {
	for _, err := range builtin(t).Test() {
		t.Error(err)
	}
}
