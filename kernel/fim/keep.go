package fim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// Verb is what taking a baseline, or accepting changes into one, is in the ledger. Its subject is the digest of the baseline's file.
const Verb = "fim.baseline"

// Book is the ledger, as far as baselines need it.
type Book interface {
	// Record returns when the entry is on disk and signed.
	Record(ctx context.Context, actor, verb, subject string, detail map[string]string) error
	// Newest returns the subject of the newest entry with the verb, false where there is none.
	Newest(ctx context.Context, verb string) (subject string, ok bool, err error)
}

// ErrNone says that no baseline was ever taken.
var ErrNone = errors.New("no baseline of files was taken")

// load returns the baseline, if it is the one that the ledger has.
func load(ctx context.Context, file string, book Book) (*Baseline, string, error) {
	want, recorded, err := book.Newest(ctx, Verb)
	if err != nil {
		return nil, "", fmt.Errorf("which baseline of files was signed cannot be read from the ledger: %w", err)
	}
	text, err := read(file)
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		return nil, "", err
	}
	if recorded && (missing || Digest(text) != want) {
		// It may have been recorded just before testudo was killed.
		if next, err := read(file + nextSuffix); err == nil && Digest(next) == want {
			if err := os.Rename(file+nextSuffix, file); err != nil {
				return nil, "", err
			}
			text, missing = next, false
		}
	}
	switch {
	case !recorded && missing:
		return nil, "", ErrNone
	case !recorded:
		return nil, "", fmt.Errorf("%s is in no entry of the ledger: it was not taken by testudo", file)
	case missing:
		return nil, "", fmt.Errorf("%s is gone, the ledger has it with digest %.12s", file, want)
	case Digest(text) != want:
		return nil, "", fmt.Errorf("%s was edited: its digest is %.12s, the ledger has %.12s", file, Digest(text), want)
	}
	b, err := ParseBaseline(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	return b, want, nil
}

// nextSuffix names a baseline that is about to be the one.
const nextSuffix = ".next"

// keep signs a baseline and puts it in its place.
func keep(ctx context.Context, b *Baseline, file string, book Book, actor string, detail map[string]string) (digest string, err error) {
	text := b.Text()
	digest = Digest(text)
	if err := save(file+nextSuffix, text); err != nil {
		return "", fmt.Errorf("the baseline could not be written: %w", err)
	}
	files, hashed, altered := b.Counts()
	all := map[string]string{"files": strconv.Itoa(files), "hashed": strconv.Itoa(hashed), "not_as_packaged": strconv.Itoa(altered)}
	for k, v := range detail {
		all[k] = v
	}
	if err := book.Record(ctx, actor, Verb, digest, all); err != nil {
		return "", fmt.Errorf("the baseline could not be signed: %w", err)
	}
	return digest, os.Rename(file+nextSuffix, file)
}

