//go:build linux

package enforce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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

// recordHeader is what the ring buffer puts before each record, which it aligns to eight bytes.
const recordHeader = 8

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
	e.mu.Unlock()
	if err != nil {
		return fmt.Errorf("decisions of the guard: %w", err)
	}
	defer rd.Close()
	e.settling.begin(rd.Flush)
	defer e.settling.end()
	var asked []settled
	var read uint64 // bytes
	written := func() uint64 { return read + uint64(rd.AvailableBytes()) }
	defer func() { answer(asked, math.MaxUint64) }()
	defer context.AfterFunc(ctx, func() { _ = rd.Flush() })() // wakes Read
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
			if batch = e.lost(batch[:0], &told); len(batch) > 0 {
				receive(batch)
			}
			rd.SetDeadline(time.Now().Add(lostEvery))
		case errors.Is(err, ringbuf.ErrFlushed): // somebody asks
		case err != nil:
			return fmt.Errorf("decisions of the guard: %w", err)
		default:
			if batch = e.records(batch[:0], raw.RawSample); len(batch) > 0 {
				receive(batch)
			}
			read += recordHeader + (uint64(len(raw.RawSample))+7)&^7 // guard.c discards none
		}
		asked = answer(e.settling.take(asked, written), read)
	}
	return nil
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
	e.pastMu.Lock()
	c := e.past[d.Revision]
	e.pastMu.Unlock()
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
