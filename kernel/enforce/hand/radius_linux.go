package hand

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/kernel"
)

// Bounds of what is read to count connections.
const (
	maxDescriptors = 100_000
	maxSockets     = 200_000
)

// radius says what an order would touch, and changes nothing.
func (h *Hand) radius(o *kernel.Order) (kernel.Done, error) {
	switch o.For {
	case kernel.VerbKill, kernel.VerbFreeze, kernel.VerbIsolate, "":
	default:
		return kernel.Done{}, fmt.Errorf("radius of %.20q: want kill, freeze or isolate", o.For)
	}
	var g group
	var pids []uint32
	var spaces map[namespace]string
	done, err := kernel.Done{}, error(nil)
	if o.PID != 0 && o.For != kernel.VerbFreeze && o.For != kernel.VerbIsolate {
		done, err = h.radiusOfProcess(o)
	} else {
		g, pids, spaces, err = h.members(o)
	}
	switch {
	case errors.Is(err, kernel.ErrGone):
		return kernel.Done{Gone: true, Refusal: err.Error()}, nil
	case err != nil:
		return kernel.Done{}, fmt.Errorf("radius: %w", err)
	case done.Count > 0:
		return done, nil
	}
	done = h.describe(g, pids)
	if done.Count == 0 {
		return kernel.Done{Gone: true, Cgroup: g.path, CgroupID: g.id(), Refusal: "no process of it runs any more"}, nil
	}
	done.Connections = connections(pids)
	if o.For == kernel.VerbIsolate {
		done.Refusal = h.isolationRefusal(spaces)
		if done.Refusal == "" {
			done.Sharing = sharing(pids, spaces)
		}
	} else {
		done.Refusal = h.refusal(&g)
	}
	done.Detail = fmt.Sprintf("%d processes of cgroup %s", done.Count, g.path)
	return done, nil
}

// describe says who is meant: those in the cgroup, or a process that is in none of its own.
func (h *Hand) describe(g group, pids []uint32) kernel.Done {
	if g.path != "/" {
		return g.describe()
	}
	done := kernel.Done{Count: len(pids)}
	for _, pid := range pids[:min(len(pids), kernel.MaxTouched)] {
		if s, err := readStat(pid); err == nil {
			done.Processes = append(done.Processes, s.touched())
		}
	}
	return done
}

// radiusOfProcess is that of a process and what it started.
func (h *Hand) radiusOfProcess(o *kernel.Order) (kernel.Done, error) {
	root, err := open(o.PID, o.Start/tick)
	if err != nil {
		return kernel.Done{}, err
	}
	defer root.close()
	tree, seen := []uint32{root.pid}, map[uint32]bool{root.pid: true}
	for i := 0; i < len(tree) && len(tree) < maxTree; i++ {
		kids, err := children(tree[i])
		if err != nil {
			continue
		}
		for _, kid := range kids {
			if !seen[kid] {
				seen[kid] = true
				tree = append(tree, kid)
			}
		}
	}
	done := kernel.Done{Count: len(tree), Refusal: h.protected(&root.stat), Connections: connections(tree)}
	for _, pid := range tree[:min(len(tree), kernel.MaxTouched)] {
		if s, err := readStat(pid); err == nil {
			done.Processes = append(done.Processes, s.touched())
		}
	}
	if g, err := h.groupOfProcess(root.pid); err == nil {
		done.Cgroup, done.CgroupID = g.path, g.id()
	}
	done.Detail = fmt.Sprintf("%s (%d)", root.name, root.pid)
	if n := len(tree) - 1; n > 0 {
		done.Detail += fmt.Sprintf(" and %d that it started", n)
	}
	return done, nil
}

// sharing returns who else is in these network namespaces.
func sharing(pids []uint32, spaces map[namespace]string) (others []kernel.Touched) {
	members := make(map[uint32]bool, len(pids))
	for _, pid := range pids {
		members[pid] = true
	}
	_ = eachProcess(func(pid uint32) {
		if members[pid] || len(others) >= kernel.MaxTouched {
			return
		}
		ns, err := namespaceOf(netOf(pid))
		if err != nil {
			return
		}
		if _, shared := spaces[ns]; shared {
			if s, err := readStat(pid); err == nil {
				others = append(others, s.touched())
			}
		}
	})
	return others
}

// connections counts the established TCP connections of processes, as far as the bounds let it see.
func connections(pids []uint32) (n int) {
	left := maxDescriptors
	sockets := map[string]bool{}
	spaces := map[namespace]uint32{}
	for _, pid := range pids {
		dir := "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/fd/"
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if left--; left < 0 {
				break
			}
			if to, err := os.Readlink(dir + e.Name()); err == nil && strings.HasPrefix(to, "socket:[") {
				sockets[strings.TrimSuffix(to[len("socket:["):], "]")] = true
			}
		}
		if ns, err := namespaceOf(netOf(pid)); err == nil {
			spaces[ns] = pid
		}
	}
	if len(sockets) == 0 {
		return 0
	}
	for _, pid := range spaces {
		for _, file := range []string{"tcp", "tcp6"} {
			n += established("/proc/"+strconv.FormatUint(uint64(pid), 10)+"/net/"+file, sockets)
		}
	}
	return n
}

// established counts the lines of /proc/net/tcp in that state whose socket is one of these.
func established(path string, sockets map[string]bool) (n int) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for i := 0; lines.Scan() && i < maxSockets; i++ {
		if f := strings.Fields(lines.Text()); len(f) > 9 && f[3] == "01" && sockets[f[9]] {
			n++
		}
	}
	return n
}
