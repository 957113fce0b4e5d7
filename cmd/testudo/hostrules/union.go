package hostrules

import (
	"maps"
	"slices"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Union returns what either needs. The calls of b are those whose paths b names.
func Union(a, b kernel.Interest) kernel.Interest {
	u := a
	u.Calls, u.AnyPath = maps.Clone(a.Calls), maps.Clone(a.AnyPath)
	if u.Calls == nil {
		u.Calls = map[record.Call]bool{}
	}
	if u.AnyPath == nil {
		u.AnyPath = map[record.Call]bool{}
	}
	maps.Copy(u.Calls, b.Calls)
	maps.Copy(u.AnyPath, b.AnyPath)
	for _, l := range []struct {
		to   *kernel.Paths
		more *kernel.Paths
	}{{&u.Reads, &b.Reads}, {&u.Writes, &b.Writes}, {&u.Changes, &b.Changes}} {
		*l.to = kernel.Paths{All: l.to.All || l.more.All, Exact: slices.Concat(l.to.Exact, l.more.Exact), Prefix: slices.Concat(l.to.Prefix, l.more.Prefix),
			Name: slices.Concat(l.to.Name, l.more.Name), Part: slices.Concat(l.to.Part, l.more.Part), End: slices.Concat(l.to.End, l.more.End)}
		tidy(l.to)
	}
	u.Readers, u.Writers = slices.Concat(a.Readers, b.Readers), slices.Concat(a.Writers, b.Writers)
	for _, list := range []*[]string{&u.Readers, &u.Writers} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	u.Flows, u.DNS = a.Flows || b.Flows, a.DNS || b.DNS
	return u
}
