// Package falco loads the rule files of Falco (https://falco.org) unchanged: lists, macros, rules, exceptions, append and
// override. docs/falco.md is its reference.
//
// What a file says means here what it means in Falco:
//
//   - files are read in order, and a later definition of a name takes the place of an earlier one;
//   - a comparison with a field that has no value is false, with != too, and not of it true;
//   - lists are texts put into conditions, macros are conditions put into others.
//
// A rule judges events of its source. For syscall these are the events of the kernel plane and the records of Linux audit
// logs. The tables fields.tsv and calls.tsv say where an event of ours holds what a field of Falco asks for, and which
// class and activity a system call has. A field that none of our events carries is no mistake in a rule: it has no value.
package falco

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// Dialect compiles Falco's rules. It is safe for concurrent use.
type Dialect struct{}

// New returns the dialect.
func New() *Dialect { return &Dialect{} }

// Name returns "falco".
func (*Dialect) Name() string { return "falco" }

var (
	entryForm = regexp.MustCompile(`^(\s*)-\s+(["']?)([a-z_]+)["']?\s*:`)
	keyForm   = regexp.MustCompile(`^(\s+)["']?([a-z_]+)["']?\s*:`)
	itemKeys  = []string{"rule", "macro", "list", "required_engine_version", "required_plugin_versions"}
)

// Detect claims a YAML file that is a list whose first entry has one of the keys that Falco's entries have.
func (*Dialect) Detect(f policy.File) bool {
	if name := strings.ToLower(f.Name); !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		return false
	}
	indent := -1
	for line := range strings.Lines(strings.TrimPrefix(string(f.Text), "\ufeff")) {
		trimmed := strings.TrimSpace(line)
		switch m := entryForm.FindStringSubmatchIndex(line); {
		case trimmed == "" || trimmed[0] == '#' || indent < 0 && (trimmed == "---" || trimmed[0] == '%'):
		case indent < 0 && m == nil:
			return false // no list
		case indent < 0:
			if slices.Contains(itemKeys, line[m[6]:m[7]]) {
				return true
			}
			indent = m[6]
			if m[5] > m[4] {
				indent-- // a key in quotes
			}
		case m != nil && m[3] < indent:
			return false // the next entry
		default:
			if k := keyForm.FindStringSubmatch(line); k != nil && len(k[1]) == indent && slices.Contains(itemKeys, k[2]) {
				return true
			}
		}
	}
	return false
}

// Compile returns the rules of the files. What one file defines, those behind it may use and change.
func (d *Dialect) Compile(files []policy.File) ([]*policy.Rule, policy.Problems) {
	r := &reader{lists: make(map[string]*list), macros: make(map[string]*macro), rules: make(map[string]*rule)}
	for _, f := range files {
		r.file(f)
	}
	r.resolveLists()
	total := 0
	var rules []*policy.Rule
	ids := make(map[string]string)
	for _, u := range r.order {
		if total += len(u.cond.value); total > maxTotal {
			p := u.cond.at(0)
			p.Message, p.Hint = fmt.Sprintf("the conditions of all files are larger than %d bytes", maxTotal), "load fewer files"
			r.problems = append(r.problems, p)
			break
		}
		id := identifier(u.name)
		if other, taken := ids[id]; taken {
			p := u.sourceAt
			p.Rule, p.Message, p.Hint = id, fmt.Sprintf("rules %q and %q would have one id", policy.Printable(other, 100), policy.Printable(u.name, 100)), "rename one of them"
			r.problems = append(r.problems, p)
			continue
		}
		ids[id] = u.name
		if rule := r.compile(u, id); rule != nil {
			rules = append(rules, rule)
		}
	}
	r.checkMacros()
	return rules, r.problems
}

// checkMacros finds what is wrong in macros that no rule uses.
func (r *reader) checkMacros() {
	x := &expansion{r: r}
	total := 0
	for _, name := range sortedNames(r.macros) {
		m := r.macros[name]
		if total += len(m.cond.value); total > maxTotal {
			return
		}
		x.nodes = 0
		_, wrong := x.macro(refNode{name: name, src: &m.cond}, 0)
		if own, bad := parse(&m.cond); wrong == nil && bad == nil {
			// What it contains of others is looked at where it stands.
			own, wrong = (&expansion{r: r, alone: true}).expand(own, 0)
			for v := processView; wrong == nil && v <= otherView; v++ {
				_, wrong = (&compiler{view: v, src: sources[0], classes: sources[0].classes}).expr(own)
			}
		}
		if wrong == nil || wrong.src == nil {
			continue
		}
		p := r.problem(wrong, "")
		if !slices.ContainsFunc(r.problems, func(other policy.Problem) bool {
			return other.File == p.File && other.Line == p.Line && other.Column == p.Column && other.Message == p.Message
		}) {
			r.problems = append(r.problems, p)
		}
	}
}

