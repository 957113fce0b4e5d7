package logs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/logs"
)

func read(t testing.TB, r *logs.Reader) (all []string) {
	t.Helper()
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(record))
	}
}

func TestReader(t *testing.T) {
	lines, docs := logs.Format{}, logs.Format{Framing: logs.Documents, Envelopes: []string{"Records", "items"}}
	for _, c := range []struct {
		name   string
		format logs.Format
		stream string
		want   []string
		stats  logs.Stats
	}{
		{"lines", lines, "a\nb\r\n\n  \nc", []string{"a", "b", "c"}, logs.Stats{Records: 3}},
		{"a byte order mark", lines, "\xef\xbb\xbfa\n", []string{"a"}, logs.Stats{Records: 1}},
		{"a line too long", lines, "a\n" + strings.Repeat("x", 300) + "\nb\n", []string{"a", "b"}, logs.Stats{Records: 2, Oversize: 1, Skipped: 300}},
		{"documents", docs, `{"a":1}` + "\n" + `{"b":{"c":[2]}}` + "\n", []string{`{"a":1}`, `{"b":{"c":[2]}}`}, logs.Stats{Records: 2}},
		{"documents without a line between", docs, `{"a":1}{"b":2} {"c":3}`, []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}, logs.Stats{Records: 3}},
		{"an array", docs, "[ {\"a\":1},\n {\"b\":2} ]\n", []string{`{"a":1}`, `{"b":2}`}, logs.Stats{Records: 2}},
		{"printed", docs, "{\n \"a\": {\n  \"b\": 1\n }\n}\n{\n \"c\": 2\n}\n", []string{"{\n \"a\": {\n  \"b\": 1\n }\n}", "{\n \"c\": 2\n}"}, logs.Stats{Records: 2}},
		{"an envelope", docs, `{"Records":[{"a":"]}"},{"b":2}],"next":{"x":[1]}}{"c":3}`, []string{`{"a":"]}"}`, `{"b":2}`, `{"c":3}`}, logs.Stats{Records: 3}},
		{"an envelope of Kubernetes", docs, `{"kind":"EventList","apiVersion":"v1","metadata":{},"items":[{"a":1}]}`, []string{`{"a":1}`}, logs.Stats{Records: 1}},
		{"one envelope a line", docs, "{\"Records\":[{\"a\":1}]}\n{\"Records\":[{\"b\":2}]}\n", []string{`{"a":1}`, `{"b":2}`}, logs.Stats{Records: 2}},
		{"no envelope", docs, `{"x":1,"Records":[{"a":1}]}`, []string{`{"x":1,"Records":[{"a":1}]}`}, logs.Stats{Records: 1}},
		{"an empty envelope", docs, `{"Records":[]}{"a":1}`, []string{`{"a":1}`}, logs.Stats{Records: 1}},
		{"a document that breaks off", docs, "{\"a\":{\"b\":1\n{\"c\":2}\n{\"d\":\"x\n{\"e\":3}\n", []string{"{\"a\":{\"b\":1\n", `{"c":2}`, "{\"d\":\"x\n", `{"e":3}`}, logs.Stats{Records: 4, Broken: 2}},
		{"stray text", docs, "hello {\"no\":1}\n{\"a\":1}\n", []string{`hello {"no":1}`, `{"a":1}`}, logs.Stats{Records: 2}},
		{"a document too long", docs, `{"a":"` + strings.Repeat("x", 300) + `","b":[1]}{"c":3}`, []string{`{"c":3}`}, logs.Stats{Records: 1, Oversize: 1, Skipped: 316}},
		{"a document without an end", docs, `{"a":1}` + "\n" + `{"b":`, []string{`{"a":1}`, `{"b":`}, logs.Stats{Records: 2, Broken: 1}},
		{"the inside of an array, after a restart", docs, `,{"a":1},{"b":2}]}`, []string{`{"a":1}`, `{"b":2}`}, logs.Stats{Records: 2}},
		{"quotes with escapes", docs, `{"a":"\\"}{"b":"\"{"}`, []string{`{"a":"\\"}`, `{"b":"\"{"}`}, logs.Stats{Records: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, src := range map[string]io.Reader{"at once": strings.NewReader(c.stream), "byte by byte": iotest.OneByteReader(strings.NewReader(c.stream))} {
				r := logs.NewReader(src, c.format, logs.Options{MaxRecord: 200})
				r.Finish()
				if d := cmp.Diff(c.want, read(t, r)); d != "" {
					t.Errorf("%s: %s", name, d)
				}
				if d := cmp.Diff(c.stats, r.Stats()); d != "" && name == "at once" {
					t.Errorf("%s: %s", name, d)
				}
			}
		})
	}
}

