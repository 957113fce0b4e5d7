package sbom

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/testudo-sec/testudo/scan"
)

// Extractor reads documents that lie in a tree by the names that people give them; see Is. It is safe for concurrent use.
type Extractor struct {
	limits Limits
	all    bool
}

var _ scan.Extractor = (*Extractor)(nil)

// NewExtractor makes an extractor. With all, every file is read as a document, as when a document is the target.
func NewExtractor(l Limits, all bool) *Extractor { return &Extractor{limits: l, all: all} }

// Name implements scan.Extractor.
func (x *Extractor) Name() string { return "sbom" }

// Wants implements scan.Extractor.
func (x *Extractor) Wants(path string, _ fs.FileInfo) bool { return x.all || Is(path) }

// Extract implements scan.Extractor. A package is at the document itself, whatever that says of places, which are elsewhere.
func (x *Extractor) Extract(ctx context.Context, f *scan.File) ([]scan.Package, error) {
	var r io.Reader = bytes.NewReader(f.Data)
	if f.Data == nil && f.Content != nil && f.Info != nil {
		r = io.NewSectionReader(f.Content, 0, f.Info.Size())
	}
	inv, err := Read(&stopping{ctx, r}, x.limits)
	if err != nil {
		return nil, err
	}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		p.Path, p.Line, p.FoundBy = f.Path, 0, "sbom"
	}
	return inv.Packages, nil
}

// stopping ends reading with its context.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

func (s *stopping) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, errors.Join(errors.New("not read to its end"), err)
	}
	return s.r.Read(p)
}
