package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/log"

	"github.com/testudo-sec/testudo/scan"
)

// Extractor finds packages in files of all kinds that it knows. It is safe for concurrent use.
type Extractor struct {
	config  Config
	readers []*reader
	table   *table
	owned   *owners
}

var _ scan.Extractor = (*Extractor)(nil)

// reader is a format with the extractor that reads it.
type reader struct {
	*format
	scalibr filesystem.Extractor // nil where graph is all there is
}

// New makes an extractor of all formats but those that are disabled.
func New(c Config) (*Extractor, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	depth, unpacked := int32(c.MaxArchiveDepth), int64(c.MaxUnpacked)
	settings := &cpb.PluginConfig{PluginSpecific: []*cpb.PluginSpecificConfig{{Config: &cpb.PluginSpecificConfig_JavaArchive{
		JavaArchive: &cpb.JavaArchiveConfig{MaxZipDepth: depth, MaxOpenedBytes: unpacked}}}}}
	quiet()
	var readers []*reader
	for _, f := range formats() {
		if slices.Contains(c.Disable, f.name) {
			continue
		}
		r := &reader{format: f}
		if f.make != nil {
			e, err := f.make(settings)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			r.scalibr = e
		}
		readers = append(readers, r)
	}
	return &Extractor{config: c, readers: readers, table: newTable(readers), owned: newOwners()}, nil
}

// quiet keeps scalibr from writing to the standard error, where it repeats what files say.
var quiet = sync.OnceFunc(func() { log.SetLogger(silence{}) })

type silence struct{}

func (silence) Errorf(string, ...any) {}
func (silence) Error(...any)          {}
func (silence) Warnf(string, ...any)  {}
func (silence) Warn(...any)           {}
func (silence) Infof(string, ...any)  {}
func (silence) Info(...any)           {}
func (silence) Debugf(string, ...any) {}
func (silence) Debug(...any)          {}

// Name implements scan.Extractor.
func (x *Extractor) Name() string { return "inventory" }

// Wants implements scan.Extractor.
func (x *Extractor) Wants(path string, info fs.FileInfo) bool {
	wanted := false
	x.table.find(inTree(path), info, func(*reader) bool {
		wanted = true
		return false
	})
	return wanted
}

// inTree is the path in the innermost archive.
func inTree(path string) string {
	if at := strings.LastIndex(path, "!/"); at >= 0 {
		return path[at+2:]
	}
	return path
}

// Extract implements scan.Extractor.
func (x *Extractor) Extract(ctx context.Context, f *scan.File) ([]scan.Package, error) {
	in := newInput(x, f)
	var out []scan.Package
	var errs []error
	x.table.find(in.path, f.Info, func(r *reader) bool {
		packages, err := x.read(ctx, r, in)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
		}
		out = append(out, packages...)
		return ctx.Err() == nil
	})
	return out, errors.Join(errs...)
}

// read asks one format's parsers.
func (x *Extractor) read(ctx context.Context, r *reader, in *input) (out []scan.Package, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the parser gave up on this file: %v", p)
		}
	}()
	in.begin(ctx)
	switch {
	case r.program && !in.isProgram():
		return nil, nil
	case r.size == manifest && in.size > int64(x.config.MaxManifestSize):
		return nil, fmt.Errorf("%.1f MiB: max_manifest_size is %s", float64(in.size)/(1<<20), x.config.MaxManifestSize)
	case x.owned.owns(in):
		return nil, nil // the distribution's own package says it all
	}
	if r.yaml {
		if data, err := in.data(); err != nil {
			return nil, err
		} else if err := checkYAML(data); err != nil {
			return nil, err
		}
	}
	var g *graph
	var graphErr error
	if r.graph != nil {
		g, graphErr = r.graph(in)
	}
	if r.scalibr == nil {
		out, dropped := in.checked(g.packages(r.format, in))
		return out, errors.Join(graphErr, dropped)
	}
	in.begin(ctx)
	found, err := r.scalibr.Extract(ctx, in.scanInput())
	if err != nil && len(found.Packages) == 0 && r.purlType != "" && g != nil && ctx.Err() == nil {
		return in.checked(g.packages(r.format, in))
	}
	err = in.plain(err)
	for _, p := range found.Packages {
		if p != nil {
			out = append(out, in.convert(p, r.format))
		}
	}
	out = append(out, g.rest(r.format, out)...)
	g.apply(out)
	if r.size == manifest {
		if _, err := in.data(); err != nil {
			return out, err
		}
	}
	findLines(out, in)
	out, dropped := in.checked(out)
	if err == nil && graphErr != nil { // else it is the same error twice
		err = fmt.Errorf("relations and licences: %w", graphErr)
	}
	return out, errors.Join(err, dropped)
}

// takes reports whether the format reads the file, whose name fits already.
func (r *reader) takes(at string, info fs.FileInfo) bool {
	if r.within != nil && !r.within(at) {
		return false
	}
	return r.scalibr == nil || r.loose || r.scalibr.FileRequired(asked{at, info})
}

// asked is a file as scalibr asks about it.
type asked struct {
	path string
	info fs.FileInfo
}

func (a asked) Path() string { return a.path }

func (a asked) Stat() (fs.FileInfo, error) {
	if a.info == nil {
		return sized{name: a.path[strings.LastIndexByte(a.path, '/')+1:]}, nil
	}
	return a.info, nil
}

// Plugins returns the extractors of scalibr that it asks, for comparisons.
func (x *Extractor) Plugins() []filesystem.Extractor {
	seen := map[string]bool{}
	var out []filesystem.Extractor
	for _, r := range x.readers {
		if r.scalibr != nil && !seen[r.scalibr.Name()] {
			seen[r.scalibr.Name()] = true
			out = append(out, r.scalibr)
		}
	}
	return out
}
