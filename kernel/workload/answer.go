package workload

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Bounds of what is kept of an answer.
const (
	maxText   = 512
	maxLabels = 64
	maxMounts = 128
)

// cut bounds a text of a runtime, and makes it text.
func cut(s string) string { return record.Text([]byte(s[:min(len(s), maxText)])) }

// label adds one, as long as there is room.
func label(c *kernel.Container, key, value string) {
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	if _, known := c.Labels[key]; known || len(c.Labels) < maxLabels {
		c.Labels[cut(key)] = cut(value)
	}
	known := func(to *string) {
		if *to == "" && value != "" {
			*to = cut(value)
		}
	}
	switch key { // of the kubelet, whatever the runtime
	case "io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name":
		known(&c.Pod)
	case "io.kubernetes.pod.uid", "io.kubernetes.cri.sandbox-uid":
		known(&c.PodUID)
	case "io.kubernetes.pod.namespace", "io.kubernetes.cri.sandbox-namespace":
		known(&c.Namespace)
	case "io.kubernetes.container.name", "io.kubernetes.cri.container-name", "nerdctl/name":
		known(&c.Name)
	}
}

// image sets repository, tag and digest from a reference: "docker.io/library/nginx:1.25@sha256:...".
func image(c *kernel.Container, ref string) {
	if ref == "" || strings.HasPrefix(ref, "sha256:") {
		return
	}
	name, digest, _ := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		c.Tag, name = cut(name[i+1:]), name[:i]
	}
	if c.Image = cut(name); digest != "" {
		c.Digest = cut(digest)
	}
}

func mount(c *kernel.Container, source, dest, mode string) {
	if len(c.Mounts) < maxMounts {
		c.Mounts = append(c.Mounts, kernel.Mount{Source: cut(source), Dest: cut(dest), Mode: cut(mode)})
	}
}

// readDocker reads the answer of Docker, and of Podman in Docker's way, to GET /containers/ID/json (Engine API 1.24 and later).
func readDocker(b []byte, c *kernel.Container) error {
	var a struct {
		ID, Name, Image, ImageName string
		State                      struct{ StartedAt string }
		Config                     struct {
			Image  string
			Labels map[string]string
		}
		HostConfig struct{ Privileged bool }
		Mounts     []struct {
			Source, Destination, Mode string
			RW                        bool
		}
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("the answer about a container: %w", err)
	}
	if a.ID != c.ID {
		return fmt.Errorf("asked about %s, told of %.80q", c.ID, a.ID)
	}
	c.Name, c.Privileged = cut(strings.TrimPrefix(a.Name, "/")), a.HostConfig.Privileged
	image(c, a.Config.Image)
	if c.Image == "" {
		image(c, a.ImageName)
	}
	if c.Digest == "" {
		c.Digest = cut(a.Image)
	}
	if t, err := time.Parse(time.RFC3339Nano, a.State.StartedAt); err == nil && t.Year() > 1 {
		c.Started = t
	}
	for key, value := range a.Config.Labels {
		label(c, key, value)
	}
	for _, m := range a.Mounts {
		mode := "ro"
		if m.RW {
			mode = "rw"
		}
		if m.Mode != "" {
			mode = m.Mode + "," + mode
		}
		mount(c, m.Source, m.Destination, mode)
	}
	return nil
}

