package spine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/storetest"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/node"
	"github.com/testudo-sec/testudo/bench/proc"
)

// wanted is the bound of the bar in events a second; offered is a little more, so that a
// value at the bound is no luck.
const (
	wanted  = 100_000
	offered = 102_000
)

func sinkRate() bar.Bar {
	return bar.Bar{
		Name: "spine-sink-rate", Part: "spine", Unit: "events/s", Bound: bar.AtLeast(wanted), Limit: 20 * time.Minute,
		What: "events a second over 60 s through Node.Event (judged by the shipped rules), recorder, bus (synced) and archiver on two cores, none dropped, counted until " +
			"the archiver has read the last one, and each found once in lake and tail after it",
		Run: runSinkRate,
	}
}

// sinkReport is what the role says at the end.
type sinkReport struct {
	Sent    uint64
	Made    time.Duration // until the last event was handed in
	Synced  time.Duration // until it was on disk
	Elapsed time.Duration // until the archiver had read it
	CPU     time.Duration // of the process
	Others  time.Duration // CPU time of everybody else on the machine meanwhile
	Dropped uint64
	RSS     int64
	Found   uint64 // events in lake and tail
	Twice   uint64
	Lake    int64  // bytes
	Hits    uint64 // how often rules fired
	Missed  uint64 // findings that did not fit
}

// least is how many of the two cores must have been free for a value below the bound to say something.
const (
	cores = 2
	least = 0.85 * cores
)

// cores returns how many cores others left to the process, as far as it could use them.
func (r *sinkReport) cores() float64 {
	return min(cores, float64(runtime.NumCPU())-r.Others.Seconds()/r.Elapsed.Seconds())
}

func runSinkRate(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	span := time.Minute
	if env.Short {
		span = 10 * time.Second
	}
	// What cannot keep up drops; then a lower rate is tried, for the value is one without drops.
	for rate := offered; rate >= offered/8; rate = rate * 3 / 4 {
		dir := filepath.Join(env.Dir, strconv.Itoa(rate))
		r, err := fill(ctx, env, dir, rate, span)
		if err != nil {
			return m, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return m, err
		}
		m.Value = float64(r.Sent) / r.Elapsed.Seconds()
		m.Detail = fmt.Sprintf("%d events in %.1f s (the last one in after %.1f s, on disk after %.1f s), %.1f µs of CPU each (1 µs of it to make it), %d rule hits, %d findings missed, %.0f MB resident, %d bytes each in the lake",
			r.Sent, r.Elapsed.Seconds(), r.Made.Seconds(), r.Synced.Seconds(), float64(r.CPU.Microseconds())/float64(r.Sent), r.Hits, r.Missed, float64(r.RSS)/1e6, r.Lake/int64(r.Sent))
		env.Progress("%d/s offered: %.0f/s, %d dropped; %s", rate, m.Value, r.Dropped, m.Detail)
		if m.Value < wanted && r.cores() < least {
			return m, fmt.Errorf("two cores are needed, and others on the machine left it %.1f (%s); again when it is quiet", r.cores(), m.Detail)
		}
		if r.Dropped > 0 {
			continue
		}
		if r.Found != r.Sent || r.Twice > 0 {
			return m, fmt.Errorf("%d events were sent and none dropped, %d are in lake and tail, %d of them twice", r.Sent, r.Found, r.Twice)
		}
		return m, nil
	}
	return m, errors.New("events are dropped at an eighth of the rate too")
}

func fill(ctx context.Context, env *bar.Env, dir string, rate int, span time.Duration) (r sinkReport, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return r, err
	}
	profile := ""
	if env.Profile != "" {
		profile = filepath.Join(env.Profile, "spine-sink-rate.pprof")
		if err := os.MkdirAll(env.Profile, 0o755); err != nil {
			return r, err
		}
	}
	c, _, err := proc.StartRole(ctx, []string{"GOMAXPROCS=" + strconv.Itoa(cores)}, env.Self, "sink", dir, strconv.Itoa(rate), span.String(), profile)
	if err != nil {
		return r, err
	}
	defer c.Stop()
	answer, err := c.Ask("fill")
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(answer), &r)
}

