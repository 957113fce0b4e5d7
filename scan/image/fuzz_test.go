package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// unpacked is a folder as a simple runtime makes it of layers: the model that views are held to.
type unpacked map[string]string // content of files, "/" for folders

func (u unpacked) remove(p string) {
	for name := range u {
		if name == p || strings.HasPrefix(name, p+"/") {
			delete(u, name)
		}
	}
}

func (u unpacked) put(p, content string) {
	for i := range len(p) {
		if p[i] == '/' && u[p[:i]] != "/" {
			u.remove(p[:i])
			u[p[:i]] = "/"
		}
	}
	if content != "/" || u[p] != "/" {
		u.remove(p)
		u[p] = content
	}
}

// script reads layers from what a fuzzer writes: a byte says what, one where.
func script(data []byte) (out [][]file) {
	names := []string{"a", "b", "a/b", "a/c", "a/b/c", "a/b/d", "c/d/e", "b/a", "c", "a-b", "a/b-", "c/d"}
	layer := []file{}
	for len(data) >= 2 {
		n := names[int(data[1])%len(names)]
		dir, last := path.Split(n)
		switch data[0] % 6 {
		case 0, 1:
			layer = append(layer, file{name: n, data: string('0'+rune(len(out))) + n})
		case 2:
			layer = append(layer, file{name: n + "/", sort: tar.TypeDir, mode: 0o755})
		case 3:
			layer = append(layer, file{name: dir + ".wh." + last})
		case 4:
			layer = append(layer, file{name: n + "/.wh..wh..opq"})
		case 5:
			out = append(out, layer)
			layer = nil
		}
		data = data[2:]
	}
	return append(out, layer)
}

// sound reports whether each name is there once and no file is a folder too: other layers mean what the program that unpacks makes of them.
func sound(layer []file) bool {
	kinds := map[string]bool{} // a folder?
	say := func(p string, isDir bool) bool {
		was, known := kinds[p]
		kinds[p] = isDir
		return !known || was && isDir
	}
	for _, f := range layer {
		e, _, _ := entryOf(&tar.Header{Name: f.name, Typeflag: max(f.sort, '0')})
		p, isDir := e.path, e.kind == folder || e.kind == opaque
		if e.kind == whiteout {
			if _, known := kinds[p]; known {
				return false
			}
			kinds[p] = false
		} else if !say(p, isDir) {
			return false
		}
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if !say(dir, true) {
				return false
			}
		}
	}
	return true
}

