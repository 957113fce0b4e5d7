package native

import (
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

func TestSentenceSaysEachElementOnce(t *testing.T) {
	tpl, mistakes := parseSentence("{waf.messages}, seen in {waf.targets}")
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	e := new(signal.Event)
	e.SetStrings(signal.FieldWAFMessages, []string{"Path Traversal", "Path Traversal", "File Access"})
	e.SetStrings(signal.FieldWAFTargets, []string{"ARGS:a", "ARGS:b", "ARGS:a"})
	if got, want := tpl.render(e), "Path Traversal, File Access, seen in ARGS:a, ARGS:b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
