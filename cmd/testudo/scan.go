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
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/scan/vuln/reach"
	"github.com/testudo-sec/testudo/signal"
)

// scanFlags are what scan and ci share.
type scanFlags struct {
	judges             []string
	baseline, writeOut string
	confidence         string
	exclude            []string
	gitleaks           string
	vex                []string
	writeVEX           string
	html               string
	output             string
	strict, verify     bool
	sbom, asset        string
}

func (f *scanFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.judges, "for", nil, "what to look for: "+strings.Join(assembly.ScanFor(), ", ")+" (default all)")
	flags.StringVar(&f.baseline, "baseline", "", "file of findings that are known and not reported")
	flags.StringVar(&f.writeOut, "write-baseline", "", "write what is found to a baseline file")
	flags.StringVar(&f.confidence, "confidence", "", "least confidence that is reported: low, medium or high")
	flags.StringArrayVar(&f.exclude, "exclude", nil, "pattern of what to leave out, as in .gitignore; may be given several times")
	flags.StringVar(&f.gitleaks, "gitleaks-config", "", "look for secrets by this gitleaks configuration")
	flags.StringArrayVar(&f.vex, "vex", nil, "OpenVEX or CSAF document that says which vulnerabilities do not matter; may be given several times")
	flags.StringVar(&f.writeVEX, "write-vex", "", "write what is known of the vulnerabilities as an OpenVEX document")
	flags.StringVar(&f.html, "html", "", "write the report as one HTML page too")
	flags.StringVar(&f.sbom, "sbom", "", "write the packages too, in the form that the name's ending says: .cdx.json, .cdx.xml, .spdx.json, .spdx")
	flags.StringVar(&f.asset, "asset", "", "name of the target at scan.server (default that of the git remote, else the folder's)")
	flags.StringVarP(&f.output, "output", "o", "", "write to a file instead of standard output")
	flags.BoolVar(&f.verify, "verify", false, "ask the providers whether the secrets that are found are in use: each goes to its provider, over the network")
	flags.BoolVar(&f.strict, "strict", false, "exit code 2 if something could not be scanned")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(assembly.ScanFor(), cobra.ShellCompDirectiveNoFileComp))
}

// reachStage is the hidden command that the analysis of calls runs in.
const reachStage = "reach-stage"

func (a *app) reachStageCommand() *cobra.Command {
	return &cobra.Command{Use: reachStage + " MODULE LOOKFOR", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return reach.Main(cmd.Context(), args, a.stdout, a.stderr)
		}}
}

// child is the command line of this program as a child for the analysis of calls; nil where it is not a program of its own.
func (a *app) child() []string {
	if !a.own {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, reachStage}
}

// scanned is a scan that has run.
type scanned struct {
	plan      *assembly.ScanPlan
	inventory *scan.Inventory
	request   assembly.ScanRequest
	result    report.Result
	shown     *report.Result // in place of result, for the output that people read first
}

// runScan scans, with a progress bar where somebody looks.
func (a *app) runScan(ctx context.Context, f *scanFlags, r assembly.ScanRequest) (*scanned, error) {
	keepSmall()
	settings := a.settings
	if f.confidence != "" {
		settings.Scan.Confidence = f.confidence
	}
	settings.Scan.Exclude = slices.Concat(settings.Scan.Exclude, f.exclude)
	if err := settings.Scan.Validate(); err != nil {
		return nil, err
	}
	var err error
	if r.Baseline == nil {
		if r.Baseline, err = readBaseline(f.baseline); err != nil {
			return nil, err
		}
	}
	r.For, r.Gitleaks, r.VEX, r.Child, r.Stdin, r.DataDir = f.judges, f.gitleaks, f.vex, a.child(), a.stdin, a.data
	if f.verify {
		if r.Verifier, err = assembly.NewVerifier(buildVersion().Version); err != nil {
			return nil, err
		}
	}
	clearBar := func() {}
	if width, _, ok := isTerminal(a.stderr); ok {
		bar := report.NewBar(a.stderr, width)
		r.Progress, clearBar = bar.Update, bar.Clear
	}
	plan, err := settings.PlanScan(ctx, r)
	if err != nil {
		return nil, err
	}
	o := &scanned{plan: plan, request: r}
	plan.Options.Inventory = func(inv *scan.Inventory) { o.inventory = inv }
	started := time.Now()
	findings := []signal.Finding{}
	stats, err := scan.Run(ctx, plan.Options, func(f signal.Finding) { findings = append(findings, f) })
	clearBar()
	if err != nil {
		_ = plan.Close()
		return nil, err
	}
	o.result = report.Result{Root: nameOf(r.Target), Findings: findings, Stats: stats, Scanners: plan.Options.Scanners, Version: buildVersion().Version, Time: started, Notes: plan.Notes}
	o.result.Notes = append(o.result.Notes, plan.Judged(o.inventory)...)
	if plan.Image != nil {
		o.result.Notes = append(o.result.Notes, imageNotes(plan)...)
	}
	return o, nil
}

