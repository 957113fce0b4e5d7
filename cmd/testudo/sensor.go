package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/kernel/wire"
)

// settled is when a sensor has loaded its programs and told of what runs already.
const settled = 5 * time.Second

// sensorCommand is what testudo up starts of itself as root: see package privilege.
func (a *app) sensorCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:    "sensor",
		Short:  "The privileged part of testudo up, which starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep {
				return privilege.Keep([]string{"sensor"})
			}
			control, records, err := privilege.BeSensor()
			if err != nil {
				return err
			}
			link, err := wire.FromFiles(control, records)
			if err != nil {
				return err
			}
			timer := time.AfterFunc(settled, privilege.Trim)
			defer timer.Stop()
			return wire.Serve(cmd.Context(), link, assembly.Sensor)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "start the sensor, and start it again when it has ended")
	return cmd
}
