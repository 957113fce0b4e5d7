package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func readerCost() bar.Bar {
	return bar.Bar{
		Name: "kernel-reader-ns", Part: "kernel", Unit: "ns", Bound: bar.AtMost(150), Limit: 5 * time.Minute,
		What: "CPU of reading a record from the ring buffer in batches, the whole process, while another opens a watched file as often as it can, none dropped, median",
		Run:  runReaderCost,
	}
}

// runReader is the role of a program that only reads the ring: of opens of its argument. It answers "count" with how many records it got, how many were lost,
// and in how many batches.
func runReader(ctx context.Context, talk *proc.Talk, args []string) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("kernel-reader wants a file, got %q", args)
	}
	l := bpf.New(bpf.Options{Exclude: []uint32{uint32(os.Getpid())}})
	if err := l.Load(); err != nil {
		return err
	}
	if err := l.Watch(ctx, kernel.Interest{Reads: kernel.Paths{Exact: args}}); err != nil {
		return err
	}
	if err := l.Attach(); err != nil {
		return err
	}
	var batches atomic.Uint64
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, func([]byte) { batches.Add(1) }) }()
	defer func() {
		cancel()
		<-ended
		_ = l.Close()
	}()
	if err := talk.Say("ready"); err != nil {
		return err
	}
	for {
		if _, ok := talk.Hear(); !ok {
			return nil
		}
		st, err := l.Status()
		if err != nil {
			return err
		}
		lost := uint64(0)
		for _, n := range st.Lost {
			lost += n
		}
		if err := talk.Say("%d %d %d", st.Records, lost, batches.Load()); err != nil {
			return err
		}
	}
}

func runReaderCost(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	if err := needRoot(); err != nil {
		return m, err
	}
	file := filepath.Join(env.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return m, err
	}
	reader, _, err := proc.StartRole(ctx, nil, env.Self, "kernel-reader", file)
	if err != nil {
		return m, err
	}
	defer reader.Stop()
	opens, _, err := proc.StartRole(ctx, nil, env.Self, "kernel-opens", file, "1")
	if err != nil {
		return m, err
	}
	defer opens.Stop()
	seconds := 4
	if env.Short {
		seconds = 2
	}
	var values, rates, sizes []float64
	for range env.Runs {
		var was, is [3]uint64
		if err := ask(reader, "count", &was); err != nil {
			return m, err
		}
		before, err := proc.CPU(reader.PID())
		if err != nil {
			return m, err
		}
		if _, err := opens.Ask(fmt.Sprintf("0 %d", seconds)); err != nil {
			return m, err
		}
		time.Sleep(100 * time.Millisecond) // what is in the ring still
		after, err := proc.CPU(reader.PID())
		if err != nil {
			return m, err
		}
		if err := ask(reader, "count", &is); err != nil {
			return m, err
		}
		if lost := is[1] - was[1]; lost > 0 {
			return m, fmt.Errorf("%d records were dropped", lost)
		}
		n := float64(is[0] - was[0])
		values = append(values, float64((after-before).Nanoseconds())/n)
		rates, sizes = append(rates, n/float64(seconds)), append(sizes, n/float64(is[2]-was[2]))
	}
	m.Value = bar.Median(values)
	m.Detail = fmt.Sprintf("%.0f ns, at %.0f records/s, %.0f in a batch", values, bar.Median(rates), bar.Median(sizes))
	return m, nil
}

// ask asks for three numbers.
func ask(c *proc.Child, question string, to *[3]uint64) error {
	answer, err := c.Ask(question)
	if err != nil {
		return err
	}
	_, err = fmt.Sscan(answer, &to[0], &to[1], &to[2])
	return err
}
