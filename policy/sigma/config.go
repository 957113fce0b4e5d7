package sigma

import (
	"fmt"
	"slices"
)

// MaxPipelines bounds how many pipeline files are read.
const MaxPipelines = 64

// Config is how Sigma rules are fitted to the logs at hand.
type Config struct {
	// Pipelines lists YAML files that rename fields, rewrite log sources, add conditions and give values to the
	// placeholders of Sigma rules, applied in this order. docs/sigma.md describes them.
	Pipelines []string `yaml:"pipelines"`
}

// DefaultConfig returns the configuration without pipelines.
func DefaultConfig() Config { return Config{} }

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case slices.Contains(c.Pipelines, ""):
		return fmt.Errorf("pipelines: an entry is empty; name a file")
	case len(c.Pipelines) > MaxPipelines:
		return fmt.Errorf("pipelines: more than %d files", MaxPipelines)
	}
	return nil
}
