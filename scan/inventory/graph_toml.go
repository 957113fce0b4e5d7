package inventory

import (
	"bytes"
	"strings"
)

// entry is one key of a TOML file of the regular form that lockfiles have.
type entry struct {
	table string // "package.dependencies"
	item  int    // of the array of tables that the table belongs to, from 1
	key   string
	value string // as it stands, over several lines if it does
	line  int
}

// maxTOML bounds the keys of one file.
const maxTOML = 2_000_000

// toml splits a file into its keys. It knows tables, arrays of tables and values over several lines; it does not check anything.
func toml(data []byte) []entry {
	var out []entry
	table, item, number := "", 0, 0
	var open *entry
	depth := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(line))
		if open != nil {
			open.value += "\n" + text
			if depth += brackets(text); depth <= 0 {
				open = nil
			}
			continue
		}
		if text == "" || text[0] == '#' || len(out) >= maxTOML {
			continue
		}
		if text[0] == '[' {
			name := strings.Trim(text, "[] \t")
			if strings.HasPrefix(text, "[[") && !strings.Contains(name, ".") {
				item++
			}
			table = strings.ReplaceAll(name, `"`, "")
			continue
		}
		k, v, ok := strings.Cut(text, "=")
		if !ok {
			continue
		}
		out = append(out, entry{table: table, item: item, key: strings.Trim(strings.TrimSpace(k), `"'`), value: strings.TrimSpace(v), line: number})
		if depth = brackets(v); depth > 0 {
			open = &out[len(out)-1]
		}
	}
	return out
}

// brackets counts the brackets that a line leaves open, outside of strings.
func brackets(s string) int {
	n, quote := 0, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#':
			return n
		case c == '[' || c == '{':
			n++
		case c == ']' || c == '}':
			n--
		}
	}
	return n
}

// quoted returns the strings of a value.
func quoted(value string) []string {
	var out []string
	for {
		at := strings.IndexAny(value, `"'`)
		if at < 0 {
			return out
		}
		quote := value[at]
		value = value[at+1:]
		end := strings.IndexByte(value, quote)
		if end < 0 {
			return out
		}
		out = append(out, value[:end])
		value = value[end+1:]
	}
}

// first is the first string of a value.
func first(value string) string {
	if all := quoted(value); len(all) > 0 {
		return all[0]
	}
	return ""
}

// inline returns the strings that have the key in each of a value's inline tables.
func inline(value string, keys ...string) [][]string {
	var out [][]string
	for _, one := range strings.Split(value, "{")[1:] {
		found := make([]string, len(keys))
		for i, k := range keys {
			for from := 0; ; {
				at := strings.Index(one[from:], k)
				if at < 0 {
					break
				}
				from += at + len(k)
				rest := strings.TrimLeft(one[from:], " \t")
				if v, ok := strings.CutPrefix(rest, "="); ok && (from == len(k) || strings.ContainsRune(" ,{", rune(one[from-len(k)-1]))) {
					found[i] = first(v)
					break
				}
			}
		}
		out = append(out, found)
	}
	return out
}

// items groups the keys of a file by the item of the array of tables.
func items(entries []entry, name string, each func(*node, []entry)) []*node {
	var out []*node
	for i := 0; i < len(entries); {
		from := i
		for i < len(entries) && entries[i].item == entries[from].item {
			i++
		}
		if entries[from].item == 0 {
			continue
		}
		n := &node{}
		var own []entry
		for _, e := range entries[from:i] {
			if e.table != name && !strings.HasPrefix(e.table, name+".") {
				continue
			}
			own = append(own, e)
			switch {
			case e.table == name && e.key == "name":
				n.name, n.line = first(e.value), e.line
			case e.table == name && e.key == "version":
				n.version = first(e.value)
			}
		}
		if n.name != "" {
			each(n, own)
			out = append(out, n)
		}
	}
	return out
}

// cargoGraph reads Cargo.lock.
func cargoGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{direct: true}
	g.nodes = items(toml(data), "package", func(n *node, own []entry) {
		n.root = true
		for _, e := range own {
			switch e.key {
			case "source":
				n.root = false
			case "checksum":
				n.digest = hexDigest("sha256", first(e.value))
			case "dependencies":
				for _, need := range quoted(e.value) {
					if words := strings.Fields(need); len(words) >= 2 {
						n.needs = append(n.needs, key(words[0], words[1]))
					} else {
						n.needs = append(n.needs, need)
					}
				}
			}
		}
	})
	markDirect(g)
	for _, n := range g.nodes {
		if !n.root {
			n.licenses = vendoredCrate(in, n)
		}
	}
	return g, in.late()
}

// vendoredCrate returns the licence of a crate that `cargo vendor` put beside the lockfile, where several versions have them in
// their folders' names.
func vendoredCrate(in *input, n *node) []string {
	if strings.ContainsAny(n.name+n.version, "/\\") || in.mayOpen() != nil {
		return nil
	}
	for _, folder := range []string{n.name + "-" + n.version, n.name} {
		var version, license string
		for _, e := range toml(in.beside("vendor/" + folder + "/Cargo.toml")) {
			switch {
			case e.table != "package":
			case e.key == "version":
				version = first(e.value)
			case e.key == "license":
				license = first(e.value)
			}
		}
		if version == n.version && license != "" {
			return []string{strings.ReplaceAll(license, "/", " OR ")} // as it was written before there were expressions
		}
	}
	return nil
}

