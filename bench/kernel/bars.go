// Package kernel measures what watching a host costs those who work on it, and whether what is watched, refused and joined is all of it.
// Its bars need root and a kernel that takes eBPF programs.
package kernel

import (
	"errors"
	"os"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return []bar.Bar{overheadBuild(), overheadHTTP(), overheadHTTPFollowed(), readerCost(), rate(), rateRecorded(), execRefused(), execToVerdict(), execToKill(),
		join(), memoryIdle(), memoryMany()}
}

// Roles lists the processes that they start.
func Roles() []proc.Role {
	return []proc.Role{
		{Name: "kernel-plane", Run: runPlane},
		{Name: "kernel-sensor", Run: runSensor},
		{Name: "kernel-reader", Run: runReader},
		{Name: "kernel-opens", Run: makeOpens},
		{Name: "kernel-starts", Run: startPrograms},
		{Name: "kernel-sleepers", Run: startSleepers},
	}
}

// needRoot says why nothing can be measured here.
func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the kernel is watched by root: run the bench as root")
	}
	return nil
}
