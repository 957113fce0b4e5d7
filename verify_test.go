package testudo

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/storetest"
)

// TestReplayIsLive: what a node decides on a stream, from several goroutines, across a reload of its rules and a restart,
// is what a replay of its records decides: on every event, rule by rule. A record that is tampered with is found.
func TestReplayIsLive(t *testing.T) {
	has := func(text string) match.Expr {
		return match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpContains, false, text)
	}
	rule := func(id string, then signal.Decision, x match.Expr) *policy.Rule {
		return &policy.Rule{ID: id, Title: id, Then: then, Severity: signal.SeverityHigh, When: match.String(x), Condition: x, Dialect: "test", File: "r.yaml", Line: 1}
	}
	login := rule("login", signal.Alert, has("/login"))
	login.Silent = true
	brute := &policy.Rule{ID: "brute", Title: "brute", Then: signal.Deny, Severity: signal.SeverityHigh, When: "5 logins", Dialect: "test", File: "r.yaml", Line: 1,
		Correlation: &policy.Correlation{Kind: window.Count, Of: []policy.Ref{{Rule: "login"}}, Within: time.Minute,
			GroupBy: []policy.Reading{{Name: "client", From: policy.Operand{Field: signal.FieldSrcEndpointIP}}}, Tests: []window.Test{{Op: window.AtLeast, Than: 5}}}}
	status := rule("no-answer-yet", signal.Alert, match.And{has("/status"), match.Not{Part: match.Exists(signal.FieldHTTPResponseCode)}})
	well := rule("refused-while-it-is-well", signal.Deny, match.And{has("/old"), match.Int(match.Operand{Field: signal.FieldStatusID}, match.IntIs(1))})
	first, err := policy.NewSet([]*policy.Rule{login, brute, status, well, rule("admin", signal.Deny, has("/admin"))})
	if err != nil {
		t.Fatal(err)
	}
	second, err := policy.NewSet([]*policy.Rule{login, brute, status, well, rule("admin", signal.Limit, has("/admin")), rule("old", signal.Challenge, has("/old")),
		rule("query", signal.Alert, match.Text(match.Operand{Field: signal.FieldHTTPRequestURLQueryString}, match.OpContains, false, "secret"))})
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	start := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
	const each = 400
	var state []byte
	var live int64
	run := func(round int, begin, end *policy.Set) {
		n, err := storetest.Open(t.Context(), dir, storetest.DefaultConfig(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		engine := policy.NewEngine(begin)
		if state != nil {
			if _, err := engine.Restore(state); err != nil {
				t.Fatal(err)
			}
		}
		node := NewNode(Deps{ID: "judge-1", Engine: engine, Recorder: n.Store, State: newParts(), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Enforces: func(string) bool { return true }})
		var wg sync.WaitGroup
		var mu sync.Mutex
		for g := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(round), uint64(g)))
				for i := range each {
					if g == 0 && i == each/2 {
						engine.Swap(end)
					}
					e := new(signal.Event)
					e.Time = start.Add(time.Duration(round)*time.Hour + time.Duration(i)*time.Second).UnixNano()
					e.Class, e.Plane = signal.ClassHTTPActivity, signal.PlaneEdge
					if r.IntN(10) == 0 {
						e.Class, e.Plane = signal.ClassAPIActivity, signal.PlaneKernel // of another folder of the lake
						if r.IntN(2) == 0 {                                            // a gate asks before it happens
							e.SetString(signal.FieldKernelGate, "fanotify")
							e.SetInt(signal.FieldStatusID, 1)
							e.SetString(signal.FieldStatusCode, "SUCCESS")
						}
					}
					e.SetString(signal.FieldHTTPRequestURLPath, []string{"/", "/login", "/admin", "/old", "/status", "/admin/status"}[r.IntN(6)])
					e.SetIP(signal.FieldSrcEndpointIP, netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(4))}))
					e.SetString(signal.FieldEdgeMode, []string{"block", "detect"}[r.IntN(2)])
					switch r.IntN(12) {
					case 0:
						e.SetString(signal.FieldEdgeError, []string{"blocklist", "malformed", "ambiguous-path", "upstream-timeout"}[r.IntN(4)])
					case 1:
						e.SetMasked(signal.FieldHTTPRequestURLQueryString, "token=secret", "token=***")
					case 2:
						e.Parent = signal.NewID(time.Now())
						e.SetInt(signal.FieldHTTPResponseCode, 200)
					}
					v, err := node.Event(context.Background(), e)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					live += int64(len(v.Hits))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if err := n.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		state, _ = engine.AppendState(nil)
	}
	run(0, first, first)
	run(1, first, second)
	run(2, second, first)

	n, err := storetest.Open(t.Context(), dir, storetest.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	verify := func(sets ...*policy.Set) *replay.Verification {
		t.Helper()
		v, err := replay.Verify(t.Context(), n.History, sets, replay.VerifyQuery{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := verify(first, second)
	if !v.OK() || v.Other != 0 || v.Same+v.Masked != 3*4*each || v.Masked == 0 || v.Masked > 3*4*each/10 || live == 0 {
		t.Errorf("%d hits live; replayed: %+v", live, v)
	}
	if v := verify(first); v.Other == 0 || len(v.Policies) != 2 {
		t.Errorf("with one of two sets: %+v", v)
	}

	var e signal.Event
	forged := start.Add(150 * time.Minute)
	e.Time, e.ID, e.Class, e.Plane, e.Seq = forged.UnixNano(), signal.NewID(forged), signal.ClassHTTPActivity, signal.PlaneEdge, 1<<40
	e.SetString(signal.FieldHTTPRequestURLPath, "/admin")
	e.SetString(signal.FieldMetadataReporterUID, "judge-1")
	e.SetString(signal.FieldPolicyUID, first.Digest())
	e.SetInt(signal.FieldDispositionID, 1)
	if !n.Record(&e) || n.Sync(t.Context()) != nil {
		t.Fatal("the forged event was not recorded")
	}
	v = verify(first, second)
	if v.OK() || v.Different != 1 || len(v.Mismatches) != 1 || v.Mismatches[0] != (replay.Mismatch{Rule: "admin", Replayed: 1, Event: e.ID.String()}) {
		t.Errorf("with a record of a denied request as allowed: %s", fmt.Sprintf("%+v", v))
	}
}
