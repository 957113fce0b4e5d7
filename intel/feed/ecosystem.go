package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/testudo-sec/testudo/intel"
)

// Beyond these an ecosystem's archive is downloaded instead of each advisory that changed.
const (
	maxSingles      = 1000
	alwaysSingles   = 20
	singlesParallel = 8
)

// ecosystem takes in one: as it is in the old database if the source says that nothing changed, else what changed, else all.
func (u *updater) ecosystem(ctx context.Context, l layout, o *Outcome) error {
	u.progress.at("asking", o.Name)
	from := u.from(u.o.Config.Source)
	before, had := u.before(intel.KindOSV, o.Name)
	mine := had && before.From == from && !u.o.Full // only then can its marks be compared
	s, told, err := l.state(ctx, o.Name)
	if err != nil {
		return err
	}
	if mine && told && s.same(state{before.ETag, before.LastModified}) {
		if err := u.unchanged(o, before, nil); !errors.Is(err, intel.ErrDamaged) {
			return err
		}
		mine = false // it is not worth keeping
	}
	if mine {
		if done, err := u.increment(ctx, l, o, before, s); done || err != nil {
			return err
		}
	}
	u.progress.at("downloading", o.Name)
	path, s, digest, done, err := l.archive(ctx, o.Name)
	if err != nil {
		return err
	}
	if mine && before.ContentDigest == digest {
		err := u.unchanged(o, before, func(src *intel.Source) { src.ETag, src.LastModified = s.ETag, s.LastModified })
		if !errors.Is(err, intel.ErrDamaged) {
			done()
			return err
		}
	}
	u.progress.at("reading", o.Name)
	out, err := u.w.Source(intel.Source{Kind: intel.KindOSV, Name: o.Name, From: from, Checked: u.now, Fetched: u.now,
		ETag: s.ETag, LastModified: s.LastModified, ContentDigest: digest})
	if err != nil {
		return err
	}
	defer out.Drop()
	err = u.archive(ctx, path, func(string, *intel.Advisory) (*intel.SourceWriter, error) { return out, nil }, o)
	if err != nil {
		if errors.Is(err, errZip) || errors.Is(err, errBomb) {
			done() // downloading it again may help, going on with it will not
		}
		return err
	}
	done()
	if !mine {
		before.Advisories = 0 // of another place, which may have had more
	}
	if err := u.enough(o, out.Len(), before); err != nil {
		return err
	}
	o.State, o.Advisories = New, int64(out.Len())
	if had {
		o.State = Replaced
	}
	return u.closed(out, o, time.Time{})
}

// closed writes a source; what goes wrong then spoils the file.
func (u *updater) closed(out *intel.SourceWriter, o *Outcome, cursor time.Time) error {
	err := out.Close(func(src *intel.Source) {
		src.Broken = o.Broken
		if src.Cursor = cursor; cursor.IsZero() {
			src.Cursor = u.notAfterNow(src.Newest)
		}
	})
	if err != nil {
		return &fatalError{err}
	}
	return nil
}

// notAfterNow keeps a source's clock from hiding what comes later.
func (u *updater) notAfterNow(t time.Time) time.Time {
	if t.After(u.now) {
		return u.now
	}
	return t
}

func (u *updater) unchanged(o *Outcome, before intel.Source, change func(*intel.Source)) error {
	o.State, o.Advisories, o.Broken = Unchanged, before.Advisories, before.Broken
	return u.w.Copy(u.old, o.Kind, o.Name, func(s *intel.Source) {
		s.Checked = u.now
		if change != nil {
			change(s)
		}
	})
}

// enough refuses an export that lost too much, or of which too much is broken.
func (u *updater) enough(o *Outcome, n int, before intel.Source) error {
	if u.o.Force {
		return nil
	}
	share := int64(u.o.Config.MaxLoss)
	lost := before.Advisories - int64(n)
	switch {
	case n == 0:
		return errors.New("the source holds no advisories; take that with --force")
	case o.Broken > 10 && o.Broken*100 > share*(o.Broken+int64(n)):
		return fmt.Errorf("%d of %d advisories are broken (as %s): more than %d%%; take the rest with --force", o.Broken, o.Broken+int64(n), o.example(), share)
	case lost > 10 && lost*100 > share*before.Advisories:
		return fmt.Errorf("the source lost %d of %d advisories: more than %d%%; take that with --force", lost, before.Advisories, share)
	}
	return nil
}

func (o *Outcome) example() string {
	if len(o.Examples) == 0 {
		return "?"
	}
	return o.Examples[0]
}