// verified says what providers were asked, if they were.
func (o *scanned) verified() []string {
	if o.request.Verifier == nil {
		return nil
	}
	return o.request.Verifier.Notes()
}

// nameOf is what a target is called in a report: the folder's name where it is the one that people stand in.
func nameOf(target string) string {
	if filepath.Clean(target) != "." {
		return target
	}
	if dir, err := os.Getwd(); err == nil {
		return filepath.Base(dir)
	}
	return target
}

// imageNotes say what is known of the image that it was built from.
func imageNotes(p *assembly.ScanPlan) []string {
	base := p.Image.Base()
	var out []string
	if base.Name != "" || base.System != "" {
		what := base.Name
		if what == "" {
			what = base.System
		}
		out = append(out, fmt.Sprintf("Built from %s: what its %d layers bring is mended by a newer base image.", scan.Printable(what), base.Layers))
	}
	if n := p.Image.Cached(); n > 0 {
		out = append(out, fmt.Sprintf("%d of %d layers were known from an earlier scan.", n, len(p.Image.Layers)))
	}
	return out
}

// write writes the report and whatever else is asked for.
func (a *app) write(f *scanFlags, o *scanned, format string) error {
	if f.writeOut != "" {
		if err := saveTo(f.writeOut, func(w io.Writer) error { return scan.WriteBaseline(w, o.result.Findings) }); err != nil {
			return err
		}
	}
	if f.writeVEX != "" {
		if o.plan.Vuln == nil {
			return fmt.Errorf("--write-vex: vulnerabilities were not looked for: %s", strings.Join(o.plan.Notes, " "))
		}
		err := saveTo(f.writeVEX, func(w io.Writer) error { return vuln.WriteVEX(w, o.plan.Vuln.Flaws(), "testudo", o.result.Time) })
		if err != nil {
			return err
		}
	}
	if f.html != "" {
		if err := saveTo(f.html, func(w io.Writer) error { return report.Write(w, "html", o.result, report.Options{}) }); err != nil {
			return err
		}
	}
	if f.sbom != "" {
		if err := a.saveSBOM(f.sbom, o.inventory, o.result.Time); err != nil {
			return err
		}
	}
	shown := o.result
	if o.shown != nil {
		shown = *o.shown
	}
	if f.output != "" {
		return saveTo(f.output, func(w io.Writer) error { return report.Write(w, format, shown, report.Options{}) })
	}
	width, color, _ := isTerminal(a.stdout)
	return report.Write(a.stdout, format, shown, report.Options{Color: color, Width: width})
}

