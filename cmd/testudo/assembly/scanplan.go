package assembly

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/detect/gitleaks"
	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/archive"
	"github.com/testudo-sec/testudo/scan/history"
	"github.com/testudo-sec/testudo/scan/image"
	"github.com/testudo-sec/testudo/scan/inventory"
	"github.com/testudo-sec/testudo/scan/license"
	"github.com/testudo-sec/testudo/scan/sbom"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/scan/secret/verify"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/scan/vuln/reach"
	"github.com/testudo-sec/testudo/scan/vuln/running"
)

// ScanRequest is what a command wants scanned. The zero value of Kind stands for what Target looks like.
type ScanRequest struct {
	Target string
	Kind   ScanKind
	// For says which judges there are: secret, vuln, license. Empty stands for all that can judge.
	For []string
	// Inventory asks for the packages alone: nothing is judged.
	Inventory bool

	Range     string    // of a history
	Since     time.Time // of a history
	Paths     []string  // of a list of files below Target
	Platform  string    // of an image
	Tag       string    // of an archive of several images
	PlainHTTP bool      // for a registry

	// Verifier, if not nil, is asked about each secret. Nothing but the user's own word sets it: no configuration does.
	Verifier *verify.Verifier

	Gitleaks string   // a gitleaks configuration to use beside the rules that ship, or instead
	VEX      []string // documents
	Child    []string // command line that ends in reach.Main
	Baseline scan.Baseline
	Progress func(scan.Progress)
	Stdin    io.Reader
	// Base, if not nil, has the documents named here that are the repository's own, and is what a fork is of.
	Base *CIBase
	// IgnoreFiles, if not nil, count in place of the target's own, by their paths. Tracked is looked at though git's say no.
	IgnoreFiles map[string][]byte
	Tracked     map[string]bool
	DataDir     string // for caches and the database; empty stands for the defaults
}

// ScanKind is what a target is.
type ScanKind string

// The kinds of targets.
const (
	ScanAuto    ScanKind = ""
	ScanTree    ScanKind = "tree"
	ScanFiles   ScanKind = "files"
	ScanStdin   ScanKind = "stdin"
	ScanHistory ScanKind = "history"
	ScanStaged  ScanKind = "staged"
	ScanFork    ScanKind = "fork" // where HEAD left Base
	ScanImage   ScanKind = "image"
)

// A ScanPlan is a scan that is ready to run. Close it.
type ScanPlan struct {
	Options scan.Options
	Kind    ScanKind
	Vuln    *vuln.Matcher // nil where no database is there
	Image   *image.Image  // nil for other targets
	// Notes say what is not looked for, and why.
	Notes []string

	closers []func() error
	known   map[string]bool // ecosystems that the database has, without releases
}

