package kernel

import (
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"enabled":     func(c *Config) { c.Enabled = "yes" },
		"mode":        func(c *Config) { c.Mode = "block" },
		"eyes":        func(c *Config) { c.Eyes = "kprobes" },
		"ring":        func(c *Config) { c.Ring = 3 << 20 },
		"queue":       func(c *Config) { c.Queue = 5 },
		"containers":  func(c *Config) { c.Containers = 0 },
		"park_time":   func(c *Config) { c.ParkTime = time.Hour },
		"park_events": func(c *Config) { c.ParkEvents = -1 },
		"max_lost":    func(c *Config) { c.MaxLost = -1 },
		"monitor":     func(c *Config) { c.Monitor, c.Enforce = []string{"a"}, []string{"a"} },
		"sockets":     func(c *Config) { c.Sockets = []string{"docker.sock"} },
		"processes":   func(c *Config) { c.Processes.Live = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want+":") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestModesOfRules(t *testing.T) {
	c := DefaultConfig()
	c.Enforce = []string{"a"}
	if !c.Enforces("a") || c.Enforces("b") {
		t.Error("enforce names rules that are enforced although the mode is monitor")
	}
	c.Mode, c.Monitor, c.Enforce = ModeEnforce, []string{"b"}, nil
	if !c.Enforces("a") || c.Enforces("b") {
		t.Error("monitor names rules that are watched although the mode is enforce")
	}
}

func TestAccounts(t *testing.T) {
	got := readAccounts(strings.NewReader("root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/:/bin/sh\n#old:x:5:5\nshort:x\nbad:x:nine:9\nalice:x:1000:1000\n"))
	if len(got) != 2 || got[0] != "root" || got[1000] != "alice" {
		t.Errorf("%v", got)
	}
}

func TestAttributesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for a, name := range attrNames {
		if name == "" || seen[name] {
			t.Errorf("attribute %d has the name %q", a, name)
		}
		seen[name] = true
	}
}
