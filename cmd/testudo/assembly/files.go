package assembly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/trust/ledger"
)

// baselineFile is the signed baseline of files in the data directory.
const baselineFile = "files.baseline"

// watchFiles puts the monitor of files between the plane and the judge, where files are watched.
func (p *kernelPlane) watchFiles(host string) (signal.Sink, error) {
	m := p.m
	if !m.settings.FIM.Enabled || p.client == nil { // a baseline by somebody who may not read all of it would be none
		return m.node, nil
	}
	var err error
	p.files, err = fim.New(m.settings.FIM, fim.Deps{Examiner: p.client, Sink: m.node, Book: book{m.storage}, File: filepath.Join(m.opts.Dir, baselineFile), Host: host,
		Redact: redactor(), Logger: m.log, Registerer: m.registry})
	if err != nil {
		return nil, err
	}
	return p.files, nil
}

// book fits the ledger to baselines.
type book struct{ *Storage }

// Newest looks for the newest entry with a verb, from the end.
func (b book) Newest(ctx context.Context, verb string) (string, bool, error) {
	if b.Ledger == nil {
		return "", false, fmt.Errorf("the ledger is damaged: %w", b.LedgerFault)
	}
	for to := b.Ledger.Head().Size; to > 0; {
		from := uint64(0)
		if to > ledger.MaxEntries {
			from = to - ledger.MaxEntries
		}
		page, err := b.Ledger.Entries(ctx, from, int(to-from))
		if err != nil {
			return "", false, err
		}
		for i := len(page) - 1; i >= 0; i-- {
			if page[i].Verb == verb {
				return page[i].Subject, true, nil
			}
		}
		to = from
	}
	return "", false, nil
}

// filesDesk says what files differ, and takes orders about them.
type filesDesk struct{ m *Machine }

func (d filesDesk) monitor() (*fim.Monitor, error) {
	switch {
	case !d.m.settings.FIM.Enabled:
		return nil, fmt.Errorf("%w: files are not watched: fim.enabled is false", console.ErrUnavailable)
	case d.m.kernel == nil || d.m.kernel.files == nil:
		return nil, fmt.Errorf("%w: files are not watched: that takes root, as in sudo testudo up", console.ErrUnavailable)
	}
	return d.m.kernel.files, nil
}

// Files implements console.FileSource.
func (d filesDesk) Files(ctx context.Context, now bool) (console.FileReport, error) {
	m, err := d.monitor()
	if err != nil {
		return console.FileReport{}, err
	}
	if now {
		if err := m.Scan(ctx); err != nil {
			return console.FileReport{}, fmt.Errorf("%w: %w", console.ErrUnavailable, err)
		}
	}
	return fileReport(m.Status()), nil
}

// TakeFiles implements console.FileSource.
func (d filesDesk) TakeFiles(ctx context.Context, by console.Identity) (console.FileReport, error) {
	m, err := d.monitor()
	if err != nil {
		return console.FileReport{}, err
	}
	st, err := m.Take(ctx, by.Actor(), nil)
	if err != nil {
		return console.FileReport{}, fmt.Errorf("%w: %w", console.ErrUnavailable, err)
	}
	return fileReport(st), nil
}

// AcceptFiles implements console.FileSource.
func (d filesDesk) AcceptFiles(ctx context.Context, o console.FileOrder, by console.Identity) ([]console.FileChange, error) {
	m, err := d.monitor()
	if err != nil {
		return nil, err
	}
	s, err := selection(o)
	if err != nil {
		return nil, err
	}
	taken, err := m.Accept(ctx, by.Actor(), s)
	if errors.Is(err, fim.ErrNone) {
		return nil, fmt.Errorf("%w: %w: testudo fim baseline takes one", console.ErrConflict, err)
	}
	return fileChanges(taken, len(taken)), err
}

// selection reads which differences are meant.
func selection(o console.FileOrder) (fim.Selection, error) {
	s := fim.Selection{Packaged: o.Packaged}
	for _, text := range o.Paths {
		var p kernel.FilePath
		if err := p.UnmarshalText([]byte(text)); err != nil {
			return s, &console.InputError{Field: "paths", Reason: err.Error()}
		}
		if !filepath.IsAbs(string(p)) {
			return s, &console.InputError{Field: "paths", Reason: "want absolute paths"}
		}
		s.Paths = append(s.Paths, kernel.FilePath(filepath.Clean(string(p))))
	}
	if len(s.Paths) == 0 && !s.Packaged {
		return s, &console.InputError{Field: "paths", Reason: "name at least one path, or packaged"}
	}
	return s, nil
}

