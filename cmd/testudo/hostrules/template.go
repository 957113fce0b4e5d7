package hostrules

import (
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/narrow"
	"github.com/testudo-sec/testudo/signal"
)

// template is a kind of event that the kernel plane gives: what is the same in all of them.
type template struct {
	kind  record.Kind
	call  record.Call
	class signal.Class
	write bool // of opens: for writing
	known narrow.Known
}

// carried lists the beginnings of the names of fields that events of the kernel plane may have. The others they have not.
var carried = []string{"process.", "actor.", "file.", "file_result.", "src_endpoint.", "dst_endpoint.", "connection_info.", "traffic.",
	"container.", "orchestrator.", "device.", "kernel.", "user.", "group.", "module.", "status", "open_flags", "trace.", "http_request.uid",
	"metadata.", "query.", "answers[]", "rcode", "exit", "time", "start_time", "end_time", "duration", "severity", "message", "count", "access_mask",
	"script.", "policy.", "verdict.", "disposition", "action_id", "is_alert", "firewall_rule."}

// named are the beginnings of the names of attributes that they may have.
var named = []string{"evt.", "proc.", "fd.", "thread.", "user.", "group.", "container.", "k8s.", "fs.", "fdlist.", "syscall."}

func begins(name string, with []string) bool {
	return slices.ContainsFunc(with, func(p string) bool { return strings.HasPrefix(name, p) })
}

// opening lists ways to open a file: what a condition answers alike for all of them it answers alike for any.
func opening(write bool) [][]string {
	more := []string{"O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW", "O_NOATIME", "O_LARGEFILE", "O_SYNC", "O_DSYNC", "O_DIRECT", "O_NOCTTY", "O_ASYNC", "O_PATH"}
	if !write {
		return [][]string{{"O_RDONLY"}, append([]string{"O_RDONLY"}, more...)}
	}
	create := []string{"O_CREAT", "O_TRUNC", "O_APPEND", "O_EXCL", "O_TMPFILE"}
	var all [][]string
	for _, mode := range []string{"O_WRONLY", "O_RDWR"} {
		all = append(all, []string{mode}, append([]string{mode}, more...), append([]string{mode}, create...), append(append([]string{mode}, create...), more...))
	}
	return append(all, append([]string{"O_RDONLY"}, create...))
}

// activities returns the activities that an event of a record may have.
func activities(class signal.Class, activity uint8, write bool) []uint8 {
	switch {
	case class == signal.ClassDNSActivity:
		return []uint8{1, 2, 6}
	case class == signal.ClassNetworkActivity && activity != 7:
		return []uint8{1, 2, 3, 4, 5, 6, signal.ActivityOther}
	case class == signal.ClassFileActivity && activity == 14 && write:
		return []uint8{1, 3, 14}
	case class == signal.ClassFileActivity && (activity == 6 || activity == 7):
		return []uint8{6, 7}
	case class == signal.ClassProcessActivity && activity == 4: // what only reads another process, or itself, is less
		return []uint8{3, 4, signal.ActivityOther}
	}
	return []uint8{activity}
}

func newTemplate(kind record.Kind, call record.Call, name string, write bool) (template, bool) {
	class, activity, ok := kernel.ClassOf(kind, call)
	if !ok {
		return template{}, false
	}
	flags := [][]string{nil}
	if kind == record.KindCall && isOpen(call) {
		flags = opening(write)
	}
	t := template{kind: kind, call: call, class: class, write: write, known: narrow.Known{Fields: map[signal.Field]bool{}, Attrs: map[string]bool{"evt.type": true, "syscall.type": true},
		AttrKnown: func(name string) bool { return !begins(name, named) }}}
	for _, a := range activities(class, activity, write) {
		for _, f := range flags {
			for _, product := range []string{"", "linux"} {
				e := &signal.Event{Class: class, Activity: a, Plane: signal.PlaneKernel}
				if name != "" {
					e.SetUnmapped("evt.type", name)
					e.SetUnmapped("syscall.type", name)
				}
				if product != "" {
					e.SetString(signal.FieldMetadataLogProduct, product)
				}
				e.SetStrings(signal.FieldOpenFlags, f)
				t.known.Examples = append(t.known.Examples, e)
			}
		}
	}
	for _, f := range signal.Fields() {
		t.known.Fields[f] = !begins(f.Name(), carried)
	}
	for _, f := range []signal.Field{signal.FieldClassUID, signal.FieldActivityID, signal.FieldMetadataLogProvider, signal.FieldMetadataLogProduct, signal.FieldOpenFlags} {
		t.known.Fields[f] = true
	}
	switch class {
	case signal.ClassProcessActivity:
		if kind == record.KindExec || kind == record.KindExit {
			t.absent("file.", "file_result.", "query.", "answers[]", "src_endpoint.", "dst_endpoint.", "connection_info.", "traffic.")
		}
	case signal.ClassFileActivity:
		t.absent("query.", "answers[]", "traffic.")
	case signal.ClassNetworkActivity:
		t.absent("query.", "answers[]", "file_result.")
	}
	return t, true
}

// absent says that the events have no field whose name begins so.
func (t *template) absent(prefixes ...string) {
	for f := range t.known.Fields {
		if begins(f.Name(), prefixes) {
			t.known.Fields[f] = true
		}
	}
}

// templates returns every kind of event that the sensor may be asked for.
func templates() []template {
	var all []template
	add := func(kind record.Kind, call record.Call, name string, write bool) {
		if t, ok := newTemplate(kind, call, name, write); ok {
			all = append(all, t)
		}
	}
	for _, c := range record.Calls() {
		switch c {
		case record.CallExecve, record.CallExecveat:
			add(record.KindExec, c, c.String(), false)
		case record.CallExit, record.CallExitGroup, record.CallFork, record.CallVfork, record.CallClone, record.CallClone3:
			// They are seen as starts and ends of processes, whatever the rules say.
		case record.CallConnect:
			add(record.KindConnect, c, c.String(), false)
		case record.CallAccept, record.CallAccept4:
			add(record.KindAccept, c, c.String(), false)
		case record.CallBind:
			add(record.KindBind, c, c.String(), false)
		case record.CallListen:
			add(record.KindListen, c, c.String(), false)
		case record.CallOpen, record.CallOpenat, record.CallOpenat2:
			add(record.KindCall, c, c.String(), false)
			add(record.KindCall, c, c.String(), true)
		case record.CallCreat:
			add(record.KindCall, c, c.String(), true)
		default:
			add(record.KindCall, c, c.String(), false)
		}
	}
	add(record.KindExit, record.CallNone, "procexit", false)
	add(record.KindFlow, record.CallNone, "", false)
	add(record.KindDNS, record.CallNone, "", false)
	return all
}

// remains returns what a rule still asks of events of the template, and false where it never fires on one.
func (t *template) remains(r *policy.Rule) (match.Expr, bool) {
	if r.Disabled || r.Condition == nil || len(r.On) > 0 && !slices.Contains(r.On, t.class) {
		return nil, false
	}
	x := narrow.Assume(r.Condition, &t.known)
	never, isConst := x.(match.Const)
	return x, !isConst || bool(never)
}
