package procwatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Options says how a host is watched.
type Options struct {
	Root    string        // where the host's /proc is; "" for "/"
	Poll    time.Duration // pause between two looks at /proc; 0 for a second. It grows where a look takes long
	Watches int           // folders that inotify watches at most; 0 for 8192
	// NoConnector leaves the process connector alone, as without the privilege for it.
	NoConnector bool
	Log         *slog.Logger // nil: nothing is logged
}

// Watcher sees processes and files. Its methods are safe for concurrent use, but for Run, which is called once between Open and Close.
type Watcher struct {
	opts Options
	log  *slog.Logger

	mu     sync.Mutex
	conn   int   // of the process connector, -1 for none
	connEr error // why there is none
	files  *watches
	fileEr error

	telling sync.Mutex // one record at a time; guards reader, known and batch
	reader  *process.Reader
	known   map[uint32]program
	batch   []byte

	records, bytes, gone, overrun atomic.Uint64
}

// program is what a process was last seen to run.
type program struct {
	start uint64
	exe   string
}

// maxKnown bounds the processes that are remembered. Linux has at most 2^22.
const maxKnown = 1 << 17

// New returns a watcher. It opens nothing.
func New(o Options) *Watcher {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Watches <= 0 {
		o.Watches = 8192
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{opts: o, log: o.Log, conn: -1, known: map[uint32]program{}}
}

// Open opens what this kernel, and the privileges, allow. An error says that there is not even /proc.
func (w *Watcher) Open(ctx context.Context) error {
	if _, err := os.ReadFile(filepath.Join(w.opts.Root, "proc/self/stat")); err != nil {
		return fmt.Errorf("processes: %w: mount proc there", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reader = process.NewReader(w.opts.Root)
	w.connEr = errors.New("it is not asked for")
	if !w.opts.NoConnector {
		w.conn, w.connEr = listen()
	}
	w.files, w.fileEr = newWatches(w.opts.Watches)
	w.look(ctx, nil) // what runs already is told of by others; what begins from now on is told of here, whenever Run is called
	return nil
}

// Close gives back what Open took.
func (w *Watcher) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn >= 0 {
		_ = unix.Close(w.conn)
		w.conn = -1
	}
	if w.files != nil {
		w.files.close()
		w.files = nil
	}
	return nil
}

// Watch sets which files matter. What inotify cannot watch is in the status.
func (w *Watcher) Watch(_ context.Context, want kernel.Interest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files != nil {
		w.files.set(&want)
	}
	return nil
}

// Run tells of what happens until ctx ends. The batch is receive's until it returns.
func (w *Watcher) Run(ctx context.Context, receive func(batch []byte)) error {
	w.mu.Lock()
	conn, files := w.conn, w.files
	w.mu.Unlock()
	var wait sync.WaitGroup
	defer wait.Wait()
	if files != nil {
		wait.Go(func() { files.run(ctx, func(path string) { w.changed(path, receive) }) })
	}
	if conn >= 0 {
		w.connected(ctx, conn, receive)
		return nil
	}
	w.poll(ctx, receive)
	return nil
}

// share is how much of a processor looking at /proc may take: one part in so many.
const share = 20

// slowest bounds how much longer a pause becomes.
const slowest = 10

// poll looks at /proc again and again.
func (w *Watcher) poll(ctx context.Context, receive func([]byte)) {
	for pause := w.opts.Poll; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		w.look(ctx, receive)
		pause = min(max(w.opts.Poll, share*time.Since(began)), slowest*w.opts.Poll)
	}
}

// look compares /proc with what is known, and tells of what is new or gone; nil tells of nothing.
func (w *Watcher) look(ctx context.Context, receive func([]byte)) {
	dir, err := os.Open(filepath.Join(w.opts.Root, "proc"))
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	_ = dir.Close()
	w.telling.Lock()
	defer w.telling.Unlock()
	there := make(map[uint32]bool, len(names))
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil || n == 0 {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		pid := uint32(n)
		start, exe, ok := w.reader.Look(pid)
		if !ok {
			continue
		}
		there[pid] = true
		is, was := program{start, exe}, w.known[pid]
		if is == was {
			continue
		}
		if was.start != 0 && was.start != start {
			w.ended(pid, 0, receive)
		}
		w.ran(pid, record.KindExec, receive)
	}
	for pid := range w.known {
		if !there[pid] {
			w.ended(pid, 0, receive)
		}
	}
	w.flush(receive)
}

// ran tells of a process by what /proc has of it. telling is held.
func (w *Watcher) ran(pid uint32, kind record.Kind, receive func([]byte)) {
	start, exe, ok := w.reader.Look(pid)
	if !ok {
		w.gone.Add(1)
		return
	}
	if len(w.known) < maxKnown || w.known[pid].start != 0 {
		w.known[pid] = program{start, exe}
	}
	if receive == nil {
		return
	}
	r, ok := w.reader.Read(pid)
	if !ok {
		w.gone.Add(1)
		return
	}
	r.Kind = kind
	r.Flags &^= record.FlagSeeded
	w.put(r, receive)
}

// ended tells of a process that is no more. telling is held.
func (w *Watcher) ended(pid uint32, status int64, receive func([]byte)) {
	was, ok := w.known[pid]
	if !ok {
		return
	}
	delete(w.known, pid)
	if receive != nil {
		w.put(&record.Record{Kind: record.KindExit, Time: now(), Start: was.start, PID: pid, TID: pid, Ret: status}, receive)
	}
}

// batchSize is when records are handed on.
const batchSize = 64 << 10

// put adds a record to the batch. telling is held.
func (w *Watcher) put(r *record.Record, receive func([]byte)) {
	w.batch = r.Append(w.batch)
	w.records.Add(1)
	if len(w.batch) > batchSize {
		w.flush(receive)
	}
}

func (w *Watcher) flush(receive func([]byte)) {
	if len(w.batch) == 0 || receive == nil {
		return
	}
	w.bytes.Add(uint64(len(w.batch)))
	receive(w.batch)
	w.batch = w.batch[:0]
}

// changed tells of a file, without who changed it.
func (w *Watcher) changed(path string, receive func([]byte)) {
	w.telling.Lock()
	defer w.telling.Unlock()
	r := record.Record{Kind: record.KindChange, Time: now(), LoginUID: record.NoLogin, Path: []byte(path)}
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil {
		r.HasInode = true
		r.Inode = record.Inode{Device: uint64(unix.Major(uint64(st.Dev)))<<32 | uint64(unix.Minor(uint64(st.Dev))), Number: st.Ino, Size: st.Size, Modified: st.Mtim.Nano(),
			Changed: st.Ctim.Nano(), Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink)}
	}
	w.put(&r, receive)
	w.flush(receive)
}

