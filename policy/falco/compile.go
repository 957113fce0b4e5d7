package falco

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// compiler turns the condition of one rule, its macros and lists put in, into the form of package match.
type compiler struct {
	view    view
	src     source
	classes []signal.Class // that events of the view may have, by what the whole condition says of evt.type
}

// fault says that a condition cannot be compiled.
func fault(c *checkNode, hint, format string, args ...any) *mistake {
	return &mistake{c.left.src, c.left.offset, fmt.Sprintf(format, args...), hint}
}

func (k *compiler) expr(n node) (match.Expr, *mistake) {
	group := func(parts []node) ([]match.Expr, *mistake) {
		all := make([]match.Expr, 0, len(parts))
		for _, part := range parts {
			x, m := k.expr(part)
			if m != nil {
				return nil, m
			}
			all = append(all, x)
		}
		return all, nil
	}
	switch n := n.(type) {
	case andNode:
		parts, m := group(n)
		return match.And(parts), m
	case orNode:
		parts, m := group(n)
		return match.Or(parts), m
	case notNode:
		part, m := k.expr(n.part)
		return match.Not{Part: part}, m
	case *checkNode:
		return k.check(n)
	case refNode: // of a macro that is looked at by itself
		return match.Const(true), nil
	}
	panic(fmt.Sprintf("falco: a %T is left in a condition", n))
}

// check compiles a comparison. Whatever the field, one that has no value compares false, with != too; only
// exists and the operators over what has a default say anything of it.
func (k *compiler) check(c *checkNode) (match.Expr, *mistake) {
	if test := c.callTest(); test != nil {
		set := newCallSet(false)
		known := table()
		for i := range known.calls {
			set[i] = test(known.calls[i].name)
		}
		if c.op == "=" || c.op == "!=" || c.op == "in" || c.op == "intersects" {
			for _, v := range c.values {
				if _, ok := known.byCall[v.text]; !ok {
					return nil, unknownCall(v)
				}
			}
		}
		return k.callExpr(set), nil
	}
	if c.left.join != "" {
		return k.joined(c)
	}
	f, arg, m := find(&c.left)
	if m != nil {
		return nil, m
	}
	kind, mode, _ := strings.Cut(f.Kind, ":")
	switch mode {
	case "local", "remote":
		return k.side(c, f, kind, mode)
	}
	switch kind {
	case "special", "never":
		return k.special(c, f)
	case "name":
		if len(c.left.steps) == 0 && c.other == nil {
			return k.name(c)
		}
		kind = "text"
	case "result":
		return k.result(c, f)
	case "ancestor":
		return k.ancestor(c, f, arg)
	case "mount":
		return k.mount(c, f, arg)
	case "under", "param", "repository", "hostpath":
		return k.computed(c, f, arg)
	case "anytrue":
		return k.anyTrue(c, f)
	case "pointer":
		kind = "dynamic"
	}
	on := f.targets(k.view, arg, k.src)
	if kind == "list" && arg != "" {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return nil, fault(c, "", "%s takes a number from 0, or none", f.Name)
		}
		for i := range on {
			if on[i].Attr != "" {
				return k.indexed(c, f, on[i].Attr, n)
			}
			on[i].At = n + 1
		}
		kind = "text"
	}
	if mode != "" {
		return k.withDefault(c, kind, on, mode)
	}
	if kind == "container" {
		return k.container(c, on)
	}
	return k.compare(c, kind, on)
}

// pointer turns a JSON pointer (RFC 6901) into the name of the attribute that a log's record has there; indexes are left
// out, as they are wherever attributes are looked up.
func pointer(p string) string {
	var parts []string
	for part := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if _, err := strconv.Atoi(part); err == nil {
			continue
		}
		parts = append(parts, strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~"))
	}
	return strings.Join(parts, ".")
}

