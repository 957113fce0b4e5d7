package scan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/image"
	"github.com/testudo-sec/testudo/scan/inventory"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Roles lists what this program does as a process of a measurement.
func Roles() []proc.Role {
	return []proc.Role{{Name: "scan-image", Run: scanImage}}
}

func imageBar() bar.Bar {
	return bar.Bar{
		Name: "scan-image-second", Part: "scan", Unit: "ratio", Bound: bar.AtMost(0.1), Limit: 15 * time.Minute,
		What: "CPU of scanning an image (secrets, packages, how it is made) whose lower layers, over 150 MB, were in an image that was scanned before, over that of scanning that one with nothing known, medians",
		Run:  runImageSecond,
	}
}

// sharedModules make a layer each, which the two images share; the own ones are on top.
var (
	sharedModules = []string{"k8s.io/kubernetes@v1.34.1", "github.com/hashicorp/terraform@v1.13.0", "github.com/hashicorp/vault@v1.20.0", "k8s.io/client-go@v0.34.1"}
	ownModules    = []string{"k8s.io/kubectl@v0.34.1", "k8s.io/apimachinery@v0.34.1"}
)

func runImageSecond(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	dirs, err := download(ctx)
	if err != nil {
		return m, err
	}
	at := map[string]string{}
	for i, mod := range modules {
		at[mod.version] = dirs[i]
	}
	store := layoutWriter{dir: env.Dir}
	var shared []layerFile
	var unpacked int64
	for _, mod := range sharedModules {
		l, err := store.layer(ctx, at[mod], mod)
		if err != nil {
			return m, err
		}
		shared = append(shared, l)
		unpacked += l.unpacked
	}
	var names []string
	var own int64
	for _, mod := range ownModules {
		l, err := store.layer(ctx, at[mod], mod)
		if err != nil {
			return m, err
		}
		own = l.unpacked
		name, err := store.image(path.Base(mod), append(slices.Clone(shared), l))
		if err != nil {
			return m, err
		}
		names = append(names, name)
	}
	if unpacked < 150e6 {
		return m, fmt.Errorf("the shared layers hold %d bytes, want 150 MB", unpacked)
	}
	env.Progress("%.0f MB in shared layers, %.1f MB in the second image's own", float64(unpacked)/1e6, float64(own)/1e6)
	run := func(name, cache string) (time.Duration, string, error) {
		out := filepath.Join(env.Dir, "findings")
		cost, err := proc.Cost(ctx, 0, env.Self, "role:scan-image", name, cache, out)
		if err != nil {
			return 0, "", err
		}
		text, err := os.ReadFile(out)
		return cost, string(text), err
	}
	// What the second scan has to find.
	_, want, err := run(names[1], filepath.Join(env.Dir, "cache-alone"))
	if err != nil {
		return m, err
	}
	var ratios, firsts, seconds []float64
	for round := range max(env.Runs, 3) {
		cache := filepath.Join(env.Dir, fmt.Sprintf("cache-%d", round))
		first, _, err := run(names[0], cache)
		if err != nil {
			return m, err
		}
		second, got, err := run(names[1], cache)
		if err != nil {
			return m, err
		}
		if got != want {
			return m, errors.New("the second scan found something else than a scan with nothing known")
		}
		ratios, firsts, seconds = append(ratios, second.Seconds()/first.Seconds()), append(firsts, first.Seconds()), append(seconds, second.Seconds())
		env.Progress("round %d: first %.2f s, second %.2f s, ratio %.3f", round+1, first.Seconds(), second.Seconds(), ratios[round])
	}
	m.Value = bar.Median(ratios)
	m.Detail = fmt.Sprintf("%.0f MB in %d shared layers, %.1f MB in one of its own: first %.2f s, second %.2f s; %d findings and packages, the same as with nothing known",
		float64(unpacked)/1e6, len(shared), float64(own)/1e6, bar.Median(firsts), bar.Median(seconds), strings.Count(want, "\n"))
	return m, nil
}

