package inventory

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// maxLockDepth bounds the dependencies within dependencies of old lockfiles.
const maxLockDepth = 200

// jsonText reads JSON piece by piece and knows the line.
type jsonText struct {
	*json.Decoder
	data       []byte
	line, seen int
}

func newJSON(data []byte) *jsonText {
	return &jsonText{Decoder: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
}

// at returns the line of what was read last.
func (j *jsonText) at() int {
	to := int(j.InputOffset())
	j.line += bytes.Count(j.data[j.seen:to], []byte("\n"))
	j.seen = to
	return j.line
}

// object calls each for every key of the object that comes next; each reads the value. Null is an empty object.
func (j *jsonText) object(each func(key string, line int) error) error {
	t, err := j.Token()
	if err != nil {
		return j.place(err)
	}
	if t == nil {
		return nil
	}
	if t != json.Delim('{') {
		return j.place(errors.New("want an object"))
	}
	for j.More() {
		k, err := j.Token()
		if err != nil {
			return j.place(err)
		}
		if err := each(k.(string), j.at()); err != nil {
			return j.place(err)
		}
	}
	_, err = j.Token()
	return j.place(err)
}

// array calls each for every element of the array that comes next.
func (j *jsonText) array(each func() error) error {
	t, err := j.Token()
	if err != nil {
		return j.place(err)
	}
	if t == nil {
		return nil
	}
	if t != json.Delim('[') {
		return j.place(errors.New("want an array"))
	}
	for j.More() {
		if err := each(); err != nil {
			return j.place(err)
		}
	}
	_, err = j.Token()
	return j.place(err)
}

func (j *jsonText) skip() error {
	var raw json.RawMessage
	return j.Decode(&raw)
}

// place adds the line to an error, once.
func (j *jsonText) place(err error) error {
	if err == nil || strings.HasPrefix(err.Error(), "line ") {
		return err
	}
	var syntax *json.SyntaxError
	line := j.at()
	if errors.As(err, &syntax) {
		line = 1 + bytes.Count(j.data[:min(int(syntax.Offset), len(j.data))], []byte("\n"))
	}
	return fmt.Errorf("line %d: %w", line, err)
}

// loose is a string, or nothing where something else stands.
type loose string

func (l *loose) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*l = loose(s)
	}
	return nil
}

// npmLicense is a licence in all the forms that npm has had.
type npmLicense []string

func (l *npmLicense) UnmarshalJSON(b []byte) error {
	var one struct{ Type loose }
	var many []json.RawMessage
	var s string
	switch {
	case json.Unmarshal(b, &s) == nil:
		*l = npmLicense{s}
	case json.Unmarshal(b, &many) == nil:
		for _, m := range many[:min(len(many), 20)] {
			var inner npmLicense
			_ = inner.UnmarshalJSON(m)
			*l = append(*l, inner...)
		}
		if len(*l) > 1 {
			*l = npmLicense{strings.Join(*l, " OR ")} // the old "licenses" lists what one may choose from
		}
	case json.Unmarshal(b, &one) == nil && one.Type != "":
		*l = npmLicense{string(one.Type)}
	}
	return nil
}

type npmNeeds map[string]loose

// npmPackage is an entry of package-lock.json versions 2 and 3
// (docs.npmjs.com/cli/configuring-npm/package-lock-json), and the manifest itself.
type npmPackage struct {
	Name, Version, Resolved, Integrity                                    loose
	Link, Dev, DevOptional                                                bool
	License, Licenses                                                     npmLicense
	Dependencies, DevDependencies, OptionalDependencies, PeerDependencies npmNeeds
}

// npmGraph reads package-lock.json and npm-shrinkwrap.json, versions 1 to 3.
func npmGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{}
	packages := map[string]*npmPackage{}
	lines := map[string]int{}
	var order []string
	old := &npmOld{entries: map[string]*node{}}
	j := newJSON(data)
	err = j.object(func(k string, _ int) error {
		switch k {
		case "packages":
			return j.object(func(at string, line int) error {
				if err := in.late(); err != nil {
					return err
				}
				p := &npmPackage{}
				if err := j.Decode(p); err != nil {
					return err
				}
				if packages[at] == nil {
					order = append(order, at)
				}
				packages[at], lines[at] = p, line
				return nil
			})
		case "dependencies":
			return old.read(j, in, "", 0)
		}
		return j.skip()
	})
	if err != nil {
		return nil, err
	}
	if len(packages) == 0 {
		old.finish(g, in)
		return g, nil
	}
	if root := packages[""]; root != nil {
		g.direct = true
	}
	nodes := map[string]*node{}
	for _, at := range order {
		p := packages[at]
		if p.Link {
			continue
		}
		n := &node{name: or(string(p.Name), npmNameOf(at)), version: npmVersion(string(p.Version)), line: lines[at], dev: p.Dev || p.DevOptional,
			licenses: append(p.License, p.Licenses...), digest: integrity(string(p.Integrity))}
		n.root = at == "" || !strings.Contains("/"+at, "/node_modules/")
		nodes[at] = n
		if at != "" || n.version != "" {
			g.nodes = append(g.nodes, n)
		}
	}
	for _, at := range order {
		p, n := packages[at], nodes[at]
		if n == nil {
			continue
		}
		for _, needs := range []npmNeeds{p.Dependencies, p.OptionalDependencies, p.PeerDependencies, p.DevDependencies} {
			for name := range needs {
				to := npmResolve(packages, nodes, at, name)
				if to == nil {
					continue
				}
				if n.root && !to.root {
					to.direct = true
				}
				n.needs = append(n.needs, key(to.name, to.version))
			}
		}
	}
	return g, nil
}

