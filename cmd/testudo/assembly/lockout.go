package assembly

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// A rule that refuses what keeps a host up, or what people get in by, would lock out those who could take it back. So what such a host does is
// judged beforehand by each new set of rules; a rule that refuses any of it is only told of, unless it is listed in kernel.force.

// lockouts are the rules of a set that would lock everybody out.
type lockouts struct {
	digest string            // of the set
	rules  map[string]string // by id, what it refuses
}

// enforces reports whether what a rule refuses on this host is refused. A set that was not tried yet enforces nothing.
func (m *Machine) enforces(rule string) bool {
	if !m.settings.Kernel.Enforces(rule) {
		return false
	}
	if slices.Contains(m.settings.Kernel.Force, rule) {
		return true
	}
	l := m.lockedOut.Load()
	if l == nil || l.digest != m.engine.Set().Digest() {
		return false
	}
	_, locks := l.rules[rule]
	return !locks
}

// lockoutFault says which rules are not enforced because they would lock everybody out, nil for none.
func (m *Machine) lockoutFault() error {
	l := m.lockedOut.Load()
	if l == nil {
		return nil
	}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(l.rules)) {
		if m.settings.Kernel.Enforces(id) && !slices.Contains(m.settings.Kernel.Force, id) {
			all = append(all, fmt.Sprintf("%s would refuse %s", id, l.rules[id]))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("rules that would lock everybody out are told of and not enforced: %s; narrow them, or list them in kernel.force", strings.Join(all, "; "))
}

// essential is what a host must be able to do.
type essential struct {
	what string
	rec  record.Record
}

// tryRules finds the rules of a set that refuse what a host must be able to do.
func tryRules(set *policy.Set, host hostFacts) (*lockouts, error) {
	found := &lockouts{digest: set.Digest(), rules: map[string]string{}}
	judge := &trialJudge{engine: policy.NewEngine(set)}
	cfg := kernel.DefaultConfig()
	cfg.ParkTime = 0
	plane, err := kernel.New(cfg, kernel.Deps{Sensor: trialSensor{}, Sink: judge, Host: "trial", Boot: "00000000-0000-0000-0000-000000000000"})
	if err != nil {
		return nil, err
	}
	plane.SetReads(hostrules.Reads(set))
	before, all := host.essentials()
	for i := range before {
		plane.Table().Apply(&before[i])
	}
	for _, e := range all {
		judge.begin()
		plane.Ask(context.Background(), e.rec.Append(nil), record.GateFanotify)
		for _, rule := range judge.denied() {
			if found.rules[rule] == "" {
				found.rules[rule] = e.what
			}
		}
	}
	return found, nil
}

// trialJudge keeps which rules refused.
type trialJudge struct {
	engine *policy.Engine
	mu     sync.Mutex
	rules  []string
}

func (j *trialJudge) begin() {
	j.mu.Lock()
	j.rules = nil
	j.mu.Unlock()
}

func (j *trialJudge) denied() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rules
}

// Event implements signal.Sink.
func (j *trialJudge) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	v := j.engine.JudgeNumbered(e)
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range v.Hits {
		if v.Hits[i].Decision == signal.Deny {
			j.rules = append(j.rules, v.Hits[i].Rule)
		}
	}
	return v, nil
}

// trialSensor knows of no container.
type trialSensor struct{ kernel.Sensor }

func (trialSensor) Container(context.Context, uint64, uint32) (kernel.Container, bool, error) {
	return kernel.Container{}, false, nil
}

func (trialSensor) Executable(context.Context, kernel.FileRef) (kernel.Executable, error) {
	return kernel.Executable{}, kernel.ErrUnable
}

// hostFacts is what of a host its people get in by.
type hostFacts struct {
	own    string            // testudo's own executable
	uid    uint32            // whose node it is
	shells map[uint32]string // of root and that user, by their number
	real   func(path string) string
}

// factsOfHost reads them; what is not there is what most systems have.
func factsOfHost(uid uint32) hostFacts {
	f := hostFacts{uid: uid, shells: map[uint32]string{0: "/bin/sh"}, real: func(path string) string {
		if to, err := filepath.EvalSymlinks(path); err == nil {
			return to
		}
		return path
	}}
	if own, err := os.Executable(); err == nil {
		f.own = f.real(own)
	}
	if passwd, err := os.Open("/etc/passwd"); err == nil {
		defer passwd.Close()
		f.readShells(io.LimitReader(passwd, 1<<20))
	}
	return f
}

