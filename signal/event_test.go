package signal

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// sample is an HTTP request as the edge reports it.
func sample() *Event {
	e := new(Event)
	e.ID, _ = ParseID("0192f0c1-2345-7abc-8def-0123456789ab")
	e.Parent, _ = ParseID("0192f0c1-2345-7abc-8def-0123456789ac")
	e.Time = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC).UnixNano()
	e.Class, e.Activity, e.Severity, e.Plane, e.Seq = ClassHTTPActivity, HTTPActivity("GET"), SeverityInfo, PlaneEdge, 42
	e.SetString(FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(FieldHTTPRequestURLPath, "/search")
	e.SetMasked(FieldHTTPRequestURLQueryString, "q=secret", "q=*")
	e.SetString(FieldHTTPRequestUserAgent, "curl/8.5")
	e.SetIP(FieldSrcEndpointIP, netip.MustParseAddr("127.0.0.66"))
	e.SetInt(FieldSrcEndpointPort, 40312)
	e.SetInt(FieldWAFScore, 15)
	e.SetStrings(FieldWAFRules, []string{"942100", "942190"})
	e.SetStrings(FieldEvidencesName, []string{"a", "b"})
	e.SetStrings(FieldEvidencesValue, []string{"1"})
	e.SetBool(FieldIsAlert, true)
	return e
}

func TestAccessors(t *testing.T) {
	e := sample()
	if e.Str(FieldHTTPRequestURLQueryString) != "q=secret" || e.RecordedStr(FieldHTTPRequestURLQueryString) != "q=*" {
		t.Error("a masked field must show its raw form to the judge and its recorded form to others")
	}
	r := e.Recorded()
	if r.Str(FieldHTTPRequestURLQueryString) != "q=*" || !r.IsMasked(FieldHTTPRequestURLQueryString) {
		t.Error("a recorded copy must hold the recorded form alone, and say that it is masked")
	}
	r.SetMasked(FieldRawData, "raw", "rec")
	if r.RecordedStr(FieldHTTPRequestURLQueryString) != "q=*" || r.RecordedStr(FieldRawData) != "rec" {
		t.Error("masking another field of a recorded copy must not change the first")
	}
	if e.Int(FieldClassUID) != 4002 || e.Int(FieldMetadataSequence) != 42 || e.Str(FieldMetadataLogProvider) != "edge" || !e.Has(FieldTime) {
		t.Error("header attributes must read as fields")
	}
	if !e.Bool(FieldIsAlert) || e.IP(FieldSrcEndpointIP).String() != "127.0.0.66" || e.Has(FieldDeviceHostname) || e.Str(FieldDeviceHostname) != "" {
		t.Error("wrong value")
	}
	e.SetStrings(FieldEvidencesName, nil)
	if e.Has(FieldEvidencesName) || !e.Has(FieldIsAlert) || len(e.Strings(FieldEvidencesValue)) != 1 {
		t.Error("an empty list must unset its field and no other")
	}
	e.Reset()
	if e.Has(FieldWAFScore) || e.Has(FieldEvidencesValue) || e.Class != 0 {
		t.Error("Reset must unset every field")
	}
	if Field(0).Name() != "" || Field(60000).Kind() != KindNone || e.Str(60000) != "" || e.Has(60000) {
		t.Error("a field out of range must be no field")
	}
}

func TestFullEventKeepsWorking(t *testing.T) {
	e := new(Event)
	for _, f := range Fields() {
		if f.Kind() == KindString && !f.IsHeader() {
			e.SetMasked(f, "raw", "rec")
		}
		if f.Kind() == KindStrings {
			e.SetStrings(f, []string{"x"})
		}
		if f.Kind() == KindInt && !f.IsHeader() {
			e.SetInt(f, 1)
		}
		if f.Kind() == KindTime && !f.IsHeader() {
			e.SetTime(f, time.Unix(1, 0))
		}
		if f.Kind() == KindBool {
			e.SetBool(f, true)
		}
	}
	if len(e.slots) != MaxFields {
		t.Fatalf("%d fields are set, want the bound of %d", len(e.slots), MaxFields)
	}
	var got Event
	if f := ReadFrames(e.AppendFrame(nil)); !f.Next(&got) || difference(e, &got) != "" {
		t.Fatalf("a full event does not survive the frame: %v", f.Err())
	}
}

func TestWrongKindPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("setting a field as another kind must panic")
		}
	}()
	new(Event).SetInt(FieldHTTPRequestURLPath, 1)
}

