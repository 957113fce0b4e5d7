package falco

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

func existsAttr(name string) match.Expr {
	return &match.Atom{On: match.Operand{Attr: name}, Op: match.OpExists}
}

func field(f signal.Field) match.Operand { return match.Operand{Field: f} }

func is(f signal.Field, n int64) match.Expr { return match.Int(field(f), match.IntIs(n)) }

// special compiles comparisons over fields that no value of an event holds as such: what they are follows from others.
func (k *compiler) special(c *checkNode, f *Field) (match.Expr, *mistake) {
	if c.other != nil || len(c.left.steps) > 0 {
		return nil, fault(c, "compare it with a constant", "%s takes neither transformers nor a field on the right side", f.Name)
	}
	switch f.Name {
	case "evt.num":
		return k.eventNumber(c)
	case "evt.type", "syscall.type": // exists, or a comparison with no names
		return match.Const(c.op == "exists"), nil
	case "evt.dir":
		return k.enum(c, map[string]match.Expr{"<": match.Const(true)}, "")
	case "evt.source":
		return k.enum(c, map[string]match.Expr{k.src.name: match.Const(true)}, "")
	case "evt.failed":
		return k.truth(c, is(signal.FieldStatusID, 2))
	case "evt.is_open_read":
		return k.truth(c, k.opened("O_RDONLY", "O_RDWR"))
	case "evt.is_open_write":
		return k.truth(c, k.opened("O_WRONLY", "O_RDWR"))
	case "fd.is_server":
		return k.truth(c, inbound())
	case "fd.sockfamily":
		return k.enum(c, map[string]match.Expr{"ip": hasAddress("0.0.0.0/0", "::/0")}, f.Name)
	case "fd.type":
		return k.enum(c, map[string]match.Expr{"file": k.isFile(), "directory": k.isFolder(), "ipv4": hasAddress("0.0.0.0/0"), "ipv6": hasAddress("::/0")}, f.Name)
	case "fd.typechar":
		return k.enum(c, map[string]match.Expr{"f": k.isFile(), "d": k.isFolder(), "4": hasAddress("0.0.0.0/0"), "6": hasAddress("::/0")}, f.Name)
	case "proc.tty":
		return k.terminal(c)
	case "proc.duration":
		return k.duration(c)
	}
	if f.Kind == "never" {
		return match.Const(false), nil
	}
	return nil, fault(c, "use it in output", "%s is no part of conditions", f.Name)
}

// eventNumber compiles what rules ask of evt.num: whether it is at all. Numbers are given when an event is judged, from 1.
func (k *compiler) eventNumber(c *checkNode) (match.Expr, *mistake) {
	if c.op == "exists" {
		return match.Const(true), nil
	}
	ints, floats, m := numberRanges(c)
	if m != nil {
		return nil, m
	}
	holds := func(n int64) bool {
		return slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Min <= n && n <= r.Max })
	}
	const most = 1 << 62
	none := !slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Max >= 1 })
	switch {
	case len(floats) > 0:
	case none:
		return match.Const(false), nil
	case holds(1) && holds(most) && len(ints) == 1:
		return match.Const(true), nil
	}
	return nil, fault(c, "write evt.num >= 0 for always and evt.num = 0 for never", "events have no number before they are judged")
}

// enum compiles a comparison over a field with known values, each of which is a condition of its own. Any other value is an
// attribute of that name, where one is given.
func (k *compiler) enum(c *checkNode, known map[string]match.Expr, attr string) (match.Expr, *mistake) {
	var any match.Or
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	if c.op == "exists" {
		for _, name := range names {
			any = append(any, known[name])
		}
		if attr != "" {
			any = append(any, existsAttr(attr))
		}
		return any, nil
	}
	positive := *c
	if c.op == "!=" {
		positive.op = "="
	}
	test, m := positive.textTest(false)
	if m != nil {
		return nil, m
	}
	for _, name := range names {
		if test(name) {
			any = append(any, known[name])
		}
	}
	if attr != "" && !(positive.op == "=" && len(any) > 0) {
		rest := positive
		if positive.op == "in" || positive.op == "intersects" {
			rest.values = slices.DeleteFunc(slices.Clone(c.values), func(v value) bool { return known[v.text] != nil })
		}
		x, m := textExpr(&rest, []match.Operand{{Attr: attr}}, false)
		if m != nil {
			return nil, m
		}
		any = append(any, x)
	}
	if c.op == "!=" {
		exists := *c
		exists.op = "exists"
		here, m := k.enum(&exists, known, attr)
		return match.And{here, match.Not{Part: any}}, m
	}
	return any, nil
}

