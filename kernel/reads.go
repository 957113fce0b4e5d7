package kernel

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Reads is what the loaded rules read, so that nothing else is made.
type Reads struct {
	// Attrs are the names of the attributes outside of the field table that conditions and outputs read; nil for all. evt.type is always there.
	Attrs map[string]bool
	// Executable: a rule asks for hash or package of an executable. Then a program that runs for the first time waits for them.
	Executable bool
}

// attr is an attribute outside of the field table, under Falco's name.
type attr uint8

// The attributes of a process come first, those of a container next, those of the one event last.
const (
	attrCmdNArgs attr = iota
	attrCmdLenArgs
	attrEnv
	attrCwd
	attrTTY
	attrPPID
	attrSID
	attrPIDTS
	attrVPID
	attrPVPID
	attrVPGID
	attrPGID
	attrPPIDTS
	attrExeIno
	attrExeCtime
	attrExeMtime
	attrExeCtimeToStart
	attrExeCtimeToNamespace
	attrNamespaceBegan
	attrLoginShell
	attrSName
	attrVPGIDName
	attrPGIDName
	attrSIDExe
	attrSIDExePath
	attrVPGIDExe
	attrVPGIDExePath
	attrPGIDExe
	attrPGIDExePath
	attrStdinType
	attrStdoutType
	attrStderrType
	attrStdinName
	attrStdoutName
	attrStderrName
	attrExeWritable
	attrExeUpper
	attrExeLower
	attrExeMemfd
	attrExeDeleted
	attrSIDLeader
	attrVPGIDLeader
	attrPGIDLeader
	attrSetuid
	attrSetgid
	attrCapPermitted
	attrCapInheritable
	attrCapEffective
	attrGroupID
	lastProcessAttr = attrGroupID

	attrContainerImage attr = iota - 1
	attrContainerImageID
	attrContainerType
	attrContainerLabels
	attrContainerPrivileged
	attrContainerStart
	attrContainerMounts
	attrContainerHostRoot
	lastContainerAttr = attrContainerHostRoot

	attrSyscallType attr = iota - 2
	attrCategory
	attrArgs
	attrInfo
	attrRawRes
	attrAbsPath
	attrOpenExec
	attrOpenCreate
	attrBuffer
	attrBufLen
	attrDuration
	attrPPIDDuration
	attrContainerDuration
	attrTID
	attrVTID
	attrMainThread
	attrGroupName
	attrFDNum
	attrFDType
	attrFDTypeChar
	attrSockFamily
	attrNameRaw
	attrFDUpper
	attrFDLower
	attrConnected
	attrNameChanged
	attrDev
	attrDevMajor
	attrDevMinor
	attrIno
	attrPathNameRaw
	attrPathSourceRaw
	attrPathTargetRaw
	numAttrs
)

