//go:build linux

package enforce

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// form is a way to enforce at a hook: programs that belong together.
type form struct {
	hook     kernel.Hook
	gate     record.Gate
	feature  string
	programs []string
	caller   bool
	use      string
}

// forms of each hook, the best first.
func forms() []form {
	return []form{
		{kernel.HookExec, record.GateLSM, "exec by BPF LSM", []string{"exec_lsm"}, true,
			"a program that is refused fails to start, with EPERM"},
		{kernel.HookExec, record.GateExecKill, "exec kill before the switch", []string{"exec_prepare"}, true,
			"a program that is refused is killed before its first instruction"},
		{kernel.HookExec, record.GateExecKill, "exec kill", []string{"exec_process"}, false,
			"a program that is refused is killed before its first instruction; rules that name the parent are for fanotify"},
		{kernel.HookOpen, record.GateLSM, "open by BPF LSM", []string{"open_lsm"}, false,
			"a file that is refused fails to open, with EPERM"},
		{kernel.HookConnect, record.GateLSM, "connect by BPF LSM", []string{"connect_lsm", "send_lsm"}, false,
			"a connection or datagram that is refused fails with EPERM"},
		{kernel.HookConnect, record.GateCgroup, "connect by cgroup", []string{"connect4", "connect6", "sendmsg4", "sendmsg6"}, false,
			"a connection of TCP or UDP, or a datagram, that is refused fails with EPERM"},
	}
}

// plan is what was chosen of the forms.
type plan struct {
	able     able
	programs map[kernel.Hook][]program
	features []kernel.Feature
	cgroup   string
	root     uint32 // device of the host's root
}

// choose loads of each hook the first form that works. It is called once.
func (o *objects) choose(cgroup string, skip []string) plan {
	defer func() { o.spec, o.types = nil, nil }()
	p := plan{able: able{gates: map[kernel.Hook]record.Gate{}, why: map[kernel.Hook]string{}}, programs: map[kernel.Hook][]program{}, cgroup: cgroup}
	lsm := probeLSM()
	for _, f := range forms() {
		if _, done := p.able.gates[f.hook]; done || slices.Contains(skip, f.feature) {
			continue
		}
		var err error
		switch f.gate {
		case record.GateLSM:
			err = lsm
		case record.GateCgroup:
			if p.cgroup == "" {
				p.cgroup, err = cgroupRoot()
			}
		}
		var loaded []program
		for _, name := range f.programs {
			if err != nil {
				break
			}
			var prog *ebpf.Program
			if prog, err = o.program(name); err == nil {
				loaded = append(loaded, program{name, prog})
			}
		}
		if err != nil {
			closeAll(loaded)
			p.able.why[f.hook] = strings.TrimPrefix(p.able.why[f.hook]+"; "+f.feature+" does not work here: "+short(err), "; ")
			p.features = append(p.features, kernel.Feature{Name: f.feature, Detail: short(err), Cost: cost(f), Mend: mend(f)})
			continue
		}
		p.able.gates[f.hook], p.programs[f.hook] = f.gate, loaded
		p.able.caller = p.able.caller || f.caller
		p.features = append(p.features, kernel.Feature{Name: f.feature, OK: true, Detail: f.use})
	}
	return p
}

func (p *plan) Close() error {
	for _, all := range p.programs {
		closeAll(all)
	}
	return nil
}

// attach puts the programs of a hook in place.
func (p *plan) attach(hook kernel.Hook) ([]namedLink, error) {
	var links []namedLink
	for _, prog := range p.programs[hook] {
		l, err := p.attachOne(prog)
		if err != nil {
			closeAll(links)
			return nil, fmt.Errorf("%s: %w", prog.name, err)
		}
		links = append(links, namedLink{prog.name, l})
	}
	return links, nil
}

