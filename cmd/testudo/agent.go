package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (a *app) agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "agent",
		Short: "Watch this host alone: its processes, files and sockets",
		Long: `Watch this host alone: its processes, files and sockets, judged by the rules and kept in a data
directory of its own. There is no edge and no console, and no port is listened on: the other
subcommands (ps, hunt, trace, fim, respond, doctor) ask it by its control socket.

Started by root, as with sudo, the sensor is a small child that stays root; everything else runs
as the user behind sudo, else as the user testudo. An ordinary user's agent sees less.`,
		Example: `  sudo testudo agent
  testudo hunt 'process.name == "nc"'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.settings.Kernel.Enabled == "off" {
				return errors.New("nothing to do: an agent watches the host, and kernel.enabled is off")
			}
			a.settings.Scan.Paths = nil // scans are another role's
			return a.up(cmd.Context(), upFlags{}, roleAgent)
		},
	}
}
