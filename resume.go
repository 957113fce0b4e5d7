package testudo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/atomicfile"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// A Journal is the record that windows are brought up to date from. store.Store is one.
type Journal interface {
	// Scan visits recorded events in any order; see store.History.
	Scan(ctx context.Context, q store.Query, yield func(e *signal.Event) bool) (store.ScanStats, error)
	// Sync waits until everything recorded before the call is on disk.
	Sync(ctx context.Context) error
	// LastBatch returns the last batch on disk.
	LastBatch(ctx context.Context) (uint64, error)
}

// The Past tells what has become of a verdict of before a stop.
type Past interface {
	// Finding returns a stored finding.
	Finding(ctx context.Context, id string) (f signal.Finding, ok bool, err error)
	// Acted reports whether an action was ever taken that the event led to, or one on the target is in force.
	Acted(ctx context.Context, event signal.ID, kind, target string) (bool, error)
}

// How windows are kept.
const (
	saveEvery  = 15 * time.Second // how old what is on disk may be
	saveWithin = 10 * time.Second // for the bus to take what the state folds

	// unread is more than a node judges between two saves.
	unread = 1 << 32

	maxResumed      = 500_000   // events on which a rule fired that are resumed
	maxResumedBytes = 128 << 20 // of them
	resumeWithin    = time.Minute
)

// resumption is what was recorded behind the saved windows.
type resumption struct {
	events []resumedEvent // on which a rule fired
	bytes  int
	count  uint64 // events of this judge, all of them
	last   uint64 // greatest number
	over   bool   // there is more than may be held
}

type resumedEvent struct {
	seq   uint64
	frame []byte
}

// Resume takes over what a run before left: windows as they were saved, the events recorded behind them, the numbers behind
// those. What a verdict had led to and was not stored before the stop is made up for: its finding, its orders. Nil stands
// for windows that begin anew. It is called before Run and before the first event.
//
// An error is ctx's, and then nothing may be judged; whatever else went wrong is logged, and makes windows inexact at worst.
func (n *Node) Resume(ctx context.Context, saved *SavedWindows) error {
	if n.windows == "" {
		return nil
	}
	atomicfile.Sweep(n.windows)
	if ctx.Err() != nil {
		n.windows = "" // what is there stays
		return ctx.Err()
	}
	if saved != nil {
		n.takeOver(ctx, saved)
		// What was saved holds until what was made up for is stored.
		n.savedSeq = saved.Seq
		return ctx.Err()
	}
	if _, err := os.Lstat(n.windows); err == nil { // whoever read it has said why
		n.inexact("what the windows of rules held before is damaged or another judge's, and they begin anew", "file", n.windows)
	}
	if err := n.saveWindows(ctx); err != nil && ctx.Err() == nil {
		n.log.Error("windows are not being saved: after a crash they would begin anew", "error", err)
	}
	return ctx.Err()
}

func (n *Node) takeOver(ctx context.Context, saved *SavedWindows) {
	restored, err := n.engine.Restore(saved.State)
	if err != nil {
		n.inexact("the windows of before could not be taken over, and begin anew", "error", err)
	}
	n.engine.Continue(saved.Seq)
	n.batch = saved.Batch
	limited, cancel := context.WithTimeout(ctx, resumeWithin)
	defer cancel()
	if last, err := n.journal.LastBatch(limited); err == nil && last < saved.Batch {
		// Its folder was moved away, as its errors advise. What is recorded from now on is in batches that were once others.
		n.inexact("the bus was begun anew since the windows were saved: they may lack events that it held", "batch", last, "saved at", saved.Batch)
		n.batch = last
	}
	r, stats, err := n.recorded(limited, saved)
	if ctx.Err() != nil {
		n.windows = "" // what is there stays, to be taken over at the next start
		return
	}
	if err != nil {
		n.inexact("what was recorded since the windows were saved could not be read: they lack it", "error", err)
	}
	switch {
	case r.over:
		n.inexact("more was recorded since the windows were saved than is taken up at a start: they lack it", "events", r.count)
		r.events = nil
	case r.last > saved.Seq && r.count != r.last-saved.Seq:
		n.inexact("events were judged since the windows were saved that are not in the record: windows lack them", "events", r.last-saved.Seq-r.count)
	}
	for _, why := range lacking(&stats, saved.Seq) {
		n.inexact("windows may lack events: " + why)
	}
	slices.SortFunc(r.events, func(a, b resumedEvent) int { return cmp.Compare(a.seq, b.seq) })
	recover := newRecovery(n)
	for i := range r.events {
		var e signal.Event
		if frames := signal.ReadFrames(r.events[i].frame); !frames.Next(&e) {
			continue // it was written by this process
		}
		for _, h := range n.engine.Resume(&e) {
			recover.hit(limited, &e, &h)
		}
	}
	if ctx.Err() != nil {
		n.windows = ""
		return
	}
	if err != nil || stats.Unsynced != nil || len(stats.Damaged) > 0 {
		r.last += unread // whatever the record has that could not be read, its numbers are not given again
	}
	n.engine.Continue(max(r.last, restored.Last))
	n.owed = recover.done()
	n.log.Info("judging goes on where it stopped", "judge", n.id, "number", n.engine.Seq(), "rules with windows", restored.Kept, "begun anew", len(restored.Anew),
		"events taken up", len(r.events), "findings made up for", recover.findings, "orders made up for", recover.orders)
}

