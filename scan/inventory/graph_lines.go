package inventory

import (
	"bytes"
	"strings"
)

// goModGraph reads which requirements of a go.mod are marked as indirect.
func goModGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{}
	block := ""
	for line := range bytes.Lines(data) {
		text, comment, _ := strings.Cut(strings.TrimSpace(string(line)), "//")
		words := strings.Fields(text)
		switch {
		case len(words) == 0:
			continue
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		case block == "" && words[0] == "require":
			words = words[1:]
		case block != "require":
			continue
		}
		if len(words) >= 2 {
			indirect := strings.HasPrefix(strings.TrimSpace(comment), "indirect")
			g.nodes = append(g.nodes, &node{name: strings.Trim(words[0], `"`), version: strings.TrimPrefix(words[1], "v"), direct: !indirect, transitive: indirect})
		}
	}
	return g, nil
}

// yarnGraph reads yarn.lock, of Yarn 1 and of Berry, and package.json beside it.
func yarnGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{}
	specs := map[string]*node{} // "name@range"
	needs := map[*node][]string{}
	var n *node
	section, number := "", 0
	for raw := range bytes.Lines(data) {
		number++
		line := strings.TrimRight(string(raw), "\r\n ")
		text := strings.TrimSpace(line)
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case text == "" || text[0] == '#':
		case indent == 0:
			n, section = &node{line: number}, ""
			for _, spec := range strings.Split(strings.TrimSuffix(text, ":"), ",") {
				spec = strings.Trim(strings.TrimSpace(spec), `"`)
				if at := strings.LastIndexByte(spec, '@'); at > 0 && n.name == "" {
					n.name = yarnName(spec)
				}
				specs[yarnSpec(spec)] = n
				n.root = n.root || strings.Contains(spec, "@workspace:")
			}
			g.nodes = append(g.nodes, n)
		case n == nil:
		case indent == 2:
			k, v := yarnPair(text)
			section = k
			switch k {
			case "version":
				n.version = v
			case "resolution":
				if name := yarnName(v); name != "" {
					n.name = name
				}
			case "integrity":
				n.digest = integrity(v)
			case "checksum":
				if _, hash, ok := strings.Cut(v, "/"); ok {
					v = hash
				}
				n.digest = hexDigest("sha512", v)
			}
		case section == "dependencies" || section == "optionalDependencies":
			if k, v := yarnPair(text); v != "" {
				needs[n] = append(needs[n], k+"@"+strings.TrimPrefix(v, "npm:"))
			}
		}
	}
	for n, list := range needs {
		for _, spec := range list {
			if to := specs[spec]; to != nil {
				n.needs = append(n.needs, key(to.name, to.version))
				if n.root && !to.root {
					to.direct, g.direct = true, true
				}
			}
		}
	}
	if direct, manifest := npmManifest(in.beside("package.json")); direct != nil {
		g.direct, g.reach = true, true
		mark := func(all npmNeeds, dev bool) {
			for name, want := range all {
				if to := specs[name+"@"+strings.TrimPrefix(string(want), "npm:")]; to != nil {
					to.dev = dev && (!to.direct || to.dev)
					to.direct = true
				}
			}
		}
		for _, n := range g.nodes {
			n.dev = n.direct // what only other workspaces or the list below makes production
		}
		for _, n := range g.nodes {
			if n.root {
				n.dev = false
			}
		}
		mark(manifest.DevDependencies, true)
		mark(manifest.Dependencies, false)
		mark(manifest.OptionalDependencies, false)
	}
	return g, nil
}

// yarnPair splits `version "1.0.0"` and `version: 1.0.0`.
func yarnPair(text string) (k, v string) {
	if strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text[1:], '"')
		if end < 0 {
			return "", ""
		}
		k, v = text[1:1+end], text[end+2:]
	} else if at := strings.IndexAny(text, ": "); at >= 0 {
		k, v = text[:at], text[at:]
	} else {
		return text, ""
	}
	return k, strings.Trim(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(v), ":")), `"`)
}

// yarnName is the package that `@babel/core@npm:^7.0.0` means; an alias stands for what it points to.
func yarnName(spec string) string {
	at := strings.IndexByte(spec[min(1, len(spec)):], '@')
	if at < 0 {
		return ""
	}
	name, rest := spec[:at+1], spec[at+2:]
	if alias, ok := strings.CutPrefix(rest, "npm:"); ok {
		if i := strings.LastIndexByte(alias, '@'); i > 0 {
			return alias[:i]
		}
	}
	return name
}

// yarnSpec is a descriptor without the protocol that Berry adds.
func yarnSpec(spec string) string {
	at := strings.IndexByte(spec[min(1, len(spec)):], '@')
	if at < 0 {
		return spec
	}
	return spec[:at+2] + strings.TrimPrefix(spec[at+2:], "npm:")
}

