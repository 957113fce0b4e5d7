package sealed

import (
	"bufio"
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// ErrNotKept says that there is no such request, or no more.
var ErrNotKept = errors.New("the request is not kept")

// Damage is a file that cannot be read as it was written, or its key.
type Damage struct {
	File string // in the folder, as in 2006-01-02/1136214245-3600-0.sealed
	What string
}

func (d *Damage) Error() string { return "sealed/" + d.File + ": " + d.What }

// Reader opens sealed requests. It knows those that were there when it was made. It is for one goroutine.
type Reader struct {
	dir      string
	now      func() time.Time
	master   cipher.AEAD
	segments []segment
	at       []place // by id
	days     map[string]cipher.AEAD
	faults   map[string]error // of days
	damaged  []*Damage
	file     *os.File // that was read last
	opened   int
}

// place is where a record stands.
type place struct {
	id      signal.ID
	segment int32
	offset  int64
	size    uint32
}

// maxPlaces bounds the records that a reader knows: the newest.
const maxPlaces = 2_000_000

// NewReader looks for what a folder holds. Where there is no folder, or no key, it holds nothing. What is over its time is not opened, though nobody may have run
// to remove it. A now of nil is time.Now.
func NewReader(ctx context.Context, dir, keyFile string, now func() time.Time) (*Reader, error) {
	if now == nil {
		now = time.Now
	}
	r := &Reader{dir: dir, now: now, days: map[string]cipher.AEAD{}, faults: map[string]error{}, opened: -1}
	all, err := list(dir)
	r.segments = slices.DeleteFunc(all, func(s segment) bool { return s.over(now()) })
	if err != nil || len(r.segments) == 0 {
		return r, err
	}
	if r.master, err = masterKey(keyFile, false); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		r.damaged = append(r.damaged, &Damage{"", "the master key is gone: what is sealed cannot be read any more"})
		r.segments = nil
		return r, nil
	}
	for i := len(r.segments) - 1; i >= 0 && len(r.at) < maxPlaces; i-- {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.index(i)
	}
	slices.SortFunc(r.at, func(a, b place) int { return bytes.Compare(a.id[:], b.id[:]) })
	return r, nil
}

// index notes where the records of a file stand.
func (r *Reader) index(i int) {
	s := &r.segments[i]
	f, err := os.Open(s.path(r.dir))
	if err != nil {
		return // removed meanwhile
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 64<<10)
	offset := int64(0)
	for len(r.at) < maxPlaces {
		var head [headSize]byte
		if _, err := io.ReadFull(in, head[:]); err == io.EOF {
			return
		} else if err != nil {
			r.cut(s, f)
			return
		}
		size := binary.BigEndian.Uint32(head[:])
		if size < 16+nonceSize+tagSize || size > 16+nonceSize+tagSize+maxRequest {
			r.damaged = append(r.damaged, &Damage{s.day + "/" + s.name, "it was changed: a record has an impossible length"})
			return
		}
		p := place{segment: int32(i), offset: offset, size: size}
		copy(p.id[:], head[4:])
		if _, err := in.Discard(int(size) - 16); err != nil {
			r.cut(s, f)
			return
		}
		r.at = append(r.at, p)
		offset += 4 + int64(size)
	}
}

// cut notes that a file ends within a record, which is usual only where it is being written.
func (r *Reader) cut(s *segment, f *os.File) {
	if info, err := f.Stat(); err == nil && time.Since(info.ModTime()) < 10*time.Second {
		return
	}
	r.damaged = append(r.damaged, &Damage{s.day + "/" + s.name, "it is cut short"})
}

// Damaged returns the files that were found to be damaged so far.
func (r *Reader) Damaged() []*Damage { return r.damaged }

// Len returns how many requests are there.
func (r *Reader) Len() int { return len(r.at) }

// Get opens a request. The error is ErrNotKept, or a *Damage that names the file.
func (r *Reader) Get(id signal.ID) ([]byte, error) {
	i, ok := slices.BinarySearchFunc(r.at, id, func(p place, id signal.ID) int { return bytes.Compare(p.id[:], id[:]) })
	if !ok {
		return nil, ErrNotKept
	}
	p := r.at[i]
	s := &r.segments[p.segment]
	if s.over(r.now()) {
		return nil, ErrNotKept
	}
	aead, err := r.dayKey(s.day)
	if err != nil {
		return nil, err
	}
	if r.opened != int(p.segment) {
		r.Close()
		if r.file, err = os.Open(s.path(r.dir)); err != nil {
			return nil, ErrNotKept // its time was over
		}
		r.opened = int(p.segment)
	}
	record := make([]byte, p.size)
	if _, err := r.file.ReadAt(record, p.offset+4); err != nil {
		return nil, r.broken(s.day+"/"+s.name, "it is cut short")
	}
	text, err := aead.Open(nil, record[16:16+nonceSize], record[16+nonceSize:], bound(s, id))
	if err != nil {
		return nil, r.broken(s.day+"/"+s.name, "a request was changed, or is another file's")
	}
	return text, nil
}

func (r *Reader) broken(file, what string) error {
	d := &Damage{file, what}
	if !slices.ContainsFunc(r.damaged, func(o *Damage) bool { return *o == *d }) && len(r.damaged) < 1000 {
		r.damaged = append(r.damaged, d)
	}
	return d
}

func (r *Reader) dayKey(day string) (cipher.AEAD, error) {
	if err := r.faults[day]; err != nil {
		return nil, err
	}
	if aead := r.days[day]; aead != nil {
		return aead, nil
	}
	aead, err := openDay(filepath.Join(r.dir, day, dayKeyName), day, r.master)
	if err != nil {
		what := "it was changed, or sealed with another master key: what was kept that day cannot be read any more"
		if errors.Is(err, fs.ErrNotExist) {
			what = "it is gone: what was kept that day cannot be read any more"
		}
		r.faults[day] = r.broken(day+"/"+dayKeyName, what)
		return nil, r.faults[day]
	}
	r.days[day] = aead
	return aead, nil
}

// Close closes the file that was read last. The reader can be used again.
func (r *Reader) Close() {
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file, r.opened = nil, -1
}

// String says how much there is.
func (r *Reader) String() string { return fmt.Sprintf("%d sealed requests", len(r.at)) }
