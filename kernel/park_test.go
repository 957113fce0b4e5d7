package kernel

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

func in(cgroup uint64, r record.Record) record.Record {
	r.Cgroup = cgroup
	return r
}

// names returns what the events are about, in their order.
func names(events []*signal.Event) (all []string) {
	for _, e := range events {
		if p := e.Str(signal.FieldFilePath); p != "" {
			all = append(all, p)
		} else {
			all = append(all, e.Str(signal.FieldProcessName))
		}
	}
	return all
}

func TestEventsWaitForTheirContainer(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	h := run(t, cfg, nil)
	answer := make(chan struct{})
	h.sensor.mu.Lock()
	h.sensor.container = func(cgroup uint64) (Container, bool, error) {
		if cgroup != 77 {
			return Container{}, false, nil
		}
		<-answer
		return wholeContainer(), true, nil
	}
	h.sensor.mu.Unlock()
	h.send(in(77, execOf(91, 90, "/bin/first", "first")), in(77, callOf(91, record.CallUnlink, 0, "/second")), in(77, execOf(92, 91, "/bin/third", "third")),
		in(78, execOf(93, 1, "/bin/other", "other")))
	if all := h.wait(t, 1); names(all)[0] != "other" {
		t.Errorf("the host waits for a container: %q", names(all))
	}
	close(answer)
	h.wait(t, 4)
	h.send(in(77, execOf(94, 91, "/bin/fourth", "fourth")))
	all := h.wait(t, 5)
	if got := names(all); !slices.Equal(got, []string{"other", "first", "/second", "third", "fourth"}) {
		t.Errorf("order %q", got)
	}
	for _, e := range all[1:] {
		if e.Str(signal.FieldContainerUID) != "0123456789abcdef" || e.Str(signal.FieldContainerImageName) != "docker.io/library/shop" || e.Str(signal.FieldOrchestratorNamespace) != "prod" {
			t.Errorf("%s", mustJSON(t, e))
		}
		// Users of a container are not those of the host.
		if got := e.Str(signal.FieldProcessUserName) + e.Str(signal.FieldActorProcessUserName); got != "1000" {
			t.Errorf("user %q", got)
		}
	}
	if mounts, _ := all[1].Unmapped("container.mounts[0]"); mounts != "/etc:/host/etc:ro,bind:false:" {
		t.Errorf("%q", mounts)
	}
}

func TestWaitingEnds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime = 30 * time.Millisecond
	h := run(t, cfg, nil)
	answer := make(chan struct{})
	defer close(answer)
	h.sensor.mu.Lock()
	h.sensor.container = func(uint64) (Container, bool, error) { <-answer; return Container{}, false, nil }
	h.sensor.mu.Unlock()
	h.send(in(77, execOf(91, 90, "/bin/first", "first")), in(77, execOf(92, 91, "/bin/second", "second")))
	if got := names(h.wait(t, 2)); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("%q", got)
	}
	h.send(in(77, execOf(93, 91, "/bin/third", "third")))
	h.wait(t, 3) // at once: its workload has been waited for
	if n := h.metrics.parkLate.Load(); n != 2 {
		t.Errorf("%d were judged late", n)
	}
}

func TestParkingIsBounded(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime, cfg.ParkEvents = 10*time.Second, 3
	h := run(t, cfg, nil)
	answer := make(chan struct{})
	h.sensor.mu.Lock()
	h.sensor.container = func(uint64) (Container, bool, error) { <-answer; return wholeContainer(), true, nil }
	h.sensor.mu.Unlock()
	for i := range uint32(8) {
		h.send(in(77, execOf(100+i, 90, "/bin/a", "a")))
	}
	all := h.wait(t, 8)
	for i, e := range all {
		if e.Int(signal.FieldProcessPID) != int64(100+i) {
			t.Errorf("event %d is of process %d", i, e.Int(signal.FieldProcessPID))
		}
	}
	h.mu.Lock()
	if h.parked != 0 || len(h.waiting) != 0 {
		t.Errorf("%d wait in %d lanes", h.parked, len(h.waiting))
	}
	h.mu.Unlock()
	close(answer)
}

func TestWhatWaitsIsJudgedAtTheEnd(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	h := run(t, cfg, nil)
	answer := make(chan struct{})
	h.sensor.mu.Lock()
	h.sensor.container = func(uint64) (Container, bool, error) { <-answer; return Container{}, false, errors.New("gone") }
	h.sensor.mu.Unlock()
	h.send(in(77, execOf(91, 90, "/bin/first", "first")))
	go func() { time.Sleep(20 * time.Millisecond); close(answer) }()
	if all := h.ended(); len(all) != 1 {
		t.Errorf("%d events", len(all))
	}
}

