package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// record returns what the store keeps of a judged event: its recorded form with the verdict.
func record(e *signal.Event, v signal.Verdict) *signal.Event {
	rules := make([]string, len(v.Hits))
	for i, h := range v.Hits {
		rules[i] = h.Rule
	}
	e.SetStrings(signal.FieldVerdictRules, rules)
	kept := new(signal.Event)
	if frames := signal.ReadFrames(e.AppendFrame(nil)); !frames.Next(kept) {
		panic(frames.Err())
	}
	return kept
}

// told is all of a verdict that anybody sees.
func told(v signal.Verdict) string {
	var b strings.Builder
	b.WriteString(summary(v))
	for _, h := range v.Hits {
		fmt.Fprintf(&b, "\n  %s %v", h.Why, related(v, h.Rule))
	}
	return b.String()
}

// randomRules draws a set: conditions, correlations of them and of each other, and actions that count.
func randomRules(t *rapid.T) []*Rule {
	var rules []*Rule
	ids := []string{}
	for _, text := range []string{"a", "b", "c", "d"} {
		r := base("base-"+text, text)
		r.Silent = rapid.Bool().Draw(t, "silent")
		if !r.Silent && rapid.Bool().Draw(t, "acts") {
			r.Actions = []Action{{Kind: "block", Target: signal.FieldSrcEndpointIP, After: rapid.IntRange(1, 3).Draw(t, "after"), Within: 30 * time.Second}}
		}
		rules, ids = append(rules, r), append(ids, r.ID)
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "correlations") {
		c := Correlation{Kind: window.Kind(rapid.IntRange(int(window.Count), int(window.Ordered)).Draw(t, "kind")),
			Within: time.Duration(rapid.IntRange(1, 60).Draw(t, "within")) * time.Second, Tolerance: 10 * time.Second}
		of := rapid.Permutation(ids).Draw(t, "of")[:rapid.IntRange(1, 3).Draw(t, "n")]
		if rapid.Bool().Draw(t, "grouped") {
			c.GroupBy = client()
			if rapid.Bool().Draw(t, "aliased") {
				c.GroupBy[0].Per = []Operand{{Attr: "peer"}}
			}
		}
		switch {
		case c.Kind == window.Distinct:
			c.Value = []Reading{{Name: "path", From: Operand{Field: signal.FieldHTTPRequestURLPath}}}
		case c.Kind.HasNumber():
			c.Value = []Reading{{Name: "size", From: Operand{Attr: "size"}}}
		}
		if !c.Kind.HasSlots() {
			c.Tests = []window.Test{{Op: window.Op(rapid.IntRange(int(window.AtLeast), int(window.Unequal)).Draw(t, "op")), Than: float64(rapid.IntRange(1, 4).Draw(t, "than"))}}
		}
		if c.Kind == window.Percentile {
			c.Percent = 60
		}
		r := correlated(fmt.Sprintf("corr-%d", i), c, of...)
		r.Silent = rapid.IntRange(0, 2).Draw(t, "silent correlation") == 0
		rules, ids = append(rules, r), append(ids, r.ID)
	}
	return rules
}

func randomEvent(t *rapid.T, n int, now int64) *signal.Event {
	path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 3).Draw(t, "path"), "")
	e := numbered(n, path, rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", ""}).Draw(t, "client"), now-rapid.Int64Range(0, 15).Draw(t, "late"))
	// The path is masked in the record: what fires cannot be worked out from it again.
	e.SetMasked(signal.FieldHTTPRequestURLPath, path, fmt.Sprintf("%d letters", len(path)))
	e.SetUnmapped("size", fmt.Sprint(rapid.IntRange(-2, 6).Draw(t, "size")))
	e.SetUnmapped("peer", rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}).Draw(t, "peer"))
	return e
}