// FuzzView holds views to what unpacking the layers one after the other gives: names, contents, and what is said to be hidden by which layer.
func FuzzView(f *testing.F) {
	f.Add([]byte{0, 0, 0, 4, 5, 0, 3, 2, 0, 3, 5, 0, 4, 0, 0, 1})
	f.Add([]byte{0, 4, 5, 0, 0, 0, 5, 0, 2, 2, 5, 0, 3, 0})
	f.Add([]byte{0, 4, 0, 6, 5, 0, 4, 2, 5, 0, 0, 11, 3, 0})
	f.Add([]byte{0, 9, 0, 4, 0, 10, 5, 0, 3, 2, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return
		}
		var ls layers
		model := unpacked{}
		type origin struct {
			layer int
			path  string
		}
		alive := map[string]origin{} // by content
		gone := map[origin]int{}
		for n, l := range script(data) {
			if !sound(l) {
				return
			}
			x := &index{}
			for _, f := range l {
				h := &tar.Header{Name: f.name, Typeflag: max(f.sort, '0'), Size: int64(len(f.data)), Mode: 0o755}
				e, ok, _ := entryOf(h)
				if !ok {
					t.Fatalf("%q", f.name)
				}
				x.entries = append(x.entries, e)
			}
			x.sort()
			ls = append(ls, x)
			for _, e := range x.entries { // first what hides
				switch e.kind {
				case whiteout:
					model.remove(e.path)
				case opaque:
					if model[e.path] == "/" {
						model.remove(e.path)
					}
					model.put(e.path, "/")
				}
			}
			for _, f := range l {
				if e, _, _ := entryOf(&tar.Header{Name: f.name, Typeflag: max(f.sort, '0')}); e.kind == regular {
					model.put(e.path, f.data)
					alive[f.data] = origin{n, e.path}
				} else if e.kind == folder {
					model.put(e.path, "/")
				}
			}
			now := map[string]bool{}
			for _, content := range model {
				now[content] = true
			}
			for content, from := range alive {
				if !now[content] {
					gone[from] = n
					delete(alive, content)
				}
			}
			view := &tree{layers: ls, top: n, read: func(layer int, p string) (io.ReaderAt, func() error, error) {
				return inMemory([]byte(string('0'+rune(layer)) + p))
			}}
			got := unpacked{}
			if err := fs.WalkDir(view, ".", func(p string, d fs.DirEntry, err error) error {
				switch {
				case err != nil || p == ".":
					return err
				case d.IsDir():
					got[p] = "/"
				default:
					content, err := fs.ReadFile(view, p)
					got[p] = string(content)
					return err
				}
				return nil
			}); err != nil {
				t.Fatalf("%v of %v", err, script(data))
			}
			if diff := cmp.Diff(model, got); diff != "" {
				t.Fatalf("after layer %d of %+v (-unpacked +view):\n%s", n, script(data), diff)
			}
			for _, from := range alive {
				if by, how := ls.hidden(from.path, from.layer); how != visible {
					t.Fatalf("%+v is there, yet said to be hidden by %d in %+v", from, by, script(data))
				}
			}
			for from, want := range gone {
				if by, how := ls.hidden(from.path, from.layer); how == visible || by != want {
					t.Fatalf("%+v went in layer %d, said: %d %d in %+v", from, want, by, how, script(data))
				}
			}
		}
	})
}

// TestTree holds the file system that extractors get to what package fs asks of one.
func TestTree(t *testing.T) {
	x := &index{entries: []entry{{path: "a/b", size: 3}, {path: "a/c/d", size: 5}, {path: "link", kind: symlink, link: "/a/c", mode: fs.ModeSymlink}, {path: "hard", kind: hardlink, link: "a/b"}}}
	x.sort()
	tr := &tree{layers: layers{x}, read: func(_ int, p string) (io.ReaderAt, func() error, error) { return inMemory([]byte(p)) }}
	if err := fstest.TestFS(sansLinks{tr}, "a/b", "a/c/d"); err != nil {
		t.Error(err)
	}
	for p, want := range map[string]string{"link/d": "a/c/d", "link/../c/d": "", "hard": "a/b", "../a/b": "", "/a/b": "", "link": "invalid"} {
		got, err := fs.ReadFile(tr, p)
		if string(got) != want && !(want == "invalid" && err != nil) {
			t.Errorf("%s: %q %v, want %q", p, got, err, want)
		}
	}
	if i, err := tr.Stat("hard"); err != nil || i.Size() != 3 || i.Name() != "hard" {
		t.Errorf("%v %v", i, err)
	}
}

// sansLinks leaves out the links, with which the test of package fs cannot do.
type sansLinks struct{ *tree }

func (s sansLinks) ReadDir(p string) ([]fs.DirEntry, error) {
	entries, err := s.tree.ReadDir(p)
	return slices.DeleteFunc(entries, func(d fs.DirEntry) bool { return d.Name() == "link" || d.Name() == "hard" }), err
}
func (s sansLinks) Open(p string) (fs.File, error) {
	f, err := s.tree.Open(p)
	if dir, ok := f.(*openFolder); ok {
		dir.entries = slices.DeleteFunc(dir.entries, func(d fs.DirEntry) bool { return d.Name() == "link" || d.Name() == "hard" })
	}
	return f, err
}

