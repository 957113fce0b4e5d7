package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/kernel/privilege"
)

// enter gives up root before anything else is done, a file of settings read included: see package privilege. For subcommands that only ask,
// the folders are the user's behind sudo, whose node it is.
func (a *app) enter(cmd *cobra.Command) error {
	if !a.own {
		return nil
	}
	o := privilege.Options{Args: os.Args, Service: true}
	switch cmd.CommandPath() {
	case "testudo up", "testudo edge", "testudo agent":
	default:
		a.borrow()
		return nil
	}
	if os.Geteuid() == 0 {
		t := a.target()
		settings := a.peek(t)
		if cmd.Name() != "edge" && !a.noKernel && settings.Kernel.Enabled != "off" {
			o.Keep = append([]string{"sensor", "--keep"}, sensorArgs(assembly.SensorConfigOf(&settings))...)
		}
		if t != nil {
			o.Data = a.dataOf(t, &settings)
		}
	}
	var err error
	a.entered, err = privilege.Enter(o)
	return err
}

// target returns whom a node started here becomes, nil where it stays what it is.
func (a *app) target() *privilege.Target {
	if os.Geteuid() != 0 {
		return nil
	}
	return privilege.Find(os.Getenv)
}

// borrow looks where the user behind sudo has configuration and data.
func (a *app) borrow() {
	t := a.target()
	if t == nil || !t.Sudo || t.Home == "" {
		return
	}
	// Errors would be of an empty name or a zero byte.
	_ = os.Setenv("HOME", t.Home)
	if os.Getenv("XDG_RUNTIME_DIR") == "" {
		if dir := t.RuntimeDir(); dir != "" {
			_ = os.Setenv("XDG_RUNTIME_DIR", dir)
		}
	}
}

// peek returns the settings that the node will read as that user, nil for root; the defaults where they cannot be read. A mistake in them is the
// node's to tell: as root nothing is said of what a file holds.
func (a *app) peek(t *privilege.Target) assembly.Settings {
	path := a.configFile
	if path == "" {
		candidates := configCandidates()
		if t != nil {
			candidates = []string{filepath.Join(t.Home, ".config", "testudo", "testudo.yaml"), "/etc/testudo/testudo.yaml"}
		}
		for _, candidate := range candidates {
			if _, err := os.Stat(candidate); err == nil && filepath.IsAbs(candidate) {
				path = candidate
				break
			}
		}
	}
	s, err := assembly.LoadSettings(path)
	if err != nil {
		return assembly.DefaultSettings()
	}
	return s
}

// dataOf returns the data directory that the node will use as that user, "" where it is not known.
func (a *app) dataOf(t *privilege.Target, s *assembly.Settings) string {
	named := a.data
	if named == "" {
		named = s.Data
	}
	if named == "" && t.Home != "" {
		named = filepath.Join(t.Home, ".local", "state", "testudo")
	}
	if named == "" {
		return ""
	}
	dir, err := filepath.Abs(named)
	if err != nil {
		return ""
	}
	return dir
}
