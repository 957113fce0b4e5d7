package signal

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// random fills e with random fields of all kinds, masked ones among them.
func random(r *rand.Rand, e *Event, texts []string) {
	e.Reset()
	classes := Classes()
	e.ID, e.Parent = NewID(time.Unix(r.Int64N(4e9), 0)), ID{}
	if r.IntN(2) == 0 {
		e.Parent = NewID(time.Unix(r.Int64N(4e9), 0))
	}
	e.Time = r.Int64N(4e18)
	if r.IntN(20) == 0 {
		e.Time = -e.Time
	}
	e.Class = classes[r.IntN(len(classes))]
	e.Activity, e.Severity = uint8(r.IntN(9)), Severity(r.IntN(7))
	e.Plane, e.Seq = Plane(r.IntN(9)), uint64(r.Int64N(1<<40))
	text := func() string { return texts[r.IntN(len(texts))] }
	for range r.IntN(60) {
		f := Field(1 + r.IntN(fieldCount))
		if f.IsHeader() {
			continue
		}
		switch f.Kind() {
		case KindString:
			if r.IntN(4) == 0 {
				e.SetMasked(f, "RAW"+text(), text())
			} else {
				e.SetString(f, text())
			}
		case KindInt:
			e.SetInt(f, int64(r.Uint64()))
		case KindBool:
			e.SetBool(f, r.IntN(2) == 0)
		case KindFloat:
			e.SetFloat(f, r.NormFloat64())
		case KindTime:
			e.SetTime(f, time.Unix(0, r.Int64N(4e18)))
		case KindIP:
			var b [16]byte
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			if r.IntN(2) == 0 {
				e.SetIP(f, netip.AddrFrom4([4]byte(b[:4])))
			} else {
				e.SetIP(f, netip.AddrFrom16(b))
			}
		case KindStrings:
			list := make([]string, r.IntN(4))
			for i := range list {
				list[i] = text()
			}
			e.SetStrings(f, list)
		}
	}
	for range r.IntN(3) {
		e.SetUnmapped("x."+text(), text())
	}
}

var (
	plainTexts = []string{"", "a", "GET", "/download?file=x", "üñí", "q=*&page=*", strings.Repeat("long ", 300), "a\tb\n\"c\"\\", "\u2028"}
	rawTexts   = append([]string{"\x00\x01", "\xff\xfe", "caf\xe9"}, plainTexts...)
)

// difference names what differs between the recorded forms of two events, "" for nothing.
func difference(a, b *Event) string {
	if a.ID != b.ID || a.Time != b.Time || a.Class != b.Class || a.Activity != b.Activity || a.Severity != b.Severity ||
		a.Plane != b.Plane || a.Parent != b.Parent || a.Seq != b.Seq {
		return "header"
	}
	if len(a.slots) != len(b.slots) {
		return "number of fields"
	}
	for f := Field(1); f <= fieldCount; f++ {
		if a.Has(f) != b.Has(f) || a.IsMasked(f) != b.IsMasked(f) {
			return f.Name() + " is set or masked"
		}
		if a.RecordedStr(f) != b.RecordedStr(f) || a.Int(f) != b.Int(f) || a.Float(f) != b.Float(f) || a.IP(f) != b.IP(f) {
			return f.Name()
		}
		if strings.Join(a.Strings(f), "\x00") != strings.Join(b.Strings(f), "\x00") || len(a.Strings(f)) != len(b.Strings(f)) {
			return f.Name()
		}
	}
	if len(a.unmapped) != len(b.unmapped) {
		return "number of unmapped attributes"
	}
	for _, attr := range a.unmapped {
		if v, ok := b.Unmapped(attr.Name); !ok || v != attr.Value {
			return "unmapped " + attr.Name
		}
	}
	return ""
}

func TestFrameRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var batch []byte
	var sent []*Event
	for range 2000 {
		e := new(Event)
		random(r, e, rawTexts)
		batch = e.AppendFrame(batch)
		sent = append(sent, e)
	}
	big := new(Event)
	big.SetString(FieldRawData, strings.Repeat("x", 3<<20)) // needs a longer length
	batch, sent = big.AppendFrame(batch), append(sent, big)
	if bytes.Contains(batch, []byte("RAW")) {
		t.Fatal("the frame holds a raw form of a masked field")
	}
	frames, n := ReadFrames(batch), 0
	var got Event
	for frames.Next(&got) {
		if d := difference(sent[n], &got); d != "" {
			t.Fatalf("event %d differs in %s", n, d)
		}
		n++
	}
	if frames.Err() != nil || n != len(sent) {
		t.Fatalf("read %d of %d events: %v", n, len(sent), frames.Err())
	}
}

