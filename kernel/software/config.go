package software

import (
	"errors"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config bounds what is read and remembered.
type Config struct {
	// MaxSize is the largest executable that is read for its digest.
	MaxSize bytesize.Size `yaml:"max_size"`
	// Remember is how many digests are remembered.
	Remember int `yaml:"remember"`
	// Parallel is how many files are read at once.
	Parallel int `yaml:"parallel"`
	// Roots is of how many roots, the host's and those of containers, the package database is remembered: about 1.5 MB each at 120,000 files.
	Roots int `yaml:"roots"`
	// Refresh is how often a package database is looked at for changes.
	Refresh time.Duration `yaml:"refresh"`
}

// Default returns bounds for an ordinary host.
func Default() Config {
	return Config{MaxSize: 512 * bytesize.MiB, Remember: 8192, Parallel: 2, Roots: 16, Refresh: 5 * time.Second}
}

// Validate says what is wrong.
func (c Config) Validate() error {
	switch {
	case c.MaxSize < bytesize.MiB:
		return errors.New("max_size: want at least 1MiB")
	case c.Remember < 16:
		return errors.New("remember: want at least 16")
	case c.Parallel < 1 || c.Parallel > 64:
		return errors.New("parallel: want 1 to 64")
	case c.Roots < 1:
		return errors.New("roots: want at least 1")
	case c.Refresh < 0:
		return errors.New("refresh: want a duration that is not negative")
	}
	return nil
}