// pnpmGraph reads pnpm-lock.yaml, versions 5 to 9.
func pnpmGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{direct: true, reach: true}
	byKey := map[string]*node{}
	type want struct {
		name, version string
		dev           bool
	}
	var direct []want
	top, group, name, number := "", "", "", 0
	importers := false
	var n *node
	for raw := range bytes.Lines(data) {
		number++
		line := strings.TrimRight(string(raw), "\r\n ")
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		k, v := yamlPair(text)
		if indent == 0 {
			top, group, n = k, "", nil
			importers = top == "importers"
			continue
		}
		if importers {
			indent -= 2
			if indent == 0 {
				continue
			}
			if indent == 2 {
				group = k
				continue
			}
		} else if isPnpmGroup(top) {
			group = top
			indent += 2
		}
		switch {
		case importers || isPnpmGroup(top):
			switch {
			case !isPnpmGroup(group):
			case indent == 4 && v != "":
				direct = append(direct, want{k, v, group == "devDependencies"})
			case indent == 4:
				name = k
			case indent == 6 && k == "version":
				direct = append(direct, want{name, v, group == "devDependencies"})
			}
		case top == "packages" || top == "snapshots":
			switch {
			case indent == 2:
				at := pnpmKey(k)
				if n = byKey[at]; n == nil {
					n = &node{line: number}
					n.name, n.version, _ = strings.Cut(at, "\x00")
					byKey[at] = n
					g.nodes = append(g.nodes, n)
				}
				group = ""
			case indent == 4:
				group = k
				if k == "resolution" {
					if _, after, ok := strings.Cut(v, "integrity:"); ok {
						n.digest = integrity(strings.Trim(strings.TrimSpace(strings.Split(after, ",")[0]), "{}' \""))
					}
				}
			case indent == 6 && n != nil && (group == "dependencies" || group == "optionalDependencies"):
				n.needs = append(n.needs, pnpmNeed(k, v))
			}
		}
	}
	for _, w := range direct {
		if to := byKey[pnpmNeed(w.name, w.version)]; to != nil {
			to.dev = w.dev && (!to.direct || to.dev)
			to.direct = true
		}
	}
	return g, nil
}

func isPnpmGroup(s string) bool {
	return s == "dependencies" || s == "devDependencies" || s == "optionalDependencies"
}

// yamlPair splits `key: value`, with or without quotes.
func yamlPair(text string) (k, v string) {
	if q := text[0]; q == '\'' || q == '"' {
		if end := strings.IndexByte(text[1:], q); end >= 0 {
			return text[1 : 1+end], strings.Trim(strings.TrimSpace(strings.TrimPrefix(text[end+2:], ":")), `'"`)
		}
	}
	if at := strings.Index(text, ": "); at >= 0 {
		return text[:at], strings.Trim(strings.TrimSpace(text[at+2:]), `'"`)
	}
	return strings.TrimSuffix(text, ":"), ""
}

// pnpmKey splits "/@babel/core/7.0.0_peer", "/@babel/core@7.0.0(peer@1.0.0)" and "@babel/core@7.0.0".
func pnpmKey(s string) string {
	s, _, _ = strings.Cut(s, "(")
	slash := strings.HasPrefix(s, "/")
	s = strings.TrimPrefix(s, "/")
	if at := strings.LastIndexByte(s, '@'); at > 0 {
		return key(s[:at], s[at+1:])
	}
	if at := strings.LastIndexByte(s, '/'); slash && at > 0 {
		version, _, _ := strings.Cut(s[at+1:], "_")
		return key(s[:at], version)
	}
	return key(s, "")
}

// pnpmNeed is the key of a dependency: a version alone, or a key where another package stands under that name.
func pnpmNeed(name, version string) string {
	if strings.HasPrefix(version, "/") || strings.LastIndexByte(cutParen(version), '@') > 0 {
		return pnpmKey(version)
	}
	version, _, _ = strings.Cut(cutParen(version), "_")
	return key(name, version)
}

func cutParen(s string) string {
	s, _, _ = strings.Cut(s, "(")
	return s
}

// gemfileGraph reads Gemfile.lock.
func gemfileGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{direct: true}
	section := ""
	direct := map[string]bool{}
	var n *node
	for raw := range bytes.Lines(data) {
		line := strings.TrimRight(string(raw), "\r\n ")
		text := strings.TrimSpace(line)
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if text == "" {
			continue
		}
		name, rest, _ := strings.Cut(text, " ")
		switch {
		case indent == 0:
			section, n = text, nil
		case section == "DEPENDENCIES" && indent == 2:
			direct[strings.TrimSuffix(name, "!")] = true
		case indent == 4 && (section == "GEM" || section == "GIT" || section == "PATH"):
			n = &node{name: name, version: strings.Trim(rest, "()"), root: section == "PATH"}
			g.nodes = append(g.nodes, n)
		case indent == 6 && n != nil:
			n.needs = append(n.needs, name)
		}
	}
	for _, n := range g.nodes {
		n.direct = direct[n.name] && !n.root
	}
	// What the project's own gemspec needs, the project names itself.
	own := map[string]bool{}
	for _, n := range g.nodes {
		for _, need := range n.needs {
			own[need] = own[need] || n.root
		}
	}
	for _, n := range g.nodes {
		n.direct = n.direct || own[n.name] && !n.root
	}
	return g, nil
}

