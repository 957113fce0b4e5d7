package assembly

import (
	"os"
	"path/filepath"
)

// databaseName is the advisory database in the folders that hold one.
const databaseName = "advisories.db"

// AdvisoryDatabase returns where the advisory database is: where the configuration says; else in the data directory, if
// one is named or the default one is there; else where the user's other data are.
func (s *Settings) AdvisoryDatabase(dataDir string) (string, error) {
	if s.Intel.Database != "" {
		return s.Intel.Database, nil
	}
	named := dataDir
	if named == "" {
		named = s.Data
	}
	dir, err := DataDir(named)
	if err == nil {
		if _, statErr := os.Stat(dir); statErr == nil || named != "" {
			return filepath.Join(dir, "intel", databaseName), nil
		}
	} else if named != "" {
		return "", err
	}
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" || !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "testudo", databaseName), nil
}
