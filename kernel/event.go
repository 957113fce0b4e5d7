package kernel

import (
	"time"

	"github.com/testudo-sec/testudo/internal/cmdmask"
	"github.com/testudo-sec/testudo/internal/linuxabi"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// builder makes events of records. What it made lately it keeps, so that the usual event allocates nothing. It is not safe for
// concurrent use; the events that it made share only texts that never change.
type builder struct {
	host     string
	table    *process.Table
	chain    Chain // nil for none
	mask     *cmdmask.Masker
	wanted   *wanted
	accounts accounts
	machine  linuxabi.Machine

	names        texts // of programs, types, domains
	paths        texts
	nums         numbers
	lines        recent[line, text] // command lines
	lineages     recent[*process.Lineage, []string]
	subjects     recent[*process.Process, *subject]
	environments recent[image, []string]
	opens        recent[uint64, []string]
	flagTexts    recent[flagKey, string]
	resolved     recent[resolvedKey, string]
	hashes       recent[string, []string]
	dns          dnsReader
	scratch      []byte
	names1       []string
}

func newBuilder(host string, table *process.Table, chain Chain, mask *cmdmask.Masker, machine linuxabi.Machine) *builder {
	b := &builder{
		host: host, table: table, chain: chain, mask: mask, machine: machine, wanted: wants(Reads{}),
		accounts: accounts{passwd: "/etc/passwd", group: "/etc/group"},
		names:    newTexts(4096, nil), paths: newTexts(16384, mask.Redact), nums: numbers{newRecent[int64, string](4096)},
		lines: newRecent[line, text](4096), lineages: newRecent[*process.Lineage, []string](4096), subjects: newRecent[*process.Process, *subject](4096), environments: newRecent[image, []string](2048),
		opens: newRecent[uint64, []string](1024), flagTexts: newRecent[flagKey, string](2048), resolved: newRecent[resolvedKey, string](8192),
		hashes: newRecent[string, []string](1024),
	}
	return b
}

// view is a record with what is known of its process, from which an event is made.
type view struct {
	r    *record.Record
	s    *subject   // nil: of no process
	c    *contained // nil: of the host, or not known
	exe  *Executable
	gate record.Gate // that asks, or acted
	mode string
	// outcome of a call that a gate refused, as it came back.
	outcome string
}

// build makes the event of a record; false: it becomes none.
func (b *builder) build(e *signal.Event, v *view) bool {
	r := v.r
	kind := r.Kind
	if kind == record.KindEnforced {
		kind = attemptKind(r.Call)
	}
	class, activity, ok := ClassOf(kind, r.Call)
	if !ok {
		return false
	}
	e.Reset()
	at := b.table.Wall(r.Time)
	e.ID, e.Time = signal.NewID(at), at.UnixNano()
	e.Class, e.Activity, e.Plane, e.Severity = class, activity, signal.PlaneKernel, signal.SeverityInfo
	e.SetString(signal.FieldDeviceHostname, b.host)
	call := r.Call.String()
	switch {
	case kind == record.KindExit:
		call = "procexit"
	case kind == record.KindExec && call == "":
		call = "execve"
	case call == "" && kind <= record.KindListen:
		call = kind.String()
	}
	if call != "" {
		e.AddUnmapped("evt.type", call)
		b.set(e, attrSyscallType, call)
		for _, asked := range b.wanted.named["evt.type.is."] {
			if asked == call {
				e.AddUnmapped("evt.type.is."+call, "true")
			}
		}
	}
	b.status(e, r, kind)
	if v.c != nil {
		b.container(e, v.c)
	}
	switch {
	case kind == record.KindExec, kind == record.KindCall && (r.Call == record.CallExecve || r.Call == record.CallExecveat):
		b.process(e, v)
		b.execArguments(e, r)
	case kind == record.KindExit:
		b.process(e, v)
		b.exit(e, v)
	default:
		if v.s != nil {
			b.actor(e, v)
		}
		switch class {
		case signal.ClassFileActivity:
			b.file(e, v)
		case signal.ClassNetworkActivity:
			b.network(e, v, kind)
		case signal.ClassDNSActivity:
			b.network(e, v, kind)
			b.question(e, v)
		default:
			b.network(e, v, kind)
			b.deed(e, v)
		}
		b.arguments(e, v)
	}
	if v.s != nil {
		for _, a := range b.attributes(v.s) {
			e.AddUnmapped(a.Name, a.Value)
		}
		b.ages(e, v)
	}
	b.thread(e, r)
	b.request(e, r)
	if v.gate != record.GateNone || v.mode != "" {
		e.SetString(signal.FieldKernelGate, v.gate.String())
		e.SetString(signal.FieldKernelMode, v.mode)
		setString(e, signal.FieldKernelOutcome, v.outcome)
	}
	if r.Kind == record.KindEnforced {
		outcome := OutcomeRefused
		if v.gate == record.GateExecKill || v.gate == record.GateKill {
			outcome = OutcomeKilled
		}
		e.SetString(signal.FieldKernelOutcome, outcome)
	}
	return true
}

// attemptKind is the kind of record that a call becomes which is not refused.
func attemptKind(c record.Call) record.Kind {
	switch c {
	case record.CallExecve, record.CallExecveat:
		return record.KindExec
	case record.CallConnect, record.CallSendto, record.CallSendmsg, record.CallSendmmsg:
		return record.KindConnect
	}
	return record.KindCall
}

// Outcomes of what a rule refuses.
const (
	OutcomeRefused = "refused" // it did not happen
	OutcomeOrdered = "ordered" // it happened, and a kill was ordered, whose end another event tells of
	OutcomeKilled  = "killed"
	OutcomeFailed  = "failed" // the process was not killed
	OutcomeEnded   = "ended"  // the process had ended before it could be killed
	OutcomeWatched = "watched"
)

// set sets an attribute that rules ask for.
func (b *builder) set(e *signal.Event, a attr, v string) {
	if v != "" && b.wanted.is[a] {
		e.AddUnmapped(attrNames[a], v)
	}
}

func (b *builder) num(e *signal.Event, a attr, v int64) {
	if b.wanted.is[a] {
		e.AddUnmapped(attrNames[a], b.nums.of(v))
	}
}

func (b *builder) yes(e *signal.Event, a attr, v bool) {
	if b.wanted.is[a] {
		s := "false"
		if v {
			s = "true"
		}
		e.AddUnmapped(attrNames[a], s)
	}
}

const inProgress = -115 // EINPROGRESS: a connection is being made, and nobody waits for it

func (b *builder) status(e *signal.Event, r *record.Record, kind record.Kind) {
	ret := r.Ret
	if kind == record.KindExit || r.Kind == record.KindExec {
		ret = 0
	}
	id := int64(1)
	if ret < 0 && ret != inProgress {
		id = 2
	}
	e.SetInt(signal.FieldStatusID, id)
	e.SetString(signal.FieldStatusCode, linuxabi.Errno(ret))
	b.num(e, attrRawRes, ret)
}

// setText sets a field to a text whose recorded form may be another.
func setText(e *signal.Event, f signal.Field, t text) {
	switch {
	case t.seen == "":
	case t.seen == t.recorded:
		e.SetString(f, t.seen)
	default:
		e.SetMasked(f, t.seen, t.recorded)
	}
}

func setString(e *signal.Event, f signal.Field, v string) {
	if v != "" {
		e.SetString(f, v)
	}
}

// process says of a process that starts or ends what it is.
func (b *builder) process(e *signal.Event, v *view) {
	s := v.s
	if s == nil {
		return
	}
	p := s.p
	setString(e, signal.FieldProcessUID, p.Key)
	e.SetInt(signal.FieldProcessPID, int64(p.PID))
	setString(e, signal.FieldProcessName, p.Name)
	setText(e, signal.FieldProcessCmdLine, s.cmd)
	setText(e, signal.FieldProcessWorkingDirectory, s.cwd)
	if s.created != 0 {
		e.SetTime(signal.FieldProcessCreatedTime, time.Unix(0, s.created))
	}
	setText(e, signal.FieldProcessFilePath, s.exe)
	b.fileName(e, signal.FieldProcessFileName, s.exe)
	setString(e, signal.FieldProcessUserUID, s.uid)
	setString(e, signal.FieldProcessUserName, s.user)
	setString(e, signal.FieldProcessGroupUID, s.gid)
	setString(e, signal.FieldProcessTTY, s.tty)
	setString(e, signal.FieldProcessSessionUID, s.session)
	e.SetStrings(signal.FieldProcessLineage, s.lineage)
	if a := s.parent; a != nil {
		setString(e, signal.FieldProcessParentProcessUID, a.Key)
		e.SetInt(signal.FieldProcessParentProcessPID, int64(a.PID))
		setString(e, signal.FieldProcessParentProcessName, a.Name)
		setText(e, signal.FieldProcessParentProcessCmdLine, s.parentCmd)
		setText(e, signal.FieldProcessParentProcessFilePath, s.parentExe)
		setString(e, signal.FieldProcessParentProcessUserName, s.parentUser)
	}
	if v.c != nil {
		e.SetString(signal.FieldProcessContainerUID, v.c.ID)
	}
	e.SetStrings(signal.FieldProcessEnvironmentVariablesName, s.env)
	e.SetString(signal.FieldActorUserUID, s.loginID)
	setString(e, signal.FieldActorUserName, s.login)
	if x := v.exe; x != nil {
		e.SetStrings(signal.FieldProcessFileHashesValue, b.hashList(x.SHA256))
		setString(e, signal.FieldProcessFilePackage, x.Package)
	}
}

func (b *builder) hashList(sum string) []string {
	if sum == "" {
		return nil
	}
	if l, ok := b.hashes.get(sum); ok {
		return l
	}
	l := []string{sum}
	b.hashes.put(sum, l)
	return l
}

// actor says of a process that does something what it is.
func (b *builder) actor(e *signal.Event, v *view) {
	s := v.s
	p := s.p
	setString(e, signal.FieldActorProcessUID, p.Key)
	e.SetInt(signal.FieldActorProcessPID, int64(p.PID))
	setString(e, signal.FieldActorProcessName, p.Name)
	setText(e, signal.FieldActorProcessCmdLine, s.cmd)
	setText(e, signal.FieldActorProcessFilePath, s.exe)
	setString(e, signal.FieldActorProcessUserUID, s.uid)
	setString(e, signal.FieldActorProcessUserName, s.user)
	e.SetStrings(signal.FieldActorProcessLineage, s.lineage)
	if s.created != 0 {
		e.SetTime(signal.FieldActorProcessCreatedTime, time.Unix(0, s.created))
	}
	if a := s.parent; a != nil {
		setString(e, signal.FieldActorProcessParentProcessUID, a.Key)
		e.SetInt(signal.FieldActorProcessParentProcessPID, int64(a.PID))
		setString(e, signal.FieldActorProcessParentProcessName, a.Name)
		setText(e, signal.FieldActorProcessParentProcessCmdLine, s.parentCmd)
		setText(e, signal.FieldActorProcessParentProcessFilePath, s.parentExe)
	}
	e.SetString(signal.FieldActorUserUID, s.loginID)
	setString(e, signal.FieldActorUserName, s.login)
	if v.exe != nil {
		setString(e, signal.FieldActorProcessFilePackage, v.exe.Package)
	}
}

func (b *builder) exit(e *signal.Event, v *view) {
	r := v.r
	code, sig := int64(r.Ret>>8&0xff), int64(r.Ret&0x7f)
	exit := code
	if sig != 0 {
		exit = 128 + sig // as shells have it
	}
	e.SetInt(signal.FieldProcessExitCode, exit)
	e.SetTime(signal.FieldProcessTerminatedTime, time.Unix(0, e.Time))
	if r.Start != 0 && r.Time >= r.Start {
		e.SetInt(signal.FieldDuration, int64((r.Time-r.Start)/1e6))
	}
	if b.wanted.args {
		b.argument(e, "evt.arg.status", b.nums.of(r.Ret))
		b.argument(e, "evt.arg.ret", b.nums.of(code))
		b.argument(e, "evt.arg.sig", linuxabi.Signal(uint64(sig)))
	}
}

// ages sets how long ago things were, as of the event.
func (b *builder) ages(e *signal.Event, v *view) {
	if s := v.s; s.created != 0 {
		b.num(e, attrDuration, e.Time-s.created)
		if s.parentBegan != 0 {
			b.num(e, attrPPIDDuration, e.Time-s.parentBegan)
		}
	}
	if b.wanted.is[attrGroupName] {
		b.set(e, attrGroupName, b.groupName(v.s.p.GID, v.s.inContainer))
	}
}

func (b *builder) thread(e *signal.Event, r *record.Record) {
	b.num(e, attrTID, int64(r.TID))
	b.yes(e, attrMainThread, r.TID == r.PID)
	if r.HasCreds && r.Creds.VTID != 0 {
		b.num(e, attrVTID, int64(r.Creds.VTID))
	}
}

// request joins the event to the request that the thread served.
func (b *builder) request(e *signal.Event, r *record.Record) {
	if r.Token == 0 || b.chain == nil {
		return
	}
	q, ok := b.chain.Request(r.Token)
	switch {
	case !ok:
	case q.Ambiguous || r.Flags&record.FlagAmbiguous != 0:
		e.SetBool(signal.FieldKernelAmbiguous, true)
	default:
		setString(e, signal.FieldHTTPRequestUID, q.UID)
		setString(e, signal.FieldTraceUID, q.Trace)
		e.Parent = q.Event
	}
}
