// Package image is the source for scans of container images: OCI layouts, archives of docker save and podman save, registries, and
// root filesystems, also of running containers.
//
// [Open] reads what describes an image, [Image.Source] gives its files. Each layer is read as a stream, several in parallel, and
// unpacked nowhere: once to learn which names it holds and whether it is what its digest says, once more for the content. Scanners see every regular file of every
// layer, so that a secret which a later layer deletes is found; a finding says by which layer and instruction the file came, and which one
// took it away. Of the packages those count that the files on top of each other hold, each with the layer in which it first appears.
// What a layer holds is kept in a [Cache] by its digest, so that images that share layers cost what they do not share.
//
// An image is hostile. Links are followed inside it only, nothing in it is executed, addresses in manifests are never fetched, digests are
// checked before a file is offered, and names, sizes, numbers and unpacked bytes have limits ([Config]). See docs/decisions/0034-images.md.
package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"crypto/tls"

	"github.com/testudo-sec/testudo/internal/cmdmask"
	"github.com/testudo-sec/testudo/scan"
)

// Options is how an image is found and read.
type Options struct {
	Config Config
	// Scan gives the largest file, the workers and what is excluded.
	Scan scan.Config
	// Platform is the one of an image for several: "linux/arm64". Empty stands for Linux on this machine's processor.
	Platform string
	// Tag is the image of an archive or layout that holds several.
	Tag string

	// PlainHTTP allows a registry without TLS. Those on the loopback address are allowed it anyway.
	PlainHTTP bool
	// Credentials of registries; nil stands for those that docker and podman have.
	Credentials authn.Keychain
	// TLS of registries; nil stands for the roots of the system.
	TLS *tls.Config
	// Stall is how long a registry may send nothing; 0 stands for 30 seconds.
	Stall time.Duration

	// Cache, if not nil, keeps what layers hold. Judges names everything that the parts' results depend on beside the file: their
	// versions and rules. Results of other judges do not count.
	Cache  *Cache
	Judges string
	// Redact takes out of an instruction what is a secret by its looks; may be nil.
	Redact func(string) string

	// system is the folder that stands for / where the state of container runtimes is read.
	system string
}

// A Layer is one of an image, from the lowest up.
type Layer struct {
	// DiffID is the digest of what the layer holds, unpacked: the same in a registry, an archive and `docker inspect`.
	DiffID string
	// Digest is the one of the layer as it is stored, Size how many bytes that are; empty and 0 where nothing says it.
	Digest string
	Size   int64
	// Instruction made the layer, as in "RUN apt-get install -y curl". Secrets in it are masked. Empty if the history does not say.
	Instruction string
	Created     time.Time
	// Base says that the layer is of the base image; see [Image.Base].
	Base bool

	blob  descriptor
	chain string // digest of this layer and those below (image specification, "Layer ChainID")
}

// An Image is what Open found. Its exported fields are not changed by reading it.
type Image struct {
	// Name is what the user asked for, or what an archive calls the image.
	Name string
	// Digest is the one of the manifest, ID the one of the configuration; empty where nothing says it.
	Digest, ID string
	Platform   string
	Layers     []Layer
	// Configuration is what the image says of itself; nil of a root filesystem.
	Configuration *v1.ConfigFile
	Annotations   map[string]string
	// PID is a process of the container that was named by one or by its id; 0 of everything else.
	PID int

	options Options
	blobs   blobs
	root    *os.Root // of a root filesystem
	mounts  []string // of it, what is not its own
	mask    *cmdmask.Masker
	base    Base
	cached  int
}

