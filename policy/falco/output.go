package falco

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// The bounds of a rendered output, in characters.
const (
	maxShown  = 200 // of one field
	maxOutput = 2000
)

// missing is what an output has in the place of a field without a value.
const missing = "<NA>"

// output is a rule's sentence: texts and the fields between them.
type output struct {
	texts []string // one more than shows
	shows []func(e *signal.Event) string
}

// parseOutput reads an output with its %fields. A star at its beginning says in Falco that fields without a value are shown as
// such, which they always are.
func parseOutput(src *text, from source) (*output, *mistake) {
	out := new(output)
	l := &lexer{src: src}
	l.blank()
	l.take("*")
	var b strings.Builder
	for !l.done() {
		c := l.rest()[0]
		if c != '%' {
			b.WriteByte(c)
			l.pos++
			continue
		}
		at := l.pos
		l.pos++
		name := l.peekName()
		if name == "" || !strings.Contains(name, ".") && !strings.HasPrefix(l.rest()[len(name):], "(") {
			b.WriteByte('%') // a percent sign of the text
			l.take("%")
			continue
		}
		o, m := l.operand()
		if m != nil {
			return nil, m
		}
		o.offset = at + 1
		show, m := shown(o, from)
		if m != nil {
			return nil, m
		}
		out.texts, out.shows = append(out.texts, b.String()), append(out.shows, show)
		b.Reset()
	}
	out.texts = append(out.texts, b.String())
	if len(out.shows) > 200 {
		return nil, &mistake{src, 0, "the output has more than 200 fields", ""}
	}
	return out, nil
}

// render fills the output from recorded forms. Values are the sender's: they are escaped and cut, and so is the whole.
func (o *output) render(e *signal.Event) string {
	e = recorded(e)
	var b strings.Builder
	for i, show := range o.shows {
		b.WriteString(o.texts[i])
		v := show(e)
		if v == "" {
			v = missing
		}
		b.WriteString(policy.Printable(v, maxShown))
	}
	b.WriteString(o.texts[len(o.texts)-1])
	return policy.Printable(strings.Join(strings.Fields(b.String()), " "), maxOutput)
}

// recorded returns the event as it is recorded: itself, where nothing in it is masked.
func recorded(e *signal.Event) *signal.Event {
	masked := false
	e.Each(func(f signal.Field) bool {
		masked = e.IsMasked(f)
		return !masked
	})
	if masked {
		return e.Recorded()
	}
	return e
}

// shown returns what shows an operand's value, of an event in recorded form.
func shown(o *operand, src source) (func(e *signal.Event) string, *mistake) {
	steps := make([]match.Step, 0, len(o.steps))
	length := false
	for _, s := range o.steps {
		step, ok := map[string]match.Step{"tolower": match.StepLower, "toupper": match.StepUpper, "b64": match.StepBase64, "basename": match.StepBasename}[s]
		if length = length || s == "len"; ok {
			steps = append(steps, step)
		}
	}
	plain, m := plainShown(o, src)
	if m != nil {
		return nil, m
	}
	if len(o.steps) == 0 {
		return plain, nil
	}
	return func(e *signal.Event) string {
		v := plain(e)
		if v == "" {
			return ""
		}
		v, ok := match.ApplySteps(steps, v)
		switch {
		case !ok:
			return ""
		case length:
			return strconv.Itoa(len(v))
		}
		return v
	}, nil
}

func plainShown(o *operand, src source) (func(e *signal.Event) string, *mistake) {
	if o.join != "" {
		return joinedShown(o, src)
	}
	f, arg, m := find(o)
	if m != nil {
		return nil, m
	}
	if show := specialShown(f.Name, src); show != nil {
		return show, nil
	}
	if values := computedTexts(f, arg, src); values != nil {
		return func(e *signal.Event) string {
			var all []string
			values(e, func(v string) bool { all = append(all, strings.Clone(v)); return len(all) == 20 })
			return strings.Join(all, ",")
		}, nil
	}
	kind, mode, _ := strings.Cut(f.Kind, ":")
	var views [2][]match.Operand
	for v := range views {
		views[v] = f.targets(view(v), arg, src)
		if kind == "ancestor" {
			level, _ := strconv.Atoi(arg)
			for i := range views[v] {
				if views[v][i].Field != 0 {
					views[v][i].At = max(level, 1)
				}
			}
		}
	}
	if kind == "ancestor" && arg == "0" {
		own := *o
		own.name, own.arg, own.hasArg = "proc."+strings.TrimPrefix(f.Name, "proc.a"), "", false
		return plainShown(&own, src)
	}
	absent := ""
	switch mode {
	case "local", "remote":
		return sideShown(f, mode, src), nil
	case "host", "false":
		absent = mode
	}
	if kind == "container" {
		return func(e *signal.Event) string {
			if id := first(e, views[0]); id != "" {
				return id[:min(len(id), 12)]
			}
			return "host"
		}, nil
	}
	return func(e *signal.Event) string {
		v := otherView
		if src.name != "syscall" || e.Class == signal.ClassProcessActivity && e.Activity <= signal.ActivityProcessTerminate {
			v = processView
		}
		if s := first(e, views[v]); s != "" {
			return s
		}
		return absent
	}, nil
}

// first returns the values of the operands, the same once.
func first(e *signal.Event, on []match.Operand) string {
	var all []string
	for i := range on {
		on[i].Texts(e, func(v string) bool {
			if !slices.Contains(all, v) {
				all = append(all, strings.Clone(v))
			}
			return len(all) == 20
		})
	}
	return strings.Join(all, ",")
}

