package ui

import "testing"

func TestExcerpt(t *testing.T) {
	list := "# head\n- list: a\n  items: [x]\n\n# about b\n- rule: b\n  condition: >\n    one\n\n    and two\n  tags:\n  - deep\n# about c\n- rule: c\n"
	docs := "id: a\nwhen: x\n---\n# about b\nid: b\nlist:\n- 1\n- 2\n\n---\nid: c\n"
	for _, c := range []struct {
		name, source string
		line         int
		want         excerpt
	}{
		{"an item in the middle", list, 6, excerpt{From: 6, To: 12, Text: "- rule: b\n  condition: >\n    one\n\n    and two\n  tags:\n  - deep"}},
		{"the last item", list, 14, excerpt{From: 14, To: 14, Text: "- rule: c"}},
		{"a document", docs, 5, excerpt{From: 4, To: 8, Text: "# about b\nid: b\nlist:\n- 1\n- 2"}},
		{"the first document", docs, 1, excerpt{From: 1, To: 2, Text: "id: a\nwhen: x"}},
		{"the only document", "id: a\nwhen: x\n", 1, excerpt{From: 1, To: 2, Text: "id: a\nwhen: x", Whole: true}},
		{"no line", "id: a\n", 0, excerpt{From: 1, To: 1, Text: "id: a", Whole: true}},
		{"a line that is not there", "id: a\n", 70, excerpt{From: 1, To: 1, Text: "id: a", Whole: true}},
		{"nothing", "", 3, excerpt{From: 1, To: 1, Whole: true}},
	} {
		if got := excerptOf(c.source, c.line); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
