package assembly

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// hostView says what runs on the host.
type hostView struct{ m *Machine }

// Bounds of what is looked at and shown at once.
const (
	maxShownGroups = 200
	maxForest      = 65536
	maxTreeShown   = 300
	maxTreeDepth   = 64
)

func (v hostView) plane() (*kernelPlane, error) {
	if v.m.kernel == nil {
		return nil, fmt.Errorf("%w: the host is %s", console.ErrUnavailable, v.m.Kernel(context.Background()))
	}
	return v.m.kernel, nil
}

// Processes implements console.HostSource.
func (v hostView) Processes(_ context.Context, q console.ProcessQuery) (console.ProcessList, error) {
	p, err := v.plane()
	if err != nil {
		return console.ProcessList{}, err
	}
	return newCensus(p.plane, q).list(), nil
}

// Process implements console.HostSource.
func (v hostView) Process(_ context.Context, uid string) (console.ProcessDetail, error) {
	p, err := v.plane()
	if err != nil {
		return console.ProcessDetail{}, err
	}
	table := p.plane.Table()
	root, left, ok := table.Tree(uid, maxTreeShown)
	if !ok {
		return console.ProcessDetail{}, fmt.Errorf("process %.60q: %w", uid, console.ErrNotFound)
	}
	c := newCensus(p.plane, console.ProcessQuery{All: true})
	_, contained := c.place(root.Process)
	d := console.ProcessDetail{ProcessLine: c.line(root.Process, 0), Lineage: []console.ProcessLine{}, Tree: []console.ProcessLine{}, More: left}
	told := p.plane.Describe(root.Process, contained)
	d.Cwd, d.Given = told.Cwd, told.Given
	if told.Facts != nil {
		d.SHA256, d.Package, d.Changed = told.Facts.SHA256, told.Facts.Package, told.Facts.Changed
	}
	d.Upper, d.Memory = root.Flags&record.FlagUpper != 0, root.Flags&record.FlagMemory != 0
	if root.LoginUID != record.NoLogin {
		d.Login = strconv.FormatUint(uint64(root.LoginUID), 10)
	}
	d.Container = c.container(root.Process)
	for _, a := range root.Lineage.Ancestors {
		d.Lineage = append(d.Lineage, c.ancestor(a))
	}
	c.draw(root, 0, func(n *process.Node, depth int) { d.Tree = append(d.Tree, c.line(n.Process, depth)) })
	return d, nil
}

// census tells processes apart by their containers.
type census struct {
	plane *kernel.Plane
	table *process.Table
	q     console.ProcessQuery
	text  string
	known map[uint64]kernel.Container
	pidns uint32 // of the host
	lines map[*process.Process]console.ProcessLine
}

func newCensus(plane *kernel.Plane, q console.ProcessQuery) *census {
	c := &census{plane: plane, table: plane.Table(), q: q, text: strings.ToLower(strings.TrimSpace(q.Text)), known: map[uint64]kernel.Container{},
		lines: map[*process.Process]console.ProcessLine{}}
	for _, w := range plane.Workloads() {
		c.known[w.Cgroup] = w.Container
	}
	if first, ok := c.table.ByPID(1); ok {
		c.pidns = first.PIDNS
	}
	return c
}

// place says in which cgroup's list a process stands, 0 for the host's. A container of which nothing is known is known by its namespace of
// process ids: its own is no other's.
func (c *census) place(p *process.Process) (cgroup uint64, contained bool) {
	if _, ok := c.known[p.Cgroup]; ok && p.Cgroup > 1 {
		return p.Cgroup, true
	}
	if p.PIDNS != 0 && c.pidns != 0 && p.PIDNS != c.pidns {
		return nameless | uint64(p.PIDNS), true
	}
	return 0, false
}

// nameless marks lists of containers that no cgroup names.
const nameless = 1 << 63

func (c *census) container(p *process.Process) *console.ContainerView {
	cgroup, contained := c.place(p)
	if !contained {
		return nil
	}
	return viewOf(cgroup, c.known[cgroup])
}

func viewOf(cgroup uint64, is kernel.Container) *console.ContainerView {
	v := &console.ContainerView{ID: is.ID, Name: is.Name, Image: is.Image, Pod: is.Pod, Namespace: is.Namespace, Runtime: is.Runtime, Privileged: is.Privileged}
	if is.Tag != "" {
		v.Image += ":" + is.Tag
	}
	if v.ID == "" {
		v.Name = fmt.Sprintf("no runtime tells of it (pid namespace %d)", cgroup&^nameless)
	}
	return v
}

func (c *census) wall(boot uint64) time.Time {
	if boot == 0 {
		return time.Time{}
	}
	return c.table.Wall(boot).UTC()
}

func (c *census) line(p *process.Process, depth int) console.ProcessLine {
	l, ok := c.lines[p]
	if !ok {
		_, contained := c.place(p)
		told := c.plane.Describe(p, contained)
		l = console.ProcessLine{UID: p.Key, PID: int(p.PID), Parent: int(p.PPID), Name: told.Name, Exe: told.Exe, CmdLine: told.CmdLine, User: told.User,
			Started: c.wall(p.Start), Ended: c.wall(p.Exited), Unseen: p.State == process.Unknown}
		if !p.Alive() {
			l.Code, l.Signal = p.ExitCode()
		}
		c.lines[p] = l
	}
	l.Depth = depth
	return l
}