func TestExecutables(t *testing.T) {
	const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, needed := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.ParkTime = 10 * time.Second
		asked, answer := make(chan FileRef, 8), make(chan struct{}, 8)
		h := run(t, cfg, nil)
		h.sensor.executable = func(r FileRef) (Executable, error) {
			asked <- r
			<-answer
			return Executable{SHA256: sum, Package: "coreutils 9.1-1", Manager: "dpkg"}, nil
		}
		h.SetReads(Reads{Executable: needed})
		first, second := in(78, execOf(91, 90, "/usr/bin/cat", "cat")), in(78, execOf(92, 90, "/usr/bin/cat", "cat"))
		second.Inode = first.Inode
		h.send(first)
		if r := <-asked; r.Path != "/usr/bin/cat" || r.PID != 91 || r.Inode.Number != first.Inode.Number {
			t.Errorf("%+v", r)
		}
		if !needed {
			if e := h.wait(t, 1)[0]; e.Has(signal.FieldProcessFileHashesValue) {
				t.Error("it waited for a hash that no rule asks for")
			}
		}
		answer <- struct{}{}
		for range 500 {
			h.mu.Lock()
			x, _ := h.exes.get(exeKey{first.Inode.Device, first.Inode.Number, first.Inode.Changed})
			done := x.done
			h.mu.Unlock()
			if done {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		h.send(second, in(78, callOf(92, record.CallUnlink, 0, "/x")))
		all := h.wait(t, 3)
		if needed && all[0].Strings(signal.FieldProcessFileHashesValue)[0] != sum {
			t.Error("a rule asks for the hash, and the event did not wait")
		}
		if e := all[1]; e.Strings(signal.FieldProcessFileHashesValue)[0] != sum || e.Str(signal.FieldProcessFilePackage) != "coreutils 9.1-1" {
			t.Errorf("%s", mustJSON(t, e))
		}
		if e := all[2]; e.Str(signal.FieldActorProcessFilePackage) != "coreutils 9.1-1" {
			t.Errorf("%s", mustJSON(t, e))
		}
		if len(asked) != 0 {
			t.Error("an inode that is known was asked for again")
		}
		h.stop()
	}
}

// TestFloodDoesNotPushOthersOut: while all of the room is taken by one container that makes events without end, in however many cgroups of its own, what happens in another
// waits for its container as if the first one were not there.
func TestFloodDoesNotPushOthersOut(t *testing.T) {
	for name, cgroupOf := range map[string]func(i uint32) uint64{
		"one cgroup":   func(uint32) uint64 { return 77 },
		"many cgroups": func(i uint32) uint64 { return 1000 + uint64(i) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.ParkTime, cfg.ParkEvents = 10*time.Second, 16
			h := run(t, cfg, nil)
			answer := make(chan struct{})
			h.sensor.mu.Lock()
			h.sensor.container = func(uint64) (Container, bool, error) { <-answer; return wholeContainer(), true, nil }
			h.sensor.mu.Unlock()
			flood := func(from, to uint32) {
				for i := from; i < to; i++ {
					r := in(cgroupOf(i), execOf(1000+i, 90, "/bin/flood", "flood"))
					r.MntNS = 500
					h.send(r)
				}
			}
			other := func(pid uint32) {
				r := in(78, execOf(pid, 90, "/bin/victim", "victim"))
				r.MntNS = 600
				h.send(r)
			}
			flood(0, 16) // all the room
			other(90)
			flood(16, 60)
			other(91)
			flood(60, 100)
			h.wait(t, 80) // most of the flood is judged without its container
			h.mu.Lock()
			if h.parked > cfg.ParkEvents {
				t.Errorf("%d wait, %d may", h.parked, cfg.ParkEvents)
			}
			h.mu.Unlock()
			close(answer)
			victims := 0
			for _, e := range h.wait(t, 102) {
				if e.Str(signal.FieldProcessName) != "victim" {
					continue
				}
				victims++
				if e.Str(signal.FieldContainerUID) == "" {
					t.Errorf("it was judged without its container: %s", mustJSON(t, e))
				}
			}
			if victims != 2 || h.metrics.parkFull.Load() < 16 {
				t.Errorf("%d events of the other container; %d counted as judged early", victims, h.metrics.parkFull.Load())
			}
		})
	}
}
