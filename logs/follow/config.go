package follow

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Config bounds and paces the following of files.
type Config struct {
	// Poll is how often a file is asked whether it has grown; a file that has been quiet for ten
	// seconds is asked as often as folders are.
	Poll time.Duration `yaml:"poll"`
	// Rescan is how often the folders are looked through for new and rotated files.
	Rescan time.Duration `yaml:"rescan"`
	// Quiet is how long a file that was rotated away must have been quiet before it counts as
	// finished, and what follows it is read.
	Quiet time.Duration `yaml:"quiet"`
	// MaxFiles is the number of files held open at a time. Where there are more, those that have
	// been quiet the longest make room.
	MaxFiles int `yaml:"max_files"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{Poll: 250 * time.Millisecond, Rescan: time.Second, Quiet: 2 * time.Second, MaxFiles: 1024}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.Poll < 5*time.Millisecond || c.Poll > time.Minute:
		return fmt.Errorf("poll is %v: want 5ms to 1m", c.Poll)
	case c.Rescan < 5*time.Millisecond || c.Rescan > 10*time.Minute:
		return fmt.Errorf("rescan is %v: want 5ms to 10m", c.Rescan)
	case c.Quiet < 0 || c.Quiet > time.Hour:
		return fmt.Errorf("quiet is %v: want 0s to 1h", c.Quiet)
	case c.MaxFiles < 1 || c.MaxFiles > 100_000:
		return fmt.Errorf("max_files is %d: want 1 to 100000", c.MaxFiles)
	}
	return nil
}

// Files names files to follow.
type Files struct {
	// Paths lists files, by absolute paths in which *, ? and [...] stand for parts of a name. A file may
	// appear later. Compressed files are passed over: they are what was followed before.
	Paths []string `yaml:"paths"`
	// Exclude leaves out files by their whole path or by their name, with the same patterns.
	Exclude []string `yaml:"exclude"`
	// From says where a file begins that is there when it is followed for the first time: "beginning"
	// or "end". Files that appear later are read from their beginning.
	From string `yaml:"from"`
}

// The places where a file may begin.
const (
	Beginning = "beginning"
	End       = "end"
)

// Validate checks the patterns.
func (f *Files) Validate() error {
	if len(f.Paths) == 0 {
		return errors.New("paths is empty: name a file, as in /var/log/nginx/access.log")
	}
	for _, p := range f.Paths {
		if _, err := filepath.Match(p, ""); err != nil {
			return fmt.Errorf("paths: %q is not a pattern: a [ has no ], or a \\ stands at the end", p)
		}
		if !filepath.IsAbs(p) {
			return fmt.Errorf("paths: %q is not absolute: where testudo is started must not decide what it reads", p)
		}
		if strings.Contains(p, "**") {
			return fmt.Errorf("paths: %q: ** is not known, name a * for each level", p)
		}
	}
	for _, p := range f.Exclude {
		if _, err := filepath.Match(p, ""); err != nil {
			return fmt.Errorf("exclude: %q is not a pattern", p)
		}
	}
	if f.From != "" && f.From != Beginning && f.From != End {
		return fmt.Errorf("from is %q: want beginning or end", f.From)
	}
	return nil
}

// excludes reports whether a path is left out.
func (f *Files) excludes(path string) bool {
	for _, p := range f.Exclude {
		if whole, _ := filepath.Match(p, path); whole {
			return true
		}
		if name, _ := filepath.Match(p, filepath.Base(path)); name {
			return true
		}
	}
	return compressed(path)
}

// compressed reports whether the name is that of a compressed file.
func compressed(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip":
		return true
	}
	return false
}