// truth compiles a comparison with true or false.
func (k *compiler) truth(c *checkNode, x match.Expr) (match.Expr, *mistake) {
	if c.op == "exists" {
		return match.Const(true), nil
	}
	if len(c.values) != 1 || c.op != "=" && c.op != "!=" {
		return nil, fault(c, "write "+c.left.String()+"=true", "%s is compared with true or false", c.left.String())
	}
	want := c.op == "="
	switch v := c.values[0]; strings.ToLower(v.text) {
	case "true", "1":
	case "false", "0":
		want = !want
	default:
		return nil, &mistake{v.src, v.offset, fmt.Sprintf("%q is neither true nor false", policy.Printable(v.text, 60)), ""}
	}
	if want {
		return x, nil
	}
	return match.Not{Part: x}, nil
}

func (k *compiler) opened(flags ...string) match.Expr {
	if k.view == processView {
		return match.Const(false)
	}
	return match.Text(field(signal.FieldOpenFlags), match.OpEqual, false, flags...)
}

func (k *compiler) isFile() match.Expr {
	return match.And{k.isClass(signal.ClassFileActivity), match.Not{Part: is(signal.FieldFileTypeID, 2)}}
}

func (k *compiler) isFolder() match.Expr {
	return match.And{k.isClass(signal.ClassFileActivity), is(signal.FieldFileTypeID, 2)}
}

// hasAddress is the condition that the event speaks of a connection between addresses of these families.
func hasAddress(families ...string) match.Expr {
	var any match.Or
	for _, f := range []signal.Field{signal.FieldDstEndpointIP, signal.FieldSrcEndpointIP} {
		a := &match.Atom{On: field(f), Op: match.OpCIDR}
		for _, family := range families {
			p, _ := prefixOf(family)
			a.Prefixes = append(a.Prefixes, p)
		}
		any = append(any, a)
	}
	return any
}

// name compiles a comparison over fd.name: the path of a file, or client and server of a connection.
func (k *compiler) name(c *checkNode) (match.Expr, *mistake) {
	path, m := k.compare(c, "text", []match.Operand{field(signal.FieldFilePath)})
	if m != nil || k.view == processView || !slices.Contains(k.classes, signal.ClassNetworkActivity) {
		return path, m
	}
	tuple, m := k.texts(c, "", []signal.Field{signal.FieldSrcEndpointIP, signal.FieldSrcEndpointPort, signal.FieldDstEndpointIP, signal.FieldDstEndpointPort}, tuple)
	if m != nil {
		return nil, m
	}
	return match.Or{path, match.And{k.isClass(signal.ClassNetworkActivity), tuple}}, nil
}

// tuple yields a connection as Falco writes it: 10.0.0.1:40000->10.0.0.2:443.
func tuple(e *signal.Event, yield func(string) bool) {
	if !e.Has(signal.FieldDstEndpointIP) {
		return
	}
	end := func(ip, port signal.Field) string {
		return e.IP(ip).String() + ":" + strconv.FormatInt(e.Int(port), 10)
	}
	yield(end(signal.FieldSrcEndpointIP, signal.FieldSrcEndpointPort) + "->" + end(signal.FieldDstEndpointIP, signal.FieldDstEndpointPort))
}

// texts compiles a comparison over texts that are made from an event: it holds where it holds for one of them.
func (k *compiler) texts(c *checkNode, attr string, reads []signal.Field, values func(*signal.Event, func(string) bool)) (match.Expr, *mistake) {
	test := func(string) bool { return true }
	if c.op != "exists" {
		var m *mistake
		if test, m = c.textTest(false); m != nil {
			return nil, m
		}
	}
	every := c.op == "!="
	return &match.Func{
		Text: c.String(), Fields: reads, Attrs: attr != "", Cost: 300,
		Call: func(e *signal.Event) match.Answer {
			some, all := false, true
			values(e, func(v string) bool {
				held := test(v)
				some, all = some || held, all && held
				return every == held
			})
			return match.Of(some && (all || !every))
		},
	}, nil
}

// String returns the comparison as rules write it, its constants cut short.
func (c *checkNode) String() string {
	s := c.left.String() + " " + c.op
	for i, v := range c.values {
		if i == 8 {
			s += fmt.Sprintf(" and %d more", len(c.values)-i)
			break
		}
		s += []string{" ", ", "}[min(i, 1)] + "'" + policy.Printable(v.text, 60) + "'"
	}
	if c.other != nil {
		s += " " + c.other.String()
	}
	return s
}

