package assembly

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
)

// KernelCheck begins the names of checks that are about what the kernel allows.
const KernelCheck = "kernel"

// ProbeKernel tries what this kernel allows by loading every program for a moment. Only root can; for others it says
// so.
func ProbeKernel(ctx context.Context, log *slog.Logger) []console.Check {
	if runtime.GOOS != "linux" {
		return []console.Check{{Name: KernelCheck, Detail: "this is no Linux", Cost: "processes, files and sockets of this host are not watched",
			Command: "run testudo on Linux"}}
	}
	if os.Geteuid() != 0 {
		return []console.Check{{Name: KernelCheck, Detail: fmt.Sprintf("Linux %s, not tried as uid %d", release(), os.Geteuid()),
			Cost: "what it allows is known to root alone; without root testudo up sees processes that last, in /proc, and files by inotify, and refuses nothing", Command: "sudo testudo doctor"}}
	}
	s, isOurs := Sensor(SensorConfig{}, log).(*sensor)
	if !isOurs {
		return nil
	}
	_ = s.openEyes(ctx) // is in the status
	st, err := s.Status(ctx)
	if closeErr := s.shut(); closeErr != nil {
		log.Warn("what was loaded is not all gone", "error", closeErr)
	}
	if err != nil {
		return []console.Check{{Name: KernelCheck, Detail: err.Error(), Cost: "processes, files and sockets of this host are not watched", Command: "testudo up logs more"}}
	}
	return FeatureChecks(st)
}

// FeatureChecks shows the features of a sensor, the release of the kernel first.
func FeatureChecks(st kernel.Status) []console.Check {
	mode := st.Mode
	if mode == "" {
		mode = "nothing"
	}
	first := console.Check{Name: KernelCheck, OK: st.Mode != "", Detail: fmt.Sprintf("Linux %s, watched by %s", st.Kernel, mode)}
	if !first.OK {
		first.Cost, first.Command = "processes, files and sockets of this host are not watched", "see what is lacking below"
	}
	checks := []console.Check{first}
	for _, f := range st.Features {
		c := console.Check{Name: KernelCheck + " " + f.Name, OK: f.OK, Detail: f.Detail, Cost: f.Cost, Command: f.Mend}
		if !c.OK && c.Command == "" {
			c.Command = "none known"
		}
		checks = append(checks, c)
	}
	return checks
}
