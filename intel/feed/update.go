// Package feed makes and renews the database of [intel]: from the public OSV export, a mirror of it, or a folder, with the lists of
// exploited vulnerabilities (CISA) and of probabilities (EPSS). All that comes from there is taken for hostile: it is
// bounded, checked against digests where there are any, and never spoils the database that is in use.
package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/testudo-sec/testudo/intel"
)

// ErrBusy says that another process updates the same database.
var ErrBusy = errors.New("another update of this database is running")

// Options says what is updated, and how.
type Options struct {
	Config intel.Config
	// Path is the database; its folder is made.
	Path string
	// Only restricts the update to these ecosystems; the others stay as they are.
	Only []string
	// Full downloads everything anew, and Force takes it even if too much is gone.
	Full, Force bool
	// Progress is told some ten times a second how far it is; nil for nobody. It is not called twice at a time.
	Progress func(Progress)
	// Client replaces the one that keeps redirects away from private addresses.
	Client *http.Client
	// Now is the time; the zero time stands for the present. Backoff comes before the first retry; 0 stands for half a second.
	Now     time.Time
	Backoff time.Duration
}

// States of a source after an update.
const (
	Unchanged = "unchanged" // nothing new
	Updated   = "updated"   // what changed was taken in
	Replaced  = "replaced"  // taken in anew
	New       = "new"       // was not there before
	Kept      = "kept"      // not asked for, or it failed: the old one stays
	Dropped   = "dropped"   // not wanted any more
	Missing   = "missing"   // it failed, and there is no old one
)

// Outcome is what became of one source.
type Outcome struct {
	Kind       intel.Kind `json:"kind"`
	Name       string     `json:"name"`
	State      string     `json:"state"`
	Advisories int64      `json:"advisories"` // that it has now
	Changed    int64      `json:"changed"`    // that are new or were modified, where only these were asked for
	Removed    int64      `json:"removed"`
	Broken     int64      `json:"broken"` // that could not be understood
	Examples   []string   `json:"examples,omitempty"`
	Err        error      `json:"-"`
	Error      string     `json:"error,omitempty"`
}

// Result is what an update did.
type Result struct {
	Sources    []Outcome     `json:"sources"`
	Downloaded int64         `json:"downloaded"` // bytes
	Elapsed    time.Duration `json:"elapsed"`
	Info       intel.Info    `json:"database"`
	// Discarded says why an old database could not be used.
	Discarded error `json:"-"`
}

// Update brings the database up to date, or makes it. Sources that fail keep what they had, and are named in the error; the
// others count. If all fail nothing is written. Until the end the old database is in use, and a
// process that is killed leaves it as it is; the next one goes on with its downloads.
func Update(ctx context.Context, o Options) (*Result, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	began := time.Now()
	work := o.Path + ".work"
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, err
	}
	held, err := lock(filepath.Join(work, "lock"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Path, err)
	}
	defer held.Close()
	intel.Sweep(work)
	sweep(work)
	u := &updater{o: o, work: work, now: cmp.Or(o.Now, time.Now()).UTC(), result: &Result{}}
	u.progress = newReporter(o.Progress)
	defer u.progress.stop()
	switch u.old, err = intel.Open(o.Path); {
	case err == nil:
		defer u.old.Close()
	case !errors.Is(err, fs.ErrNotExist):
		u.result.Discarded = err
	}
	if u.w, err = intel.Create(o.Path, work); err != nil {
		return nil, err
	}
	defer u.w.Abort()
	u.setUpFetcher()
	if o.Client == nil {
		defer u.f.client.CloseIdleConnections()
	}
	if err := u.run(ctx); err != nil {
		return nil, err
	}
	res := u.result
	res.Elapsed, res.Downloaded = time.Since(began), u.progress.downloaded()
	failed := u.failures()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(res.Sources, func(s Outcome) bool { return s.Err == nil && s.State != Kept && s.State != Dropped }) {
		if failed == nil {
			failed = errors.New("the source has none of the ecosystems that are wanted")
		}
		return res, failed
	}
	u.progress.phase("writing")
	if err := u.w.Commit(u.now); err != nil {
		return nil, err
	}
	sweepParts(work, res.Sources)
	d, err := intel.Open(o.Path)
	if err != nil {
		return nil, err
	}
	res.Info = d.Info()
	return res, errors.Join(failed, d.Close())
}

