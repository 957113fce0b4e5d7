package history

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/internal/ignore"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

const (
	treeCache = 32 << 20
	fileCache = 16 << 20 // of each worker
	segments  = 8        // pieces of the work for each worker
	maxNamed  = 50       // missing objects that are named
)

// History is every version of every file that a repository's commits hold, each once, with the first commit
// that has it.
type History struct {
	// Root is a folder of a worktree, or a bare repository.
	Root string
	// Range limits the commits: "A..B", "A.." or "B", each a branch, a tag or a commit. Empty stands for all that branches,
	// tags, notes, the stash and the HEADs of worktrees lead to.
	Range string
	// Since leaves out commits that were made before, by the committer's clock. Zero leaves out none.
	Since time.Time
	// Below, if not empty, is a folder of the repository, as its trees name it: its files alone, by their paths from there on.
	Below  string
	Config Config
	Scan   scan.Config
	// IgnoreFiles, if not nil, count in place of the repository's own, by their paths.
	IgnoreFiles map[string][]byte
}

// reading is one reading of a repository.
type reading struct {
	repo   *repo
	scan   scan.Config
	config Config
	v      scan.Visitor
	budget atomic.Int64
	rd     *reader           // for commits and trees
	given  map[string][]byte // ignore files in place of the repository's own
	prefix string            // before the paths that the visitor sees: a submodule's place
	files  *treeFiles        // what stands beside a file; nil where no one tree is read
	heavy  sync.Mutex        // held while a file above MaxFileSize is

	mu      sync.Mutex
	missing uint64
	over    bool // the budget is used up
}

func begin(root string, config Config, sc scan.Config, v scan.Visitor) (*reading, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	r, err := open(root, config.Alternates)
	if err != nil {
		return nil, err
	}
	w := &reading{repo: r, scan: sc, config: config, v: v}
	w.budget.Store(int64(config.MaxUnpacked))
	w.rd = newReader(r, &w.budget, treeCache)
	return w, nil
}

// end tells what is left to tell, and closes the repository.
func (w *reading) end() {
	for _, p := range w.repo.bad {
		w.v.Skip(scan.Unreadable, p.path, p.reason)
	}
	if n := w.missing; n > maxNamed {
		w.v.Count(scan.Unreadable, n-maxNamed)
	}
	w.repo.close()
}

// tell says what could not be read.
func (w *reading) tell(path string, err error) {
	switch {
	case errors.Is(err, errBudget):
		w.mu.Lock()
		first := !w.over
		w.over = true
		w.mu.Unlock()
		if first {
			w.v.Skip(scan.TooLarge, path, fmt.Sprintf("max_unpacked (%s) is reached: the rest is not read", w.config.MaxUnpacked))
		}
	case errors.Is(err, errMissing):
		w.mu.Lock()
		w.missing++
		name := w.missing <= maxNamed
		w.mu.Unlock()
		if reason := err.Error(); name {
			if w.repo.partial {
				reason += ": the clone is partial, and nothing is fetched"
			}
			w.v.Skip(scan.Unreadable, path, reason)
		}
	default:
		w.v.Skip(scan.Unreadable, path, plain(err).Error())
	}
}

func (w *reading) spent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over
}

// trees makes a walker that tells the visitor of what it leaves out.
func (w *reading) trees(ctx context.Context, l lists, file func(o id, dir, name string)) *trees {
	return &trees{rd: w.rd, lists: l, maxDepth: w.scan.MaxDepth, seen: newBits(w.repo.objects()), file: file,
		ignored: func() { w.v.Count(scan.Ignored, 1) }, special: func() { w.v.Count(scan.Special, 1) },
		tooDeep: func(path string) {
			w.v.Skip(scan.TooDeep, path, fmt.Sprintf("nested deeper than %d folders", w.scan.MaxDepth))
		},
		tell: w.tell, stopped: func() bool { return ctx.Err() != nil || w.spent() }}
}

// quiet takes the reports off a walker that only looks.
func (w *trees) quiet() *trees {
	w.ignored, w.special, w.tooDeep, w.tell = func() {}, func() {}, func(string) {}, func(string, error) {}
	return w
}

