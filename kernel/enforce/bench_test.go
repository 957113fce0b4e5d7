//go:build linux

package enforce

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
)

// What a call costs that no rule refuses, with so many rules at its hook: ns/op is the call with all that it does, bpf-ns the programs'
// share by the kernel's own count.
func BenchmarkHooks(b *testing.B) {
	program := "/bin/true"
	_, err := exec.LookPath(program)
	require.Part(b, "coreutils", err == nil, "the program "+program)
	file := b.TempDir() + "/file"
	write(b, file, "x")
	for _, hook := range []kernel.Hook{kernel.HookExec, kernel.HookOpen, kernel.HookConnect} {
		for _, n := range []int{0, 10, 500} {
			b.Run(fmt.Sprintf("%s/rules=%d", hookName(hook), n), func(b *testing.B) {
				e, _ := begin(b, Options{})
				require.Part(b, "hook "+hookName(hook), e.Gate(hook) != 0, fmt.Sprint(e.plan.able.why[hook]))
				var rules []kernel.GuardRule
				for i := range n {
					rules = append(rules, benchRule(hook, i))
				}
				guard(b, e, rules...)
				stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
				require.Part(b, "bpf", err == nil, fmt.Sprint("a kernel that counts the time of its programs: ", err))
				defer stats.Close()
				before := spent(b, e, hook)
				b.ResetTimer()
				for range b.N {
					switch hook {
					case kernel.HookExec:
						err = exec.Command(program).Run()
					case kernel.HookOpen:
						_, err = os.ReadFile(file)
					case kernel.HookConnect:
						err = reachAndClose()
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(spent(b, e, hook)-before)/float64(b.N), "bpf-ns/op")
			})
		}
	}
}

// benchRule is one of many: each third names a beginning, a last component or a network too.
func benchRule(hook kernel.Hook, i int) kernel.GuardRule {
	r := kernel.GuardRule{Rule: fmt.Sprint(i), Hook: hook, Enforce: true}
	paths := kernel.Paths{Exact: []string{fmt.Sprintf("/opt/none/program%d", i)}}
	if i%3 == 0 {
		paths.Prefix = []string{fmt.Sprintf("/srv/%d/", i)}
	}
	switch hook {
	case kernel.HookExec:
		r.Exe = paths
	case kernel.HookOpen:
		r.File = paths
	case kernel.HookConnect:
		r.Remote = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i / 2), byte(i)}), 24+i%9)}
		r.Exe = paths
	}
	return r
}

func reachAndClose() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9})
}

func spent(b *testing.B, e *Enforcer, hook kernel.Hook) uint64 {
	b.Helper()
	var ns uint64
	for _, p := range e.plan.programs[hook] {
		stats, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		ns += uint64(stats.Runtime)
	}
	return ns
}

// How long a change of all rules takes.
func BenchmarkChange(b *testing.B) {
	e, _ := begin(b, Options{})
	var rules []kernel.GuardRule
	for i := range MaxRules {
		rules = append(rules, benchRule(kernel.HookExec, i))
	}
	b.ResetTimer()
	for range b.N {
		guard(b, e, rules...)
	}
}
