//go:build linux

package bpf

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// Names of features that nothing works without.
const (
	featureBTF  = "type information"
	featureRing = "ring buffer"
)

// capabilities says what of this kernel the programs could use, whether or not they do.
func capabilities() []kernel.Feature {
	all := []kernel.Feature{
		feature(featureBTF, "kernel structures are found where this kernel has them", kernelTypes(),
			"no eBPF at all: processes are watched through /proc", "a kernel built with CONFIG_DEBUG_INFO_BTF, as those of all current distributions"),
		feature(featureRing, "records reach testudo in the order in which they happened", features.HaveMapType(ebpf.RingBuf),
			"no eBPF at all: processes are watched through /proc", "Linux 5.8 or later"),
		feature("typed tracepoints", "programs read kernel memory without a helper call", trivial(ebpf.Tracing, ebpf.AttachTraceRawTp, "sched_process_exec"),
			"raw tracepoints are used: some nanoseconds more on each system call", "Linux 5.11 or later"),
		feature("fentry", "functions of the kernel can be watched", trivial(ebpf.Tracing, ebpf.AttachTraceFEntry, "do_exit"),
			"where the names of calls lead is found out after the call, by the sensor: what changes meanwhile is told of as not certain", "a kernel with CONFIG_FUNCTION_TRACER and direct calls"),
		feature("bpf-lsm", "calls can be refused before they happen", bpfLSM(),
			"refusals are by fanotify, seccomp or a kill", "a kernel with CONFIG_BPF_LSM, started with lsm=...,bpf"),
		feature("cgroup hooks", "connections can be refused", features.HaveProgramType(ebpf.CGroupSockAddr),
			"connections cannot be refused in the kernel", "Linux 4.17 or later with CONFIG_CGROUP_BPF"),
		feature("tracefs", "classic tracepoints", tracefs(), "nothing: typed and raw tracepoints do not need it", "mount -t tracefs tracefs /sys/kernel/tracing"),
	}
	return all
}

func feature(name, use string, err error, cost, mend string) kernel.Feature {
	if err == nil {
		return kernel.Feature{Name: name, OK: true, Detail: use}
	}
	return kernel.Feature{Name: name, Detail: reason(err), Cost: cost, Mend: mend}
}

func kernelTypes() error {
	_, err := btf.LoadKernelSpec()
	return err
}

// trivial tries whether a program of that type loads: asking the kernel which types it knows says less, as a type may be known and
// its way to be attached refused.
func trivial(t ebpf.ProgramType, at ebpf.AttachType, to string) error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "testudo_probe", Type: t, AttachType: at, AttachTo: to, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		return err
	}
	return prog.Close()
}

func bpfLSM() error {
	active, err := os.ReadFile("/sys/kernel/security/lsm")
	if err == nil && !strings.Contains(","+strings.TrimSpace(string(active))+",", ",bpf,") {
		return errors.New("bpf is not among the active security modules: " + strings.TrimSpace(string(active)))
	}
	return trivial(ebpf.LSM, ebpf.AttachLSMMac, "file_open")
}

func tracefs() error {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(dir + "/events/sched"); err == nil {
			return nil
		}
	}
	return errors.New("it is not mounted")
}

// reason is why, in few words: the verifier's log is not for people.
func reason(err error) string {
	var refused *ebpf.VerifierError
	text, _, _ := strings.Cut(err.Error(), " (MEMLOCK") // a guess of the library's that is about older kernels
	switch {
	case errors.As(err, &refused) && len(refused.Log) > 0:
		return refused.Error()
	case errors.Is(err, unix.EPERM):
		return "not permitted: " + text
	case errors.Is(err, ebpf.ErrNotSupported):
		return "not supported by this kernel: " + text
	}
	return text
}

// mend is what would help.
func mend(err error) string {
	switch {
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		return "run as root, or with CAP_BPF and CAP_PERFMON"
	case errors.Is(err, unix.EPERM):
		return "the kernel, or the sandbox around it, refuses this kind of program"
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist): // of a tracepoint
		return "a newer kernel"
	}
	return "report this with the kernel's release (" + runtime.GOARCH + ")"
}
