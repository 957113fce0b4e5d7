package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/testudo-sec/testudo/scan"
)

// Base is what is known of the image that another was built from.
type Base struct {
	// Name is its reference, as in "docker.io/library/debian:12"; empty if nothing says it.
	Name string `json:"name,omitempty"`
	// Digest is the one of its manifest.
	Digest string `json:"digest,omitempty"`
	// Layers is how many of the lowest layers are its own; 0 if nothing tells.
	Layers int `json:"layers"`
	// By says what Layers rests on: "known" for an image that was scanned before, "history", or "".
	By string `json:"by,omitempty"`
	// System is the distribution of the base layers, as in "debian 12"; known once the image was read.
	System string `json:"system,omitempty"`
}

// label names the base for people.
func (b *Base) label() string {
	if b.Name != "" {
		return b.Name
	}
	if b.System != "" {
		return b.System
	}
	return "not named"
}

// chainOf returns the ChainID of a layer on those below (image specification, config.md).
func chainOf(below, diffID string) string {
	if below == "" {
		return diffID
	}
	sum := sha256.Sum256([]byte(below + " " + diffID))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// findBase works out the base: the name by what the builder wrote down, the layers by images that were scanned before, else by the history.
func (i *Image) findBase() Base {
	b := Base{Name: scan.Printable(cut(i.label("org.opencontainers.image.base.name"), 300))}
	if d := i.label("org.opencontainers.image.base.digest"); d != "" {
		if _, _, err := newHash(d); err == nil {
			b.Digest = d
		}
	}
	for n := len(i.Layers) - 1; n > 0; n-- {
		var known remembered
		if data := i.options.Cache.get("image", i.Layers[n-1].chain); data != nil && json.Unmarshal(data, &known) == nil {
			b.Layers, b.By = n, "known"
			if b.Name == "" {
				b.Name = scan.Printable(cut(known.Name, 300))
			}
			return b
		}
	}
	if b.Layers = baseByHistory(i.Configuration.History, len(i.Layers)); b.Layers > 0 {
		b.By = "history"
	}
	return b
}

// label returns an annotation of the manifest, else a label of the configuration.
func (i *Image) label(name string) string {
	if v := i.Annotations[name]; v != "" {
		return v
	}
	return i.Configuration.Config.Labels[name]
}

// remembered is an image that was scanned.
type remembered struct{ Name string }

// remember keeps the name of an image that was scanned, so that images built from it name it.
func (r *reading) remember() {
	n := len(r.Layers)
	if n == 0 || r.root != nil {
		return
	}
	// A name on disk is nobody's base.
	if !strings.Contains(r.Name, ":") && r.Digest == "" {
		return
	}
	if data, err := json.Marshal(remembered{Name: r.Name}); err == nil {
		r.options.Cache.put(data, "image", r.Layers[n-1].chain)
	}
}

var startCommand = regexp.MustCompile(`^(?:/bin/sh -c #\(nop\) +)?(?:CMD|ENTRYPOINT) ?\[`)

// baseByHistory counts the layers of the base: a base image ends with the command that it starts, and what is built on it goes on after that. The last such
// command with a layer behind it is the end of the base. An image that was not built so has none that can be told.
func baseByHistory(history []v1.History, layers int) int {
	made := 0
	for _, h := range history {
		if !h.EmptyLayer {
			made++
		}
	}
	if made != layers {
		return 0
	}
	count, base := 0, 0
	for _, h := range history {
		switch {
		case !h.EmptyLayer:
			count++
		case startCommand.MatchString(h.CreatedBy) && count < layers:
			base = count
		}
	}
	return base
}

// nameBase reads which distribution the base layers are.
func (r *reading) nameBase() {
	if r.base.Layers == 0 {
		return
	}
	for _, p := range []string{"etc/os-release", "usr/lib/os-release"} {
		if text, err := fs.ReadFile(r.trees[r.base.Layers-1], p); err == nil && len(text) <= keepFile {
			r.base.System = systemOf(string(text))
			return
		}
	}
}

// systemOf reads an os-release file (os-release(5)).
func systemOf(text string) string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && (name == "ID" || name == "VERSION_ID") {
			values[name] = scan.Printable(cut(strings.Trim(value, `"'`), 60))
		}
	}
	return strings.TrimSpace(values["ID"] + " " + values["VERSION_ID"])
}
