package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
	"github.com/testudo-sec/testudo/scan"
)

func (a *app) dbCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "db", Short: "Update, carry and read the database of advisories"}
	cmd.AddCommand(a.dbUpdateCommand(), a.dbStatusCommand(), a.dbShowCommand(), a.dbVerifyCommand(), a.dbExportCommand(), a.dbImportCommand())
	return cmd
}

// database opens the database of advisories.
func (a *app) database() (*intel.Database, error) {
	path, err := a.settings.AdvisoryDatabase(a.data)
	if err != nil {
		return nil, err
	}
	d, err := intel.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no database of advisories yet: run testudo db update, or testudo db import FILE without a network", path)
	}
	return d, err
}

func (a *app) dbUpdateCommand() *cobra.Command {
	var from string
	var only []string
	var full, force, asJSON bool
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Bring the advisories up to date",
		Long: `Bring the advisories up to date. Only what changed is downloaded, and an interrupted
download is gone on with. Until the end the old database stays in use.

--from takes them from a mirror of the public OSV export, from a folder with its layout, or from
a folder of OSV files (JSON, YAML, zip). Ecosystems that it does not have stay as they are.

Exit code 0 says that all sources were taken in, 2 that one was not; those that failed keep what
they had.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := a.settings.AdvisoryDatabase(a.data)
			if err != nil {
				return err
			}
			o := feed.Options{Config: a.settings.Intel, Path: path, Only: only, Full: full, Force: force}
			if from != "" {
				o.Config.Source = from
			}
			bar := newProgress(a.stderr)
			o.Progress = func(p feed.Progress) { a.drawUpdate(bar, p) }
			res, err := feed.Update(cmd.Context(), o)
			bar.clear()
			if res != nil {
				if asJSON {
					if err := json.NewEncoder(a.stdout).Encode(res); err != nil {
						return err
					}
				} else {
					a.printUpdate(res)
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "URL of a mirror, or a folder, instead of the configured source")
	cmd.Flags().StringSliceVar(&only, "ecosystem", nil, "update only this ecosystem, as in npm or Debian; may be given several times")
	cmd.Flags().BoolVar(&full, "full", false, "download everything anew")
	cmd.Flags().BoolVar(&force, "force", false, "take a source even if it lost more than intel.max_loss percent of its advisories")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) drawUpdate(bar *progress, p feed.Progress) {
	if p.Sources == 0 || p.Phase == "writing" {
		bar.count(int(p.Bytes>>20), "MiB downloaded: "+p.Phase)
		return
	}
	bar.label(float64(p.Done)/float64(p.Sources), fmt.Sprintf("%s %s, %d MiB, %d read", p.Phase, scan.Printable(p.Source), p.Bytes>>20, p.Read))
}

func (a *app) printUpdate(res *feed.Result) {
	if res.Discarded != nil {
		fmt.Fprintf(a.stdout, "the old database was not used: %v\n", res.Discarded)
	}
	var advisories int64
	for _, s := range res.Sources {
		if s.Kind == intel.KindOSV {
			advisories += s.Advisories
		}
		if s.State == feed.Unchanged || s.State == feed.Kept && s.Err == nil {
			continue
		}
		line := fmt.Sprintf("%-16s %-9s %9d", scan.Printable(s.Name), s.State, s.Advisories)
		if s.State == feed.Updated {
			line += fmt.Sprintf("  %d changed, %d removed", s.Changed, s.Removed)
		}
		if s.Broken > 0 {
			line += fmt.Sprintf("  %d broken", s.Broken)
		}
		fmt.Fprintln(a.stdout, line)
		for _, e := range s.Examples {
			fmt.Fprintf(a.stdout, "    left out: %s\n", scan.Printable(e))
		}
	}
	if res.Info.Path != "" {
		fmt.Fprintf(a.stdout, "%d advisories, %d KiB downloaded: %s\n", advisories, (res.Downloaded+1023)>>10, res.Info.Path)
	}
}

func (a *app) dbStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say what the database holds and how old it is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := a.database()
			if err != nil {
				return err
			}
			defer d.Close()
			info := d.Info()
			if asJSON {
				return json.NewEncoder(a.stdout).Encode(info)
			}
			now := time.Now()
			fmt.Fprintf(a.stdout, "%s\n%d advisories, %.1f MiB, built %s\n%s\n\n", info.Path, info.Advisories, float64(info.Size)/(1<<20), age(now, info.Built), info.Digest)
			width, _, ok := isTerminal(a.stdout)
			if !ok {
				width = 100
			}
			wide := 14
			for _, s := range info.Sources {
				wide = max(wide, len(s.Name))
			}
			row := func(cells ...string) {
				line := fmt.Sprintf("%-*s %9s  %-14s  %-14s", wide, cells[0], cells[1], cells[2], cells[3])
				if room := width - len(line) - 3; room > 12 {
					line += "  " + endOf(cells[4], room)
				}
				fmt.Fprintln(a.stdout, strings.TrimRight(line, " "))
			}
			row("SOURCE", "ENTRIES", "NEWEST", "CHECKED", "FROM")
			for _, s := range info.Sources {
				row(scan.Printable(s.Name), fmt.Sprint(s.Advisories), age(now, s.Newest), age(now, s.Checked), scan.Printable(s.From))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// endOf is a text cut at its front to so many characters.
func endOf(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return "…" + string(r[len(r)-n+1:])
}

// age says how long ago a time is.
func age(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := now.Sub(t); {
	case d < -time.Minute:
		return "in the future"
	case d < 2*time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

func (a *app) dbShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Print an advisory, by its id or an alias",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := a.database()
			if err != nil {
				return err
			}
			defer d.Close()
			all, err := d.Named(args[0])
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return fmt.Errorf("%s: %w in %s", scan.Printable(args[0]), intel.ErrNotFound, d.Info().Path)
			}
			if asJSON {
				out := json.NewEncoder(a.stdout)
				out.SetIndent("", "  ")
				return out.Encode(all)
			}
			for i, adv := range all {
				if i > 0 {
					fmt.Fprintln(a.stdout)
				}
				a.printAdvisory(adv)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

const shownPackages, shownDetails = 40, 4000

func (a *app) printAdvisory(adv *intel.Advisory) {
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "%-12s %s\n", name, scan.Printable(value))
		}
	}
	date := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.DateOnly)
	}
	say("id", adv.ID)
	say("summary", adv.Summary)
	say("aliases", strings.Join(adv.Aliases, ", "))
	say("upstream", strings.Join(adv.Upstream, ", "))
	say("withdrawn", date(adv.Withdrawn))
	if adv.Malicious {
		say("malicious", "the package itself is an attack")
	}
	for _, s := range adv.Severity {
		say("severity", s.Type+" "+s.Score)
	}
	if e := adv.Exploited; e != nil {
		text := fmt.Sprintf("%s is exploited, known since %s", e.CVE, cmp.Or(date(e.Added), "?"))
		if e.Ransomware {
			text += ", by ransomware too"
		}
		say("exploited", text)
	}
	if p := adv.Probability; p != nil {
		say("probability", fmt.Sprintf("%.2f%% within 30 days, higher than %.0f%% of all (%s, EPSS %s)", 100*p.Score, 100*p.Percentile, p.CVE, date(p.Date)))
	}
	say("weaknesses", strings.Join(adv.CWE, ", "))
	say("published", date(adv.Published))
	say("modified", date(adv.Modified))
	for i := range adv.Affected {
		if i == shownPackages {
			say("affected", fmt.Sprintf("and %d more; see --json", len(adv.Affected)-i))
			break
		}
		e := &adv.Affected[i]
		say("affected", e.Ecosystem+" "+e.Name+" "+versionsOf(e))
	}
	for _, r := range adv.References {
		say("see", r.URL)
	}
	if d := strings.TrimSpace(adv.Details); d != "" {
		if len(d) > shownDetails {
			d = strings.ToValidUTF8(d[:shownDetails], "") + "…"
		}
		fmt.Fprintln(a.stdout)
		for line := range strings.Lines(d) {
			fmt.Fprintln(a.stdout, scan.Printable(strings.TrimRight(line, "\r\n")))
		}
	}
}

// versionsOf puts ranges into words.
func versionsOf(e *intel.Affected) string {
	var out []string
	for _, r := range e.Ranges {
		if r.Type == "GIT" {
			continue
		}
		for _, v := range r.Events {
			switch {
			case v.Introduced == "0":
			case v.Introduced != "":
				out = append(out, ">= "+v.Introduced)
			case v.Fixed != "":
				out = append(out, "< "+v.Fixed)
			case v.LastAffected != "":
				out = append(out, "<= "+v.LastAffected)
			}
		}
	}
	if len(out) == 0 {
		if n := len(e.Versions); n > 0 {
			return fmt.Sprintf("%d versions", n)
		}
		return "all versions"
	}
	return strings.Join(out, ", ")
}

func (a *app) dbVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read the whole database and check it against its digests",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.database()
			if err != nil {
				return err
			}
			defer d.Close()
			err = d.Verify(cmd.Context())
			if errors.Is(err, intel.ErrDamaged) {
				fmt.Fprintf(a.stdout, "DAMAGED: %v\n", err)
				return errAnswered
			}
			if err != nil {
				return err
			}
			info := d.Info()
			fmt.Fprintf(a.stdout, "%d advisories: every byte is as it was written\n%s\n", info.Advisories, info.Digest)
			return nil
		},
	}
}
