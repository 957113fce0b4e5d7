package inventory

import (
	"fmt"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config is how packages are looked for.
type Config struct {
	// MaxManifestSize leaves out larger lockfiles and manifests, with an error each.
	MaxManifestSize bytesize.Size `yaml:"max_manifest_size"`
	// MaxUnpacked bounds what is unpacked of one archive, such as a jar with jars in it.
	MaxUnpacked bytesize.Size `yaml:"max_unpacked"`
	// MaxArchiveDepth is how deep archives in archives are followed.
	MaxArchiveDepth int `yaml:"max_archive_depth"`
	// FileTimeout ends the reading of one file.
	FileTimeout time.Duration `yaml:"file_timeout"`
	// Disable leaves out kinds of files by their name, as in docs/inventory.md: "python/requirements".
	Disable []string `yaml:"disable"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{
		MaxManifestSize: 64 * bytesize.MiB,
		MaxUnpacked:     512 * bytesize.MiB,
		MaxArchiveDepth: 8,
		FileTimeout:     time.Minute,
	}
}

// Validate checks the ranges and names.
func (c *Config) Validate() error {
	switch {
	case c.MaxManifestSize < bytesize.KiB || c.MaxManifestSize > bytesize.GiB:
		return fmt.Errorf("max_manifest_size is %s: want 1KiB to 1GiB", c.MaxManifestSize)
	case c.MaxUnpacked < bytesize.MiB || c.MaxUnpacked > 64*bytesize.GiB:
		return fmt.Errorf("max_unpacked is %s: want 1MiB to 64GiB", c.MaxUnpacked)
	case c.MaxArchiveDepth < 1 || c.MaxArchiveDepth > 64:
		return fmt.Errorf("max_archive_depth is %d: want 1 to 64", c.MaxArchiveDepth)
	case c.FileTimeout < time.Second || c.FileTimeout > time.Hour:
		return fmt.Errorf("file_timeout is %s: want 1s to 1h", c.FileTimeout)
	}
	known := Formats()
	for _, name := range c.Disable {
		if !slices.Contains(known, name) {
			return fmt.Errorf("disable names %q, which is no kind of file: docs/inventory.md lists them", name)
		}
	}
	return nil
}