// head returns the tree of HEAD; none if there is no commit yet.
func (w *reading) head() id {
	o, err := w.rd.revision("HEAD")
	if err != nil {
		return none
	}
	return w.treeOf(o)
}

func (w *reading) treeOf(commit id) id {
	c, err := w.rd.commit(commit)
	if err != nil {
		w.tell("commit "+w.repo.name(commit), err)
		return none
	}
	t, ok := w.repo.find(c.tree)
	if !ok {
		w.tell("tree "+c.tree.text(w.repo.hash), errMissing)
		return none
	}
	return t
}

// ignoreLists reads the .testudoignore files among files, and the one that stands in the worktree's top. found says where those
// are: paths in the order of folders, with their objects.
func (w *reading) ignoreLists(found []version) lists {
	l := lists{exclude: listOf(w.scan.Exclude)}
	if !w.scan.Ignore {
		return l
	}
	add := func(dir string, content []byte) { l.own = l.own.Extend(dir, content) }
	if w.given != nil {
		names := slices.SortedFunc(maps.Keys(w.given), func(a, b string) int {
			return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
		})
		for _, name := range names {
			if isIgnoreFile(name) {
				add(strings.TrimPrefix(path.Dir(name), "."), w.given[name])
			}
		}
		return l
	}
	inTop := false
	if !w.repo.bare {
		if root, err := os.OpenRoot(w.repo.top); err == nil {
			content, err := readFile(root, ignoreFile, ignore.MaxFileBytes)
			if inTop = err == nil; inTop {
				add("", content)
			}
			root.Close()
		}
	}
	slices.SortFunc(found, func(a, b version) int {
		return cmp.Or(cmp.Compare(strings.Count(a.path, "/"), strings.Count(b.path, "/")), cmp.Compare(a.path, b.path))
	})
	for _, f := range found {
		dir := path.Dir(f.path)
		if dir == "." {
			if dir = ""; inTop {
				continue
			}
		}
		if k, content, err := w.rd.read(f.object, ignore.MaxFileBytes); err == nil && k == blobObject {
			add(dir, content)
		}
	}
	return l
}

const ignoreFile = ".testudoignore"

func listOf(patterns []string) *ignore.List {
	if len(patterns) == 0 {
		return nil
	}
	return (*ignore.List)(nil).Extend("", []byte(strings.Join(patterns, "\n")))
}

// version is a file's content at a path.
type version struct {
	object  id
	commit  int32 // in graph.commits; -1 if there is none
	order   int32
	current bool
	path    string
	was     string // where the first commit has it, if that is not path
}

// Files implements scan.Source.
func (h *History) Files(ctx context.Context, v scan.Visitor) error {
	w, err := begin(h.Root, h.Config, h.Scan, v)
	if err != nil {
		return err
	}
	defer w.end()
	if w.given = h.IgnoreFiles; h.Below != "" && w.given != nil {
		w.given = map[string][]byte{}
		for name, content := range h.IgnoreFiles {
			w.given[h.Below+"/"+name] = content
		}
	}
	g := newGraph(w.rd, h.Since, h.Config.MaxCommits, w.tell)
	if err := h.tips(ctx, w, g); err != nil {
		return fmt.Errorf("scan the history of %s: %w", scan.Printable(h.Root), err)
	}
	current, files := w.current(ctx)
	list := w.versions(ctx, g, w.ignoreLists(files), current)
	if h.Config.Unreachable && h.Range == "" {
		list = w.dangling(ctx, g, list)
	}
	return w.offer(ctx, g, versionsBelow(list, h.Below))
}

// versionsBelow keeps the versions of a folder's files, by their paths from there on.
func versionsBelow(list []version, folder string) []version {
	if folder == "" {
		return list
	}
	out := list[:0]
	for _, f := range list {
		rest, ok := cutFolder(f.path, folder)
		if !ok { // today it is elsewhere: in that commit it may have been here
			rest, ok = cutFolder(f.was, folder)
		}
		if ok {
			f.path = rest
			out = append(out, f)
		}
	}
	return out
}

