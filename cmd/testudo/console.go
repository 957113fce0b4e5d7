package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
)

func (a *app) consoleCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "console", Short: "Sign in to the console"}
	cmd.AddCommand(a.consoleLinkCommand())
	return cmd
}

func (a *app) consoleLinkCommand() *cobra.Command {
	var name, role string
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Make a one-time link that signs in to the console of the running node",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, dir, err := a.dial(cmd.Context())
			if errors.Is(err, client.ErrNoNode) {
				return fmt.Errorf("no node runs on %s: start testudo up first", dir)
			}
			if err != nil {
				return err
			}
			defer c.Close()
			var inv console.Invitation
			if name == "" {
				inv, err = c.ConsoleLink(cmd.Context())
			} else {
				var r console.Role
				if r, err = console.ParseRole(role); err != nil {
					return err
				}
				inv, err = c.Invite(cmd.Context(), name, r)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, inv.URL)
			fmt.Fprintf(a.stderr, "signs in %s, once, until %s\n", inv.Name, inv.Expires.Local().Format(time.TimeOnly))
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "whom it signs in (default the admin of this machine)")
	cmd.Flags().StringVar(&role, "role", "viewer", "role of a new person: viewer, operator or admin")
	return cmd
}