// Open reads what describes an image. The reference is
//
//   - the path of an archive or of a folder with an OCI layout ("oci:", "archive:" and "docker-archive:" may stand before it),
//   - "rootfs:" and the path of a root filesystem; a folder without a layout is taken for one,
//   - "pid:" and a process, "container:" and the id of a running container (of docker, containerd, podman, CRI-O or runc),
//   - anything else, or what follows "registry:" or "docker://", is an image in a registry.
//
// The caller closes the image.
func Open(ctx context.Context, ref string, o Options) (*Image, error) {
	if err := errors.Join(o.Config.Validate(), o.Scan.Validate()); err != nil {
		return nil, err
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.system == "" {
		o.system = "/"
	}
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	i := &Image{Name: ref, options: o, mask: cmdmask.New(nil, o.Redact)}
	sort, rest := sortOf(ref)
	r := &resolver{limit: int64(o.Config.MaxManifest), platform: want, explicit: o.Platform != "", tag: o.Tag}
	switch sort {
	case "rootfs":
		return i, i.openRoot(rest)
	case "pid", "container":
		return i, i.openContainer(sort, rest)
	case "registry":
		err = i.fromRegistry(ctx, rest, r)
	default:
		err = i.fromDisk(ctx, rest, r)
	}
	if err != nil {
		i.Close()
		return nil, err
	}
	i.base = i.findBase()
	for n := range i.Layers[:min(i.base.Layers, len(i.Layers))] {
		i.Layers[n].Base = true
	}
	return i, nil
}

// sortOf splits a reference into its sort, "" for what lies on disk, and the rest.
func sortOf(ref string) (sort, rest string) {
	if rest, ok := strings.CutPrefix(ref, "docker://"); ok {
		return "registry", rest
	}
	prefix, rest, ok := strings.Cut(ref, ":")
	switch {
	case ok && (prefix == "rootfs" || prefix == "pid" || prefix == "container" || prefix == "registry"):
		return prefix, rest
	case ok && (prefix == "oci" || prefix == "archive" || prefix == "docker-archive" || prefix == "oci-archive"):
		return "", rest
	}
	info, err := os.Stat(ref)
	switch {
	case err == nil && info.IsDir() && !isLayout(ref):
		return "rootfs", ref
	case err == nil, filepath.IsAbs(ref), strings.HasPrefix(ref, "."):
		return "", ref
	}
	return "registry", ref
}

func isLayout(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "index.json"))
	return err == nil
}

// fromDisk reads an archive or a layout.
func (i *Image) fromDisk(ctx context.Context, name string, r *resolver) (err error) {
	if i.blobs, err = openLocal(name, int64(i.options.Config.MaxUnpacked)); err != nil {
		return err
	}
	r.blobs = i.blobs
	m, d, called, err := r.offered(ctx)
	if err == nil {
		if called != "" {
			i.Name = scan.Printable(cut(called, 300))
		}
		err = i.describe(ctx, m, d)
	}
	if err != nil {
		return fmt.Errorf("image %s: %w", scan.Printable(name), err)
	}
	return nil
}

// describe reads the configuration of an image.
func (i *Image) describe(ctx context.Context, m *manifest, d descriptor) error {
	limit := i.options.Config.MaxLayers
	if len(m.Layers) > limit {
		return fmt.Errorf("%d layers, the limit (max_layers) is %d", len(m.Layers), limit)
	}
	if !isImage(m.Config.MediaType) {
		return fmt.Errorf("not an image but something else that registries keep: %s", scan.Printable(cut(m.Config.MediaType, 100)))
	}
	data, err := readBlob(ctx, i.blobs, m.Config, int64(i.options.Config.MaxManifest))
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if i.Configuration, err = parseConfig(data); err != nil {
		return err
	}
	diffIDs := i.Configuration.RootFS.DiffIDs
	if len(diffIDs) != len(m.Layers) {
		return fmt.Errorf("the manifest names %d layers, the configuration %d", len(m.Layers), len(diffIDs))
	}
	i.Digest, i.ID, i.Annotations = d.Digest, m.Config.Digest, m.Annotations
	i.Platform = (&platform{OS: i.Configuration.OS, Architecture: i.Configuration.Architecture, Variant: i.Configuration.Variant}).String()
	chain := ""
	history := i.Configuration.History
	for n, blob := range m.Layers {
		l := Layer{DiffID: diffIDs[n].String(), Digest: blob.Digest, Size: max(blob.Size, 0), blob: blob}
		if _, _, err := newHash(l.DiffID); err != nil || !strings.HasPrefix(l.DiffID, "sha256:") {
			return fmt.Errorf("configuration: layer %d: %s is no SHA-256 digest", n+1, scan.Printable(cut(l.DiffID, 100)))
		}
		if blob.Digest != "" {
			if _, _, err := newHash(blob.Digest); err != nil {
				return fmt.Errorf("layer %d: %w", n+1, err)
			}
		}
		for len(history) > 0 && history[0].EmptyLayer {
			history = history[1:]
		}
		if len(history) > 0 {
			l.Instruction, l.Created = i.instruction(history[0].CreatedBy), history[0].Created.Time
			history = history[1:]
		}
		chain = chainOf(chain, l.DiffID)
		l.chain = chain
		i.Layers = append(i.Layers, l)
	}
	return nil
}

// isImage tells image configurations from those of charts, signatures and the like, which have the same manifests.
func isImage(mediaType string) bool {
	switch mediaType {
	case "", "application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json":
		return true
	}
	return false
}

// Base returns what is known of the image that this one was built from.
func (i *Image) Base() Base { return i.base }

// Cached returns how many layers the last reading took from the cache.
func (i *Image) Cached() int { return i.cached }

// Close lets go of files and of what was fetched.
func (i *Image) Close() error {
	var err error
	if i.blobs != nil {
		err = i.blobs.Close()
	}
	if i.root != nil {
		err = errors.Join(err, i.root.Close())
	}
	return err
}