const maxExamples = 10

// broken notes an advisory that cannot be taken.
func (o *Outcome) broken(name string, err error) {
	o.Broken++
	if len(o.Examples) < maxExamples {
		o.Examples = append(o.Examples, fmt.Sprintf("%.200q: %.300s", name, strings.ToValidUTF8(err.Error(), "?")))
	}
}

// archive takes in a zip file of advisories; to says where one belongs.
func (u *updater) archive(ctx context.Context, file string, to func(name string, a *intel.Advisory) (*intel.SourceWriter, error), o *Outcome) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := openZip(f, info.Size())
	if err != nil {
		return err
	}
	for {
		e, err := z.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		extension := strings.ToLower(path.Ext(e.name))
		if strings.HasSuffix(e.name, "/") || extension != ".json" && extension != ".yaml" && extension != ".yml" {
			continue
		}
		if !e.plain() {
			o.broken(e.name, errors.New("a name that is not read"))
			continue
		}
		text, err := z.read(e, maxAdvisory)
		if errors.Is(err, errBomb) {
			return err
		}
		if err != nil {
			o.broken(e.name, err)
			continue
		}
		if err := u.take(e.name, extension, text, to, o); err != nil {
			return err
		}
	}
}

// take parses one advisory's text and adds it where it belongs. What is wrong with the text is noted.
func (u *updater) take(name, extension string, text []byte, to func(string, *intel.Advisory) (*intel.SourceWriter, error), o *Outcome) error {
	var a *intel.Advisory
	var err error
	if extension == ".json" {
		a, err = ParseOSV(text)
	} else {
		a, err = parseYAML(text)
	}
	var out *intel.SourceWriter
	if err == nil {
		out, err = to(name, a)
	}
	if err == nil && out != nil {
		err = out.Add(a)
	}
	u.progress.one()
	var refused *intel.Refused
	switch {
	case err == nil:
		return nil
	case a == nil || errors.As(err, &refused):
		o.broken(name, err)
		return nil
	}
	return err
}

