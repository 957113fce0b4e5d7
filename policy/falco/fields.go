package falco

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

//go:embed fields.tsv
var fieldsTSV string

// Field is a field of Falco rules, as the table has it.
type Field struct {
	Name     string
	Argument string // "-" none, "level" an optional number, "optional", "name" one that must be there
	Kind     string
	Process  string // where it is in an event of a process that starts or ends, and in a record of a log
	Other    string // where it is in an event of a process that does something else
	Carried  string // "yes": our events have it today; "kernel": the kernel plane sets it; "no": none does
	Doc      string
}

// tables holds what the embedded files say. It is made once and never changed.
type tables struct {
	fields []Field
	byName map[string]*Field
	names  []string
	calls  []call
	byCall map[string]int
}

var table = sync.OnceValue(func() *tables {
	t := &tables{byName: make(map[string]*Field), byCall: make(map[string]int)}
	for _, cells := range rows(fieldsTSV, 7) {
		t.fields = append(t.fields, Field{cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]})
	}
	for i := range t.fields {
		f := &t.fields[i]
		t.byName[f.Name] = f
		t.names = append(t.names, f.Name)
	}
	for _, cells := range rows(callsTSV, 4) {
		t.byCall[cells[0]] = len(t.calls)
		t.calls = append(t.calls, newCall(cells))
	}
	return t
})

// rows returns the cells of a table that ships; a wrong one is a mistake in the program.
func rows(tsv string, width int) [][]string {
	var all [][]string
	for line := range strings.Lines(tsv) {
		if line = strings.TrimRight(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != width {
			panic("falco: a table that ships has a line of another width: " + line)
		}
		all = append(all, cells)
	}
	return all
}

// Fields returns the table of fields, in its order.
func Fields() []Field { return slices.Clone(table().fields) }

// find returns the field that an operand names, and its argument: evt.arg.flags is a field of its own where the
// table has it, and else evt.arg[flags].
func find(o *operand) (f *Field, arg string, m *mistake) {
	t := table()
	f, arg = t.byName[o.name], o.arg
	if f == nil && !o.hasArg {
		for name := o.name; f == nil; {
			cut := strings.LastIndexByte(name, '.')
			if cut < 0 {
				break
			}
			name = name[:cut]
			if p := t.byName[name]; p != nil && p.Argument != "-" && p.Argument != "level" {
				f, arg = p, o.name[cut+1:]
			}
		}
	}
	// evt.arg[flags] is evt.arg.flags.
	if f != nil && o.hasArg {
		if own := t.byName[f.Name+"."+arg]; own != nil && f.Argument == "name" {
			f, arg = own, ""
		}
	}
	wrong := func(message, hint string) (*Field, string, *mistake) {
		return nil, "", &mistake{o.src, o.offset, message, hint}
	}
	switch {
	case f == nil:
		hint := "testudo rule check --fields and docs/falco.md list the fields"
		if near := spell.Nearest(o.name, t.names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return wrong(fmt.Sprintf("unknown field %q", policy.Printable(o.name, 100)), hint)
	case arg != "" && f.Argument == "-":
		if o.hasArg && f.Name == o.name+"."+o.arg {
			break
		}
		return wrong(f.Name+" takes no argument", "write "+f.Name)
	case arg == "" && f.Argument == "name":
		return wrong(f.Name+" needs an argument", "write "+f.Name+"[...]")
	case arg != "" && f.Argument == "level":
		if n, err := strconv.Atoi(arg); err != nil || n < 0 || n > maxLevel {
			return wrong(fmt.Sprintf("%s takes a number from 0 to %d", f.Name, maxLevel), "write "+f.Name+"[2] for the parent of the parent")
		}
	}
	if f.Argument == "-" {
		arg = ""
	}
	return f, arg, nil
}

// maxLevel is the farthest ancestor that a rule may ask for.
const maxLevel = 32

// view is which column of the table a condition is compiled for.
type view int

const (
	processView view = iota // a process that starts or ends; a record of a log
	otherView               // a process that does something else
)

// targets returns the operands that hold the field's values in an event of the view. A name in the table stands for a field
// of ours, attr:NAME for an attribute outside of the field table, = for the attribute of the Falco name, and
// log:NAME for what package logfields says of an attribute of the rule's log source.
func (f *Field) targets(v view, arg string, src source) []match.Operand {
	cell := f.Process
	if v == otherView && f.Other != "-" {
		cell = f.Other
	}
	var all []match.Operand
	for target := range strings.SplitSeq(cell, ",") {
		name, steps, _ := strings.Cut(target, "|")
		o := match.Operand{}
		switch kind, rest, _ := strings.Cut(name, ":"); {
		case name == "=":
			o.Attr = f.Name
			if arg != "" {
				o.Attr += "." + arg
			}
		case kind == "attr":
			o.Attr = rest
		case name == "pointer":
			all = append(all, logOperands(src.log, pointer(arg))...)
			continue
		case kind == "log":
			all = append(all, logOperands(src.log, rest)...)
			continue
		default:
			name, at, _ := strings.Cut(name, "[")
			o.Field, _ = signal.Lookup(name)
			o.At, _ = strconv.Atoi(strings.TrimSuffix(at, "]"))
		}
		if steps != "" {
			o.Steps = []match.Step{stepNames[steps]}
		}
		all = append(all, o)
	}
	return all
}

var stepNames = map[string]match.Step{
	"basename": match.StepBasename, "folder": match.StepFolder, "program": match.StepProgram,
	"args": match.StepArgs, "command": match.StepCommand,
}

// logOperands says where a log's attribute is: in a field, or under its own name.
func logOperands(src logfields.Source, attr string) []match.Operand {
	var all []match.Operand
	for _, name := range logfields.Fields(src, attr) {
		if f, ok := signal.Lookup(name); ok {
			all = append(all, match.Operand{Field: f})
		}
	}
	return append(all, match.Operand{Attr: attr})
}

// source is where a rule's events come from.
type source struct {
	name    string
	log     logfields.Source
	classes []signal.Class
}

var sources = []source{
	{name: "syscall", classes: []signal.Class{signal.ClassFileActivity, signal.ClassProcessActivity, signal.ClassNetworkActivity}},
	{name: "k8s_audit", log: logfields.Source{Product: "kubernetes", Service: "audit"}},
	{name: "aws_cloudtrail", log: logfields.Source{Product: "aws", Service: "cloudtrail"}},
}

// guard is the condition that an event comes from the source: for calls, that the kernel plane saw it or that a record of a
// log of a Linux host speaks of it.
func (s *source) guard() match.Expr {
	if s.name == "syscall" {
		return match.Or{
			match.Text(match.Operand{Field: signal.FieldMetadataLogProvider}, match.OpEqual, false, signal.PlaneKernel.String()),
			match.Text(match.Operand{Field: signal.FieldMetadataLogProduct}, match.OpEqual, false, "linux"),
		}
	}
	return match.And{
		match.Text(match.Operand{Field: signal.FieldMetadataLogProduct}, match.OpEqual, false, s.log.Product),
		match.Text(match.Operand{Field: signal.FieldMetadataLogName}, match.OpEqual, false, s.log.Service),
	}
}