func sortedNames(macros map[string]*macro) []string {
	names := make([]string, 0, len(macros))
	for name := range macros {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// compile makes a rule of ours, or notes why not.
func (r *reader) compile(u *rule, id string) *policy.Rule {
	fail := func(m *mistake) *policy.Rule {
		if m.src != nil {
			p := r.problem(m, id)
			p.Note = u.lenient && strings.HasPrefix(m.message, "unknown field")
			r.problems = append(r.problems, p)
		}
		return nil
	}
	if r.nodes > maxAllNodes {
		return nil // it is said where it began
	}
	at := slices.IndexFunc(sources, func(s source) bool { return s.name == u.source })
	if at < 0 {
		names := make([]string, len(sources))
		for i, s := range sources {
			names[i] = s.name
		}
		p := u.sourceAt
		p.Rule, p.Message, p.Hint = id, fmt.Sprintf("unknown source %q", policy.Printable(u.source, 60)), oneOf(u.source, names)
		r.problems = append(r.problems, p)
		return nil
	}
	src := sources[at]
	n, m := parse(&u.cond)
	if m != nil {
		return fail(m)
	}
	excepted, m, p := r.except(u.exceptions)
	if p != nil {
		p.Rule = id
		r.problems = append(r.problems, *p)
		return nil
	}
	if m != nil {
		return fail(m)
	}
	if len(excepted) > 0 {
		n = append(andNode{n}, excepted...)
	}
	x := &expansion{r: r}
	n, m = x.expand(n, 0)
	if m != nil {
		return fail(m)
	}
	if x.nodes > maxNodes || x.deepest > maxDepth {
		return fail(&mistake{&u.cond, 0, "the condition is too large or too deep", "split the rule"})
	}
	if r.nodes += x.nodes; r.nodes > maxAllNodes {
		return fail(&mistake{&u.cond, 0, "the conditions of all rules are too large with all macros and lists put in", "load fewer files"})
	}
	cond, classes, m := condition(n, src)
	if m != nil {
		return fail(m)
	}
	out, m := parseOutput(&u.output, src)
	if m != nil {
		return fail(m)
	}
	severity, _ := severityOf(u.priority)
	when := strings.Join(strings.Fields(u.cond.value), " ")
	if x.used || len(excepted) > 0 {
		// The text alone does not say what the rule decides: what macros, lists and exceptions put into it does too.
		when += "  # with macros, lists and exceptions: " + fingerprint(n)
	}
	return &policy.Rule{
		ID: id, Name: u.name, Title: oneLine(u.name, 200), Severity: severity, On: classes, When: when, Then: signal.Alert,
		Why: strings.TrimSpace(u.output.value), Tags: tagsOf(u.tags), Disabled: u.disabled, Dialect: "falco",
		File: u.file, Line: u.line, Column: u.col, Condition: cond, Sentence: out.render,
		Uses: uses(n, src),
	}
}

// condition compiles a condition with everything put in.
func condition(n node, src source) (match.Expr, []signal.Class, *mistake) {
	if src.name != "syscall" {
		k := &compiler{view: processView, src: src}
		x, m := k.expr(n)
		return match.Simplify(match.And{src.guard(), x}), src.classes, m
	}
	may, _ := calls(n)
	var classes []signal.Class
	var byView [2][]signal.Class
	for i, c := range table().calls {
		v := otherView
		if c.process {
			v = processView
		}
		if may[i] && !slices.Contains(byView[v], c.class) {
			byView[v] = append(byView[v], c.class)
		}
		if may[i] && !slices.Contains(classes, c.class) {
			classes = append(classes, c.class)
		}
	}
	slices.Sort(classes)
	var views match.Or
	for _, v := range []view{processView, otherView} {
		// Compiled even where it cannot hold: what is wrong in it is said.
		x, m := (&compiler{view: v, src: src, classes: byView[v]}).expr(n)
		if m != nil {
			return nil, nil, m
		}
		if len(byView[v]) > 0 {
			views = append(views, match.And{viewGuard(v, byView[v], classes), x})
		}
	}
	return match.Simplify(match.And{src.guard(), views}), classes, nil
}

// viewGuard is the condition that an event of one of the classes is seen as the view has it, which has these classes.
func viewGuard(v view, in, classes []signal.Class) match.Expr {
	switch {
	case v == processView:
		return isProcess(len(classes) > 1)
	case slices.Contains(in, signal.ClassProcessActivity):
		return match.Not{Part: isProcess(true)}
	case len(in) == len(classes):
		return match.Const(true)
	}
	ids := make([]match.IntRange, len(in))
	for i, c := range in {
		ids[i] = match.IntIs(int64(c))
	}
	return match.Int(field(signal.FieldClassUID), ids...)
}

// fingerprint names a condition by all that is in it.
func fingerprint(n node) string {
	var b strings.Builder
	write(&b, n)
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:6])
}

func write(b *strings.Builder, n node) {
	group := func(name string, parts []node) {
		b.WriteString("(" + name)
		for _, part := range parts {
			b.WriteByte(' ')
			write(b, part)
		}
		b.WriteByte(')')
	}
	switch n := n.(type) {
	case andNode:
		group("and", n)
	case orNode:
		group("or", n)
	case notNode:
		group("not", []node{n.part})
	case *checkNode:
		fmt.Fprintf(b, "(%s %q", n.op, n.left.String())
		for _, v := range n.values {
			fmt.Fprintf(b, " %q", v.text)
		}
		for _, p := range n.left.parts {
			fmt.Fprintf(b, " [%q]", p.text)
			if p.field != nil {
				b.WriteString(p.field.String())
			}
		}
		if n.other != nil {
			fmt.Fprintf(b, " field %q", n.other.String())
		}
		b.WriteByte(')')
	}
}

// oneOf helps with a value that is none of names.
func oneOf(got string, names []string) string {
	if near := spell.Nearest(got, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "one of " + strings.Join(names, ", ")
}
