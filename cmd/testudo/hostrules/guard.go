package hostrules

import (
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/narrow"
	"github.com/testudo-sec/testudo/signal"
)

// Plan is what of a set of rules is enforced, and by what.
type Plan struct {
	Clauses []Clause
	Residue []Residue
}

// Clause is a piece of a rule that the kernel enforces by itself.
type Clause struct {
	Rule kernel.GuardRule // without workloads
	// Scope says which workloads it holds for: a condition over what is known of a container. Nil for all processes.
	Scope match.And
}

// Residue is a piece of a rule that no hook of the kernel can decide: a gate that asks the judge enforces it, or a kill
// after the fact.
type Residue struct {
	Rule string
	Hook kernel.Hook
	Why  string // what of it the kernel cannot tell: "process.cmd_line contains 'x'"
	// Ask reports whether a gate that waits for the judge knows enough to decide it; Files are the files that it is about.
	Ask   bool
	Files kernel.Paths
}

// maxAlternatives bounds the clauses of one rule at one hook.
const maxAlternatives = 64

// Compile splits the rules that refuse into what the kernel enforces by itself and the rest.
func Compile(set *policy.Set) *Plan {
	p := new(Plan)
	for _, r := range set.Rules() {
		if r.Then != signal.Deny || r.Disabled || r.Condition == nil {
			continue
		}
		for _, h := range hooks() {
			p.split(r, &h)
		}
	}
	return p
}

// hook is a place where the kernel can refuse, and the events that the attempt would become.
type hook struct {
	hook      kernel.Hook
	templates []template // by any of these calls
	writing   []template // of open: those of them that are for writing
}

func hooks() []hook {
	one := func(kind record.Kind, write bool, calls ...record.Call) []template {
		var all []template
		for _, c := range calls {
			t, _ := newTemplate(kind, c, c.String(), write)
			all = append(all, t)
		}
		return all
	}
	opens := []record.Call{record.CallOpen, record.CallOpenat, record.CallOpenat2}
	writing := one(record.KindCall, true, opens...)
	return []hook{
		{hook: kernel.HookExec, templates: one(record.KindExec, false, record.CallExecve, record.CallExecveat)},
		{hook: kernel.HookOpen, templates: append(one(record.KindCall, false, opens...), writing...), writing: writing},
		{hook: kernel.HookConnect, templates: attempts(one(record.KindConnect, false, record.CallConnect))},
	}
}

// attempts narrows templates of connections to those that this host is about to make.
func attempts(all []template) []template {
	for i := range all {
		known := &all[i].known
		known.Examples = slices.DeleteFunc(known.Examples, func(e *signal.Event) bool { return e.Activity != 1 })
		for _, e := range known.Examples {
			e.SetInt(signal.FieldConnectionInfoDirectionID, 2)
		}
		known.Fields[signal.FieldConnectionInfoDirectionID] = true
	}
	return all
}

// split adds the clauses and the residue of a rule at a hook. A clause stands for every call by which the attempt can be made, and so
// is made only of what the rule refuses whatever the call.
func (p *Plan) split(r *policy.Rule, h *hook) {
	all, some, few := waysOf(r, h.templates)
	if !few {
		p.residue(Residue{Rule: r.ID, Hook: h.hook, Why: "it has too many alternatives"})
		return
	}
	done := map[string]bool{}
	for _, way := range all {
		p.clause(r.ID, h.hook, way, false)
		done[match.String(way)] = true
	}
	if h.writing != nil {
		writes, _, _ := waysOf(r, h.writing)
		for _, way := range writes {
			if key := match.String(way); !done[key] {
				p.clause(r.ID, h.hook, way, true)
				done[key] = true
			}
		}
	}
	for _, way := range some {
		if !done[match.String(way)] {
			p.residue(Residue{Rule: r.ID, Hook: h.hook, Why: "it depends on the system call: " + match.String(way)})
		}
	}
}

