package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strconv"
	"sync"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
)

const (
	// inFlight bounds the bytes of files that are read and not yet judged.
	inFlight = 64 << 20
	// maxFetches bounds how often a packed layer is read again for a file beside the one that is judged.
	maxFetches = 8
	// recordVersion changes when what records hold does.
	recordVersion = "1"
)

// Source returns the image's files, with the findings about how it is made.
func (i *Image) Source() scan.Source { return source{i} }

type source struct{ *Image }

// Files implements scan.Source.
func (s source) Files(ctx context.Context, v scan.Visitor) error {
	if s.root != nil {
		return s.rootFiles(ctx, v)
	}
	r := &reading{Image: s.Image, v: v, states: make([]state, len(s.Layers)), workers: s.options.Scan.Workers}
	if r.workers <= 0 {
		r.workers = runtime.GOMAXPROCS(0)
	}
	r.load()
	if err := r.list(ctx); err != nil {
		return err
	}
	if err := r.judge(ctx); err != nil {
		return err
	}
	r.save()
	r.merge(ctx)
	r.check(ctx)
	return ctx.Err()
}

// state is what is known of a layer.
type state struct {
	content  *content
	packages results
	known    bool // content is from the cache
	chained  bool // packages are
	broken   bool // the layer could not be read whole: nothing of it is kept
	unread   bool // or not at all
	fetches  int
}

// reading is one reading of an image.
type reading struct {
	*Image
	v       scan.Visitor
	workers int
	states  []state
	layers  layers
	trees   []*tree // for each layer, of it and those below: the same one for all its files, so that parts can remember it

	mu      sync.Mutex // guards results while layers are judged
	buffers sync.Pool  // of *[]byte: no part keeps what it was shown
}

// buffer returns so many bytes or more, used ones if there are.
func (r *reading) buffer(n int64) []byte {
	if b, ok := r.buffers.Get().(*[]byte); ok && int64(cap(*b)) >= n {
		return (*b)[:cap(*b)]
	}
	return make([]byte, n+n/4+512)
}

// judges names what the results depend on, beside the layer.
func (r *reading) judges() string {
	c := &r.options.Scan
	return recordVersion + "\n" + r.options.Judges + "\n" + strconv.FormatInt(int64(c.MaxFileSize), 10) + " " + strconv.FormatInt(int64(c.MaxArtifactSize), 10)
}

// load takes from the cache what is there.
func (r *reading) load() {
	r.cached = 0
	for n := range r.states {
		l, s := &r.Layers[n], &r.states[n]
		s.content = &content{index: &index{}, found: results{}}
		s.packages = results{}
		if data := r.options.Cache.get("content", r.judges(), l.DiffID); data != nil {
			if c, err := decodeContent(data); err == nil {
				s.content, s.known = c, true
			}
		}
		if data := r.options.Cache.get("packages", r.judges(), l.chain); data != nil {
			if p, err := decodeResults(data); err == nil {
				s.packages, s.chained = p, true
			}
		}
		if s.known && s.chained {
			r.cached++
		}
	}
}

// layerName names a layer in what was left out.
func (r *reading) layerName(n int) string {
	return fmt.Sprintf("layer %d of %d (%s)", n+1, len(r.Layers), r.Layers[n].DiffID)
}

// each calls do for the layers that it is to be called for, several at a time.
func (r *reading) each(which func(*state) bool, do func(n int)) {
	var all sync.WaitGroup
	free := make(chan struct{}, r.workers)
	for n := range r.states {
		if which(&r.states[n]) {
			free <- struct{}{}
			all.Go(func() {
				defer func() { <-free }()
				do(n)
			})
		}
	}
	all.Wait()
}

// list learns the names in the layers that are not known.
func (r *reading) list(ctx context.Context) error {
	a := newAllowance(r.options.Config)
	r.each(func(s *state) bool { return !s.known }, func(n int) {
		s := &r.states[n]
		x, err := readIndex(ctx, r.blobs, &r.Layers[n], a, r.v.Wants, s.content.leaveOut)
		s.content.index = x
		if err != nil && ctx.Err() == nil {
			s.broken = true
			why := scan.Unreadable
			if errors.Is(err, errDigest) {
				// It is not the layer that the image means: no runtime would unpack it.
				s.content.index, s.unread, why = &index{}, true, scan.Failed
			}
			s.unread = s.unread || len(x.entries) == 0
			r.v.Skip(why, r.layerName(n), err.Error())
		}
	})
	files := 0
	for n := range r.states {
		s := &r.states[n]
		r.layers = append(r.layers, s.content.index)
		r.trees = append(r.trees, r.tree(ctx, n))
		if s.known && s.chained || s.unread {
			continue
		}
		for k := range s.content.index.entries {
			if s.content.index.entries[k].kind == regular {
				files++
			}
		}
	}
	r.v.Found(files, true)
	return ctx.Err()
}

