package scan

import (
	"io/fs"
	"sync"
)

const (
	// batch is how many files of a folder make one job.
	batch = 64
	// maxQueued is how many files may wait before reading them comes before listing folders:
	// below it the listing runs ahead, so that the total is soon known.
	maxQueued = 20000
)

type dirJob struct {
	path  string
	depth int
	lists ignoreLists
	only  bool // what is tracked alone: git's ignore files leave the folder out
}

// fileJob is some files of one folder.
type fileJob struct {
	dir   string
	names []string
	// infos are what the listing knows of the names, where the visitor chooses by it; else nil.
	infos []fs.FileInfo
}

// queue hands out the folders to list and the files to read. It is over when both have run
// out and no worker is still listing.
type queue struct {
	mu      sync.Mutex
	wake    sync.Cond
	dirs    []dirJob // last in, first out, so that few wait
	files   []fileJob
	waiting int // files in files
	listing int // folders being listed
	closed  bool
}

func (q *queue) init() { q.wake.L = &q.mu }

func (q *queue) addDir(d dirJob) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dirs = append(q.dirs, d)
	q.wake.Signal()
}

func (q *queue) addFiles(f fileJob) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.files = append(q.files, f)
	q.waiting += len(f.names)
	q.wake.Signal()
}

// next returns a folder or files to work on, and false when all is done. After a folder
// the worker calls listed.
func (q *queue) next() (d dirJob, f fileJob, isDir, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.closed:
			return d, f, false, false
		case len(q.dirs) > 0 && (q.waiting < maxQueued || len(q.files) == 0):
			d = q.dirs[len(q.dirs)-1]
			q.dirs = q.dirs[:len(q.dirs)-1]
			q.listing++
			return d, f, true, true
		case len(q.files) > 0:
			f = q.files[len(q.files)-1]
			q.files = q.files[:len(q.files)-1]
			q.waiting -= len(f.names)
			return d, f, false, true
		case q.listing == 0:
			q.closed = true
			q.wake.Broadcast()
			return d, f, false, false
		}
		q.wake.Wait()
	}
}

func (q *queue) listed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.listing--
	q.wake.Broadcast()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Broadcast()
}

// complete reports whether there can be no more files.
func (q *queue) complete() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.dirs) == 0 && q.listing == 0
}
