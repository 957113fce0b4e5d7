package assembly

import (
	"context"
	"log/slog"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/procwatch"
)

// seeing sees by eBPF, or where that cannot be loaded by what there is without it.
type seeing struct {
	cfg SensorConfig
	log *slog.Logger

	eyes       // what sees; nil before Open
	lack error // why eBPF is not even tried; nil where it is
	why  error // that it is not eBPF; nil where that was not asked for
}

func (s *seeing) Open(ctx context.Context) error {
	s.why = s.lack
	if s.lack == nil && s.cfg.Eyes != kernel.EyesProcwatch {
		by := &tracing{cfg: s.cfg, log: s.log}
		err := by.Open(ctx)
		if s.eyes = by; err == nil || s.cfg.Eyes == kernel.EyesEBPF {
			return err
		}
		s.why = err
		s.log.Warn("eBPF cannot be used: the host is watched with less", "error", err)
	}
	by := procwatch.New(procwatch.Options{Log: s.log})
	s.eyes = by
	return by.Open(ctx)
}

// Flush implements flusher, where what sees can.
func (s *seeing) Flush(ctx context.Context) error {
	if by, ok := s.eyes.(flusher); ok {
		return by.Flush(ctx)
	}
	return kernel.ErrUnable
}

// Status implements eyes.
func (s *seeing) Status() (kernel.Status, error) {
	if s.eyes == nil {
		return kernel.Status{}, kernel.ErrUnable
	}
	st, err := s.eyes.Status()
	if s.why != nil {
		st.Features = append([]kernel.Feature{{Name: "ebpf", Detail: s.why.Error(), Cost: "less is seen of this host, as the next lines say",
			Mend: "run testudo as root, on Linux 5.8 or newer with BTF; kernel.eyes: ebpf makes it an error"}}, st.Features...)
	}
	return st, err
}