// waysOf returns the alternatives that a rule has for all of the templates, and those that it has for some. It returns false where
// there are too many.
func waysOf(r *policy.Rule, templates []template) (all, some []match.And, few bool) {
	count := map[string]int{}
	for i := range templates {
		x, ok := templates[i].remains(r)
		if !ok {
			continue
		}
		ways, few := narrow.Alternatives(x, maxAlternatives)
		if !few {
			return nil, nil, false
		}
		seen := map[string]bool{}
		for _, way := range ways {
			key := match.String(way)
			if seen[key] {
				continue
			}
			seen[key] = true
			if count[key]++; count[key] == 1 {
				some = append(some, way)
			}
		}
	}
	for _, way := range some {
		if count[match.String(way)] == len(templates) {
			all = append(all, way)
		}
	}
	return all, some, true
}

func (p *Plan) clause(rule string, h kernel.Hook, way match.And, write bool) {
	c := Clause{Rule: kernel.GuardRule{Rule: rule, Hook: h, Write: write}}
	for _, part := range way {
		if why := c.require(part); why != "" {
			p.residue(Residue{Rule: rule, Hook: h, Why: why, Ask: h != kernel.HookConnect && !write && !slices.ContainsFunc(match.Fields(way), unknownToGate) && !match.ReadsAttrs(way),
				Files: filesOf(way, h)})
			return
		}
	}
	p.Clauses = append(p.Clauses, c)
}

// unknownToGate reports whether a gate that is asked before a file is opened or run does not know a field: the arguments of what
// is about to run are still its caller's, and how a file is opened the kernel does not say.
func unknownToGate(f signal.Field) bool {
	switch f {
	case signal.FieldProcessCmdLine, signal.FieldOpenFlags, signal.FieldProcessFileHashesValue, signal.FieldProcessEnvironmentVariablesName, signal.FieldActivityID:
		return true
	}
	return false
}

// filesOf returns the files that an alternative can be about at a hook.
func filesOf(way match.And, h kernel.Hook) kernel.Paths {
	field := signal.FieldFilePath
	if h == kernel.HookExec {
		field = signal.FieldProcessFilePath
	}
	if paths, ok := pathsOf(narrow.Reach(way, field)); ok {
		return paths
	}
	return kernel.Paths{All: true}
}

func (p *Plan) residue(r Residue) {
	if !slices.ContainsFunc(p.Residue, func(o Residue) bool { return o.Rule == r.Rule && o.Hook == r.Hook && o.Why == r.Why }) {
		p.Residue = append(p.Residue, r)
	}
}

// require adds a part of a conjunction to the clause. It returns what the kernel cannot tell, "" where it can.
func (c *Clause) require(part match.Expr) string {
	cannot := match.String(part)
	if about := match.Fields(part); len(about) > 0 && !match.ReadsAttrs(part) && !slices.ContainsFunc(about, func(f signal.Field) bool {
		return !begins(f.Name(), []string{"container.", "orchestrator."})
	}) {
		return c.scope(part)
	}
	if not, ok := part.(match.Not); ok {
		if a, ok := not.Part.(*match.Atom); ok && a.Op == match.OpExists && isContainer(a) {
			c.Rule.Host = true
			return ""
		}
		return cannot
	}
	a, ok := part.(*match.Atom)
	if !ok || a.Other != nil || a.Fold || a.On.Elem || a.On.Any || a.On.Measure != match.MeasureNone {
		return cannot
	}
	if a.On.Attr != "" && a.On.Field == 0 {
		return c.attribute(a, cannot)
	}
	switch f := a.On.Field; {
	case a.On.Attr != "":
	case (f == c.exe() || c.Rule.Hook == kernel.HookExec && f == signal.FieldProcessFileName) && c.paths(&c.Rule.Exe, a), c.Rule.Hook == kernel.HookExec && f == signal.FieldProcessParentProcessFilePath && c.paths(&c.Rule.Parent, a),
		c.Rule.Hook == kernel.HookOpen && (f == signal.FieldFilePath || f == signal.FieldFileName) && c.paths(&c.Rule.File, a):
		return ""
	case f == c.user() && c.users(a):
		return ""
	case c.Rule.Hook == kernel.HookConnect && f == signal.FieldDstEndpointIP && c.remote(a),
		c.Rule.Hook == kernel.HookConnect && f == signal.FieldDstEndpointPort && c.ports(a):
		return ""
	}
	return cannot
}

