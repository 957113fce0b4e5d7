package scan

import (
	"fmt"
	"runtime"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config is how a tree is walked and what of the findings is shown.
type Config struct {
	// MaxFileSize leaves out larger files and counts them.
	MaxFileSize bytesize.Size `yaml:"max_file_size"`
	// MaxArtifactSize leaves out larger files that name packages: programs, archives, package databases. They
	// are not held in memory.
	MaxArtifactSize bytesize.Size `yaml:"max_artifact_size"`
	// MaxPackages stops collecting, not counting, after so many packages.
	MaxPackages int `yaml:"max_packages"`
	// MaxDepth leaves out folders that are nested deeper.
	MaxDepth int `yaml:"max_depth"`
	// MaxFindings stops reporting, not counting, after so many findings.
	MaxFindings int `yaml:"max_findings"`
	// Ignore reads .gitignore, .git/info/exclude and .testudoignore files.
	Ignore bool `yaml:"ignore"`
	// Exclude leaves out paths, with patterns as in .gitignore.
	Exclude []string `yaml:"exclude"`
	// Confidence is the least confidence that is reported: low, medium or high.
	Confidence string `yaml:"confidence"`
	// Workers read files in parallel; 0 stands for one for each processor.
	Workers int `yaml:"workers"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{
		MaxFileSize:     10 * bytesize.MiB,
		MaxArtifactSize: bytesize.GiB,
		MaxPackages:     500_000,
		MaxDepth:        500,
		MaxFindings:     20000,
		Ignore:          true,
		Confidence:      "medium",
	}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.MaxFileSize < 1 || c.MaxFileSize > bytesize.GiB:
		return fmt.Errorf("max_file_size is %d: want 1 byte to 1GiB", c.MaxFileSize)
	case c.MaxArtifactSize < c.MaxFileSize || c.MaxArtifactSize > 100*bytesize.GiB:
		return fmt.Errorf("max_artifact_size is %d: want max_file_size to 100GiB", c.MaxArtifactSize)
	case c.MaxPackages < 1 || c.MaxPackages > 10_000_000:
		return fmt.Errorf("max_packages is %d: want 1 to 10000000", c.MaxPackages)
	case c.MaxDepth < 1 || c.MaxDepth > 10000:
		return fmt.Errorf("max_depth is %d: want 1 to 10000", c.MaxDepth)
	case c.MaxFindings < 1:
		return fmt.Errorf("max_findings is %d: want at least 1", c.MaxFindings)
	case c.Workers < 0 || c.Workers > 256:
		return fmt.Errorf("workers is %d: want 0 to 256", c.Workers)
	}
	_, err := parseConfidence(c.Confidence)
	return err
}

func (c *Config) workers() int {
	if c.Workers > 0 {
		return c.Workers
	}
	return runtime.GOMAXPROCS(0)
}

func parseConfidence(s string) (Confidence, error) {
	for c := Low; c <= High; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("confidence is %q: want low, medium or high", s)
}
