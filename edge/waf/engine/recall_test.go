package engine

import (
	"testing"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// TestRecall holds that what is remembered counts for the text, the class, the source and the key that it was found for, although another may
// stand in its place.
func TestRecall(t *testing.T) {
	headers, other := source(variables.RequestHeaders), source(variables.ResponseHeaders)
	tx := &Transaction{engine: &Engine{}}
	for _, s := range []source{headers, other} {
		tx.lit[s] = newBits(64)
	}
	lit := newBits(64)
	lit.set(7)
	k := newKnown()
	k.places[3].Store(&knownText{text: "text/html", key: "accept", class: 1, source: headers, lit: lit})
	for _, c := range []struct {
		text, key string
		class     class
		source    source
		place     int
		want      bool
	}{
		{"text/html", "accept", 1, headers, 3, true},
		{"text/xml", "accept", 1, headers, 3, false},
		{"text/html", "content-type", 1, headers, 3, false},
		{"text/html", "accept", 2, headers, 3, false},
		{"text/html", "accept", 1, other, 3, false},
		{"text/html", "accept", 1, headers, 4, false},
	} {
		clear(tx.lit[c.source])
		if got := k.recall(tx, &look{text: c.text}, c.class, c.source, c.key, c.place); got != c.want || tx.lit[c.source].has(7) != c.want {
			t.Errorf("%+v: %t, lit %t", c, got, tx.lit[c.source].has(7))
		}
	}
	a, _ := k.at(1, headers, "accept", "text/html")
	if b, _ := k.at(1, headers, "accept", "text/html"); a != b {
		t.Errorf("a text has the places %d and %d", a, b)
	}
}