// requirementsGraph reads the comments of pip-compile that say what brought a requirement; without them each is direct.
func requirementsGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{fold: pypiName}
	var n *node
	via := map[*node][]string{}
	compiled, inVia := false, false
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		text := strings.TrimSpace(string(raw))
		if name, url, ok := directReference(text); ok {
			n, inVia = &node{name: name, version: versionIn(name, url), line: number, direct: true, alone: true}, false
			g.nodes = append(g.nodes, n)
			continue
		}
		comment, isComment := strings.CutPrefix(text, "#")
		comment = strings.TrimSpace(comment)
		switch {
		case !isComment && text != "" && text[0] != '-':
			n, inVia = &node{name: requirementName(text), direct: true}, false
			if _, v, ok := strings.Cut(text, "=="); ok {
				n.version = strings.TrimSpace(strings.TrimRight(strings.FieldsFunc(v+" ", func(r rune) bool { return r == ' ' || r == ';' || r == '#' || r == '\\' })[0], ","))
			}
			g.nodes = append(g.nodes, n)
			if _, c, ok := strings.Cut(text, "# via "); ok {
				compiled = true
				via[n] = append(via[n], strings.Split(c, ",")...)
			}
		case isComment && n != nil && (comment == "via" || strings.HasPrefix(comment, "via ")):
			inVia, compiled = true, true
			if rest := strings.TrimSpace(strings.TrimPrefix(comment, "via")); rest != "" {
				via[n] = append(via[n], strings.Split(rest, ",")...)
			}
		case isComment && inVia && comment != "":
			via[n] = append(via[n], comment)
		}
	}
	if !compiled {
		return g, nil
	}
	g.direct = true
	byName := map[string]*node{}
	for _, n := range g.nodes {
		byName[pypiName(n.name)] = n
	}
	for _, n := range g.nodes {
		if len(via[n]) == 0 {
			continue
		}
		n.direct = false
		for _, by := range via[n] {
			if by = strings.TrimSpace(by); strings.HasPrefix(by, "-r ") || strings.Contains(by, "(") || strings.HasSuffix(by, ".in") || strings.HasSuffix(by, ".toml") {
				n.direct = true
			} else if to := byName[pypiName(by)]; to != nil {
				to.needs = append(to.needs, n.name)
			}
		}
	}
	return g, nil
}

// directReference splits a requirement that says where its package is (PEP 508): "name @ URL", or "-e URL#egg=name".
func directReference(text string) (name, url string, ok bool) {
	text, _, _ = strings.Cut(text, " #")
	if what, rest, at := strings.Cut(text, "@"); at && strings.Contains(rest, "://") {
		what, _, _ = strings.Cut(strings.TrimSpace(what), "[")
		if name = requirementName(what); name != "" && name == strings.TrimSpace(what) {
			url, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
			return name, url, true
		}
	}
	for _, option := range []string{"-e ", "--editable ", "--editable=", ""} {
		if rest, has := strings.CutPrefix(text, option); has && strings.Contains(rest, "://") && !strings.HasPrefix(rest, "-") {
			if url, name, ok = strings.Cut(strings.TrimSpace(rest), "#egg="); ok {
				name = requirementName(name)
				return name, url, name != ""
			}
		}
	}
	return "", "", false
}

// versionIn is the version in the name of a wheel or a source archive (PEP 427, 625), nothing for others.
func versionIn(name, url string) string {
	url, _, _ = strings.Cut(url, "#")
	url, _, _ = strings.Cut(url, "?")
	file := url[strings.LastIndexByte(url, '/')+1:]
	stem, wheel := strings.CutSuffix(file, ".whl")
	if !wheel {
		var archive bool
		if stem, archive = strings.CutSuffix(file, ".tar.gz"); !archive {
			if stem, archive = strings.CutSuffix(file, ".zip"); !archive {
				return ""
			}
		}
		at := strings.LastIndexByte(stem, '-')
		if at < 0 || pypiName(stem[:at]) != pypiName(name) {
			return ""
		}
		return npmVersion(stem[at+1:])
	}
	parts := strings.Split(stem, "-")
	if len(parts) < 5 || pypiName(parts[0]) != pypiName(name) {
		return ""
	}
	return npmVersion(strings.ReplaceAll(parts[1], "%2B", "+"))
}

// pubGraph reads which packages of a pubspec.lock are direct.
func pubGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{direct: true}
	var n *node
	packages := false
	for raw := range bytes.Lines(data) {
		line := strings.TrimRight(string(raw), "\r\n ")
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		k, v := yamlPair(text)
		switch {
		case indent == 0:
			packages = k == "packages"
		case !packages:
		case indent == 2:
			n = &node{name: k}
			g.nodes = append(g.nodes, n)
		case n != nil && k == "version":
			n.version = v
		case n != nil && k == "dependency":
			n.direct, n.dev = strings.HasPrefix(v, "direct"), v == "direct dev"
		case n != nil && k == "sha256":
			n.digest = hexDigest("sha256", v)
		}
	}
	return g, nil
}
