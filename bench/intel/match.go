package intel

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/signal"

	"github.com/testudo-sec/testudo/bench/proc"
)

const matchRole = "intel-match"

// match opens the database, judges 1,000 packages and says: open ms, CPU s, peak MB; what it found.
func match(ctx context.Context, talk *proc.Talk, args []string) error {
	begin := time.Now()
	d, err := intel.Open(args[0])
	if err != nil {
		return talk.Fail(err)
	}
	opened := []float64{time.Since(begin).Seconds() * 1000}
	defer d.Close()
	for range 4 {
		begin := time.Now()
		again, err := intel.Open(args[0])
		if err != nil {
			return talk.Fail(err)
		}
		opened = append(opened, time.Since(begin).Seconds()*1000)
		_ = again.Close()
	}
	slices.Sort(opened)
	inventory := &scan.Inventory{Target: "bench"}
	for i := range 1000 {
		p := scan.Package{Ecosystem: "Debian:12", Name: fmt.Sprintf("package-%d", i*3), Version: "3.100.20-1", Path: "var/lib/dpkg/status"}
		switch i % 4 {
		case 0:
			p.Ecosystem, p.Name, p.Version = "npm", name(i*200), "1.0.0"
		case 1:
			p.Ecosystem, p.Version = fmt.Sprintf("Family %d", i%families), "1.2.3"
		}
		p.PURL = "pkg:generic/" + strings.ReplaceAll(p.Ecosystem, " ", "") + "/" + p.Name + "@" + p.Version
		inventory.Packages = append(inventory.Packages, p)
	}
	c := vuln.DefaultConfig()
	m, err := vuln.New(vuln.Options{Config: c, Database: d})
	if err != nil {
		return talk.Fail(err)
	}
	found := 0
	if err := m.Match(ctx, inventory, func(signal.Finding, scan.Confidence) { found++ }); err != nil {
		return talk.Fail(err)
	}
	cpu, err := proc.CPU(os.Getpid())
	if err != nil {
		return talk.Fail(err)
	}
	peak, err := highWater()
	if err != nil {
		return talk.Fail(err)
	}
	if s := m.Summary(); s.Packages != 1000 || s.Flaws == 0 {
		return talk.Fail(fmt.Errorf("%d packages, %d flaws: the work was not done", s.Packages, s.Flaws))
	}
	return talk.Say("%f %f %f; %d flaws of 1000 packages, %d reported", opened[2], cpu.Seconds(), peak, m.Summary().Flaws, found)
}

// highWater is the greatest resident memory so far, in MB.
func highWater() (float64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kb); n == 1 {
			return kb / 1000, nil
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/self/status")
}
