package policy

import (
	"context"
	"slices"
)

// LoadSome returns the set of the rules that load, for those who would rather judge by some rules than not at all; a
// node is not among them. Files with a problem are left out as wholes, and with them those that cannot do without them. The
// report names them all; its Set is nil where something was left out.
func (l *Loader) LoadSome(ctx context.Context, sources ...Source) (*Set, *CheckReport, error) {
	files, problems, err := read(ctx, sources, l.maxFile())
	if err != nil {
		return nil, nil, err
	}
	problems, notes := problems.split()
	report := &CheckReport{Files: len(files) + len(problems.files())}
	for {
		rules, found := l.rules(files)
		found, more := found.split()
		set, err := NewSet(rules)
		if twice, ok := err.(Problems); ok {
			found = append(found, twice...)
		} else if err != nil {
			return nil, nil, err
		}
		problems = append(problems, found...)
		bad := found.files()
		if len(bad) > 0 {
			files = slices.DeleteFunc(files, func(f File) bool { return bad[f.Name] })
			continue // what needed them shows now
		}
		if len(found) > 0 { // of no file: nothing can be left out
			return nil, nil, found.sorted()
		}
		for _, r := range rules {
			if r.PartOf == "" {
				report.Rules++
			}
		}
		report.Loaded, report.Problems, report.Notes = len(files), problems.sorted(), append(notes, more...).sorted()
		if report.OK() {
			report.Set = set
		}
		return set, report, nil
	}
}