func sideShown(f *Field, mode string, src source) func(e *signal.Event) string {
	client := f.targets(otherView, "", src)
	server := *f
	server.Other = strings.ReplaceAll(f.Other, "src_endpoint", "dst_endpoint")
	other := server.targets(otherView, "", src)
	if mode == "remote" {
		client, other = other, client
	}
	return func(e *signal.Event) string {
		if e.Int(signal.FieldConnectionInfoDirectionID) == 1 {
			return first(e, other)
		}
		return first(e, client)
	}
}

func joinedShown(o *operand, src source) (func(e *signal.Event) string, *mistake) {
	var parts []func(e *signal.Event) string
	for _, p := range o.parts {
		if p.field == nil {
			parts = append(parts, func(*signal.Event) string { return p.text })
			continue
		}
		show, m := shown(p.field, src)
		if m != nil {
			return nil, m
		}
		parts = append(parts, show)
	}
	separator := ""
	if o.join == "join" {
		separator, parts = o.parts[0].text, parts[1:]
	}
	return func(e *signal.Event) string {
		all := make([]string, len(parts))
		for i, show := range parts {
			all[i] = show(e)
		}
		return strings.Join(all, separator)
	}, nil
}

// specialShown returns what shows a field that is computed, nil for the others.
func specialShown(name string, src source) func(e *signal.Event) string {
	truth := func(of func(e *signal.Event) bool) func(e *signal.Event) string {
		return func(e *signal.Event) string { return strconv.FormatBool(of(e)) }
	}
	when := func(layout string) func(e *signal.Event) string {
		return func(e *signal.Event) string { return time.Unix(0, e.Time).UTC().Format(layout) }
	}
	switch name {
	case "evt.num":
		return func(e *signal.Event) string { return strconv.FormatUint(e.Seq, 10) }
	case "evt.time", "evt.time.iso8601", "evt.datetime":
		return when(time.RFC3339Nano)
	case "evt.time.s", "evt.datetime.s":
		return when(time.RFC3339)
	case "evt.source":
		return func(*signal.Event) string { return src.name }
	case "evt.dir":
		return func(*signal.Event) string { return "<" }
	case "evt.type", "syscall.type":
		return func(e *signal.Event) string {
			if v, ok := e.Unmapped("evt.type"); ok {
				return v
			}
			switch { // the event does not name the call: what it most likely was
			case e.Class == signal.ClassProcessActivity && e.Activity == signal.ActivityProcessLaunch:
				return "execve"
			case e.Class == signal.ClassNetworkActivity && e.Activity == 1 && e.Int(signal.FieldConnectionInfoDirectionID) == 1:
				return "accept"
			case e.Class == signal.ClassNetworkActivity && e.Activity == 1:
				return "connect"
			}
			return strings.ToLower(e.Class.Activity(e.Activity))
		}
	case "evt.failed":
		return truth(func(e *signal.Event) bool { return e.Int(signal.FieldStatusID) == 2 })
	case "evt.is_open_read":
		return truth(func(e *signal.Event) bool { return openedWith(e, "O_RDONLY", "O_RDWR") })
	case "evt.is_open_write":
		return truth(func(e *signal.Event) bool { return openedWith(e, "O_WRONLY", "O_RDWR") })
	case "fd.is_server":
		return truth(func(e *signal.Event) bool { return e.Int(signal.FieldConnectionInfoDirectionID) == 1 })
	case "fd.type":
		return func(e *signal.Event) string { return fdType(e, "fd.type") }
	case "fd.typechar":
		return func(e *signal.Event) string { return fdType(e, "fd.typechar") }
	case "fd.sockfamily":
		return func(e *signal.Event) string {
			if strings.HasPrefix(fdType(e, "fd.type"), "ipv") {
				return "ip"
			}
			v, _ := e.Unmapped("fd.sockfamily")
			return v
		}
	case "fd.name":
		return func(e *signal.Event) string {
			if e.Has(signal.FieldFilePath) {
				return e.Str(signal.FieldFilePath)
			}
			var v string
			tuple(e, func(s string) bool { v = s; return true })
			return v
		}
	case "proc.tty":
		return func(e *signal.Event) string {
			if v := e.Str(signal.FieldProcessTTY); v != "" {
				return v
			}
			if v, ok := e.Unmapped("proc.tty"); ok {
				return v
			}
			return "0"
		}
	case "proc.duration":
		return func(e *signal.Event) string {
			if e.Has(signal.FieldProcessCreatedTime) {
				return strconv.FormatInt(e.Time-e.Int(signal.FieldProcessCreatedTime), 10)
			}
			v, _ := e.Unmapped("proc.duration")
			return v
		}
	case "container.info":
		return func(e *signal.Event) string {
			id, name := e.Str(signal.FieldContainerUID), e.Str(signal.FieldContainerName)
			if id == "" {
				return "container_id=host container_name=host"
			}
			return fmt.Sprintf("container_id=%s container_name=%s", id[:min(len(id), 12)], name)
		}
	}
	return nil
}

func openedWith(e *signal.Event, flags ...string) bool {
	return slices.ContainsFunc(e.Strings(signal.FieldOpenFlags), func(f string) bool { return slices.Contains(flags, f) })
}

func fdType(e *signal.Event, name string) string {
	i := 0
	if name == "fd.typechar" {
		i = 1
	}
	switch ip := e.IP(signal.FieldDstEndpointIP); {
	case e.Class == signal.ClassFileActivity && e.Int(signal.FieldFileTypeID) == 2:
		return [2]string{"directory", "d"}[i]
	case e.Class == signal.ClassFileActivity:
		return [2]string{"file", "f"}[i]
	case ip.Is4():
		return [2]string{"ipv4", "4"}[i]
	case ip.Is6():
		return [2]string{"ipv6", "6"}[i]
	}
	v, _ := e.Unmapped(name)
	return v
}