// Close lets go of files.
func (p *ScanPlan) Close() error {
	var errs []error
	for _, c := range slices.Backward(p.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// ScanFor lists what a request can ask for.
func ScanFor() []string { return []string{"secret", "vuln", "license"} }

// PlanScan puts the parts together.
func (s *Settings) PlanScan(ctx context.Context, r ScanRequest) (plan *ScanPlan, err error) {
	for _, f := range r.For {
		if !slices.Contains(ScanFor(), f) {
			return nil, fmt.Errorf("nothing looks for %q: want %s", f, strings.Join(ScanFor(), " or "))
		}
	}
	p := &ScanPlan{Kind: r.Kind}
	defer func() {
		if err != nil {
			_ = p.Close()
		}
	}()
	if p.Kind == ScanAuto {
		p.Kind = kindOf(r.Target)
	}
	wants := func(what string) bool { return !r.Inventory && (len(r.For) == 0 || slices.Contains(r.For, what)) }
	o := &p.Options
	*o = scan.Options{Root: r.Target, Config: s.Scan.Config, Baseline: r.Baseline, Progress: r.Progress}
	opener, err := archive.New(s.Scan.Archives)
	if err != nil {
		return nil, err
	}
	o.Openers = []scan.Opener{opener}
	judges := sha256.New()
	fmt.Fprintln(judges, buildID(), r.For, r.Inventory)
	var set *detect.Set
	if wants("secret") {
		if set, err = p.addSecrets(ctx, r, judges); err != nil {
			return nil, err
		}
	}
	if p.Kind != ScanHistory && p.Kind != ScanStaged && (r.Inventory || wants("vuln") || wants("license")) {
		x, err := inventory.New(s.Scan.Inventory)
		if err != nil {
			return nil, err
		}
		o.Extractors = []scan.Extractor{x, sbom.NewExtractor(sbom.DefaultLimits(), p.Kind == ScanTree && isSBOM(r.Target))}
		if wants("vuln") {
			if err := p.addVulnerabilities(ctx, s, r); err != nil {
				return nil, err
			}
		}
		if wants("license") {
			m, err := license.New(s.Scan.Licenses, time.Now)
			if err != nil {
				return nil, err
			}
			o.Matchers = append(o.Matchers, m)
		}
	}
	return p, p.addSource(ctx, s, r, set, hex.EncodeToString(judges.Sum(nil)))
}

// NewVerifier returns who asks providers about secrets, for the requests of one command.
func NewVerifier(version string) (*verify.Verifier, error) {
	set, err := detect.Builtin()
	if err != nil {
		return nil, err
	}
	return verify.New(verify.Options{Version: version, Redact: set.Redact}), nil
}

// addSecrets adds the scanners for secrets: the rules that ship, or those of a gitleaks configuration.
func (p *ScanPlan) addSecrets(ctx context.Context, r ScanRequest, judges io.Writer) (*detect.Set, error) {
	own := true
	if r.Gitleaks != "" {
		c, data, err := readGitleaks(ctx, r.Base, r.Gitleaks)
		switch {
		case err != nil:
			return nil, err
		case c == nil:
			p.Notes = append(p.Notes, countsLater(r.Gitleaks, r.Base))
		default:
			set, err := c.Compile()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Gitleaks, err)
			}
			fmt.Fprintf(judges, "gitleaks %x", sha256.Sum256(data))
			p.Options.Scanners = append(p.Options.Scanners, secret.NewGitleaks(set))
			own = c.UseDefault
			if r.Verifier != nil {
				p.Notes = append(p.Notes, "What the rules of the gitleaks configuration find is not verifiable: they do not say how to ask.")
			}
		}
	}
	set, err := detect.Builtin()
	if err != nil {
		return nil, err
	}
	if own {
		scanner := secret.New(set)
		if r.Verifier != nil {
			scanner = secret.NewVerifying(set, r.Verifier)
		}
		p.Options.Scanners = append(p.Options.Scanners, scanner)
		if err := json.NewEncoder(judges).Encode(set.Rules()); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// readGitleaks reads a configuration and what it extends: as the base has them, if they are the repository's own; nil if that does not have it.
func readGitleaks(ctx context.Context, base *CIBase, configuration string) (*gitleaks.Config, []byte, error) {
	if base != nil {
		if rel, ours := base.within(configuration); ours {
			tree := base.files(ctx)
			data, err := fs.ReadFile(tree, rel)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil, nil
			}
			if err != nil {
				return nil, nil, err
			}
			c, err := gitleaks.Load(tree, rel)
			return c, data, err
		}
	}
	dir, name := filepath.Split(configuration)
	root, err := os.OpenRoot(nonEmptyDir(dir))
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	c, err := gitleaks.Load(root.FS(), name)
	if err != nil {
		return nil, nil, err
	}
	data, err := root.ReadFile(name)
	return c, data, err
}

// countsLater says that a document of the change says nothing about the change itself.
func countsLater(name string, base *CIBase) string {
	return fmt.Sprintf("%s is the change's own and not in %s: it counts once it is there.", scan.Printable(name), scan.Printable(base.Revision))
}

func nonEmptyDir(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// addVulnerabilities adds who judges the inventory by the database, where there is one.
func (p *ScanPlan) addVulnerabilities(ctx context.Context, s *Settings, r ScanRequest) error {
	path, err := s.AdvisoryDatabase(r.DataDir)
	if err != nil {
		return err
	}
	db, err := intel.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.Notes = append(p.Notes, "Known vulnerabilities were not looked for: there is no database yet. `testudo db update` makes one.")
		return nil
	case err != nil:
		return fmt.Errorf("advisory database %s: %w", path, err)
	}
	p.closers = append(p.closers, db.Close)
	p.known = map[string]bool{}
	for _, source := range db.Info().Sources {
		if source.Kind == intel.KindOSV {
			family, _, _ := strings.Cut(source.Name, ":")
			p.known[family] = true
		}
	}
	if built := db.Info().Built; !built.IsZero() && time.Since(built) > 7*24*time.Hour {
		p.Notes = append(p.Notes, fmt.Sprintf("The advisory database is of %s: `testudo db update` brings what was published since.", built.Format(time.DateOnly)))
	}
	o := vuln.Options{Config: s.Scan.Vulnerabilities, Database: db}
	for _, name := range r.VEX {
		data, ours, err := r.Base.document(ctx, name, maxVEX)
		if err == nil && ours && data == nil {
			p.Notes = append(p.Notes, countsLater(name, r.Base))
			continue
		}
		var statements []vuln.Statement
		if err == nil {
			statements, err = vuln.ReadVEX(bytes.NewReader(data))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		o.Statements = append(o.Statements, statements...)
	}
	if s.Scan.Reach.Enabled && len(r.Child) > 0 && p.Kind == ScanTree {
		if root, err := filepath.EvalSymlinks(r.Target); err == nil {
			o.Reacher = &reach.Analysis{Root: root, Child: r.Child, Config: s.Scan.Reach}
		}
	}
	m, err := vuln.New(o)
	if err != nil {
		return err
	}
	p.Vuln = m
	p.Options.Matchers = append(p.Options.Matchers, m)
	return nil
}

// maxVEX bounds a document; the reader has a bound of its own.
const maxVEX = 256 << 20

// addSource chooses who gives the files.
func (p *ScanPlan) addSource(ctx context.Context, s *Settings, r ScanRequest, set *detect.Set, judges string) error {
	o, config, below := &p.Options, s.Scan.Config, ""
	if r.Base != nil {
		below = r.Base.Below
	}
	switch p.Kind {
	case ScanTree:
		o.IgnoreFiles, o.Tracked = r.IgnoreFiles, r.Tracked
		if history.Bare(r.Target) {
			p.Notes = append(p.Notes, fmt.Sprintf("%s is a repository without a worktree: --git looks at what is in it.", scan.Printable(r.Target)))
		}
	case ScanFiles:
		o.Source = &scan.Files{Root: r.Target, Paths: r.Paths, Config: config}
	case ScanStdin:
		o.Source = &scan.Stream{Name: "stdin", Reader: r.Stdin, Config: config}
	case ScanHistory:
		o.Source = &history.History{Root: r.Target, Range: r.Range, Since: r.Since, Below: below, Config: s.Scan.History, Scan: config, IgnoreFiles: r.IgnoreFiles}
	case ScanStaged:
		o.Source = &history.Staged{Root: r.Target, Config: s.Scan.History, Scan: config}
	case ScanFork:
		o.Source = &history.Fork{Root: r.Target, Base: r.Base.Revision, Below: below, Config: s.Scan.History, Scan: config, IgnoreFiles: r.IgnoreFiles}
	case ScanImage:
		return p.addImage(ctx, s, r, set, judges)
	default:
		return fmt.Errorf("unknown kind of target %q", p.Kind)
	}
	return nil
}

func (p *ScanPlan) addImage(ctx context.Context, s *Settings, r ScanRequest, set *detect.Set, judges string) error {
	o := image.Options{Config: s.Scan.Images, Scan: s.Scan.Config, Platform: r.Platform, Tag: r.Tag, PlainHTTP: r.PlainHTTP, Judges: judges}
	if set != nil {
		o.Redact = set.Redact
	}
	dir, err := cacheDir(r.DataDir)
	if err == nil && r.Verifier == nil { // what was answered is not kept, and nobody can be asked about what is not read
		var cache *image.Cache
		if cache, err = image.OpenCache(filepath.Join(dir, "layers"), s.Scan.Images.CacheSize); err == nil {
			p.closers = append(p.closers, cache.Close)
			o.Cache = cache
		}
	}
	if err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("Layers are read again at the next scan: %v.", err))
	}
	img, err := image.Open(ctx, r.Target, o)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, img.Close)
	p.Image = img
	if img.PID > 0 && p.Vuln != nil {
		if use, err := running.Look(ctx, "/proc", img.PID); err == nil {
			p.Vuln.Watch(use.Of)
		} else {
			p.Notes = append(p.Notes, fmt.Sprintf("What is in use was not told: %v.", err))
		}
	}
	p.Options.Source = img.Source()
	return nil
}

