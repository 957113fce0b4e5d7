package intel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
)

const (
	malicious = 200_000
	debian    = 45_000
	others    = 55_000
	families  = 38 // beside npm and Debian
)

// generate writes a database of the public one's size.
func generate(ctx context.Context, corpus, path string) (string, error) {
	files, err := filepath.Glob(filepath.Join(corpus, "*.json"))
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, fmt.Errorf("%s: no advisories to take the shapes of", corpus))
	}
	var shapes []*intel.Advisory
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		a, err := feed.ParseOSV(text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if len(a.Affected) > 0 {
			shapes = append(shapes, a)
		}
	}
	w, err := intel.Create(path, "")
	if err != nil {
		return "", err
	}
	defer w.Abort()
	r := rand.New(rand.NewPCG(1, 1))
	write := func(family string, n int, next func(i int) *intel.Advisory) error {
		s, err := w.Source(intel.Source{Kind: intel.KindOSV, Name: family, From: "generated"})
		if err != nil {
			return err
		}
		for i := range n {
			if err := errors.Join(ctx.Err(), s.Add(next(i))); err != nil {
				return err
			}
		}
		return s.Close(nil)
	}
	err = write("npm", malicious, func(i int) *intel.Advisory {
		return &intel.Advisory{ID: fmt.Sprintf("MAL-2025-%d", i), Malicious: true, Modified: time.Unix(1.7e9+int64(i), 0), Summary: "Malicious code in " + name(i) + " (npm)",
			Details: fmt.Sprintf("Any computer that has this package installed or running should be considered fully compromised. (%x)", r.Uint64()),
			Affected: []intel.Affected{{Ecosystem: "npm", Name: name(i), Versions: []string{"1.0.0", fmt.Sprintf("%d.%d.%d", r.IntN(100), r.IntN(10), r.IntN(10))},
				Ranges: []intel.Range{{Type: "SEMVER", Events: []intel.Event{{Introduced: "0"}}}}}}}
	})
	if err == nil {
		err = write("Debian", debian, func(i int) *intel.Advisory {
			a := *shapes[i%len(shapes)]
			a.ID, a.Aliases, a.Upstream = fmt.Sprintf("DEBIAN-CVE-2024-%d", i), nil, []string{fmt.Sprintf("CVE-2024-%d", i)}
			pkg := skewed(r)
			a.Affected = nil
			for _, release := range []string{"11", "12", "13"} {
				a.Affected = append(a.Affected, intel.Affected{Ecosystem: "Debian:" + release, Name: pkg, PURL: "pkg:deb/debian/" + pkg + "?arch=source",
					Ranges: []intel.Range{{Type: "ECOSYSTEM", Events: []intel.Event{{Introduced: "0"}, {Fixed: fmt.Sprintf("%d.%d.%d-1+deb%su1", r.IntN(7), r.IntN(200), r.IntN(50), release)}}}}})
			}
			return &a
		})
	}
	for f := range families {
		if err != nil {
			break
		}
		family := fmt.Sprintf("Family %d", f)
		err = write(family, others/families, func(i int) *intel.Advisory {
			a := *shapes[r.IntN(len(shapes))]
			a.ID, a.Aliases = fmt.Sprintf("GEN-%d-%d", f, i), []string{fmt.Sprintf("CVE-2023-%d", f*10000+i), fmt.Sprintf("GHSA-%x", r.Uint64())}
			a.Affected = append([]intel.Affected(nil), a.Affected...)
			for k := range a.Affected {
				a.Affected[k].Ecosystem, a.Affected[k].Name = family, skewed(r)
			}
			return &a
		})
	}
	if err == nil {
		p := make([]intel.Probability, 300_000)
		for i := range p {
			p[i] = intel.Probability{CVE: fmt.Sprintf("CVE-%d-%d", 2000+i%25, 1000+i/25), Score: r.Float64(), Percentile: r.Float64()}
		}
		_, err = w.Probabilities(intel.Source{Name: "epss", From: "generated"}, p)
	}
	if err == nil {
		err = w.Commit(time.Now())
	}
	if err != nil {
		return "", err
	}
	d, err := intel.Open(path)
	if err != nil {
		return "", err
	}
	defer d.Close()
	info := d.Info()
	return fmt.Sprintf("%d advisories, %d sources, %.0f MB on disk", info.Advisories, len(info.Sources), float64(info.Size)/1e6), nil
}

func name(i int) string { return fmt.Sprintf("package-%x", uint64(i)*0x9e3779b97f4a7c15>>40) }

// skewed names a package: few have thousands of advisories, most have some.
func skewed(r *rand.Rand) string {
	x := r.Float64()
	return fmt.Sprintf("package-%d", int(x*x*x*x*3000))
}