// npmNameOf is the name that a path under node_modules means.
func npmNameOf(at string) string {
	i := strings.LastIndex("/"+at, "/node_modules/")
	if i < 0 {
		if at == "" {
			return ""
		}
		return path.Base(at) // a workspace
	}
	return at[i+len("node_modules/"):]
}

// npmVersion is a version, or nothing where old lockfiles have the URL of a repository or an archive, which may hold a password.
func npmVersion(s string) string {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return ""
	}
	return s
}

// npmResolve finds a package as Node does: in the folder's node_modules, then in those above.
func npmResolve(packages map[string]*npmPackage, nodes map[string]*node, from, name string) *node {
	for dir := from; ; {
		at := path.Join(dir, "node_modules", name)
		if p := packages[at]; p != nil {
			if p.Link {
				return nodes[string(p.Resolved)]
			}
			return nodes[at]
		}
		if dir == "" || dir == "." {
			return nil
		}
		if dir = path.Dir(dir); path.Base(dir) == "node_modules" {
			dir = path.Dir(dir)
		}
	}
}

// npmOld reads the nested dependencies of version 1.
type npmOld struct {
	entries map[string]*node // by path
	needs   []struct {
		at    string
		names []string
	}
	order []string
}

func (o *npmOld) read(j *jsonText, in *input, above string, depth int) error {
	if depth > maxLockDepth {
		return fmt.Errorf("dependencies nested deeper than %d", maxLockDepth)
	}
	if err := in.late(); err != nil {
		return err
	}
	return j.object(func(name string, line int) error {
		at := above + "/" + name
		n := &node{name: name, line: line}
		var names []string
		err := j.object(func(k string, _ int) error {
			switch k {
			case "version":
				var v loose
				err := j.Decode(&v)
				n.version = string(v)
				n.root = strings.HasPrefix(n.version, "file:") // the project's own
				if alias, ok := strings.CutPrefix(n.version, "npm:"); ok {
					if i := strings.LastIndexByte(alias, '@'); i > 0 {
						n.name, n.version = alias[:i], alias[i+1:]
					}
				}
				n.version = npmVersion(n.version)
				return err
			case "dev":
				return j.Decode(&n.dev)
			case "integrity":
				var v loose
				err := j.Decode(&v)
				n.digest = integrity(string(v))
				return err
			case "requires":
				var v json.RawMessage
				if err := j.Decode(&v); err != nil {
					return err
				}
				var needs npmNeeds
				_ = json.Unmarshal(v, &needs)
				for need := range needs {
					names = append(names, need)
				}
				return nil
			case "dependencies":
				return o.read(j, in, at, depth+1)
			}
			return j.skip()
		})
		o.entries[at] = n
		o.order = append(o.order, at)
		o.needs = append(o.needs, struct {
			at    string
			names []string
		}{at, names})
		return err
	})
}

func (o *npmOld) finish(g *graph, in *input) {
	direct, _ := npmManifest(in.beside("package.json"))
	g.direct = direct != nil
	for _, at := range o.order {
		n := o.entries[at]
		if _, ok := direct[n.name]; ok && strings.Count(at, "/") == 1+strings.Count(n.name, "/") {
			n.direct = true
		}
		if !n.root {
			g.nodes = append(g.nodes, n)
		}
	}
	for _, e := range o.needs {
		n := o.entries[e.at]
		for _, name := range e.names {
			for dir := e.at; ; dir = dir[:max(strings.LastIndexByte(dir, '/'), 0)] {
				if to := o.entries[dir+"/"+name]; to != nil {
					n.needs = append(n.needs, key(to.name, to.version))
					break
				}
				if dir == "" {
					break
				}
			}
		}
	}
}

// npmManifest returns what a package.json names itself, with whether it serves development; nil if there is none.
func npmManifest(data []byte) (map[string]bool, *npmPackage) {
	var p npmPackage
	if data == nil || json.Unmarshal(data, &p) != nil {
		return nil, nil
	}
	out := map[string]bool{}
	for name := range p.DevDependencies {
		out[name] = true
	}
	for _, needs := range []npmNeeds{p.Dependencies, p.OptionalDependencies, p.PeerDependencies} {
		for name := range needs {
			out[name] = false
		}
	}
	return out, &p
}

