package kernel

import (
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// A secret with a space in it is one argument, of an attempt and of an ancestor that was there before the plane, too.
func TestSecretsWithSpacesAreMasked(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	parent := execOf(90, 1, "/usr/bin/db", "db", "--password", "open sesame", "serve")
	parent.Flags |= record.FlagSeeded
	h.send(parent, execOf(91, 90, "/bin/true", "true"))
	e := h.wait(t, 1)[0]
	if got := e.RecordedStr(signal.FieldProcessParentProcessCmdLine); got != "db --password * serve" {
		t.Errorf("parent: %q", got)
	}
	attempted := execOf(91, 90, "/usr/bin/db", "db", "--password", "hunter two", "x")
	h.Ask(t.Context(), attempted.Append(nil), record.GateFanotify)
	if got := h.wait(t, 2)[1].RecordedStr(signal.FieldProcessCmdLine); got != "db --password * x" {
		t.Errorf("attempt: %q", got)
	}
}

// Two attempts at once in a container that nobody knows yet are both judged as the container's.
func TestEveryAttemptWaitsForItsContainer(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	h := run(t, cfg, nil)
	asked, answer := make(chan struct{}), make(chan struct{})
	h.sensor.mu.Lock()
	h.sensor.container = func(uint64) (Container, bool, error) { close(asked); <-answer; return wholeContainer(), true, nil }
	h.sensor.mu.Unlock()
	done := make(chan struct{})
	ask := func(pid uint32) {
		r := in(77, execOf(pid, 1, "/bin/x", "x"))
		h.Ask(t.Context(), r.Append(nil), record.GateFanotify)
		done <- struct{}{}
	}
	go ask(91)
	<-asked
	go ask(92)
	select {
	case <-done:
		t.Error("an attempt does not wait for what another one asks")
		close(answer)
		<-done
	case <-time.After(50 * time.Millisecond):
		close(answer)
		<-done
		<-done
	}
	for _, e := range h.wait(t, 2) {
		if e.Str(signal.FieldContainerUID) != "0123456789abcdef" {
			t.Errorf("%s", mustJSON(t, e))
		}
	}
}

// Whoever runs large new programs does not keep the containers of others from being known.
func TestContainersDoNotWaitForExecutables(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	release := make(chan struct{})
	h := run(t, cfg, nil)
	defer close(release)
	h.sensor.mu.Lock()
	h.sensor.executable = func(FileRef) (Executable, error) { <-release; return Executable{}, nil }
	h.sensor.container = func(uint64) (Container, bool, error) { return wholeContainer(), true, nil }
	h.sensor.mu.Unlock()
	for i := range uint32(8) {
		r := execOf(100+i, 1, "/tmp/big", "big")
		r.HasInode, r.Inode.Number = true, uint64(1000+i)
		h.send(r)
	}
	h.wait(t, 8)
	h.send(in(77, callOf(120, record.CallUnlink, 0, "/in/container")))
	if e := h.wait(t, 9)[8]; e.Str(signal.FieldContainerUID) == "" || !strings.HasPrefix(e.Str(signal.FieldFilePath), "/in/") {
		t.Errorf("%s", mustJSON(t, e))
	}
}

// The record does not say that somebody was killed whom nobody could kill.
func TestWhoCannotBeKilledIsNotRecordedAsKilled(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Mode = ModeEnforce
	h := run(t, cfg, nil)
	h.sink.judge = refuse("deny-x", "/tmp/x")
	r := callOf(40, record.CallUnlink, 0, "/tmp/x")
	r.Flags |= record.FlagKernel
	unknown := callOf(41, record.CallUnlink, 0, "/tmp/x")
	unknown.Start = 0
	h.send(r, unknown)
	for _, e := range h.wait(t, 2) {
		if e.Str(signal.FieldKernelGate) != "none" {
			t.Errorf("%s", mustJSON(t, e))
		}
	}
	h.stop()
	if len(h.sensor.orders) != 0 {
		t.Errorf("%v", h.sensor.orders)
	}
}
