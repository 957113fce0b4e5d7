package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRunHandsSignalsOn: a program ends as it likes, and the command with its status.
func TestRunHandsSignalsOn(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("policy:\n  builtin: false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		script string
		signal os.Signal
		status int
		output string
	}{
		"it tidies up":               {`trap 'echo tidy; exit 5' TERM; echo up; while :; do sleep 0.1; done`, syscall.SIGTERM, 5, "tidy"},
		"it tidies up, interrupted":  {`trap 'echo tidy; exit 6' INT; echo up; while :; do sleep 0.1; done`, os.Interrupt, 6, "tidy"},
		"it goes on":                 {`trap 'echo no; n=x$n; [ $n = xx ] && exit 7' HUP; echo up; kill -HUP $$; while :; do sleep 0.1; done`, syscall.SIGHUP, 7, "no"},
		"it ends by the signal":      {`echo up; exec sleep 60`, syscall.SIGTERM, 128 + 15, ""},
		"it is killed by somebody":   {`echo up; kill -KILL $$`, nil, 128 + 9, ""},
		"it ends with a status":      {`echo up; exit 3`, nil, 3, ""},
		"what is its own is written": {`echo up; read line; echo "got $line"`, nil, 0, "got a line"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "testudo", "--config", config, "run", "--", "sh", "-c", c.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
			cmd.Stdin = strings.NewReader("a line\n")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			if !lines.Scan() || lines.Text() != "up" {
				t.Fatalf("%q", lines.Text())
			}
			if c.signal != nil {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			var rest []string
			for lines.Scan() {
				rest = append(rest, lines.Text())
			}
			_ = cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != c.status || !strings.Contains(strings.Join(rest, "\n"), c.output) {
				t.Errorf("status %d, want %d, output %q", status, c.status, rest)
			}
		})
	}
}
