package store

import (
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config says how events are taken, shown and archived. The bus and the lake have
// configurations of their own.
type Config struct {
	// BatchSize is how many bytes of events go to the bus at once, before compression.
	BatchSize bytesize.Size `yaml:"batch_size"`
	// BatchAge is how long an event waits for others to go with it.
	BatchAge time.Duration `yaml:"batch_age"`
	// Memory bounds what waits for the bus, most of it compressed; what does not fit is dropped and counted.
	Memory bytesize.Size `yaml:"memory"`
	// MaxEvent bounds one event; a larger one is dropped and counted.
	MaxEvent bytesize.Size `yaml:"max_event"`
	// Recent is how many events the live view can show at once when it is opened.
	Recent int `yaml:"recent"`
	// ArchiveAge is the age at which batches are moved from the bus into lake files. Searches see them before.
	ArchiveAge time.Duration `yaml:"archive_age"`
	// ArchiveRows is the number of events at which a lake file is closed before that age.
	ArchiveRows int `yaml:"archive_rows"`
	// ArchiveSize is the size at which a lake file is closed before that age.
	ArchiveSize bytesize.Size `yaml:"archive_size"`
	// DeadLetters bounds the folder of batches that could not be read; more are only counted.
	DeadLetters bytesize.Size `yaml:"dead_letters"`
}

// DefaultConfig suits one machine.
func DefaultConfig() Config {
	return Config{
		BatchSize:   256 * bytesize.KiB,
		BatchAge:    10 * time.Millisecond,
		Memory:      64 * bytesize.MiB,
		MaxEvent:    512 * bytesize.KiB,
		Recent:      2000,
		ArchiveAge:  30 * time.Second,
		ArchiveRows: 1 << 18,
		ArchiveSize: 64 * bytesize.MiB,
		DeadLetters: 64 * bytesize.MiB,
	}
}

// maxBatch bounds a batch so that, even where it does not compress, it fits into
// a NATS server's usual limit of 1 MiB for a message.
const maxBatch = 896 << 10

// Validate says what is wrong with the configuration.
func (c *Config) Validate() error {
	switch {
	case c.BatchSize < 4*bytesize.KiB || c.BatchSize > maxBatch:
		return fmt.Errorf("batch_size: %s: want 4KiB to 896KiB", c.BatchSize)
	case c.BatchAge <= 0 || c.BatchAge > time.Second:
		return fmt.Errorf("batch_age: %s: want more than 0 and at most 1s", c.BatchAge)
	case c.Memory < 2*maxBatch:
		return fmt.Errorf("memory: %s: want at least 2MiB", c.Memory)
	case c.MaxEvent < bytesize.KiB || c.MaxEvent > maxBatch:
		return fmt.Errorf("max_event: %s: want 1KiB to 896KiB", c.MaxEvent)
	case c.Recent < 0 || c.Recent > 100_000:
		return fmt.Errorf("recent: %d: want 0 to 100000", c.Recent)
	case c.ArchiveAge < 100*time.Millisecond || c.ArchiveAge > time.Hour:
		return fmt.Errorf("archive_age: %s: want 100ms to 1h", c.ArchiveAge)
	case c.ArchiveRows < 1000 || c.ArchiveRows > 1<<22:
		return fmt.Errorf("archive_rows: %d: want 1000 to 4194304", c.ArchiveRows)
	case c.ArchiveSize < bytesize.MiB || c.ArchiveSize > bytesize.GiB:
		return fmt.Errorf("archive_size: %s: want 1MiB to 1GiB", c.ArchiveSize)
	case c.DeadLetters < 0:
		return fmt.Errorf("dead_letters: %s is negative", c.DeadLetters)
	}
	return nil
}
