//go:build linux

package bpf

import "github.com/testudo-sec/testudo/kernel/record"

//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types process process.c
//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types syscall syscall.c
//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types file file.c
//go:generate go tool bpf2go -go-package bpf -tags linux -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" -no-global-types calls calls.c

// objects are all that is loaded, in this order.
func objects() []object {
	return []object{processes(), systemCalls(), files(), calls(), chainWork(), callsOfNet(), flowsOfNet(), packetsOfNet()}
}

func processes() object {
	return object{name: "process", spec: loadProcess, programs: []program{
		{name: "on_exec", feature: "exec", cost: "started programs are not seen when they start"},
		{name: "on_fork", feature: "fork", cost: "processes that run no program of their own are not seen"},
		{name: "on_exit", feature: "exit", cost: "that a process ended is seen late, by looking for it"},
	}}
}

// systemCalls is the program that sees all system calls, in the form that this kernel takes.
func systemCalls() object {
	const feature, cost = "system calls", "only processes that start, fork and end are seen"
	return object{name: "syscall", spec: loadSyscall, programs: []program{
		{name: "on_sys_exit", feature: feature, cost: cost, lazy: true},
		{name: "on_sys_exit_raw", feature: feature, cost: cost, lazy: true, instead: "on_sys_exit"},
	}}
}

func files() object {
	return object{name: "file", spec: loadFile, programs: []program{
		{name: "on_open", feature: "open", cost: "files that are opened are not seen",
			calls: []record.Call{record.CallOpen, record.CallOpenat, record.CallOpenat2, record.CallCreat}},
		{name: "on_name", feature: "changes of files by name", cost: "rename, unlink, chmod and their like are not seen",
			calls: []record.Call{record.CallRename, record.CallRenameat, record.CallRenameat2, record.CallUnlink, record.CallUnlinkat, record.CallRmdir,
				record.CallMkdir, record.CallMkdirat, record.CallLink, record.CallLinkat, record.CallSymlink, record.CallSymlinkat, record.CallChmod,
				record.CallFchmodat, record.CallFchmodat2, record.CallChown, record.CallLchown, record.CallFchownat, record.CallTruncate,
				record.CallMknod, record.CallMknodat, record.CallSetxattr}},
		{name: "on_descriptor", feature: "changes of open files", cost: "fchmod, fchown and ftruncate are not seen",
			calls: []record.Call{record.CallFchmod, record.CallFchown, record.CallFtruncate}},
	}}
}

func calls() object {
	return object{name: "calls", spec: loadCalls, programs: []program{
		{name: "on_plain", feature: "credentials, namespaces, other processes", cost: "setuid, ptrace, setns, bpf, kill and their like are not seen",
			calls: []record.Call{record.CallSetuid, record.CallSetgid, record.CallSetreuid, record.CallSetregid, record.CallSetresuid, record.CallSetresgid,
				record.CallSetfsuid, record.CallSetfsgid, record.CallCapset, record.CallPrctl, record.CallPtrace, record.CallProcessVMReadv,
				record.CallProcessVMWritev, record.CallFsmount, record.CallSetns, record.CallUnshare, record.CallClone, record.CallClone3, record.CallFork,
				record.CallVfork, record.CallBPF, record.CallUserfaultfd, record.CallKill, record.CallTkill, record.CallTgkill, record.CallPidfdSendSignal,
				record.CallKeyctl, record.CallPerfEventOpen, record.CallKexecLoad, record.CallReboot, record.CallMprotect, record.CallIoUringSetup,
				record.CallSyslog}},
		{name: "on_naming", feature: "mounts, modules, memory files, failed exec", cost: "mount, init_module, memfd_create and their like are not seen",
			calls: []record.Call{record.CallExecve, record.CallExecveat, record.CallMount, record.CallUmount2, record.CallChroot, record.CallSwapon,
				record.CallSwapoff, record.CallPivotRoot, record.CallMoveMount, record.CallOpenTree, record.CallQuotactl, record.CallFinitModule,
				record.CallInitModule, record.CallDeleteModule, record.CallKexecFileLoad, record.CallAddKey, record.CallRequestKey, record.CallFsopen,
				record.CallMemfdCreate, record.CallSethostname}},
		{name: "on_dup", feature: "sockets as standard streams", cost: "that a shell reads from a connection is seen when it starts only",
			calls: []record.Call{record.CallDup, record.CallDup2, record.CallDup3}},
	}}
}