// recorded reads what this judge recorded behind the saved windows.
func (n *Node) recorded(ctx context.Context, saved *SavedWindows) (r resumption, stats store.ScanStats, err error) {
	r.last = saved.Seq
	mine := func(e *signal.Event) bool {
		if e.Seq <= saved.Seq || e.Str(signal.FieldMetadataReporterUID) != n.id {
			return false
		}
		r.count++
		r.last = max(r.last, e.Seq)
		return e.Has(signal.FieldVerdictRules) || e.Has(signal.FieldVerdictFeeding)
	}
	stats, err = n.journal.Scan(ctx, store.Query{
		Behind: n.batch, Where: mine,
		WhereColumns: []signal.Field{signal.FieldMetadataSequence, signal.FieldMetadataReporterUID, signal.FieldVerdictRules, signal.FieldVerdictFeeding},
	}, func(e *signal.Event) bool {
		if len(r.events) >= maxResumed || r.bytes > maxResumedBytes {
			r.over = true
			return true // the greatest number is still to be found
		}
		frame := e.AppendFrame(nil)
		r.events, r.bytes = append(r.events, resumedEvent{e.Seq, frame}), r.bytes+len(frame)
		return true
	})
	return r, stats, err
}

// lacking says what a scan lacked behind a number.
func lacking(s *store.ScanStats, seq uint64) []string {
	var out []string
	if s.Unsynced != nil {
		out = append(out, s.Unsynced.Error())
	}
	dropped := uint64(0)
	for _, g := range s.Gaps {
		if g.LastSeq > seq {
			dropped += max(1, g.Count)
		}
	}
	if dropped > 0 {
		out = append(out, fmt.Sprintf("%d were judged and not recorded", dropped))
	}
	if len(s.Damaged) > 0 {
		out = append(out, "these files cannot be read: "+strings.Join(s.Damaged[:min(5, len(s.Damaged))], ", "))
	}
	return out
}

func (n *Node) inexact(what string, args ...any) {
	n.doubt.Store(true)
	n.log.Warn(what, args...)
}

// recovery makes up for what verdicts of before a stop led to and was lost with it.
type recovery struct {
	node     *Node
	known    map[string]*signal.Finding // by id, as they are stored; nil where none is
	owed     follower                   // gathers what is to be stored: the queue is not read yet
	unsure   follower                   // what is, unless a later hit is known
	failed   bool
	findings uint64
	orders   int
}

// maxRecovered bounds the findings that are looked up.
const maxRecovered = 10_000

func newRecovery(n *Node) *recovery {
	gather := func() follower { return follower{node: n, pending: map[string]*signal.Finding{}} }
	return &recovery{node: n, known: map[string]*signal.Finding{}, owed: gather(), unsure: gather(), failed: n.past == nil}
}

