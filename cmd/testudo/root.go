package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/policy"
)

// Exit codes.
const (
	exitOK       = 0
	exitFindings = 1 // the answer is no: findings, failing tests, a broken ledger
	exitError    = 2
)

// errAnswered says that the command has printed its answer, which is no.
var errAnswered = errors.New("answered")

// app is what all subcommands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	configFile     string
	data           string
	settings       assembly.Settings
	own            bool // the process is this command's alone, which may change its user
	noKernel       bool
	entered        privilege.Entered
}

// Main runs the command with these arguments, and returns its exit code.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return execute(ctx, &app{stdin: stdin, stdout: stdout, stderr: stderr}, args)
}

func execute(ctx context.Context, a *app, args []string) int {
	stderr := a.stderr
	cmd := a.root()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errAnswered):
		return exitFindings
	}
	var own exitStatus
	if errors.As(err, &own) {
		return int(own)
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stderr, "testudo:", strings.TrimRight(line, "\n"))
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(stderr, "testudo: hint:", hint)
	}
	return exitError
}

// hintOf says what to do about errors that people meet first.
func hintOf(err error) string {
	var problems policy.Problems
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return "see " + usage.command + " --help"
	case errors.As(err, &problems):
		return "mend the rules, or check them alone with testudo rule check PATH"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the file or folder"
	}
	return ""
}

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "testudo",
		Short:         "Guards applications from the commit to the packet",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       buildVersion().Version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if needsNoSettings(cmd) {
				return nil
			}
			if err := a.enter(cmd); err != nil {
				return err
			}
			return a.loadSettings(cmd.Flags().Changed("config"))
		},
	}
	cmd.SetIn(a.stdin)
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	flags := cmd.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "configuration file (default $XDG_CONFIG_HOME/testudo/testudo.yaml, then /etc/testudo/testudo.yaml)")
	flags.StringVar(&a.data, "data", "", "folder that holds everything testudo keeps (default $XDG_STATE_HOME/testudo)")
	cmd.AddCommand(a.upCommand(), a.edgeCommand(), a.agentCommand(), a.scanCommand(), a.ciCommand(), a.sbomCommand(), a.dbCommand(), a.huntCommand(), a.whatIfCommand(), a.exceptionCommand(), a.explainCommand(), a.traceCommand(), a.psCommand(), a.apisCommand(), a.fimCommand(), a.ruleCommand(), a.blockCommand(), a.respondCommand(),
		a.ledgerCommand(), a.consoleCommand(), a.doctorCommand(), a.configCommand(), a.logsCommand(), a.versionCommand(), a.sensorCommand(),
		a.runCommand(), a.runStageCommand(), a.reachStageCommand())
	nameUsageErrors(cmd)
	return cmd
}

// needsNoSettings reports whether the command works beside a broken configuration.
func needsNoSettings(cmd *cobra.Command) bool {
	for ; cmd != nil; cmd = cmd.Parent() {
		switch cmd.Name() {
		case "version", "completion", "help", "sensor", stageName, reachStage, cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return false
}

// usageError is a command line that cannot be understood.
type usageError struct {
	error
	command string
}

// nameUsageErrors has cmd and all below it tell where their usage is explained.
func nameUsageErrors(cmd *cobra.Command) {
	wrap := func(c *cobra.Command, err error) error {
		if err == nil {
			return nil
		}
		return usageError{err, c.CommandPath()}
	}
	cmd.SetFlagErrorFunc(wrap)
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error { return wrap(c, check(c, args)) }
	}
	if !cmd.Runnable() {
		// Without this a misspelled subcommand would print the help and succeed.
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			text := fmt.Sprintf("%q is no subcommand of %s", args[0], c.CommandPath())
			c.SuggestionsMinimumDistance = 2
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				text += ": do you mean " + strings.Join(near, " or ") + "?"
			}
			return wrap(c, errors.New(text))
		}
	}
	for _, sub := range cmd.Commands() {
		nameUsageErrors(sub)
	}
}

// loadSettings reads the configuration: the file that is named, or the first that is
// there. A file in the current folder is not read by itself: it may be somebody else's.
func (a *app) loadSettings(named bool) error {
	path := a.configFile
	if !named {
		for _, candidate := range configCandidates() {
			if _, err := os.Stat(candidate); err == nil {
				path = candidate
				break
			}
		}
	}
	var err error
	a.settings, err = assembly.LoadSettings(path)
	if err == nil {
		a.configFile = path
	}
	return err
}

func configCandidates() []string {
	var all []string
	if dir, err := os.UserConfigDir(); err == nil {
		all = append(all, filepath.Join(dir, "testudo", "testudo.yaml"))
	}
	return append(all, "/etc/testudo/testudo.yaml")
}

// dataDir returns the data directory that flag, configuration and defaults name.
func (a *app) dataDir() (string, error) {
	if a.data != "" {
		return assembly.DataDir(a.data)
	}
	return assembly.DataDir(a.settings.Data)
}

// existingDataDir is dataDir for subcommands that only ask: they make no folder.
func (a *app) existingDataDir() (string, error) {
	dir, err := a.dataDir()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%s: there is no data directory yet: start testudo up first, or name the folder with --data", dir)
	}
	return dir, nil
}

// dial connects to the node that runs on the data directory; client.ErrNoNode where none does.
func (a *app) dial(ctx context.Context) (*client.Client, string, error) {
	dir, err := a.existingDataDir()
	if err != nil {
		return nil, "", err
	}
	c, err := client.Dial(ctx, assembly.SocketPath(dir))
	return c, dir, err
}

// logger returns the logger that the settings ask for.
func (a *app) logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: a.settings.Log.Level}
	if a.settings.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opts))
}

// quiet logs what went wrong alone, for subcommands whose output is for people.
func (a *app) quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

func buildVersion() console.Version {
	v := console.Version{Version: version, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Built = s.Value
			}
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := buildVersion()
			fmt.Fprintf(a.stdout, "testudo %s (%s)\n", v.Version, v.Go)
			return nil
		},
	}
}

// isTerminal reports whether w is a terminal, and its width.
func isTerminal(w io.Writer) (width int, color, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, false, false
	}
	return terminal(f)
}