// fillSink is the role of a process that is offered events from two goroutines. Its arguments are an
// empty folder, a rate, a time, and the file of a CPU profile or none.
func fillSink(ctx context.Context, talk *proc.Talk, args []string) (err error) {
	if len(args) != 4 {
		return fmt.Errorf("sink wants a folder, a rate, a time and a profile, got %q", args)
	}
	rate, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	span, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	n, err := node.Open(ctx, args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := talk.Say("ready"); err != nil {
		return err
	}
	if _, ok := talk.Hear(); !ok {
		return nil
	}
	endProfile, err := proc.Profile(args[3])
	if err != nil {
		return err
	}
	report, err := offer(ctx, n, rate, span)
	endProfile()
	if err != nil {
		return talk.Fail(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return talk.Say("%s", text)
}

const (
	producers   = 2
	attackEvery = 1000 // events to one that a rule denies, which makes a finding of it
)

func offer(ctx context.Context, n *node.Node, rate int, span time.Duration) (r sinkReport, err error) {
	pid := os.Getpid()
	before, err := proc.CPU(pid)
	if err != nil {
		return r, err
	}
	busy, err := proc.Busy()
	if err != nil {
		return r, err
	}
	begin := time.Now()
	var sent [producers]uint64
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() { sent[p] = produce(ctx, n, p, rate/producers, span) })
	}
	wg.Wait()
	r.Made = time.Since(begin)
	for _, s := range sent {
		r.Sent += s
	}
	settled := n.Store.Sync(ctx)
	r.Synced = time.Since(begin)
	if settled == nil {
		settled = n.Settle(ctx)
	}
	r.Elapsed = time.Since(begin)
	after, err := proc.CPU(pid)
	if err != nil {
		return r, err
	}
	r.CPU = after - before
	busyAfter, err := proc.Busy()
	if err != nil {
		return r, err
	}
	r.Others = max(0, busyAfter-busy-r.CPU)
	recorder, _ := n.Store.Stats()
	if r.Dropped = recorder.Dropped(); r.Dropped > 0 {
		return r, nil
	}
	if settled != nil {
		return r, settled
	}
	if r.RSS, err = proc.RSS(pid); err != nil {
		return r, err
	}
	// Numbers of the engine's sequence: a finding that is recorded too would take one between them.
	found := newTicks(n.Engine.Seq())
	if err := scan(ctx, n.Store.Store, func(e *signal.Event) { found.mark(e.Seq - 1) }); err != nil {
		return r, err
	}
	r.Hits, r.Missed = n.Hits(), n.Stats().Missed
	r.Found, r.Twice = found.once, found.twice
	r.Lake = n.Store.Lake.Stats().Bytes
	return r, ctx.Err()
}

// produce hands in events at a rate, in steps of a millisecond, and returns how many.
func produce(ctx context.Context, n *node.Node, producer, rate int, span time.Duration) uint64 {
	var e signal.Event
	begin := time.Now()
	step := time.NewTicker(time.Millisecond)
	defer step.Stop()
	made := 0
	for {
		elapsed := time.Since(begin)
		for due := int(float64(rate) * min(elapsed, span).Seconds()); made < due; made++ {
			storetest.HTTPEvent(&e, time.Now(), uint64(made*producers+producer+1))
			if made%attackEvery != 0 {
				e.SetInt(signal.FieldWAFScore, 0) // the test's events are attacks every seventh time
			}
			_, _ = n.Event(ctx, &e) // never fails; drops are counted by the recorder
		}
		if elapsed >= span || ctx.Err() != nil {
			return uint64(made)
		}
		select {
		case <-ctx.Done():
		case <-step.C:
		}
	}
}

// scan visits every HTTP event of lake and tail, and fails where records are missing.
func scan(ctx context.Context, s *store.Store, visit func(*signal.Event)) error {
	stats, err := s.Scan(ctx, store.Query{Classes: []signal.Class{signal.ClassHTTPActivity}, Columns: []signal.Field{signal.FieldMetadataSequence}}, func(e *signal.Event) bool {
		visit(e)
		return true
	})
	switch {
	case err != nil:
		return err
	case len(stats.Damaged) > 0 || len(stats.Gaps) > 0 || stats.Unsynced != nil:
		return fmt.Errorf("the scan is not whole: %d damaged files, %d gaps, unsynced: %v", len(stats.Damaged), len(stats.Gaps), stats.Unsynced)
	}
	return nil
}

// ticks counts which numbers were seen.
type ticks struct {
	seen        []uint64
	once, twice uint64
}

func newTicks(n uint64) *ticks { return &ticks{seen: make([]uint64, n/64+1)} }

// mark notes a number. One out of range counts as seen twice: it was never sent.
func (t *ticks) mark(i uint64) {
	word, bit := i/64, uint64(1)<<(i%64)
	if word >= uint64(len(t.seen)) || t.seen[word]&bit != 0 {
		t.twice++
		return
	}
	t.seen[word] |= bit
	t.once++
}
