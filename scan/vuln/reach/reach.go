// Package reach tells which known flaws of Go packages a program can come to, by the graph of its calls. The
// analysis is govulncheck's (golang.org/x/vuln), which needs the sources and a Go toolchain and asks no network here.
//
// It runs in a child process, this same program with other arguments, because it may take gigabytes and minutes:
// the child is ended when its time is up, and what it leaves behind goes with it. Nothing of the target is executed; the toolchain that reads it gets an
// environment without cgo, network, workspace and settings of the user.
package reach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
)

// Config is how long the analysis may take.
type Config struct {
	// Enabled looks for calls that lead to a flaw, in Go modules and where there is a Go toolchain.
	Enabled bool `yaml:"enabled"`
	// Timeout ends the analysis of one module; its flaws are then judged without it.
	Timeout time.Duration `yaml:"timeout"`
}

// DefaultConfig returns what is in force where nothing else is said.
func DefaultConfig() Config { return Config{Enabled: true, Timeout: 3 * time.Minute} }

// Validate checks the ranges.
func (c *Config) Validate() error {
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		return fmt.Errorf("timeout is %s: want 1s to 1h", c.Timeout)
	}
	return nil
}

// Analysis is a vuln.Reacher for the Go modules of a folder.
type Analysis struct {
	Root   string   // the folder that the inventory's paths begin at
	Child  []string // command line of the child: it must end in a call of Main with the arguments that follow
	Config Config
}

const (
	maxMessages = 2_000_000
	maxStderr   = 4 << 10
	maxTrace    = 12
	// inAll is how many times the time of one module all may take: a target chooses how many it has.
	inAll = 4
)

// Reach judges the flaws of packages that a go.mod names. Errors name the modules that could not be analysed; the others are.
func (a *Analysis) Reach(ctx context.Context, flaws []*vuln.Flaw) error {
	modules := map[string][]*vuln.Flaw{}
	var order []string
	for _, f := range flaws {
		for _, p := range f.Packages {
			if p.Ecosystem != "Go" || filepath.Base(p.Path) != "go.mod" || len(f.Imports) == 0 {
				continue
			}
			if modules[p.Path] == nil {
				order = append(order, p.Path)
			}
			if !slices.Contains(modules[p.Path], f) {
				modules[p.Path] = append(modules[p.Path], f)
			}
		}
	}
	var errs []error
	ends := time.Now().Add(inAll * a.Config.Timeout)
	for n, path := range order {
		if n > 0 && time.Now().After(ends) {
			errs = append(errs, fmt.Errorf("%d modules were not analysed: the others took %s (scan.reach.timeout)", len(order)-n, inAll*a.Config.Timeout))
			break
		}
		verdicts, err := a.module(ctx, path, modules[path])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", scan.Printable(path), err))
		}
		if verdicts == nil {
			verdicts = byToolchain(ctx, modules[path])
		}
		for i := range verdicts {
			verdicts[i].merge(modules[path][i])
		}
	}
	return errors.Join(errs...)
}

// verdict is what was found out of a flaw.
type verdict struct {
	reach vuln.Reachability
	trace []string
}

// merge keeps the worst of what several modules say of a flaw.
func (v verdict) merge(f *vuln.Flaw) {
	rank := func(r vuln.Reachability) int {
		return slices.Index([]vuln.Reachability{vuln.ReachUnknown, vuln.NotBuilt, vuln.NotImported, vuln.NotReached, vuln.Reached}, r)
	}
	if rank(v.reach) > rank(f.Reach) {
		f.Reach, f.Trace = v.reach, v.trace
	}
}