// readCRI reads ContainerStatusResponse of runtime.v1 (k8s.io/cri-api/pkg/apis/runtime/v1/api.proto). Whether it is privileged is not in it.
func readCRI(b []byte, c *kernel.Container) error {
	var status []byte
	ok := message(b, func(field int, _ uint64, v []byte) {
		if field == 1 {
			status = v
		}
	})
	id, ref := "", ""
	ok = ok && message(status, func(field int, n uint64, v []byte) {
		switch field {
		case 1:
			id = string(v)
		case 2: // metadata
			name, _ := pair(v)
			c.Name = cut(name)
		case 5:
			if n > 0 && int64(n) > 0 {
				c.Started = time.Unix(0, int64(n))
			}
		case 8: // image
			name, _ := pair(v)
			image(c, name)
		case 9:
			ref = string(v)
		case 12:
			key, value := pair(v)
			label(c, key, value)
		case 14:
			var inside, outside string
			mode := "rw"
			message(v, func(field int, n uint64, v []byte) {
				switch {
				case field == 1:
					inside = string(v)
				case field == 2:
					outside = string(v)
				case field == 3 && n != 0:
					mode = "ro"
				}
			})
			mount(c, outside, inside, mode)
		}
	})
	if !ok || id != c.ID {
		return fmt.Errorf("asked about %s, told of %.80q in %d bytes", c.ID, id, len(b))
	}
	if _, digest, ok := strings.Cut(ref, "@"); ok {
		c.Digest = cut(digest)
	} else if strings.HasPrefix(ref, "sha256:") {
		c.Digest = cut(ref)
	}
	return nil
}

// readContainerd reads GetContainerResponse of containerd.services.containers.v1, and the OCI specification in it. It returns the name of
// the image, which has the digest.
func readContainerd(b []byte, c *kernel.Container) (ref string, err error) {
	var it []byte
	ok := message(b, func(field int, _ uint64, v []byte) {
		if field == 1 {
			it = v
		}
	})
	id := ""
	var spec []byte
	ok = ok && message(it, func(field int, _ uint64, v []byte) {
		switch field {
		case 1:
			id = string(v)
		case 2:
			key, value := pair(v)
			label(c, key, value)
		case 3:
			ref = string(v)
			image(c, ref)
		case 5:
			_, value := pair(v)
			spec = []byte(value)
		case 8: // created_at
			message(v, func(field int, n uint64, _ []byte) {
				if field == 1 && int64(n) > 0 {
					c.Started = time.Unix(int64(n), 0)
				}
			})
		}
	})
	if !ok || id != c.ID {
		return "", fmt.Errorf("asked about %s, told of %.80q in %d bytes", c.ID, id, len(b))
	}
	if len(spec) > 0 {
		return ref, readSpec(spec, c)
	}
	return ref, nil
}

// allCapabilities is how many a privileged container has at least.
const allCapabilities = 37

// readSpec reads config.json of a bundle: the OCI runtime specification.
func readSpec(b []byte, c *kernel.Container) error {
	var a struct {
		Hostname string
		Process  struct {
			Capabilities struct{ Bounding []string }
		}
		Mounts []struct {
			Destination, Type, Source string
			Options                   []string
		}
		Annotations map[string]string
		Linux       struct{ MaskedPaths []string }
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("the specification of a container: %w", err)
	}
	for key, value := range a.Annotations {
		if strings.HasPrefix(key, "io.kubernetes.") || strings.HasPrefix(key, "org.opencontainers.image.") {
			label(c, key, value)
		}
		if key == "io.kubernetes.cri.image-name" && c.Image == "" {
			image(c, value)
		}
	}
	// "Privileged" is a word of the tools around it: what they make of it is every capability, and nothing hidden.
	c.Privileged = len(a.Process.Capabilities.Bounding) >= allCapabilities && len(a.Linux.MaskedPaths) == 0
	for _, m := range a.Mounts {
		if path.IsAbs(m.Source) && (m.Type == "bind" || m.Type == "") {
			mount(c, m.Source, m.Destination, strings.Join(m.Options, ","))
		}
	}
	return nil
}

// readState reads state.json of runc: libcontainer.State. It returns the bundle.
func readState(b []byte, c *kernel.Container) (bundle string, err error) {
	var a struct {
		ID      string    `json:"id"`
		Created time.Time `json:"created"`
		Config  struct {
			Labels []string `json:"labels"`
		} `json:"config"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return "", fmt.Errorf("the state of a container: %w", err)
	}
	if a.ID != c.ID {
		return "", fmt.Errorf("the state of %s tells of %.80q", c.ID, a.ID)
	}
	c.Started = a.Created
	for _, l := range a.Config.Labels {
		if key, value, ok := strings.Cut(l, "="); ok && key == "bundle" {
			bundle = value
		}
	}
	return bundle, nil
}