// saveTo writes a file that only its owner can read: it may say where secrets are.
func saveTo(name string, write func(io.Writer) error) error {
	f, err := createOutput(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// createOutput opens a file to write to. One below the folder that people stand in may have been put there by whoever
// wrote what is scanned: no link leads out of there, and the file itself is none.
func createOutput(name string) (*os.File, error) {
	const mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	here, err := os.Getwd()
	if err != nil {
		return os.OpenFile(name, mode, 0o600)
	}
	rel := name
	if filepath.IsAbs(name) {
		if rel, err = filepath.Rel(here, name); err != nil {
			rel = name
		}
	}
	if here == string(filepath.Separator) || !filepath.IsLocal(rel) {
		return os.OpenFile(name, mode, 0o600)
	}
	root, err := os.OpenRoot(here)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Lstat(rel); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a link: remove it, or name the file that it leads to", name)
	}
	return root.OpenFile(rel, mode, 0o600)
}

func (a *app) scanCommand() *cobra.Command {
	var f scanFlags
	var format, failOn, rng, since, platform, tag string
	var git, staged, isImage, plainHTTP bool
	cmd := &cobra.Command{
		Use:   "scan TARGET",
		Short: "Scan code, repositories, images and SBOMs for secrets and known vulnerabilities",
		Long: `Scan a target for secrets and for packages with known vulnerabilities. The target is a
folder, a file, - for standard input, an SBOM, or an image: an OCI layout, an archive of
docker or podman save, "registry:NAME", "rootfs:PATH", "container:ID" or "pid:N". With
--git it is the history of a repository, with --staged what the next commit would bring.

No secret is printed: findings show where it is and what it looks like. Vulnerabilities
come from a database on this machine, which testudo db update makes. With --verify the
provider of each secret that is found is asked whether it is in use; without it, no secret
leaves this machine.

Exit code 0 says that nothing was found at or above --fail-on, 1 that something was, 2
that the scan could not be made.`,
		Example: `  testudo scan .
  testudo scan --git .
  testudo scan image.tar --html report.html
  testudo scan registry:registry.example.org/shop:1.4
  testudo scan --for vuln sbom.cdx.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			threshold, err := signal.ParseSeverity(failOn)
			if err != nil {
				return fmt.Errorf("--fail-on: %w", err)
			}
			if !slices.Contains(report.Formats(), format) {
				return fmt.Errorf("--format is %q: want %s", format, strings.Join(report.Formats(), ", "))
			}
			r := assembly.ScanRequest{Target: args[0], Range: rng, Platform: platform, Tag: tag, PlainHTTP: plainHTTP}
			switch {
			case git && staged:
				return fmt.Errorf("--git and --staged: want one of them")
			case git:
				r.Kind = assembly.ScanHistory
			case staged:
				r.Kind = assembly.ScanStaged
			case isImage:
				r.Kind = assembly.ScanImage
			case len(args) > 1:
				r.Kind, r.Target, r.Paths = assembly.ScanFiles, ".", args
			}
			if since != "" {
				if r.Since, err = time.Parse(time.DateOnly, since); err != nil {
					return fmt.Errorf("--since is %q: want a day, such as 2026-01-31", since)
				}
			}
			o, err := a.runScan(cmd.Context(), &f, r)
			if err != nil {
				return err
			}
			defer o.plan.Close()
			o.result.Notes = append(o.result.Notes, o.verified()...)
			if err := a.write(&f, o, format); err != nil {
				return err
			}
			if err := a.push(cmd.Context(), f.asset, o); err != nil {
				return err
			}
			switch {
			case f.strict && o.result.Stats.Incomplete():
				return fmt.Errorf("something could not be scanned (--strict)")
			case scan.ExitCode(o.result.Findings, threshold, nil) != 0:
				return errAnswered
			}
			return nil
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "table", "how to print: "+strings.Join(report.Formats(), ", "))
	flags.StringVar(&failOn, "fail-on", "low", "least severity that makes the exit code 1: low, medium, high or critical")
	flags.BoolVar(&git, "git", false, "scan every version of every file in the repository's history, for secrets")
	flags.BoolVar(&staged, "staged", false, "scan what the next commit would bring, for secrets")
	flags.StringVar(&rng, "range", "", "with --git: the commits, as A..B")
	flags.StringVar(&since, "since", "", "with --git: commits from this day on")
	flags.BoolVar(&isImage, "image", false, "the target is an image, whatever it looks like")
	flags.StringVar(&platform, "platform", "", "of an image for several, as linux/arm64")
	flags.StringVar(&tag, "tag", "", "of an archive that holds several images")
	flags.BoolVar(&plainHTTP, "plain-http", false, "ask the registry without TLS")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(report.Formats(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func readBaseline(path string) (scan.Baseline, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := scan.ReadBaseline(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
