package assembly

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
	"github.com/testudo-sec/testudo/kernel/enforce/hand"
)

// Sensor puts together what the privileged child consists of.
func Sensor(log *slog.Logger) kernel.Sensor {
	return newSensor(sensorParts{eyes: &tracing{log: log}, hands: hand.New(), log: log})
}

// tracing fits kernel/bpf to eyes.
type tracing struct {
	*bpf.Loader
	log *slog.Logger
}

func (t *tracing) Open(context.Context) error {
	t.Loader = bpf.New(bpf.Options{Exclude: []uint32{uint32(os.Getpid())}, Log: t.log})
	if err := t.Load(); err != nil {
		return err
	}
	if err := t.Attach(); err != nil {
		return errors.Join(err, t.Loader.Close())
	}
	return nil
}
