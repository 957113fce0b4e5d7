package lake

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

const (
	tempPrefix    = ".new-" // files that are being written
	suffix        = ".parquet"
	formatKey     = "testudo.lake" // in the files' metadata
	formatVersion = "1"
	maxComplaints = 100 // damaged files that are logged; more are only counted
)

// Lake is a directory of event files. It is safe for concurrent use. It fits store.Lake.
type Lake struct {
	dir    string
	cfg    Config
	log    *slog.Logger
	layout *layout

	mu      sync.Mutex
	folders map[store.Partition][]*file // by first sequence
	learned map[signal.Class]groupSet   // groups that files of the class had
	damaged map[string]string           // file below dir -> what is wrong
	gaps    []storedGap
	gapsTo  uint64
	stats   Stats
}

// file is a committed file. Fields below mu belong to Lake.mu.
type file struct {
	path        string // below Lake.dir
	part        store.Partition
	first, last uint64
	size        int64

	views int  // views that may read it
	gone  bool // to be removed when no view reads it
}

// Stats counts what the lake holds and did since Open.
type Stats struct {
	Files, Folders int
	Bytes          int64
	Written        uint64 // files committed
	Rows           uint64 // events committed
	Compacted      uint64 // files joined into larger ones
	Expired        uint64 // files deleted by retention
	ExpiredBytes   uint64
	Damaged        int // files that could not be read
}

// Open reads the directory, which it makes if it is missing, and removes what a crash left
// unfinished. It reads names only, so it is fast however much the lake holds.
func Open(dir string, cfg Config, log *slog.Logger) (*Lake, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	l := &Lake{
		dir: dir, cfg: cfg, log: log, layout: newLayout(),
		folders: make(map[store.Partition][]*file),
		learned: make(map[signal.Class]groupSet),
		damaged: make(map[string]string),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	classes, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	for _, c := range classes {
		if !c.IsDir() || !strings.HasPrefix(c.Name(), "class=") {
			continue
		}
		hours, err := os.ReadDir(filepath.Join(dir, c.Name()))
		if err != nil {
			return nil, fmt.Errorf("lake: %w", err)
		}
		for _, h := range hours {
			p, err := store.ParsePartition(c.Name() + "/" + h.Name())
			if err != nil || !h.IsDir() {
				log.Warn("the lake holds something that testudo did not write; it is left alone", "path", filepath.Join(dir, c.Name(), h.Name()))
				continue
			}
			if err := l.openFolder(p); err != nil {
				return nil, fmt.Errorf("lake: %w", err)
			}
		}
	}
	if err := l.openGaps(); err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	return l, nil
}

func (l *Lake) openFolder(p store.Partition) error {
	dir := filepath.Join(l.dir, p.String())
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var files []*file
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, tempPrefix) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				// A read-only lake still reads.
				l.log.Warn("a file that a crash left unfinished stays", "path", filepath.Join(dir, name), "error", err)
			}
			continue
		}
		first, last, ok := parseName(name)
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if !ok || err != nil || !info.Mode().IsRegular() {
			l.log.Warn("the lake holds something that testudo did not write; it is left alone", "path", filepath.Join(dir, name))
			continue
		}
		files = append(files, &file{path: filepath.Join(p.String(), name), part: p, first: first, last: last, size: info.Size()})
	}
	// The widest file first among those that begin together: the others are what
	// a compaction joined into it before it could remove them.
	slices.SortFunc(files, func(a, b *file) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last)) })
	kept := files[:0]
	for _, f := range files {
		if n := len(kept); n > 0 && f.last <= kept[n-1].last {
			if err := os.Remove(filepath.Join(l.dir, f.path)); err != nil {
				l.log.Warn("a file that was compacted into another stays, unread", "path", f.path, "error", err)
			}
			continue
		}
		kept = append(kept, f)
	}
	if len(kept) > 0 {
		l.folders[p] = kept
	}
	return nil
}

func fileName(first, last uint64) string { return fmt.Sprintf("%012d-%012d%s", first, last, suffix) }

func parseName(name string) (first, last uint64, ok bool) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0, 0, false
	}
	a, b, _ := strings.Cut(base, "-")
	first, err1 := strconv.ParseUint(a, 10, 64)
	last, err2 := strconv.ParseUint(b, 10, 64)
	return first, last, err1 == nil && err2 == nil && first > 0 && first <= last
}

// Held returns the last batch sequence that the partition's files hold, 0 for none.
func (l *Lake) Held(p store.Partition) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return held(l.folders[p])
}

func held(files []*file) uint64 {
	if len(files) == 0 {
		return 0
	}
	return files[len(files)-1].last
}

// LastSequence returns the last batch sequence that any file holds. The bus must
// not hand out a lower one again.
func (l *Lake) LastSequence() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.gapsTo
	for _, files := range l.folders {
		last = max(last, held(files))
	}
	return last
}

// Stats returns what the lake holds and did.
func (l *Lake) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Folders, s.Damaged = len(l.folders), len(l.damaged)
	for _, files := range l.folders {
		s.Files += len(files)
		for _, f := range files {
			s.Bytes += f.size
		}
	}
	return s
}

// Health names the damaged files, or returns nil.
func (l *Lake) Health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, reason := range l.damaged {
		return fmt.Errorf("%d damaged lake files are skipped, among them %s: %s: restore it from a copy or move it away",
			len(l.damaged), filepath.Join(l.dir, path), reason)
	}
	return nil
}

// markDamaged remembers that a file cannot be read, however many these are: who goes around
// damaged files must come to an end.
func (l *Lake) markDamaged(f *file, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.damaged[f.path]; known {
		return
	}
	l.damaged[f.path] = err.Error()
	if len(l.damaged) > maxComplaints {
		return
	}
	l.log.Error("a lake file cannot be read and is skipped", "path", filepath.Join(l.dir, f.path), "error", err)
}

func (l *Lake) isDamaged(f *file) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, is := l.damaged[f.path]
	return is
}

// learn returns the groups that a new file of the class should have beside those it needs.
func (l *Lake) learn(c signal.Class, need groupSet) groupSet {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := union(l.learned[c], need)
	l.learned[c] = all
	return all
}

// commit puts a file that was renamed into the index.
func (l *Lake) commit(f *file, rows int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.folders[f.part] = append(l.folders[f.part], f)
	l.stats.Written++
	l.stats.Rows += uint64(rows)
}

// remove deletes a file that is no longer in the index as soon as no view reads it. It is
// called with mu held.
func (l *Lake) remove(f *file) {
	f.gone = true
	if f.views == 0 {
		l.unlink(f)
	}
}

func (l *Lake) unlink(f *file) {
	if err := os.Remove(filepath.Join(l.dir, f.path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("a lake file that is no longer needed stays", "path", f.path, "error", err)
	}
	delete(l.damaged, f.path)
}
