//go:build linux

package bpf

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// What the programs of the network are told to send; net.h has the same bits.
const (
	netConnect = 1 << iota
	netAccept
	netSend
	netFlows
	netDNS
	netPorts
)

// netConfig is struct net_config of net.h.
type netConfig struct {
	Want     uint32
	Reserved uint32
	Interval uint64
}

const defaultFlowInterval = time.Minute

// wantOfNet is what an interest means for the network.
func wantOfNet(want kernel.Interest) uint32 {
	var bits uint32
	for call, bit := range map[record.Call]uint32{record.CallConnect: netConnect, record.CallAccept: netAccept, record.CallAccept4: netAccept,
		record.CallSendto: netSend, record.CallSendmsg: netSend, record.CallSendmmsg: netSend} {
		if want.Calls[call] {
			bits |= bit
		}
	}
	if want.Flows {
		bits |= netFlows
	}
	if want.DNS {
		bits |= netDNS
	}
	if want.Connects != nil {
		bits |= netPorts
	}
	return bits
}

// neededByNet says whether the program of a call is needed for something else than to tell of the call.
func neededByNet(want kernel.Interest, call record.Call) bool {
	return want.Flows && (call == record.CallAccept || call == record.CallAccept4) // who accepted owns the connection
}

// watchNet sets what of the network is to be seen. While the ports change all are told of, so that none is missed.
func (l *Loader) watchNet(want kernel.Interest) error {
	m := l.maps["net_config"]
	if m == nil {
		return nil
	}
	bits := wantOfNet(want)
	put := func(bits uint32) error {
		interval := l.options.FlowInterval
		if interval <= 0 {
			interval = defaultFlowInterval
		}
		if err := m.Put(uint32(0), &netConfig{Want: bits, Interval: uint64(interval)}); err != nil {
			return fmt.Errorf("what of the network is to be seen: %w", err)
		}
		return nil
	}
	if err := put(bits &^ netPorts); err != nil {
		return err
	}
	if bits&netPorts != 0 {
		var words [1024]uint64
		for _, p := range want.Connects {
			words[p/64] |= 1 << (p % 64)
		}
		for i := range uint32(len(words)) {
			if err := l.maps["ports"].Put(i, words[i]); err != nil {
				return fmt.Errorf("the ports that matter: %w", err)
			}
		}
		if err := put(bits); err != nil {
			return err
		}
	}
	for name, needed := range map[string]bool{"net_state": want.Flows || want.DNS, "net_egress": want.Flows || want.DNS, "net_ingress": want.Flows || want.DNS,
		"net_bound4": want.Flows || want.DNS, "net_bound6": want.Flows || want.DNS, "net_released": want.Flows || want.DNS} {
		p := l.programs[name]
		switch {
		case p == nil: // the features say so
		case needed:
			l.attachWanted(p)
		case p.link != nil:
			err := p.link.Close()
			p.link = nil
			if err != nil {
				return fmt.Errorf("%s: %w", p.feature, err)
			}
		}
	}
	return nil
}

// walkFlows tells of connections that last until ctx ends: once at the start, so that those that were there before have an owner, and then
// as often as a flow is told of.
func (l *Loader) walkFlows(ctx context.Context) {
	interval := l.options.FlowInterval
	if interval <= 0 {
		interval = defaultFlowInterval
	}
	// A flow that was told of just before a walk waits for the next but one.
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		l.mu.Lock()
		wanted := l.interest.Flows
		l.mu.Unlock()
		if wanted {
			now, err := l.walk()
			if err != nil {
				l.log.Warn("connections that last are not told of", "error", err)
			}
			l.forgotten.Store(max(now, l.forgotten.Load()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// walk goes over the flows once, and returns how many of them the kernel has had to forget.
func (l *Loader) walk() (forgotten uint64, err error) {
	walked := l.maps["net_walked"]
	if walked == nil {
		return 0, nil
	}
	for i := range uint32(2) {
		if err := walked.Put(i, uint64(0)); err != nil {
			return 0, fmt.Errorf("the count of flows: %w", err)
		}
	}
	for _, w := range []struct {
		program string
		over    *ebpf.Map
	}{{"net_walk_tcp", nil}, {"net_walk_udp", l.maps["udp_flows"]}, {"net_walk_owners", l.maps["owners"]}} {
		if p := l.programs[w.program]; p != nil {
			if err := iterate(p.prog, w.over); err != nil {
				return 0, fmt.Errorf("%s: %w", p.feature, err)
			}
		}
	}
	if l.programs["net_walk_udp"] == nil || l.programs["net_walk_owners"] == nil {
		return 0, nil
	}
	var there [2]uint64 // flows, owners
	for i := range there {
		if err := walked.Lookup(uint32(i), &there[i]); err != nil {
			return 0, fmt.Errorf("the count of flows: %w", err)
		}
	}
	changes, err := l.netCounts()
	if err != nil {
		return 0, err
	}
	// What changes meanwhile is counted at the next walk.
	lost := func(added, removed, there uint64) uint64 { return added - min(added, removed+there) }
	return lost(changes[0], changes[1], there[1]) + lost(changes[2], changes[3], there[0]), nil
}

// netCounts are the counters of net_counts in net.h: owners added and removed, flows added and removed.
func (l *Loader) netCounts() (sum [4]uint64, err error) {
	for i := range sum {
		var each []uint64
		if err := l.maps["net_counts"].Lookup(uint32(i), &each); err != nil {
			return sum, fmt.Errorf("the changes of flows: %w", err)
		}
		for _, n := range each {
			sum[i] += n
		}
	}
	return sum, nil
}

// iterate runs a program over what it goes over: all open files, or a map.
func iterate(p *ebpf.Program, over *ebpf.Map) error {
	it, err := link.AttachIter(link.IterOptions{Program: p, Map: over})
	if err != nil {
		return err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}
