package image

import (
	"fmt"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config is what of an image is read. What exceeds a limit is left out and said.
type Config struct {
	// MaxLayers refuses images of more layers.
	MaxLayers int `yaml:"max_layers"`
	// MaxEntries stops reading names, of all layers together, after so many.
	MaxEntries int `yaml:"max_entries"`
	// MaxUnpacked stops unpacking, all layers together, after so many bytes. It also bounds what is fetched from a registry.
	MaxUnpacked bytesize.Size `yaml:"max_unpacked"`
	// MaxManifest refuses larger manifests, lists of manifests and configurations.
	MaxManifest bytesize.Size `yaml:"max_manifest"`
	// Checks judges how the image is made: its user, environment, history, ports and file modes.
	Checks bool `yaml:"checks"`
	// CacheSize bounds the folder that keeps what layers hold.
	CacheSize bytesize.Size `yaml:"cache_size"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{
		MaxLayers:   512,
		MaxEntries:  1_000_000,
		MaxUnpacked: 32 * bytesize.GiB,
		MaxManifest: 8 * bytesize.MiB,
		Checks:      true,
		CacheSize:   512 * bytesize.MiB,
	}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.MaxLayers < 1 || c.MaxLayers > 10_000:
		return fmt.Errorf("max_layers is %d: want 1 to 10000", c.MaxLayers)
	case c.MaxEntries < 1 || c.MaxEntries > 50_000_000:
		return fmt.Errorf("max_entries is %d: want 1 to 50000000", c.MaxEntries)
	case c.MaxUnpacked < bytesize.MiB:
		return fmt.Errorf("max_unpacked is %d: want at least 1MiB", c.MaxUnpacked)
	case c.MaxManifest < bytesize.KiB || c.MaxManifest > bytesize.GiB:
		return fmt.Errorf("max_manifest is %d: want 1KiB to 1GiB", c.MaxManifest)
	case c.CacheSize < 0:
		return fmt.Errorf("cache_size is %d: want 0 for none, or more", c.CacheSize)
	}
	return nil
}
