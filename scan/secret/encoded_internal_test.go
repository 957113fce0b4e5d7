package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
)

// FuzzRuns holds that the runs are those that a look at every character finds.
func FuzzRuns(f *testing.F) {
	f.Add([]byte("a short one, and abcdefghijklmnopqrstuvwxyz0123456789"))
	f.Add(bytes.Repeat([]byte("a"), shortestRun))
	f.Add(append(bytes.Repeat([]byte("a"), shortestRun-1), '.', 'b'))
	f.Fuzz(func(t *testing.T, text []byte) {
		at := 0
		for i := 0; i <= len(text); {
			j := i
			for j < len(text) && letters.base64[text[j]] != other {
				j++
			}
			if j-i >= shortestRun {
				start, end := nextRun(text, at)
				if start != i || end != j {
					t.Fatalf("run at %d to %d, want %d to %d", start, end, i, j)
				}
				at = end
			}
			i = j + 1
		}
		if start, _ := nextRun(text, at); start >= 0 {
			t.Fatalf("a run at %d that is none", start)
		}
	})
}

// FuzzDecode holds that decoding undoes encoding, and that what is found has a place in the text.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("x = aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxkMQ== %41%42%"))
	f.Add([]byte("%%%4%41%41"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := unbase64(nil, []byte(base64.StdEncoding.EncodeToString(text))); !bytes.Equal(got, text) {
			t.Errorf("base64 of %q comes back as %q", text, got)
		}
		if got := unbase64(nil, []byte(base64.RawURLEncoding.EncodeToString(text))); !bytes.Equal(got, text) {
			t.Errorf("base64 of %q comes back as %q", text, got)
		}
		if got := unhex([]byte(hex.EncodeToString(text))); !bytes.Equal(got, text) {
			t.Errorf("hex of %q comes back as %q", text, got)
		}
		d := decoder{room: maxDecoded, find: func(_ string, found []byte, yield func(detect.Match) bool) bool {
			if len(found) > 0 {
				yield(detect.Match{Start: 0, End: 1})
			}
			return true
		}}
		d.look(text, 0, "", 0, 0)
		for _, h := range d.hits {
			if h.Start < 0 || h.Start >= h.End || h.End > len(text) || h.via == "" {
				t.Errorf("%+v in a text of %d", h, len(text))
			}
		}
	})
}

// TestFull holds that what is found in decoded text is bounded, and the rest of the file is not looked at then: each of them is
// compared with all that was found in the clear.
func TestFull(t *testing.T) {
	word := base64.StdEncoding.EncodeToString([]byte("a Secret in 24 letters, 1"))
	text := []byte(strings.Repeat(word+"\n", maxHits+5000))
	calls := 0
	d := decoder{path: "x", room: maxDecoded + len(text), find: func(_ string, _ []byte, yield func(detect.Match) bool) bool {
		calls++
		return yield(detect.Match{Rule: &detect.Rule{}, Start: 2, End: 8})
	}}
	d.look(text, 0, "", 0, 0)
	if len(d.hits) != maxHits || calls != maxHits || !d.short {
		t.Errorf("%d hits of %d calls, short: %v", len(d.hits), calls, d.short)
	}
}
