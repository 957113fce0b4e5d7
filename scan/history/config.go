package history

import (
	"fmt"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config is how a repository's history is read.
type Config struct {
	// MaxCommits stops at so many commits, the newest of each branch first.
	MaxCommits int `yaml:"max_commits"`
	// MaxFiles leaves out what is more versions of files than that.
	MaxFiles int `yaml:"max_files"`
	// MaxUnpacked ends the reading after so many unpacked bytes of objects, whatever they are for.
	MaxUnpacked bytesize.Size `yaml:"max_unpacked"`
	// Unreachable reads also what no branch or tag leads to: amended commits, dropped stashes, files that were staged once.
	Unreachable bool `yaml:"unreachable"`
	// Alternates reads object folders outside the repository too, which objects/info/alternates names.
	Alternates bool `yaml:"alternates"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{MaxCommits: 5_000_000, MaxFiles: 10_000_000, MaxUnpacked: 256 * bytesize.GiB}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.MaxCommits < 1 || c.MaxCommits > 50_000_000:
		return fmt.Errorf("max_commits is %d: want 1 to 50000000", c.MaxCommits)
	case c.MaxFiles < 1 || c.MaxFiles > 100_000_000:
		return fmt.Errorf("max_files is %d: want 1 to 100000000", c.MaxFiles)
	case c.MaxUnpacked < bytesize.MiB || c.MaxUnpacked > 100*1024*bytesize.GiB:
		return fmt.Errorf("max_unpacked is %d: want 1MiB to 100TiB", c.MaxUnpacked)
	}
	return nil
}