// The end of a followed file is not final: an unfinished record waits for its rest.
func TestReaderFollows(t *testing.T) {
	for _, f := range []logs.Format{{}, {Framing: logs.Documents}} {
		var file bytes.Buffer
		r := logs.NewReader(&file, f, logs.Options{})
		file.WriteString("{\"a\":1}\n{\"b\":")
		if got := read(t, r); len(got) != 1 {
			t.Fatal(got)
		}
		file.WriteString("2}\n{\"c\":3")
		if d := cmp.Diff([]string{`{"b":2}`}, read(t, r)); d != "" {
			t.Error(d)
		}
		r.Finish()
		if d := cmp.Diff([]string{`{"c":3`}, read(t, r)); d != "" {
			t.Error(d)
		}
	}
}

// Whatever record was handed out last, a reader that starts at Offset goes on with the next one.
func TestOffset(t *testing.T) {
	docs := logs.Format{Framing: logs.Documents, Envelopes: []string{"Records"}}
	for _, stream := range []string{
		"{\"a\":1}\n{\"b\":2}\n{\"c\":[{\"x\":1}]}\n",
		`{"Records":[{"a":1},{"b":"]"},{"c":3}]}` + "\n" + `{"Records":[{"d":1}]}`,
		"[\n{\"a\":1},\n{\n\"b\":2}\n]\n",
	} {
		all := logs.NewReader(strings.NewReader(stream), docs, logs.Options{})
		all.Finish()
		want := read(t, all)
		r := logs.NewReader(strings.NewReader(stream), docs, logs.Options{})
		for i := range want {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
			rest := logs.NewReader(strings.NewReader(stream[r.Offset():]), docs, logs.Options{})
			rest.Finish()
			if got := read(t, rest); strings.Join(got, "|") != strings.Join(want[i+1:], "|") {
				t.Errorf("after %d records of %q: %q, want %q", i+1, stream, got, want[i+1:])
			}
		}
	}
}

func pairs(line []byte) ([]byte, logs.Part) {
	key, rest, _ := bytes.Cut(line, []byte{' '})
	switch string(rest) {
	case "end":
		return key, logs.Last
	case "close":
		return key, logs.Closer
	case "alone":
		return key, logs.Alone
	}
	return key, logs.More
}

func TestGroups(t *testing.T) {
	f := logs.Format{Group: pairs}
	var file bytes.Buffer
	file.WriteString("1 a\n2 a\n1 b\n3 alone\n2 end\n1 close\n4 a\n")
	r := logs.NewReader(&file, f, logs.Options{MaxGroups: 3})
	if d := cmp.Diff([]string{"1 a\n1 b", "2 a\n2 end", "3 alone"}, read(t, r)); d != "" {
		t.Error(d)
	}
	if r.Offset() != int64(len("1 a\n2 a\n1 b\n3 alone\n2 end\n1 close\n")) {
		t.Errorf("offset %d: the open record is not read", r.Offset())
	}
	r.Settle()
	if d := cmp.Diff([]string{"4 a"}, read(t, r)); d != "" {
		t.Error(d)
	}
	// Too many are open: the oldest go first, whatever they wait for.
	file.WriteString("5 a\n6 a\n7 a\n8 a\n9 a\n5 late\n")
	if d := cmp.Diff([]string{"5 a", "6 a", "7 a"}, read(t, r)); d != "" {
		t.Error(d)
	}
	r.Finish()
	if d := cmp.Diff([]string{"8 a", "9 a", "5 late"}, read(t, r)); d != "" {
		t.Error(d)
	}
	if s := r.Stats(); s.Records != 10 || s.Unclosed != 7 {
		t.Errorf("%+v", s)
	}
}

type both struct{ left [][]byte }

func (b *both) Next() ([]byte, bool) {
	if len(b.left) == 0 {
		return nil, false
	}
	next := b.left[0]
	b.left = b.left[1:]
	return next, true
}

func TestUnpack(t *testing.T) {
	f := logs.Format{Unpack: func(record []byte) (logs.Unpacked, error) {
		if bytes.HasPrefix(record, []byte("bad")) {
			return nil, errors.New("bad")
		}
		return &both{bytes.Fields(record)}, nil
	}}
	stream := "a b\nbad x\nc\n"
	r := logs.NewReader(strings.NewReader(stream), f, logs.Options{})
	r.Finish()
	if record, err := r.Next(); err != nil || string(record) != "a" || r.Offset() != 0 {
		t.Errorf("%q %v, offset %d: the second is not handed out", record, err, r.Offset())
	}
	if d := cmp.Diff([]string{"b", "bad x", "c"}, read(t, r)); d != "" {
		t.Error(d)
	}
	if r.Stats().Records != 4 || r.Offset() != int64(len(stream)) {
		t.Errorf("%+v, offset %d", r.Stats(), r.Offset())
	}
}

