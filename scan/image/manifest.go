package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/testudo-sec/testudo/scan"
)

// maxNesting bounds lists of manifests that name lists of manifests.
const maxNesting = 4

// maxChoices bounds the manifests of one list.
const maxChoices = 10_000

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// String returns "linux/arm64/v8".
func (p *platform) String() string {
	if p == nil {
		return "unknown"
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return scan.Printable(cut(s, 100))
}

// parsePlatform reads "linux/arm64" and "linux/arm/v7".
func parsePlatform(s string) (platform, error) {
	if s == "" {
		return platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return platform{}, fmt.Errorf("platform %q: want os/architecture[/variant], as in linux/arm64", scan.Printable(s))
	}
	p := platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

func (p *platform) matches(of *platform) bool {
	return of != nil && p.OS == of.OS && p.Architecture == of.Architecture && (p.Variant == "" || p.Variant == of.Variant)
}

// manifest is an image manifest or an index, by what it holds.
type manifest struct {
	MediaType   string            `json:"mediaType"`
	Config      *descriptor       `json:"config"`
	Layers      []descriptor      `json:"layers"`
	Manifests   []descriptor      `json:"manifests"`
	FSLayers    []any             `json:"fsLayers"` // schema 1
	Annotations map[string]string `json:"annotations"`
}

func parseManifest(data []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	switch {
	case len(m.FSLayers) > 0:
		return nil, errors.New("manifest: schema 1 of 2014 is not read: pull and push the image with a newer tool")
	case len(m.Manifests) > 0 && (len(m.Layers) > 0 || m.Config != nil):
		return nil, errors.New("manifest: both an image and a list of images (CVE-2021-41190): programs would disagree on what it is")
	case len(m.Manifests) == 0 && m.Config == nil:
		return nil, errors.New("manifest: neither an image nor a list of images")
	case len(m.Manifests) > maxChoices:
		return nil, fmt.Errorf("manifest: a list of more than %d images", maxChoices)
	}
	return &m, nil
}

// resolver finds the one image in what a target offers.
type resolver struct {
	blobs    blobs
	limit    int64
	platform platform
	explicit bool   // the user named the platform
	tag      string // the image of an archive or layout that holds several
}

// resolve follows lists of manifests until there is an image.
func (r *resolver) resolve(ctx context.Context, d descriptor, depth int) (*manifest, descriptor, error) {
	d.manifest = true
	data, err := readBlob(ctx, r.blobs, &d, r.limit)
	if err != nil {
		return nil, d, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, d, fmt.Errorf("%s: %w", &d, err)
	}
	return r.image(ctx, m, d, depth)
}

func (r *resolver) image(ctx context.Context, m *manifest, d descriptor, depth int) (*manifest, descriptor, error) {
	if m.Config != nil {
		return m, d, nil
	}
	if depth >= maxNesting {
		return nil, d, fmt.Errorf("lists of manifests nested deeper than %d", maxNesting)
	}
	next, err := r.choose(m.Manifests)
	if err != nil {
		return nil, d, err
	}
	chosen, at, err := r.resolve(ctx, next, depth+1)
	if err == nil && chosen.Annotations == nil {
		chosen.Annotations = next.Annotations
	}
	return chosen, at, err
}

// choose takes the image of the tag and the platform. Attestations and signatures beside it are no images.
func (r *resolver) choose(all []descriptor) (descriptor, error) {
	var images []descriptor
	for _, d := range all {
		if d.Platform != nil && d.Platform.OS == "unknown" || d.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		if d.Platform != nil && *d.Platform == (platform{}) {
			d.Platform = nil
		}
		images = append(images, d)
	}
	if r.tag != "" {
		var tagged []descriptor
		for _, d := range images {
			if name := d.Annotations["org.opencontainers.image.ref.name"]; name == r.tag || d.Annotations["io.containerd.image.name"] == r.tag {
				tagged = append(tagged, d)
			}
		}
		if len(tagged) > 0 {
			images = tagged
		}
	}
	if len(images) == 1 && (!r.explicit || images[0].Platform == nil || r.platform.matches(images[0].Platform)) {
		return images[0], nil
	}
	var fitting []descriptor
	for _, d := range images {
		if r.platform.matches(d.Platform) {
			fitting = append(fitting, d)
		}
	}
	if len(fitting) > 0 && (len(fitting) == 1 || fitting[0].Annotations["org.opencontainers.image.ref.name"] == "") {
		return fitting[0], nil
	}
	var names []string
	for _, d := range images {
		name := d.Platform.String()
		if ref := d.Annotations["org.opencontainers.image.ref.name"]; ref != "" {
			name = "tag " + scan.Printable(cut(ref, 100))
		}
		if len(names) == 20 {
			names = append(names, "…")
			break
		}
		names = append(names, name)
	}
	if len(fitting) > 1 {
		return descriptor{}, fmt.Errorf("several images: say which tag: %s", strings.Join(names, ", "))
	}
	return descriptor{}, fmt.Errorf("no image for %s: there are %s", &r.platform, strings.Join(names, ", "))
}

// saved is an entry of the manifest.json of docker save and podman save.
type saved struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// fromSaved chooses from a manifest.json.
func (r *resolver) fromSaved(data []byte) (*manifest, string, error) {
	var all []saved
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, "", fmt.Errorf("manifest.json: %w", err)
	}
	var chosen []saved
	var names []string
	for _, s := range all {
		if r.tag == "" || slices.Contains(s.RepoTags, r.tag) {
			chosen = append(chosen, s)
		}
		names = append(names, s.RepoTags...)
	}
	if len(chosen) != 1 {
		return nil, "", fmt.Errorf("%d images, say which tag: %s", len(all), scan.Printable(cut(strings.Join(names, ", "), 500)))
	}
	m := &manifest{Config: savedBlob(chosen[0].Config)}
	for _, l := range chosen[0].Layers {
		m.Layers = append(m.Layers, *savedBlob(l))
	}
	name := ""
	if len(chosen[0].RepoTags) > 0 {
		name = chosen[0].RepoTags[0]
	}
	return m, name, nil
}

// savedBlob describes a member by its name, which holds a digest where the writer put one.
func savedBlob(name string) *descriptor {
	d := &descriptor{name: name}
	base := path.Base(name)
	if sum, isConfig := strings.CutSuffix(base, ".json"); isConfig || strings.HasPrefix(name, "blobs/sha256/") {
		if _, _, err := newHash("sha256:" + sum); err == nil {
			d.Digest = "sha256:" + sum
		}
	}
	return d
}

// offered finds the image in an archive or a layout, with the name that it gives itself.
func (r *resolver) offered(ctx context.Context) (*manifest, descriptor, string, error) {
	data, err := readBlob(ctx, r.blobs, &descriptor{name: "manifest.json"}, r.limit)
	if err == nil {
		if m, name, err := r.fromSaved(data); err == nil || !r.has(ctx, "index.json") {
			return m, descriptor{}, name, err
		}
	} else if r.has(ctx, "manifest.json") {
		return nil, descriptor{}, "", err
	}
	if !r.has(ctx, "index.json") {
		return nil, descriptor{}, "", errors.New("not an image: there is neither a manifest.json as of docker save nor an index.json as of an OCI layout")
	}
	m, d, err := r.resolve(ctx, descriptor{name: "index.json"}, 0)
	if err != nil {
		return nil, d, "", err
	}
	return m, d, m.Annotations["org.opencontainers.image.ref.name"], nil
}

func (r *resolver) has(ctx context.Context, name string) bool {
	b, err := r.blobs.open(ctx, &descriptor{name: name})
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	b.Close()
	return true
}

// parseConfig reads the configuration of an image.
func parseConfig(data []byte) (*v1.ConfigFile, error) {
	var c v1.ConfigFile
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return &c, nil
}