func TestIPv4MappedIsIPv4(t *testing.T) {
	e := new(Event)
	e.SetIP(FieldSrcEndpointIP, netip.MustParseAddr("::ffff:10.1.2.3"))
	if got := e.IP(FieldSrcEndpointIP); got != netip.MustParseAddr("10.1.2.3") {
		t.Errorf("got %v", got)
	}
}

func TestCopyToIsDeep(t *testing.T) {
	e, c := sample(), new(Event)
	e.CopyTo(c)
	e.Strings(FieldWAFRules)[0] = "changed"
	e.SetString(FieldHTTPRequestURLPath, "/other")
	if c.Strings(FieldWAFRules)[0] != "942100" || c.Str(FieldHTTPRequestURLPath) != "/search" || c.Str(FieldHTTPRequestURLQueryString) != "q=secret" {
		t.Error("a copy changes with its source")
	}
}

func TestIDs(t *testing.T) {
	seen, last := map[ID]bool{}, ""
	for i := range 1000 {
		id := NewID(time.UnixMilli(1_700_000_000_000 + int64(i)))
		back, err := ParseID(id.String())
		if err != nil || back != id || seen[id] || id.String() <= last {
			t.Fatalf("%v: %v, %v", id, back, err)
		}
		seen[id], last = true, id.String()
		if s := id.String(); s[14] != '7' || !strings.ContainsRune("89ab", rune(s[19])) {
			t.Fatalf("%s is not a UUID of version 7", s)
		}
	}
	for _, bad := range []string{"x", strings.Repeat("0", 36), "0192f0c1-2345-7abc-8def-0123456789zz"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("%q was read as an id", bad)
		}
	}
}

func TestNamesRoundTrip(t *testing.T) {
	for _, c := range Classes() {
		if got, err := ParseClass(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	for d := Allow; d <= Deny; d++ {
		if got, err := ParseDecision(d.String()); err != nil || got != d {
			t.Errorf("%v: %v, %v", d, got, err)
		}
	}
	for s := SeverityUnknown; s <= SeverityFatal; s++ {
		if got, err := ParseSeverity(s.String()); err != nil || got != s {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	for p := PlaneNone; p <= PlaneTestudo; p++ {
		if got, err := ParsePlane(p.String()); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if _, err := ParseClass("nope"); err == nil {
		t.Error("an unknown class was read")
	}
}

func TestFingerprint(t *testing.T) {
	if Fingerprint("a", "bc") == Fingerprint("ab", "c") || Fingerprint("a") != "hmmw7veqppw7khbqsduygxzppq" || len(Fingerprint()) != 26 {
		t.Error("parts must be kept apart, and the same parts give the same id")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	e, buf := sample(), make([]byte, 0, 4096)
	rules, path := []string{"1", "2"}, "/x"
	n := testing.AllocsPerRun(100, func() {
		e.Reset()
		e.SetString(FieldHTTPRequestURLPath, path)
		e.SetMasked(FieldHTTPRequestURLQueryString, path, path)
		e.SetStrings(FieldWAFRules, rules)
		e.SetIP(FieldSrcEndpointIP, netip.AddrFrom4([4]byte{10, 0, 0, 1}))
		e.SetInt(FieldWAFScore, 5)
		if e.Str(FieldHTTPRequestURLPath) != path || e.Int(FieldWAFScore) != 5 || !e.IP(FieldSrcEndpointIP).IsValid() {
			t.Fatal("wrong value")
		}
		buf = e.AppendFrame(buf[:0])
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkFieldAccess(b *testing.B) {
	e := sample()
	b.ReportAllocs()
	var n int64
	for b.Loop() {
		n += e.Int(FieldWAFScore) + int64(len(e.Str(FieldHTTPRequestURLPath)))
	}
	_ = n
}

func BenchmarkSet(b *testing.B) {
	e := new(Event)
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		e.SetString(FieldHTTPRequestURLPath, "/search")
		e.SetInt(FieldWAFScore, 5)
		e.SetIP(FieldSrcEndpointIP, netip.AddrFrom4([4]byte{10, 0, 0, 1}))
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	e, buf := sample(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendFrame(buf[:0])
	}
}

func BenchmarkReadFrames(b *testing.B) {
	var batch []byte
	for range 500 {
		batch = sample().AppendFrame(batch)
	}
	var e Event
	b.ReportAllocs()
	for b.Loop() {
		for f := ReadFrames(batch); f.Next(&e); {
			_ = e.Time
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/event")
}

func BenchmarkAppendJSON(b *testing.B) {
	e, buf := sample(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.AppendJSON(buf[:0])
	}
}