func (c *census) ancestor(a *process.Ancestor) console.ProcessLine {
	if p, ok := c.table.Get(a.Key); ok {
		return c.line(p, 0)
	}
	told := c.plane.DescribeAncestor(a, false)
	return console.ProcessLine{UID: "", PID: int(a.PID), Name: told.Name, Exe: told.Exe, CmdLine: told.CmdLine, User: told.User, Started: c.wall(a.Start)}
}

// chooses reports whether a process is what the query asks for.
func (c *census) chooses(p *process.Process) bool {
	if p.Kernel() || !c.q.All && !p.Alive() {
		return false
	}
	if c.q.Container == "" && c.text == "" {
		return true
	}
	view := c.container(p)
	switch want := c.q.Container; {
	case want == "":
	case want == "host":
		if view != nil {
			return false
		}
	case view == nil || !strings.HasPrefix(view.ID, want) && view.Name != want:
		return false
	}
	if c.text == "" || strconv.FormatUint(uint64(p.PID), 10) == c.text {
		return true
	}
	l := c.line(p, 0)
	all := []string{l.CmdLine, l.Exe, l.Name, l.User}
	if view != nil {
		all = append(all, view.ID, view.Name, view.Image, view.Pod, view.Namespace)
	}
	return slices.ContainsFunc(all, func(s string) bool { return strings.Contains(strings.ToLower(s), c.text) })
}

// draw calls show for a tree, parents first.
func (c *census) draw(n *process.Node, depth int, show func(*process.Node, int)) {
	show(n, min(depth, maxTreeDepth))
	for _, child := range n.Children {
		c.draw(child, depth+1, show)
	}
}

// member is a process of a group's list.
type member struct {
	p      *process.Process
	chosen bool
	depth  int
}

// list makes the lists of all groups. Of a tree that spans groups each has its own part.
func (c *census) list() console.ProcessList {
	roots, _ := c.table.Forest(maxForest)
	groups := map[uint64][]member{}
	out := console.ProcessList{Groups: []console.ProcessGroup{}, At: time.Now().UTC()}
	var walk func(n *process.Node, in uint64, depth int)
	walk = func(n *process.Node, in uint64, depth int) {
		if n.Kernel() {
			return
		}
		if n.Alive() {
			out.Living++
		} else {
			out.Ended++
		}
		at, _ := c.place(n.Process)
		if at != in {
			in, depth = at, 0
		}
		groups[at] = append(groups[at], member{n.Process, c.chooses(n.Process), min(depth, maxTreeDepth)})
		for _, child := range n.Children {
			walk(child, in, depth+1)
		}
	}
	for _, n := range roots {
		walk(n, 0, 0)
	}
	for at, all := range groups {
		if g, any := c.group(at, all); any {
			out.Groups = append(out.Groups, g)
		}
	}
	slices.SortFunc(out.Groups, func(a, b console.ProcessGroup) int {
		x, y := groupName(&a), groupName(&b)
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(groupID(&a), groupID(&b)))
	})
	if n := len(out.Groups); n > maxShownGroups {
		out.Hidden, out.Groups = n-maxShownGroups, out.Groups[:maxShownGroups]
	}
	return out
}

// groupName sorts the host first, then containers that live by their names.
func groupName(g *console.ProcessGroup) string {
	switch {
	case g.Container == nil:
		return "0"
	case g.Living == 0:
		return "2" + g.Container.Namespace + g.Container.Pod + g.Container.Name
	}
	return "1" + g.Container.Namespace + g.Container.Pod + g.Container.Name
}

func groupID(g *console.ProcessGroup) string {
	if g.Container == nil {
		return ""
	}
	return g.Container.ID
}

// group makes one list: what is chosen, and what that came from.
func (c *census) group(cgroup uint64, all []member) (g console.ProcessGroup, any bool) {
	g.Processes = []console.ProcessLine{}
	keep := make([]bool, len(all))
	need := -1 // depth below which the one before must be kept too
	for i := len(all) - 1; i >= 0; i-- {
		m := &all[i]
		if m.chosen {
			any = true
			if m.p.Alive() {
				g.Living++
			} else {
				g.Ended++
			}
		}
		if m.chosen || need >= 0 && m.depth < need {
			keep[i] = true
			if need = m.depth; need == 0 {
				need = -1
			}
		}
	}
	if !any {
		return g, false
	}
	limit := c.q.Limit
	if limit <= 0 {
		limit = 200
	}
	for i, m := range all {
		switch {
		case !keep[i]:
		case len(g.Processes) >= limit:
			g.More++
		default:
			l := c.line(m.p, m.depth)
			l.Other = !m.chosen
			g.Processes = append(g.Processes, l)
		}
	}
	if cgroup != 0 {
		g.Container = viewOf(cgroup, c.known[cgroup])
	}
	return g, true
}