// now is the clock of records.
func now() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano())
}

// Status says what is seen, and what is not.
func (w *Watcher) Status() (kernel.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	st := kernel.Status{Kernel: unix.ByteSliceToString(uts.Release[:]), Mode: "procwatch", Records: w.records.Load(), Bytes: w.bytes.Load(),
		Lost: map[record.Kind]uint64{}}
	if n := w.gone.Load() + w.overrun.Load(); n > 0 {
		st.Lost[record.KindExec] = n
	}
	connector := kernel.Feature{Name: "process connector", OK: w.conn >= 0, Detail: "starts and ends of processes, completed from /proc"}
	if w.conn < 0 {
		connector.Detail = fmt.Sprintf("%v; /proc is looked at every %v instead", w.connEr, w.opts.Poll)
		connector.Cost = "processes that live shorter than that are not seen; without privileges, only those of this user in full"
		connector.Mend = "run testudo as root, in the PID and network namespaces of the host, on a kernel with CONFIG_PROC_EVENTS"
	}
	files := kernel.Feature{Name: "inotify", OK: w.files != nil, Detail: "files that are written or changed, without who did it"}
	if w.files == nil {
		files.Detail, files.Cost, files.Mend = fmt.Sprint(w.fileEr), "changed files are not seen as they change", "raise fs.inotify.max_user_instances"
	} else {
		n, missing := w.files.count()
		files.Detail = fmt.Sprintf("%d folders are watched for files that are written or changed, without who did it", n)
		if missing != "" {
			files.OK, files.Cost, files.Mend = false, missing, "raise fs.inotify.max_user_watches; names anywhere take eBPF"
		}
	}
	st.Features = append(st.Features, connector, files,
		kernel.Feature{Name: "system calls", Detail: "they take eBPF", Cost: "rules over connections, name lookups, opened files, credentials, namespaces and mounts never fire; requests are not followed",
			Mend: "Linux 5.8 or newer with BTF, and root"})
	return st, nil
}
