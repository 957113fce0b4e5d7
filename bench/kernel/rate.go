package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// offeredOpens: one of so many of the calls opens a file. An open costs who makes it more than telling of it costs everybody else, so that two cores cannot
// make 200,000 of them a second beside what is measured.
const offeredOpens = "8"

const rateWhat = "calls a second that the shipped rules ask for (one in " + offeredOpens + " opens a watched file, the rest tries to enter a namespace or to make an io_uring), by another process on the same machine, of which each came as an event through ring buffer, sensor, socket and plane to the judge with the shipped rules, over 10 s"

func rate() bar.Bar {
	return bar.Bar{
		Name: "kernel-rate", Part: "kernel", Unit: "events/s", Bound: bar.AtLeast(200_000), Limit: 10 * time.Minute,
		What: rateWhat + ", none dropped: the highest of some offered rates (recording what was judged is the next bar)",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runRate(ctx, env, "judge", 205_000, 175_000, 150_000, 125_000, 100_000, 75_000, 50_000, 25_000)
		},
	}
}

func rateRecorded() bar.Bar {
	return bar.Bar{
		Name: "kernel-rate-recorded", Part: "kernel", Unit: "events/s", Bound: bar.AtLeast(200_000), Limit: 10 * time.Minute,
		What: rateWhat + ", and was recorded, synced and archived, none dropped: the highest of some offered rates",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runRate(ctx, env, "node", 205_000, 100_000, 75_000, 60_000, 50_000, 40_000, 30_000, 20_000, 10_000)
		},
	}
}

// runRate offers one rate after another, until one is kept.
func runRate(ctx context.Context, env *bar.Env, mode string, offered ...int) (m bar.Measure, err error) {
	seconds := 10
	if env.Short {
		seconds = 4
	}
	for _, rate := range offered {
		s, err := startStages(ctx, env, mode)
		if err != nil {
			return m, err
		}
		o, err := s.offer(ctx, env, rate, seconds)
		s.stop()
		if err != nil {
			return m, err
		}
		env.Progress("%s", o)
		if m.Detail != "" {
			m.Detail += "; "
		}
		m.Detail += o.String()
		if o.lost == 0 && o.judged >= o.made {
			m.Value = float64(o.judged) / o.took.Seconds()
			return m, nil
		}
	}
	return m, nil // not even the least of them: 0
}

// stages are the processes between a call and its verdict.
type stages struct {
	plane, opens *proc.Child
	sensor       int
}

func startStages(ctx context.Context, env *bar.Env, mode string) (*stages, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(env.Dir, mode)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "token") // a name that a shipped rule asks for, in a folder that none does
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(dir, "data"), 0o700)); err != nil {
		return nil, err
	}
	s := &stages{}
	first := ""
	if s.plane, first, err = proc.StartRole(ctx, nil, env.Self, "kernel-plane", filepath.Join(dir, "data"), mode, ""); err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(first, &s.sensor); err != nil {
		s.plane.Stop()
		return nil, err
	}
	if s.opens, first, err = proc.StartRole(ctx, nil, env.Self, "kernel-opens", file, "2", offeredOpens); err != nil {
		s.plane.Stop()
		return nil, err
	}
	if _, err := s.plane.Ask("of " + first); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *stages) stop() {
	s.opens.Stop()
	s.plane.Stop()
}

// offering is what became of a rate.
type offering struct {
	rate               int
	made, judged, lost uint64
	took, behind       time.Duration // the opens, and the judging of them after the last
	cpu                [3]float64    // µs an event: of who opens, the sensor, and the plane with the judge
}

func (o offering) String() string {
	return fmt.Sprintf("%d/s offered: %.0f/s made, %d judged, %d lost, done %.1f s after the last; CPU an event: %.2f µs to make the call (with the program in the kernel), %.2f µs sensor, %.2f µs plane and judge: with a core each these two take %.0f/s",
		o.rate, float64(o.made)/o.took.Seconds(), o.judged, o.lost, o.behind.Seconds(), o.cpu[0], o.cpu[1], o.cpu[2], 1e6/max(o.cpu[1], o.cpu[2], 0.001))
}

func (s *stages) offer(ctx context.Context, env *bar.Env, rate, seconds int) (o offering, err error) {
	o.rate = rate
	if _, err := s.opens.Ask("1000 1"); err != nil { // everybody is known now
		return o, err
	}
	time.Sleep(500 * time.Millisecond)
	var was, is [3]uint64
	if err := ask(s.plane, "count", &was); err != nil {
		return o, err
	}
	pids := [3]int{s.opens.PID(), s.sensor, s.plane.PID()}
	var before [3]time.Duration
	for i, pid := range pids {
		if before[i], err = proc.CPU(pid); err != nil {
			return o, err
		}
	}
	answer, err := s.opens.Ask(fmt.Sprint(rate, " ", seconds))
	if err != nil {
		return o, err
	}
	var took string
	if _, err := fmt.Sscan(answer, &o.made, &took); err != nil {
		return o, err
	}
	if o.took, err = time.ParseDuration(took); err != nil {
		return o, err
	}
	ended := time.Now()
	for last := uint64(0); ; {
		if err := ask(s.plane, "count", &is); err != nil {
			return o, err
		}
		o.judged, o.lost = is[0]-was[0], is[1]-was[1]
		if o.judged >= o.made || o.judged == last && time.Since(ended) > 3*time.Second {
			break
		}
		last = o.judged
		select {
		case <-ctx.Done():
			return o, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	o.behind = time.Since(ended)
	time.Sleep(1200 * time.Millisecond) // what was lost is told of once a second
	if err := ask(s.plane, "count", &is); err != nil {
		return o, err
	}
	o.lost = is[1] - was[1]
	if _, err := s.plane.Ask("settle"); err != nil {
		return o, err
	}
	for i, pid := range pids {
		now, err := proc.CPU(pid)
		if err != nil {
			return o, err
		}
		o.cpu[i] = micros(now-before[i]) / float64(max(o.judged, 1))
	}
	if is[2] > was[2]+100 {
		env.Progress("%d rule hits meanwhile", is[2]-was[2])
	}
	return o, nil
}
