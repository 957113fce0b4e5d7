package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/spell"
)

// DefaultMaxFile is the largest rule file that is read where nothing else is said.
const DefaultMaxFile = bytesize.Size(1 << 20)

// Loader makes sets of rule files.
type Loader struct {
	// Dialects are asked in this order whose a file is.
	Dialects []Dialect
	// MaxFile is the largest file that is read; 0 for DefaultMaxFile.
	MaxFile bytesize.Size
	// Disable lists ids of rules that are loaded and never fire.
	Disable []string
	// Monitor returns, by rule, routes of the edge at which the rule only alerts; nil where there are none. It is asked at each load.
	Monitor func() map[string][]string
}

// Load returns the set of all rules in the sources. It is all or nothing: where anything is
// wrong the error is [Problems] that name it all, and the set is nil.
func (l *Loader) Load(ctx context.Context, sources ...Source) (*Set, error) {
	files, problems, err := read(ctx, sources, l.maxFile())
	if err != nil {
		return nil, err
	}
	return l.compile(files, problems)
}

// Files returns the rule files of the sources, or [Problems] where one cannot be read.
func (l *Loader) Files(ctx context.Context, sources ...Source) ([]File, error) {
	files, problems, err := read(ctx, sources, l.maxFile())
	if err == nil && len(problems) > 0 {
		return nil, problems.sorted()
	}
	return files, err
}

// Compile returns the rules of files that belong together, or [Problems]. What [Loader.Disable] lists is not
// looked at.
func (l *Loader) Compile(files []File) ([]*Rule, error) {
	rules, problems := l.rules(files)
	if problems, _ = problems.split(); len(problems) > 0 {
		return nil, problems.sorted()
	}
	return rules, nil
}

func (l *Loader) maxFile() bytesize.Size {
	if l.MaxFile > 0 {
		return l.MaxFile
	}
	return DefaultMaxFile
}

func (l *Loader) compile(files []File, problems Problems) (*Set, error) {
	rules, more := l.rules(files)
	problems = append(problems, more...)
	rules, more = l.disable(rules)
	problems = append(problems, more...)
	if l.Monitor != nil {
		routes := l.Monitor()
		for i, r := range rules {
			if list := routes[r.ID]; len(list) > 0 {
				demoted := *r
				demoted.Monitor = list
				rules[i] = &demoted
			}
		}
	}
	set, err := NewSet(rules)
	if twice, ok := err.(Problems); ok {
		problems = append(problems, twice...)
	} else if err != nil {
		return nil, err
	}
	if problems, _ = problems.split(); len(problems) > 0 {
		return nil, problems.sorted()
	}
	return set, nil
}

// rules hands each dialect its files.
func (l *Loader) rules(files []File) ([]*Rule, Problems) {
	var problems Problems
	byDialect := make([][]File, len(l.Dialects))
	for _, f := range files {
		at := slices.IndexFunc(l.Dialects, func(d Dialect) bool { return d.Detect(f) })
		if at < 0 {
			problems = append(problems, Problem{File: f.Name, Message: "in no dialect that is known here", Hint: "known: " + l.names()})
			continue
		}
		byDialect[at] = append(byDialect[at], f)
	}
	var rules []*Rule
	for i, d := range l.Dialects {
		if len(byDialect[i]) == 0 {
			continue
		}
		r, p := d.Compile(byDialect[i])
		rules, problems = append(rules, r...), append(problems, p...)
	}
	return rules, problems
}

func (l *Loader) names() string {
	names := make([]string, len(l.Dialects))
	for i, d := range l.Dialects {
		names[i] = d.Name()
	}
	return strings.Join(names, ", ")
}

// disable switches off what Disable lists. A name that is no rule's would leave a rule on
// that someone believes to be off.
func (l *Loader) disable(rules []*Rule) ([]*Rule, Problems) {
	var problems Problems
	for _, id := range l.Disable {
		found := false
		for i, r := range rules {
			if r.ID == id || r.PartOf == id {
				off := *r
				off.Disabled, rules[i], found = true, &off, true
			}
		}
		if !found {
			ids := make([]string, len(rules))
			for i, r := range rules {
				ids[i] = r.ID
			}
			p := Problem{Rule: id, Message: fmt.Sprintf("policy.disable names %q, which is no rule's id", Printable(id, 100))}
			if near := spell.Nearest(id, ids); near != "" {
				p.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			problems = append(problems, p)
		}
	}
	return rules, problems
}
