package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) scanCommand() *cobra.Command {
	var format, failOn, baseline, writeBaseline, confidence, output string
	var exclude []string
	cmd := &cobra.Command{
		Use:   "scan PATH",
		Short: "Scan a folder or file for secrets",
		Long: `Scan a folder or file for secrets. No secret is printed: findings show where it is
and what it looks like.

Exit code 0 says that nothing was found at or above --fail-on, 1 that something was, 2
that the scan could not be made.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			threshold, err := signal.ParseSeverity(failOn)
			if err != nil {
				return fmt.Errorf("--fail-on: %w", err)
			}
			o := scan.Options{Root: args[0], Config: a.settings.Scan.Config}
			if confidence != "" {
				o.Config.Confidence = confidence
			}
			o.Config.Exclude = slices.Concat(o.Config.Exclude, exclude)
			if err := o.Config.Validate(); err != nil {
				return err
			}
			if o.Scanners, err = assembly.Scanners(); err != nil {
				return err
			}
			if o.Baseline, err = readBaseline(baseline); err != nil {
				return err
			}
			width, color, onTerminal := isTerminal(a.stdout)
			barWidth, _, errTerminal := isTerminal(a.stderr)
			clearBar := func() {}
			if errTerminal {
				bar := report.NewBar(a.stderr, barWidth)
				o.Progress, clearBar = bar.Update, bar.Clear
			}
			var findings []signal.Finding
			stats, err := scan.Run(cmd.Context(), o, func(f signal.Finding) { findings = append(findings, f) })
			clearBar()
			if err != nil {
				return err
			}
			if writeBaseline != "" {
				if err := saveBaseline(writeBaseline, findings); err != nil {
					return err
				}
			}
			w := a.stdout
			if output != "" {
				file, err := os.Create(output)
				if err != nil {
					return err
				}
				defer file.Close()
				w, onTerminal = file, false
			}
			result := report.Result{Root: args[0], Findings: findings, Stats: stats, Scanners: o.Scanners, Version: buildVersion().Version}
			if err := report.Write(w, format, result, report.Options{Color: color && onTerminal, Width: width}); err != nil {
				return err
			}
			if scan.ExitCode(findings, threshold, nil) != 0 {
				return errAnswered
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "how to print: table, json or sarif")
	cmd.Flags().StringVar(&failOn, "fail-on", "low", "least severity that makes the exit code 1: low, medium, high or critical")
	cmd.Flags().StringVar(&baseline, "baseline", "", "file of findings that are known and not reported")
	cmd.Flags().StringVar(&writeBaseline, "write-baseline", "", "write what is found to a baseline file")
	cmd.Flags().StringVar(&confidence, "confidence", "", "least confidence that is reported: low, medium or high")
	cmd.Flags().StringArrayVar(&exclude, "exclude", nil, "pattern of what to leave out, as in .gitignore; may be given several times")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to a file instead of standard output")
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

func saveBaseline(path string, findings []signal.Finding) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := scan.WriteBaseline(f, findings); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
