package confine

import (
	"fmt"
	"path/filepath"
	"slices"
)

// Limits bounds what the program can reach, by Landlock. A nil list does not bound, an empty one allows nothing.
type Limits struct {
	Read    []string `json:"read"`    // files and folders that it may read
	Write   []string `json:"write"`   // and change, create, remove
	Exec    []string `json:"exec"`    // and execute
	Connect []uint16 `json:"connect"` // ports that it may connect to by TCP
	Bind    []uint16 `json:"bind"`    // and listen on
}

// Validate names the first limit that makes no sense.
func (l *Limits) Validate() error {
	for name, list := range map[string][]string{"read": l.Read, "write": l.Write, "exec": l.Exec} {
		for _, path := range list {
			if !filepath.IsAbs(path) {
				return fmt.Errorf("%s: %q is not an absolute path", name, path)
			}
		}
	}
	if slices.Contains(l.Connect, 0) || slices.Contains(l.Bind, 0) {
		return fmt.Errorf("port 0 is no port")
	}
	return nil
}

// Files reports whether any file is out of reach.
func (l *Limits) files() bool { return l.Read != nil || l.Write != nil || l.Exec != nil }
