package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can and cannot do, and what would change it",
		Long: `Say what this machine can and cannot do, and what would change it.

What the kernel allows is tried as root, or asked of the node that runs here, as is how it guards routes and APIs. Features of the kernel that are
missing are shown and counted apart: something slower or later stands in for most, as each says.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.dataDir()
			if err != nil {
				return err
			}
			lacking, features := 0, 0
			checks := assembly.Doctor(cmd.Context(), &a.settings, dir)
			for _, c := range append(checks, a.nodeChecks(cmd.Context(), checks)...) {
				if c.OK {
					fmt.Fprintf(a.stdout, "  ok    %-17s %s\n", c.Name, c.Detail)
					continue
				}
				if strings.HasPrefix(c.Name, assembly.KernelCheck) {
					features++
				} else {
					lacking++
				}
				fmt.Fprintf(a.stdout, "  LACKS %-17s %s\n", c.Name, c.Detail)
				fmt.Fprintf(a.stdout, "        %-17s costs: %s\n", "", c.Cost)
				fmt.Fprintf(a.stdout, "        %-17s mend:  %s\n", "", c.Command)
			}
			if features > 0 {
				fmt.Fprintf(a.stdout, "\n%d lacking of the kernel\n", features)
			}
			if lacking > 0 {
				fmt.Fprintf(a.stdout, "\n%d lacking\n", lacking)
				return errAnswered
			}
			return nil
		},
	}
}

// nodeChecks are what a node that runs here knows beside these: of its sensor, its routes, its APIs. What the kernel allows is tried where none does.
func (a *app) nodeChecks(ctx context.Context, local []console.Check) []console.Check {
	var checks []console.Check
	kernel := false
	if c, _, err := a.dial(ctx); err == nil {
		defer c.Close()
		all, err := c.Doctor(ctx)
		if err != nil {
			all = nil
		}
		for _, one := range all {
			if !slices.ContainsFunc(local, func(l console.Check) bool { return l.Name == one.Name }) {
				checks = append(checks, one)
				kernel = kernel || strings.HasPrefix(one.Name, assembly.KernelCheck)
			}
		}
	}
	if !kernel {
		checks = append(checks, assembly.ProbeKernel(ctx, a.quiet())...)
	}
	return checks
}
