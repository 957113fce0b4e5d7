package spine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/storetest"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// crashRate is how many events a second are recorded while the process is killed.
const crashRate = 20_000

func crashLost() bar.Bar {
	return bar.Bar{
		Name: "spine-crash-lost", Part: "spine", Unit: "events", Bound: bar.AtMost(0), Limit: 15 * time.Minute,
		What: "acknowledged events that are missing, plus events that show twice, after kill -9 at 20 random moments under 20,000 events/s, each followed by a start in the same folder",
		Run:  runCrashLost,
	}
}

func runCrashLost(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	kills := 20
	if env.Short {
		kills = 5
	}
	dir := filepath.Join(env.Dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return m, err
	}
	seed := uint64(time.Now().UnixNano())
	env.Progress("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	acked := make([]uint64, kills) // by life: events 0 to that were acknowledged
	var total uint64
	for life := range kills {
		delay := 50*time.Millisecond + time.Duration(r.Int64N(int64(2500*time.Millisecond)))
		if acked[life], err = oneLife(ctx, env, dir, life, delay); err != nil {
			return m, fmt.Errorf("start %d: %w", life+1, err)
		}
		total += acked[life]
		env.Progress("kill %d of %d after %s: %d events acknowledged", life+1, kills, delay.Round(time.Millisecond), acked[life])
	}
	if total == 0 {
		return m, errors.New("no event was acknowledged before the kills")
	}
	var args []string
	for _, n := range acked {
		args = append(args, strconv.FormatUint(n, 10))
	}
	c, answer, err := proc.StartRole(ctx, nil, env.Self, "count", append([]string{dir}, args...)...)
	if err != nil {
		return m, err
	}
	defer c.Stop()
	var lost, twice, found uint64
	if _, err := fmt.Sscan(answer, &lost, &twice, &found); err != nil {
		return m, fmt.Errorf("answer %q: %w", answer, err)
	}
	m.Value = float64(lost + twice)
	m.Detail = fmt.Sprintf("%d kills, %d events acknowledged, %d found, %d lost, %d twice", kills, total, found, lost, twice)
	return m, nil
}

// oneLife starts a process that records, kills it after the delay from when it was ready, and returns how many
// events it had acknowledged.
func oneLife(ctx context.Context, env *bar.Env, dir string, life int, delay time.Duration) (acked uint64, err error) {
	c, _, err := proc.StartRole(ctx, nil, env.Self, "crash", dir, strconv.Itoa(life))
	if err != nil {
		return 0, err
	}
	defer c.Stop()
	var reader sync.WaitGroup
	reader.Go(func() {
		lines := bufio.NewScanner(c)
		for lines.Scan() {
			if n, err := strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64); err == nil {
				acked = n
			}
		}
	})
	select {
	case <-ctx.Done():
	case <-time.After(delay):
	}
	c.Kill()
	reader.Wait()
	return acked, ctx.Err()
}

// lifeSpan separates the numbers of the events of one life from those of the next.
const lifeSpan = 1 << 20

// recordUntilKilled is the role of a process that records, and writes after each
// acknowledgement how many events are on disk. Its arguments are a folder and its life's number.
func recordUntilKilled(ctx context.Context, talk *proc.Talk, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("crash wants a folder and a number, got %q", args)
	}
	life, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	cfg := storetest.DefaultConfig()
	// Files are closed often, so that kills hit that moment too.
	cfg.Store.ArchiveAge, cfg.Store.ArchiveRows = 200*time.Millisecond, 5000
	n, err := storetest.Open(ctx, args[0], cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	defer n.Close()
	if err := talk.Say("ready"); err != nil {
		return err
	}
	const step = 5 * time.Millisecond
	var e signal.Event
	for made := uint64(0); made < lifeSpan-crashRate; {
		for range int(crashRate * step.Seconds()) {
			storetest.HTTPEvent(&e, time.Now(), life*lifeSpan+made+1)
			if !n.Record(&e) {
				return errors.New("the recorder dropped an event")
			}
			made++
		}
		if made%(crashRate/20) == 0 {
			if err := n.Sync(ctx); err != nil {
				return err
			}
			if err := talk.Say("%d", made); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(step):
		}
	}
	return nil
}

// countEvents is the role of the start after the last kill. It says how many acknowledged events are missing, how
// many show twice, and how many there are. Its arguments are the folder and what each life
// had acknowledged.
func countEvents(ctx context.Context, talk *proc.Talk, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("count wants a folder and numbers, got %q", args)
	}
	n, err := storetest.Open(ctx, args[0], storetest.DefaultConfig(), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	defer n.Close()
	lives := args[1:]
	found := newTicks(uint64(len(lives)) * lifeSpan)
	if _, err := n.Scan(ctx, store.Query{}, func(e *signal.Event) bool {
		found.mark(e.Seq - 1)
		return true
	}); err != nil {
		return talk.Fail(err)
	}
	var lost uint64
	for life, text := range lives {
		acked, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return err
		}
		for i := range acked {
			if !found.has(uint64(life)*lifeSpan + i) {
				lost++
			}
		}
	}
	return talk.Say("%d %d %d", lost, found.twice, found.once)
}

func (t *ticks) has(i uint64) bool {
	return i/64 < uint64(len(t.seen)) && t.seen[i/64]&(1<<(i%64)) != 0
}