func unknownCall(v value) *mistake {
	names := make([]string, 0, len(table().calls))
	for _, c := range table().calls {
		names = append(names, c.name)
	}
	hint := "name a system call as in execve, openat or connect"
	if near := spell.Nearest(v.text, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return &mistake{v.src, v.offset, fmt.Sprintf("unknown event type %q", policy.Printable(v.text, 60)), hint}
}

// transform adds a comparison's transformers to the operands.
func transform(c *checkNode, kind string, on []match.Operand) (string, []match.Operand, *mistake) {
	for _, step := range c.left.steps {
		switch step {
		case "tolower":
			on = withStep(on, match.StepLower)
		case "toupper":
			on = withStep(on, match.StepUpper)
		case "b64":
			on = withStep(on, match.StepBase64)
		case "basename":
			on = withStep(on, match.StepBasename)
		case "len":
			measure := match.MeasureBytes
			if kind == "list" {
				measure = match.MeasureCount
			}
			on = slices.Clone(on)
			for i := range on {
				on[i].Measure = measure
			}
			kind = "number"
			continue
		}
		if kind == "number" || kind == "ip" || kind == "net" || kind == "bool" {
			return "", nil, fault(c, "", "%s() takes text, and %s is a %s", step, c.left.name, kind)
		}
		if kind == "comm" {
			kind = "text"
		}
	}
	return kind, on, nil
}

func withStep(on []match.Operand, step match.Step) []match.Operand {
	out := slices.Clone(on)
	for i := range out {
		out[i].Steps = append(slices.Clone(out[i].Steps), step)
	}
	return out
}

// compare compiles a comparison over plain operands, which together hold the field's values.
func (k *compiler) compare(c *checkNode, kind string, on []match.Operand) (match.Expr, *mistake) {
	kind, on, m := transform(c, kind, on)
	if m != nil {
		return nil, m
	}
	if c.other != nil {
		return k.fields(c, kind, on)
	}
	positive := *c
	if c.op == "!=" {
		positive.op = "="
	}
	exists := func() match.Expr {
		return each(on, func(o match.Operand) match.Expr {
			o.Measure = match.MeasureNone
			return &match.Atom{On: o, Op: match.OpExists}
		})
	}
	if c.op == "exists" {
		return exists(), nil
	}
	var x match.Expr
	switch kind {
	case "number", "id":
		x, m = numberExpr(&positive, on, kind == "id")
		// A count has a value even where the list is missing.
		if m == nil && slices.Contains(c.left.steps, "len") {
			x = match.And{exists(), x}
		}
	case "dynamic":
		if slices.Contains([]string{"<", "<=", ">", ">="}, c.op) {
			x, m = numberExpr(&positive, on, false)
			break
		}
		x, m = textExpr(&positive, on, false)
	case "bool":
		x, m = boolExpr(&positive, on)
	case "ip", "net":
		x, m = addressExpr(&positive, on)
	case "list":
		if c.op != "in" {
			x, m = textExpr(&positive, on, false)
			break
		}
		// Every value must be among the constants.
		all := match.And{exists()}
		for _, o := range on {
			body, wrong := textExpr(&positive, []match.Operand{{Elem: true}}, false)
			if wrong != nil {
				return nil, wrong
			}
			all = append(all, &match.Loop{List: o, Every: true, Body: body})
		}
		x = all
	default:
		x, m = textExpr(&positive, on, kind == "comm")
	}
	if m != nil {
		return nil, m
	}
	if c.op == "!=" {
		return match.And{exists(), match.Not{Part: x}}, nil
	}
	return x, nil
}

func each(on []match.Operand, of func(match.Operand) match.Expr) match.Expr {
	any := make(match.Or, len(on))
	for i, o := range on {
		any[i] = of(o)
	}
	return match.Simplify(any)
}

// numberRanges returns the numbers that a comparison holds for.
func numberRanges(c *checkNode) (ints []match.IntRange, floats []match.NumberRange, m *mistake) {
	order, ok := map[string]match.Order{"=": match.Equal, "!=": match.Unequal, "<": match.Less, "<=": match.LessEqual,
		">": match.Greater, ">=": match.GreaterEqual, "in": match.Equal, "intersects": match.Equal}[c.op]
	if !ok {
		return nil, nil, fault(c, "use =, !=, <, <=, >, >= or in", "%s is a number, which %s is not for", c.left.String(), c.op)
	}
	for _, v := range c.values {
		n, err := strconv.ParseInt(strings.TrimPrefix(v.text, "+"), 0, 64)
		if err == nil && !strings.Contains(v.text, "_") {
			ints = append(ints, match.IntOrder(order, n)...)
			continue
		}
		f, err := strconv.ParseFloat(v.text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.Contains(v.text, "_") {
			return nil, nil, &mistake{v.src, v.offset, fmt.Sprintf("%q is no number", policy.Printable(v.text, 60)), c.left.String() + " is compared with numbers"}
		}
		floats = append(floats, match.NumberOrder(order, f)...)
	}
	return ints, floats, nil
}

// unset is the user id of nobody: rules write -1, the kernel 4294967295.
const unset = math.MaxUint32

func numberExpr(c *checkNode, on []match.Operand, id bool) (match.Expr, *mistake) {
	ints, floats, m := numberRanges(c)
	if m != nil {
		return nil, m
	}
	if id {
		ints = withoutUnset(c, ints)
	}
	return each(on, func(o match.Operand) match.Expr {
		var any match.Or
		if len(ints) > 0 {
			any = append(any, match.Int(o, ints...))
		}
		if len(floats) > 0 {
			any = append(any, &match.Atom{On: o, Op: match.OpNumber, Numbers: floats})
		}
		return match.Simplify(any)
	}), nil
}

// withoutUnset fits the ranges of a user or group id to how the kernel writes that there is none: as -1, it is below every
// other one. Who names the kernel's own number means it.
func withoutUnset(c *checkNode, ints []match.IntRange) []match.IntRange {
	if slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Min <= -1 && r.Max >= -1 }) {
		return append(ints, match.IntIs(unset))
	}
	if c.left.name != "user.loginuid" {
		return ints // as Falco has it, other ids are without a sign
	}
	var out []match.IntRange
	for _, r := range ints {
		if r.Min > unset || r.Max < unset || r.Min == r.Max {
			out = append(out, r)
			continue
		}
		if r.Min < unset {
			out = append(out, match.IntRange{Min: r.Min, Max: unset - 1})
		}
		if r.Max > unset {
			out = append(out, match.IntRange{Min: unset + 1, Max: r.Max})
		}
	}
	return out
}

