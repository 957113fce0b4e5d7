package process_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// TestSeedAgreesWithEBPF: what /proc tells of a process and what eBPF tells of it are one key.
func TestSeedAgreesWithEBPF(t *testing.T) {
	require.Root(t)
	require.HostPIDs(t)
	l := bpf.New(bpf.Options{})
	if err := l.Load(); err != nil {
		require.Part(t, "bpf", false, "a kernel with BTF and the permission to load eBPF programs: "+err.Error())
	}
	defer l.Close()
	if err := l.Watch(t.Context(), kernel.Interest{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	told := make(chan *record.Record, 1<<14)
	go func() {
		done <- l.Run(ctx, func(batch []byte) {
			var r record.Record
			for len(batch) > 0 {
				n, err := record.Decode(slices.Clone(batch), &r)
				if err != nil {
					return
				}
				if r.Kind == record.KindExec {
					select {
					case told <- clone(&r):
					default:
					}
				}
				batch = batch[n:]
			}
		})
	}()
	defer func() {
		cancel()
		<-done
	}()
	boot, err := process.BootID("/")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		cmd := sleeper(t, nil)
		awaitExec(t, cmd.Process.Pid)
		pid := uint32(cmd.Process.Pid)
		seeded := seedAll(t, "/")[pid]
		var seen *record.Record
		for limit := time.After(10 * time.Second); seen == nil; {
			select {
			case r := <-told:
				if r.PID == pid {
					seen = r
				}
			case <-limit:
				t.Fatal("eBPF tells of no exec")
			}
		}
		if seen.Start/process.Tick*process.Tick != seeded.Start {
			t.Errorf("eBPF says %d, /proc %d", seen.Start, seeded.Start)
		}
		if seen.Cgroup != seeded.Cgroup || seen.MntNS != seeded.MntNS || seen.PIDNS != seeded.PIDNS || seen.LoginUID != seeded.LoginUID || seen.PPID != seeded.PPID {
			t.Errorf("eBPF says %+v\n/proc %+v", seen, seeded)
		}
		if seen.Creds != seeded.Creds || seen.Stdio != seeded.Stdio || string(seen.Path) != string(seeded.Path) || string(seen.Args) != string(seeded.Args) || string(seen.Cwd) != string(seeded.Cwd) {
			t.Errorf("eBPF says %+v %+v %q\n/proc %+v %+v %q", seen.Creds, seen.Stdio, seen.Args, seeded.Creds, seeded.Stdio, seeded.Args)
		}
		table := process.New(process.Default(), boot, process.NewClock())
		first := table.Apply(seeded)
		if second := table.Apply(seen); first.Key != second.Key || table.Stats().Live != 1 {
			t.Errorf("two keys: %s and %s", first.Key, second.Key)
		}
	}
}
