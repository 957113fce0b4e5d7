package kernel

import (
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/internal/linuxabi"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// argKind says how an argument of a call is written.
type argKind uint8

const (
	argNumber argKind = iota
	argFD             // signed 32 bits
	argDirFD          // likewise, AT_FDCWD by name
	argHex
	argResult // what the call returned
	argPath
	argPath2
	argName
	argUser
	argGroup
	argMode
	argOpen
	argClone
	argMount
	argUmount
	argAt
	argRename
	argMemfd
	argModule
	argProtection
	argSignal
	argPtrace
	argBPF
	argDomain
	argSockType
	argKeyctl
	argPrctl
)

// argument is one of a call: its name as Falco has it, how it is written, which of the record's numbers it is.
type argument struct {
	name string
	kind argKind
	at   int
}

// argumentsOf returns the arguments of a call in the order in which Falco numbers them.
func argumentsOf(c record.Call) []argument {
	if int(c) < len(callArguments) {
		return callArguments[c]
	}
	return nil
}

var callArguments = func() (t [256][]argument) {
	res := argument{"res", argResult, 0}
	fd := argument{"fd", argResult, 0}
	path, path2 := argument{"path", argPath, 0}, argument{"newpath", argPath2, 0}
	old := argument{"oldpath", argPath, 0}
	t[record.CallOpen] = []argument{fd, {"name", argPath, 0}, {"flags", argOpen, 1}, {"mode", argMode, 2}}
	t[record.CallOpenat] = []argument{fd, {"dirfd", argDirFD, 0}, {"name", argPath, 0}, {"flags", argOpen, 2}, {"mode", argMode, 3}}
	t[record.CallOpenat2] = t[record.CallOpenat]
	t[record.CallCreat] = []argument{fd, {"name", argPath, 0}, {"mode", argMode, 1}}
	t[record.CallRename] = []argument{res, old, path2}
	t[record.CallRenameat] = []argument{res, {"olddirfd", argDirFD, 0}, old, {"newdirfd", argDirFD, 2}, path2}
	t[record.CallRenameat2] = append(append([]argument(nil), t[record.CallRenameat]...), argument{"flags", argRename, 4})
	t[record.CallUnlink] = []argument{res, path}
	t[record.CallUnlinkat] = []argument{res, {"dirfd", argDirFD, 0}, {"name", argPath, 0}, {"flags", argAt, 2}}
	t[record.CallRmdir] = []argument{res, path}
	t[record.CallMkdir] = []argument{res, path, {"mode", argMode, 1}}
	t[record.CallMkdirat] = []argument{res, {"dirfd", argDirFD, 0}, path, {"mode", argMode, 2}}
	t[record.CallLink] = []argument{res, old, path2}
	t[record.CallLinkat] = []argument{res, {"olddir", argDirFD, 0}, old, {"newdir", argDirFD, 2}, path2, {"flags", argAt, 4}}
	t[record.CallSymlink] = []argument{res, {"target", argName, 0}, {"linkpath", argPath, 0}}
	t[record.CallSymlinkat] = []argument{res, {"target", argName, 0}, {"linkdirfd", argDirFD, 1}, {"linkpath", argPath, 0}}
	t[record.CallChmod] = []argument{res, {"filename", argPath, 0}, {"mode", argMode, 1}}
	t[record.CallFchmod] = []argument{res, {"fd", argFD, 0}, {"mode", argMode, 1}, {"filename", argPath, 0}}
	t[record.CallFchmodat] = []argument{res, {"dirfd", argDirFD, 0}, {"filename", argPath, 0}, {"mode", argMode, 2}}
	t[record.CallFchmodat2] = append(append([]argument(nil), t[record.CallFchmodat]...), argument{"flags", argAt, 3})
	t[record.CallChown] = []argument{res, path, {"uid", argUser, 1}, {"gid", argGroup, 2}}
	t[record.CallLchown] = t[record.CallChown]
	t[record.CallFchown] = []argument{res, {"fd", argFD, 0}, {"uid", argUser, 1}, {"gid", argGroup, 2}}
	t[record.CallFchownat] = []argument{res, {"dirfd", argDirFD, 0}, {"pathname", argPath, 0}, {"uid", argUser, 2}, {"gid", argGroup, 3}, {"flags", argAt, 4}}
	t[record.CallTruncate] = []argument{res, path, {"length", argNumber, 1}}
	t[record.CallFtruncate] = []argument{res, {"fd", argFD, 0}, {"length", argNumber, 1}}
	t[record.CallMknod] = []argument{res, path, {"mode", argMode, 1}, {"dev", argNumber, 2}}
	t[record.CallMknodat] = []argument{res, {"dirfd", argDirFD, 0}, path, {"mode", argMode, 2}, {"dev", argNumber, 3}}
	t[record.CallSetxattr] = []argument{res, path, {"name", argName, 0}}
	t[record.CallSocket] = []argument{fd, {"domain", argDomain, 0}, {"type", argSockType, 1}, {"proto", argNumber, 2}}
	for _, c := range []record.Call{record.CallSendto, record.CallSendmsg, record.CallSendmmsg, record.CallRecvfrom, record.CallRecvmsg} {
		t[c] = []argument{res, {"fd", argFD, 0}}
	}
	t[record.CallDup] = []argument{res, {"oldfd", argFD, 0}}
	t[record.CallDup2] = []argument{res, {"oldfd", argFD, 0}, {"newfd", argFD, 1}}
	t[record.CallDup3] = append(append([]argument(nil), t[record.CallDup2]...), argument{"flags", argHex, 2})
	t[record.CallSetuid] = []argument{res, {"uid", argUser, 0}}
	t[record.CallSetgid] = []argument{res, {"gid", argGroup, 0}}
	t[record.CallSetreuid] = []argument{res, {"ruid", argUser, 0}, {"euid", argUser, 1}}
	t[record.CallSetregid] = []argument{res, {"rgid", argGroup, 0}, {"egid", argGroup, 1}}
	t[record.CallSetresuid] = []argument{res, {"ruid", argUser, 0}, {"euid", argUser, 1}, {"suid", argUser, 2}}
	t[record.CallSetresgid] = []argument{res, {"rgid", argGroup, 0}, {"egid", argGroup, 1}, {"sgid", argGroup, 2}}
	t[record.CallSetfsuid] = []argument{res, {"uid", argUser, 0}}
	t[record.CallSetfsgid] = []argument{res, {"gid", argGroup, 0}}
	t[record.CallCapset] = []argument{res}
	t[record.CallPrctl] = []argument{res, {"option", argPrctl, 0}, {"arg2", argHex, 1}}
	t[record.CallPtrace] = []argument{res, {"request", argPtrace, 0}, {"pid", argFD, 1}, {"addr", argHex, 2}, {"data", argHex, 3}}
	t[record.CallProcessVMReadv] = []argument{res, {"pid", argFD, 0}}
	t[record.CallProcessVMWritev] = t[record.CallProcessVMReadv]
	t[record.CallInitModule] = []argument{res, {"img", argHex, 0}, {"length", argNumber, 1}, {"uargs", argName, 0}}
	t[record.CallFinitModule] = []argument{res, {"fd", argFD, 0}, {"uargs", argName, 0}, {"flags", argModule, 2}}
	t[record.CallDeleteModule] = []argument{res, {"name", argName, 0}, {"flags", argHex, 1}}
	t[record.CallMount] = []argument{res, {"flags", argMount, 3}, {"dev", argPath2, 0}, {"dir", argPath, 0}, {"type", argName, 0}}
	t[record.CallUmount2] = []argument{res, {"name", argPath, 0}, {"flags", argUmount, 1}}
	t[record.CallMoveMount] = []argument{res, {"from_path", argPath2, 0}, {"to_path", argPath, 0}, {"flags", argHex, 4}}
	t[record.CallOpenTree] = []argument{fd, {"dirfd", argDirFD, 0}, path, {"flags", argHex, 2}}
	t[record.CallFsopen] = []argument{fd, {"fsname", argName, 0}, {"flags", argHex, 1}}
	t[record.CallFsmount] = []argument{fd, {"fs_fd", argFD, 0}, {"flags", argHex, 1}, {"attr_flags", argMount, 2}}
	t[record.CallPivotRoot] = []argument{res, {"new_root", argPath, 0}, {"put_old", argPath2, 0}}
	t[record.CallChroot] = []argument{res, path}
	t[record.CallSetns] = []argument{res, {"fd", argFD, 0}, {"nstype", argClone, 1}}
	t[record.CallUnshare] = []argument{res, {"flags", argClone, 0}}
	for _, c := range []record.Call{record.CallClone, record.CallClone3} {
		t[c] = []argument{res, {"flags", argClone, 0}}
	}
	t[record.CallBPF] = []argument{fd, {"cmd", argBPF, 0}}
	t[record.CallMemfdCreate] = []argument{fd, {"name", argName, 0}, {"flags", argMemfd, 1}}
	t[record.CallUserfaultfd] = []argument{res, {"flags", argOpen, 0}}
	t[record.CallKill] = []argument{res, {"pid", argFD, 0}, {"sig", argSignal, 1}}
	t[record.CallTkill] = []argument{res, {"tid", argFD, 0}, {"sig", argSignal, 1}}
	t[record.CallTgkill] = []argument{res, {"pid", argFD, 0}, {"tid", argFD, 1}, {"sig", argSignal, 2}}
	t[record.CallPidfdSendSignal] = []argument{res, {"pid", argFD, 0}, {"sig", argSignal, 1}}
	t[record.CallKeyctl] = []argument{res, {"cmd", argKeyctl, 0}, {"arg2", argHex, 1}}
	t[record.CallAddKey] = []argument{res, {"type", argName, 0}}
	t[record.CallRequestKey] = t[record.CallAddKey]
	t[record.CallPerfEventOpen] = []argument{fd, {"pid", argFD, 1}, {"cpu", argFD, 2}}
	t[record.CallKexecLoad] = []argument{res, {"flags", argHex, 3}}
	t[record.CallKexecFileLoad] = []argument{res, {"fd", argFD, 0}, {"flags", argHex, 4}}
	t[record.CallSethostname] = []argument{res, {"name", argName, 0}}
	t[record.CallReboot] = []argument{res, {"cmd", argHex, 2}}
	t[record.CallSwapon] = []argument{res, path}
	t[record.CallSwapoff] = []argument{res, path}
	t[record.CallMprotect] = []argument{res, {"addr", argHex, 0}, {"length", argNumber, 1}, {"prot", argProtection, 2}}
	t[record.CallIoUringSetup] = []argument{fd, {"entries", argNumber, 0}}
	t[record.CallQuotactl] = []argument{res, {"cmd", argHex, 0}, {"special", argPath, 0}}
	t[record.CallSyslog] = []argument{res, {"type", argNumber, 0}}
	return t
}()

// planned is an argument that rules ask for, under the names that they ask by.
type planned struct {
	argument
	label            string // its name, for the text of all
	attr, raw, place string // names of attributes, "" for none
}

// plan returns which arguments of a call are to be written.
func (w *wanted) plan(c record.Call) []planned {
	var all []planned
	class, _, _ := ClassOf(record.KindCall, c)
	for i, a := range argumentsOf(c) {
		q := planned{argument: a, label: a.name + "="}
		if w.names("evt.arg.", a.name) && !(class == signal.ClassFileActivity && held(a)) {
			q.attr = "evt.arg." + a.name
		}
		if n := strconv.Itoa(i); !w.all && w.names("evt.arg.", n) {
			q.place = "evt.arg." + n
		}
		if w.names("evt.rawarg.", a.name) && a.kind != argPath && a.kind != argPath2 && a.kind != argName {
			q.raw = "evt.rawarg." + a.name
		}
		if q.attr != "" || q.place != "" || q.raw != "" || w.is[attrArgs] || w.is[attrInfo] {
			all = append(all, q)
		}
	}
	return all
}

// held reports whether an argument of a call on a file has a field of its own: paths, and the flags of open.
func held(a argument) bool {
	switch a.kind {
	case argPath:
		return slices.Contains([]string{"path", "name", "filename", "oldpath", "linkpath"}, a.name)
	case argPath2:
		return a.name == "newpath"
	case argOpen:
		return a.name == "flags"
	}
	return false
}

// arguments sets what rules ask of the arguments of a call.
func (b *builder) arguments(e *signal.Event, v *view) {
	w, r := b.wanted, v.r
	b.set(e, attrCategory, category(e.Class))
	if r.Kind == record.KindDNS {
		b.num(e, attrBufLen, int64(len(r.Data)))
	}
	if int(r.Call) >= len(w.plans) {
		return
	}
	every := w.is[attrArgs] || w.is[attrInfo]
	all := b.scratch[:0]
	for i := range w.plans[r.Call] {
		a := &w.plans[r.Call][i]
		if every || a.attr != "" || a.place != "" {
			value := b.argumentText(a.argument, v)
			if value != "" && a.attr != "" {
				e.AddUnmapped(a.attr, value)
			}
			if value != "" && a.place != "" {
				e.AddUnmapped(a.place, value)
			}
			if value != "" && every {
				if len(all) > 0 {
					all = append(all, ' ')
				}
				all = append(append(all, a.label...), value...)
			}
		}
		if a.raw != "" {
			if raw, ok := rawArgument(a.argument, r); ok {
				e.AddUnmapped(a.raw, b.nums.of(raw))
			}
		}
	}
	if b.scratch = all[:0]; len(all) > 0 {
		line := b.names.of(all).seen
		b.set(e, attrArgs, line)
		b.set(e, attrInfo, line)
	}
}

func category(c signal.Class) string {
	switch c {
	case signal.ClassFileActivity:
		return "file"
	case signal.ClassNetworkActivity, signal.ClassDNSActivity:
		return "net"
	}
	return "process"
}

// argument sets an attribute evt.arg.NAME where rules ask for it.
func (b *builder) argument(e *signal.Event, name, value string) {
	if value != "" && b.wanted.names("evt.arg.", name[len("evt.arg."):]) {
		e.AddUnmapped(name, value)
	}
}

func rawArgument(a argument, r *record.Record) (int64, bool) {
	switch a.kind {
	case argPath, argPath2, argName:
		return 0, false
	case argResult:
		return r.Ret, true
	}
	if r.Kind != record.KindCall || a.at >= r.NumLen {
		return 0, false
	}
	return int64(r.Nums[a.at]), true
}

type flagKey struct {
	kind  argKind
	value uint64
}

// argumentText writes an argument as Falco does.
func (b *builder) argumentText(a argument, v *view) string {
	r := v.r
	switch a.kind {
	case argResult:
		if r.Ret < 0 {
			return linuxabi.Errno(r.Ret)
		}
		return b.nums.of(r.Ret)
	case argPath:
		return b.paths.of(r.Path).recorded
	case argPath2:
		return b.paths.of(r.Path2).recorded
	case argName:
		return b.paths.of(r.Name).recorded
	}
	if r.Kind != record.KindCall || a.at >= r.NumLen {
		return ""
	}
	n := r.Nums[a.at]
	switch a.kind {
	case argNumber:
		return b.nums.of(int64(n))
	case argFD:
		return b.nums.of(int64(int32(n)))
	case argDirFD:
		if int32(n) == -100 {
			return "AT_FDCWD"
		}
		return b.nums.of(int64(int32(n)))
	case argUser:
		if uint32(n) == ^uint32(0) {
			return "-1"
		}
		return b.userName(uint32(n), v.c != nil)
	case argGroup:
		if uint32(n) == ^uint32(0) {
			return "-1"
		}
		return b.groupName(uint32(n), v.c != nil)
	}
	k := flagKey{a.kind, n}
	if s, ok := b.flagTexts.get(k); ok {
		return s
	}
	s := b.flagText(k)
	b.flagTexts.put(k, s)
	return s
}

func (b *builder) flagText(k flagKey) string {
	n := k.value
	switch k.kind {
	case argHex:
		return "0x" + strconv.FormatUint(n, 16)
	case argMode:
		return linuxabi.Mode(n)
	case argOpen:
		return strings.Join(b.openNames(n), "|")
	case argClone:
		return linuxabi.CloneFlags(n)
	case argMount:
		return linuxabi.MountFlags(n)
	case argUmount:
		return linuxabi.UmountFlags(n)
	case argAt:
		return linuxabi.AtFlags(n)
	case argRename:
		return linuxabi.RenameFlags(n)
	case argMemfd:
		return linuxabi.MemfdFlags(n)
	case argModule:
		return linuxabi.ModuleFlags(n)
	case argProtection:
		return linuxabi.Protection(n)
	case argSignal:
		return linuxabi.Signal(n)
	case argPtrace:
		return linuxabi.Ptrace(n)
	case argBPF:
		return linuxabi.BPFCommand(n)
	case argDomain:
		return linuxabi.Domain(n)
	case argSockType:
		return linuxabi.SocketType(n)
	case argKeyctl:
		return linuxabi.KeyctlCommand(n)
	case argPrctl:
		return linuxabi.PrctlOption(n)
	}
	return strconv.FormatUint(n, 10)
}

// execArguments sets what rules ask of a program that starts: the path as it was given, and what of its file is odd.
func (b *builder) execArguments(e *signal.Event, r *record.Record) {
	b.set(e, attrCategory, "process")
	w := b.wanted
	if !w.args {
		return
	}
	name := r.Name
	if len(name) == 0 {
		name = r.Path
	}
	given := b.paths.of(name).recorded
	b.argument(e, "evt.arg.filename", given)
	b.argument(e, "evt.arg.path", given)
	b.argument(e, "evt.arg.exe", firstWord(e.RecordedStr(signal.FieldProcessCmdLine)))
	b.argument(e, "evt.arg.cwd", e.RecordedStr(signal.FieldProcessWorkingDirectory))
	b.argument(e, "evt.arg.comm", e.Str(signal.FieldProcessName))
	if w.names("evt.arg.", "flags") {
		flags := uint64(0)
		for _, f := range [...]struct{ flag, bit uint64 }{{uint64(record.FlagWritable), 1}, {uint64(record.FlagUpper), 2}, {uint64(record.FlagMemory), 4}} {
			if uint64(r.Flags)&f.flag != 0 {
				flags |= f.bit
			}
		}
		if r.HasInode && r.Inode.FilesystemID == overlayMagic && r.Flags&record.FlagUpper == 0 {
			flags |= 8
		}
		b.argument(e, "evt.arg.flags", exeFlags[flags])
	}
}

// exeFlags are Falco's names of what is odd of an executable, by their bits.
var exeFlags = func() (t [16]string) {
	for i := range t {
		var all []string
		for bit, name := range [...]string{"EXE_WRITABLE", "EXE_UPPER_LAYER", "EXE_FROM_MEMFD", "EXE_LOWER_LAYER"} {
			if i>>bit&1 != 0 {
				all = append(all, name)
			}
		}
		t[i] = strings.Join(all, "|")
	}
	return t
}()

// deed says of a call on processes or credentials what it was done to.
func (b *builder) deed(e *signal.Event, v *view) {
	r := v.r
	if r.Kind != record.KindCall && r.Kind != record.KindEnforced {
		return
	}
	target := -1
	switch r.Call {
	case record.CallPtrace:
		target = 1
		if r.NumLen > 0 && !linuxabi.PtraceInjects(r.Nums[0]) {
			e.Activity = signal.ActivityOther
			if r.Nums[0] == 0 { // PTRACE_TRACEME names no process
				target = -1
			}
		}
	case record.CallProcessVMReadv:
		target = 0
		e.Activity = activityProcessOpen
	case record.CallProcessVMWritev, record.CallKill, record.CallTkill, record.CallTgkill, record.CallPidfdSendSignal:
		target = 0
	case record.CallSetuid, record.CallSetreuid, record.CallSetresuid, record.CallSetfsuid:
		at := 0
		if r.Call == record.CallSetreuid || r.Call == record.CallSetresuid {
			at = 1 // the effective one
		}
		if at < r.NumLen && uint32(r.Nums[at]) != ^uint32(0) {
			uid := uint32(r.Nums[at])
			e.SetString(signal.FieldUserUID, b.nums.of(int64(uid)))
			setString(e, signal.FieldUserName, b.userName(uid, v.c != nil))
		}
	case record.CallInitModule, record.CallFinitModule, record.CallMemfdCreate, record.CallSwapon, record.CallSwapoff, record.CallKexecFileLoad, record.CallSetns:
		setText(e, signal.FieldFilePath, b.paths.of(r.Path))
	}
	if fd, ok := descriptor(r); ok && !r.HasNet {
		b.num(e, attrFDNum, fd)
	}
	if target < 0 || target >= r.NumLen {
		return
	}
	pid := int32(r.Nums[target])
	if pid <= 0 {
		return
	}
	e.SetInt(signal.FieldProcessPID, int64(pid))
	if p, ok := b.table.ByPID(uint32(pid)); ok && (len(r.Path) == 0 || string(r.Path) == p.Exe) {
		setString(e, signal.FieldProcessUID, p.Key)
		setString(e, signal.FieldProcessName, p.Name)
		setText(e, signal.FieldProcessFilePath, b.path(p.Exe))
		setText(e, signal.FieldProcessCmdLine, b.commandLine(p))
		return
	}
	path := b.paths.of(r.Path)
	setText(e, signal.FieldProcessFilePath, path)
	b.fileName(e, signal.FieldProcessName, path)
}
