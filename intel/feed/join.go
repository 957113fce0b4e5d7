package feed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo/intel"
)

// lists takes in the list of exploited vulnerabilities and the probabilities.
func (u *updater) lists(ctx context.Context) error {
	c := &u.o.Config
	for _, l := range []struct {
		kind                        intel.Kind
		name, where, public, beside string
		read                        func(*os.File, intel.Source, *Outcome) error
	}{
		{intel.KindExploited, "kev", c.Exploited, intel.PublicExploited, exploitedFile, u.exploited},
		{intel.KindProbability, "epss", c.Probability, intel.PublicProbability, probabilityFile, u.probabilities},
	} {
		u.progress.finished()
		where, optional := l.where, false
		switch {
		case where == intel.None:
			continue
		case where != "":
		case u.from(c.Source) == intel.PublicSource:
			where = l.public
		default:
			where, optional = u.beside(l.beside), true
		}
		err := u.finish(ctx, Outcome{Kind: l.kind, Name: l.name}, func(o *Outcome) error {
			err := u.list(ctx, o, where, l.read)
			if optional && (missing(err) || errors.Is(err, fs.ErrNotExist)) {
				return errAbsent
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	// A mirror need not have the lists: then the old ones stay, and nothing is wrong.
	kept := u.result.Sources[:0]
	for _, o := range u.result.Sources {
		if errors.Is(o.Err, errAbsent) {
			if o.State == Missing {
				continue
			}
			o.Err, o.Error = nil, ""
		}
		kept = append(kept, o)
	}
	u.result.Sources = kept
	return nil
}

var errAbsent = errors.New("the source has no such list")

// beside is where a list stands next to the advisories.
func (u *updater) beside(name string) string {
	s := u.o.Config.Source
	if intel.IsURL(s) {
		return u.from(s) + "/" + name
	}
	if info, err := os.Stat(s); err == nil && !info.IsDir() {
		s = filepath.Dir(s)
	}
	return filepath.Join(s, name)
}

// list takes in one list from a URL or a file.
func (u *updater) list(ctx context.Context, o *Outcome, where string, read func(*os.File, intel.Source, *Outcome) error) error {
	u.progress.at("asking", o.Name)
	before, had := u.before(o.Kind, o.Name)
	mine := had && before.From == where && !u.o.Full
	src := intel.Source{Kind: o.Kind, Name: o.Name, From: where, Checked: u.now, Fetched: u.now}
	path := where
	if intel.IsURL(where) {
		s, told, err := u.f.head(ctx, where)
		if err != nil {
			return err
		}
		if mine && told && s.same(state{before.ETag, before.LastModified}) {
			if err := u.unchanged(o, before, nil); !errors.Is(err, intel.ErrDamaged) {
				return err
			}
		}
		path = partOf(u.work, o.Kind, o.Name)
		small := *u.f
		small.limit = min(small.limit, maxListDownload)
		if s, src.ContentDigest, err = small.download(ctx, where, path, ""); err != nil {
			return err
		}
		defer forget(path)
		src.ETag, src.LastModified = s.ETag, s.LastModified
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxListDownload {
		return errors.Join(err, fmt.Errorf("%s: not a file of at most %d bytes", where, maxListDownload))
	}
	o.State = New
	if had {
		o.State = Replaced
	}
	if err := read(f, src, o); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (u *updater) exploited(f *os.File, src intel.Source, o *Outcome) error {
	entries, date, broken, err := parseExploited(f)
	if err != nil {
		return err
	}
	return u.listed(o, &src, len(entries), broken, date, func(s intel.Source) (int, error) { return u.w.Exploited(s, entries) })
}

func (u *updater) probabilities(f *os.File, src intel.Source, o *Outcome) error {
	entries, date, broken, err := parseProbability(f)
	if err != nil {
		return err
	}
	return u.listed(o, &src, len(entries), broken, date, func(s intel.Source) (int, error) { return u.w.Probabilities(s, entries) })
}

func (u *updater) listed(o *Outcome, src *intel.Source, n, broken int, date time.Time, write func(intel.Source) (int, error)) error {
	o.Broken = int64(broken)
	before, _ := u.before(o.Kind, o.Name)
	if before.From != src.From {
		before.Advisories = 0
	}
	if err := u.enough(o, n, before); err != nil {
		return err
	}
	src.Newest, src.Broken = date, o.Broken
	left, err := write(*src)
	if err != nil {
		return &fatalError{err}
	}
	o.Advisories, o.Broken = int64(n-left), int64(broken+left)
	return nil
}
