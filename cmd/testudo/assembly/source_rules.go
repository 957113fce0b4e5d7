package assembly

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/rules"
	"github.com/testudo-sec/testudo/store/state"
)

// ruleBook reads the rules in force, and works on rules.
type ruleBook struct{ m *Machine }

// builtinPrefix stands before the names of rule files that ship.
const builtinPrefix = "builtin:"

func consoleRule(i policy.Info) console.Rule {
	r := console.Rule{
		ID: i.ID, Title: i.Title, Severity: i.Severity, Decision: i.Then, Classes: i.On, When: i.When, Then: []string{i.Then.String()},
		Why: i.Why, Fix: i.Fix, References: i.References, Tags: i.Tags, File: i.File, Line: i.Line,
		Builtin: strings.HasPrefix(i.File, builtinPrefix), Enabled: i.Enabled, Dialect: i.Dialect, Fields: i.Fields,
		Hits: i.Hits, LastHit: i.LastHit, Faults: i.Faults, Tests: make([]console.RuleTest, 0, i.Tests),
	}
	for _, a := range i.Actions {
		r.Then = append(r.Then, a.String())
	}
	if i.Correlation != "" {
		r.When = strings.TrimPrefix(r.When+"\n"+i.Correlation, "\n")
	}
	for _, n := range i.Notes {
		r.Notes = append(r.Notes, console.RuleNote{Key: n.Key, Text: n.Text})
	}
	r.Silent = i.Silent
	if st := i.Windows; i.Correlation != "" || st != (window.Stats{}) {
		r.Windows = &console.RuleWindows{Groups: st.Keys, Events: st.Events, Evicted: st.Evicted, Dropped: st.Dropped, Late: st.Late, Skipped: st.Skipped}
	}
	return r
}

// addHits adds what earlier runs of this node counted. The state has what this run counted
// too, but for the last moment.
func addHits(r *console.Rule, stored state.RuleHits) {
	r.Hits = max(r.Hits, uint64(stored.Count))
	if stored.Last.After(r.LastHit) {
		r.LastHit = stored.Last
	}
}

func (s ruleBook) Rules(ctx context.Context) ([]console.Rule, error) {
	infos := s.m.engine.Infos()
	all := make([]console.Rule, len(infos))
	results, err := s.results(ctx)
	if err != nil {
		return nil, err
	}
	hits, err := s.m.storage.State.RuleHits(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	for i, info := range infos {
		all[i] = consoleRule(info)
		addHits(&all[i], hits[info.ID])
		all[i].Tests = append(all[i].Tests, results[info.ID]...)
	}
	return all, nil
}

func (s ruleBook) Rule(ctx context.Context, id string) (console.Rule, error) {
	info, ok := s.m.engine.Info(id)
	if !ok {
		return console.Rule{}, fmt.Errorf("rule %s: %w", id, console.ErrNotFound)
	}
	r := consoleRule(info)
	hits, err := s.m.storage.State.RuleHits(ctx, time.Time{})
	if err != nil {
		return r, err
	}
	addHits(&r, hits[id])
	results, err := s.results(ctx)
	if err != nil {
		return r, err
	}
	r.Tests = append(r.Tests, results[id]...)
	r.Source = s.source(r.File)
	set := s.m.engine.Set()
	if rule := set.Rule(id); rule != nil && rule.Correlation != nil {
		r.Waits = s.waits(set, rule.Correlation, hits)
	}
	r.Reads, r.Looked = s.reads(set, id, info.On)
	return r, nil
}

// maxSource bounds the text of a rule file that is shown.
const maxSource = 512 << 10

// source returns the text of a rule file, "" where it cannot be read any more. It is asked for
// files of loaded rules only.
func (s ruleBook) source(name string) string {
	var f fs.File
	var err error
	if inside, ok := strings.CutPrefix(name, builtinPrefix); ok {
		f, err = rules.Judging().Open(strings.TrimPrefix(inside, "/"))
	} else {
		f, err = os.Open(name)
	}
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSource))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(text), "�")
}

func (s ruleBook) RuleSet(context.Context) (console.RuleSet, error) {
	st := s.m.watcher.Status()
	set := console.RuleSet{Digest: st.Digest, Count: st.Rules, Folder: strings.Join(s.m.settings.Policy.Rules, ", "),
		LoadedAt: st.Loaded, TriedAt: st.Tried}
	for _, p := range st.Problems {
		set.Errors = append(set.Errors, ruleError(p))
	}
	return set, nil
}

