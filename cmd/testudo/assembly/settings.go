package assembly

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/testudo-sec/testudo/config"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/sigma"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/block"
	"github.com/testudo-sec/testudo/respond/freeze"
	"github.com/testudo-sec/testudo/respond/isolate"
	"github.com/testudo-sec/testudo/respond/kill"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/archive"
	"github.com/testudo-sec/testudo/scan/gate"
	"github.com/testudo-sec/testudo/scan/history"
	"github.com/testudo-sec/testudo/scan/image"
	"github.com/testudo-sec/testudo/scan/inventory"
	"github.com/testudo-sec/testudo/scan/license"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/scan/vuln/reach"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/bus"
	"github.com/testudo-sec/testudo/store/lake"
	"github.com/testudo-sec/testudo/store/state"
	"github.com/testudo-sec/testudo/trust/sealed"
)

// Settings is testudo.yaml.
type Settings struct {
	// Data is the folder that holds everything testudo keeps. Empty stands for
	// $XDG_STATE_HOME/testudo, or ~/.local/state/testudo.
	Data string `yaml:"data"`
	// Log says what is written to standard error.
	Log Log `yaml:"log"`
	// Edge is the reverse proxy in front of applications.
	Edge edge.Config `yaml:"edge"`
	// WAF inspects requests and responses on the edge's routes.
	WAF waf.Config `yaml:"waf"`
	// API says how APIs on the edge's routes are guarded.
	API api.Config `yaml:"api"`
	// Sealed bounds what is kept of requests as they were received, on routes that ask for it by record.bodies.
	Sealed sealed.Config `yaml:"sealed"`
	// Policy says which rules judge.
	Policy Policy `yaml:"policy"`
	// Respond bounds what rules and people may have done.
	Respond Respond `yaml:"respond"`
	// Scan says how code and artefacts are scanned.
	Scan Scan `yaml:"scan"`
	// Intel is what the world knows of vulnerabilities: where the database is, and what it is made of.
	Intel intel.Config `yaml:"intel"`
	// Logs says which logs of others are read: files, syslog, OpenTelemetry.
	Logs Logs `yaml:"logs"`
	// Kernel says whether the processes, files and sockets of this host are watched, and what becomes of what rules refuse.
	Kernel kernel.Config `yaml:"kernel"`
	// FIM says which files of this host must not change unseen.
	FIM fim.Config `yaml:"fim"`
	// Store says how events, findings and actions are kept.
	Store Store `yaml:"store"`
	// Console is the web console and its API.
	Console console.Config `yaml:"console"`
}