// However a stream comes in, lines are cut in the same way; anything is read to its end, within the bounds.
func FuzzReader(f *testing.F) {
	f.Add([]byte("{\"Records\":[{\"a\":1},{}],\"x\":[1]}\n{\"b\":\n{\"c\":\"\\\"\"}"), uint8(1))
	f.Add([]byte("[{\"a\":1},2,\"x\"]\n{\"a\":1}\n{\"b\":2}\n\xef\xbb\xbf{\"c\":{\"d\":\n\"e\"}}"), uint8(3))
	f.Add([]byte("type=A 1\ntype=B 1\n\n"), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, kind uint8) {
		format := []logs.Format{{}, {Framing: logs.Documents, Envelopes: []string{"Records"}}, {Group: pairs}, {Framing: logs.Documents}}[kind%4]
		const limit = 64
		all := func(src io.Reader) (records []string) {
			r := logs.NewReader(src, format, logs.Options{MaxRecord: limit})
			r.Finish()
			records = read(t, r)
			if r.Offset() != int64(len(stream)) {
				t.Fatalf("ends at %d of %d", r.Offset(), len(stream))
			}
			return records
		}
		a, b := all(bytes.NewReader(stream)), all(iotest.OneByteReader(bytes.NewReader(stream)))
		for _, record := range a {
			if len(record) > limit && format.Group == nil {
				t.Fatalf("a record of %d bytes", len(record))
			}
		}
		if d := cmp.Diff(a, b); d != "" && format.Framing == logs.Lines {
			t.Fatalf("byte by byte it is cut otherwise:\n%s", d)
		}
	})
}

// Documents come out as they went in, however they are laid out and read.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte("{\"a\":[1,{}]}\x00{\"b\":\"}{\\n\\\"\"}\x00{}"), uint8(0), uint8(7))
	f.Add([]byte("{\"a\":{}}\x00{\"Records\":1}\x00{\"c\":\"\"}"), uint8(3), uint8(1))
	f.Add([]byte("{\"Records\":[]}\x00{\"c\":[[]]}"), uint8(4), uint8(2))
	f.Fuzz(func(t *testing.T, docs []byte, layout, size uint8) {
		var want []string
		var stream bytes.Buffer
		for doc := range bytes.SplitSeq(docs, []byte{0}) {
			doc = bytes.TrimSpace(doc)
			if !json.Valid(doc) || !bytes.HasPrefix(doc, []byte{'{'}) {
				continue
			}
			var b bytes.Buffer
			if layout%2 == 0 {
				json.Compact(&b, doc)
			} else {
				json.Indent(&b, doc, "", " ")
			}
			if strings.HasPrefix(b.String(), `{"Records":[`) || strings.HasPrefix(b.String(), "{\n \"Records\": [") {
				continue
			}
			want = append(want, b.String())
			stream.Write(b.Bytes())
			stream.WriteString([]string{"\n", "", ",", " \r\n", "\n\n"}[int(layout/2)%5])
		}
		text := stream.String()
		if layout >= 128 {
			text = `{"Records":[` + text + `],"more":{"x":[{}]}}`
		}
		format := logs.Format{Framing: logs.Documents, Envelopes: []string{"Records"}}
		r := logs.NewReader(&chunks{[]byte(text), int(size) + 1}, format, logs.Options{})
		r.Finish()
		if d := cmp.Diff(want, read(t, r)); d != "" {
			t.Fatalf("%q:\n%s", text, d)
		}
		if r.Stats().Broken != 0 {
			t.Fatalf("%+v", r.Stats())
		}
	})
}

// chunks hands out a few bytes at a time.
type chunks struct {
	left []byte
	size int
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.left[:min(c.size, len(c.left))])
	c.left = c.left[n:]
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	line := `{"winlog":{"event_data":{"Image":"C:\\Windows\\System32\\cmd.exe","CommandLine":"cmd /c ` + strings.Repeat("x", 700) + `"},"event_id":"1"}}` + "\n"
	stream := []byte(strings.Repeat(line, 2000))
	array := []byte(`{"Records":[` + strings.TrimSuffix(strings.Repeat(strings.TrimSpace(line)+",", 2000), ",") + `]}`)
	for name, c := range map[string]struct {
		stream []byte
		format logs.Format
	}{
		"lines": {stream, logs.Format{}}, "documents": {stream, logs.Format{Framing: logs.Documents}},
		"envelope": {array, logs.Format{Framing: logs.Documents, Envelopes: []string{"Records"}}},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(c.stream)))
			b.ReportAllocs()
			for b.Loop() {
				r := logs.NewReader(bytes.NewReader(c.stream), c.format, logs.Options{})
				r.Finish()
				n := 0
				for _, err := r.Next(); err == nil; _, err = r.Next() {
					n++
				}
				if n != 2000 {
					b.Fatal(n)
				}
			}
		})
	}
}