// markDirect marks what the projects of a lockfile need.
func markDirect(g *graph) {
	wanted := map[string]bool{}
	fold := g.fold
	if fold == nil {
		fold = func(s string) string { return s }
	}
	for _, n := range g.nodes {
		if n.root {
			for _, need := range n.needs {
				wanted[fold(need)] = true
				wanted[need] = true
			}
		}
	}
	for _, n := range g.nodes {
		n.direct = n.direct || !n.root && (wanted[fold(n.name)] || wanted[key(n.name, n.version)])
	}
}

// uvGraph reads uv.lock.
func uvGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{direct: true, reach: true, fold: pypiName}
	prod, dev := map[string]bool{}, map[string]bool{}
	g.nodes = items(toml(data), "package", func(n *node, own []entry) {
		var needs, devNeeds []string
		for _, e := range own {
			switch {
			case e.table == "package" && e.key == "source":
				n.root = strings.Contains(e.value, "virtual") || strings.Contains(e.value, "editable")
			case e.table == "package" && e.key == "dependencies", e.table == "package.optional-dependencies":
				needs = append(needs, pythonNeeds(e.value)...)
			case e.table == "package.dev-dependencies":
				devNeeds = append(devNeeds, pythonNeeds(e.value)...)
			case e.table == "package" && (e.key == "sdist" || e.key == "wheels") && len(n.digest) < 4:
				n.digest = append(n.digest, hashes(e.value)...)
			}
		}
		n.needs = append(needs, devNeeds...)
		if n.root {
			for _, name := range needs {
				prod[pypiName(name)] = true
			}
			for _, name := range devNeeds {
				dev[pypiName(name)] = true
			}
		}
	})
	for _, n := range g.nodes {
		name := pypiName(n.name)
		n.direct = !n.root && (prod[name] || dev[name])
		n.dev = dev[name] && !prod[name]
	}
	return g, nil
}

func pythonNeeds(value string) []string {
	var out []string
	for _, t := range inline(value, "name", "version") {
		switch {
		case t[0] != "" && t[1] != "":
			out = append(out, key(pypiName(t[0]), t[1]))
		case t[0] != "":
			out = append(out, t[0])
		}
	}
	return out
}

// hashes returns what looks like "sha256:…" among the strings, a few.
func hashes(value string) []string {
	var out []string
	for _, s := range quoted(value) {
		if kind, hash, ok := strings.Cut(s, ":"); ok && len(out) < 4 {
			out = append(out, hexDigest(kind, hash)...)
		}
	}
	return out
}

// poetryGraph reads poetry.lock, and pyproject.toml beside it.
func poetryGraph(in *input) (*graph, error) {
	return pythonGraph(in, "package", func(n *node, e entry) {
		if e.table == "package.dependencies" {
			n.needs = append(n.needs, e.key)
		}
	})
}

// pdmGraph reads pdm.lock, and pyproject.toml beside it.
func pdmGraph(in *input) (*graph, error) {
	return pythonGraph(in, "package", func(n *node, e entry) {
		if e.table == "package" && e.key == "dependencies" {
			for _, need := range quoted(e.value) {
				n.needs = append(n.needs, requirementName(need))
			}
		}
	})
}

// pylockGraph reads pylock.toml (PEP 751).
func pylockGraph(in *input) (*graph, error) {
	return pythonGraph(in, "packages", func(n *node, e entry) {
		if e.table == "packages" && e.key == "dependencies" {
			n.needs = append(n.needs, pythonNeeds(e.value)...)
		}
	})
}

func pythonGraph(in *input, name string, each func(*node, entry)) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{fold: pypiName}
	direct := pythonProject(in.beside("pyproject.toml"))
	g.direct, g.reach = direct != nil, direct != nil
	g.nodes = items(toml(data), name, func(n *node, own []entry) {
		for _, e := range own {
			each(n, e)
			if (e.key == "files" || e.key == "wheels" || e.key == "sdist") && len(n.digest) < 4 {
				n.digest = append(n.digest, hashes(e.value)...)
			}
		}
		dev, named := direct[pypiName(n.name)]
		n.direct, n.dev = named, dev
	})
	return g, nil
}

// pythonProject returns what a pyproject.toml names itself, with whether it serves development; nil if there is none.
func pythonProject(data []byte) map[string]bool {
	if data == nil {
		return nil
	}
	out := map[string]bool{}
	add := func(name string, dev bool) {
		if name = pypiName(requirementName(name)); name != "" && name != "python" {
			if was, ok := out[name]; !ok || was {
				out[name] = dev
			}
		}
	}
	for _, e := range toml(data) {
		group, isGroup := strings.CutPrefix(e.table, "tool.poetry.group.")
		switch {
		case e.table == "project" && e.key == "dependencies", e.table == "project.optional-dependencies":
			for _, r := range quoted(e.value) {
				add(r, false)
			}
		case e.table == "dependency-groups", e.table == "tool.pdm.dev-dependencies":
			for _, r := range quoted(e.value) {
				add(r, true)
			}
		case e.table == "tool.poetry.dependencies":
			add(e.key, false)
		case e.table == "tool.poetry.dev-dependencies":
			add(e.key, true)
		case isGroup && strings.HasSuffix(group, ".dependencies"):
			add(e.key, isDevGroup(strings.TrimSuffix(group, ".dependencies")))
		}
	}
	return out
}

// requirementName is the name that a requirement begins with (PEP 508).
func requirementName(s string) string {
	s = strings.TrimSpace(s)
	for i, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return s[:i]
		}
	}
	return s
}
