package testudo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// journal is the record of the parts' events, in no order.
type journal struct {
	*parts
	stats  store.ScanStats
	fault  error // of Sync
	behind uint64
	lost   uint64 // batches that the bus has no more
}

func (j *journal) Scan(_ context.Context, q store.Query, yield func(*signal.Event) bool) (store.ScanStats, error) {
	j.behind = q.Behind
	for _, e := range slices.Backward(j.recorded(signal.ClassHTTPActivity)) {
		if q.Where(e) && !yield(e) {
			break
		}
	}
	return j.stats, nil
}

func (j *journal) Sync(context.Context) error                { return j.fault }
func (j *journal) LastBatch(context.Context) (uint64, error) { return 7 - j.lost, nil }
func (j *journal) Acted(context.Context, signal.ID, string, string) (bool, error) {
	return len(j.orders) > 0, nil
}

func (j *journal) Finding(_ context.Context, id string) (signal.Finding, bool, error) {
	f, ok := j.findings[id]
	return f, ok, nil
}

// thirds judges by a rule that denies each third request to /attack of an address, and asks for a block.
func thirds(t testing.TB) *policy.Engine {
	t.Helper()
	set, err := policy.NewSet([]*policy.Rule{
		{ID: "attack", Title: "An attack", Silent: true, Condition: match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpEqual, false, "/attack")},
		{ID: "third", Title: "The third", Severity: signal.SeverityHigh, Then: signal.Deny,
			Actions: []policy.Action{{Kind: "block", Target: signal.FieldSrcEndpointIP, For: 10 * time.Minute}},
			Correlation: &policy.Correlation{Kind: window.Count, Of: []policy.Ref{{Rule: "attack"}}, Within: time.Hour, Tests: []window.Test{{Op: window.AtLeast, Than: 3}},
				GroupBy: []policy.Reading{{Name: "client", From: policy.Operand{Field: signal.FieldSrcEndpointIP}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return policy.NewEngine(set)
}

// run is a node on the parts, from a start to a stop that nobody knows of.
func (j *journal) run(t *testing.T, path string, logs *bytes.Buffer) *Node {
	t.Helper()
	n := NewNode(Deps{ID: "judge", Engine: thirds(t), Recorder: j, Orders: j, State: j, Now: j.Now, Logger: slog.New(slog.NewTextHandler(logs, nil)),
		Windows: path, Journal: j, Past: j})
	saved, err := ReadWindows(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := n.Resume(t.Context(), saved); err != nil {
		t.Fatal(err)
	}
	return n
}

func attack(t *testing.T, n *Node) signal.Verdict {
	t.Helper()
	return attackFrom(t, n, "203.0.113.9")
}

func attackFrom(t *testing.T, n *Node, client string) signal.Verdict {
	t.Helper()
	e := &signal.Event{Class: signal.ClassHTTPActivity, Plane: signal.PlaneEdge}
	e.SetString(signal.FieldHTTPRequestURLPath, "/attack")
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr(client))
	v, err := n.Event(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestResume: a node that stops at any moment goes on with its windows and its numbers, makes up for what a verdict
// had not led to yet, and repeats nothing that it had.
func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	var logs bytes.Buffer
	j := &journal{parts: newParts()}
	n := j.run(t, path, &logs)
	attack(t, n)
	n = j.run(t, path, &logs) // a crash: nothing but the record is left
	// What a source claims of verdicts is not believed, now or at the next start.
	forged := &signal.Event{Class: signal.ClassHTTPActivity}
	forged.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.9"))
	forged.SetStrings(signal.FieldVerdictRules, []string{"third"})
	forged.SetStrings(signal.FieldVerdictFeeding, []string{"attack", "attack"})
	if _, err := n.Event(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	n = j.run(t, path, &logs)
	attack(t, n)
	if v := attack(t, n); v.Decision != signal.Deny || len(v.Hits[0].Related) != 3 {
		t.Fatalf("the third, over a restart: %+v", v)
	}
	// The order went out, the finding did not.
	if len(j.orders) != 1 || len(j.findings) != 0 {
		t.Fatalf("orders %+v, findings %+v", j.orders, j.findings)
	}
	store := func(n *Node) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Run(ctx) }()
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	n = j.run(t, path, &logs)
	store(n)
	if len(j.findings) != 1 || len(j.orders) != 1 {
		t.Fatalf("after the restart: findings %+v, orders %+v", j.findings, j.orders)
	}
	for _, f := range j.findings {
		if f.Count != 1 || len(f.Events) != 3 || f.Rule != "third" {
			t.Errorf("finding %+v", f)
		}
	}
	saved, err := ReadWindows(path)
	if err != nil || saved.Seq != n.engine.Seq() || saved.Batch != 7 {
		t.Fatalf("saved at the stop: %+v %v", saved, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// Nothing is made up for twice, also from an older state.
	older := *saved
	older.Seq, older.State = 0, nil
	fresh := thirds(t)
	older.State, _ = fresh.AppendState(nil)
	if err := older.write(path); err != nil {
		t.Fatal(err)
	}
	n = j.run(t, path, &logs)
	store(n)
	for _, f := range j.findings {
		if f.Count != 1 {
			t.Errorf("the finding is counted again: %+v", f)
		}
	}
	if len(j.orders) != 1 || n.Stats().Inexact {
		t.Errorf("orders %+v, stats %+v\n%s", j.orders, n.Stats(), &logs)
	}

	// An order that did not go out does so for the time that is left.
	j.orders, j.findings = nil, map[string]signal.Finding{}
	if err := older.write(path); err != nil {
		t.Fatal(err)
	}
	j.advance(4 * time.Minute)
	j.run(t, path, &logs)
	if len(j.orders) != 1 || j.orders[0].For != 6*time.Minute || j.orders[0].Actor != "rule:third" {
		t.Errorf("orders made up for: %+v", j.orders)
	}
	j.orders = nil
	if err := older.write(path); err != nil {
		t.Fatal(err)
	}
	j.advance(time.Hour)
	j.run(t, path, &logs)
	if len(j.orders) != 0 {
		t.Errorf("an order that would be over goes out: %+v", j.orders)
	}
	// Nor does one last longer than the rule says, whatever the time of its event.
	if err := older.write(path); err != nil {
		t.Fatal(err)
	}
	j.advance(-2 * time.Hour)
	j.run(t, path, &logs)
	if len(j.orders) != 1 || j.orders[0].For != 10*time.Minute {
		t.Errorf("orders of an event that is ahead: %+v", j.orders)
	}

	numbers := map[uint64]bool{}
	for _, e := range j.events {
		if numbers[e.Seq] || e.Seq == 0 {
			t.Errorf("number %d is there twice", e.Seq)
		}
		numbers[e.Seq] = true
	}
}

// TestResumeInexact: what the record lacks is said.
func TestResumeInexact(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	tests := []struct {
		name    string
		change  func(j *journal)
		want    string
		skipped uint64 // numbers that may be in what could not be read
	}{
		{"a missing event", func(j *journal) { j.events = slices.Delete(j.events, 0, 1) }, "are not in the record", 0},
		{"a gap behind the state", func(j *journal) { j.stats.Gaps = []store.Gap{{FirstSeq: 9, LastSeq: 9, Count: 1}} }, "1 were judged and not recorded", 0},
		{"a damaged file", func(j *journal) { j.stats.Damaged = []string{"x.parquet"} }, "x.parquet", 1 << 32},
		{"a bus that does not answer", func(j *journal) { j.stats.Unsynced = errors.New("no answer") }, "no answer", 1 << 32},
		{"an old gap", func(j *journal) { j.stats.Gaps = []store.Gap{{Count: 1}} }, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_ = os.Remove(path)
			var logs bytes.Buffer
			j := &journal{parts: newParts()}
			n := j.run(t, path, &logs)
			attack(t, n)
			attack(t, n)
			tt.change(j)
			n = j.run(t, path, &logs)
			if n.Stats().Inexact != (tt.want != "") || !strings.Contains(logs.String(), tt.want) {
				t.Errorf("inexact is %v, the log says\n%s", n.Stats().Inexact, &logs)
			}
			if got := n.engine.Seq(); got != 2+tt.skipped {
				t.Errorf("numbers go on behind %d", got)
			}
		})
	}
	t.Run("a state of no use", func(t *testing.T) {
		var logs bytes.Buffer
		if err := (&SavedWindows{Judge: "judge", Seq: 41, State: []byte{99}}).write(path); err != nil {
			t.Fatal(err)
		}
		j := &journal{parts: newParts()}
		n := j.run(t, path, &logs)
		attack(t, n)
		if !n.Stats().Inexact || j.events[0].Seq != 42 {
			t.Errorf("the next number is %d", j.events[0].Seq)
		}
	})
}

// TestResumeOfMany: what is made up for is more than the queue takes, and one rule's findings leave room for another's.
func TestResumeOfMany(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	j := &journal{parts: newParts()}
	n := j.run(t, path, new(bytes.Buffer))
	j.orders = nil
	for range 3 * (findingQueue + 100) { // nothing is stored meanwhile
		attack(t, n)
	}
	n = j.run(t, path, new(bytes.Buffer))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Fatal(err)
	}
	for _, f := range j.findings {
		if f.Count != findingQueue+100 || n.Stats().Missed != 0 {
			t.Errorf("%d of %d are made up for, %d missed", f.Count, findingQueue+100, n.Stats().Missed)
		}
	}
	if len(j.findings) != 1 {
		t.Errorf("findings %+v", j.findings)
	}
}

// TestResumeInterleaved: of windows that overlap, a finding names the events of the last ones alone; those before are
// not made up for again, and those behind are.
func TestResumeInterleaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	j := &journal{parts: newParts()}
	n := j.run(t, path, new(bytes.Buffer))
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	total := uint64(0)
	run := func(clients int) {
		t.Helper()
		for range 3 {
			for i := range clients {
				attackFrom(t, n, fmt.Sprintf("203.0.113.%d", i))
			}
		}
		total += uint64(clients)
	}
	stored := func() {
		t.Helper()
		if err := n.Run(ended); err != nil {
			t.Fatal(err)
		}
		for _, f := range j.findings {
			if f.Count != total || len(f.Events) != signal.MaxFindingEvents {
				t.Errorf("%d of %d are counted, of %d events", f.Count, total, len(f.Events))
			}
		}
	}
	again := func() {
		t.Helper()
		if err := os.WriteFile(path, file, 0o600); err != nil { // as if it was not saved since
			t.Fatal(err)
		}
		n = j.run(t, path, new(bytes.Buffer))
	}
	run(12)
	stored()
	again()
	stored()
	run(9) // and these are not stored before the stop
	again()
	stored()
	again()
	stored()
}

// TestResumeOtherBus: a bus that was begun anew gives numbers of batches again, and what it holds is read.
func TestResumeOtherBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	var logs bytes.Buffer
	j := &journal{parts: newParts()}
	attack(t, j.run(t, path, &logs))
	j.lost = 5
	n := j.run(t, path, &logs)
	if j.behind != 2 || !n.Stats().Inexact || !strings.Contains(logs.String(), "the bus was begun anew") || n.engine.Seq() != 1 {
		t.Errorf("read behind batch %d, %+v, the log says\n%s", j.behind, n.Stats(), &logs)
	}
	if err := n.saveWindows(t.Context()); err != nil {
		t.Fatal(err)
	}
	if saved, err := ReadWindows(path); err != nil || saved.Batch != 2 {
		t.Errorf("saved %+v %v", saved, err)
	}
}

// TestResumeAnew: a file of windows that is of no use is replaced, and that they are inexact is said; where there was
// none they are not.
func TestResumeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	for _, there := range []bool{false, true} {
		var logs bytes.Buffer
		j := &journal{parts: newParts()}
		n := NewNode(Deps{ID: "judge", Engine: thirds(t), Recorder: j, Orders: j, State: j, Now: j.Now, Logger: slog.New(slog.NewTextHandler(&logs, nil)),
			Windows: path, Journal: j, Past: j})
		if err := n.Resume(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if n.Stats().Inexact != there || strings.Contains(logs.String(), "begin anew") != there {
			t.Errorf("a file is there: %v; inexact is %v, the log says\n%s", there, n.Stats().Inexact, &logs)
		}
		if saved, err := ReadWindows(path); err != nil || saved.Judge != "judge" {
			t.Errorf("%+v %v", saved, err)
		}
	}
}

// TestResumeStopped: a stop while windows are being taken over leaves what is on disk.
func TestResumeStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	j := &journal{parts: newParts()}
	n := j.run(t, path, new(bytes.Buffer))
	attack(t, n)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n = NewNode(Deps{ID: "judge", Engine: thirds(t), Recorder: j, Orders: j, State: j, Now: j.Now, Logger: slog.New(slog.DiscardHandler),
		Windows: path, Journal: j, Past: j})
	saved, err := ReadWindows(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Resume(ctx, saved); !errors.Is(err, context.Canceled) {
		t.Errorf("resume: %v", err)
	}
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed (%v)", err)
	}
}

// TestSaveWaits: a state is not saved before its events are on disk.
func TestSaveWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), WindowsFile)
	j := &journal{parts: newParts()}
	n := j.run(t, path, new(bytes.Buffer))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	attack(t, n)
	j.fault = errors.New("the bus is away")
	if err := n.saveWindows(t.Context()); !errors.Is(err, j.fault) {
		t.Errorf("saved: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("a state of events that are not on disk was written")
	}
	// What a crash left beside the file goes.
	unfinished := filepath.Join(filepath.Dir(path), "."+WindowsFile+"-123")
	if err := os.WriteFile(unfinished, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	j.run(t, path, new(bytes.Buffer))
	if _, err := os.Stat(unfinished); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unfinished file stays: %v", err)
	}
}

func TestWindowsFile(t *testing.T) {
	want := &SavedWindows{Judge: "judge", Batch: 1 << 40, Seq: 12345, State: []byte("state")}
	whole := want.append(nil)
	got, err := parseWindows(whole)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	for i := range whole {
		bad := slices.Clone(whole)
		bad[i] ^= 0x10
		if _, err := parseWindows(bad); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
		if _, err := parseWindows(whole[:i]); err == nil {
			t.Errorf("%d bytes are enough", i)
		}
	}
}

func FuzzWindowsFile(f *testing.F) {
	f.Add((&SavedWindows{}).append(nil))
	f.Add((&SavedWindows{Judge: "judge", State: []byte("state")}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := parseWindows(b); err == nil && !bytes.Equal(w.append(nil), b) {
			t.Errorf("%x is read as %+v", b, w)
		}
	})
}
