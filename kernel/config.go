package kernel

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/kernel/process"
)

// Config says whether this host is watched, and what becomes of what is seen.
type Config struct {
	// Enabled is "auto" (watch with the privileges that are there, and say what is missing), "on" (not to be root is an error, unless eyes is
	// procwatch) or "off".
	Enabled string `yaml:"enabled"`
	// Mode is what becomes of rules that refuse: "monitor" (told of and let pass) or "enforce" (refused, or killed, by the earliest
	// gate that this kernel has for it).
	Mode string `yaml:"mode"`
	// Monitor lists ids of rules that are only told of although mode is "enforce".
	Monitor []string `yaml:"monitor"`
	// Enforce lists ids of rules that are enforced although mode is "monitor".
	Enforce []string `yaml:"enforce"`
	// Force lists ids of rules that are enforced although they would lock everybody out: a rule that refuses that the SSH server or a shell starts or reads what it
	// needs, that somebody signs in, that testudo or the first process run, or everything, is otherwise only told of.
	Force []string `yaml:"force"`
	// Fail is what becomes of what is enforced when testudo ends or dies: "open" (all is let through) or "closed" (what the kernel holds by
	// itself stays in force, until testudo runs again or is told to release it).
	Fail string `yaml:"fail"`
	// Eyes is what sees: "auto" (eBPF, or what there is without it), "ebpf" (not to be able to is an error) or "procwatch" (without eBPF: processes by the
	// process connector and /proc, files by inotify).
	Eyes string `yaml:"eyes"`
	// Ring is the size of the ring buffer that the kernel writes records to: a power of two of pages.
	Ring bytesize.Size `yaml:"ring"`
	// Queue is how much of records may wait to be judged. Where it is full the ring fills, and what does not fit into that
	// is dropped and counted.
	Queue bytesize.Size `yaml:"queue"`
	// Processes bounds the table of processes, which remembers those that have ended.
	Processes process.Config `yaml:"processes"`
	// Containers is how many cgroups are remembered with the container that runs, or ran, in them.
	Containers int `yaml:"containers"`
	// ParkTime is how long events wait for what is being looked up: which container a new cgroup is, and, where a rule asks
	// for it, hash and package of a program that runs for the first time. Then they are judged without.
	ParkTime time.Duration `yaml:"park_time"`
	// ParkEvents is how many events may wait so; more are judged without waiting.
	ParkEvents int `yaml:"park_events"`
	// Masked lists further names of options and variables whose values are masked in recorded command lines, beside the built-in
	// ones: "--pin" masks 1234 in "--pin 1234" and "--pin=1234".
	Masked []string `yaml:"masked"`
	// Sockets are where container runtimes are asked: paths, of containerd, Docker, CRI-O and Podman. What is not there is passed over.
	Sockets []string `yaml:"sockets"`
	// MaxLost is how many records may be lost in a minute before the health check fails.
	MaxLost int `yaml:"max_lost"`
}

// What sees, see Config.Eyes.
const (
	EyesAuto      = "auto"
	EyesEBPF      = "ebpf"
	EyesProcwatch = "procwatch"
)

// DefaultConfig returns the configuration of a plane that watches where it can.
func DefaultConfig() Config {
	return Config{
		Enabled: "auto", Mode: "monitor", Fail: FailOpen, Eyes: EyesAuto, Ring: 8 * bytesize.MiB, Queue: 16 * bytesize.MiB, Processes: process.Default(), Containers: 8192,
		ParkTime: 300 * time.Millisecond, ParkEvents: 4096,
		Sockets: []string{"/run/containerd/containerd.sock", "/run/docker.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock", "/run/podman/podman.sock"},
		MaxLost: 1000,
	}
}

// Validate says what is wrong.
func (c *Config) Validate() error {
	switch {
	case !slices.Contains([]string{"auto", "on", "off"}, c.Enabled):
		return fmt.Errorf("enabled: %q: want auto, on or off", c.Enabled)
	case c.Mode != ModeMonitor && c.Mode != ModeEnforce:
		return fmt.Errorf("mode: %q: want monitor or enforce", c.Mode)
	case c.Fail != FailOpen && c.Fail != FailClosed:
		return fmt.Errorf("fail: %q: want open or closed", c.Fail)
	case c.Eyes != EyesAuto && c.Eyes != EyesEBPF && c.Eyes != EyesProcwatch:
		return fmt.Errorf("eyes: %q: want auto, ebpf or procwatch", c.Eyes)
	case c.Ring < 64*bytesize.KiB || c.Ring > bytesize.GiB || c.Ring&(c.Ring-1) != 0:
		return errors.New("ring: want a power of two from 64KiB to 1GiB")
	case c.Queue < bytesize.MiB || c.Queue > 4*bytesize.GiB:
		return errors.New("queue: want 1MiB to 4GiB")
	case c.Containers < 16 || c.Containers > 1<<20:
		return errors.New("containers: want 16 to 1048576")
	case c.ParkTime < 0 || c.ParkTime > 10*time.Second:
		return errors.New("park_time: want 0s to 10s")
	case c.ParkEvents < 0 || c.ParkEvents > 1<<20:
		return errors.New("park_events: want 0 to 1048576")
	case c.MaxLost < 0:
		return errors.New("max_lost: want a number that is not negative")
	}
	for _, rule := range c.Monitor {
		if slices.Contains(c.Enforce, rule) {
			return fmt.Errorf("monitor: rule %q is listed in enforce, too", rule)
		}
	}
	for _, path := range c.Sockets {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("sockets: %q: want an absolute path", path)
		}
	}
	if err := c.Processes.Validate(); err != nil {
		return fmt.Errorf("processes: %w", err)
	}
	return nil
}

// Modes of a rule that refuses.
const (
	ModeMonitor = "monitor"
	ModeEnforce = "enforce"
)

// What becomes of what is enforced without testudo.
const (
	FailOpen   = "open"
	FailClosed = "closed"
)

// Enforces reports whether what the rule refuses is refused.
func (c *Config) Enforces(rule string) bool {
	if c.Mode == ModeEnforce {
		return !slices.Contains(c.Monitor, rule)
	}
	return slices.Contains(c.Enforce, rule)
}