// Collect looks at all files that are watched. progress, which may be nil, is told how many were looked at.
func Collect(ctx context.Context, x kernel.Examiner, cfg *Config, host string, now time.Time, progress func(files int)) (*Baseline, error) {
	b := &Baseline{Host: host, Taken: now.UTC().Truncate(time.Second), Roots: cfg.roots()}
	q := kernel.ExamineRequest{}
	for {
		a, err := x.Examine(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, f := range a.Files {
			if f.Path == "" || len(b.Files) > 0 && comparePaths(string(b.Files[len(b.Files)-1].Path), string(f.Path)) >= 0 {
				return nil, fmt.Errorf("the sensor tells of %s out of order", f.Path)
			}
			if len(b.Files) == cfg.MaxFiles {
				b.Full = true
				return b, nil
			}
			b.Files = append(b.Files, f)
		}
		b.Full = b.Full || a.Full
		if progress != nil {
			progress(len(b.Files))
		}
		if a.After == "" || len(a.Files) == 0 {
			return b, nil
		}
		q.After = a.After
	}
}

// again collects, and where there are more files than are watched looks at those of the baseline all the same: nobody can push a file out of
// sight by making others. cut is the last file before the limit, "" where there was no need for one.
func again(ctx context.Context, x kernel.Examiner, cfg *Config, base *Baseline, host string, now time.Time) (b *Baseline, cut string, err error) {
	b, err = Collect(ctx, x, cfg, host, now, nil)
	if err != nil || !b.Full || len(b.Files) == 0 {
		return b, "", err
	}
	cut = string(b.Files[len(b.Files)-1].Path)
	if base == nil {
		return b, cut, nil
	}
	var q kernel.ExamineRequest
	ask := func() error {
		if len(q.Paths) == 0 {
			return nil
		}
		a, err := x.Examine(ctx, q)
		if err != nil {
			return err
		}
		if len(a.Files) != len(q.Paths) {
			return fmt.Errorf("%d files were asked for, %d came", len(q.Paths), len(a.Files))
		}
		for i, f := range a.Files {
			if f.Path = q.Paths[i]; f.Exists {
				b.Files = append(b.Files, f)
			}
		}
		q.Paths = nil
		return nil
	}
	for i := range base.Files {
		p := base.Files[i].Path
		if comparePaths(string(p), cut) <= 0 || !cfg.Covers(string(p)) {
			continue
		}
		if q.Paths = append(q.Paths, p); len(q.Paths) == kernel.MaxExamined {
			if err := ask(); err != nil {
				return nil, "", err
			}
		}
	}
	return b, cut, ask()
}

// TakeFirst takes and signs a baseline where no monitor runs.
func TakeFirst(ctx context.Context, x kernel.Examiner, cfg *Config, file, host string, book Book, actor string, now time.Time, progress func(files int)) (*Baseline, string, error) {
	b, err := Collect(ctx, x, cfg, host, now, progress)
	if err != nil {
		return nil, "", err
	}
	digest, err := keep(ctx, b, file, book, actor, map[string]string{"how": "taken"})
	return b, digest, err
}

// Take takes what is there now as the baseline, and signs it in the ledger in the actor's name.
func (m *Monitor) Take(ctx context.Context, actor string, progress func(files int)) (Status, error) {
	m.work.Lock()
	b, digest, err := TakeFirst(ctx, m.d.Examiner, &m.cfg, m.d.File, m.d.Host, m.d.Book, actor, m.now(), progress)
	if err == nil {
		m.mu.Lock()
		m.set(b, digest)
		m.ready, m.scanned = true, m.now()
		m.scanAt = m.nextScan()
		m.mu.Unlock()
		m.nudge()
	}
	m.work.Unlock()
	if err != nil {
		return Status{}, err
	}
	return m.Status(), nil
}

// Selection says which differences are accepted.
type Selection struct {
	Paths    []kernel.FilePath // files, and folders with what is below them
	Packaged bool              // all files that are what their package's database says
}

func (s *Selection) has(c *Change) bool {
	if s.Packaged && c.After.Exists && c.After.Package != "" && !c.After.Altered && c.After.SHA256 != "" {
		return true
	}
	for _, p := range s.Paths {
		if c.Path == p || strings.HasPrefix(string(c.Path), string(p)+"/") {
			return true
		}
	}
	return false
}

// Accept takes differences into the baseline, as they were last told of, and signs the new one. It returns what was accepted.
func (m *Monitor) Accept(ctx context.Context, actor string, s Selection) ([]Change, error) {
	m.work.Lock()
	defer m.work.Unlock()
	m.mu.Lock()
	base := m.base
	var differ []Change
	if base != nil {
		differ = Diff(base.Files, m.sorted())
	}
	m.mu.Unlock()
	if base == nil {
		return nil, ErrNone
	}
	next, taken := accept(base, differ, s)
	if len(taken) == 0 {
		return nil, nil
	}
	digest, err := keep(ctx, next, m.d.File, m.d.Book, actor, acceptedDetail(taken))
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.base, m.digest = next, digest
	return taken, nil
}

// AcceptNow accepts differences of what is there now where no monitor runs.
func AcceptNow(ctx context.Context, x kernel.Examiner, cfg *Config, file string, book Book, actor string, now time.Time, s Selection) ([]Change, error) {
	base, _, err := load(ctx, file, book)
	if err != nil {
		return nil, err
	}
	is, _, err := again(ctx, x, cfg, base, base.Host, now)
	if err != nil {
		return nil, err
	}
	next, taken := accept(base, Diff(base.Files, is.Files), s)
	if len(taken) == 0 {
		return nil, nil
	}
	_, err = keep(ctx, next, file, book, actor, acceptedDetail(taken))
	return taken, err
}

func accept(base *Baseline, differ []Change, s Selection) (*Baseline, []Change) {
	next := *base
	next.Files = slices.Clone(base.Files)
	var taken []Change
	for i := range differ {
		if s.has(&differ[i]) {
			taken = append(taken, differ[i])
			next.Put(differ[i].After)
		}
	}
	return &next, taken
}

// acceptedDetail is what the ledger has of accepted differences: the first of them by name.
func acceptedDetail(taken []Change) map[string]string {
	d := map[string]string{"how": "accepted", "accepted": strconv.Itoa(len(taken))}
	for i := range taken[:min(len(taken), 16)] {
		d["path"+strconv.Itoa(i+1)] = taken[i].Path.String() + " (" + taken[i].String() + ")"
	}
	return d
}

// Status says what is watched, and what differs.
type Status struct {
	Enabled bool
	Problem error // why nothing is compared, nil where it is
	Digest  string
	Taken   time.Time
	Roots   []string
	Files   int // of the baseline
	Hashed  int
	Full    bool      // more is there than is watched
	Scanned time.Time // when all files were looked at last
	Took    time.Duration
	Pending int
	Dropped uint64 // events whose file did not fit among those that wait; all files were looked at instead
	Differ  []Change
	Altered []kernel.File // files that are not what their package says, changed or not
}

// Status says what is watched, and how what was seen last differs from the baseline.
func (m *Monitor) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := Status{Enabled: m.cfg.Enabled, Problem: m.problem, Digest: m.digest, Roots: m.cfg.roots(), Full: m.full, Scanned: m.scanned, Took: m.took,
		Pending: len(m.pending), Dropped: m.dropped.Load()}
	is := m.sorted()
	st.Altered = Altered(is)
	if m.base != nil {
		st.Taken = m.base.Taken
		st.Files, st.Hashed, _ = m.base.Counts()
		st.Differ = Diff(m.base.Files, is)
	} else if st.Problem == nil && m.cfg.Enabled {
		st.Problem = ErrNone
	}
	return st
}

// Altered returns the files that are not what their package says.
func Altered(files []kernel.File) []kernel.File {
	var out []kernel.File
	for i := range files {
		if files[i].Altered {
			out = append(out, files[i])
		}
	}
	return out
}

// Compare says how the files of now differ from the signed baseline, where no monitor runs.
func Compare(ctx context.Context, x kernel.Examiner, cfg *Config, file string, book Book, now time.Time) (Status, error) {
	base, digest, err := load(ctx, file, book)
	if err != nil {
		return Status{}, err
	}
	is, _, err := again(ctx, x, cfg, base, base.Host, now)
	if err != nil {
		return Status{}, err
	}
	st := Status{Enabled: cfg.Enabled, Digest: digest, Taken: base.Taken, Roots: cfg.roots(), Full: is.Full, Scanned: now, Differ: Diff(base.Files, is.Files), Altered: Altered(is.Files)}
	st.Files, st.Hashed, _ = base.Counts()
	return st, nil
}