func (f *hostFacts) readShells(passwd io.Reader) {
	for lines := bufio.NewScanner(passwd); lines.Scan(); {
		field := strings.Split(lines.Text(), ":")
		if len(field) != 7 || !strings.HasPrefix(field[6], "/") {
			continue
		}
		if n, err := strconv.ParseUint(field[2], 10, 32); err == nil && (n == 0 || uint32(n) == f.uid) {
			f.shells[uint32(n)] = field[6]
		}
	}
}

// essentials returns what runs before, and what is then tried.
func (f *hostFacts) essentials() (before []record.Record, all []essential) {
	const (
		systemd = "/usr/lib/systemd/systemd"
		sshd    = "/usr/sbin/sshd"
	)
	const initPID, sshdPID, sessionPID, shellPID = 1, 700, 800, 801
	forkPID := uint32(900)
	process := func(kind record.Kind, pid, ppid, uid uint32, path string, args ...string) record.Record {
		return record.Record{Kind: kind, Call: record.CallExecve, Time: uint64(pid) * 1e9, Start: uint64(pid) * 1e9, PID: pid, TID: pid, PPID: ppid, UID: uid, GID: uid, LoginUID: uid, Cgroup: 1,
			Comm: []byte(filepath.Base(path)[:min(len(filepath.Base(path)), 15)]), Path: []byte(path), Cwd: []byte("/"), Args: []byte(strings.Join(args, "\x00") + "\x00")}
	}
	running := func(pid, ppid, uid uint32, path string, args ...string) {
		before = append(before, process(record.KindExec, pid, ppid, uid, path, args...))
	}
	starts := func(what string, ppid, uid uint32, path string, args ...string) {
		for _, p := range slices.Compact([]string{path, f.real(path)}) {
			// A gate asks in the process that is about to run it, which is a copy of its parent until then.
			forkPID++
			forked := process(record.KindFork, forkPID, ppid, uid, p)
			before = append(before, forked)
			try := process(record.KindExec, forkPID, ppid, uid, p, args...)
			try.Time += 1e9
			all = append(all, essential{what, try})
		}
	}
	opens := func(what string, pid, uid uint32, by, path string) {
		for _, p := range slices.Compact([]string{path, f.real(path)}) {
			r := process(record.KindCall, pid, 1, uid, by)
			r.Call, r.Args, r.Path, r.Time = record.CallOpenat, nil, []byte(p), r.Time+1e9
			all = append(all, essential{what, r})
		}
	}
	running(initPID, 0, 0, systemd, "/sbin/init")
	running(sshdPID, 1, 0, sshd, "sshd: /usr/sbin/sshd -D [listener]")
	running(sessionPID, sshdPID, 0, sshd, "sshd: session")
	running(shellPID, sessionPID, 0, f.real(f.shells[0]), "-"+filepath.Base(f.shells[0]))

	starts("that the SSH server starts", initPID, 0, sshd, sshd, "-D")
	starts("that the first process runs itself anew", initPID, 0, systemd, systemd)
	starts("that somebody signs in at the console", initPID, 0, "/usr/sbin/agetty", "agetty", "tty1")
	starts("that somebody signs in at the console", initPID, 0, "/usr/bin/login", "login")
	for _, uid := range slices.Sorted(maps.Keys(f.shells)) {
		starts(fmt.Sprintf("the shell of user %d, who signs in by SSH", uid), sessionPID, uid, f.shells[uid], "-"+filepath.Base(f.shells[uid]))
	}
	if f.own != "" {
		starts("that testudo is started", initPID, 0, f.own, "testudo", "up")
		starts("that testudo is asked", shellPID, 0, f.own, "testudo", "doctor")
	}
	for _, path := range []string{"/etc/passwd", "/etc/shadow", "/etc/ssh/sshd_config", "/etc/ld.so.cache", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"} {
		opens("that the SSH server reads "+path, sshdPID, 0, sshd, path)
	}
	for _, path := range []string{"/etc/passwd", "/etc/ld.so.cache", "/lib/x86_64-linux-gnu/libc.so.6", "/root/.profile"} {
		opens("that root's shell reads "+path, shellPID, 0, f.real(f.shells[0]), path)
	}
	accept := process(record.KindAccept, sshdPID, 1, 0, sshd)
	accept.Call, accept.Path, accept.Args, accept.Time = record.CallAccept4, nil, nil, accept.Time+2e9
	all = append(all, essential{"connections to the SSH server", accept})
	return before, all
}