// terminal compiles a comparison over proc.tty: a number, 0 where the process has no terminal.
func (k *compiler) terminal(c *checkNode) (match.Expr, *mistake) {
	if c.op == "exists" {
		return match.Const(true), nil
	}
	ints, floats, m := numberRanges(c)
	if m != nil || len(floats) > 0 {
		return nil, fault(c, "write proc.tty != 0 for a process with a terminal", "proc.tty is compared with whole numbers")
	}
	holds := func(n int64) bool {
		return slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Min <= n && n <= r.Max })
	}
	on := table().byName["proc.tty"].targets(k.view, "", k.src)[0]
	has := match.And{
		&match.Atom{On: on, Op: match.OpExists},
		match.Not{Part: match.Text(on, match.OpEqual, false, "", "0", "(none)", "?")},
	}
	// What a terminal's number is differs between kernels and logs: rules ask whether there is one.
	var number match.Expr = match.Int(on, ints...)
	if holds(1) && holds(1<<30) {
		number = match.Const(true)
	}
	return match.Or{match.And{match.Not{Part: has}, match.Const(holds(0))}, match.And{has, number}}, nil
}

// duration compiles a comparison over the age of the process, in nanoseconds.
func (k *compiler) duration(c *checkNode) (match.Expr, *mistake) {
	on := []match.Operand{{Attr: "proc.duration"}}
	x, m := k.compare(c, "number", on)
	if m != nil || k.view != processView {
		return x, m
	}
	ints, _, m := numberRanges(c)
	if c.op != "exists" && m != nil {
		return nil, m
	}
	return match.Or{x, &match.Func{
		Text: c.String(), Fields: []signal.Field{signal.FieldTime, signal.FieldProcessCreatedTime}, Cost: 20,
		Call: func(e *signal.Event) match.Answer {
			if !e.Has(signal.FieldProcessCreatedTime) {
				return match.No
			}
			age := e.Time - e.Int(signal.FieldProcessCreatedTime)
			return match.Of(c.op == "exists" || slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Min <= age && age <= r.Max }))
		},
	}}, nil
}

// result compiles a comparison over what a call returned, or over the descriptor that it opened. Where the event does not carry the
// number, it is -1 for a call that failed and any number from 0 for one that did not: what holds for all of these holds.
func (k *compiler) result(c *checkNode, f *Field) (match.Expr, *mistake) {
	if c.other != nil || len(c.left.steps) > 0 || c.op == "exists" {
		return k.compare(c, "number", []match.Operand{{Attr: f.Name}})
	}
	ints, floats, m := numberRanges(c)
	if m != nil {
		return nil, m
	}
	x, m := k.compare(c, "number", []match.Operand{{Attr: f.Name}})
	if m != nil || len(floats) > 0 {
		return x, m
	}
	var guess match.Or
	failed := is(signal.FieldStatusID, 2)
	if slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Min <= -1 && -1 <= r.Max }) {
		guess = append(guess, failed)
	}
	if slices.ContainsFunc(ints, func(r match.IntRange) bool { return r.Min <= 0 && r.Max == int64(^uint64(0)>>1) }) {
		guess = append(guess, match.Not{Part: failed})
	}
	if len(guess) == 0 {
		return x, nil
	}
	return match.Or{x, match.And{match.Not{Part: existsAttr(f.Name)}, guess}}, nil
}

// withDefault compiles a comparison over a field that has a value even where the event does not carry it.
func (k *compiler) withDefault(c *checkNode, kind string, on []match.Operand, missing string) (match.Expr, *mistake) {
	if c.op == "exists" {
		return match.Const(true), nil
	}
	x, m := k.compare(c, kind, on)
	if m != nil || c.other != nil {
		return x, m
	}
	if kind == "text" {
		kind = ""
	}
	test, m := c.textTest(false)
	if m != nil {
		return nil, m
	}
	v := missing
	for _, step := range c.left.steps {
		switch step {
		case "tolower":
			v = strings.ToLower(v)
		case "toupper":
			v = strings.ToUpper(v)
		}
	}
	if test(v) {
		x = match.Or{x, match.Not{Part: each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpExists} })}}
	}
	return x, nil
}

// container compiles a comparison over container.id: the first 12 characters of the id, and host outside of a container.
func (k *compiler) container(c *checkNode, on []match.Operand) (match.Expr, *mistake) {
	if c.op != "=" && c.op != "!=" && c.op != "in" && c.op != "intersects" {
		return k.withDefault(c, "text", on, "host")
	}
	var short, whole []string
	host := false
	for _, v := range c.values {
		switch {
		case v.text == "host":
			host = true
		case len(v.text) == 12:
			short = append(short, v.text)
		default:
			whole = append(whole, v.text)
		}
	}
	exists := each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpExists} })
	var any match.Or
	if host {
		any = append(any, match.Not{Part: exists})
	}
	if c.other != nil || len(c.left.steps) > 0 {
		return k.withDefault(c, "text", on, "host")
	}
	if len(short) > 0 {
		any = append(any, each(on, func(o match.Operand) match.Expr { return match.Text(o, match.OpPrefix, false, short...) }))
	}
	if len(whole) > 0 {
		any = append(any, each(on, func(o match.Operand) match.Expr { return match.Text(o, match.OpEqual, false, whole...) }))
	}
	if c.op == "!=" {
		return match.Not{Part: any}, nil
	}
	return any, nil
}
