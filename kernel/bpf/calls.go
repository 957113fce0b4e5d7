//go:build linux

package bpf

import (
	"fmt"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// How much of a call is wanted; paths.h knows the same.
const (
	wantedNot     = iota
	wantedInSet   // where the path is in the set of changed files
	wantedAlways  // whatever its path
	wantedTracked // by the reader, which keeps account of what names lead through
)

// callsOffset is where the numbers of the machine's 32-bit form begin in the map of numbers.
const callsOffset = 1024

// number is struct wanted of common.h.
type number struct {
	Call   uint16
	Wanted uint8
	Args   uint8
}

// tellCalls tells the programs which system calls are wanted: whether opens are, and whether the paths of names matter.
func (l *Loader) tellCalls(want kernel.Interest, opens, names bool) error {
	l.filters.calls = false
	tell := func(at uint32, c record.Call) error {
		n := number{Call: uint16(c), Args: arguments(c)}
		if l.handled[c] {
			n.Wanted = wanted(want, c, opens, names)
		}
		if n.Wanted != wantedNot {
			l.filters.calls = true
		}
		if err := l.maps["numbers"].Put(at, &n); err != nil {
			return fmt.Errorf("the table of system calls: %w", err)
		}
		return nil
	}
	for _, c := range record.Calls() {
		if at, ok := record.Number(c); ok {
			if err := tell(uint32(at), c); err != nil {
				return err
			}
		}
	}
	for at, c := range otherNumbers() {
		if err := tell(at, c); err != nil {
			return err
		}
	}
	for at, c := range compatNumbers() {
		if err := tell(callsOffset+at, c); err != nil {
			return err
		}
	}
	return l.tellWaits(len(want.Served) > 0)
}

// tellWaits tells whether calls that wait for many connections are handed on to the causal chain. They are of no number that records
// have, so that they share the one of none; their number of arguments says whether only event loops use them.
func (l *Loader) tellWaits(followed bool) error {
	followed = followed && l.handled[record.CallNone] && l.programs["chain_read"] != nil
	l.filters.calls = l.filters.calls || followed
	for at, loop := range waitNumbers() {
		var n number
		if followed {
			n.Wanted = wantedAlways
		}
		if loop {
			n.Args = 1
		}
		if err := l.maps["numbers"].Put(at, &n); err != nil {
			return fmt.Errorf("the table of system calls: %w", err)
		}
	}
	return nil
}

func wanted(want kernel.Interest, c record.Call, opens, names bool) uint8 {
	switch c {
	case record.CallOpen, record.CallOpenat, record.CallOpenat2, record.CallCreat:
		if opens { // which of them a program uses is its own choice
			return wantedInSet
		}
		return wantedNot
	}
	switch {
	case neededByNet(want, c):
		return wantedAlways
	case !want.Calls[c] && names && leads(c):
		return wantedTracked
	case !want.Calls[c]:
		return wantedNot
	case want.AnyPath[c]:
		return wantedAlways
	}
	return wantedInSet
}

// attachCalls attaches the program of all system calls while one is wanted: it costs every call some nanoseconds.
func (l *Loader) attachCalls() {
	p := l.programs["on_sys_exit"]
	if p == nil {
		p = l.programs["on_sys_exit_raw"]
	}
	if p == nil {
		return
	}
	var err error
	if l.filters.calls {
		err = l.attach(p)
	} else if p.link != nil {
		err = p.link.Close()
		p.link = nil
	}
	if err != nil {
		l.note(kernel.Feature{Name: p.feature, Detail: reason(err), Cost: p.cost, Mend: mend(err)})
		l.log.Warn("a program for the kernel cannot be attached", "program", p.name, "error", err)
	}
}

// arguments is how many arguments a call has.
func arguments(c record.Call) uint8 {
	switch c {
	case record.CallUserfaultfd, record.CallUnlink, record.CallRmdir, record.CallUnshare, record.CallSetuid, record.CallSetgid, record.CallSetfsuid,
		record.CallSetfsgid, record.CallChroot, record.CallSwapoff, record.CallDup, record.CallExit, record.CallExitGroup:
		return 1
	case record.CallCreat, record.CallRename, record.CallMkdir, record.CallLink, record.CallSymlink, record.CallChmod, record.CallFchmod,
		record.CallTruncate, record.CallFtruncate, record.CallListen, record.CallDup2, record.CallSetreuid, record.CallSetregid, record.CallCapset,
		record.CallDeleteModule, record.CallUmount2, record.CallPivotRoot, record.CallSetns, record.CallMemfdCreate, record.CallKill, record.CallTkill,
		record.CallClone3, record.CallFsopen, record.CallSethostname, record.CallSwapon, record.CallIoUringSetup:
		return 2
	case record.CallExecve, record.CallOpen, record.CallUnlinkat, record.CallMkdirat, record.CallSymlinkat, record.CallFchmodat, record.CallChown,
		record.CallFchown, record.CallLchown, record.CallMknod, record.CallConnect, record.CallAccept, record.CallBind, record.CallSocket,
		record.CallSendmsg, record.CallRecvmsg, record.CallDup3, record.CallSetresuid, record.CallSetresgid, record.CallInitModule,
		record.CallFinitModule, record.CallOpenTree, record.CallFsmount, record.CallBPF, record.CallTgkill, record.CallMprotect, record.CallSyslog:
		return 3
	case record.CallOpenat, record.CallOpenat2, record.CallRenameat, record.CallFchmodat2, record.CallMknodat, record.CallAccept4,
		record.CallSendmmsg, record.CallPtrace, record.CallPidfdSendSignal, record.CallRequestKey, record.CallKexecLoad, record.CallReboot,
		record.CallQuotactl:
		return 4
	case record.CallExecveat, record.CallRenameat2, record.CallLinkat, record.CallFchownat, record.CallSetxattr, record.CallPrctl, record.CallMount,
		record.CallMoveMount, record.CallClone, record.CallKeyctl, record.CallAddKey, record.CallPerfEventOpen, record.CallKexecFileLoad:
		return 5
	case record.CallSendto, record.CallRecvfrom, record.CallProcessVMReadv, record.CallProcessVMWritev:
		return 6
	}
	return 0
}
