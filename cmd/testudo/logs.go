package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/logs/intake"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

func (a *app) logsCommand() *cobra.Command {
	var rules []string
	var source, since, failOn string
	var limit int
	var asJSON bool
	s := assembly.LogScan{Builtin: true}
	cmd := &cobra.Command{
		Use:   "logs FILE...",
		Short: "Judge logs by rules, once: files, folders, patterns, or - for standard input",
		Long: `Judge logs by rules, once: files, folders with everything in them, patterns, or - for
standard input. Files compressed by gzip or zstd are read as they are. The format of each
file is found out; rules may be Sigma's, Falco's or testudo's own.

No data directory is needed, and no server is started.

Exit code 0 says that nothing was detected at or above --fail-on, 1 that something was, 2
that the logs or the rules could not be read, or that it was interrupted before.`,
		Example: `  testudo logs /var/log/nginx/access.log
  testudo logs evidence/ --rules sigma/rules
  zcat events.json.gz | testudo logs - --rules rules/ --source product=windows,service=sysmon
  testudo logs /var/log/auth.log --follow`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			threshold, err := signal.ParseSeverity(failOn)
			if err != nil {
				return fmt.Errorf("--fail-on: %w", err)
			}
			if s.Since, err = replay.ParseSince(since, time.Now()); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			if err := parseSource(source, &s.Spec); err != nil {
				return fmt.Errorf("--source: %w", err)
			}
			if err := s.Spec.Validate(); err != nil {
				return fmt.Errorf("--zone: %w", err)
			}
			s.Files, s.Stdin, s.Rules, s.Policy, s.Logger = args, a.stdin, rules, &a.settings.Policy, a.quiet()
			if asJSON && !cmd.Flags().Changed("limit") {
				limit = 0
			}
			width, color, onTerminal := isTerminal(a.stdout)
			p := &logPrinter{w: a.stdout, width: width, color: color && onTerminal, json: asJSON, limit: limit, since: since, printed: map[string]int{}}
			if barWidth, _, errTerminal := isTerminal(a.stderr); errTerminal {
				p.bar, p.barWidth = a.stderr, barWidth
				s.Progress = p.progress
			}
			s.Found = p.detection
			sum, err := s.Run(cmd.Context())
			if sum != nil {
				if failed := p.summary(sum, s.DeadLetter); err == nil {
					err = failed
				}
			}
			switch {
			case err != nil:
				return err
			case sum.Detections > 0 && sum.Highest >= threshold:
				return errAnswered
			case sum.Stopped:
				return errors.New("interrupted before everything was read")
			case sum.Files == 0:
				return fmt.Errorf("nothing could be read: %s", strings.Join(sum.Unread, "; "))
			case sum.Unkept != nil:
				return fmt.Errorf("--dead-letter: %w", sum.Unkept)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&rules, "rules", nil, "folder or file of rules, beside those that ship; may be given several times")
	flags.BoolVar(&s.Builtin, "builtin", true, "judge by the rules that ship, too")
	flags.BoolVar(&s.Strict, "strict", false, "rules that do not load are an error; without it they are named at the end")
	flags.StringVar(&s.Spec.Format, "format", intake.Auto, "format of the files: auto or one of "+strings.Join(formatNames(), ", "))
	flags.StringVar(&source, "source", "", "what the records are, in Sigma's words, as in product=windows,service=sysmon,category=process_creation")
	flags.StringVar(&s.Spec.Zone, "zone", "", "time zone of times that state none, as in Europe/Berlin (default UTC)")
	flags.StringVar(&since, "since", "", "pass over what happened before, as in 1h, 7d or 2026-11-22T10:00:00Z")
	flags.BoolVar(&s.Follow, "follow", false, "go on when the files have been read, until interrupted")
	flags.BoolVar(&asJSON, "json", false, "one JSON object a line: detections as they come, the summary last")
	flags.IntVar(&limit, "limit", 10, "print at most so many detections of one rule; 0 for all, as --json does")
	flags.StringVar(&failOn, "fail-on", "low", "least severity that makes the exit code 1: info, low, medium, high or critical")
	flags.StringVar(&s.DeadLetter, "dead-letter", "", "file to which records are added that do not parse, with the reason")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(append([]string{intake.Auto}, formatNames()...), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func formatNames() []string {
	var names []string
	for _, f := range assembly.LogFormats() {
		names = append(names, f.Name)
	}
	return names
}

// parseSource reads product=...,service=...,category=...
func parseSource(text string, spec *intake.Spec) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case !ok || value == "":
		case key == "product":
			spec.Product = value
			continue
		case key == "service":
			spec.Service = value
			continue
		case key == "category":
			spec.Category = value
			continue
		}
		return fmt.Errorf("%q is not one of product=..., service=... and category=..., joined by commas", part)
	}
	return nil
}
