package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/gate"
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) ciCommand() *cobra.Command {
	var f scanFlags
	var base, policyFile, format string
	var noBase, all bool
	files := map[string]*string{"sarif": new(string), "junit": new(string), "markdown": new(string), "json": new(string), "codequality": new(string)}
	cmd := &cobra.Command{
		Use:   "ci [FOLDER]",
		Short: "Decide about a change: scan a checkout by one policy, against its base",
		Long: `Scan a checkout with everything that looks at one, and decide by the policy in .testudo.yaml
whether the change may pass. With a base only what is new stops it, and the base's own
policy, ignore files and baseline count, and its version of every document named here that
is the repository's own: a change does not decide about itself. What a change brings and
nobody can look at, such as a lockfile that cannot be read, stops it too. The base is taken
from --base, or from what GitHub and GitLab say of a merge request.

With --verify the provider of each secret that is found is asked whether it is in use; one
that is counts as critical. Nothing in the checkout can ask for that.

Exit code 0 says that the change may pass, 1 that it may not, 2 that it could not be decided.`,
		Example: `  testudo ci
  testudo ci --base origin/main --sarif testudo.sarif
  testudo ci --policy security/gate.yaml --html report.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := "."
			if len(args) > 0 {
				root = args[0]
			}
			if !slices.Contains(report.Formats(), format) {
				return fmt.Errorf("--format is %q: want one of %v", format, report.Formats())
			}
			ctx := cmd.Context()
			bases := []string{base}
			if base == "" {
				if bases = nil; !noBase {
					bases = basesOfEnvironment(os.Getenv)
				}
			}
			at, err := a.openBase(ctx, root, bases)
			if err != nil {
				return err
			}
			if at != nil {
				base = at.Revision
			}
			policy, from, err := a.settings.ReadCIPolicy(ctx, policyFile, root, at)
			if err != nil {
				return fmt.Errorf("policy: %w", err)
			}
			a.settings.Scan.Exclude, a.settings.Scan.Vulnerabilities, a.settings.Scan.Licenses = policy.Exclude, policy.Vulnerabilities, policy.Licenses
			r := assembly.ScanRequest{Target: root, Kind: assembly.ScanTree, Base: at}
			if at != nil {
				if err := a.fromBase(ctx, &r, f.baseline); err != nil {
					return fmt.Errorf("the base %s: %w", base, err)
				}
			}
			o, err := a.runScan(ctx, &f, r)
			if err != nil {
				return err
			}
			defer o.plan.Close()
			var known map[string]bool
			missed := gate.MissedBy(&o.result.Stats, nil)
			if wantsVuln := len(f.judges) == 0 || slices.Contains(f.judges, "vuln"); wantsVuln && o.plan.Vuln == nil {
				missed.Any = true // without a database
			}
			if at != nil {
				var before, commits scan.Stats
				if known, before, commits, err = a.knownAt(cmd, &f, r, o); err != nil {
					return err
				}
				missed.New = gate.MissedBy(&o.result.Stats, &before).New
				if more := gate.MissedBy(&commits, gate.Sum(&before, &o.result.Stats)); len(more.New) > 0 {
					missed.Any, missed.New = true, append(missed.New, more.New...)
					o.result.Notes = append(o.result.Notes, "Of the change's commits could not be scanned: "+gate.Enumerate(more.New)+".")
				}
			}
			o.result.Notes = append(o.result.Notes, o.verified()...)
			d := policy.Decide(o.result.Findings, known, missed, time.Now())
			o.result.Verdict = verdictOf(&d, o.result.Findings, known)
			o.result.Notes = append(o.result.Notes, decisionNotes(&d, from, base, known)...)
			if at != nil && at.Shallow() {
				o.result.Notes = append(o.result.Notes, "The clone is shallow: commits of the change that it lacks were not looked at for secrets (fetch-depth: 0, GIT_DEPTH: \"0\").")
			}
			if d.Missed {
				o.result.Notes = append(o.result.Notes, "What could not be scanned may pass by the policy that decided: `exclude` leaves files out, `incomplete: never` lets them through. The limit of size is scan.max_file_size.")
			}
			if missed.Any && !d.Stopped {
				o.result.Notes = append(o.result.Notes, "Passed without a look at what is named above as not scanned: it could hold anything. `incomplete: always` in the policy stops it.")
			}
			for format, name := range files {
				if *name == "" {
					continue
				}
				result := o.result
				if format == "markdown" && known != nil && !all {
					result = onlyNew(result)
				}
				if err := saveTo(*name, func(w io.Writer) error { return report.Write(w, format, result, report.Options{}) }); err != nil {
					return err
				}
			}
			short := o.result
			if known != nil && !all {
				short = onlyNew(short)
			}
			if err := writeStepSummary(os.Getenv("GITHUB_STEP_SUMMARY"), short); err != nil {
				return err
			}
			if format == "table" || format == "markdown" {
				o.shown = &short
			}
			if err := a.write(&f, o, format); err != nil {
				return err
			}
			if err := a.push(ctx, f.asset, o); err != nil {
				return err
			}
			switch {
			case f.strict && o.result.Stats.Incomplete():
				return fmt.Errorf("something could not be scanned (--strict)")
			case d.Stopped:
				return errAnswered
			}
			return nil
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&base, "base", "", "branch, tag or commit that the change is to be merged into")
	flags.BoolVar(&noBase, "no-base", false, "judge all there is, whatever the build server says of a base")
	flags.BoolVar(&all, "all", false, "with a base: show what it has too, in tables and summaries")
	flags.StringVar(&policyFile, "policy", "", "policy file (default .testudo.yaml of the base, else of the folder)")
	flags.StringVar(&format, "format", "table", "how to print")
	flags.StringVar(files["sarif"], "sarif", "", "write the report as SARIF too")
	flags.StringVar(files["junit"], "junit", "", "write the report as JUnit too")
	flags.StringVar(files["markdown"], "markdown", "", "write a summary as Markdown too")
	flags.StringVar(files["codequality"], "codequality", "", "write the report as GitLab's Code Quality too")
	flags.StringVar(files["json"], "json", "", "write the report as JSON too")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(report.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// openBase opens the first of the bases that is here; nil if none is named.
func (a *app) openBase(ctx context.Context, root string, bases []string) (*assembly.CIBase, error) {
	var first error
	for _, base := range bases {
		at, err := a.settings.OpenBase(root, base)
		if err == nil {
			err = at.Check(ctx, &a.settings)
		}
		switch {
		case err == nil && first != nil:
			fmt.Fprintf(a.stderr, "testudo: warning: %v; compared with %s, which whoever makes the change chose: policy and ignore files are as they were there\n", first, scan.Printable(base))
			return at, nil
		case err == nil:
			return at, nil
		case first == nil:
			first = fmt.Errorf("the base %s: %w", scan.Printable(base), err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, first
}

// basesOfEnvironment is what a build server says that a change is to be merged into, the best first. Where GitLab says that a change left
// its target is a commit that its author chose: the target's own state is better, but in a fork's pipeline, where origin is the fork.
func basesOfEnvironment(env func(string) string) (bases []string) {
	if branch := env("GITHUB_BASE_REF"); branch != "" {
		return []string{"origin/" + branch}
	}
	own := env("CI_MERGE_REQUEST_PROJECT_ID") == env("CI_PROJECT_ID")
	if branch := env("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"); branch != "" && own {
		bases = append(bases, "origin/"+branch)
	}
	if commit := env("CI_MERGE_REQUEST_DIFF_BASE_SHA"); commit != "" {
		bases = append(bases, commit)
	}
	return bases
}

// fromBase takes from the base what decides about the change: which files are looked at, and which findings are known.
func (a *app) fromBase(ctx context.Context, r *assembly.ScanRequest, baseline string) (err error) {
	if r.IgnoreFiles, err = r.Base.Ignores(ctx, &a.settings); err != nil {
		return err
	}
	if r.Tracked, err = r.Base.Tracked(ctx, &a.settings, r.IgnoreFiles); err != nil || baseline == "" {
		return err
	}
	known, ok, err := r.Base.Baseline(ctx, baseline)
	if ok && err == nil {
		r.Baseline = known
	}
	return err
}

// knownAt returns what is wrong at the base already, and what could not be scanned there and in the change's own commits. It adds what
// these hold and its last state does not: a secret that was committed is known to whoever has the branch.
func (a *app) knownAt(cmd *cobra.Command, f *scanFlags, from assembly.ScanRequest, o *scanned) (known map[string]bool, before, commits scan.Stats, err error) {
	settings := a.settings
	settings.Scan.Exclude = slices.Concat(settings.Scan.Exclude, f.exclude)
	if f.confidence != "" {
		settings.Scan.Confidence = f.confidence
	}
	base := from.Base
	r := assembly.ScanRequest{Target: from.Target, Base: base, IgnoreFiles: from.IgnoreFiles, For: f.judges, Gitleaks: f.gitleaks, VEX: f.vex, DataDir: a.data, Baseline: o.plan.Options.Baseline}
	was, before, err := base.Findings(cmd.Context(), &settings, r)
	if err != nil {
		return nil, before, commits, fmt.Errorf("the base %s: %w", base.Revision, err)
	}
	known = notMore(was, o.result.Findings)
	if o.plan.Vuln != nil {
		notGone(known, was, o.result.Findings, o.plan.Vuln.Flaws())
	}
	if len(f.judges) > 0 && !slices.Contains(f.judges, "secret") {
		return known, before, commits, nil
	}
	r.Kind, r.Range, r.For = assembly.ScanHistory, base.Revision+"..HEAD", []string{"secret"}
	plan, err := settings.PlanScan(cmd.Context(), r)
	if err != nil {
		return nil, before, commits, err
	}
	defer plan.Close()
	here := map[string]bool{}
	for i := range o.result.Findings {
		here[o.result.Findings[i].ID] = true
	}
	commits, err = scan.Run(cmd.Context(), plan.Options, func(f signal.Finding) {
		if !here[f.ID] {
			o.result.Findings = append(o.result.Findings, f)
		}
	})
	if err != nil {
		return nil, before, commits, fmt.Errorf("the commits of the change: %w", err)
	}
	return known, before, commits, nil
}

// notMore returns the ids that are known from the base: of what is there now as often as then. A second version of a package with a flaw
// that another version has already makes one more, and both are shown.
func notMore(base, now []signal.Finding) map[string]bool {
	key := func(f *signal.Finding) string {
		if purl := f.EvidenceOf(signal.EvidencePackage); f.Kind == signal.FindingVulnerability && purl != "" {
			return flawAt(f.Rule, purl, f.Location.Path)
		}
		return f.ID
	}
	more := map[string]int{}
	for i := range now {
		more[key(&now[i])]++
	}
	for i := range base {
		more[key(&base[i])]--
	}
	known, there := map[string]bool{}, map[string]bool{}
	for i := range base {
		k := key(&base[i])
		there[k] = true
		if more[k] <= 0 {
			known[base[i].ID] = true
		}
	}
	for i := range now {
		if k := key(&now[i]); there[k] && more[k] <= 0 {
			known[now[i].ID] = true
		}
	}
	return known
}

// flawAt names a flaw in a package at a place, whatever the version.
func flawAt(id, purl, path string) string {
	if at := strings.LastIndexByte(purl, '@'); at > 0 {
		purl = purl[:at]
	}
	return strings.Join([]string{scan.Printable(id), scan.Printable(purl), scan.Printable(path)}, "\x00")
}

// notGone takes out of what is known what the base has and the change too, but for a decision: such as flaws of the standard library that the
// toolchain here does not have, which is asked about the change alone.
func notGone(known map[string]bool, base, now []signal.Finding, flaws []*vuln.Flaw) {
	there, here := map[string]bool{}, map[string]bool{}
	for _, f := range flaws {
		there[flawAt(f.ID, f.Package().PURL, f.Package().Path)] = true
	}
	for i := range now {
		here[now[i].ID] = true
	}
	for i := range base {
		f := &base[i]
		if !here[f.ID] && there[flawAt(f.Rule, f.EvidenceOf(signal.EvidencePackage), f.Location.Path)] {
			delete(known, f.ID)
		}
	}
}

// onlyNew leaves out what the base has too, and says how much that is.
func onlyNew(r report.Result) report.Result {
	fresh := make([]signal.Finding, 0, len(r.Findings))
	for i := range r.Findings {
		if r.Verdict.New[r.Findings[i].ID] || r.Verdict.Stops[r.Findings[i].ID] {
			fresh = append(fresh, r.Findings[i])
		}
	}
	r.Findings = fresh
	return r
}

// verdictOf is the decision as reports show it.
func verdictOf(d *gate.Decision, findings []signal.Finding, known map[string]bool) *report.Verdict {
	v := &report.Verdict{Stopped: d.Stopped, Reasons: d.Reasons, Stops: map[string]bool{}}
	if known != nil {
		v.New = map[string]bool{}
	}
	for i := range findings {
		id := findings[i].ID
		if d.Of[id] == gate.Stops {
			v.Stops[id] = true
		}
		if known != nil && !known[id] {
			v.New[id] = true
		}
	}
	return v
}

// decisionNotes say what the decision rests on.
func decisionNotes(d *gate.Decision, from, base string, known map[string]bool) []string {
	out := []string{"Decided by " + from + "."}
	if known != nil {
		out = append(out, fmt.Sprintf("Against %s: %d new, %d known (--all shows them), %d gone.", base, d.New, d.Same, d.Gone))
	}
	if d.Accepted > 0 {
		out = append(out, fmt.Sprintf("%d accepted by the policy.", d.Accepted))
	}
	for _, e := range d.Expired {
		out = append(out, fmt.Sprintf("Accepted until %s, and no longer: %s (%s).", e.Until, e.Rule+e.ID, e.Reason))
	}
	for _, u := range d.Unused {
		out = append(out, fmt.Sprintf("Accepted and not found any more: %s. Take it out of the policy.", u.Rule+u.ID))
	}
	return out
}

// writeStepSummary adds the summary to the page of a GitHub job.
func writeStepSummary(name string, r report.Result) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("GITHUB_STEP_SUMMARY: %w", err)
	}
	if err := report.Write(f, "markdown", r, report.Options{}); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