// tips brings the commits into the graph.
func (h *History) tips(ctx context.Context, w *reading, g *graph) error {
	if h.Range != "" {
		return addRange(ctx, w, g, h.Range)
	}
	var err error
	add := func(o oid) {
		at, ok := w.repo.find(o)
		if !ok || err != nil {
			return
		}
		at, e := w.rd.peel(at)
		switch {
		case e == nil:
			err = g.add(ctx, at, false)
		case !errors.Is(e, errNotCommit): // a tag may name a file
			w.tell("commit "+o.text(w.repo.hash), e)
		}
	}
	w.repo.refs(func(name string, o oid) {
		if _, ok := w.repo.find(o); !ok {
			w.tell(name, errMissing)
			return
		}
		add(o)
	})
	if h.Config.Unreachable && err == nil {
		w.repo.logs(add)
		err = w.danglingCommits(ctx, g, err)
	}
	if g.full {
		w.v.Skip(scan.TooLarge, ".", fmt.Sprintf("more than %d commits: the rest is not read (max_commits)", g.max))
	}
	return err
}

func addRange(ctx context.Context, w *reading, g *graph, text string) error {
	from, to, ranged := strings.Cut(text, "..")
	if !ranged {
		from, to = "", text
	}
	if strings.HasPrefix(to, ".") {
		return fmt.Errorf("%s: want A..B, with two dots", scan.Printable(text))
	}
	if from != "" {
		a, err := w.rd.revision(from)
		if err != nil {
			return err
		}
		if err := g.add(ctx, a, true); err != nil {
			return err
		}
	}
	if to == "" {
		to = "HEAD"
	}
	b, err := w.rd.revision(to)
	if err != nil {
		return err
	}
	return g.add(ctx, b, false)
}

// current returns the paths of the objects in HEAD, the first where there are several under one name, and the
// ignore files among them.
func (w *reading) current(ctx context.Context) (map[id][]string, []version) {
	paths, files := map[id][]string{}, []version(nil)
	room := names(maxNames)
	walker := w.trees(ctx, lists{}, func(o id, dir, name string) {
		at := join(dir, name)
		if len(paths[o]) < 100 && room.take(at) {
			paths[o] = append(paths[o], at)
		}
		if name == ignoreFile && len(files) < 1000 {
			files = append(files, version{object: o, path: at})
		}
	}).quiet()
	walker.walk(w.head(), none, "", 0)
	return paths, files
}

// versions finds the first commit of every file that the graph's commits hold.
func (w *reading) versions(ctx context.Context, g *graph, l lists, current map[id][]string) []version {
	var out []version
	order, circular := g.order()
	if circular > 0 {
		w.v.Skip(scan.Unreadable, "commits", fmt.Sprintf("%d commits are their own ancestors: not read", circular))
	}
	edge := make([]bool, len(g.commits)) // hidden parents of commits that are not
	for i := range g.commits {
		if !g.commits[i].hidden {
			for _, p := range g.commits[i].parents {
				edge[p] = g.commits[p].hidden
			}
		}
	}
	met := newBits(w.repo.objects())
	known := map[string]string{}
	room := names(maxNames)
	var now int32
	var place int32
	hidden, full := false, uint64(0)
	walker := w.trees(ctx, l, func(o id, dir, name string) {
		if !met.add(o) || hidden {
			return
		}
		if len(out) >= w.config.MaxFiles {
			full++
			return
		}
		at := join(dir, name)
		if same, ok := known[at]; ok {
			at = same
		} else if known[at] = at; !room.take(at) {
			full++
			return
		}
		f := version{object: o, commit: now, order: place, path: at}
		if in := current[o]; len(in) > 0 {
			if f.current = true; !slices.Contains(in, at) {
				f.path, f.was = in[0], at
			}
		}
		out = append(out, f)
	})
	for i, n := range order {
		c := &g.commits[n]
		if hidden = c.hidden; hidden && !edge[n] {
			continue
		}
		before := none
		if len(c.parents) > 0 && !hidden {
			before = g.commits[c.parents[0]].tree
		}
		now, place = n, int32(i)
		walker.walk(c.tree, before, "", 0)
	}
	if full > 0 {
		w.v.Skip(scan.NoRoom, ".", fmt.Sprintf("%d versions above max_files (%d), or whose paths are too many, are not read", full, w.config.MaxFiles))
	}
	return out
}