func (p *plan) attachOne(prog program) (link.Link, error) {
	switch prog.Type() {
	case ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: prog.Program})
	case ebpf.Tracing:
		return link.AttachTracing(link.TracingOptions{Program: prog.Program})
	}
	types := map[string]ebpf.AttachType{"connect4": ebpf.AttachCGroupInet4Connect, "connect6": ebpf.AttachCGroupInet6Connect,
		"sendmsg4": ebpf.AttachCGroupUDP4Sendmsg, "sendmsg6": ebpf.AttachCGroupUDP6Sendmsg}
	return link.AttachCgroup(link.CgroupOptions{Path: p.cgroup, Attach: types[prog.name], Program: prog.Program})
}

// Features says what works of enforcing, and why the rest does not. A form that a better one makes needless is not tried.
func (e *Enforcer) Features() []kernel.Feature {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.load(); err != nil {
		mend := "Linux 5.12 or later with type information (CONFIG_DEBUG_INFO_BTF), and root"
		if errors.Is(err, errNamespace) {
			mend = "run testudo in the host's PID namespace: docker run --pid=host, hostPID: true of a pod"
		}
		return []kernel.Feature{{Name: "enforcing in the kernel", Detail: short(err), Cost: "rules are enforced by fanotify, or by a kill after the fact", Mend: mend}}
	}
	return e.plan.features
}

func cost(f form) string {
	switch f.feature {
	case "exec by BPF LSM":
		return "a refused program is killed as it starts: to its caller the start seems to have succeeded"
	case "exec kill before the switch":
		return "rules that name the parent of a program need fanotify"
	case "exec kill":
		return "programs are refused by fanotify, or killed after they began"
	case "open by BPF LSM":
		return "files are refused by fanotify: slower, and only on the mounts that are marked"
	case "connect by BPF LSM":
		return "connections are refused by cgroup hooks: those of TCP and UDP only"
	}
	return "connections cannot be refused in the kernel"
}

func mend(f form) string {
	switch f.gate {
	case record.GateLSM:
		return "a kernel with CONFIG_BPF_LSM, started with bpf in its list lsm=..."
	case record.GateCgroup:
		return "a cgroup2 hierarchy: mount -t cgroup2 none /sys/fs/cgroup/unified"
	}
	if f.caller {
		return "Linux 6.10 or later, or BPF LSM"
	}
	return "Linux 5.12 or later with type information (CONFIG_DEBUG_INFO_BTF)"
}

// short is why in few words: the verifier's log is not for people.
func short(err error) string {
	var refused *ebpf.VerifierError
	switch {
	case errors.As(err, &refused) && len(refused.Log) > 0:
		return refused.Error()
	case errors.Is(err, unix.EPERM):
		return "not permitted"
	case errors.Is(err, ebpf.ErrNotSupported):
		return "not supported by this kernel"
	}
	return err.Error()
}

// probeLSM tries whether BPF LSM is asked: a program may load and be attached, and never be called, where bpf is not in the
// kernel's list of security modules.
func probeLSM() error {
	called, err := ebpf.NewMap(&ebpf.MapSpec{Name: "guard_probe", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer called.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "guard_probe", Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, called.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		}})
	if err != nil {
		return err
	}
	defer prog.Close()
	l, err := link.AttachLSM(link.LSMOptions{Program: prog})
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := os.Open("/proc/self/stat")
	if err != nil {
		return err
	}
	f.Close()
	var n uint64
	if err := called.Lookup(uint32(0), &n); err != nil {
		return err
	}
	if n == 0 {
		return errors.New("bpf is not among the kernel's active security modules")
	}
	return nil
}

// cgroupRoot returns where the root of cgroup2 is mounted: on hosts of both kinds of cgroups it is not /sys/fs/cgroup.
func cgroupRoot() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	found := ""
	for line := range strings.Lines(string(mounts)) {
		head, tail, _ := strings.Cut(line, " - ")
		f, fs := strings.Fields(head), strings.Fields(tail)
		if len(f) < 5 || len(fs) == 0 || fs[0] != "cgroup2" {
			continue
		}
		if f[3] == "/" {
			return unescape(f[4]), nil
		}
		if found == "" {
			found = unescape(f[4])
		}
	}
	if found == "" {
		return "", errors.New("no cgroup2 hierarchy is mounted")
	}
	return found, nil
}

// unescape undoes what mountinfo does to blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
