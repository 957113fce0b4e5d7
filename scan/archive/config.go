package archive

import (
	"fmt"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config bounds what is unpacked. A limit that is hit is said, with the archive's or the entry's path.
type Config struct {
	// MaxDepth is how many archives may be in each other.
	MaxDepth int `yaml:"max_depth"`
	// MaxUnpacked bounds the unpacked bytes of one file, with all archives in it.
	MaxUnpacked bytesize.Size `yaml:"max_unpacked"`
	// MaxRatio bounds the unpacked bytes of one file in multiples of its size, once they are more than 64 MiB.
	MaxRatio int `yaml:"max_ratio"`
	// MaxEntries bounds the entries of one file, with all archives in it.
	MaxEntries int `yaml:"max_entries"`
	// MaxEntrySize leaves out larger entries, unless they are archives that can be read as streams.
	MaxEntrySize bytesize.Size `yaml:"max_entry_size"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{MaxDepth: 4, MaxUnpacked: 2 * bytesize.GiB, MaxRatio: 200, MaxEntries: 200_000, MaxEntrySize: 10 * bytesize.MiB}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.MaxDepth < 0 || c.MaxDepth > 20:
		return fmt.Errorf("max_depth is %d: want 0 to 20", c.MaxDepth)
	case c.MaxUnpacked < bytesize.MiB || c.MaxUnpacked > 1024*bytesize.GiB:
		return fmt.Errorf("max_unpacked is %d: want 1MiB to 1TiB", c.MaxUnpacked)
	case c.MaxRatio < 2 || c.MaxRatio > 1_000_000:
		return fmt.Errorf("max_ratio is %d: want 2 to 1000000", c.MaxRatio)
	case c.MaxEntries < 1 || c.MaxEntries > 100_000_000:
		return fmt.Errorf("max_entries is %d: want 1 to 100000000", c.MaxEntries)
	case c.MaxEntrySize < 1 || c.MaxEntrySize > bytesize.GiB:
		return fmt.Errorf("max_entry_size is %d: want 1 byte to 1GiB", c.MaxEntrySize)
	}
	return nil
}
