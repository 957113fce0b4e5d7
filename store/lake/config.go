package lake

import (
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config says how long the lake keeps events and how it tidies up.
type Config struct {
	// MaxAge is how long events are kept, by their own time; 0 keeps them until MaxSize is reached.
	MaxAge time.Duration `yaml:"max_age"`
	// MaxSize is how large the lake may grow; the oldest hours go first. 0 sets no bound.
	MaxSize bytesize.Size `yaml:"max_size"`
	// CompactSize is the size that small files of a past hour are joined up to; 0 leaves them as they are.
	CompactSize bytesize.Size `yaml:"compact_size"`
	// CompactAfter is how long after its end an hour is compacted, so that late events are in.
	CompactAfter time.Duration `yaml:"compact_after"`
}

// DefaultConfig keeps a month of events in at most 20 GiB.
func DefaultConfig() Config {
	return Config{
		MaxAge:       30 * 24 * time.Hour,
		MaxSize:      20 * bytesize.GiB,
		CompactSize:  128 * bytesize.MiB,
		CompactAfter: 10 * time.Minute,
	}
}

// Validate says what is wrong with the configuration.
func (c *Config) Validate() error {
	switch {
	case c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < time.Hour:
		return fmt.Errorf("max_age: %s: want 0 or at least 1h, because events are deleted by the hour", c.MaxAge)
	case c.MaxSize < 0 || c.MaxSize > 0 && c.MaxSize < 16*bytesize.MiB:
		return fmt.Errorf("max_size: %s: want 0 or at least 16MiB", c.MaxSize)
	case c.CompactSize < 0 || c.CompactSize > 4*bytesize.GiB:
		return fmt.Errorf("compact_size: %s: want 0 to 4GiB", c.CompactSize)
	case c.CompactAfter < 0:
		return fmt.Errorf("compact_after: %s is negative", c.CompactAfter)
	}
	return nil
}
