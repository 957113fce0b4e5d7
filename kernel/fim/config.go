package fim

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config says which files are watched.
type Config struct {
	// Enabled has files watched where the host is watched.
	Enabled bool `yaml:"enabled"`
	// Paths are the files and folders that are watched, with all that is below them. Symbolic links are not followed: the link itself is watched.
	Paths []string `yaml:"paths"`
	// Exclude are patterns of what is left out: with a slash of whole paths, else of the last part; * stands for anything within a part. What is
	// below an excluded folder is left out too.
	Exclude []string `yaml:"exclude"`
	// MaxFiles is how many files are watched at most. What is beyond is left out, and said.
	MaxFiles int `yaml:"max_files"`
	// MaxSize is the largest file that is read for its digest. Of larger ones only owner, mode, size and times are compared.
	MaxSize bytesize.Size `yaml:"max_size"`
	// Rescan is how often all files are looked at, for what nobody was seen to change.
	Rescan time.Duration `yaml:"rescan"`
	// Settle is how long after an event a file is looked at, so that several writes are one change.
	Settle time.Duration `yaml:"settle"`
	// Pending is how many files may wait to be looked at. With more, all files are looked at instead.
	Pending int `yaml:"pending"`
}

// Default returns what is watched of an ordinary host.
func Default() Config {
	return Config{
		Enabled:  true,
		Paths:    []string{"/etc", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/boot"},
		Exclude:  []string{"/etc/mtab", "/etc/resolv.conf", "/etc/adjtime", "/etc/ld.so.cache", "*.swp", "*.swpx", "*~", "*.dpkg-new", "*.dpkg-tmp", "4913"},
		MaxFiles: 50_000, MaxSize: 256 * bytesize.MiB, Rescan: 30 * time.Minute, Settle: time.Second, Pending: 16384,
	}
}

// Bounds that no configuration goes beyond.
const (
	maxRoots    = 256
	maxExcludes = 1024
	mostFiles   = 1 << 20
)

// Validate says what is wrong.
func (c *Config) Validate() error {
	switch {
	case len(c.Paths) > maxRoots:
		return fmt.Errorf("paths: %d are too many: want at most %d", len(c.Paths), maxRoots)
	case len(c.Exclude) > maxExcludes:
		return fmt.Errorf("exclude: %d are too many: want at most %d", len(c.Exclude), maxExcludes)
	case c.Enabled && len(c.Paths) == 0:
		return errors.New("paths: want at least one, or enabled: false")
	case c.MaxFiles < 1 || c.MaxFiles > mostFiles:
		return fmt.Errorf("max_files: want 1 to %d", mostFiles)
	case c.MaxSize < bytesize.KiB || c.MaxSize > 512*bytesize.MiB:
		return errors.New("max_size: want 1KiB to 512MiB")
	case c.Rescan < time.Minute || c.Rescan > 7*24*time.Hour:
		return errors.New("rescan: want 1m to 168h")
	case c.Settle < 10*time.Millisecond || c.Settle > time.Minute:
		return errors.New("settle: want 10ms to 1m")
	case c.Pending < 16 || c.Pending > 1<<20:
		return errors.New("pending: want 16 to 1048576")
	}
	for _, p := range c.Paths {
		if !path.IsAbs(p) || path.Clean(p) != p || strings.IndexByte(p, 0) >= 0 {
			return fmt.Errorf("paths: %q: want an absolute path without . or .. or a slash at its end", p)
		}
		if p == "/" || p == "/proc" || p == "/sys" || strings.HasPrefix(p, "/proc/") || strings.HasPrefix(p, "/sys/") {
			return fmt.Errorf("paths: %q cannot be watched: name the folders below it that must not change", p)
		}
	}
	for _, p := range c.Exclude {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("exclude: %q is no pattern", p)
		}
	}
	return nil
}

// roots returns the watched paths, sorted, without those that lie below others.
func (c *Config) roots() []string {
	all := slices.Clone(c.Paths)
	slices.SortFunc(all, comparePaths)
	var out []string
	for _, p := range all {
		if len(out) == 0 || p != out[len(out)-1] && !strings.HasPrefix(p, out[len(out)-1]+"/") {
			out = append(out, p)
		}
	}
	return out
}

// Covers reports whether a file is watched.
func (c *Config) Covers(name string) bool {
	_, ok := c.rootOf(name)
	return ok
}

// rootOf returns the watched path that a file is at or below, false where it is not watched.
func (c *Config) rootOf(name string) (string, bool) {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return "", false
	}
	for _, root := range c.Paths {
		if name != root && !strings.HasPrefix(name, root+"/") {
			continue
		}
		for at := name; len(at) >= len(root); at = path.Dir(at) {
			if c.excluded(at) {
				return "", false
			}
			if at == root {
				break
			}
		}
		return root, true
	}
	return "", false
}

// excluded reports whether a pattern names this very path.
func (c *Config) excluded(name string) bool {
	for _, pattern := range c.Exclude {
		subject := name
		if !strings.Contains(pattern, "/") {
			subject = path.Base(name)
		}
		if ok, err := path.Match(pattern, subject); ok && err == nil {
			return true
		}
	}
	return false
}

// comparePaths orders paths as a walk meets them: a folder, what is in it, what stands beside it.
func comparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}
