package detect

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/testudo-sec/testudo/rules"
)

// maxRuleFile bounds a rule file in bytes, maxRules the rules of a set.
const (
	maxRuleFile = 256 << 10
	maxRules    = 10000
)

// Builtin compiles the rules that ship with testudo.
func Builtin() (*Set, error) {
	all, err := BuiltinRules()
	if err != nil {
		return nil, err
	}
	return Compile(all)
}

// BuiltinRules returns the rules that ship with testudo.
func BuiltinRules() ([]*Rule, error) {
	return Load(rules.Code(), "secrets")
}

// Load reads the rules in the files *.yaml below dir, in the order of their paths.
func Load(tree fs.FS, dir string) ([]*Rule, error) {
	var out []*Rule
	err := fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || !strings.HasSuffix(name, ".yaml") {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Size() > maxRuleFile {
			return fmt.Errorf("%s is %d bytes long: a rule file has at most %d", name, info.Size(), maxRuleFile)
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		r, err := Parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if want := strings.TrimSuffix(path.Base(name), ".yaml"); r.ID != want {
			return fmt.Errorf("%s: the id is %s: name the file after the rule", name, r.ID)
		}
		if out = append(out, r); len(out) > maxRules {
			return fmt.Errorf("%s has more than %d rules", dir, maxRules)
		}
		return nil
	})
	return out, err
}

// Parse reads one rule file. Unknown keys are errors, with line and column.
func Parse(data []byte) (*Rule, error) {
	r := &Rule{}
	if err := yaml.UnmarshalWithOptions(data, r, yaml.Strict()); err != nil {
		return nil, err
	}
	if r.Confidence == 0 {
		r.Confidence = Medium
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	r.Why, r.Fix = strings.TrimSpace(r.Why), strings.TrimSpace(r.Fix)
	return r, nil
}

// Rules returns the rules of the set in the order they were given.
func (s *Set) Rules() []*Rule { return slices.Clone(s.rules) }

// Literals returns what the set looks for in its first pass, sorted, each once: what a
// comparison with another search tool has to give it.
func (s *Set) Literals() []string {
	var out []string
	for i := range s.literals.Len() {
		out = append(out, s.literals.Pattern(i).Text)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
