package personal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
)

const (
	goTrace = "goroutine 17 [running]:\nmain.(*Server).handle(0xc000010000, {0x1, 0x2})\n\t/srv/app/main.go:42 +0x1d\nmain.main()\n\t/srv/app/main.go:12 +0x2b\n\nok\n"
	pyTrace = "Traceback (most recent call last):\n  File \"/srv/app/x.py\", line 3, in <module>\n    boom(\"s3cret\")\nValueError: bad value 'x'\nafter\n"
	token   = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)

// expand fills the templates of package detect, so that no file holds a key in full.
func expand(t testing.TB, text string) string {
	t.Helper()
	out, err := detect.Expand(text, "personal")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// parts are what random texts are made of.
func parts(t testing.TB) []string {
	out := []string{
		"hello ", "World", "\n", "\n\n", " ", ",", `"`, `\n`, `\t`, `\"`, "{", "}", "<td>", "</td>", "<br>", "&nbsp;", "&lt;", "&", "%20", "%", `\`, `\u00`, `\u0020`, "é", "\u00a0", "\xc2", "12", "1", "4111", " 1111",
		"data: {\"delta\":\"", `"}` + "\n\n", "AB", "GB29", "X-", "-", "+", "bob@", "bob@example.org", "alice@mail.example.com.", "+33 6 12 34 56 78", "212-555-0142", "/srv/app/user.rb:12:in `find'", "a/b/c.rb", `"ssn":"`, "536-22-1234", "personnummer ",
		goTrace, strings.ReplaceAll(goTrace, "\n", `\n`), pyTrace, "\tat com.foo.Bar.baz(Bar.java:12)\n", "    at fn (/srv/a.js:1:2)\n", "  at ", "Stack trace:\n#0 /var/www/a.php(3): f()\n#1 {main}\n  thrown", "thread 'main' panicked at src/main.rs:2:5:\nmessage\nnext",
		"stack backtrace:\n   0: core::panic\n   1: main\nnext", "You have an error in your SQL syntax near 'x'\n", `SQLSTATE[42S02]: "x"`, "<b>Warning</b>:  f() in <b>/a.php</b> on line <b>1</b><br />", "Caused by: a.b.CException: m\n", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----",
		token, "eyJ", "eyJhbGciOiJ", `\u0034\u0031`, "&#52;", "&#x34;", "%34%31",
	}
	for _, e := range examples {
		out = append(out, e.number, " "+e.word+": ")
	}
	for _, s := range []string{"{{pem EC}}", "{{pem-line PKCS8}}", "{{github ghp_}}", "{{gitlab glpat-}}", "{{aws AKIA}}", "sk_live_{{base62 24}}", "{{pypi}}"} {
		out = append(out, expand(t, s))
	}
	return out
}

func randomText(r *rand.Rand, parts []string, n int) []byte {
	var b []byte
	for range n {
		p := parts[r.IntN(len(parts))]
		if r.IntN(8) == 0 { // cut off
			p = p[:r.IntN(len(p)+1)]
		}
		b = append(b, p...)
		if r.IntN(3) == 0 {
			b = append(b, " ,\n\"x"[r.IntN(5)])
		}
	}
	return b
}

// inPieces gives a text to a stream in pieces of lengths that next says, and returns what comes out and what is told.
func inPieces(d *Detector, text []byte, next func() int) (out []byte, told string) {
	var b strings.Builder
	st := d.Stream(func(m Match) bool {
		fmt.Fprintf(&b, "%s %d %s\n", m.Kind.ID, m.Start, m.Confidence)
		return true
	})
	for len(text) > 0 {
		n := min(len(text), next())
		piece := bytes.Clone(text[:n])
		out = append(out, st.Write(piece)...)
		for i := range piece { // the stream has what it needs of it
			piece[i] = 'A'
		}
		text = text[n:]
	}
	return append(out, st.Close()...), b.String()
}

// checkText holds a text to what is promised: Find, Mask and a stream cut anyhow agree, and the mask is as long as the text.
func checkText(t *testing.T, d *Detector, text []byte, next ...func() int) {
	t.Helper()
	before := bytes.Clone(text)
	want := d.Mask(nil, text)
	if !bytes.Equal(before, text) {
		t.Fatalf("%q was changed", before)
	}
	if len(want) != len(text) {
		t.Fatalf("%q\nis masked as %q: %d bytes, not %d", text, want, len(want), len(text))
	}
	var told strings.Builder
	last := 0
	d.Find(text, func(m Match) bool {
		fmt.Fprintf(&told, "%s %d %s\n", m.Kind.ID, m.Start, m.Confidence)
		if m.Start < last || m.End < m.Start || m.End > len(text) {
			t.Fatalf("%q: %+v behind %d", text, m, last)
		}
		if !bytes.Equal(want[last:m.Start], text[last:m.Start]) {
			t.Fatalf("%q\nis masked as %q\nbeside matches", text, want)
		}
		last = m.End
		return true
	})
	if !bytes.Equal(want[last:], text[last:]) {
		t.Fatalf("%q\nis masked as %q\nbehind the last match", text, want)
	}
	for i, f := range next {
		got, said := inPieces(d, text, f)
		if said != told.String() {
			t.Fatalf("way %d: %q\nin pieces tells\n%swhole\n%s", i, text, said, told.String())
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("way %d: %q\nin pieces is %q\nwhole       %q", i, text, got, want)
		}
	}
}

func TestPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := parts(t)
	detectors := []*Detector{detector(t), detector(t, func(c *Config) { c.Contacts, c.Confidence = 1, detect.Low }), detector(t, func(c *Config) { c.Kinds, c.KeepLast = []string{"card", "national"}, 0 })}
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for i := range rounds {
		text := randomText(r, p, 1+r.IntN(14))
		most := 1 + r.IntN(60)
		checkText(t, detectors[i%3], text, func() int { return 1 }, func() int { return 1 + r.IntN(most) })
	}
}