// judge offers the files of the layers that are not known.
func (r *reading) judge(ctx context.Context) error {
	jobs := make(chan job)
	room := newRoom(max(inFlight, int64(r.options.Scan.MaxFileSize)))
	var workers sync.WaitGroup
	for range r.workers {
		workers.Go(func() {
			for j := range jobs {
				r.offer(ctx, &j)
				room.give(int64(len(j.data)))
				r.buffers.Put(&j.buffer)
				j.done()
			}
		})
	}
	r.each(func(s *state) bool { return (!s.known || !s.chained) && !s.unread }, func(n int) {
		var pending sync.WaitGroup
		err := r.judgeLayer(ctx, n, func(j job) {
			pending.Add(1)
			j.done = pending.Done
			jobs <- j
		}, room)
		pending.Wait()
		if err != nil && ctx.Err() == nil {
			if !r.states[n].broken { // else it was said
				r.v.Skip(scan.Unreadable, r.layerName(n), err.Error())
			}
			r.states[n].broken = true
		}
	})
	close(jobs)
	workers.Wait()
	for n := range r.states {
		r.states[n].content.index.wanted = nil
	}
	return ctx.Err()
}

// job is a file to be judged.
type job struct {
	layer int
	entry *entry
	links []string // other names of the file
	data  []byte   // nil for what is larger than the limit
	large io.ReaderAt
	// buffer is what data is a part of.
	buffer []byte
	done   func()
}

// judgeLayer reads a layer and hands out its files. Large ones that somebody wants it offers itself, one at a time.
func (r *reading) judgeLayer(ctx context.Context, n int, hand func(job), room *room) error {
	x := r.states[n].content.index
	links := map[string][]string{}
	for k := range x.entries {
		if e := &x.entries[k]; e.kind == hardlink {
			links[e.link] = append(links[e.link], e.path)
		}
	}
	s, err := openLayer(ctx, r.blobs, &r.Layers[n], nil)
	if err != nil {
		return err
	}
	defer s.Close()
	left := len(x.entries) // no more than were counted, if the blob is another one by now
	for left > 0 {
		h, err := s.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		e, ok, _ := entryOf(h)
		if !ok {
			continue
		}
		left--
		if e.kind != regular {
			continue
		}
		j := job{layer: n, entry: &e, links: links[e.path]}
		if e.size > int64(r.options.Scan.MaxFileSize) {
			if err := r.large(ctx, s, h, j); err != nil {
				return err
			}
			continue
		}
		if !room.take(ctx, e.size) {
			return ctx.Err()
		}
		j.buffer = r.buffer(e.size)
		j.data = j.buffer[:e.size:e.size]
		if _, err := io.ReadFull(s.tar, j.data); err != nil {
			room.give(e.size)
			return fmt.Errorf("%s: %w", scan.Printable(e.path), err)
		}
		hand(j)
	}
	return nil
}

// large offers a file above the limit, if somebody wants it.
func (r *reading) large(ctx context.Context, s *stream, h *tar.Header, j job) error {
	limit := r.options.Scan.MaxFileSize
	wanted := r.v.Wants(j.entry.path, j.entry.info())
	for _, l := range j.links {
		wanted = wanted || r.v.Wants(l, j.entry.info())
	}
	if wanted {
		limit = r.options.Scan.MaxArtifactSize
	} else if c, ok := r.v.(scan.Chooser); ok && c.Passes(j.entry.path, j.entry.info()) {
		return nil
	}
	if !wanted || j.entry.size > int64(limit) {
		r.keep(j.layer, j.entry.path, scan.Result{Skips: []scan.LeftOut{{Why: scan.TooLarge, Path: j.entry.path, Count: 1,
			Reason: fmt.Sprintf("larger than the limit: %.1f MiB, the limit is %s", float64(j.entry.size)/float64(bytesize.MiB), limit)}}})
		return nil
	}
	at, ok := s.place(h)
	if !ok {
		spooled, err := newSpool(s.tar, "", j.entry.size)
		if err != nil {
			return fmt.Errorf("%s: %w", scan.Printable(j.entry.path), err)
		}
		defer spooled.Close()
		at = spooled.readerAt()
	}
	j.large = at
	r.offer(ctx, &j)
	return nil
}

