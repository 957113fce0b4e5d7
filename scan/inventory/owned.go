package inventory

import (
	"bytes"
	"io/fs"
	"path"
	"reflect"
	"strings"
	"sync"
)

// maxTrees bounds the trees whose lists are kept.
const maxTrees = 8

// owners knows which files belong to packages of the distribution, by the lists that dpkg and apk keep in the tree: such a Python,
// npm or Ruby package is the distribution's, who mends it under its own version.
type owners struct {
	mu    sync.Mutex
	trees map[any]*ownedTree
}

type ownedTree struct {
	once  sync.Once
	files map[string]bool
}

func newOwners() *owners { return &owners{trees: map[any]*ownedTree{}} }

// owns reports whether the distribution owns the file that names a package of a language.
func (o *owners) owns(in *input) bool {
	base := path.Base(in.path)
	if !isMarker(in.path) || in.file.FS == nil {
		return false
	}
	if base == "METADATA" {
		// Fedora and Debian write their own name there (PEP 627).
		switch string(bytes.TrimSpace(in.beside("INSTALLER"))) {
		case "rpm", "debian", "apk":
			return true
		}
	}
	if !strings.HasPrefix(in.path, "usr/") && !strings.HasPrefix(in.path, "lib/") && !strings.HasPrefix(in.path, "opt/") || strings.HasPrefix(in.path, "usr/local/") {
		return false
	}
	t := o.tree(in.file.FS)
	if t == nil {
		return false
	}
	t.once.Do(func() { t.files = ownedFiles(in.file.FS) })
	return t.files[in.path]
}

// isMarker tells the files for which ownership matters.
func isMarker(p string) bool {
	return strings.HasSuffix(p, "/package.json") || strings.HasSuffix(p, ".gemspec") || isPythonMetadata(p)
}

// tree returns what is known of a tree, nil for one that cannot be told from others.
func (o *owners) tree(fsys fs.FS) *ownedTree {
	if !reflect.TypeOf(fsys).Comparable() {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.trees[fsys]
	if t == nil {
		if len(o.trees) >= maxTrees {
			clear(o.trees)
		}
		t = &ownedTree{}
		o.trees[fsys] = t
	}
	return t
}

// ownedFiles reads the lists. Only markers are kept.
func ownedFiles(fsys fs.FS) map[string]bool {
	files := map[string]bool{}
	const lists = "var/lib/dpkg/info"
	entries, _ := fs.ReadDir(fsys, lists)
	read := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".list") || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil || info.Size() > maxBeside*4 {
			continue
		}
		if read += int(info.Size()); read > 256<<20 {
			break
		}
		data, err := fs.ReadFile(fsys, lists+"/"+e.Name())
		if err != nil {
			continue
		}
		for len(data) > 0 {
			line := data
			if at := bytes.IndexByte(data, '\n'); at >= 0 {
				line, data = data[:at], data[at+1:]
			} else {
				data = nil
			}
			if n := len(line); n > 8 && (line[n-1] == 'n' || line[n-1] == 'A' || line[n-1] == 'O' || line[n-1] == 'c' || line[n-1] == 'o') {
				if p := string(bytes.TrimPrefix(line, []byte("/"))); isMarker(p) {
					files[p] = true
				}
			}
		}
	}
	for _, db := range []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"} {
		if info, err := fs.Stat(fsys, db); err != nil || !info.Mode().IsRegular() || info.Size() > 64<<20 {
			continue
		}
		data, err := fs.ReadFile(fsys, db)
		if err != nil {
			continue
		}
		folder := ""
		for line := range bytes.Lines(data) {
			line = bytes.TrimRight(line, "\n")
			switch {
			case bytes.HasPrefix(line, []byte("F:")):
				folder = string(line[2:])
			case bytes.HasPrefix(line, []byte("R:")):
				if p := folder + "/" + string(line[2:]); isMarker(p) {
					files[p] = true
				}
			}
		}
	}
	return files
}
