package detect

import (
	"testing"
)

// TestAnchors: every example that a rule finds by how it begins is found at an anchor, at the same place, and however the text is cut
// off, what the anchor says before it has all is what it says in the end.
func TestAnchors(t *testing.T) {
	s := builtin(t)
	anchors := s.Anchors()
	if len(anchors) < 150 {
		t.Fatalf("%d anchors", len(anchors))
	}
	at := func(text []byte, pos int, whole bool) (Match, bool, bool) {
		var best Match
		var found bool
		for _, a := range anchors {
			if len(text)-pos < len(a.Literal) || string(text[pos:pos+len(a.Literal)]) != a.Literal {
				continue
			}
			m, ok, wait := a.At(text, pos, whole)
			if wait {
				return Match{}, false, true
			}
			if ok && (!found || m.Rule.ID < best.Rule.ID) {
				best, found = m, true
			}
		}
		return best, found, false
	}
	found, rules := 0, map[string]bool{}
	for _, r := range s.Rules() {
		for i := range r.Tests.Find {
			example, err := Expand(r.Tests.Find[i].Text, r.ID)
			if err != nil {
				t.Fatal(err)
			}
			text := []byte(`{"a": "` + example + "\"}\n")
			for pos := range text {
				want, ok, wait := at(text, pos, true)
				if wait {
					t.Fatalf("%s waits for more of a whole text", r.ID)
				}
				if ok {
					found++
					rules[want.Rule.ID] = true
				}
				for _, cut := range []int{pos + 5, pos + 20, pos + 40, len(text) - 1} {
					if cut >= len(text) || cut <= pos {
						continue
					}
					for _, a := range anchors {
						if cut-pos < len(a.Literal) || string(text[pos:pos+len(a.Literal)]) != a.Literal {
							continue
						}
						full, fullOK, _ := a.At(text, pos, true)
						part, partOK, wait := a.At(text[:cut], pos, false)
						if !wait && (partOK != fullOK || part != full) {
							t.Fatalf("%s at %d: cut at %d it is %v %+v, whole %v %+v", a.Literal, pos, cut, partOK, part, fullOK, full)
						}
					}
				}
			}
		}
	}
	if found < 150 || len(rules) < 120 {
		t.Fatalf("found %d secrets of %d rules at anchors", found, len(rules))
	}
}
