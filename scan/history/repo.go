package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/testudo-sec/testudo/scan"
)

const (
	maxSmallFile = 1 << 20 // HEAD, config and the like
	maxRefsFile  = 256 << 20
	maxLoose     = 5_000_000
	maxObjects   = 1 << 31
)

// repo is an opened repository. It does not change, and is safe for concurrent use.
type repo struct {
	top      string   // the worktree's folder, or the repository's if it is bare
	bare     bool     // there is no worktree
	git      *os.Root // what is the worktree's own: HEAD, the index
	common   *os.Root // what all worktrees share: refs, packs
	stores   []*os.Root
	hash     int
	partial  bool
	packs    []*pack
	loose    []looseObject
	looseIDs map[oid]id
	base     id // of loose objects
	shallow  map[oid]bool
	packed   func() map[string]oid // the packed references, read when they are first asked for
	bad      []problem             // what could not be opened
}

type looseObject struct {
	name  oid
	store int
}

type problem struct{ path, reason string }

// open finds the repository that a folder belongs to and opens it.
func open(root string, alternates bool) (*repo, error) {
	r, err := discover(root)
	if err != nil {
		return nil, fmt.Errorf("scan the history of %s: %w", scan.Printable(root), err)
	}
	if err := r.load(alternates); err != nil {
		r.close()
		return nil, fmt.Errorf("scan the history of %s: %w", scan.Printable(root), err)
	}
	return r, nil
}

func (r *repo) close() {
	for _, p := range r.packs {
		p.file.Close()
	}
	for _, s := range r.stores {
		s.Close()
	}
	if r.common != nil && r.common != r.git {
		r.common.Close()
	}
	if r.git != nil {
		r.git.Close()
	}
}

var errNoRepository = errors.New("not in a git repository")

// discover goes up from a folder to the repository.
func discover(root string) (*repo, error) {
	at, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, plain(err)
	}
	if at, err = filepath.Abs(at); err != nil {
		return nil, plain(err)
	}
	for {
		switch info, err := os.Lstat(filepath.Join(at, ".git")); {
		case err == nil && info.IsDir():
			r := &repo{top: at}
			return r, r.roots(filepath.Join(at, ".git"))
		case err == nil && info.Mode().IsRegular():
			return linked(at)
		}
		if isBare(at) {
			r := &repo{top: at, bare: true}
			return r, r.roots(at)
		}
		up := filepath.Dir(at)
		if up == at {
			return nil, errNoRepository
		}
		at = up
	}
}

func isBare(dir string) bool {
	for _, name := range []string{"objects", "refs"} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || !info.IsDir() {
			return false
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "HEAD"))
	return err == nil && (info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0)
}

// linked opens the repository that a .git file names: that of a worktree or a submodule. Such a file could
// name any repository of the machine, so the other side has to name this folder back.
func linked(top string) (*repo, error) {
	folder, err := os.OpenRoot(top)
	if err != nil {
		return nil, plain(err)
	}
	content, err := readFile(folder, ".git", maxSmallFile)
	folder.Close()
	if err != nil {
		return nil, fmt.Errorf(".git: %w", plain(err))
	}
	name, ok := strings.CutPrefix(string(content), "gitdir:")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return nil, errors.New(".git is a file that names no folder")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(top, name)
	}
	dir, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, fmt.Errorf(".git names a repository that is not there: %w", plain(err))
	}
	r := &repo{top: top}
	if err := r.roots(dir); err != nil {
		return r, err
	}
	inside, err := filepath.Rel(top, dir)
	if err == nil && filepath.IsLocal(inside) || r.namesBack(dir) {
		return r, nil
	}
	r.close()
	return nil, fmt.Errorf(".git names %s, which does not name this folder back: not read", scan.Printable(dir))
}

