package assembly

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/history"
	"github.com/testudo-sec/testudo/signal"
)

// CIBase is the state that a change is compared with, and that decides about it: policy, ignore files, baseline, VEX documents and
// configurations of gitleaks count as they are there. A nil one stands for a change without a base: then files count as they are.
type CIBase struct {
	Revision string // a branch, a tag or a commit
	Top      string // of the repository
	Below    string // the folder that is judged, from Top on, with slashes; empty for Top itself
	config   history.Config
	scan     scan.Config
}

// OpenBase finds the repository that a folder belongs to.
func (s *Settings) OpenBase(root, revision string) (*CIBase, error) {
	top, err := history.Repository(root)
	if err != nil {
		return nil, fmt.Errorf("%w (--no-base judges all there is)", err)
	}
	if _, err := os.Lstat(filepath.Join(top, ".git")); err != nil {
		return nil, fmt.Errorf("%s is a bare repository: want a checkout", scan.Printable(top))
	}
	at, err := resolved(root)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(top, at)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is not below %s, which it belongs to", scan.Printable(at), scan.Printable(top))
	}
	b := &CIBase{Revision: revision, Top: top, config: s.Scan.History, scan: s.Scan.Config}
	if rel != "." {
		b.Below = filepath.ToSlash(rel)
	}
	return b, nil
}

// Shallow reports whether the clone lacks a part of the history, so that commits of the change may not be here.
func (b *CIBase) Shallow() bool { return history.Shallow(b.Top) }

// Check reports whether the base is here, and how to bring it.
func (b *CIBase) Check(ctx context.Context, s *Settings) error {
	_, err := b.fork(s).ReadFile(ctx, CIPolicyName, maxCIPolicy)
	if err == nil || ctx.Err() != nil {
		return err
	}
	how := "fetch it first"
	if remote, branch, ok := strings.Cut(b.Revision, "/"); ok && remote == "origin" {
		how = fmt.Sprintf("git fetch origin %s:refs/remotes/origin/%s brings it", scan.Printable(branch), scan.Printable(branch))
	}
	if b.Shallow() {
		how += "; the clone is shallow: check out with the whole history (fetch-depth: 0 on GitHub, GIT_DEPTH: \"0\" on GitLab)"
	}
	return fmt.Errorf("%w (%s)", err, how)
}

func (b *CIBase) fork(s *Settings) *history.Fork {
	return &history.Fork{Root: b.Top, Base: b.Revision, Below: b.Below, Config: s.Scan.History, Scan: s.Scan.Config}
}

// resolved returns the absolute path without links; of a file that is not there, of its folder's.
func resolved(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	at, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
			return filepath.Join(dir, filepath.Base(abs)), nil
		}
		return abs, nil
	}
	return at, err
}

// within returns the path of a file from the repository's top on, with slashes, if it is there: by its name, or by where links lead. The
// change may have put a link anywhere.
func (b *CIBase) within(name string) (string, bool) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", false
	}
	places := []string{abs}
	if at, err := resolved(filepath.Dir(abs)); err == nil {
		places = append(places, filepath.Join(at, filepath.Base(abs)))
	}
	if at, err := resolved(abs); err == nil {
		places = append(places, at)
	}
	for _, at := range places {
		if rel, err := filepath.Rel(b.Top, at); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel), true
		}
	}
	return "", false
}

// document reads a file that decides: as it is in the base, if it is the repository's own, else from the disk. ours says that it is the
// repository's; then data is nil if the base does not have it.
func (b *CIBase) document(ctx context.Context, name string, limit int64) (data []byte, ours bool, err error) {
	if b != nil {
		if rel, ok := b.within(name); ok {
			fork := &history.Fork{Root: b.Top, Base: b.Revision, Config: b.config, Scan: b.scan}
			data, err = fork.ReadFile(ctx, rel, limit)
			return data, true, err
		}
	}
	data, err = readLimited(name, limit)
	return data, false, err
}

// Ignores returns the ignore files of the base: a change does not decide what of it is looked at.
func (b *CIBase) Ignores(ctx context.Context, s *Settings) (map[string][]byte, error) {
	return b.fork(s).Ignores(ctx)
}

// Tracked returns what was committed though git's ignore files of the base leave it out: a change can bring it.
func (b *CIBase) Tracked(ctx context.Context, s *Settings, ignores map[string][]byte) (map[string]bool, error) {
	return b.fork(s).Tracked(ctx, ignores)
}

const maxBaseline = 256 << 20

// Baseline returns the baseline that the base has under the name of a file of the repository; ok is false for any other file.
func (b *CIBase) Baseline(ctx context.Context, name string) (known scan.Baseline, ok bool, err error) {
	if _, ours := b.within(name); !ours {
		return nil, false, nil
	}
	data, _, err := b.document(ctx, name, maxBaseline)
	if err != nil {
		return nil, true, err
	}
	known, err = scan.ReadBaseline(bytes.NewReader(data))
	return known, true, err
}

// Findings scans the state that a change began at, and returns what is wrong with it.
func (b *CIBase) Findings(ctx context.Context, s *Settings, r ScanRequest) ([]signal.Finding, scan.Stats, error) {
	r.Kind, r.Base, r.Child = ScanFork, b, nil
	p, err := s.PlanScan(ctx, r)
	if err != nil {
		return nil, scan.Stats{}, err
	}
	defer p.Close()
	var out []signal.Finding
	stats, err := scan.Run(ctx, p.Options, func(f signal.Finding) { out = append(out, f) })
	return out, stats, err
}

// files is the repository's files as the base has them, for what reads several.
func (b *CIBase) files(ctx context.Context) fs.FS { return baseFiles{ctx, b} }

type baseFiles struct {
	ctx  context.Context
	base *CIBase
}

const maxBaseFile = 64 << 20

// Open implements fs.FS.
func (f baseFiles) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	fork := &history.Fork{Root: f.base.Top, Base: f.base.Revision, Config: f.base.config, Scan: f.base.scan}
	data, err := fork.ReadFile(f.ctx, name, maxBaseFile)
	switch {
	case err != nil:
		return nil, err
	case data == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &baseFile{Reader: bytes.NewReader(data), name: path.Base(name), size: int64(len(data))}, nil
}

// baseFile is a file as the base has it.
type baseFile struct {
	io.Reader
	name string
	size int64
}

func (f *baseFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *baseFile) Close() error               { return nil }
func (f *baseFile) Name() string               { return f.name }
func (f *baseFile) Size() int64                { return f.size }
func (f *baseFile) Mode() fs.FileMode          { return 0o444 }
func (f *baseFile) ModTime() time.Time         { return time.Time{} }
func (f *baseFile) IsDir() bool                { return false }
func (f *baseFile) Sys() any                   { return nil }
