//go:build !linux

package assembly

import (
	"log/slog"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
)

// Sensor has no parts on this system.
func Sensor(_ SensorConfig, log *slog.Logger) kernel.Sensor {
	return newSensor(sensorParts{log: log})
}

func release() string { return "" }

// FileExaminer needs Linux.
func FileExaminer(fim.Config) kernel.Examiner { return nil }

// ownSensor is Linux's alone.
func ownSensor(SensorConfig, *slog.Logger) kernel.Sensor { return nil }