// fileReport is a status for people.
func fileReport(st fim.Status) console.FileReport {
	r := console.FileReport{Baseline: st.Digest, Taken: st.Taken, Roots: st.Roots, Files: st.Files, Hashed: st.Hashed, Full: st.Full, Scanned: st.Scanned,
		TookMS: st.Took.Milliseconds(), Pending: st.Pending, Dropped: st.Dropped, Differ: len(st.Differ), Altered: len(st.Altered)}
	if st.Problem != nil {
		r.Problem = st.Problem.Error()
	}
	r.Changes = fileChanges(st.Differ, console.MaxFileChanges)
	for i := range st.Altered[:min(len(st.Altered), console.MaxFileChanges)] {
		f := &st.Altered[i]
		r.NotAsPackaged = append(r.NotAsPackaged, console.PackagedFile{Path: f.Path.String(), Package: f.Package, SHA256: f.SHA256})
	}
	return r
}

func fileChanges(all []fim.Change, most int) []console.FileChange {
	out := make([]console.FileChange, 0, min(len(all), most))
	for i := range all[:min(len(all), most)] {
		c := &all[i]
		pkg := c.After.Package
		if pkg == "" {
			pkg = c.Before.Package
		}
		out = append(out, console.FileChange{Path: c.Path.String(), What: c.What, Before: fileState(&c.Before), After: fileState(&c.After), Package: pkg, Altered: c.After.Altered})
	}
	return out
}

func fileState(f *kernel.File) *console.FileState {
	if !f.Exists {
		return nil
	}
	return &console.FileState{Mode: fmt.Sprintf("%06o", f.Mode), Owner: fmt.Sprintf("%d:%d", f.UID, f.GID), Size: f.Size, Modified: time.Unix(0, f.Modified).UTC(), SHA256: f.SHA256,
		Target: f.Target.String(), Unread: f.Unread}
}

// FileBook works on the baseline of files while no node runs. Only who may read the files can.
type FileBook struct {
	st   *Storage
	cfg  *fim.Config
	x    kernel.Examiner
	file string
}

// OpenFileBook opens the baseline of a data directory that no node has open.
func OpenFileBook(ctx context.Context, dir string, s *Settings, log *slog.Logger) (*FileBook, error) {
	x := FileExaminer(s.FIM)
	if x == nil {
		return nil, fmt.Errorf("files cannot be watched here: fim.enabled is false, or this is not Linux: %w", kernel.ErrUnable)
	}
	st, err := OpenStorage(ctx, dir, s, log, nil)
	if err != nil {
		return nil, err
	}
	return &FileBook{st: st, cfg: &s.FIM, x: x, file: filepath.Join(dir, baselineFile)}, nil
}

// Close closes the data directory.
func (b *FileBook) Close() { b.st.Close() }

// Report compares what is there now with the signed baseline.
func (b *FileBook) Report(ctx context.Context) (console.FileReport, error) {
	st, err := fim.Compare(ctx, b.x, b.cfg, b.file, book{b.st}, time.Now())
	if err != nil {
		return console.FileReport{}, err
	}
	return fileReport(st), nil
}

// Take takes what is there now as the baseline, and signs it.
func (b *FileBook) Take(ctx context.Context, progress func(files int)) (console.FileReport, error) {
	host, err := os.Hostname()
	if err != nil {
		return console.FileReport{}, err
	}
	is, digest, err := fim.TakeFirst(ctx, b.x, b.cfg, b.file, host, book{b.st}, localActor(), time.Now(), progress)
	if err != nil {
		return console.FileReport{}, err
	}
	st := fim.Status{Enabled: true, Digest: digest, Taken: is.Taken, Roots: is.Roots, Full: is.Full, Scanned: is.Taken, Altered: fim.Altered(is.Files)}
	st.Files, st.Hashed, _ = is.Counts()
	return fileReport(st), nil
}

// Accept takes differences into the baseline, and signs it.
func (b *FileBook) Accept(ctx context.Context, o console.FileOrder) ([]console.FileChange, error) {
	s, err := selection(o)
	if err != nil {
		return nil, err
	}
	taken, err := fim.AcceptNow(ctx, b.x, b.cfg, b.file, book{b.st}, localActor(), time.Now(), s)
	return fileChanges(taken, len(taken)), err
}
