package kernel

import (
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// contained is a container as events tell of it: all texts of it made once.
type contained struct {
	Container
	labels   []string
	attrs    []signal.Attr
	attrsFor *wanted
}

// Bounds of what is taken over of a container. What a runtime says is its users' choice.
const (
	maxContainerText   = 512
	maxContainerMounts = 128
)

func newContained(c Container) *contained {
	for _, s := range []*string{&c.ID, &c.Name, &c.Runtime, &c.Image, &c.Tag, &c.Digest, &c.Pod, &c.PodUID, &c.Namespace} {
		*s = clean(*s, maxContainerText)
	}
	c.Mounts = c.Mounts[:min(len(c.Mounts), maxContainerMounts)]
	labels := make(map[string]string, min(len(c.Labels), maxLabels))
	for name, value := range c.Labels {
		if len(labels) < maxLabels {
			labels[clean(name, maxContainerText)] = clean(value, maxContainerText)
		}
	}
	c.Labels = labels
	v := &contained{Container: c}
	v.labels = c.LabelTexts()
	return v
}

func clean(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// container says of an event what container it is of.
func (b *builder) container(e *signal.Event, c *contained) {
	c.describe(e, c.labels)
	for _, a := range b.containerAttributes(c) {
		e.AddUnmapped(a.Name, a.Value)
	}
	if !c.Started.IsZero() {
		b.num(e, attrContainerDuration, e.Time-c.Started.UnixNano())
	}
}

func (b *builder) containerAttributes(c *contained) []signal.Attr {
	w := b.wanted
	if c.attrsFor == w {
		return c.attrs
	}
	c.attrs, c.attrsFor = nil, w
	set := func(name, v string) {
		if v != "" {
			c.attrs = append(c.attrs, signal.Attr{Name: name, Value: v})
		}
	}
	known := func(a attr, v string) {
		if w.is[a] {
			set(attrNames[a], v)
		}
	}
	image := c.Image
	if image != "" && c.Tag != "" {
		image += ":" + c.Tag
	}
	known(attrContainerImage, image)
	_, sum, _ := strings.Cut(c.Digest, ":")
	known(attrContainerImageID, sum[:min(len(sum), 12)])
	known(attrContainerType, c.Runtime)
	if len(c.labels) > 0 {
		pairs := make([]string, len(c.labels))
		for i, l := range c.labels {
			pairs[i] = strings.Replace(l, "=", ":", 1)
		}
		known(attrContainerLabels, strings.Join(pairs, ","))
	}
	for _, l := range c.labels {
		if name, value, _ := strings.Cut(l, "="); w.names("container.label.", name) {
			set("container.label."+name, value)
		}
	}
	if c.Known {
		known(attrContainerPrivileged, strconv.FormatBool(c.Privileged))
	}
	if !c.Started.IsZero() {
		known(attrContainerStart, strconv.FormatInt(c.Started.UnixNano(), 10))
	}
	if w.is[attrContainerHostRoot] && slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Source == "/" && m.writable() }) {
		set(attrNames[attrContainerHostRoot], "true")
	}
	if w.is[attrContainerMounts] {
		for i, m := range c.Mounts {
			set(attrNames[attrContainerMounts]+"["+strconv.Itoa(i)+"]",
				clean(m.Source, maxContainerText)+":"+clean(m.Dest, maxContainerText)+":"+clean(m.Mode, 64)+":"+strconv.FormatBool(m.writable())+":")
		}
	}
	return c.attrs
}

func (m Mount) writable() bool { return !slices.Contains(strings.Split(m.Mode, ","), "ro") }