// cacheDir is where what can be made again is kept.
func cacheDir(dataDir string) (string, error) {
	if dataDir != "" {
		return filepath.Join(dataDir, "cache"), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "testudo")
	return dir, os.MkdirAll(dir, 0o700)
}

// kindOf says what a target looks like.
func kindOf(target string) ScanKind {
	if target == "-" {
		return ScanStdin
	}
	for _, prefix := range []string{"oci:", "archive:", "docker-archive:", "rootfs:", "pid:", "container:", "registry:", "docker://"} {
		if strings.HasPrefix(target, prefix) {
			return ScanImage
		}
	}
	info, err := os.Stat(target)
	switch {
	case err != nil:
		return ScanTree // which says what is wrong
	case info.IsDir():
		if isLayout(target) {
			return ScanImage
		}
	case info.Mode().IsRegular() && isImageArchive(target):
		return ScanImage
	}
	return ScanTree
}

// isLayout reports whether a folder says that it is an OCI image layout. What stands in it is a stranger's: no pipe is
// waited for, no link followed to what never ends.
func isLayout(dir string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	f, err := root.OpenFile("oci-layout", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	layout, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return err == nil && bytes.Contains(layout, []byte("imageLayoutVersion"))
}

// isSBOM reports whether the target is a file that begins as one.
func isSBOM(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	head, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return false
	}
	for _, sign := range []string{`"bomFormat"`, "http://cyclonedx.org/schema/bom", `"spdxVersion"`, "SPDXVersion:"} {
		if bytes.Contains(head, []byte(sign)) {
			return true
		}
	}
	return sbom.Is(name)
}

// buildID tells builds apart: what one knew of a layer says nothing of what another would.
func buildID() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.String()
}

// isImageArchive reports whether a file is a tar archive with what an image's has among its first entries.
func isImageArchive(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [2]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return false
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false
	}
	var r io.Reader = f
	if head == [2]byte{0x1f, 0x8b} {
		z, err := gzip.NewReader(f)
		if err != nil {
			return false
		}
		r = io.LimitReader(z, 1<<30)
	}
	t := tar.NewReader(r)
	for range 2000 {
		h, err := t.Next()
		if err != nil {
			return false
		}
		switch strings.TrimPrefix(h.Name, "./") {
		case "manifest.json", "oci-layout", "index.json":
			return true
		}
	}
	return false
}