func ruleError(p policy.Problem) console.RuleError {
	return console.RuleError{File: p.File, Line: p.Line, Column: p.Column, Rule: p.Rule, Message: p.Message, Hint: p.Hint}
}

// Check compiles rule text that is not in force, and runs its tests.
func (s ruleBook) Check(ctx context.Context, text string) (console.RuleReport, error) {
	report := console.RuleReport{Rules: []string{}, Tests: []console.RuleTest{}}
	file := policy.File{Name: console.RuleFileName(text), Text: []byte(strings.ToValidUTF8(text, "�"))}
	for _, d := range Dialects(&s.m.settings.Policy) {
		if !d.Detect(file) {
			continue
		}
		compiled, problems := d.Compile([]policy.File{file})
		if len(problems) == 0 {
			set, err := policy.NewSet(compiled)
			if err == nil {
				return testSet(ctx, set, "")
			}
			problems = append(problems, policy.Problem{File: file.Name, Message: err.Error()})
		}
		for _, p := range problems {
			report.Errors = append(report.Errors, ruleError(p))
		}
		return report, nil
	}
	report.Errors = []console.RuleError{{File: file.Name, Message: "not a rule of any dialect that this node knows"}}
	return report, nil
}

// Test runs the tests of the rules in force, of one where id is not empty.
func (s ruleBook) Test(ctx context.Context, id string) (console.RuleReport, error) {
	if id != "" && s.m.engine.Set().Rule(id) == nil {
		return console.RuleReport{}, fmt.Errorf("rule %s: %w", id, console.ErrNotFound)
	}
	return testSet(ctx, s.m.engine.Set(), id)
}

// results returns how the tests of the rules in force end, by rule. They end the same until
// the set changes, so that they are run once for a set.
func (s ruleBook) results(ctx context.Context) (map[string][]console.RuleTest, error) {
	set := s.m.engine.Set()
	if known := s.m.tested.Load(); known != nil && known.digest == set.Digest() {
		return known.tests, nil
	}
	report, err := testSet(ctx, set, "")
	if err != nil {
		return nil, err
	}
	by := make(map[string][]console.RuleTest)
	for _, t := range report.Tests {
		by[t.Rule] = append(by[t.Rule], t)
	}
	s.m.tested.Store(&testedSet{digest: set.Digest(), tests: by})
	return by, nil
}

// testedSet is how the tests of a rule set ended.
type testedSet struct {
	digest string
	tests  map[string][]console.RuleTest // by rule
}

func testSet(ctx context.Context, set *policy.Set, id string) (console.RuleReport, error) {
	report := console.RuleReport{OK: true, Rules: []string{}, Tests: []console.RuleTest{}}
	result, err := policy.RunTests(ctx, set)
	if err != nil {
		return report, err
	}
	for _, r := range set.Rules() {
		if id != "" && r.ID != id || r.PartOf != "" {
			continue
		}
		report.Rules = append(report.Rules, r.ID)
		for _, t := range r.Tests {
			one := console.RuleTest{Rule: r.ID, Name: t.Name, Passed: true,
				Want: slices.ContainsFunc(t.Steps, func(st policy.Step) bool { return st.Fires })}
			for _, f := range result.Failures {
				if f.Rule == r.ID && f.Test == t.Name {
					one.Passed, report.OK = false, false
					one.Error = fmt.Sprintf("got %s, want %s (%s)", f.Got, f.Want, strings.Join(f.Values, ", "))
					break
				}
			}
			report.Tests = append(report.Tests, one)
		}
	}
	return report, nil
}

// Reload reads the rules folder anew.
func (s ruleBook) Reload(ctx context.Context, by console.Identity) (console.RuleSet, error) {
	if err := s.m.storage.Record(ctx, by.Actor(), "policy.reload", "rules", nil); err != nil {
		return console.RuleSet{}, err
	}
	// Problems are in the status, where they belong; the old set stays.
	if err := s.m.watcher.Reload(ctx); err != nil && ctx.Err() != nil {
		return console.RuleSet{}, err
	}
	return s.RuleSet(ctx)
}