// TestRestartChangesNothing: an engine that is restored from a state and resumes what was recorded behind
// it gives the verdicts of one that never stopped, alert for alert, with a reload of the rules in the middle and
// with events that are judged while the state is taken; so
// does one that judges all again in the order of their numbers, each event by the set that its record names.
func TestRestartChangesNothing(t *testing.T) {
	var completed, resumed, meanwhile int
	rapid.Check(t, func(t *rapid.T) {
		rules := randomRules(t)
		first, err := NewSet(rules)
		if err != nil {
			t.Fatal(err)
		}
		second := first
		n := rapid.IntRange(20, 80).Draw(t, "events")
		swapAt := -1
		if rapid.Bool().Draw(t, "reload") {
			swapAt = rapid.IntRange(0, n-1).Draw(t, "reload at")
			changed := base("base-a", "aa")
			changed.Silent = rules[0].Silent
			if second, err = NewSet(append([]*Rule{changed}, rules[1:]...)); err != nil {
				t.Fatal(err)
			}
		}
		// The state is that of an event before the stop; both stand on one side of the reload, since a reload is
		// followed by a state of its own.
		stateAt := rapid.IntRange(0, n-1).Draw(t, "state at")
		stopAt := rapid.IntRange(stateAt, n-1).Draw(t, "stop at")
		if stateAt < swapAt && swapAt <= stopAt {
			stateAt = swapAt
		}
		live, broken := NewEngine(first), NewEngine(first)
		var state []byte
		var events, behind []*signal.Event
		var verdicts []string
		digests := map[string]*Set{first.Digest(): first, second.Digest(): second}
		now, i := int64(1000), 0
		step := func() {
			now += rapid.Int64Range(0, 8).Draw(t, "step")
			e := randomEvent(t, i, now)
			i++
			other := new(signal.Event)
			e.CopyTo(other)
			v := live.JudgeNumbered(e)
			w := broken.JudgeNumbered(other)
			if told(v) != told(w) || e.Seq != other.Seq || e.Str(signal.FieldPolicyUID) != other.Str(signal.FieldPolicyUID) {
				t.Fatalf("event %d: the engine that never stopped says %s\nthe other %s", i-1, told(v), told(w))
			}
			for _, h := range v.Hits {
				if h.Related != nil {
					completed++
				}
			}
			verdicts, events = append(verdicts, told(v)), append(events, e)
			behind = append(behind, record(other, w))
		}
		for ; i < n; step() {
			if i == swapAt {
				live.Swap(second)
				broken.Swap(second)
			}
			if i == stateAt {
				behind = nil
				var seq uint64
				state, seq = broken.appendState(nil, func() {
					for i < stopAt && (i >= swapAt || i < swapAt-1) && rapid.Bool().Draw(t, "meanwhile") {
						step()
						meanwhile++
					}
				})
				if seq != uint64(stateAt) {
					t.Fatalf("the state is that of event %d, not %d", seq, stateAt)
				}
			}
			if i == stopAt {
				broken = NewEngine(broken.Set())
				got, err := broken.Restore(state)
				if err != nil || got.Seq != uint64(stateAt) || len(got.Anew) > 0 {
					t.Fatalf("%+v %v", got, err)
				}
				for _, old := range behind {
					resumed++
					hits := broken.Resume(old)
					var names []string
					for _, h := range hits {
						names = append(names, h.Rule)
					}
					want := slices.Clone(old.Strings(signal.FieldVerdictRules))
					slices.Sort(want)
					slices.Sort(names)
					if old.Seq <= got.Last { // some of what fired may be in the state
						want = slices.DeleteFunc(want, func(name string) bool { return !slices.Contains(names, name) })
					}
					if !slices.Equal(names, want) {
						t.Fatalf("event %d was recorded with %q, and resumed with %q", old.Seq, want, names)
					}
				}
				if broken.Seq() != uint64(i) {
					t.Fatalf("numbers go on behind %d, not %d", broken.Seq(), i)
				}
			}
		}
		a, _ := live.AppendState(nil)
		if b, _ := broken.AppendState(nil); !bytes.Equal(a, b) {
			t.Fatal("the windows differ at the end")
		}
		replay := NewEngine(digests[events[0].Str(signal.FieldPolicyUID)])
		for i, e := range events {
			if set := digests[e.Str(signal.FieldPolicyUID)]; set != replay.Set() {
				replay.Swap(set)
			}
			if got := told(replay.Judge(e)); got != verdicts[i] {
				t.Fatalf("event %d judged again: %s\nwant %s", i, got, verdicts[i])
			}
		}
	})
	if completed < 100 || resumed < 100 || meanwhile < 50 {
		t.Errorf("%d correlations fired, %d events were resumed, %d judged while a state was taken: the test shows little", completed, resumed, meanwhile)
	}
}