func TestFrameTruncated(t *testing.T) {
	e := sample()
	frame := e.AppendFrame(nil)
	var got Event
	for n := 1; n < len(frame); n++ {
		f := ReadFrames(frame[:n])
		if f.Next(&got) || f.Err() == nil {
			t.Fatalf("the first %d of %d bytes were read as an event", n, len(frame))
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var e, got Event
	for i := range 2000 {
		random(r, &e, plainTexts)
		line := e.AppendJSON(nil)
		if !json.Valid(line) || bytes.ContainsAny(line, "\n\r\x7f") {
			t.Fatalf("not one line of valid JSON: %q", line)
		}
		if bytes.Contains(line, []byte("RAW")) {
			t.Fatal("the JSON holds a raw form of a masked field")
		}
		if err := got.UnmarshalJSON(line); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if d := difference(&e, &got); d != "" {
			t.Fatalf("event %d differs in %s: %s", i, d, line)
		}
	}
}

func TestJSONBadInput(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`null`, "not a JSON object"},
		{`[]`, "cannot unmarshal array"},
		{`{"class_uid":70000}`, "class_uid: not a whole number in range: 70000"},
		{`{"class_uid":"x"}`, "class_uid: not a whole number in range: x"},
		{`{"activity_id":-1}`, "activity_id"},
		{`{"time":1e99}`, "time: not a whole number in range"},
		{`{"a":1} {"b":2}`, "more than one JSON value"},
		{`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested deeper than 32"},
		{`{` + strings.Repeat(" ", maxJSON) + `}`, "bytes, at most"},
	} {
		var e Event
		err := e.UnmarshalJSON([]byte(c.in))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: %v, want %q", c.in, err, c.want)
		}
		if len(e.slots) != 0 || e.Class != 0 {
			t.Errorf("%.40q: the event is not empty after an error", c.in)
		}
	}
}

func TestJSONUnknownAttributesAreKept(t *testing.T) {
	var e Event
	err := e.UnmarshalJSON([]byte(`{"class_uid":4002,"metadata":{"uid":"not-ours","product":{"vendor_name":"x"}},
		"http_request":{"http_method":7,"url":{"path":"/"}},"finding_info":{"attacks":[{"a":1}]}, "vulnerabilities":[{"cve":{"uid":"CVE-1"},"x":1},{"title":"t"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"metadata.uid": "not-ours", "metadata.product.vendor_name": "x", "http_request.http_method": "7",
		"finding_info.attacks": `[{"a":1}]`, "vulnerabilities.x": "1",
	} {
		if got, _ := e.Unmapped(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if got := e.Strings(FieldVulnerabilitiesTitle); len(got) != 2 || got[1] != "t" {
		t.Errorf("titles = %q: the second object's title must stay with the second", got)
	}
	if e.Str(FieldHTTPRequestURLPath) != "/" {
		t.Error("the path is lost")
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(sample().AppendFrame(nil))
	f.Add([]byte{0x80, 0x80, 0})
	f.Fuzz(func(t *testing.T, batch []byte) {
		var e, again Event
		for frames := ReadFrames(batch); frames.Next(&e); {
			f := ReadFrames(e.AppendFrame(nil))
			if !f.Next(&again) {
				t.Fatalf("an event that was read cannot be read again: %v", f.Err())
			}
			if d := difference(&e, &again); d != "" {
				t.Fatalf("differs in %s", d)
			}
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add(sample().AppendJSON(nil))
	f.Add([]byte(`{"class_uid":2002,"vulnerabilities":[{"cve":{"uid":"a"}},{}],"unmapped":{"a":{"b":1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, again Event
		if e.UnmarshalJSON(data) != nil {
			return
		}
		line := e.AppendJSON(nil)
		if err := again.UnmarshalJSON(line); err != nil {
			t.Fatalf("an event that was read cannot be read again: %v in %s", err, line)
		}
		if d := difference(&e, &again); d != "" {
			t.Fatalf("differs in %s: %s", d, line)
		}
	})
}

func TestFloatsWithoutJSONForm(t *testing.T) {
	if got := string(appendFloat(nil, math.NaN())) + string(appendFloat(nil, math.Inf(1))); got != "nullnull" {
		t.Errorf("got %s", got)
	}
}

// TestFramesLists has events of a batch, whose lists share memory, grow theirs.
func TestFramesLists(t *testing.T) {
	var batch []byte
	var want []string
	for i := range 300 {
		e := new(Event)
		e.SetStrings(FieldHTTPRequestHeaderNames, []string{"accept", strings.Repeat("x", i)})
		e.SetStrings(FieldHTTPRequestArgsNames, []string{"q"})
		want = append(want, string(e.AppendJSON(nil)))
		batch = e.AppendFrame(batch)
	}
	events := make([]Event, len(want))
	frames := ReadFrames(batch)
	for i := range events {
		if !frames.Next(&events[i]) {
			t.Fatalf("record %d: %v", i, frames.Err())
		}
		_ = append(events[i].Strings(FieldHTTPRequestHeaderNames), "another", "and one more")
	}
	for i := range events {
		if got := string(events[i].AppendJSON(nil)); got != want[i] {
			t.Errorf("event %d is %s, want %s", i, got, want[i])
		}
	}
}
