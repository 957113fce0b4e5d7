package assembly

import (
	"errors"
	"fmt"

	"github.com/testudo-sec/testudo/logs/follow"
	"github.com/testudo-sec/testudo/logs/intake"
	"github.com/testudo-sec/testudo/logs/listen"
)

// Logs says which logs of others are read.
type Logs struct {
	intake.Config `yaml:",inline"`
	// Files lists files to follow. How far each was read is kept in logs-positions.json in the data directory.
	Files []LogFiles `yaml:"files"`
	// Syslog lists addresses that take syslog messages.
	Syslog []LogSyslog `yaml:"syslog"`
	// OTLP lists addresses that take OpenTelemetry logs, over HTTP and gRPC.
	OTLP []LogOTLP `yaml:"otlp"`
	// Follow bounds and paces the following of files.
	Follow follow.Config `yaml:"follow"`
	// Limits bounds what senders can make the listeners hold.
	Limits listen.Limits `yaml:"limits"`
}

// LogFiles is a group of files of one kind.
type LogFiles struct {
	follow.Files `yaml:",inline"`
	intake.Spec  `yaml:",inline"`
}

// LogSyslog is one address that takes syslog messages.
type LogSyslog struct {
	listen.Syslog `yaml:",inline"`
	intake.Spec   `yaml:",inline"`
}

// LogOTLP is one address that takes OpenTelemetry logs.
type LogOTLP struct {
	listen.OTLP `yaml:",inline"`
	intake.Spec `yaml:",inline"`
}

// maxLogSources bounds the entries of each list.
const maxLogSources = 1000

// Validate checks what all sources share.
func (l *Logs) Validate() error {
	if max(len(l.Files), len(l.Syslog), len(l.OTLP)) > maxLogSources {
		return fmt.Errorf("more than %d entries in one list", maxLogSources)
	}
	return l.Config.Validate()
}

// Validate checks paths, format and zone.
func (f *LogFiles) Validate() error {
	return errors.Join(f.Files.Validate(), f.Spec.Validate(), checkFormat(f.Format))
}

// Validate checks address, format and zone.
func (s *LogSyslog) Validate() error {
	return errors.Join(s.Syslog.Validate(), s.Spec.Validate(), checkFormat(s.Format))
}

// Validate checks address, format and zone.
func (o *LogOTLP) Validate() error {
	if o.Format != "" && o.Format != "otlp" {
		return fmt.Errorf("format is %q: OpenTelemetry logs have no other format than otlp", o.Format)
	}
	return errors.Join(o.OTLP.Validate(), o.Spec.Validate())
}

// checkFormat checks that there is a format of that name.
func checkFormat(name string) error {
	if name == "" || name == intake.Auto {
		return nil
	}
	in, err := intake.New(intake.DefaultConfig(), intake.Deps{Formats: LogFormats()})
	if err == nil {
		_, err = in.Format(name)
	}
	return err
}

// any reports whether there is something to read.
func (l *Logs) any() bool { return len(l.Files)+len(l.Syslog)+len(l.OTLP) > 0 }

// defaultLogs returns what is in force where nothing else is said: nothing is read.
func defaultLogs() Logs {
	return Logs{Config: intake.DefaultConfig(), Follow: follow.DefaultConfig(), Limits: listen.DefaultLimits()}
}