// Log says what is written to standard error.
type Log struct {
	// Level is the least level that is written: debug, info, warn or error.
	Level slog.Level `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// Validate checks the format.
func (l *Log) Validate() error {
	if l.Format != "text" && l.Format != "json" {
		return fmt.Errorf("format is %q: want text or json", l.Format)
	}
	return nil
}

// Policy says which rules judge.
type Policy struct {
	policy.Config `yaml:",inline"`
	// Sigma says how Sigma rules are fitted to the logs at hand.
	Sigma sigma.Config `yaml:"sigma"`
}

// Validate checks what all dialects share.
func (p *Policy) Validate() error { return p.Config.Validate() }

// Respond bounds what rules and people may have done.
type Respond struct {
	respond.Config `yaml:",inline"`
	// Block refuses addresses at the edge.
	Block block.Config `yaml:"block"`
	// Protect lists what kill, freeze and isolate leave alone.
	Protect workload.Protection `yaml:"protect"`
	// Kill ends processes, or all of a container.
	Kill kill.Config `yaml:"kill"`
	// Freeze has a container stand still.
	Freeze freeze.Config `yaml:"freeze"`
	// Isolate cuts a container off the network.
	Isolate isolate.Config `yaml:"isolate"`
}

// Validate checks the bounds that all responders share.
func (r *Respond) Validate() error { return r.Config.Validate() }

// Scan says how code and artefacts are scanned.
type Scan struct {
	scan.Config `yaml:",inline"`
	// Paths lists what `testudo up` scans when it starts; nothing is scanned without being named.
	Paths []string `yaml:"paths"`
	// Archives bounds what is unpacked.
	Archives archive.Config `yaml:"archives"`
	// History says how git repositories are read.
	History history.Config `yaml:"history"`
	// Inventory says how packages are looked for.
	Inventory inventory.Config `yaml:"inventory"`
	// Images bounds what of container images is read.
	Images image.Config `yaml:"images"`
	// Vulnerabilities says how known flaws of packages are judged.
	Vulnerabilities vuln.Config `yaml:"vulnerabilities"`
	// Reach looks for calls of Go programs that lead to a flaw.
	Reach reach.Config `yaml:"reach"`
	// Licenses says which licences may be used; nothing is said of them without a policy.
	Licenses license.Config `yaml:"licenses"`
	// Gate says what stops a change in `testudo ci`.
	Gate gate.Policy `yaml:"gate"`
	// Server is a console that `testudo scan` and `testudo ci` send what they found to.
	Server ScanServer `yaml:"server"`
}

// Validate checks the ranges.
func (s *Scan) Validate() error { return s.Config.Validate() }

// Store says how events, findings and actions are kept.
type Store struct {
	store.Config `yaml:",inline"`
	// Bus carries events from the planes to the lake.
	Bus bus.Config `yaml:"bus"`
	// Lake keeps events as Parquet files.
	Lake lake.Config `yaml:"lake"`
	// State keeps findings, actions, assets and people.
	State state.Config `yaml:"state"`
}

// Validate checks what all stores share.
func (s *Store) Validate() error { return s.Config.Validate() }

// DefaultSettings returns what is in force without a configuration file.
func DefaultSettings() Settings {
	return Settings{
		Log:    Log{Level: slog.LevelInfo, Format: "text"},
		Edge:   edge.Default(),
		WAF:    waf.DefaultConfig(),
		API:    api.Default(),
		Sealed: sealed.DefaultConfig(),
		Policy: Policy{Config: policy.Default(), Sigma: sigma.DefaultConfig()},
		Respond: Respond{Config: respond.DefaultConfig(), Block: block.DefaultConfig(), Protect: workload.DefaultProtection(),
			Kill: kill.DefaultConfig(), Freeze: freeze.DefaultConfig(), Isolate: isolate.DefaultConfig()},
		Scan: Scan{Config: scan.DefaultConfig(), Archives: archive.DefaultConfig(), History: history.DefaultConfig(), Inventory: inventory.DefaultConfig(),
			Images: image.DefaultConfig(), Vulnerabilities: vuln.DefaultConfig(), Reach: reach.DefaultConfig(), Licenses: license.DefaultConfig(), Gate: gate.DefaultPolicy(), Server: DefaultScanServer()},
		Intel:  intel.DefaultConfig(),
		Logs:   defaultLogs(),
		Kernel: kernel.DefaultConfig(),
		FIM:    fim.Default(),
		Store: Store{Config: store.DefaultConfig(), Bus: bus.DefaultConfig(), Lake: lake.DefaultConfig(),
			State: state.DefaultConfig()},
		Console: console.Default(),
	}
}

// LoadSettings reads a configuration file over the defaults; "" is the defaults alone.
func LoadSettings(path string) (Settings, error) {
	s := DefaultSettings()
	if path == "" {
		return s, nil
	}
	if err := config.Load(path, &s); err != nil {
		return Settings{}, err
	}
	return s, nil
}

// ErrInRepository says that the data directory would come to lie inside a repository.
var ErrInRepository = errors.New("inside a repository")

// DataDir returns the folder that testudo keeps its data in: the one that is named, or the
// default one. A default that lies inside a git repository is an error: what testudo keeps must not
// be committed by mistake.
func DataDir(named string) (string, error) {
	if named != "" {
		return filepath.Abs(named)
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" || !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no data directory: %w: name one with --data", err)
		}
		base = filepath.Join(home, ".local", "state")
	}
	dir := filepath.Join(base, "testudo")
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return "", fmt.Errorf("the default data directory %s is %w, %s: name another one with --data", dir, ErrInRepository, at)
		}
		if at == filepath.Dir(at) {
			return dir, nil
		}
	}
}

// makePrivate makes the folder if it is missing, and checks that nobody else can look into it.
func makePrivate(dir string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("data directory %s is not a folder", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		return fmt.Errorf("data directory %s belongs to uid %d and testudo runs as uid %d: run it as that user, or name another folder with --data",
			dir, owner, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("data directory %s can be read by others (mode %04o): run chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}
