package inventory

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// metadataGraph reads the licence of an installed Python package (core metadata, PEP 566 and 639).
func metadataGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	return &graph{nodes: []*node{metadata(data)}, fold: pypiName}, nil
}

// metadata reads the fields that begin a METADATA or PKG-INFO file.
func metadata(data []byte) *node {
	n := &node{}
	var expression, classifiers, text []string
	for raw := range bytes.Lines(data) {
		line := strings.TrimRight(string(raw), "\r\n")
		if line == "" {
			break
		}
		k, v, ok := strings.Cut(line, ": ")
		if !ok || strings.HasPrefix(line, " ") {
			continue
		}
		switch strings.ToLower(k) {
		case "name":
			n.name = or(n.name, strings.TrimSpace(v))
		case "version":
			n.version = or(n.version, strings.TrimSpace(v))
		case "license-expression":
			expression = append(expression, v)
		case "license":
			text = append(text, v)
		case "classifier":
			if l, ok := strings.CutPrefix(v, "License :: OSI Approved :: "); ok {
				classifiers = append(classifiers, l)
			}
		}
	}
	// The text field may hold a whole licence, of which this is the first line; the classifiers are clear.
	switch {
	case len(expression) > 0:
		n.licenses = expression
	case len(text) > 0 && len(text[0]) < maxLicense && len(licensesKnown(text)) > 0 || len(classifiers) == 0:
		n.licenses = text
	default:
		n.licenses = classifiers
	}
	return n
}

// maxMetadata bounds the packages that one wheel or egg may hold.
const maxMetadata = 1000

// wheelGraph reads the metadata in a wheel or an egg, of which only the beginning is unpacked, whatever its size.
func wheelGraph(in *input) (*graph, error) {
	z, err := zip.NewReader(in.at, in.size)
	if err != nil {
		return nil, fmt.Errorf("not a wheel or an egg: %w", err)
	}
	g := &graph{fold: pypiName}
	for _, f := range z.File {
		if !isPythonMetadata("/" + f.Name) {
			continue
		}
		if err := in.late(); err != nil {
			return g, err
		}
		if len(g.nodes) >= maxMetadata {
			return g, fmt.Errorf("it holds the metadata of more than %d packages", maxMetadata)
		}
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", scan.Printable(f.Name), err)
		}
		data, err := io.ReadAll(io.LimitReader(r, maxEntry))
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", scan.Printable(f.Name), err)
		}
		n := metadata(data)
		if n.name == "" || n.version == "" {
			return nil, fmt.Errorf("%s: no name or no version", scan.Printable(f.Name))
		}
		g.nodes = append(g.nodes, n)
	}
	return g, nil
}

// licensesKnown returns what of the licences means an expression.
func licensesKnown(said []string) []string {
	var out []string
	for _, s := range said {
		if l := licenses(s); len(l) == 1 && l[0] != strings.Join(strings.Fields(s), " ") || len(l) == 1 && !strings.Contains(l[0], " ") {
			out = append(out, l[0])
		}
	}
	return out
}

// gemspecGraph reads the licence of a gem.
func gemspecGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	n := &node{}
	for raw := range bytes.Lines(data) {
		text := strings.TrimSpace(string(raw))
		at := strings.Index(text, " = ")
		if at < 0 {
			continue
		}
		switch left := text[:at]; {
		case strings.HasSuffix(left, ".name"):
			n.name = first(text[at:])
		case strings.HasSuffix(left, ".version"):
			n.version = first(text[at:])
		case strings.HasSuffix(left, ".license"), strings.HasSuffix(left, ".licenses"):
			n.licenses = quoted(text[at:])
		}
	}
	return &graph{nodes: []*node{n}}, nil
}

