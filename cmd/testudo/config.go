package main

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check the configuration, and print the defaults",
		// A broken configuration must not keep these from saying what is broken.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a configuration file",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := assembly.LoadSettings(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s is in order\n", args[0])
			return nil
		},
	}, &cobra.Command{
		Use:   "print-defaults",
		Short: "Print a configuration file with every key at its default",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			out, err := yaml.MarshalWithOptions(assembly.DefaultSettings(), yaml.Indent(2))
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(out)
			return err
		},
	})
	return cmd
}