// FuzzDescriptions holds that manifests, lists and configurations that anybody wrote do no harm.
func FuzzDescriptions(f *testing.F) {
	m := &made{layers: [][]byte{nil}}
	f.Add([]byte(`{"manifests":[{"digest":"sha256:00","platform":{"os":"linux"}}]}`), []byte(`[{"Config":"a.json","Layers":["a/layer.tar"]}]`))
	f.Add(m.configuration(f), []byte(`{"config":{"digest":"sha256:00"},"layers":[{"size":-1}]}`))
	f.Fuzz(func(t *testing.T, index, saved []byte) {
		all := fakes{"index.json": index, "manifest.json": saved, "a.json": index}
		p, _ := parsePlatform("linux/amd64")
		r := &resolver{blobs: all, limit: 1 << 20, platform: p}
		i := &Image{options: options(), blobs: all}
		i.mask = maskNothing()
		found, d, _, err := r.offered(t.Context())
		if err != nil {
			return
		}
		if err := i.describe(t.Context(), found, d); err == nil {
			i.base = i.findBase()
			if i.base.Layers > len(i.Layers) {
				t.Errorf("%d layers of the base, %d in all", i.base.Layers, len(i.Layers))
			}
		}
	})
}

// FuzzLayer holds that a layer of any bytes gives clean paths, or an error.
func FuzzLayer(f *testing.F) {
	f.Add(tarOf(f, file{name: "a/b", data: "x"}, file{name: "../c", data: "y"}, file{name: "a/.wh.b"}, file{name: "l", sort: tar.TypeSymlink, link: "/x"}))
	f.Add(gz(f, tarOf(f, file{name: "./", sort: tar.TypeDir})))
	f.Add(zst(f, []byte("no tar")))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &Layer{DiffID: sum(data), blob: descriptor{Digest: sum(data)}}
		c := DefaultConfig()
		c.MaxUnpacked, c.MaxEntries = 1<<20, 100
		x, _ := readIndex(t.Context(), fakes{sum(data): data}, l, newAllowance(c), func(string, fs.FileInfo) bool { return true }, func(string, string) {})
		for _, e := range x.entries {
			if e.path != "." && !fs.ValidPath(e.path) && !strings.Contains(e.path, "\\") && !strings.ContainsFunc(e.path, func(r rune) bool { return r == '\uFFFD' }) || strings.HasPrefix(e.path, "..") && (e.path == ".." || e.path[2] == '/') || e.size < 0 {
				t.Errorf("%+v", e)
			}
		}
		for p := range maps.Keys(x.wanted) {
			if e, _, _ := x.find(p); e == nil {
				t.Errorf("%q is kept and not there", p)
			}
		}
	})
}

// FuzzInstruction holds that no entry of a history breaks a line or a terminal.
func FuzzInstruction(f *testing.F) {
	f.Add("RUN |1 A=b /bin/sh -c x # buildkit")
	f.Add("/bin/sh -c #(nop) ENV a=b")
	i := &Image{mask: maskNothing()}
	f.Fuzz(func(t *testing.T, s string) {
		if out := i.instruction(s); strings.ContainsAny(out, "\n\x1b\x00") || len(out) > 10*maxInstruction {
			t.Errorf("%q", out)
		}
	})
}

// TestSpool holds that what is spooled is what was read, up to the limit, in memory and in a file.
func TestSpool(t *testing.T) {
	for _, n := range []int{0, 1, memorySpool, memorySpool + 1, memorySpool + 5000} {
		data := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		s, err := newSpool(bytes.NewReader(data), t.TempDir(), int64(n))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(s.blob())
		if err != nil || !bytes.Equal(got, data) || (s.file != nil) != (n > memorySpool) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
		s.Close()
		if n == 0 {
			continue
		}
		dir := t.TempDir()
		if _, err := newSpool(bytes.NewReader(data), dir, int64(n-1)); err == nil {
			t.Errorf("%d bytes passed a limit of %d", n, n-1)
		}
		if _, err := newSpool(io.MultiReader(bytes.NewReader(data), failing{}), dir, 1<<30); !errors.Is(err, errTest) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if left, _ := fs.Glob(osDir(dir), "*"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

var errTest = errors.New("test")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errTest }
