package procwatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// watches are folders that inotify watches.
type watches struct {
	fd   int
	most int

	mu      sync.Mutex
	want    kernel.Paths
	byID    map[int]string
	byPath  map[string]int
	left    int    // folders beyond the limit
	unnamed bool   // some of what is wanted is a name anywhere
	failed  string // why a folder could not be watched
}

const changeMask = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_ATTRIB | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK

func newWatches(most int) (*watches, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &watches{fd: fd, most: most, byID: map[int]string{}, byPath: map[string]int{}}, nil
}

func (w *watches) close() { _ = unix.Close(w.fd) }

// set makes these the files that matter.
func (w *watches) set(i *kernel.Interest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.byID {
		_, _ = unix.InotifyRmWatch(w.fd, uint32(id))
	}
	clear(w.byID)
	clear(w.byPath)
	w.left, w.unnamed, w.failed = 0, false, ""
	w.want = kernel.Paths{}
	for _, p := range []*kernel.Paths{&i.Writes, &i.Changes} {
		w.want.Exact = append(w.want.Exact, p.Exact...)
		w.want.Prefix = append(w.want.Prefix, p.Prefix...)
		w.unnamed = w.unnamed || p.All || len(p.Name)+len(p.Part)+len(p.End) > 0
	}
	for _, name := range w.want.Exact {
		w.add(filepath.Dir(name))
	}
	for _, prefix := range w.want.Prefix {
		if dir, ok := strings.CutSuffix(prefix, "/"); ok && dir != "" {
			w.tree(dir)
			continue
		}
		parent := filepath.Dir(prefix)
		w.add(parent)
		all, _ := os.ReadDir(parent)
		for _, e := range all {
			if at := filepath.Join(parent, e.Name()); e.IsDir() && strings.HasPrefix(at, prefix) {
				w.tree(at)
			}
		}
	}
}

// tree watches a folder and those below it. The lock is held.
func (w *watches) tree(dir string) {
	if !w.add(dir) {
		return
	}
	all, _ := os.ReadDir(dir)
	for _, e := range all {
		if e.IsDir() {
			w.tree(filepath.Join(dir, e.Name()))
		}
	}
}

// add watches one folder. The lock is held.
func (w *watches) add(dir string) bool {
	if _, ok := w.byPath[dir]; ok {
		return true
	}
	if len(w.byID) >= w.most {
		w.left++
		return false
	}
	id, err := unix.InotifyAddWatch(w.fd, dir, changeMask)
	if err != nil {
		if err == unix.ENOSPC {
			w.left++
		} else if err != unix.ENOENT && err != unix.ENOTDIR && w.failed == "" {
			w.failed = err.Error()
		}
		return false
	}
	w.byID[id], w.byPath[dir] = dir, id
	return true
}

// count returns how many folders are watched, and what is not.
func (w *watches) count() (n int, missing string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []string
	if w.left > 0 {
		parts = append(parts, fmt.Sprintf("at least %d folders are beyond the limit of %d", w.left, w.most))
	}
	if w.failed != "" {
		parts = append(parts, "some folders cannot be watched ("+w.failed+")")
	}
	if w.unnamed {
		parts = append(parts, "files that rules want by name alone are not seen")
	}
	return len(w.byID), strings.Join(parts, "; ")
}

// run tells of files that change until ctx ends.
func (w *watches) run(ctx context.Context, tell func(path string)) {
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		if ready, err := wait(w.fd, each); err != nil {
			return
		} else if !ready {
			continue
		}
		n, err := unix.Read(w.fd, buf)
		if err != nil || n <= 0 {
			continue
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			id, mask, size := int(int32(binary.NativeEndian.Uint32(b))), binary.NativeEndian.Uint32(b[4:]), int(binary.NativeEndian.Uint32(b[12:]))
			if len(b) < unix.SizeofInotifyEvent+size {
				break
			}
			name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			b = b[unix.SizeofInotifyEvent+size:]
			if path, ok := w.seen(id, mask, name); ok {
				tell(path)
			}
		}
	}
}

// seen takes an event, and returns the file that it is about, false for one that does not matter.
func (w *watches) seen(id int, mask uint32, name string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir, ok := w.byID[id]
	if !ok {
		return "", false
	}
	if mask&unix.IN_IGNORED != 0 {
		delete(w.byID, id)
		delete(w.byPath, dir)
		return "", false
	}
	path := dir
	if name != "" {
		path = filepath.Join(dir, name)
	}
	if mask&unix.IN_ISDIR != 0 && mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 && w.want.Has(path+"/") {
		w.tree(path)
	}
	return path, w.want.Has(path)
}