// scanImage scans an image with a cache and writes what it found.
func scanImage(ctx context.Context, _ *proc.Talk, args []string) error {
	if len(args) != 3 {
		return errors.New("want an image, a cache and a file to write")
	}
	cache, err := image.OpenCache(args[1], bytesize.GiB)
	if err != nil {
		return err
	}
	defer cache.Close()
	set, err := detect.Builtin()
	if err != nil {
		return err
	}
	extractor, err := inventory.New(inventory.DefaultConfig())
	if err != nil {
		return err
	}
	img, err := image.Open(ctx, args[0], image.Options{Config: image.DefaultConfig(), Scan: scan.DefaultConfig(), Cache: cache, Judges: "bench"})
	if err != nil {
		return err
	}
	defer img.Close()
	var lines []string
	stats, err := scan.Run(ctx, scan.Options{Source: img.Source(), Config: scan.DefaultConfig(), Scanners: []scan.Scanner{secret.New(set)}, Extractors: []scan.Extractor{extractor},
		Inventory: func(inv *scan.Inventory) {
			for _, p := range inv.Packages {
				lines = append(lines, fmt.Sprintln("package", p.PURL, p.Path, p.Line, p.Layer))
			}
		}}, func(f signal.Finding) {
		lines = append(lines, fmt.Sprintln("finding", f.ID, f.Rule, f.Location.Path, f.Location.Line, f.Evidence))
	})
	if err != nil {
		return err
	}
	lines = append(lines, fmt.Sprintln("files", stats.Files, stats.Bytes))
	slices.Sort(lines)
	return os.WriteFile(args[2], []byte(strings.Join(lines, "")), 0o600)
}

// layoutWriter writes OCI layouts that share their blobs.
type layoutWriter struct{ dir string }

type layerFile struct {
	digest, diffID string
	size, unpacked int64
}

// layer makes a layer of a folder. The same folder gives the same layer.
func (w *layoutWriter) layer(ctx context.Context, from, to string) (l layerFile, err error) {
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.DefaultCompression)
	sum := sha256.New()
	t := tar.NewWriter(io.MultiWriter(z, sum))
	if err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil || !d.Type().IsRegular() {
			return errors.Join(err, ctx.Err())
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		l.unpacked += int64(len(data))
		h := &tar.Header{Name: path.Join("src", to, filepath.ToSlash(rel)), Mode: 0o644, Size: int64(len(data)), Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err = t.Write(data)
		return err
	}); err != nil {
		return l, err
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return l, err
	}
	l.diffID = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	l.digest, err = w.blob(packed.Bytes())
	l.size = int64(packed.Len())
	return l, err
}

func (w *layoutWriter) blob(data []byte) (digest string, err error) {
	s := sha256.Sum256(data)
	name := hex.EncodeToString(s[:])
	at := filepath.Join(w.dir, "blobs", "sha256", name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return "", err
	}
	return "sha256:" + name, os.WriteFile(at, data, 0o600)
}

// image writes a layout and returns its folder.
func (w *layoutWriter) image(name string, layers []layerFile) (string, error) {
	ids := []string{}
	descriptors := []map[string]any{}
	for _, l := range layers {
		ids = append(ids, l.diffID)
		descriptors = append(descriptors, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": l.digest, "size": l.size})
	}
	put := func(media string, v any) map[string]any {
		text, err := json.Marshal(v)
		if err != nil {
			return nil
		}
		digest, err := w.blob(text)
		if err != nil {
			return nil
		}
		return map[string]any{"mediaType": media, "digest": digest, "size": len(text)}
	}
	config := put("application/vnd.oci.image.config.v1+json", map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	manifest := put("application/vnd.oci.image.manifest.v1+json", map[string]any{"schemaVersion": 2, "config": config, "layers": descriptors})
	if config == nil || manifest == nil {
		return "", errors.New("the image cannot be written")
	}
	dir := filepath.Join(w.dir, "image-"+name)
	// A layout holds its blobs itself: links that lead out of it are not followed.
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		return "", err
	}
	for _, d := range append(descriptors, config, manifest) {
		name := filepath.Join("blobs", "sha256", strings.TrimPrefix(d["digest"].(string), "sha256:"))
		if err := os.Link(filepath.Join(w.dir, name), filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600)
}