// namesBack reports whether a repository names the folder as its worktree.
func (r *repo) namesBack(dir string) bool {
	same := func(name, want string) bool {
		if name == "" {
			return false
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		got, err := filepath.EvalSymlinks(name)
		return err == nil && got == want
	}
	back, _ := readFile(r.git, "gitdir", maxSmallFile)
	if same(strings.TrimSpace(string(back)), filepath.Join(r.top, ".git")) {
		return true
	}
	content, _ := readFile(r.git, "config", maxSmallFile)
	return same(parseSettings(content)["core.worktree"], r.top)
}

// roots opens the repository's folders.
func (r *repo) roots(dir string) (err error) {
	if r.git, err = os.OpenRoot(dir); err != nil {
		return plain(err)
	}
	r.common = r.git
	content, err := readFile(r.git, "commondir", maxSmallFile)
	if err != nil {
		return nil // no worktree of another's
	}
	name := strings.TrimSpace(string(content))
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	common, err := filepath.EvalSymlinks(name)
	if err != nil {
		return fmt.Errorf("commondir: %w", plain(err))
	}
	if filepath.Dir(filepath.Dir(dir)) != common || filepath.Base(filepath.Dir(dir)) != "worktrees" {
		return fmt.Errorf("commondir names %s, which does not hold this worktree: not read", scan.Printable(common))
	}
	if r.common, err = os.OpenRoot(common); err != nil {
		r.common = r.git
		return plain(err)
	}
	return nil
}

// load reads the configuration and the indexes of all packs.
func (r *repo) load(alternates bool) error {
	content, _ := readFile(r.common, "config", maxSmallFile)
	settings := parseSettings(content)
	switch f := settings["extensions.objectformat"]; f {
	case "", "sha1":
		r.hash = 20
	case "sha256":
		r.hash = 32
	default:
		return fmt.Errorf("objects are named in the format %q, which is not known", scan.Printable(f))
	}
	if f := settings["extensions.refstorage"]; f != "" && f != "files" {
		return fmt.Errorf("branches are kept in the format %q, which is not known: git refs migrate --ref-format=files", scan.Printable(f))
	}
	r.partial = settings["extensions.partialclone"] != ""
	r.packed = sync.OnceValue(r.readPackedRefs)
	objects, err := r.common.OpenRoot("objects")
	if err != nil {
		return plain(err)
	}
	r.stores = []*os.Root{objects}
	r.readAlternates(objects, alternates)
	r.looseIDs = map[oid]id{}
	total := 0
	for _, store := range r.stores {
		for _, p := range openPacks(store, r.hash, r.problem) {
			if total+int(p.count) > maxObjects {
				p.file.Close()
				return errors.New("it has more than 2,147,483,648 objects")
			}
			p.base = id(total)
			total += int(p.count)
			r.packs = append(r.packs, p)
			if _, err := store.Stat("pack/" + p.name + ".promisor"); err == nil {
				r.partial = true
			}
		}
	}
	r.base = id(total)
	for i, store := range r.stores {
		r.listLoose(i, store)
	}
	r.shallow = map[oid]bool{}
	lines, _ := readFile(r.common, "shallow", maxRefsFile)
	for line := range bytes.Lines(lines) {
		if o, err := parseOID(bytes.TrimSpace(line), r.hash); err == nil {
			r.shallow[o] = true
		}
	}
	return nil
}

func (r *repo) problem(path string, err error) {
	if len(r.bad) < 1000 {
		r.bad = append(r.bad, problem{path, plain(err).Error()})
	}
}

// readAlternates opens the object folders that a store names, and those that they name.
func (r *repo) readAlternates(objects *os.Root, outside bool) {
	own, _ := filepath.EvalSymlinks(objects.Name())
	seen := map[string]bool{own: true}
	for i := 0; i < len(r.stores) && len(r.stores) < 20; i++ {
		content, err := readFile(r.stores[i], "info/alternates", maxSmallFile)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			name := strings.TrimSpace(line)
			if name == "" || name[0] == '#' {
				continue
			}
			if !filepath.IsAbs(name) {
				name = filepath.Join(r.stores[i].Name(), name)
			}
			at, err := filepath.EvalSymlinks(name)
			if err != nil {
				r.problem("objects/info/alternates", plain(err))
				continue
			}
			if seen[at] || len(r.stores) >= 20 {
				continue
			}
			seen[at] = true
			if inside, err := filepath.Rel(r.top, at); !outside && (err != nil || !filepath.IsLocal(inside)) {
				r.problem("objects/info/alternates", fmt.Errorf("names %s, outside the repository: not read, unless alternates is set", at))
				continue
			}
			store, err := os.OpenRoot(at)
			if err != nil {
				r.problem("objects/info/alternates", plain(err))
				continue
			}
			r.stores = append(r.stores, store)
		}
	}
}

