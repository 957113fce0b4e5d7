package detect

import (
	"fmt"
	"hash/crc32"
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

// Builtin makes a set of the rules that ship with testudo. That each of them compiles, its tests say: the expression of most
// is never needed, and is compiled when it first is.
func Builtin() (*Set, error) {
	return BuiltinWithout(func(*Rule) bool { return false })
}

// BuiltinWithout is Builtin without some rules.
func BuiltinWithout(skip func(*Rule) bool) (*Set, error) {
	all, err := BuiltinRules()
	if err != nil {
		return nil, err
	}
	return compile(slices.DeleteFunc(all, skip))
}

// BuiltinRules returns the rules that ship with testudo.
func BuiltinRules() ([]*Rule, error) {
	tree := rules.Code()
	return load(tree, "secrets", readCompact(tree))
}

// Load reads the rules in the files *.yaml below dir, in the order of their paths.
func Load(tree fs.FS, dir string) ([]*Rule, error) { return load(tree, dir, nil) }

func load(tree fs.FS, dir string, known map[string]compact) ([]*Rule, error) {
	var out []*Rule
	err := eachRule(tree, dir, func(name string, data []byte) (err error) {
		var r *Rule
		if c := known[path.Base(name)]; c.Rule != nil && c.Sum == crc32.ChecksumIEEE(data) {
			r, err = c.Rule, c.Rule.validate()
		} else {
			r, err = Parse(data)
		}
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

// eachRule calls do with the files *.yaml below dir, in the order of their paths.
func eachRule(tree fs.FS, dir string, do func(name string, data []byte) error) error {
	return fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
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
		return do(name, data)
	})
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