// hit looks whether a recorded hit has led to its finding and its orders, and has that happen otherwise.
func (r *recovery) hit(ctx context.Context, e *signal.Event, h *signal.Hit) {
	if r.failed {
		return
	}
	n := r.node
	for _, o := range h.Orders {
		left := o.For
		if o.For > 0 {
			if left = o.For - n.now().Sub(time.Unix(0, e.Time)); left <= 0 {
				continue // it would be over
			}
			left = min(left, o.For) // the event's time may be ahead
		}
		switch acted, err := n.past.Acted(ctx, e.ID, o.Kind, o.Target); {
		case err != nil:
			r.fail(err)
			return
		case !acted:
			o.For = left
			n.order(e, h, o)
			r.orders++
		}
	}
	if isFinding(e.Class) {
		return
	}
	f := n.detection(e, h)
	stored, looked := r.known[f.ID]
	if !looked {
		if len(r.known) >= maxRecovered {
			r.fail(fmt.Errorf("there are more than %d findings to look up", maxRecovered))
			return
		}
		found, ok, err := n.past.Finding(ctx, f.ID)
		if err != nil {
			r.fail(err)
			return
		}
		if ok {
			stored = &found
		}
		r.known[f.ID] = stored
	}
	// Hits come in the order in which they were stored, and a finding names its latest events alone: of a full list,
	// what came before a hit that it names was stored, and so was what is older than all that it names, by the
	// milliseconds that ids begin with: within one, ids have no order.
	switch {
	case stored == nil:
		r.owed.add(f)
	case slices.Contains(stored.Events, e.ID):
		delete(r.unsure.pending, f.ID)
	case len(stored.Events) < signal.MaxFindingEvents:
		r.owed.add(f)
	case !slices.ContainsFunc(stored.Events, func(id signal.ID) bool { return bytes.Compare(id[:6], e.ID[:6]) <= 0 }):
	default:
		r.unsure.add(f)
	}
}

// done returns the findings to be stored.
func (r *recovery) done() map[string]*signal.Finding {
	for _, f := range r.unsure.pending {
		if !r.failed { // else a later hit may not have been looked at
			r.owed.add(f)
		}
	}
	for _, f := range r.owed.pending {
		r.findings += f.Count
	}
	return r.owed.pending
}

func (r *recovery) fail(err error) {
	r.failed = true
	r.node.log.Error("it could not be told which findings and orders were lost with the stop", "error", err)
}

// saveWindows writes what the windows hold to disk, when the events that they hold are there, and what these led to: that is what
// first waits for.
func (n *Node) saveWindows(ctx context.Context, first ...func(context.Context) error) error {
	n.saving.Lock()
	defer n.saving.Unlock()
	ctx, cancel := context.WithTimeout(ctx, saveWithin)
	defer cancel()
	// What is recorded from now on is in a later batch.
	batch, err := n.journal.LastBatch(ctx)
	if err != nil {
		return err
	}
	state := make([]byte, 0, n.stateSize) // events wait while it is filled: not for memory too
	state, seq := n.engine.AppendState(state)
	n.handedOver()
	n.stateSize = len(state) + len(state)/8
	// What windows remember must be in the record, or a replay would see other verdicts; and what was saved is not
	// looked at again for findings that are missing.
	for _, wait := range append(first, n.journal.Sync) {
		if err := wait(ctx); err != nil {
			return err
		}
	}
	saved := SavedWindows{Judge: n.id, Batch: max(batch, n.batch), Seq: seq, State: state}
	if err := saved.write(n.windows); err != nil {
		return err
	}
	n.batch, n.savedSeq = saved.Batch, seq
	return nil
}

// handedOver waits until every event that was judged has been handed to the recorder.
func (n *Node) handedOver() {
	n.judging.Lock()
	defer n.judging.Unlock()
}

// keepWindows saves windows from time to time until ctx is done, and then once more.
func (n *Node) keepWindows(ctx context.Context) {
	if n.windows == "" {
		return
	}
	tick := time.NewTicker(n.saveEvery)
	defer tick.Stop()
	var failed error
	for done := false; !done; {
		err := error(nil)
		select {
		case <-ctx.Done():
			done = true
			// Findings were stored just before; if they were not, they are made up for at the next start.
			if n.Health() != nil {
				return
			}
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveWithin)
			err = n.saveWindows(last)
			cancel()
		case <-n.saveNow:
			err = n.saveWindows(ctx, n.Flush)
		case <-tick.C:
			if n.engine.Seq() == n.savedSeq {
				continue
			}
			err = n.saveWindows(ctx, n.Flush)
		}
		if ctx.Err() != nil && !done {
			continue
		}
		if err != nil && failed == nil {
			n.log.Error("windows are not being saved: after a crash they would lack events", "error", err)
		}
		if err == nil && failed != nil {
			n.log.Info("windows are being saved again")
		}
		failed = err
	}
}

// RulesChanged has the windows saved soon: behind a change of rules, a state of the new ones.
func (n *Node) RulesChanged() {
	select {
	case n.saveNow <- struct{}{}:
	default:
	}
}
