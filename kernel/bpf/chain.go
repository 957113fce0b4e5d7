//go:build linux

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/testudo-sec/testudo/internal/goruntime"
	"github.com/testudo-sec/testudo/kernel/record"
)

//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types chain chain.c

// chainWork are the programs of chain.c, which are attached while there are ports to follow.
func chainWork() object {
	const cost = "what a request caused is not joined to it"
	return object{name: "chain", spec: loadChain, programs: []program{
		{name: "chain_read", feature: "requests read", cost: cost, lazy: true},
		{name: "chain_write", feature: "requests passed on", cost: "a request is followed into the first service only", lazy: true},
		{name: "chain_state", feature: "connections of requests", cost: cost, lazy: true},
		{name: "on_wait", feature: "requests waiting", cost: "what an event loop does is never claimed to be a request's",
			calls: []record.Call{record.CallNone}},
		{name: "chain_fork", feature: "children of requests", cost: cost, lazy: true},
		{name: "chain_exec", feature: "programs of requests", cost: cost, lazy: true},
		{name: "chain_free", feature: "ends of what requests started", cost: "the tables of the causal chain fill up", lazy: true},
	}}
}

// serving modes, as serving.h has them.
const (
	servingUnknown = iota
	servingThread
	servingGo
)

// servingProcess is struct serving_process of serving.h.
type servingProcess struct {
	Start, Token uint64
	Mode         uint32
	TLS          int32
	GoID         uint32
	Asked        uint32
	Served       uint32
	Port         uint16
	Forked       uint8
	_            uint8
}

// follow sets the ports whose requests are followed, and forgets what was learned of others.
func (l *Loader) follow(ports []uint16) error {
	if l.programs["chain_read"] == nil || l.programs["chain_state"] == nil {
		return nil // a feature that is missing, which the features say
	}
	var words [1024]uint64
	for _, p := range ports {
		words[p/64] |= 1 << (p % 64)
	}
	for i := range uint32(len(words)) {
		if err := l.maps["chain_served"].Put(i, words[i]); err != nil {
			return fmt.Errorf("the ports whose requests are followed: %w", err)
		}
	}
	following := len(ports) > 0
	for _, o := range chainWork().programs {
		p := l.programs[o.name]
		if p == nil || p.calls != nil { // tellCalls has said whether its calls are handed on
			continue
		}
		// Kernels before 6.3 have no tracepoint of reads: a raw program for it loads there, and cannot be attached.
		if following && !l.attachWanted(p) && (p.name == "chain_read" || p.name == "chain_state") {
			following = false // without these nothing is known of requests, and the others would only cost
		}
	}
	if !following {
		if err := l.detachChain(); err != nil {
			return err
		}
	}
	if len(ports) > 0 && !following {
		return nil
	}
	if len(ports) > 0 {
		return l.lookAtListeners(ports)
	}
	for i := range uint32(len(words)) {
		if err := l.maps["chain_learned"].Put(i, uint64(0)); err != nil {
			return fmt.Errorf("the ports that were learned: %w", err)
		}
	}
	return nil
}

// detachChain takes the programs of the chain out of the way.
func (l *Loader) detachChain() error {
	for _, o := range chainWork().programs {
		p := l.programs[o.name]
		if p == nil || p.calls != nil || p.link == nil {
			continue
		}
		err := p.link.Close()
		p.link = nil
		if err != nil {
			return fmt.Errorf("%s: %w", p.feature, err)
		}
	}
	return nil
}

// lookAtPrograms says of each process that the kernel asks about whether it is a Go program, until ctx ends.
func (l *Loader) lookAtPrograms(ctx context.Context) error {
	m := l.maps["chain_unknowns"]
	if m == nil {
		return nil
	}
	r, err := openRing(m)
	if err != nil {
		return fmt.Errorf("processes that serve: %w", err)
	}
	defer r.close()
	w, err := newWaiter(m.FD())
	if err != nil {
		return fmt.Errorf("processes that serve: %w", err)
	}
	defer w.close()
	defer w.until(ctx)()
	type asked struct {
		start uint64
		pid   uint32
	}
	var some []asked // looked at only once they are out of the ring: a look may wait for a disk
	for ctx.Err() == nil {
		some = some[:0]
		r.read(func(sample []byte) bool {
			if len(some) >= 256 {
				return false
			}
			if len(sample) >= 16 {
				some = append(some, asked{binary.NativeEndian.Uint64(sample), binary.NativeEndian.Uint32(sample[8:])})
			}
			return true
		})
		for _, p := range some {
			if ctx.Err() != nil {
				return nil
			}
			if err := l.lookAt(p.pid, p.start); err != nil {
				l.log.Debug("a process that serves", "pid", p.pid, "error", err)
			}
		}
		if len(some) > 0 {
			continue
		}
		if err := w.any(idleDelay); err != nil {
			return fmt.Errorf("processes that serve: %w", err)
		}
	}
	return nil
}

// lookAt finds out how requests are told apart in a process. start is that of the process, 0 for whichever has the pid.
func (l *Loader) lookAt(pid uint32, start uint64) error {
	processes := l.maps["serving_pids"]
	var p servingProcess
	if err := processes.Lookup(pid, &p); err != nil {
		return err
	}
	if start != 0 && p.Start != start {
		return errors.New("the process has gone")
	}
	p.Mode, p.TLS, p.GoID = servingThread, 0, 0
	found, err := l.goPrograms.Look(fmt.Sprintf("/proc/%d/exe", pid))
	switch {
	case errors.Is(err, goruntime.ErrNotGo):
	case err != nil: // a Go program of a release that is not known, or none that can be read: no claim is better than a wrong one
		p.Mode = servingUnknown
	default:
		p.Mode, p.TLS, p.GoID = servingGo, found.TLS, found.GoID
	}
	var now servingProcess
	if lookupErr := processes.Lookup(pid, &now); lookupErr != nil || p.Start != 0 && now.Start != p.Start {
		return errors.Join(err, lookupErr)
	}
	p.Start = now.Start // the kernel may have put it in meanwhile
	p.Token, p.Served, p.Port, p.Forked = now.Token, now.Served, now.Port, now.Forked
	return errors.Join(err, processes.Put(pid, &p))
}
