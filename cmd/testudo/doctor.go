package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can and cannot do, and what would change it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.dataDir()
			if err != nil {
				return err
			}
			lacking := 0
			for _, c := range assembly.Doctor(cmd.Context(), &a.settings, dir) {
				if c.OK {
					fmt.Fprintf(a.stdout, "  ok    %-17s %s\n", c.Name, c.Detail)
					continue
				}
				lacking++
				fmt.Fprintf(a.stdout, "  LACKS %-17s %s\n", c.Name, c.Detail)
				fmt.Fprintf(a.stdout, "        %-17s costs: %s\n", "", c.Cost)
				fmt.Fprintf(a.stdout, "        %-17s mend:  %s\n", "", c.Command)
			}
			if lacking > 0 {
				fmt.Fprintf(a.stdout, "\n%d lacking\n", lacking)
				return errAnswered
			}
			return nil
		},
	}
}