// module analyses the module of one go.mod. It returns a verdict for each flaw, or none; with an error too, where only a part of the module
// could be analysed.
func (a *Analysis) module(ctx context.Context, path string, flaws []*vuln.Flaw) ([]verdict, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return nil, errors.New("no Go toolchain is in PATH: what can be reached is not known")
	}
	dir := filepath.Join(a.Root, filepath.FromSlash(filepath.Dir(path)))
	if err := a.staysInside(dir); err != nil {
		return nil, err
	}
	db, err := os.MkdirTemp("", "testudo-reach-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(db)
	for i, f := range flaws {
		if err := writeEntry(db, i, f); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, a.Config.Timeout)
	defer cancel()
	args := append(slices.Clone(a.Child[1:]), dir, db)
	cmd := exec.CommandContext(ctx, a.Child[0], args...)
	cmd.Env = environment()
	cmd.WaitDelay = 5 * time.Second
	ownGroup(cmd)
	stderr := &limited{limit: maxStderr}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	verdicts := make([]verdict, len(flaws))
	for i, f := range flaws {
		if verdicts[i].reach = vuln.NotImported; f.LeastGo() {
			verdicts[i].reach = vuln.NotBuilt
		}
	}
	imported, readErr := read(out, verdicts)
	if readErr != nil {
		cancel() // nobody reads what else it says
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return nil, fmt.Errorf("not analysed within %s (scan.reach.timeout)", a.Config.Timeout)
	case err != nil && strings.Contains(stderr.String(), "no packages matched"):
		return slices.Repeat([]verdict{{reach: vuln.NotImported}}, len(flaws)), nil // no code, no calls
	case err != nil && notHere(stderr.String()) != "":
		return nil, errors.New(notHere(stderr.String()))
	case err != nil && !errors.Is(readErr, errTooMuch):
		return nil, fmt.Errorf("%w: %s", err, scan.Printable(strings.TrimSpace(stderr.String())))
	case readErr != nil:
		return nil, readErr
	}
	if left := stderr.leftOut(); left != "" {
		for i := range verdicts { // what was not looked at may call anything that is imported
			absent := imported != nil && !slices.ContainsFunc(flaws[i].Imports, func(im intel.Import) bool { return imported[im.Path] })
			if r := verdicts[i].reach; (r == vuln.NotReached || r == vuln.NotImported) && !absent {
				verdicts[i].reach = vuln.ReachUnknown
			}
		}
		why := scan.Printable(left)
		if short := notHere(left); short != "" {
			count, _, _ := strings.Cut(why, ":")
			why = count + ": " + short
		}
		return verdicts, fmt.Errorf("packages do not load, and what these call is not known: %s", why)
	}
	return verdicts, nil
}

// byToolchain judges the flaws of the standard library of a module that could not be analysed: by the toolchain that is installed, since a
// go.mod names only the least one.
func byToolchain(ctx context.Context, flaws []*vuln.Flaw) []verdict {
	out := make([]verdict, len(flaws))
	if !slices.ContainsFunc(flaws, (*vuln.Flaw).LeastGo) {
		return out
	}
	version := toolchain(ctx)
	for i, f := range flaws {
		if version != "" && f.LeastGo() && !f.In(version) {
			out[i].reach = vuln.NotBuilt
		}
	}
	return out
}

// toolchain is the version of the Go toolchain in PATH, as advisories write it: "1.26.1"; empty if there is none.
func toolchain(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Env, cmd.Dir = environment(), os.TempDir() // where no go.mod asks for another
	out, err := cmd.Output()
	if err != nil || len(out) > 100 {
		return ""
	}
	version, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "go")
	version, _, _ = strings.Cut(version, " ") // experiments
	version, _, _ = strings.Cut(version, "-")
	if !ok {
		return "" // one that is being developed
	}
	return version
}

// notHere explains what the toolchain says when a module's dependencies are not on this machine.
func notHere(text string) string {
	if strings.Contains(text, "module lookup disabled by GOPROXY=off") || strings.Contains(text, "missing go.sum entry") {
		return "its dependencies are not all on this machine (go mod download brings them)"
	}
	return ""
}

// staysInside refuses modules whose go.mod sends the toolchain to folders outside of the root.
func (a *Analysis) staysInside(dir string) error {
	root, err := os.OpenRoot(a.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	rel, err := filepath.Rel(a.Root, dir)
	if err != nil {
		return err
	}
	f, err := root.Open(filepath.Join(rel, "go.mod"))
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		return err
	}
	mod, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return err
	}
	full, err := modfile.Parse("go.mod", data, nil)
	if err == nil {
		mod = full
	}
	for _, r := range mod.Replace {
		if r.New.Version != "" {
			continue
		}
		if filepath.IsAbs(r.New.Path) || !filepath.IsLocal(filepath.Join(rel, r.New.Path)) {
			return fmt.Errorf("it replaces %s by a folder outside of what is scanned", scan.Printable(r.Old.Path))
		}
		if _, err := root.Stat(filepath.Join(rel, r.New.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it replaces %s by a folder that cannot be read: %w", scan.Printable(r.Old.Path), err)
		}
	}
	return nil
}

// environment is what the toolchain gets: where it and its caches are, and that it stays at home.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOROOT", "GOPATH", "GOCACHE", "GOMODCACHE", "USERPROFILE", "LOCALAPPDATA", "SystemRoot"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, "GOENV=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOWORK=off", "GOVCS=*:off", "CGO_ENABLED=0", "GOTELEMETRY=off")
}

