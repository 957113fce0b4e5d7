package scan_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// sourceOf gives what a function gives.
type sourceOf func(ctx context.Context, v scan.Visitor)

func (s sourceOf) Files(ctx context.Context, v scan.Visitor) error { s(ctx, v); return ctx.Err() }

// boxes opens files that end in .box: they hold one file of the same text, and one that cannot be read.
type boxes struct{}

func (boxes) Open(f *scan.File) scan.Source {
	if !strings.HasSuffix(f.Path, ".box") {
		return nil
	}
	data := append([]byte("in: "), f.Data...)
	return sourceOf(func(ctx context.Context, v scan.Visitor) {
		v.File(ctx, &scan.File{Path: f.Path + "!/inner", Data: data})
		v.Skip(scan.Unreadable, f.Path+"!/torn", "torn")
		v.Count(scan.Special, 2)
	})
}

// lister names a package of each file that is called list, and fails in those that hold "bad".
type lister struct{}

func (lister) Name() string                          { return "lister" }
func (lister) Wants(path string, _ fs.FileInfo) bool { return strings.Contains(path, "list") }
func (lister) Extract(_ context.Context, f *scan.File) ([]scan.Package, error) {
	if strings.Contains(string(f.Data), "bad") {
		return nil, errors.New("bad list")
	}
	return []scan.Package{{PURL: "pkg:generic/" + string(f.Data), Path: f.Path}}, nil
}

// TestTakenAndGiven holds that what was taken and given back, also by another run and over JSON, comes out as if it had been reported at once.
func TestTakenAndGiven(t *testing.T) {
	files := func() []*scan.File {
		return []*scan.File{
			{Path: "a.box", Data: []byte("NEEDLE")},
			{Path: "list", Data: []byte("one")},
			{Path: "allowed", Data: []byte("NEEDLE # testudo:allow needle fine")},
			{Path: "list.bad", Data: []byte("bad")},
			{Path: "zero", Data: []byte("\x00")},
		}
	}
	type outcome struct {
		Findings []signal.Finding
		Packages []scan.Package
		Stats    scan.Stats
	}
	of := func(give func(ctx context.Context, v scan.Visitor)) outcome {
		var out outcome
		o := scan.Options{Source: sourceOf(give), Config: scan.DefaultConfig(), Scanners: []scan.Scanner{&marker{}}, Openers: []scan.Opener{boxes{}},
			Extractors: []scan.Extractor{lister{}}, Inventory: func(i *scan.Inventory) { out.Packages = i.Packages }}
		stats, err := scan.Run(t.Context(), o, func(f signal.Finding) {
			f.First, f.Last = time.Time{}, time.Time{}
			out.Findings = append(out.Findings, f)
		})
		if err != nil {
			t.Fatal(err)
		}
		stats.Elapsed = 0
		out.Stats = stats
		return out
	}
	layer := []signal.Evidence{{Name: "layer", Value: "sha256:1"}}
	direct := of(func(ctx context.Context, v scan.Visitor) {
		for _, f := range files() {
			f.Layer, f.Evidence = "sha256:1", layer
			v.File(ctx, f)
		}
	})
	// The file in the archive has no layer of its own: what is given back has.
	for i := range direct.Findings {
		if direct.Findings[i].Location.Path == "a.box!/inner" {
			direct.Findings[i].Evidence = append(append([]signal.Evidence(nil), layer...), direct.Findings[i].Evidence...)
		}
	}
	var kept []byte
	same := of(func(ctx context.Context, v scan.Visitor) {
		var results []scan.Result
		for _, f := range files() {
			f.Take = func(r scan.Result) { results = append(results, r) }
			v.File(ctx, f)
		}
		kept, _ = json.Marshal(results)
		for _, r := range results {
			r.Counts = scan.Counts{}
			v.File(ctx, &scan.File{Given: &r, Layer: "sha256:1", Evidence: layer})
		}
	})
	if diff := cmp.Diff(direct, same); diff != "" {
		t.Errorf("taken and given in one run (-direct +given):\n%s", diff)
	}
	later := of(func(ctx context.Context, v scan.Visitor) {
		var results []scan.Result
		if err := json.Unmarshal(kept, &results); err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			v.File(ctx, &scan.File{Given: &r, Layer: "sha256:1", Evidence: layer})
		}
	})
	if diff := cmp.Diff(direct, later); diff != "" {
		t.Errorf("given in a later run (-direct +given):\n%s", diff)
	}
	if direct.Stats.Findings != 2 || direct.Stats.Allowed != 1 || direct.Stats.Failed != 1 || direct.Stats.Unreadable != 1 || direct.Stats.Special != 2 ||
		direct.Stats.Files != 6 || direct.Stats.Binary != 1 || direct.Stats.Opened != 1 || len(direct.Packages) != 1 || direct.Packages[0].Layer != "sha256:1" {
		t.Errorf("%+v", direct)
	}
}

// TestOnly holds that only the parts are asked that a file is for, and also for what is in it.
func TestOnly(t *testing.T) {
	for only, want := range map[scan.Parts][2]int{scan.AllParts: {2, 2}, scan.ScannersOnly: {2, 0}, scan.ExtractorsOnly: {0, 2}} {
		var got scan.Result
		o := scan.Options{Config: scan.DefaultConfig(), Scanners: []scan.Scanner{&marker{}}, Openers: []scan.Opener{boxes{}}, Extractors: []scan.Extractor{lister{}},
			Source: sourceOf(func(ctx context.Context, v scan.Visitor) {
				v.File(ctx, &scan.File{Path: "list.box", Data: []byte("NEEDLE"), Only: only, Take: func(r scan.Result) { got = r }})
			})}
		stats, err := scan.Run(t.Context(), o, func(f signal.Finding) { t.Errorf("reported: %+v", f) })
		if err != nil || stats.Packages != 0 {
			t.Fatalf("%+v, %v", stats, err)
		}
		if len(got.Findings) != want[0] || len(got.Packages) != want[1] || got.Counts.Files != 2 {
			t.Errorf("%v: %d findings, %d packages of %d files; want %v of 2", only, len(got.Findings), len(got.Packages), got.Counts.Files, want)
		}
	}
}