// dpkgGraph reads what the packages of a dpkg status file need, and their licences, of the machine-readable copyright files
// (dep-team.pages.debian.net/deps/dep5).
func dpkgGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{}
	n := &node{}
	without, why := 0, error(nil)
	done := func() {
		if n.name != "" {
			if err := in.mayOpen(); err != nil {
				without, why = without+1, err
			} else {
				n.licenses = copyrightOf(in, n.name)
			}
			g.nodes = append(g.nodes, n)
		}
		n = &node{}
	}
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		switch raw[0] {
		case '\n', '\r':
			done()
			continue
		case ' ', '\t':
			continue
		}
		k, v, ok := bytes.Cut(raw, []byte(":"))
		if !ok {
			continue
		}
		switch string(k) {
		case "Package":
			n.name, n.line = string(bytes.TrimSpace(v)), number
		case "Version":
			n.version = string(bytes.TrimSpace(v))
		case "Depends", "Pre-Depends":
			for _, group := range strings.Split(string(v), ",") {
				// Alternatives stand with "|": the first that is there is meant, which the names tell later.
				for _, one := range strings.Split(group, "|") {
					one = strings.TrimSpace(one)
					if at := strings.IndexAny(one, " (:"); at >= 0 {
						one = one[:at]
					}
					if one != "" && len(n.needs) < 1000 {
						n.needs = append(n.needs, one)
					}
				}
			}
		}
	}
	done()
	if without > 0 {
		return g, fmt.Errorf("the licences of %d packages are not known: %w", without, why)
	}
	return g, nil
}

// copyrightOf returns the licences that a Debian package's copyright file names in its heads.
func copyrightOf(in *input, name string) []string {
	if strings.ContainsAny(name, "/\\") {
		return nil
	}
	data := in.other("usr/share/doc/" + name + "/copyright")
	if !bytes.Contains(data[:min(len(data), 2000)], []byte("ormat:")) {
		return nil
	}
	var out []string
	for rest := data; ; {
		at := bytes.Index(rest, []byte("\nLicense:"))
		if at < 0 {
			return out
		}
		rest = rest[at+len("\nLicense:"):]
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if l := debianLicense(string(bytes.TrimSpace(line))); l != "" && len(out) < 20 && !containsString(out, l) {
			out = append(out, l)
		}
	}
}

// debianLicense brings the names that Debian uses into the form of SPDX where that is one word for another.
func debianLicense(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		stem, comma := strings.CutSuffix(w, ",")
		if to, ok := debianNames[strings.ToLower(stem)]; ok {
			words[i] = to
			if comma {
				words[i] += ","
			}
		}
	}
	return strings.ReplaceAll(strings.Join(words, " "), ",", "")
}

var debianNames = map[string]string{
	"expat": "MIT", "gpl-1": "GPL-1.0-only", "gpl-1+": "GPL-1.0-or-later", "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later",
	"lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later",
	"agpl-3": "AGPL-3.0-only", "agpl-3+": "AGPL-3.0-or-later", "apache-2": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause", "gfdl-1.3+": "GFDL-1.3-or-later", "mpl-2": "MPL-2.0",
}

// pacmanGraph reads the licence of a pacman package.
func pacmanGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	n := &node{}
	section := ""
	for raw := range bytes.Lines(data) {
		text := strings.TrimSpace(string(raw))
		switch {
		case strings.HasPrefix(text, "%"):
			section = text
		case text == "":
		case section == "%NAME%":
			n.name = text
		case section == "%VERSION%":
			n.version = text
		case section == "%LICENSE%":
			n.licenses = append(n.licenses, text)
		}
	}
	return &graph{nodes: []*node{n}}, nil
}

// portageGraph reads the licence that stands beside an installed ebuild.
func portageGraph(in *input) (*graph, error) {
	text := in.beside("LICENSE")
	if text == nil {
		return nil, nil
	}
	pf, err := in.data()
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(string(pf))
	return &graph{nodes: []*node{{name: name, licenses: []string{strings.TrimSpace(string(text))}}}, fold: func(s string) string {
		if s == "" || strings.Contains(name, s[strings.LastIndexByte(s, '/')+1:]) {
			return name
		}
		return s
	}}, nil
}