// increment takes in what the source's list of changes says has changed; done is false if that is not worth it or not possible.
func (u *updater) increment(ctx context.Context, l layout, o *Outcome, before intel.Source, s state) (done bool, err error) {
	text, err := l.changes(ctx, o.Name)
	if err != nil {
		if missing(err) || errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	changes, err := parseChanges(text)
	if err != nil || len(changes) == 0 {
		return false, nil // the archive will tell
	}
	old := map[string]bool{} // false once the source has it too
	for id, err := range u.old.IDs(o.Name) {
		if err != nil {
			return false, nil //nolint:nilerr // what is damaged is replaced
		}
		old[id] = true
	}
	gone, added := len(old), 0
	fresh := map[string]bool{}
	cursor := before.Cursor
	for _, c := range changes {
		left, known := old[c.id]
		if left {
			old[c.id] = false
			gone--
		}
		if !known && !fresh[c.id] {
			added++
		}
		if !known || c.at.After(before.Cursor) {
			fresh[c.id] = true
		}
		if at := u.notAfterNow(c.at); at.After(cursor) {
			cursor = at
		}
	}
	if len(fresh) > maxSingles || len(fresh) > alwaysSingles && len(fresh) > len(old)/5 {
		return false, nil
	}
	if err := u.enough(o, len(old)-gone+added, before); err != nil {
		return true, err
	}
	mark := func(src *intel.Source) { src.ETag, src.LastModified, src.Cursor = s.ETag, s.LastModified, cursor }
	if len(fresh) == 0 && gone == 0 {
		return true, u.unchanged(o, before, mark)
	}
	u.progress.at("downloading", o.Name)
	came, err := u.singles(ctx, l, o, fresh)
	if err != nil {
		return true, err
	}
	if o.Broken > 0 {
		// A mirror that is being filled has the list before all that it names: what is missing is asked for again the next time.
		s, cursor = state{}, before.Cursor
	}
	src := before
	src.Checked, src.Fetched, src.ContentDigest = u.now, u.now, ""
	src.Advisories, src.Withdrawn, src.Malicious, src.Packages, src.Newest = 0, 0, 0, 0, time.Time{}
	mark(&src)
	out, err := u.w.Source(src)
	if err != nil {
		return true, err
	}
	defer out.Drop()
	taken := map[string]bool{}
	for _, a := range came {
		var refused *intel.Refused
		if err := out.Add(a); errors.As(err, &refused) {
			o.broken(a.ID, err)
		} else if err != nil {
			return true, err
		} else {
			taken[a.ID] = true
		}
	}
	if err := out.Keep(u.old, func(id string) bool { left, known := old[id]; return known && !left && !taken[id] }); err != nil {
		return true, err
	}
	o.State, o.Advisories, o.Changed, o.Removed = Updated, int64(out.Len()), int64(len(taken)), int64(gone)
	o.Broken = max(o.Broken, before.Broken) // many are the same again
	return true, u.closed(out, o, cursor)
}

// singles downloads advisories one by one.
func (u *updater) singles(ctx context.Context, l layout, o *Outcome, ids map[string]bool) ([]*intel.Advisory, error) {
	var mu sync.Mutex
	var out []*intel.Advisory
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(singlesParallel)
	for id := range ids {
		group.Go(func() error {
			text, err := l.advisory(ctx, o.Name, id)
			gone := missing(err) || errors.Is(err, fs.ErrNotExist)
			if err != nil && !gone {
				return err
			}
			var a *intel.Advisory
			if err == nil {
				if a, err = ParseOSV(text); err == nil && a.ID != id {
					err = fmt.Errorf("its id is %.100q", a.ID)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				o.broken(id, err)
				return nil
			}
			out = append(out, a)
			return nil
		})
	}
	return out, group.Wait()
}

const maxFamilies = 200

// loose takes in a folder of OSV files (JSON, YAML) and zip files of them, or one such file.
func (u *updater) loose(ctx context.Context, root string) error {
	u.progress.at("reading", root)
	u.progress.expect(3)
	choice := u.choice()
	families := map[string]*intel.SourceWriter{}
	defer func() {
		for _, out := range families {
			out.Drop()
		}
	}()
	all := Outcome{}
	from, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	family := func(name string) (*intel.SourceWriter, error) {
		if choice != nil && !contains(choice, name) {
			return nil, nil
		}
		if families[name] == nil {
			if len(families) >= maxFamilies {
				return nil, &intel.Refused{ID: name, Why: "too many ecosystems"}
			}
			out, err := u.w.Source(intel.Source{Kind: intel.KindOSV, Name: name, From: from, Checked: u.now, Fetched: u.now})
			if err != nil {
				return nil, &intel.Refused{ID: name, Why: err.Error()}
			}
			families[name] = out
		}
		return families[name], nil
	}
	to := func(_ string, a *intel.Advisory) (*intel.SourceWriter, error) {
		seen := map[string]bool{}
		for i := range a.Affected {
			name, _ := intel.Ecosystem(a.Affected[i].Ecosystem)
			if seen[name] {
				continue
			}
			seen[name] = true
			out, err := family(name)
			if err == nil && out != nil {
				err = out.Add(a)
			}
			if err != nil {
				return nil, err
			}
		}
		if len(seen) == 0 {
			return nil, &intel.Refused{ID: a.ID, Why: "it names no package"}
		}
		return nil, nil // added already
	}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		extension := strings.ToLower(filepath.Ext(p))
		switch base := filepath.Base(p); {
		case base == exploitedFile:
		case extension == ".zip":
			if err := u.archive(ctx, p, to, &all); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
		case extension == ".json", extension == ".yaml", extension == ".yml":
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			text, err := readBounded(f, maxAdvisory)
			_ = f.Close()
			if err != nil {
				all.broken(p, err)
				return nil
			}
			return u.take(p, extension, text, to, &all)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(families) == 0 && all.Broken > 0 {
		return fmt.Errorf("%s: none of its %d files is an advisory that can be read: %s", root, all.Broken, all.example())
	}
	if err := u.enough(&all, sumLen(families), intel.Source{}); err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	for name, out := range families {
		err := u.finish(ctx, Outcome{Kind: intel.KindOSV, Name: name}, func(o *Outcome) error {
			before, had := u.before(intel.KindOSV, name)
			if before.From != from {
				before.Advisories = 0
			}
			if err := u.enough(o, out.Len(), before); err != nil {
				return err
			}
			o.State, o.Advisories, o.Broken, o.Examples = New, int64(out.Len()), all.Broken, all.Examples
			if had {
				o.State = Replaced
			}
			all = Outcome{} // named once
			return u.closed(out, o, time.Time{})
		})
		if err != nil {
			return err
		}
	}
	if err := u.lists(ctx); err != nil {
		return err
	}
	return u.others()
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func sumLen(families map[string]*intel.SourceWriter) (n int) {
	for _, f := range families {
		n += f.Len()
	}
	return n
}
