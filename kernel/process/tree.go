package process

import (
	"cmp"
	"slices"
)

// Live returns the living processes, the first to begin first.
func (t *Table) Live() []*Process {
	t.mu.RLock()
	all := make([]*Process, 0, len(t.live))
	for _, s := range t.live {
		all = append(all, s.p.Load())
	}
	t.mu.RUnlock()
	slices.SortFunc(all, byStart)
	return all
}

// Ended returns up to n of the processes that ended, the last to end first.
func (t *Table) Ended(n int) []*Process {
	t.mu.RLock()
	all := make([]*Process, 0, len(t.gone))
	for _, p := range t.gone {
		all = append(all, p)
	}
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Process) int { return cmp.Or(cmp.Compare(b.Exited, a.Exited), byStart(a, b)) })
	return all[:min(n, len(all))]
}

// Group is the living processes of one cgroup.
type Group struct {
	Cgroup    uint64
	Processes []*Process // the first to begin first
}

// ByCgroup returns the living processes by their cgroups, which workloads are known by; the threads of the kernel are left out. Groups are in
// the order in which their first processes began.
func (t *Table) ByCgroup() []Group {
	at := map[uint64]int{}
	var all []Group
	for _, p := range t.Live() {
		if p.Kernel() {
			continue
		}
		i, ok := at[p.Cgroup]
		if !ok {
			i = len(all)
			at[p.Cgroup] = i
			all = append(all, Group{Cgroup: p.Cgroup})
		}
		all[i].Processes = append(all[i].Processes, p)
	}
	return all
}

func byStart(a, b *Process) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
}

// Node is a process in a tree, with what it started.
type Node struct {
	*Process
	Children []*Node // the first to begin first
}

// Tree returns the process of the key with all that came from it, living and ended, as far as the table remembers, at most limit
// processes: those nearest to it. left says how many more there are. What it came from is its lineage.
func (t *Table) Tree(key string, limit int) (root *Node, left int, ok bool) {
	p, ok := t.Get(key)
	if !ok {
		return nil, 0, false
	}
	root = &Node{Process: p}
	left = grow([]*Node{root}, t.children(), limit-1)
	return root, left, true
}

// Forest returns the trees of all processes, living and ended, whose parents are not known: as a whole at most limit processes.
func (t *Table) Forest(limit int) (roots []*Node, left int) {
	children := t.children()
	known := map[string]bool{"": false}
	for _, list := range children {
		for _, p := range list {
			known[p.Key] = true
		}
	}
	for parent, list := range children {
		if known[parent] {
			continue
		}
		for _, p := range list {
			roots = append(roots, &Node{Process: p})
		}
	}
	slices.SortFunc(roots, func(a, b *Node) int { return byStart(a.Process, b.Process) })
	if len(roots) > limit {
		left, roots = len(roots)-limit, roots[:max(limit, 0)]
	}
	return roots, left + grow(roots, children, limit-len(roots))
}

// grow adds children level by level, and returns how many found no place. A key is added once, whatever the table holds.
func grow(level []*Node, children map[string][]*Process, limit int) (left int) {
	done := map[string]bool{}
	for len(level) > 0 {
		var next []*Node
		for _, n := range level {
			if n.Key == "" || done[n.Key] {
				continue
			}
			done[n.Key] = true
			list := children[n.Key]
			slices.SortFunc(list, byStart)
			for _, p := range list {
				if limit <= 0 {
					left++
					continue
				}
				limit--
				child := &Node{Process: p}
				n.Children = append(n.Children, child)
				next = append(next, child)
			}
		}
		level = next
	}
	return left
}

// children returns all processes by the keys of their parents.
func (t *Table) children() map[string][]*Process {
	by := map[string][]*Process{}
	add := func(p *Process) {
		key := ""
		if a := p.Parent(); a != nil {
			key = a.Key
		}
		by[key] = append(by[key], p)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, s := range t.live {
		add(s.p.Load())
	}
	for _, p := range t.gone {
		add(p)
	}
	return by
}

// Sweep takes for ended what alive denies, for records of ends may be lost. It returns how many.
func (t *Table) Sweep(now uint64, alive func(pid uint32, start uint64) bool) int {
	n := 0
	for _, p := range t.Live() {
		if alive(p.PID, p.Start) {
			continue
		}
		t.write.Lock()
		if s := t.live[p.PID]; s != nil && s.p.Load().Key == p.Key {
			t.end(s, s.p.Load(), now, 0)
			t.stats.Unseen++
			n++
		}
		t.write.Unlock()
	}
	return n
}