// id names a flaw in the database of one analysis.
func id(i int) string { return fmt.Sprintf("GO-0000-%06d", i) }

// writeEntry writes what the analysis is to look for. The flaw is known to be in this version, so that the entry is about
// all versions; but of the standard library, where the toolchain that is installed decides.
func writeEntry(db string, i int, f *vuln.Flaw) error {
	type pkg struct {
		Name      string `json:"name"`
		Ecosystem string `json:"ecosystem"`
	}
	type affected struct {
		Package  pkg            `json:"package"`
		Ranges   []intel.Range  `json:"ranges"`
		Specific map[string]any `json:"ecosystem_specific"`
	}
	type imported struct {
		Path    string   `json:"path"`
		Symbols []string `json:"symbols,omitempty"`
		GOOS    []string `json:"goos,omitempty"`
		GOARCH  []string `json:"goarch,omitempty"`
	}
	var imports []imported
	for _, im := range f.Imports {
		imports = append(imports, imported(im))
	}
	ranges := []intel.Range{{Type: "SEMVER", Events: []intel.Event{{Introduced: "0"}}}}
	if f.LeastGo() {
		ranges = f.Ranges()
	}
	data, err := json.Marshal(struct {
		ID       string     `json:"id"`
		Modified time.Time  `json:"modified"`
		Affected []affected `json:"affected"`
	}{id(i), time.Unix(0, 0).UTC(), []affected{{
		Package:  pkg{f.Package().Name, "Go"},
		Ranges:   ranges,
		Specific: map[string]any{"imports": imports},
	}}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(db, id(i)+".json"), data, 0o600)
}

// message is what govulncheck writes, as far as it is of use.
type message struct {
	Config *struct {
		Protocol string `json:"protocol_version"`
	} `json:"config,omitempty"`
	Finding *struct {
		OSV   string  `json:"osv"`
		Trace []frame `json:"trace"`
	} `json:"finding,omitempty"`
	// Imported is of the child itself: every package that the module comes to, where some do not load.
	Imported []string `json:"imported,omitempty"`
}

// frame is one step of a chain of calls, the flaw first.
type frame struct {
	Module   string `json:"module"`
	Package  string `json:"package"`
	Function string `json:"function"`
	Receiver string `json:"receiver"`
}

var errTooMuch = errors.New("the analysis says too much")

// read takes the child's messages: what they say of a flaw replaces its verdict. One of which it is said no more than that the module is
// required is not imported. Imported is what the child said of that, nil if it did not.
func read(r io.Reader, verdicts []verdict) (imported map[string]bool, err error) {
	index := map[string]int{}
	for i := range verdicts {
		index[id(i)] = i
	}
	d := json.NewDecoder(r)
	began := false
	for range maxMessages {
		var m message
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			if !began {
				return nil, errors.New("the analysis said nothing")
			}
			return imported, nil
		}
		if err != nil {
			return nil, fmt.Errorf("what the analysis says cannot be read: %w", err)
		}
		began = began || m.Config != nil
		if m.Imported != nil {
			imported = map[string]bool{}
			for _, path := range m.Imported {
				imported[path] = true
			}
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		i, known := index[m.Finding.OSV]
		if !known {
			continue
		}
		v := &verdicts[i]
		switch first := m.Finding.Trace[0]; {
		case first.Function != "":
			if chain := calls(m.Finding.Trace); v.reach != vuln.Reached || len(chain) < len(v.trace) {
				v.reach, v.trace = vuln.Reached, chain
			}
		case first.Package != "" && v.reach != vuln.Reached:
			v.reach = vuln.NotReached
		case v.reach == vuln.NotBuilt:
			v.reach = vuln.NotImported
		}
	}
	return nil, errTooMuch
}

// calls writes a trace from the entry to the flaw.
func calls(trace []frame) []string {
	var out []string
	for _, f := range slices.Backward(trace) {
		name := f.Function
		if f.Receiver != "" {
			name = strings.TrimPrefix(f.Receiver, "*") + "." + name
		}
		out = append(out, f.Package+"."+name)
	}
	if len(out) > maxTrace {
		out = slices.Concat(out[:maxTrace/2], []string{"…"}, out[len(out)-maxTrace/2:])
	}
	return out
}

// leftOut is the last that the child said of packages which do not load.
func (l *limited) leftOut() string {
	out := ""
	for line := range strings.Lines(l.String()) {
		if rest, ok := strings.CutPrefix(line, leftOutMark); ok {
			out = strings.TrimSpace(rest)
		}
	}
	return out
}

// limited keeps the beginning of what is written.
type limited struct {
	bytes.Buffer
	limit int
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.limit - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
