package ui

import "testing"

// TestTemplates reads every page: one is otherwise read when somebody first asks for it.
func TestTemplates(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.pages) < 20 || p.pages["problem"] == nil {
		t.Errorf("%d pages", len(p.pages))
	}
	for name, read := range p.pages {
		if page, err := read(); err != nil || page.Lookup("base") == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