// exe returns the field of the executable that acts.
func (c *Clause) exe() signal.Field {
	if c.Rule.Hook == kernel.HookExec {
		return signal.FieldProcessFilePath
	}
	return signal.FieldActorProcessFilePath
}

func (c *Clause) user() signal.Field {
	if c.Rule.Hook == kernel.HookExec {
		return signal.FieldProcessUserUID
	}
	return signal.FieldActorProcessUserUID
}

func isContainer(a *match.Atom) bool {
	return a.On.Field == signal.FieldContainerUID && a.On.Attr == ""
}

// scope adds a condition on the workload. "In no container" has a form of its own.
func (c *Clause) scope(part match.Expr) string {
	if not, ok := part.(match.Not); ok {
		if a, ok := not.Part.(*match.Atom); ok && a.Op == match.OpExists && isContainer(a) {
			c.Rule.Host = true
			return ""
		}
	}
	c.Scope = append(c.Scope, part)
	return ""
}

func (c *Clause) attribute(a *match.Atom, cannot string) string {
	if a.Op != match.OpEqual || len(a.Texts) != 1 || a.Texts[0] != "true" || len(a.On.Steps) > 0 || c.Rule.Hook != kernel.HookExec {
		return cannot
	}
	switch a.On.Attr {
	case "proc.is_exe_upper_layer":
		c.Rule.Upper = true
	case "proc.is_exe_from_memfd":
		c.Rule.Memory = true
	default:
		return cannot
	}
	return ""
}

// paths adds exactly the paths for which the atom holds, and reports whether it could.
func (c *Clause) paths(to *kernel.Paths, a *match.Atom) bool {
	if to.All || len(to.Exact)+len(to.Prefix)+len(to.Name) > 0 {
		return false // two of them: both must hold, which a set cannot say
	}
	switch steps := a.On.Steps; {
	case len(steps) == 1 && steps[0] == match.StepBasename && a.Op == match.OpEqual:
		to.Name = a.Texts
		return len(a.Texts) > 0 && !slices.ContainsFunc(a.Texts, func(t string) bool { return t == "" || strings.Contains(t, "/") })
	case len(steps) > 0:
		return false
	case isName(a.On.Field):
		to.Name = a.Texts
		return a.Op == match.OpEqual && len(a.Texts) > 0 && !slices.ContainsFunc(a.Texts, func(t string) bool { return t == "" || strings.Contains(t, "/") })
	}
	switch a.Op {
	case match.OpEqual:
		to.Exact = a.Texts
	case match.OpPrefix:
		to.Prefix = a.Texts
	case match.OpPathPrefix:
		to.Exact = a.Texts
		for _, t := range a.Texts {
			to.Prefix = append(to.Prefix, t+"/")
		}
	case match.OpRegex:
		texts, ok := narrow.Enumerate(a.Regex.String())
		if !ok {
			return false
		}
		to.Exact = texts
	default:
		return false
	}
	all := append(slices.Clone(to.Exact), to.Prefix...)
	return len(all) > 0 && !slices.ContainsFunc(all, func(t string) bool { return !strings.HasPrefix(t, "/") || len(t) < 2 })
}

// isName reports whether a field holds the last part of a path.
func isName(f signal.Field) bool {
	return f == signal.FieldProcessFileName || f == signal.FieldFileName
}

