package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// bunNeeds are what a workspace or a package of bun.lock needs.
type bunNeeds struct {
	Dependencies, DevDependencies, OptionalDependencies, PeerDependencies npmNeeds
}

// bunGraph reads bun.lock (bun.sh/docs/install/lockfile): JSON with commas and comments where JSON has none. Its packages have keys
// that are paths of names, as node_modules would be nested, and tuples that begin with "name@version".
func bunGraph(in *input) (*graph, error) {
	data, err := in.data()
	if err != nil {
		return nil, err
	}
	g := &graph{direct: true, reach: true}
	nodes, needs := map[string]*node{}, map[string]bunNeeds{}
	var order []string
	var workspaces []bunNeeds
	var wrong []error
	j := newJSON(plainJSON(data))
	err = j.object(func(k string, _ int) error {
		switch k {
		case "workspaces":
			return j.object(func(string, int) error {
				var w bunNeeds
				err := j.Decode(&w)
				workspaces = append(workspaces, w)
				return err
			})
		case "packages":
			return j.object(func(at string, line int) error {
				if err := in.late(); err != nil {
					return err
				}
				var tuple []json.RawMessage
				if err := j.Decode(&tuple); err != nil {
					return err
				}
				n, need, err := bunPackage(tuple)
				if err != nil {
					if len(wrong) < 10 {
						wrong = append(wrong, fmt.Errorf("line %d: %q: %w", line, scan.Printable(at), err))
					}
					return nil
				}
				n.line = line
				if nodes[at] == nil {
					order = append(order, at)
				}
				nodes[at], needs[at] = n, need
				return nil
			})
		}
		return j.skip()
	})
	if err != nil {
		return nil, err
	}
	for _, w := range workspaces {
		for i, group := range []npmNeeds{w.Dependencies, w.OptionalDependencies, w.PeerDependencies, w.DevDependencies} {
			for name := range group {
				if to := nodes[name]; to != nil && !to.root {
					to.dev = i == 3 && (!to.direct || to.dev)
					to.direct = true
				}
			}
		}
	}
	for _, at := range order {
		n := nodes[at]
		g.nodes = append(g.nodes, n)
		for _, group := range []npmNeeds{needs[at].Dependencies, needs[at].OptionalDependencies, needs[at].PeerDependencies} {
			for name := range group {
				if to := bunResolve(nodes, at, name); to != nil && !n.root {
					n.needs = append(n.needs, key(to.name, to.version))
				}
			}
		}
	}
	return g, errors.Join(wrong...)
}

// bunPackage reads a tuple: the package, and somewhere behind it an object of what it needs and its digest.
func bunPackage(tuple []json.RawMessage) (*node, bunNeeds, error) {
	var what string
	if len(tuple) == 0 || json.Unmarshal(tuple[0], &what) != nil {
		return nil, bunNeeds{}, errors.New("want a list that begins with name@version")
	}
	at := strings.IndexByte(what[min(1, len(what)):], '@') + 1
	if at == 0 {
		return nil, bunNeeds{}, errors.New("no version")
	}
	n := &node{name: what[:at], version: npmVersion(what[at+1:]), root: strings.HasPrefix(what[at+1:], "workspace:") || what[at+1:] == "root:"}
	var needs bunNeeds
	for _, more := range tuple[1:] {
		var text string
		switch {
		case len(more) > 0 && more[0] == '{':
			if err := json.Unmarshal(more, &needs); err != nil {
				needs = bunNeeds{}
			}
		case json.Unmarshal(more, &text) == nil && len(n.digest) == 0:
			n.digest = integrity(text)
		}
	}
	return n, needs, nil
}

// bunResolve finds a package as Node does: below the one that needs it, then beside it, then further up.
func bunResolve(nodes map[string]*node, from, name string) *node {
	for at := from; ; {
		if n := nodes[at+"/"+name]; n != nil && at != "" {
			return n
		}
		if at == "" {
			return nodes[name]
		}
		cut := strings.LastIndexByte(at, '/')
		if cut > 0 {
			// "@scope/name" is one name.
			if before := strings.LastIndexByte(at[:cut], '/'); at[before+1] == '@' {
				cut = before
			}
		}
		at = at[:max(cut, 0)]
	}
}

// plainJSON blanks comments and commas at an end, so that places stay what they are.
func plainJSON(data []byte) []byte {
	out := make([]byte, len(data))
	copy(out, data)
	comma := -1 // the last one that nothing but space has come after
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			comma = -1
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '/':
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case c == '/' && i+1 < len(out) && out[i+1] == '*':
			end := len(out)
			if n := bytes.Index(out[i+2:], []byte("*/")); n >= 0 {
				end = i + 2 + n + 2
			}
			for ; i < end; i++ {
				if out[i] != '\n' {
					out[i] = ' '
				}
			}
			i--
		case c == ',':
			comma = i
		case c == ']' || c == '}':
			if comma >= 0 {
				out[comma] = ' '
			}
			comma = -1
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			comma = -1
		}
	}
	return out
}
