package main

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/kernel/wire"
)

// trimAfter is when a sensor has long done what only its start needs.
const trimAfter = 30 * time.Second

// sensorCommand is what testudo up starts of itself as root: see package privilege.
func (a *app) sensorCommand() *cobra.Command {
	var keep bool
	var cfg assembly.SensorConfig
	cmd := &cobra.Command{
		Use:    "sensor",
		Short:  "The privileged part of testudo up, which starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep {
				return privilege.Keep(append([]string{"sensor"}, sensorArgs(cfg)...))
			}
			control, records, err := privilege.BeSensor(cfg.Pins)
			if err != nil {
				return err
			}
			link, err := wire.FromFiles(control, records)
			if err != nil {
				return err
			}
			timer := time.AfterFunc(trimAfter, privilege.Trim)
			defer timer.Stop()
			return wire.Serve(cmd.Context(), link, func(log *slog.Logger) kernel.Sensor { return assembly.Sensor(cfg, log) })
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "start the sensor, and start it again when it has ended")
	cmd.Flags().Int64Var((*int64)(&cfg.Ring), "ring", 0, "bytes of the buffer between kernel and sensor")
	cmd.Flags().StringVar(&cfg.Pins, "pins", "", "where what is enforced stays when the sensor ends")
	cmd.Flags().StringVar(&cfg.Eyes, "eyes", "", "what sees: auto, ebpf or procwatch")
	cmd.Flags().Var(filesFlag{&cfg.Files}, "files", "files that may be asked about, as JSON")
	cmd.Flags().StringArrayVar(&cfg.Sockets, "socket", nil, "path of a container runtime's socket; may be given several times")
	return cmd
}

// sensorArgs are the flags that say cfg.
func sensorArgs(cfg assembly.SensorConfig) []string {
	args := []string{"--pins", cfg.Pins, "--ring", strconv.FormatInt(int64(cfg.Ring), 10)}
	if cfg.Eyes != "" {
		args = append(args, "--eyes", cfg.Eyes)
	}
	if cfg.Files.Enabled {
		args = append(args, "--files", filesFlag{&cfg.Files}.String())
	}
	for _, s := range cfg.Sockets {
		args = append(args, "--socket", s)
	}
	return args
}

// filesFlag is a flag that says which files the sensor answers for.
type filesFlag struct{ cfg *fim.Config }

func (f filesFlag) String() string {
	text, err := json.Marshal(f.cfg)
	if err != nil {
		return ""
	}
	return string(text)
}

func (f filesFlag) Set(text string) error {
	if err := json.Unmarshal([]byte(text), f.cfg); err != nil {
		return err
	}
	return f.cfg.Validate()
}

func (f filesFlag) Type() string { return "json" }