func boolExpr(c *checkNode, on []match.Operand) (match.Expr, *mistake) {
	var texts []string
	for _, v := range c.values {
		switch strings.ToLower(v.text) {
		case "true", "1":
			texts = append(texts, "true", "1")
		case "false", "0":
			texts = append(texts, "false", "0")
		default:
			return nil, &mistake{v.src, v.offset, fmt.Sprintf("%q is neither true nor false", policy.Printable(v.text, 60)), ""}
		}
	}
	if c.op != "=" && c.op != "in" && c.op != "intersects" {
		return nil, fault(c, "use = or !=", "%s is true or false, which %s is not for", c.left.String(), c.op)
	}
	return each(on, func(o match.Operand) match.Expr { return match.Text(o, match.OpEqual, true, texts...) }), nil
}

func addressExpr(c *checkNode, on []match.Operand) (match.Expr, *mistake) {
	if c.op != "=" && c.op != "in" && c.op != "intersects" {
		return nil, fault(c, "use =, != or in", "%s is an address, which %s is not for", c.left.String(), c.op)
	}
	var prefixes []netip.Prefix
	for _, v := range c.values {
		p, ok := prefixOf(v.text)
		if !ok {
			return nil, &mistake{v.src, v.offset, fmt.Sprintf("%q is no address", policy.Printable(v.text, 60)), `write one as in "10.0.0.1", or a network as in "10.0.0.0/8"`}
		}
		prefixes = append(prefixes, p)
	}
	if len(prefixes) == 0 {
		return match.Const(false), nil
	}
	return each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpCIDR, Prefixes: prefixes} }), nil
}

