package sealed

import (
	"cmp"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
)

// Config bounds the folder.
type Config struct {
	// MaxSize is what all sealed requests may take together; the oldest go first.
	MaxSize bytesize.Size `yaml:"max_size"`
}

// DefaultConfig returns the settings without a configuration file.
func DefaultConfig() Config { return Config{MaxSize: bytesize.GiB} }

// Validate says what in the settings makes no sense.
func (c *Config) Validate() error {
	if c.MaxSize < bytesize.MiB {
		return fmt.Errorf("max_size is %v: want 1MiB or more", c.MaxSize)
	}
	return nil
}

// MaxTime is how long a request may be kept.
const MaxTime = 7 * 24 * time.Hour

// The bounds of a box.
const (
	maxRequest  = 17 << 20 // of one request
	maxSegment  = 8 << 20  // a file is closed beyond that
	stretch     = 5 * time.Minute
	maxWaiting  = 512      // requests that wait for the disk
	maxHeld     = 32 << 20 // and their bytes
	sweepEvery  = 30 * time.Second
	complainGap = time.Minute
)

// Options are what a box is given. All may be left out.
type Options struct {
	Logger  *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Box takes requests and keeps them sealed. It is safe for concurrent use.
type Box struct {
	dir    string
	max    int64
	master cipher.AEAD
	log    *slog.Logger
	now    func() time.Time

	queue chan entry
	held  atomic.Int64

	mu       sync.Mutex // of what follows, and of the folder
	segments []segment  // the oldest first
	size     int64
	open     map[time.Duration]*writer // by how long they keep
	days     map[string]cipher.AEAD
	told     time.Time // of a fault

	kept, dropped, evicted *prometheus.CounterVec
}

type entry struct {
	id   signal.ID
	keep time.Duration
	text []byte
}

// segment is one file.
type segment struct {
	day   string
	name  string
	start int64 // Unix seconds
	keep  int64 // seconds
	size  int64
}

func (s *segment) until() time.Time { return time.Unix(s.start+s.keep, 0) }

// over reports whether it is not to be there any more: its time is over, or lies in a future that no clock has come to.
func (s *segment) over(now time.Time) bool {
	return !now.Before(s.until()) || s.start > now.Unix()+int64(MaxTime/time.Second)
}

func (s *segment) path(dir string) string { return filepath.Join(dir, s.day, s.name) }

// writer is a segment that is being written.
type writer struct {
	segment
	file *os.File
	aead cipher.AEAD
}

// Open opens a folder, which it makes if it is missing, as well as the master key. What is over its time is removed.
func Open(dir, keyFile string, cfg Config, o Options) (*Box, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	master, err := masterKey(keyFile, true)
	if err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	b := &Box{dir: dir, max: int64(cfg.MaxSize), master: master, log: o.Logger, now: o.Now, queue: make(chan entry, maxWaiting), open: map[time.Duration]*writer{}, days: map[string]cipher.AEAD{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.segments, err = list(dir); err != nil {
		return nil, fmt.Errorf("sealed: %w", err)
	}
	for i := range b.segments {
		b.size += b.segments[i].size
	}
	b.kept = counter("testudo_sealed_kept_total", "Requests that were kept sealed.")
	b.dropped = counter("testudo_sealed_lost_total", "Requests that were to be kept sealed and are not, by reason.", "reason")
	b.evicted = counter("testudo_sealed_evicted_bytes_total", "Bytes of sealed requests that were removed before their time, because the folder was full.")
	if o.Metrics != nil {
		size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "testudo_sealed_bytes", Help: "Bytes of sealed requests."}, func() float64 {
			b.mu.Lock()
			defer b.mu.Unlock()
			return float64(b.size)
		})
		for _, c := range []prometheus.Collector{b.kept, b.dropped, b.evicted, size} {
			if err := o.Metrics.Register(c); err != nil {
				return nil, err
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep()
	return b, nil
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Keep takes a request to be kept for some time from now on. It waits for nothing: what does not fit into memory is dropped and counted. The request is not
// changed any more by who gave it.
func (b *Box) Keep(id signal.ID, keep time.Duration, request []byte) {
	if keep <= 0 {
		return
	}
	n := int64(len(request))
	if n > maxRequest {
		b.lost("size")
		return
	}
	if b.held.Add(n) > maxHeld {
		b.held.Add(-n)
		b.lost("busy")
		return
	}
	select {
	case b.queue <- entry{id, min(keep, MaxTime), request}:
	default:
		b.held.Add(-n)
		b.lost("busy")
	}
}

func (b *Box) lost(reason string) { b.dropped.WithLabelValues(reason).Inc() }

// Run seals what is taken, and removes what is over its time, until ctx ends; then it seals what waits.
func (b *Box) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer b.close()
	for {
		select {
		case e := <-b.queue:
			b.put(e)
		case <-tick.C:
			b.mu.Lock()
			b.sweep()
			b.mu.Unlock()
		case <-ctx.Done():
			for {
				select {
				case e := <-b.queue:
					b.put(e)
				default:
					return nil
				}
			}
		}
	}
}

func (b *Box) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for keep := range b.open {
		b.shut(keep)
	}
}

// put seals one request. A disk that is full costs that request, and is said once a minute.
func (b *Box) put(e entry) {
	b.held.Add(-int64(len(e.text)))
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.write(e); err != nil {
		if errors.Is(err, errFull) {
			b.lost("full")
		} else {
			b.lost("disk")
		}
		if now := b.now(); now.Sub(b.told) >= complainGap {
			b.told = now
			b.log.Error("a request could not be kept sealed; it was served all the same", "error", err)
		}
		return
	}
	b.kept.WithLabelValues().Inc()
}

func (b *Box) write(e entry) error {
	w, err := b.writer(e.keep)
	if err != nil {
		return err
	}
	record := seal(w.aead, &w.segment, e.id, e.text)
	if !b.room(int64(len(record)), w) {
		return errFull
	}
	n, err := w.file.Write(record)
	if err != nil {
		// What was written of it would hide what comes behind: the file ends before it.
		if n > 0 && w.file.Truncate(w.size) != nil {
			w.size += int64(n)
			b.size += int64(n)
		}
		b.shut(e.keep)
		return err
	}
	w.size += int64(n)
	b.size += int64(n)
	return nil
}

// writer returns the file that takes requests which are kept so long.
func (b *Box) writer(keep time.Duration) (*writer, error) {
	now := b.now().UTC()
	day := now.Format(time.DateOnly)
	keep = keep.Truncate(time.Second)
	if w := b.open[keep]; w != nil {
		if w.day == day && w.size < min(maxSegment, b.max/4) && now.Sub(time.Unix(w.start, 0)) < min(stretch, keep/10+time.Second) && !now.Before(time.Unix(w.start, 0)) {
			return w, nil
		}
		b.shut(keep)
	}
	aead, err := b.dayKey(day)
	if err != nil {
		return nil, err
	}
	w := &writer{segment: segment{day: day, start: now.Unix(), keep: int64(keep / time.Second)}, aead: aead}
	for number := range 10_000 {
		w.name = fmt.Sprintf("%d-%d-%d%s", w.start, w.keep, number, suffix)
		if w.file, err = os.OpenFile(w.path(b.dir), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	b.open[keep] = w
	return w, nil
}

// shut closes a file.
func (b *Box) shut(keep time.Duration) {
	w := b.open[keep]
	if w == nil {
		return
	}
	delete(b.open, keep)
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		b.log.Warn("a file of sealed requests may lack its end", "file", w.day+"/"+w.name, "error", err)
	}
	b.segments = append(b.segments, w.segment)
}

// dayKey returns the key of a day, made where there is none.
func (b *Box) dayKey(day string) (cipher.AEAD, error) {
	path := filepath.Join(b.dir, day, dayKeyName)
	if _, err := os.Stat(path); err == nil && b.days[day] != nil {
		return b.days[day], nil
	}
	clear(b.days) // of days before, or a key that was destroyed
	if err := os.MkdirAll(filepath.Join(b.dir, day), 0o700); err != nil {
		return nil, err
	}
	aead, err := openDay(path, day, b.master)
	if errors.Is(err, fs.ErrNotExist) {
		aead, err = makeDay(path, day, b.master)
	}
	if err != nil {
		return nil, err
	}
	b.days[day] = aead
	return aead, nil
}

var errFull = errors.New("it is larger than all sealed requests may be together (sealed.max_size), or what is in their folder cannot be removed")

// room removes the oldest files until so much more fits, those that are still being written last, but for the one that it is for. It reports whether it fits.
func (b *Box) room(more int64, but *writer) bool {
	if but.size+more > b.max {
		return false // nothing goes for what does not fit anyway
	}
	for i := 0; b.size+more > b.max; {
		if i == len(b.segments) && !b.shutOldest(but) {
			return false
		}
		if size := b.segments[i].size; b.remove(i) {
			b.evicted.WithLabelValues().Add(float64(size))
		} else {
			i++
		}
	}
	return true
}

// shutOldest closes the file that was begun first, of all that are being written but one.
func (b *Box) shutOldest(but *writer) bool {
	var oldest *writer
	for _, w := range b.open {
		if w != but && (oldest == nil || w.start < oldest.start) {
			oldest = w
		}
	}
	if oldest == nil {
		return false
	}
	b.shut(time.Duration(oldest.keep) * time.Second)
	return true
}

// sweep removes what is over its time, and keys that nothing is sealed with any more.
func (b *Box) sweep() {
	now := b.now()
	for keep, w := range b.open {
		if !now.Before(w.until()) || now.Sub(time.Unix(w.start, 0)) >= stretch {
			b.shut(keep)
		}
	}
	for i := len(b.segments) - 1; i >= 0; i-- {
		if b.segments[i].over(now) {
			b.remove(i)
		}
	}
	days, err := os.ReadDir(b.dir)
	if err != nil {
		return
	}
	today := now.UTC().Format(time.DateOnly)
	for _, d := range days {
		if name := d.Name(); isDay(name) && name != today && !b.uses(name, now) {
			delete(b.days, name)
			_ = os.Remove(filepath.Join(b.dir, name, dayKeyName))
			_ = os.Remove(filepath.Join(b.dir, name)) // stays where something else is in it
		}
	}
}

// uses reports whether something of a day may still be read. What could not be removed is not that: the key goes all the same.
func (b *Box) uses(day string, now time.Time) bool {
	for _, w := range b.open {
		if w.day == day {
			return true
		}
	}
	return slices.ContainsFunc(b.segments, func(s segment) bool { return s.day == day && !s.over(now) })
}

// remove removes a file. One that cannot be removed is tried again at the next sweep, and told of once a minute.
func (b *Box) remove(i int) bool {
	s := b.segments[i]
	if err := os.Remove(s.path(b.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		if now := b.now(); now.Sub(b.told) >= complainGap {
			b.told = now
			b.log.Error("sealed requests could not be removed: it is tried again", "file", s.day+"/"+s.name, "error", err)
		}
		return false
	}
	b.size -= s.size
	b.segments = slices.Delete(b.segments, i, i+1)
	return true
}

// Usage is what a folder holds.
type Usage struct {
	Bytes  int64
	Oldest time.Time // zero where there is nothing
}

// Look says what a folder holds, without opening anything in it.
func Look(dir string) (Usage, error) {
	all, err := list(dir)
	var u Usage
	for i := range all {
		u.Bytes += all[i].size
		if at := time.Unix(all[i].start, 0); u.Oldest.IsZero() || at.Before(u.Oldest) {
			u.Oldest = at
		}
	}
	return u, err
}

const (
	suffix     = ".sealed"
	dayKeyName = "key"
)

func isDay(name string) bool {
	_, err := time.Parse(time.DateOnly, name)
	return err == nil
}

// list returns the files of a folder, the oldest first. What is not one of ours is passed over.
func list(dir string) ([]segment, error) {
	var all []segment
	days, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range days {
		if !d.IsDir() || !isDay(d.Name()) {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			s, ok := parseName(f.Name())
			info, err := f.Info()
			if !ok || err != nil || !info.Mode().IsRegular() {
				continue
			}
			s.day, s.size = d.Name(), info.Size()
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b segment) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.name, b.name)) })
	return all, nil
}

// parseName reads START-SECONDS-NUMBER.sealed.
func parseName(name string) (segment, bool) {
	s := segment{name: name}
	var number int64
	if n, err := fmt.Sscanf(name, "%d-%d-%d"+suffix, &s.start, &s.keep, &number); err != nil || n != 3 || s.keep <= 0 || s.keep > int64(MaxTime/time.Second) || s.start < 0 {
		return s, false
	}
	return s, name == strconv.FormatInt(s.start, 10)+"-"+strconv.FormatInt(s.keep, 10)+"-"+strconv.FormatInt(number, 10)+suffix
}