// listLoose numbers the objects that stand in files of their own.
func (r *repo) listLoose(n int, store *os.Root) {
	for i := range 256 {
		dir := fmt.Sprintf("%02x", i)
		f, err := store.Open(dir)
		if err != nil {
			continue
		}
		names, err := f.Readdirnames(maxLoose)
		f.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			r.problem("objects/"+dir, err)
		}
		slices.Sort(names)
		for _, name := range names {
			o, err := parseOID([]byte(dir+name), r.hash)
			if err != nil || len(r.loose) >= maxLoose {
				continue
			}
			if _, known := r.find(o); !known {
				r.looseIDs[o] = r.base + id(len(r.loose))
				r.loose = append(r.loose, looseObject{o, n})
			}
		}
	}
}

// objects is how many there are.
func (r *repo) objects() id { return r.base + id(len(r.loose)) }

// find returns an object's number.
func (r *repo) find(o oid) (id, bool) { return r.findName(o[:r.hash]) }

func (r *repo) findName(name []byte) (id, bool) {
	for _, p := range r.packs {
		if i, ok := p.find(name); ok {
			return p.base + id(i), true
		}
	}
	var o oid
	copy(o[:], name)
	n, ok := r.looseIDs[o]
	return n, ok
}

// packOf returns the pack of an object; nil for loose ones.
func (r *repo) packOf(o id) *pack {
	if o >= r.base {
		return nil
	}
	if len(r.packs) == 1 {
		return r.packs[0]
	}
	i, found := slices.BinarySearchFunc(r.packs, o, func(p *pack, o id) int {
		switch {
		case p.base+id(p.count) <= o:
			return -1
		case p.base > o:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return r.packs[i]
}

func (r *repo) place(o id) place {
	if p := r.packOf(o); p != nil {
		return place{p, p.offsetAt(uint32(o - p.base))}
	}
	return place{nil, int64(o)}
}

// name returns an object's name in hexadecimal.
func (r *repo) name(o id) string {
	var n oid
	if p := r.packOf(o); p != nil {
		copy(n[:], p.nameAt(uint32(o-p.base)))
	} else if int(o-r.base) < len(r.loose) {
		n = r.loose[o-r.base].name
	}
	return n.text(r.hash)
}

func (r *repo) openLoose(o id) (*os.File, error) {
	if o < r.base || int(o-r.base) >= len(r.loose) {
		return nil, errMissing
	}
	l := r.loose[o-r.base]
	name := l.name.text(r.hash)
	return openRegular(r.stores[l.store], path.Join(name[:2], name[2:]))
}

// openRegular opens a regular file without waiting for what is none.
func openRegular(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.New("not a regular file")
	}
	return f, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(dir *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, errTooLarge
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// parseSettings reads a configuration file as far as it matters here: "section.key" in lower case. Files that it
// includes are not read.
func parseSettings(content []byte) map[string]string {
	out := map[string]string{}
	section := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			section = strings.ToLower(strings.Trim(line, "[] \t"))
		default:
			key, value, _ := strings.Cut(line, "=")
			out[section+"."+strings.ToLower(strings.TrimSpace(key))] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return out
}

// plain returns an error without the path that the caller knows.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
