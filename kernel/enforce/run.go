//go:build linux

package enforce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// lostEvery is how often untold decisions are looked for.
const lostEvery = time.Second

const decisionSize = int(unsafe.Sizeof(guardDecision{}))

// Run hands a record of each decision and each rule that fired in it to receive, one call at a time, until ctx ends:
//
//   - Kind is KindEnforced, Call says what it was about: execve, openat, connect, sendmsg.
//   - Nums are the number of the rule (its place in Guard.Rules), the gate (GateNone: it was only watched, or let through), the hook.
//   - Ret is -1 (EPERM) where it was refused. With the gate exec-kill the process is dying.
//   - Path and Inode are the executable of exec, the file of open; Args are exec's, as far as they were to be had; Net is connect's.
//
// Decisions that could not be told are a record of KindLost. Refusals do not wait for this.
func (e *Enforcer) Run(ctx context.Context, receive func(batch []byte)) error {
	e.mu.Lock()
	err := e.load()
	if err != nil {
		e.mu.Unlock()
		return err
	}
	rd, err := ringbuf.NewReader(e.objects.decisions)
	if err == nil {
		e.wake = rd.Flush
	}
	e.mu.Unlock()
	if err != nil {
		return fmt.Errorf("decisions of the guard: %w", err)
	}
	defer rd.Close()
	var asked []chan struct{}
	defer func() {
		e.mu.Lock()
		asked, e.settling, e.wake = append(asked, e.settling...), nil, nil
		e.mu.Unlock()
		answer(asked)
	}()
	defer context.AfterFunc(ctx, func() { _ = rd.Close() })() // wakes Read
	var raw ringbuf.Record
	var batch []byte
	var told uint64
	rd.SetDeadline(time.Now().Add(lostEvery))
	for ctx.Err() == nil {
		err := rd.ReadInto(&raw)
		switch {
		case errors.Is(err, ringbuf.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if len(asked) > 0 { // all that was there when they asked is read
				answer(asked)
				asked = nil
			} else if batch = e.lost(batch[:0], &told); len(batch) > 0 {
				receive(batch)
			}
			rd.SetDeadline(time.Now().Add(lostEvery))
		case errors.Is(err, ringbuf.ErrFlushed):
			e.mu.Lock()
			asked, e.settling = append(asked, e.settling...), nil
			e.mu.Unlock()
			rd.SetDeadline(time.Unix(1, 0)) // once more, without waiting: they may have come after the last look
		case err != nil:
			return fmt.Errorf("decisions of the guard: %w", err)
		default:
			if batch = e.records(batch[:0], raw.RawSample); len(batch) > 0 {
				receive(batch)
			}
		}
	}
	return nil
}

// Settle returns when the decisions that were made until now are handed on, or ctx has ended. It takes no time where there is nothing to decide.
func (e *Enforcer) Settle(ctx context.Context) {
	e.mu.Lock()
	if e.wake == nil || e.compiled == nil || len(e.compiled.rules) == 0 {
		e.mu.Unlock()
		return
	}
	done := make(chan struct{})
	e.settling = append(e.settling, done)
	err := e.wake()
	e.mu.Unlock()
	if err != nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func answer(all []chan struct{}) {
	for _, done := range all {
		close(done)
	}
}

// lost appends a record of what was not told since the last time.
func (e *Enforcer) lost(b []byte, told *uint64) []byte {
	n, err := e.Counts()
	if err != nil || n.Untold == *told {
		return b
	}
	r := record.Record{Kind: record.KindLost, NumLen: 2, Nums: [6]uint64{n.Untold - *told, uint64(record.KindEnforced)}}
	*told = n.Untold
	return r.Append(b)
}

// records appends a record for each rule that fired in a decision.
func (e *Enforcer) records(b, raw []byte) []byte {
	var d guardDecision
	if len(raw) < decisionSize {
		return b
	}
	if _, err := binary.Decode(raw, binary.NativeEndian, &d); err != nil {
		return b
	}
	text := raw[decisionSize:]
	if int(d.Args)+int(d.Path) > len(text) {
		return b
	}
	e.mu.Lock()
	c := e.past[d.Revision]
	e.mu.Unlock()
	if c == nil {
		return b
	}
	r := record.Record{Kind: record.KindEnforced, Flags: record.Flags(d.Flags), Time: d.Time, Start: d.Start, Cgroup: d.Cgroup, PID: d.Pid, TID: d.Tid,
		PPID: d.Ppid, UID: d.Uid, GID: d.Gid, LoginUID: d.Loginuid, MntNS: d.Mntns, PIDNS: d.Pidns, Comm: comm(d.Comm[:]),
		Args: text[:d.Args], Path: text[d.Args:][:d.Path], NumLen: 3}
	switch kernel.Hook(d.Hook) {
	case kernel.HookExec:
		r.Call = record.CallExecve
	case kernel.HookOpen:
		r.Call = record.CallOpenat
	case kernel.HookConnect:
		r.Call, r.HasNet = record.CallConnect, true
		if d.Datagram != 0 {
			r.Call = record.CallSendmsg
		}
		r.Net = record.Net{Protocol: d.Protocol, Family: d.Family, FD: -1, Remote: netip.AddrPortFrom(netip.AddrFrom16(d.Remote).Unmap(), d.Port)}
	}
	if i := d.Inode; i.Number != 0 {
		r.HasInode = true
		r.Inode = record.Inode{Device: i.Device, Number: i.Number, Size: i.Size, Mode: i.Mode, UID: i.Uid, GID: i.Gid, Links: i.Links, FilesystemID: i.Filesystem}
	}
	for bit, p := range c.rules {
		if !d.Fired.has(bit) {
			continue
		}
		gate := record.GateNone
		r.Ret = 0
		if p.enforce && d.Refused != 0 {
			gate, r.Ret = record.Gate(d.Gate), -1
			if d.Failed != 0 {
				gate, r.Ret = record.GateNone, int64(d.Failed)
			}
		}
		r.Nums = [6]uint64{uint64(p.index), uint64(gate), uint64(d.Hook)}
		b = r.Append(b)
	}
	return b
}

func comm(raw []int8) []byte {
	var b []byte
	for _, c := range raw {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return b
}
