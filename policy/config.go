package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/policy/budget"
)

// Config is the policy part of testudo.yaml.
type Config struct {
	// Rules lists folders or files of rules that are loaded beside the ones that
	// ship with testudo.
	Rules []string `yaml:"rules"`
	// Builtin says whether the rules that ship with testudo are loaded.
	Builtin bool `yaml:"builtin"`
	// Disable lists ids of rules that are loaded and shown, and never fire.
	Disable []string `yaml:"disable"`
	// Budget says how often a rule may fire on traffic that is known to be good before it only alerts.
	Budget budget.Config `yaml:"budget"`
	// Reload is how often the folders are looked at for changes; 0 for never.
	Reload time.Duration `yaml:"reload"`
	// MaxFile is the largest rule file that is read, up to 10 MiB.
	MaxFile bytesize.Size `yaml:"max_file"`
}

// Default returns the configuration that holds where nothing else is said.
func Default() Config {
	return Config{Builtin: true, Budget: budget.Default(), Reload: time.Second, MaxFile: DefaultMaxFile}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if err := c.Budget.Validate(); err != nil {
		return err
	}
	switch {
	case c.Reload != 0 && (c.Reload < 100*time.Millisecond || c.Reload > time.Hour):
		return fmt.Errorf("reload: %v is not between 100ms and 1h; 0 switches it off", c.Reload)
	case c.MaxFile < 1<<10 || c.MaxFile > 10<<20:
		return fmt.Errorf("max_file: %v is not between 1KiB and 10MiB", c.MaxFile)
	case slices.Contains(c.Rules, ""):
		return fmt.Errorf("rules: an entry is empty; name a folder or file")
	}
	return nil
}

// Sources returns the folders and files of the configuration as sources, those that ship
// with testudo first.
func (c Config) Sources(builtin ...Source) []Source {
	var all []Source
	if c.Builtin {
		all = append(all, builtin...)
	}
	for _, path := range c.Rules {
		all = append(all, Disk(path))
	}
	return all
}
