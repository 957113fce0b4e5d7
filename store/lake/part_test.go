package lake

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// TestRepeatedValues writes rows that hold what the row before holds, nearly hold it, or held it before
// a row without.
func TestRepeatedValues(t *testing.T) {
	l := open(t, t.TempDir(), DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	texts := []string{"", "", "a", "a", "not \xff UTF-8", "not \xff UTF-8", "not \ufffd UTF-8", "a"}
	lists := [][]string{{"x", "y"}, {"x", "y"}, {"x"}, {"x"}, {"x", ""}, {""}, {"x\xff"}, {"x\xff"}, {"x\ufffd"}, nil, {"x"}, nil, nil, {"x"}}
	ips := []string{"10.0.0.1", "10.0.0.1", "::1", "10.0.0.1", "", "10.0.0.1"}
	numbers := []int64{0, 0, 7, 7, -1}
	shared := []string{"one", "two"} // the caller's own, who may fill it anew for each event
	var events []*signal.Event
	var want []map[string]any
	part, err := l.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Discard()
	for i := range 3 * stageRows {
		e := new(signal.Event)
		e.Class, e.Time, e.Seq = p.Class, p.Start().UnixNano()+int64(i), uint64(i+1)
		e.SetString(signal.FieldHTTPRequestURLPath, texts[i%len(texts)])
		if i%5 > 2 {
			e.SetMasked(signal.FieldHTTPRequestURLQueryString, "raw", "q=***")
		}
		e.SetStrings(signal.FieldHTTPRequestHeaderNames, lists[i%len(lists)])
		e.SetStrings(signal.FieldVulnerabilitiesCVEUID, lists[(i+3)%len(lists)])
		e.SetStrings(signal.FieldVulnerabilitiesTitle, lists[i*3%len(lists)])
		if ip, err := netip.ParseAddr(ips[i%len(ips)]); err == nil {
			e.SetIP(signal.FieldSrcEndpointIP, ip)
		}
		if i%7 != 3 {
			e.SetInt(signal.FieldHTTPResponseCode, numbers[i%len(numbers)])
		}
		e.SetTime(signal.FieldProcessCreatedTime, time.Unix(5, int64(i/2%3)*500))
		shared[i%2] = fmt.Sprint(i / 9 % 2)
		e.SetStrings(signal.FieldHTTPRequestArgsNames, shared)
		events = append(events, e)
		want = append(want, canonical(e))
		if err := part.Append(e); err != nil {
			t.Fatal(err)
		}
		if part.Rows() != i+1 {
			t.Fatalf("%d rows after %d events", part.Rows(), i+1)
		}
	}
	if err := part.Commit(1, 1); err != nil {
		t.Fatal(err)
	}
	got, _ := scanAll(t, l, store.Query{})
	if len(got) != len(events) {
		t.Fatalf("%d events, want %d", len(got), len(events))
	}
	for i := range got {
		if diff := cmp.Diff(want[i], canonical(got[i])); diff != "" {
			t.Fatalf("event %d (want -, got +):\n%s", i, diff)
		}
	}
}

// TestWriteFails holds that an error of a stage written in the background reaches the caller, and stays.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	if err := os.WriteFile(filepath.Join(dir, filepath.Dir(p.String())), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	part, err := l.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Discard()
	failed := 0
	for _, e := range requests(0, 3*stageRows) {
		if err := part.Append(e); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no Append failed, want the second stage to find out")
	}
	if err := part.Commit(1, 1); err == nil {
		t.Error("the part is committed without its events")
	}
	if s := l.Stats(); s.Written != 0 || s.Rows != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestDiscardWhileWriting holds that nothing is left of a part given up in the middle.
func TestDiscardWhileWriting(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	p := hourOf(signal.ClassHTTPActivity)
	for n := range 4 {
		part, err := l.Create(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range requests(0, n*stageRows) {
			if err := part.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		part.Discard()
	}
	if files, err := filepath.Glob(filepath.Join(dir, p.String(), "*")); err != nil || len(files) != 0 {
		t.Errorf("left: %v, %v", files, err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, p.String(), tempPrefix+"*")); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
}
