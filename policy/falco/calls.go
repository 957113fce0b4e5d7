package falco

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

//go:embed calls.tsv
var callsTSV string

// call is a value of evt.type.
type call struct {
	name       string
	class      signal.Class
	activities []match.IntRange // by which an event without the attribute evt.type is one; none where it cannot be known
	direction  int64            // of the connection, 0 for either
	process    bool             // a process starts or ends by it
}

func newCall(cells []string) call {
	c := call{name: cells[0]}
	var err error
	if c.class, err = signal.ParseClass(cells[1]); err != nil {
		panic("falco: calls.tsv: " + err.Error())
	}
	if cells[2] != "-" {
		for id := range strings.SplitSeq(cells[2], ",") {
			n, _ := strconv.Atoi(id)
			c.activities = append(c.activities, match.IntIs(int64(n)))
			c.process = c.process || c.class == signal.ClassProcessActivity && n <= int(signal.ActivityProcessTerminate)
		}
	}
	c.process = c.process || slices.Contains([]string{"clone", "clone3", "fork", "vfork"}, c.name)
	c.direction = map[string]int64{"inbound": 1, "outbound": 2}[cells[3]]
	return c
}

// in reports whether an event of the call is seen as the view has it.
func (c *call) in(v view) bool { return c.process == (v == processView) }

// callSet is a set of calls, by their numbers in the table.
type callSet []bool

func newCallSet(all bool) callSet {
	s := make(callSet, len(table().calls))
	for i := range s {
		s[i] = all
	}
	return s
}

func (s callSet) combine(other callSet, op func(a, b bool) bool) callSet {
	out := make(callSet, len(s))
	for i := range s {
		out[i] = op(s[i], other[i])
	}
	return out
}

func and(a, b bool) bool { return a && b }
func or(a, b bool) bool  { return a || b }

// calls returns the calls that a condition may hold for, and those that it may not hold for: what it says of evt.type
// decides, and of whatever else it asks both answers are possible.
func calls(n node) (yes, no callSet) {
	switch n := n.(type) {
	case andNode:
		yes, no = newCallSet(true), newCallSet(false)
		for _, part := range n {
			y, n := calls(part)
			yes, no = yes.combine(y, and), no.combine(n, or)
		}
		return yes, no
	case orNode:
		yes, no = newCallSet(false), newCallSet(true)
		for _, part := range n {
			y, n := calls(part)
			yes, no = yes.combine(y, or), no.combine(n, and)
		}
		return yes, no
	case notNode:
		yes, no = calls(n.part)
		return no, yes
	case *checkNode:
		if test := n.callTest(); test != nil {
			yes, no = newCallSet(false), newCallSet(false)
			for i := range table().calls {
				held := test(table().calls[i].name)
				yes[i], no[i] = held, !held
			}
			return yes, no
		}
	}
	return newCallSet(true), newCallSet(true)
}

// callTest returns what a comparison asks of the name of a call, nil where it asks about something else.
func (c *checkNode) callTest() func(name string) bool {
	if c.left.name != "evt.type" && c.left.name != "syscall.type" || len(c.left.steps) > 0 || c.other != nil || c.op == "exists" {
		return nil
	}
	test, m := c.textTest(false)
	if m != nil {
		return nil
	}
	return test
}

var evtType = match.Operand{Attr: "evt.type"}

// callExpr is the condition that the event is one of the calls: by its attribute evt.type, and where it has none by its
// class and activity.
func (k *compiler) callExpr(set callSet) match.Expr {
	var names []string
	type key struct {
		class     signal.Class
		direction int64
	}
	known := make(map[key][]match.IntRange)
	var order []key
	for i, c := range table().calls {
		if !set[i] || !c.in(k.view) || !slices.Contains(k.classes, c.class) {
			continue
		}
		names = append(names, c.name)
		g := key{c.class, c.direction}
		if len(c.activities) > 0 && known[g] == nil {
			order = append(order, g)
		}
		for _, a := range c.activities {
			if !slices.Contains(known[g], a) {
				known[g] = append(known[g], a)
			}
		}
	}
	if len(names) == 0 {
		return match.Const(false)
	}
	var guesses match.Or
	for _, g := range order {
		guess := match.And{k.isClass(g.class), match.Int(field(signal.FieldActivityID), known[g]...)}
		if g.direction != 0 {
			guess = append(guess, is(signal.FieldConnectionInfoDirectionID, g.direction))
		}
		guesses = append(guesses, guess)
	}
	named := match.Text(evtType, match.OpEqual, false, names...)
	if len(guesses) == 0 {
		return named
	}
	return match.Or{named, match.And{match.Not{Part: &match.Atom{On: evtType, Op: match.OpExists}}, match.Simplify(guesses)}}
}

// isClass is the condition that an event of the view is of the class.
func (k *compiler) isClass(c signal.Class) match.Expr {
	switch {
	case !slices.Contains(k.classes, c):
		return match.Const(false)
	case len(k.classes) == 1:
		return match.Const(true)
	}
	return is(signal.FieldClassUID, int64(c))
}

// isProcess is the condition that an event is seen as processView has it; class says that its class must be asked for.
func isProcess(class bool) match.Expr {
	var which match.Expr = match.Const(true)
	if class {
		which = is(signal.FieldClassUID, int64(signal.ClassProcessActivity))
	}
	return match.And{
		which,
		match.Int(match.Operand{Field: signal.FieldActivityID}, match.IntRange{Min: int64(signal.ActivityProcessLaunch), Max: int64(signal.ActivityProcessTerminate)}),
	}
}