// offer reads the versions in the order in which they are stored, and offers them.
func (w *reading) offer(ctx context.Context, g *graph, list []version) error {
	w.v.Found(len(list), true)
	places := make([]int64, w.repo.objects())
	for i := range list {
		places[list[i].object] = w.repo.place(list[i].object).at
	}
	slices.SortFunc(list, func(a, b version) int {
		pa, pb := w.packNumber(a.object), w.packNumber(b.object)
		return cmp.Or(cmp.Compare(pa, pb), cmp.Compare(places[a.object], places[b.object]))
	})
	w.rd.cache = newCache(0) // the trees are no longer needed
	workers := w.scan.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	pieces := int64(min(workers*segments, max(len(list)/16, 1)))
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			rd := newReader(w.repo, &w.budget, fileCache)
			rd.cache.recycle = true
			for {
				n := next.Add(1) - 1
				if n >= pieces {
					return
				}
				total := int64(len(list))
				for i := n * total / pieces; i < (n+1)*total/pieces; i++ {
					if ctx.Err() != nil || w.spent() {
						return
					}
					w.file(ctx, rd, g, &list[i])
				}
			}
		})
	}
	all.Wait()
	return ctx.Err()
}

func (w *reading) packNumber(o id) id {
	if p := w.repo.packOf(o); p != nil {
		return p.base
	}
	return none
}

// file offers one version.
func (w *reading) file(ctx context.Context, rd *reader, g *graph, f *version) {
	k, data, err := rd.read(f.object, int64(w.scan.MaxFileSize))
	large := false
	if errors.Is(err, errTooLarge) && w.files != nil && w.v.Wants(f.path, blobInfo{path.Base(f.path), int64(w.scan.MaxFileSize) + 1}) {
		w.heavy.Lock()
		defer w.heavy.Unlock()
		k, data, err = rd.read(f.object, w.files.limit)
		large = len(data) > int(w.scan.MaxFileSize)
	}
	if err == nil && k != blobObject {
		err = fmt.Errorf("%w: not a file", errCorrupted)
	}
	switch {
	case errors.Is(err, errTooLarge):
		w.v.Skip(scan.TooLarge, f.path, fmt.Sprintf("object %s is larger than %s, or rests on one that is", w.repo.name(f.object), w.scan.MaxFileSize))
		return
	case err != nil:
		w.tell(f.path, fmt.Errorf("object %s: %w", w.repo.name(f.object), err))
		return
	}
	file := &scan.File{Path: f.path, Name: f.path, Data: data, Current: f.current, Order: int(f.order), Info: blobInfo{path.Base(f.path), int64(len(data))}}
	if w.files != nil {
		file.FS = w.files
	}
	if large { // for those who read packages alone, as in a folder
		file.Data, file.Content = nil, bytes.NewReader(data)
	}
	if f.commit >= 0 && g != nil {
		c := &g.commits[f.commit]
		file.Commit = w.repo.name(c.id)
		file.Evidence = []signal.Evidence{{Name: "author", Value: g.signature(c)}}
		if f.was != "" {
			file.Evidence = append(file.Evidence, signal.Evidence{Name: "path in that commit", Value: scan.Printable(f.was)})
		}
	}
	w.v.File(ctx, file)
}

// blobInfo is what the store knows of a file.
type blobInfo struct {
	name string
	size int64
}

func (b blobInfo) Name() string       { return b.name }
func (b blobInfo) Size() int64        { return b.size }
func (b blobInfo) Mode() fs.FileMode  { return 0o444 }
func (b blobInfo) ModTime() time.Time { return time.Time{} }
func (b blobInfo) IsDir() bool        { return false }
func (b blobInfo) Sys() any           { return nil }

// Repository reports whether a folder belongs to a git repository, and where its top is.
func Repository(root string) (top string, err error) {
	r, err := discover(root)
	if err != nil {
		return "", err
	}
	defer r.close()
	return filepath.Clean(r.top), nil
}