// TestEveryCut cuts each part, between others, at each place.
func TestEveryCut(t *testing.T) {
	d := detector(t, func(c *Config) { c.Contacts = 0 })
	for _, p := range parts(t) {
		text := []byte("x " + p + " y\n")
		want := d.Mask(nil, text)
		for i := range text {
			st := d.Stream(nil)
			got := bytes.Clone(st.Write(text[:i]))
			got = append(got, st.Write(text[i:])...)
			if got = append(got, st.Close()...); !bytes.Equal(got, want) {
				t.Fatalf("%q cut at %d is %q, whole %q", text, i, got, want)
			}
		}
	}
}

// TestLongText: matches at the borders of blocks, in a text of several.
func TestLongText(t *testing.T) {
	d := detector(t)
	for _, p := range []string{"4111 1111 1111 1111", `\u0034111111111111111`, "AB 12 34 56 C", "DE89 3704 0044 0532 0130 00", token, goTrace, expand(t, "{{pem EC}}"), "/srv/app/user.rb:12:in `find'\n"} {
		for shift := -40; shift <= 10; shift++ {
			text := []byte(strings.Repeat("- ", (block+shift)/2) + strings.Repeat(" ", shift&1) + p + strings.Repeat(" -", block/2))
			if len(collect(d, string(text))) == 0 {
				t.Fatalf("%q at %d is not found", p, block+shift)
			}
			if got, want := func() ([]byte, string) { return inPieces(d, text, func() int { return len(text) }) }, d.Mask(nil, text); true {
				if out, _ := got(); !bytes.Equal(out, want) {
					t.Fatalf("%q at %d is masked another way in a stream", p, block+shift)
				}
			}
		}
	}
}

// TestLatency: what ends with a line's end, or with the end of a JSON value, goes out at once; of what does not, the last word at most.
func TestLatency(t *testing.T) {
	d := detector(t)
	for _, c := range []struct {
		piece string
		held  int
	}{
		{"data: {\"delta\":\"Hello\"}\n\n", 0},
		{"data: {\"pan\":\"4111111111111111\"}\n\n", 0},
		{"data: {\"jwt\":\"" + token + "\"}\n\n", 0},
		{"data: {\"key\":\"" + expand(t, "{{github ghp_}}") + "\"}\n\n", 0},
		{"data: " + strings.ReplaceAll(pyTrace, "\n", `\n`) + "\n\n", 0},
		{": keep-alive\n\n", 0},
		{"event: goroutine\ndata: Traceback\n\n", 0},
		{`{"a":[1,2,3],"t":1700000000000}`, 0},
		{"<p>some text</p>", 3}, // some tokens are known by the end of a tag before them
		{"the card 4111 1111 ", 10},
		{"the card 4111 1111 1111 1111", 19},
		{"see Traceback (most", 19},
		{"<td>GB29", 4},
		{expand(t, "{{pem EC}}")[:150], 0}, // masked as it comes
		{strings.Repeat("x", 300), leftward + 64},
	} {
		st := d.Stream(nil)
		st.Write([]byte(c.piece))
		if st.Held() > c.held {
			t.Errorf("%q: %d bytes are held, want %d at most", c.piece, st.Held(), c.held)
		}
	}
}

// TestHeld: whatever comes, little is held.
func TestHeld(t *testing.T) {
	d := detector(t)
	r := rand.New(rand.NewPCG(3, 4))
	p := append(parts(t), strings.Repeat("4", 1000), strings.Repeat("eyJh", 1000), strings.Repeat("  at a.", 500), strings.Repeat("A", 5000), "ops_eyJ"+strings.Repeat("a", 5000), strings.Repeat(`\u0034`, 500))
	for range 200 {
		st := d.Stream(nil)
		text := randomText(r, p, 20)
		for len(text) > 0 {
			n := min(len(text), 1+r.IntN(500))
			st.Write(text[:n])
			text = text[n:]
			if st.Held() > 5000 {
				t.Fatalf("%d bytes are held", st.Held())
			}
		}
	}
}

func FuzzStream(f *testing.F) {
	for i, p := range parts(f) {
		f.Add([]byte("a "+p+" b"), uint8(i))
	}
	d := detector(f, func(c *Config) { c.Contacts, c.Confidence = 1, detect.Low })
	f.Fuzz(func(t *testing.T, text []byte, n uint8) {
		checkText(t, d, text, func() int { return 1 }, func() int { return 1 + int(n) })
	})
}