var attrNames = [numAttrs]string{
	attrCmdNArgs: "proc.cmdnargs", attrCmdLenArgs: "proc.cmdlenargs", attrEnv: "proc.env", attrCwd: "proc.cwd", attrTTY: "proc.tty", attrPPID: "proc.ppid",
	attrSID: "proc.sid", attrPIDTS: "proc.pid.ts", attrVPID: "proc.vpid", attrPVPID: "proc.pvpid", attrVPGID: "proc.vpgid", attrPGID: "proc.pgid", attrPPIDTS: "proc.ppid.ts",
	attrExeIno: "proc.exe_ino", attrExeCtime: "proc.exe_ino.ctime", attrExeMtime: "proc.exe_ino.mtime",
	attrExeCtimeToStart: "proc.exe_ino.ctime_duration_proc_start", attrExeCtimeToNamespace: "proc.exe_ino.ctime_duration_pidns_start", attrNamespaceBegan: "proc.pidns_init_start_ts", attrLoginShell: "proc.loginshellid", attrSName: "proc.sname", attrVPGIDName: "proc.vpgid.name",
	attrPGIDName: "proc.pgid.name", attrSIDExe: "proc.sid.exe", attrSIDExePath: "proc.sid.exepath", attrVPGIDExe: "proc.vpgid.exe",
	attrVPGIDExePath: "proc.vpgid.exepath", attrPGIDExe: "proc.pgid.exe", attrPGIDExePath: "proc.pgid.exepath", attrStdinType: "proc.stdin.type",
	attrStdoutType: "proc.stdout.type", attrStderrType: "proc.stderr.type", attrStdinName: "proc.stdin.name", attrStdoutName: "proc.stdout.name",
	attrStderrName: "proc.stderr.name", attrExeWritable: "proc.is_exe_writable", attrExeUpper: "proc.is_exe_upper_layer", attrExeLower: "proc.is_exe_lower_layer",
	attrExeMemfd: "proc.is_exe_from_memfd", attrExeDeleted: "proc.is_exe_deleted", attrSIDLeader: "proc.is_sid_leader", attrVPGIDLeader: "proc.is_vpgid_leader", attrPGIDLeader: "proc.is_pgid_leader",
	attrSetuid: "proc.is_setuid", attrSetgid: "proc.is_setgid", attrCapPermitted: "thread.cap_permitted", attrCapInheritable: "thread.cap_inheritable",
	attrCapEffective: "thread.cap_effective", attrGroupID: "group.gid",
	attrContainerImage: "container.image", attrContainerImageID: "container.image.id", attrContainerType: "container.type", attrContainerLabels: "container.labels",
	attrContainerPrivileged: "container.privileged", attrContainerStart: "container.start_ts", attrContainerMounts: "container.mounts", attrContainerHostRoot: "container.host_root_writable",
	attrSyscallType: "syscall.type", attrCategory: "evt.category", attrArgs: "evt.args", attrInfo: "evt.info", attrRawRes: "evt.rawres", attrAbsPath: "evt.abspath",
	attrOpenExec: "evt.is_open_exec", attrOpenCreate: "evt.is_open_create", attrBuffer: "evt.buffer", attrBufLen: "evt.buflen", attrDuration: "proc.duration",
	attrPPIDDuration: "proc.ppid.duration", attrContainerDuration: "container.duration", attrTID: "thread.tid", attrVTID: "thread.vtid", attrMainThread: "thread.ismain",
	attrGroupName: "group.name", attrFDNum: "fd.num", attrFDType: "fd.type", attrFDTypeChar: "fd.typechar", attrSockFamily: "fd.sockfamily", attrNameRaw: "fd.nameraw",
	attrFDUpper: "fd.is_upper_layer", attrFDLower: "fd.is_lower_layer", attrConnected: "fd.connected", attrNameChanged: "fd.name_changed", attrDev: "fd.dev",
	attrDevMajor: "fd.dev.major", attrDevMinor: "fd.dev.minor", attrIno: "fd.ino", attrPathNameRaw: "fs.path.nameraw", attrPathSourceRaw: "fs.path.sourceraw",
	attrPathTargetRaw: "fs.path.targetraw",
}

// named are attributes that carry their argument in their name: "evt.arg.flags".
var namedAttrs = [...]string{"evt.arg.", "evt.rawarg.", "evt.type.is.", "evt.abspath.", "proc.aexe.", "proc.acmdline.", "proc.apid.", "container.label."}

// wanted is what of the attributes is to be made.
type wanted struct {
	all   bool
	is    [numAttrs]bool
	named map[string][]string // by their beginning in namedAttrs: arguments
	level int                 // how many ancestors are asked for
	any   bool                // one of the process's
	args  bool                // arguments of calls
	exe   bool
	plans [][]planned // by call
}

// maxNamed is how many ancestors are named where there is no field for what is asked of them; policy/falco counts on as many.
const maxNamed = 8

func wants(r Reads) *wanted {
	w := &wanted{all: r.Attrs == nil, named: map[string][]string{}, exe: r.Executable}
	if w.all {
		for a := range w.is {
			w.is[a] = true
		}
		w.level, w.any, w.args = maxNamed, true, true
		w.planAll()
		return w
	}
	byName := make(map[string]attr, numAttrs)
	for a, name := range attrNames {
		byName[name] = attr(a)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Attrs)) {
		if a, ok := byName[name]; ok {
			w.is[a] = true
			w.any = w.any || a <= lastProcessAttr
		}
		for _, begin := range namedAttrs {
			if arg, ok := strings.CutPrefix(name, begin); ok {
				w.named[begin] = append(w.named[begin], arg)
				if level, err := strconv.Atoi(arg); err == nil && strings.HasPrefix(begin, "proc.") {
					w.level, w.any = max(w.level, min(level, 32)), true
				}
			}
		}
	}
	w.args = len(w.named["evt.arg."]) > 0
	w.planAll()
	return w
}

func (w *wanted) planAll() {
	for _, c := range append([]record.Call{record.CallNone}, record.Calls()...) {
		w.plans = append(w.plans, w.plan(c))
	}
}

// names reports whether the attribute of that beginning and argument is to be made.
func (w *wanted) names(begin, arg string) bool { return w.all || slices.Contains(w.named[begin], arg) }
