package api

import (
	"fmt"
	"slices"
	"testing"
)

// TestDecoys: parameters that somebody adds to hide which object he is after are told of.
func TestDecoys(t *testing.T) {
	r := newRig(t, "      objects: block\n      leaks: {mode: off}\n", nil)
	x := r.do(t, "GET", "/order?aId=1&bId=1&cId=1&dId=1&order_id=17", "Cookie: session=thief", "", 200, jsonType, `{"id": 17}`)
	if !slices.Contains(x.codes(), "object/too-many") {
		t.Errorf("%q", x.codes())
	}
	x = r.do(t, "GET", "/order?aId=1&bId=1&cId=1&order_id=17", "Cookie: session=thief", "", 200, jsonType, `{"id": 17}`)
	if slices.Contains(x.codes(), "object/too-many") {
		t.Errorf("four: %q", x.codes())
	}
	for mode, want := range map[string]bool{"auto": true, "report": false} {
		r := newRig(t, "      document: api.yaml\n      unchecked: "+mode+"\n", map[string]string{"api.yaml": document})
		x := r.do(t, "POST", "/orders", jsonType, fmt.Sprintf("%*s", 200_000, `{}`), 200, jsonType, "{}")
		if got := slices.Contains(x.codes(), "body/not-checked!"); got != want {
			t.Errorf("unchecked %s: %q", mode, x.codes())
		}
	}
}
