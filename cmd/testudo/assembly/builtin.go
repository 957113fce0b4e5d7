package assembly

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/policy/rego"
	"github.com/testudo-sec/testudo/policy/sigma"
	"github.com/testudo-sec/testudo/rules"
)

// Dialects lists the rule dialects, in the order in which they are asked whose a file is.
func Dialects(cfg *Policy) []policy.Dialect {
	return []policy.Dialect{falco.New(), rego.New(), sigma.New(cfg.Sigma), native.New(native.Actions()...)}
}

// Condition compiles a condition that stands alone, as a hunt's.
func Condition(text string) (*native.Condition, error) {
	return native.New(native.Actions()...).Condition(text)
}

// BuiltinRules is where the rules that ship are read from.
func BuiltinRules() policy.Source { return policy.Embedded("builtin:", rules.Judging()) }

// Loader returns the loader of rule files for these settings.
func Loader(cfg *Policy) *policy.Loader {
	return &policy.Loader{Dialects: Dialects(cfg), MaxFile: cfg.MaxFile, Disable: cfg.Disable}
}

// CheckRules loads the rules of files or folders beside none of those that ship.
func CheckRules(ctx context.Context, cfg *Policy, paths ...string) (*policy.CheckReport, error) {
	return Loader(cfg).Check(ctx, disk(paths)...)
}

// LoadableRules returns the set of what loads of files or folders, which may be nothing.
func LoadableRules(ctx context.Context, cfg *Policy, paths ...string) (*policy.Set, error) {
	set, _, err := Loader(cfg).LoadSome(ctx, disk(paths)...)
	return set, err
}

func disk(paths []string) []policy.Source {
	var sources []policy.Source
	for _, p := range paths {
		sources = append(sources, policy.Disk(p))
	}
	return sources
}

// PrintFields writes which fields and log sources of the rules no table maps.
func PrintFields(w io.Writer, set *policy.Set) error {
	if err := policy.PrintUses(w, set.Rules()); err != nil {
		return err
	}
	if !slices.ContainsFunc(set.Rules(), func(r *policy.Rule) bool { return r.Dialect == "sigma" }) {
		return nil
	}
	return sigma.Cover(set.Rules()).Print(w)
}

// Policies loads Rego policies that judge documents. The error is policy.Problems where something is wrong with them.
func Policies(ctx context.Context, cfg *Policy, path string) (*rego.Policies, error) {
	files, problems, err := policy.ReadFiles(ctx, cfg.MaxFile, policy.Disk(path))
	if err != nil {
		return nil, err
	}
	dialect := rego.New()
	files = slices.DeleteFunc(files, func(f policy.File) bool { return !dialect.Detect(f) })
	policies, more := rego.Load(files)
	if problems = append(problems, more...); policies == nil || len(problems.Errors()) > 0 {
		return nil, problems.Errors()
	}
	if policies.Len() == 0 {
		return nil, fmt.Errorf("no policy in %s: a policy has rules called deny, warn or violation", path)
	}
	return policies, nil
}
