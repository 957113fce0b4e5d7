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

// maxComm is the length of a thread's name in the kernel.
const maxComm = 15

// Interest returns what the rules of a set need to see of a host. A sensor that sees no more than that
// misses nothing that a rule would fire on.
func Interest(set *policy.Set) kernel.Interest {
	want := kernel.Interest{Calls: map[record.Call]bool{}, AnyPath: map[record.Call]bool{}}
	for _, t := range templates() {
		for _, r := range set.Rules() {
			if x, ok := t.remains(r); ok {
				t.ask(&want, x)
			}
		}
	}
	for _, p := range []*kernel.Paths{&want.Reads, &want.Writes, &want.Changes} {
		tidy(p)
	}
	for _, list := range []*[]string{&want.Readers, &want.Writers} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return want
}

// ask adds what a condition needs of events of the template.
func (t *template) ask(want *kernel.Interest, x match.Expr) {
	switch t.kind {
	case record.KindFlow:
		want.Flows = true
		return
	case record.KindDNS:
		want.DNS = true
		return
	}
	if t.call != record.CallNone {
		want.Calls[t.call] = true
	}
	if slices.ContainsFunc(match.Fields(x), resolved) {
		want.DNS = true
	}
	if t.class != signal.ClassFileActivity || t.kind != record.KindCall {
		return
	}
	paths, by := &want.Reads, &want.Readers
	switch {
	case !isOpen(t.call):
		paths, by = &want.Changes, nil
	case t.write:
		paths, by = &want.Writes, &want.Writers
	}
	needs, narrowed := pathsOf(narrow.Reach(x, signal.FieldFilePath, signal.FieldFileResultPath))
	if names := narrow.Reach(x, signal.FieldFileName); !narrowed && !names.All && len(names.Prefix)+len(names.Inside) == 0 {
		needs, narrowed = kernel.Paths{}, true
		for _, name := range names.Exact {
			needs.Name = append(needs.Name, lower(name))
		}
		for _, end := range names.Suffix {
			needs.End = append(needs.End, lower(end))
		}
	}
	if !narrowed && by == nil {
		want.AnyPath[t.call] = true
		return
	}
	if !narrowed {
		// Whatever the path: then perhaps of few programs only.
		if names := narrow.Reach(x, signal.FieldActorProcessName); !names.All && !names.Lower && len(names.Prefix)+len(names.Suffix)+len(names.Inside) == 0 {
			for _, name := range names.Exact {
				*by = append(*by, name[:min(len(name), maxComm)])
			}
			return
		}
		paths.All = true
		return
	}
	for _, l := range []struct{ to, from *[]string }{{&paths.Exact, &needs.Exact}, {&paths.Prefix, &needs.Prefix}, {&paths.Name, &needs.Name},
		{&paths.Part, &needs.Part}, {&paths.End, &needs.End}} {
		*l.to = append(*l.to, *l.from...)
	}
}

// resolved reports whether a field is known only from the answers of name servers.
func resolved(f signal.Field) bool {
	return f == signal.FieldSrcEndpointHostname || f == signal.FieldDstEndpointHostname
}

func isOpen(c record.Call) bool {
	return c == record.CallOpen || c == record.CallOpenat || c == record.CallOpenat2 || c == record.CallCreat
}

// pathsOf returns the paths that texts stand for, in the form that the sensor can look for, and false where that is all of them.
func pathsOf(t narrow.Texts) (kernel.Paths, bool) {
	if t.All {
		return kernel.Paths{}, false
	}
	var p kernel.Paths
	if !t.Lower {
		p.Exact = t.Exact
	} else {
		for _, path := range t.Exact {
			p.Name = append(p.Name, lastPart(path))
		}
	}
	for _, prefix := range t.Prefix {
		switch {
		case prefix == "/" || t.Lower:
			return kernel.Paths{}, false
		case strings.HasPrefix(prefix, "/"): // no path begins otherwise
			p.Prefix = append(p.Prefix, prefix)
		}
	}
	for _, suffix := range t.Suffix {
		switch last := lastPart(suffix); {
		case last == "":
			return kernel.Paths{}, false
		case len(last) == len(suffix):
			p.End = append(p.End, lower(last))
		default:
			p.Name = append(p.Name, lower(last))
		}
	}
	for _, in := range t.Inside {
		parts := strings.Split(in, "/")
		if len(parts) < 3 {
			return kernel.Paths{}, false
		}
		p.Part = append(p.Part, lower(slices.MaxFunc(parts[1:len(parts)-1], func(a, b string) int { return len(a) - len(b) })))
	}
	return p, true
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// lower makes ASCII letters lower-case, as the sensor does.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// tidy takes out what is there twice and what others cover.
func tidy(p *kernel.Paths) {
	if p.All {
		*p = kernel.Paths{All: true}
		return
	}
	for _, list := range []*[]string{&p.Exact, &p.Prefix, &p.Name, &p.Part, &p.End} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	var short []string
	for _, prefix := range p.Prefix { // sorted: what covers it stands in front
		if len(short) == 0 || !strings.HasPrefix(prefix, short[len(short)-1]) {
			short = append(short, prefix)
		}
	}
	p.Prefix = short
	p.Exact = slices.DeleteFunc(p.Exact, func(path string) bool {
		return slices.ContainsFunc(p.Prefix, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) ||
			slices.Contains(p.Name, lower(lastPart(path)))
	})
}
