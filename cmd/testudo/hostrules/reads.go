package hostrules

import (
	"slices"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// Reads returns what the rules of a set read of an event beside its fields, so that nothing else is made. What rules show, in
// sentences and outputs, counts as read.
func Reads(set *policy.Set) kernel.Reads {
	reads := kernel.Reads{Attrs: map[string]bool{}}
	for _, r := range set.Rules() {
		if r.Disabled || len(r.On) > 0 && !slices.ContainsFunc(r.On, ofHost) {
			continue
		}
		for _, use := range r.Uses {
			reads.Attrs[use.Name] = true
		}
		if r.Condition == nil {
			continue
		}
		if match.ReadsAll(r.Condition) || opaque(r.Condition) {
			reads.Attrs = nil
			return kernel.Reads{Executable: true}
		}
		for _, name := range match.Attrs(r.Condition) {
			reads.Attrs[name] = true
		}
		if slices.ContainsFunc(match.Fields(r.Condition), ofExecutable) {
			reads.Executable = true
		}
	}
	return reads
}

// ofHost reports whether events of the kernel plane are of that class.
func ofHost(c signal.Class) bool {
	switch c {
	case signal.ClassProcessActivity, signal.ClassFileActivity, signal.ClassNetworkActivity, signal.ClassDNSActivity:
		return true
	}
	return false
}

// ofExecutable reports whether a field is known only once the executable has been read.
func ofExecutable(f signal.Field) bool {
	return f == signal.FieldProcessFileHashesValue || f == signal.FieldProcessFilePackage || f == signal.FieldActorProcessFilePackage
}

// opaque reports whether a condition reads attributes that it does not name.
func opaque(x match.Expr) bool {
	found := false
	match.Walk(x, func(x match.Expr) bool {
		f, ok := x.(*match.Func)
		found = found || ok && f.Attrs && f.Attr == ""
		return !found
	})
	return found
}
