package intel

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config says where the database is and what it is made of.
type Config struct {
	// Database is the file. Empty stands for `intel/advisories.db` in the data directory where there is one, else for
	// `$XDG_DATA_HOME/testudo/advisories.db`, or `~/.local/share/testudo/advisories.db`.
	Database string `yaml:"database"`
	// Source is where advisories come from: the URL of the public OSV export or of a mirror of it, or a folder with that
	// layout, with OSV files or with zip files of them.
	Source string `yaml:"source"`
	// Exploited is where the list of known exploited vulnerabilities comes from: a URL or a file. Empty stands for CISA's
	// own beside the public export, and for `known_exploited_vulnerabilities.json` in any other source; `none` for none.
	Exploited string `yaml:"exploited"`
	// Probability is where the probabilities of exploitation (EPSS) come from: a URL or a file. Empty stands for
	// FIRST's own beside the public export, and for `epss_scores-current.csv.gz` in any other source; `none` for none.
	Probability string `yaml:"probability"`
	// Ecosystems are those that are taken in, as OSV names them, without a release; `all` stands for all of the source. Empty
	// stands for those whose packages are recognised.
	Ecosystems []string `yaml:"ecosystems"`
	// MaxLoss is the share of a source's advisories, in percent, that may be gone or broken at an update; beyond it the old ones
	// are kept.
	MaxLoss int `yaml:"max_loss"`
	// Timeout ends a download that stands still.
	Timeout time.Duration `yaml:"timeout"`
	// Retries of a download that fails.
	Retries int `yaml:"retries"`
	// Parallel is how many sources are taken in at the same time.
	Parallel int `yaml:"parallel"`
	// MaxDownload bounds a single file.
	MaxDownload bytesize.Size `yaml:"max_download"`
}

// The public sources.
const (
	PublicSource      = "https://storage.googleapis.com/osv-vulnerabilities"
	PublicExploited   = "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"
	PublicProbability = "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"
)

// None stands for a list that is not wanted.
const None = "none"

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config {
	return Config{Source: PublicSource, MaxLoss: 10, Timeout: 30 * time.Second, Retries: 4, Parallel: 3, MaxDownload: 4 * bytesize.GiB}
}

// DefaultEcosystems are those whose packages are recognised.
func DefaultEcosystems() []string {
	return []string{
		"AlmaLinux", "Alpaquita", "Alpine", "Azure Linux", "Bitnami", "CRAN", "Chainguard", "ConanCenter", "Debian", "GHC", "GitHub Actions", "Go", "Hackage",
		"Hex", "Julia", "Mageia", "Maven", "MinimOS", "NuGet", "Packagist", "Photon OS", "Pub", "PyPI", "Red Hat", "Rocky Linux", "RubyGems",
		"SUSE", "SwiftURL", "Ubuntu", "VSCode", "Wolfi", "crates.io", "npm", "openEuler", "openSUSE",
	}
}

// Validate checks the ranges.
func (c *Config) Validate() error {
	switch {
	case c.Source == "":
		return errors.New("source is empty: want a URL or a folder")
	case c.MaxLoss < 0 || c.MaxLoss > 100:
		return fmt.Errorf("max_loss is %d: want 0 to 100 percent", c.MaxLoss)
	case c.Timeout < time.Second || c.Timeout > time.Hour:
		return fmt.Errorf("timeout is %v: want 1s to 1h", c.Timeout)
	case c.Retries < 0 || c.Retries > 100:
		return fmt.Errorf("retries is %d: want 0 to 100", c.Retries)
	case c.Parallel < 1 || c.Parallel > 16:
		return fmt.Errorf("parallel is %d: want 1 to 16", c.Parallel)
	case c.MaxDownload < bytesize.MiB || c.MaxDownload > 100*bytesize.GiB:
		return fmt.Errorf("max_download is %s: want 1MiB to 100GiB", c.MaxDownload)
	case c.Database != "" && !filepath.IsAbs(c.Database):
		return fmt.Errorf("database is %q: want a full path", c.Database)
	}
	for _, s := range []string{c.Source, c.Exploited, c.Probability} {
		if !IsURL(s) {
			continue
		}
		if u, err := url.Parse(s); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%.200q is no URL of a place: want https://HOST/PATH, without a user or a query", s)
		}
	}
	for _, e := range c.Ecosystems {
		if !validName(e, maxEcosystem) || strings.ContainsAny(e, ":/\\") {
			return fmt.Errorf("ecosystems: %.100q: want an OSV ecosystem without its release, as in Debian", e)
		}
	}
	return nil
}

// IsURL tells a URL from a path.
func IsURL(s string) bool { return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") }