type updater struct {
	o        Options
	work     string
	now      time.Time
	old      *intel.Database // nil if there is none
	w        *intel.Writer
	f        *fetcher
	progress *reporter

	mu     sync.Mutex
	result *Result
}

func (u *updater) setUpFetcher() {
	c := &u.o.Config
	client := u.o.Client
	if client == nil {
		var own []string
		for _, s := range []string{c.Source, c.Exploited, c.Probability, intel.PublicExploited, intel.PublicProbability} {
			if intel.IsURL(s) {
				own = append(own, s)
			}
		}
		client = newGuard(own...).client(c.Timeout)
	}
	u.f = &fetcher{client: client, timeout: c.Timeout, retries: c.Retries, backoff: cmp.Or(u.o.Backoff, 500*time.Millisecond), limit: int64(c.MaxDownload), bytes: u.progress.bytes}
}

func (u *updater) failures() error {
	var all []error
	for _, s := range u.result.Sources {
		if s.Err != nil {
			all = append(all, fmt.Errorf("%s: %w", s.Name, s.Err))
		}
	}
	return errors.Join(all...)
}

// run takes in all sources.
func (u *updater) run(ctx context.Context) error {
	var err error
	if intel.IsURL(u.o.Config.Source) {
		var r *remote
		if r, err = newRemote(ctx, u.o.Config.Source, u.work, u.f); err == nil {
			err = u.layout(ctx, r)
		}
	} else {
		err = u.folder(ctx, u.o.Config.Source)
	}
	if err != nil {
		return err
	}
	slices.SortFunc(u.result.Sources, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(len(a.Kind), len(b.Kind)), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return nil
}

// folder takes in a folder: one with the export's layout, or of advisories in any order.
func (u *updater) folder(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return u.loose(ctx, path)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	l := &folder{root: root, path: path}
	archives, err := fs.Glob(root.FS(), "*/"+archiveFile)
	if err != nil {
		return err
	}
	if len(archives) == 0 {
		return u.loose(ctx, path)
	}
	sums, err := l.read(sumsFile, maxSums)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", sumsFile, err)
	}
	l.sums = parseSums(sums)
	return u.layout(ctx, l)
}