// packageJSONGraph reads the licence, and whether the file is a project's own.
func packageJSONGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	var p struct {
		Name, Version     loose
		License, Licenses npmLicense
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	n := &node{name: string(p.Name), version: string(p.Version), licenses: append(p.License, p.Licenses...), root: notInModules(in.path)}
	return &graph{nodes: []*node{n}}, nil
}

// integrity reads Subresource Integrity: "sha512-<base64> sha1-<base64>".
func integrity(s string) []string {
	var out []string
	for _, one := range strings.Fields(s) {
		kind, value, ok := strings.Cut(one, "-")
		value, _, _ = strings.Cut(value, "?")
		raw, err := base64.StdEncoding.DecodeString(value)
		if ok && err == nil && len(out) < 4 && digestSize[kind] == len(raw) {
			out = append(out, kind+":"+hex.EncodeToString(raw))
		}
	}
	return out
}

var digestSize = map[string]int{"md5": 16, "sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}

// hexDigest is a digest in the form of an inventory, nothing if it is none.
func hexDigest(kind, value string) []string {
	if raw, err := hex.DecodeString(value); err == nil && len(raw) == digestSize[kind] && len(raw) > 0 {
		return []string{kind + ":" + strings.ToLower(value)}
	}
	return nil
}

// composerGraph reads composer.lock.
func composerGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{fold: strings.ToLower}
	var manifest struct {
		Require    npmNeeds `json:"require"`
		RequireDev npmNeeds `json:"require-dev"`
	}
	if text := in.beside("composer.json"); text != nil && json.Unmarshal(text, &manifest) == nil {
		g.direct = true
	}
	direct := map[string]bool{}
	for _, needs := range []npmNeeds{manifest.Require, manifest.RequireDev} {
		for name := range needs {
			direct[strings.ToLower(name)] = true
		}
	}
	j := newJSON(data)
	err = j.object(func(k string, _ int) error {
		if k != "packages" && k != "packages-dev" {
			return j.skip()
		}
		return j.array(func() error {
			if err := in.late(); err != nil {
				return err
			}
			from := int(j.InputOffset())
			var p struct {
				Name, Version loose
				License       npmLicense
				Require       npmNeeds
				Dist          struct{ Shasum loose }
			}
			if err := j.Decode(&p); err != nil {
				return err
			}
			n := &node{name: string(p.Name), version: strings.TrimPrefix(string(p.Version), "v"), dev: k == "packages-dev", licenses: p.License,
				direct: direct[strings.ToLower(string(p.Name))], digest: hexDigest("sha1", string(p.Dist.Shasum))}
			to := int(j.InputOffset())
			if at := bytes.Index(data[from:to], []byte(`"`+n.name+`"`)); at >= 0 {
				j.line += bytes.Count(data[j.seen:from+at], []byte("\n"))
				j.seen = from + at
				n.line = j.line
			}
			for need := range p.Require {
				n.needs = append(n.needs, need)
			}
			g.nodes = append(g.nodes, n)
			return nil
		})
	})
	return g, err
}

// nugetGraph reads packages.lock.json.
func nugetGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	var lock struct {
		Dependencies map[string]map[string]struct {
			Type, Resolved, ContentHash loose
			Dependencies                npmNeeds
		}
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, err
	}
	g := &graph{fold: strings.ToLower, direct: true}
	for _, framework := range lock.Dependencies {
		for name, p := range framework {
			n := &node{name: name, version: string(p.Resolved), direct: p.Type == "Direct", root: p.Type == "Project"}
			n.digest = integrity("sha512-" + string(p.ContentHash))
			for need := range p.Dependencies {
				n.needs = append(n.needs, need)
			}
			g.nodes = append(g.nodes, n)
		}
	}
	return g, nil
}

// condaGraph reads the metadata of an installed conda package.
func condaGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	var p struct{ Name, Version, License, SHA256 loose }
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	return &graph{nodes: []*node{{name: string(p.Name), version: string(p.Version), licenses: []string{string(p.License)}, digest: hexDigest("sha256", string(p.SHA256))}}}, nil
}

// pipfileGraph reads what the Pipfile beside the lock names.
func pipfileGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	var lock struct {
		Default, Develop map[string]struct{ Version loose }
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, err
	}
	text := in.beside("Pipfile")
	g := &graph{fold: pypiName, direct: text != nil}
	direct := map[string]bool{}
	for _, e := range toml(text) {
		if e.table == "packages" || e.table == "dev-packages" {
			direct[pypiName(e.key)] = true
		}
	}
	for i, group := range []map[string]struct{ Version loose }{lock.Default, lock.Develop} {
		for name, p := range group {
			g.nodes = append(g.nodes, &node{name: name, version: strings.TrimPrefix(string(p.Version), "=="), dev: i == 1, direct: direct[pypiName(name)]})
		}
	}
	return g, nil
}