// offer has a file judged by those who have not judged it yet.
func (r *reading) offer(ctx context.Context, j *job) {
	s := &r.states[j.layer]
	parts := scan.AllParts
	switch {
	case s.known:
		parts = scan.ExtractorsOnly
	case s.chained:
		parts = scan.ScannersOnly
	}
	r.offerAs(ctx, j, j.entry, parts)
	if s.chained {
		return
	}
	// Packages lie where they are named: a store of packages links the same file into many projects.
	for _, l := range j.links {
		if e, _, _ := s.content.index.find(l); e != nil && r.v.Wants(l, j.entry.info()) {
			linked := *j.entry
			linked.path = l
			r.offerAs(ctx, j, &linked, scan.ExtractorsOnly)
		}
	}
}

func (r *reading) offerAs(ctx context.Context, j *job, e *entry, parts scan.Parts) {
	f := &scan.File{Path: e.path, Name: e.path, Info: e.info(), Data: j.data, Content: j.large, FS: r.trees[j.layer], Layer: r.Layers[j.layer].DiffID,
		Only: parts, Take: func(result scan.Result) { r.keep(j.layer, e.path, result) }}
	if j.large == nil {
		f.Content, _, _ = inMemory(j.data)
		if f.Data == nil {
			f.Data = []byte{}
		}
	}
	r.v.File(ctx, f)
}

// keep takes what the parts said of a file.
func (r *reading) keep(n int, p string, result scan.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.states[n]
	if !s.known {
		s.content.found.add(p, part(result, false))
		s.content.counts.Add(result.Counts)
	}
	if !s.chained {
		s.packages.add(p, part(result, true))
	}
}

// save keeps what is new of layers that were read whole.
func (r *reading) save() {
	if r.options.Cache == nil {
		return
	}
	whole := true // packages depend on the layers below
	for n := range r.states {
		l, s := &r.Layers[n], &r.states[n]
		whole = whole && !s.broken
		if !s.known && !s.broken {
			if data, err := s.content.encode(); err == nil {
				r.options.Cache.put(data, "content", r.judges(), l.DiffID)
			}
		}
		if !s.chained && whole {
			if data, err := json.Marshal(s.packages.list()); err == nil {
				r.options.Cache.put(data, "packages", r.judges(), l.chain)
			}
		}
	}
	if whole {
		r.remember()
	}
}

// tree returns the files as they lie when the layers up to and with top are on each other.
func (r *reading) tree(ctx context.Context, top int) *tree {
	return &tree{layers: r.layers[:top+1], top: top, read: func(layer int, p string) (io.ReaderAt, func() error, error) { return r.fetch(ctx, layer, p) }}
}

var errOften = errors.New("the layer was read for single files too often")

// fetch returns the content of a file beside the one that is judged: what was kept, else the layer is read up to it.
func (r *reading) fetch(ctx context.Context, n int, p string) (io.ReaderAt, func() error, error) {
	x := r.layers[n]
	if data, ok := x.keep[p]; ok {
		return inMemory(data)
	}
	if data, ok := x.wanted[p]; ok {
		return inMemory(data)
	}
	s, err := openLayer(ctx, r.blobs, &r.Layers[n], nil)
	if err != nil {
		return nil, nil, err
	}
	if s.section == nil {
		r.mu.Lock()
		r.states[n].fetches++
		often := r.states[n].fetches > maxFetches
		r.mu.Unlock()
		if often {
			s.Close()
			return nil, nil, errOften
		}
	}
	for {
		h, err := s.tar.Next()
		if err != nil {
			s.Close()
			if errors.Is(err, io.EOF) {
				err = fs.ErrNotExist
			}
			return nil, nil, err
		}
		e, ok, _ := entryOf(h)
		if !ok || e.kind != regular || e.path != p {
			continue
		}
		if e.size > int64(r.options.Scan.MaxArtifactSize) {
			s.Close()
			return nil, nil, errTooMuch(int64(r.options.Scan.MaxArtifactSize))
		}
		if at, ok := s.place(h); ok {
			return at, func() error { s.Close(); return nil }, nil
		}
		spooled, err := newSpool(s.tar, "", e.size)
		s.Close()
		if err != nil {
			return nil, nil, err
		}
		return spooled.readerAt(), spooled.Close, nil
	}
}

// room bounds the bytes in flight.
type room struct {
	mu   sync.Mutex
	wake *sync.Cond
	free int64
	all  int64
}

func newRoom(n int64) *room {
	r := &room{free: n, all: n}
	r.wake = sync.NewCond(&r.mu)
	return r
}

// take waits for room. It is given back by workers that do not wait for any, so nothing hangs.
func (r *room) take(ctx context.Context, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.free < min(n, r.all) {
		r.wake.Wait()
	}
	if ctx.Err() != nil {
		return false
	}
	r.free -= n
	return true
}

func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	r.wake.Broadcast()
}