func prefixOf(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() {
			return netip.Prefix{}, false
		}
		return p.Masked(), true
	}
	a, ok := match.ParseAddr(text)
	if !ok {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// fields compiles a comparison of a field with another.
func (k *compiler) fields(c *checkNode, kind string, on []match.Operand) (match.Expr, *mistake) {
	f, arg, m := find(c.other)
	if m != nil {
		return nil, m
	}
	otherKind, mode, _ := strings.Cut(f.Kind, ":")
	if otherKind == "name" {
		otherKind = "text"
	}
	right := checkNode{left: *c.other, op: c.op, src: c.src, offset: c.offset}
	unable := &mistake{c.other.src, c.other.offset, fmt.Sprintf("%s cannot be compared with %s", c.other, c.left.String()), "both must be plain texts or plain numbers"}
	if mode != "" || !slices.Contains([]string{"text", "comm", "number", "id", "dynamic", "list", "bool"}, otherKind) ||
		!slices.Contains([]string{"text", "comm", "number", "id", "dynamic", "list", "bool"}, kind) {
		return nil, unable
	}
	otherKind, others, m := transform(&right, otherKind, f.targets(k.view, arg, k.src))
	if m != nil {
		return nil, m
	}
	atom := match.Atom{}
	number := (kind == "number" || kind == "id") && (otherKind == "number" || otherKind == "id")
	order, isOrder := map[string]match.Order{"=": match.Equal, "!=": match.Equal, "<": match.Less, "<=": match.LessEqual,
		">": match.Greater, ">=": match.GreaterEqual, "in": match.Equal, "intersects": match.Equal}[c.op]
	switch {
	case number && isOrder:
		atom.Op, atom.Order = match.OpCompare, order
	case c.op == "=" || c.op == "!=" || c.op == "in" || c.op == "intersects":
		atom.Op = match.OpEqual
	case c.op == "startswith":
		atom.Op = match.OpPrefix
	case c.op == "endswith":
		atom.Op = match.OpSuffix
	case c.op == "contains" || c.op == "icontains":
		atom.Op, atom.Fold = match.OpContains, c.op == "icontains"
	default:
		return nil, fault(c, "use =, !=, <, >, contains, startswith or endswith", "%s takes no field on its right side", c.op)
	}
	var any, here match.Or
	for _, left := range on {
		for _, right := range others {
			a := atom
			a.On, a.Other = left, &right
			any = append(any, &a)
			here = append(here, match.And{&match.Atom{On: plainly(left), Op: match.OpExists}, &match.Atom{On: plainly(right), Op: match.OpExists}})
		}
	}
	if c.op == "!=" {
		return match.And{here, match.Not{Part: any}}, nil
	}
	return any, nil
}

func plainly(o match.Operand) match.Operand {
	o.Measure = match.MeasureNone
	return o
}

// ancestor compiles a comparison over ancestors: one by its number, or any.
func (k *compiler) ancestor(c *checkNode, f *Field, arg string) (match.Expr, *mistake) {
	kind := "text"
	switch f.Name {
	case "proc.apid":
		kind = "number"
	case "proc.aname":
		kind = "comm"
	}
	if arg == "0" {
		own := *c
		own.left.name, own.left.arg, own.left.hasArg = "proc."+strings.TrimPrefix(f.Name, "proc.a"), "", false
		return k.check(&own)
	}
	level, _ := strconv.Atoi(arg)
	var on []match.Operand
	for _, o := range f.targets(k.view, arg, k.src) {
		if o.Field != 0 {
			o.At = level
			on = append(on, o)
			continue
		}
		if arg != "" {
			on = append(on, o)
			continue
		}
		for n := 1; n <= maxNamed; n++ {
			on = append(on, match.Operand{Attr: fmt.Sprintf("%s.%d", f.Name, n)})
		}
	}
	return k.compare(c, kind, on)
}

// maxNamed is how many ancestors the kernel plane names where there is no field for what is asked of them.
const maxNamed = 8

// side compiles a comparison over the local or the remote end of a connection: the server's where it came from
// outside, the client's where it goes there, and the other way round.
func (k *compiler) side(c *checkNode, f *Field, kind, mode string) (match.Expr, *mistake) {
	client, m := k.compare(c, kind, f.targets(k.view, "", k.src))
	if m != nil {
		return nil, m
	}
	server := *f
	server.Process = strings.ReplaceAll(f.Process, "src_endpoint", "dst_endpoint")
	server.Other = strings.ReplaceAll(f.Other, "src_endpoint", "dst_endpoint")
	other, m := k.compare(c, kind, server.targets(k.view, "", k.src))
	if m != nil {
		return nil, m
	}
	if mode == "remote" {
		client, other = other, client
	}
	return match.Or{match.And{match.Not{Part: inbound()}, client}, match.And{inbound(), other}}, nil
}

func inbound() match.Expr {
	return match.Int(match.Operand{Field: signal.FieldConnectionInfoDirectionID}, match.IntIs(1))
}