func (c *Clause) users(a *match.Atom) bool {
	if len(c.Rule.UIDs) > 0 || len(a.On.Steps) > 0 {
		return false
	}
	switch a.Op {
	case match.OpEqual:
		for _, t := range a.Texts {
			n, err := strconv.ParseUint(t, 10, 32)
			if err != nil || strconv.FormatUint(n, 10) != t {
				return false
			}
			c.Rule.UIDs = append(c.Rule.UIDs, uint32(n))
		}
	case match.OpInt:
		for _, r := range a.Ints {
			if r.Min < 0 || r.Max-r.Min > 64 || r.Max > 1<<32-1 {
				return false
			}
			for n := r.Min; n <= r.Max; n++ {
				c.Rule.UIDs = append(c.Rule.UIDs, uint32(n))
			}
		}
	default:
		return false
	}
	return len(c.Rule.UIDs) > 0 // none would be all
}

func (c *Clause) remote(a *match.Atom) bool {
	if len(c.Rule.Remote) > 0 || a.Op != match.OpCIDR || len(a.On.Steps) > 0 {
		return false
	}
	c.Rule.Remote = a.Prefixes
	return len(c.Rule.Remote) > 0
}

func (c *Clause) ports(a *match.Atom) bool {
	if len(c.Rule.Ports) > 0 || a.Op != match.OpInt || len(a.On.Steps) > 0 {
		return false
	}
	for _, r := range a.Ints {
		if r.Min < 0 || r.Max > 1<<16-1 || r.Max-r.Min > 256 {
			return false
		}
		for n := r.Min; n <= r.Max; n++ {
			c.Rule.Ports = append(c.Rule.Ports, uint16(n))
		}
	}
	return len(c.Rule.Ports) > 0
}

// Guard returns what the sensor is to enforce while these containers run. Rules for which enforce reports false are only told
// of.
func (p *Plan) Guard(running []kernel.Workload, enforce func(rule string) bool) []kernel.GuardRule {
	var all []kernel.GuardRule
	for i := range p.Clauses {
		c := &p.Clauses[i]
		r := c.Rule
		r.Enforce = enforce(r.Rule)
		if len(c.Scope) > 0 {
			// A scope may hold of what is in no container, too: image.name != "shop" does.
			onHost := match.Eval(c.Scope, new(signal.Event)) == match.Yes
			if r.Host {
				if onHost {
					all = append(all, r)
				}
				continue
			}
			if onHost {
				host := r
				host.Host = true
				all = append(all, host)
			}
			for _, w := range running {
				if match.Eval(c.Scope, containerEvent(&w.Container)) == match.Yes {
					r.Cgroups = append(r.Cgroups, w.Cgroup)
				}
			}
			if len(r.Cgroups) == 0 {
				continue
			}
		}
		all = append(all, r)
	}
	return all
}

// Ask returns what gates that wait for the judge are to ask about, on the file systems of these places, where a rule that is
// enforced needs it.
func (p *Plan) Ask(places []string, enforce func(rule string) bool) []kernel.AskScope {
	var all []kernel.AskScope
	for _, h := range []kernel.Hook{kernel.HookExec, kernel.HookOpen} {
		var files kernel.Paths
		for _, r := range p.Residue {
			if r.Hook != h || !r.Ask || !enforce(r.Rule) {
				continue
			}
			files.All = files.All || r.Files.All
			files.Exact, files.Prefix = append(files.Exact, r.Files.Exact...), append(files.Prefix, r.Files.Prefix...)
			files.Name, files.Part, files.End = append(files.Name, r.Files.Name...), append(files.Part, r.Files.Part...), append(files.End, r.Files.End...)
		}
		if tidy(&files); files.Empty() {
			continue
		}
		for _, place := range places {
			all = append(all, kernel.AskScope{Hook: h, Mount: place, Files: files})
		}
	}
	return all
}

// containerEvent returns an event that has what the plane's events say of a container.
func containerEvent(c *kernel.Container) *signal.Event {
	e := new(signal.Event)
	c.Describe(e)
	return e
}