// layout takes in the wanted ecosystems, several at a time, and the lists.
func (u *updater) layout(ctx context.Context, l layout) error {
	u.progress.phase("asking")
	names, absent, err := u.wanted(ctx, l)
	if err != nil {
		return err
	}
	u.progress.expect(len(names) + 2)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(u.o.Config.Parallel)
	for _, name := range names {
		group.Go(func() error {
			defer u.progress.finished()
			return u.finish(ctx, Outcome{Kind: intel.KindOSV, Name: name}, func(o *Outcome) error { return u.ecosystem(ctx, l, o) })
		})
	}
	group.Go(func() error { return u.lists(ctx) })
	for _, name := range absent {
		group.Go(func() error {
			return u.finish(ctx, Outcome{Kind: intel.KindOSV, Name: name}, func(*Outcome) error {
				return fmt.Errorf("%s has no such ecosystem", u.o.Config.Source)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return u.others()
}

// wanted returns the ecosystems to take in, and those that were named and are not there.
func (u *updater) wanted(ctx context.Context, l layout) (names, absent []string, err error) {
	text, err := l.list(ctx)
	if err != nil && !missing(err) {
		return nil, nil, err
	}
	there := parseEcosystems(text)
	named := cmp.Or(len(u.o.Only) > 0, len(u.o.Config.Ecosystems) > 0 && !slices.Contains(u.o.Config.Ecosystems, "all"))
	if err != nil && !named {
		return nil, nil, fmt.Errorf("no OSV export: %w", err)
	}
	choice := u.choice()
	for _, name := range slices.Compact(slices.Sorted(slices.Values(there))) {
		if choice == nil || slices.Contains(choice, name) {
			names = append(names, name)
		}
	}
	if named {
		for _, name := range choice {
			switch {
			case slices.Contains(names, name):
			case err != nil:
				names = append(names, name) // no list: it may be there
			default:
				absent = append(absent, name)
			}
		}
	}
	return names, absent, nil
}

// choice is the ecosystems that are wanted; nil stands for all.
func (u *updater) choice() []string {
	c := u.o.Config.Ecosystems
	switch {
	case len(u.o.Only) > 0:
		return u.o.Only
	case slices.Contains(c, "all"):
		return nil
	case len(c) > 0:
		return c
	case !intel.IsURL(u.o.Config.Source):
		return nil // what somebody put into a folder is meant
	}
	return intel.DefaultEcosystems()
}

// finish runs what takes in one source. If it fails the old one stays; an error is of what nobody can go on after.
func (u *updater) finish(ctx context.Context, o Outcome, take func(*Outcome) error) error {
	before, had := u.before(o.Kind, o.Name)
	err := take(&o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var fatal *fatalError
	if errors.As(err, &fatal) {
		return fatal.error
	}
	if err != nil {
		o.Err, o.Error = err, err.Error()
		o.State, o.Advisories, o.Changed, o.Removed = Missing, 0, 0, 0
		if had {
			o.State, o.Advisories = Kept, before.Advisories
			if copied := u.w.Copy(u.old, o.Kind, o.Name, nil); errors.Is(copied, intel.ErrDamaged) {
				o.State, o.Advisories, o.Err = Missing, 0, errors.Join(err, copied)
			} else if copied != nil {
				return copied
			}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.result.Sources = append(u.result.Sources, o)
	return nil
}

// fatalError is one that ends the update: the new database cannot be written.
type fatalError struct{ error }

// before returns the source in the old database.
func (u *updater) before(kind intel.Kind, name string) (intel.Source, bool) {
	if u.old == nil {
		return intel.Source{}, false
	}
	info := u.old.Info()
	return info.Source(kind, name)
}

// others keeps the old sources that nobody asked for, unless the configuration leaves them out.
func (u *updater) others() error {
	if u.old == nil {
		return nil
	}
	c := u.o.Config.Ecosystems
	restricted := len(c) > 0 && !slices.Contains(c, "all")
	info := u.old.Info()
	for _, s := range info.Sources {
		if slices.ContainsFunc(u.result.Sources, func(o Outcome) bool { return o.Kind == s.Kind && o.Name == s.Name }) {
			continue
		}
		o := Outcome{Kind: s.Kind, Name: s.Name, State: Kept, Advisories: s.Advisories}
		unwanted := s.Kind == intel.KindOSV && restricted && !slices.Contains(c, s.Name) ||
			s.Kind == intel.KindExploited && u.o.Config.Exploited == intel.None || s.Kind == intel.KindProbability && u.o.Config.Probability == intel.None
		if unwanted {
			o.State, o.Advisories = Dropped, 0
		} else if err := u.w.Copy(u.old, s.Kind, s.Name, nil); errors.Is(err, intel.ErrDamaged) {
			o.State, o.Advisories, o.Err, o.Error = Missing, 0, err, err.Error()
		} else if err != nil {
			return err
		}
		u.result.Sources = append(u.result.Sources, o)
	}
	return nil
}

// from is the place of a source, as it is recorded.
func (u *updater) from(s string) string { return strings.TrimRight(s, "/") }
