package kernel

import "slices"

// Workload is a container, and the cgroup that its processes are in.
type Workload struct {
	Cgroup    uint64
	Container Container
}

// Workloads returns the containers that the plane has seen lately, by cgroup. Some may have ended.
func (p *Plane) Workloads() []Workload {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Workload
	for _, lanes := range []map[laneKey]*lane{p.lanes.young, p.lanes.old} {
		for k, l := range lanes {
			if k.cgroup > 1 && l.is != nil {
				all = append(all, Workload{k.cgroup, l.is.Container})
			}
		}
	}
	byCgroup := func(a, b Workload) int {
		if a.Cgroup < b.Cgroup {
			return -1
		}
		return int(min(a.Cgroup-b.Cgroup, 1))
	}
	slices.SortFunc(all, byCgroup)
	return slices.CompactFunc(all, func(a, b Workload) bool { return a.Cgroup == b.Cgroup })
}