func brute(text string) []*Rule {
	return []*Rule{silent(base("login", text)), correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(3)}, "login")}
}

// TestRestoreChangedRule: a rule that judges otherwise begins anew, and folds nothing that was judged by its
// old self; the others go on.
func TestRestoreChangedRule(t *testing.T) {
	other := correlated("other", Correlation{Kind: window.Count, Tests: atLeast(3)}, "page")
	rules := func(text string) []*Rule { return append(brute(text), silent(base("page", "/")), other) }
	before := NewEngine(newSet(t, rules("/login")...))
	judge := func(at int64) *signal.Event {
		e := request("/login", "203.0.113.9", at)
		return record(e, before.JudgeNumbered(e))
	}
	judge(1)
	state, _ := before.AppendState(nil)
	second := judge(2)
	after := NewEngine(newSet(t, rules("/log")...))
	got, err := after.Restore(state)
	if err != nil || got.Kept != 1 || !slices.Equal(got.Anew, []string{"brute"}) {
		t.Fatalf("%+v %v", got, err)
	}
	after.Resume(second)
	if v := after.JudgeNumbered(request("/login", "203.0.113.9", 3)); summary(v) != "deny other" {
		t.Errorf("the third event: %s", summary(v))
	}
	for i, want := range []string{"allow", "deny brute"} {
		if v := after.JudgeNumbered(request("/login", "203.0.113.9", int64(4+i))); summary(v) != want {
			t.Errorf("%d: %s, want %s", i, summary(v), want)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	engine := NewEngine(newSet(t, brute("/login")...))
	engine.JudgeNumbered(request("/login", "203.0.113.9", 1))
	state, _ := engine.AppendState(nil)
	for name, bad := range map[string][]byte{
		"nothing": nil, "too short": state[:len(state)-1], "too long": append(slices.Clone(state), 0),
		"another version": append([]byte{9}, state[1:]...), "noise": bytes.Repeat([]byte{0xff}, 100),
	} {
		fresh := NewEngine(engine.Set())
		if got, err := fresh.Restore(bad); err == nil || fresh.Seq() != 0 {
			t.Errorf("%s is taken: %+v", name, got)
		}
	}
	if _, err := engine.Restore(state); err == nil {
		t.Error("an engine that judges is overwritten")
	}
	// A window of no use begins anew; the rest goes on.
	spoilt := slices.Clone(state)
	spoilt[len(spoilt)-1] = 1 // an id that is not there stands behind the last event
	fresh := NewEngine(engine.Set())
	if got, err := fresh.Restore(spoilt); err != nil || got.Seq != 1 || !slices.Equal(got.Anew, []string{"brute"}) {
		t.Errorf("%+v %v", got, err)
	}
}

// FuzzRestore: whatever a file holds, what is taken is written again as it was.
func FuzzRestore(f *testing.F) {
	rules := append(brute("/login"), correlated("seq", Correlation{Kind: window.Ordered, GroupBy: client()}, "login", "brute"))
	set := newSet(f, rules...)
	engine := NewEngine(set)
	for i := range 5 {
		engine.JudgeNumbered(request("/login", fmt.Sprintf("203.0.113.%d", i%2), int64(i)))
		state, _ := engine.AppendState(nil)
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		engine := NewEngine(set)
		if _, err := engine.Restore(state); err != nil {
			return
		}
		again, _ := engine.AppendState(nil)
		fresh := NewEngine(set)
		if _, err := fresh.Restore(again); err != nil {
			if engine.Seq() == 0 {
				t.Fatal(err)
			}
			t.Fatalf("the state that was written is refused: %v", err)
		}
		if third, _ := fresh.AppendState(nil); !bytes.Equal(again, third) {
			t.Fatal("the state changes when it is restored")
		}
		engine.JudgeNumbered(request("/login", "203.0.113.1", 9))
	})
}
