package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"

	"github.com/klauspost/compress/zlib"
)

const (
	// maxChain bounds the deltas that a version may rest on; git itself writes at most 4095.
	maxChain = 5000
	// window is how much of a pack is read at a time.
	window = 128 << 10
	// slack is what the compressed form of something can be longer than it, with its header.
	slack = 256
)

var (
	errTooLarge = errors.New("larger than the limit")
	errMissing  = errors.New("not in the repository")
	errBudget   = errors.New("the limit of unpacked bytes is reached")
	errChain    = fmt.Errorf("%w: too many deltas rest on each other", errCorrupted)
)

// place is where an object is: an offset in a pack, or the number of a loose object.
type place struct {
	pack *pack
	at   int64
}

// reader reads objects; one goroutine's. What it returns stays as it is, unless cache.recycle is set: then only until the
// next call of read.
type reader struct {
	repo   *repo
	budget *atomic.Int64
	cache  cache

	in       bytes.Reader
	inflater io.ReadCloser
	win      []byte // a part of winPack from winAt
	winPack  *pack
	winAt    int64
	delta    []byte
	chain    []link
}

type link struct {
	place
	from int64 // where its compressed bytes begin
	size int64 // of the delta
}

func newReader(r *repo, budget *atomic.Int64, cacheBytes int) *reader {
	return &reader{repo: r, budget: budget, cache: newCache(cacheBytes)}
}

// read returns an object's kind and content. One larger than limit is errTooLarge.
func (r *reader) read(o id, limit int64) (kind, []byte, error) {
	r.cache.release()
	return r.resolve(r.repo.place(o), limit)
}

// resolve follows the deltas down to a whole object, and applies them upwards.
func (r *reader) resolve(at place, limit int64) (kind, []byte, error) {
	r.chain = r.chain[:0]
	var data []byte
	var k kind
	baseLimit := limit
	for {
		if e := r.cache.get(at); e != nil {
			k, data = e.kind, e.data
			break
		}
		if at.pack == nil {
			var err error
			if k, data, err = r.loose(id(at.at), baseLimit); err != nil {
				return 0, nil, err
			}
			break
		}
		h, err := r.header(at)
		if err != nil {
			return 0, nil, err
		}
		if h.kind != offsetDelta && h.kind != nameDelta {
			if k = h.kind; h.size > baseLimit {
				return 0, nil, errTooLarge
			}
			if data, err = r.inflate(at.pack, h.from, h.size, r.cache.buffer(int(h.size))); err != nil {
				return 0, nil, err
			}
			r.cache.put(at, k, data)
			break
		}
		if h.size > 2*baseLimit+slack {
			return 0, nil, errTooLarge
		}
		if r.chain = append(r.chain, link{at, h.from, h.size}); len(r.chain) > maxChain {
			return 0, nil, errChain
		}
		at, baseLimit = h.base, 4*limit // a version may rest on a larger one
	}
	for i := len(r.chain) - 1; i >= 0; i-- {
		l := r.chain[i]
		max := limit
		if i > 0 {
			max = baseLimit
		}
		var err error
		if r.delta, err = r.inflate(l.pack, l.from, l.size, r.delta); err != nil {
			return 0, nil, err
		}
		if data, err = r.apply(data, r.delta, max); err != nil {
			return 0, nil, err
		}
		r.cache.put(l.place, k, data)
	}
	if int64(len(data)) > limit {
		return 0, nil, errTooLarge
	}
	return k, data, nil
}

// header is what stands before an object's compressed bytes.
type header struct {
	kind kind
	size int64
	from int64
	base place
}

func (r *reader) header(at place) (h header, err error) {
	b, err := r.bytes(at.pack, at.at, 64)
	if err != nil {
		return h, err
	}
	k, size, n := objectHeader(b)
	if n == 0 {
		return h, fmt.Errorf("%w: an object's header", errCorrupted)
	}
	h.kind, h.size = k, size
	switch k {
	case commitObject, treeObject, blobObject, tagObject:
	case offsetDelta:
		back, m := baseOffset(b[n:])
		if m == 0 || back <= 0 || back > at.at-12 {
			return h, fmt.Errorf("%w: a delta's base is outside the pack", errCorrupted)
		}
		n += m
		h.base = place{at.pack, at.at - back}
	case nameDelta:
		if len(b) < n+r.repo.hash {
			return h, fmt.Errorf("%w: an object's header", errCorrupted)
		}
		var o oid
		copy(o[:], b[n:n+r.repo.hash])
		n += r.repo.hash
		base, ok := r.repo.find(o)
		if !ok {
			return h, fmt.Errorf("the base of a delta is %w", errMissing)
		}
		h.base = r.repo.place(base)
	default:
		return h, fmt.Errorf("%w: an object of type %d", errCorrupted, k)
	}
	h.from = at.at + int64(n)
	return h, nil
}

// objectHeader reads type and size; n is 0 if they are not whole.
func objectHeader(b []byte) (k kind, size int64, n int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	k, size = kind(b[0]>>4&7), int64(b[0]&15)
	for shift := 4; b[n]&0x80 != 0; shift += 7 {
		if n++; n >= len(b) || shift > 53 {
			return 0, 0, 0
		}
		size |= int64(b[n]&0x7f) << shift
	}
	return k, size, n + 1
}

// baseOffset reads how far back a delta's base is.
func baseOffset(b []byte) (back int64, n int) {
	for n < len(b) && n < 8 { // 56 bits, which cannot overflow
		back = back<<7 | int64(b[n]&0x7f)
		if n++; b[n-1]&0x80 == 0 {
			return back, n
		}
		back++
	}
	return 0, 0
}

// bytes returns up to n bytes of a pack, at least one, and up to four times as many where they are at hand.
func (r *reader) bytes(p *pack, at int64, n int) ([]byte, error) {
	if at < 12 || at >= p.size {
		return nil, fmt.Errorf("%w: an object is outside its pack", errCorrupted)
	}
	n = int(min(int64(n), p.size-at))
	if r.winPack == p && at >= r.winAt && at+int64(n) <= r.winAt+int64(len(r.win)) {
		return r.win[at-r.winAt:], nil
	}
	// A step back is most likely to a delta's base, after which what comes next is asked for again.
	size := max(n, window)
	if r.winPack != p || at < r.winAt || at > r.winAt+4*window {
		size = max(n, window/8)
	}
	size = int(min(int64(size), p.size-at))
	if cap(r.win) < size {
		r.win = make([]byte, max(size, window))
	}
	r.win, r.winPack, r.winAt = r.win[:size], p, at
	if _, err := p.file.ReadAt(r.win, at); err != nil {
		r.winPack = nil
		return nil, fmt.Errorf("%w: %w", errCorrupted, err)
	}
	return r.win, nil
}

// inflate unpacks size bytes into buf, which is grown if need be.
func (r *reader) inflate(p *pack, from, size int64, buf []byte) ([]byte, error) {
	if r.budget.Add(-size) < 0 {
		return nil, errBudget
	}
	in, err := r.bytes(p, from, int(size+size/256+slack))
	if err != nil {
		return nil, err
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if err := r.reset(in); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupted, err)
	}
	if _, err := io.ReadFull(r.inflater, buf); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupted, err)
	}
	var more [1]byte
	if n, err := r.inflater.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: not of the size that it says, or its checksum is wrong", errCorrupted)
	}
	return buf, nil
}

func (r *reader) reset(in []byte) error {
	r.in.Reset(in)
	if r.inflater == nil {
		z, err := zlib.NewReader(&r.in)
		r.inflater = z
		if err != nil {
			r.inflater = nil
		}
		return err
	}
	return r.inflater.(zlib.Resetter).Reset(&r.in, nil)
}

// apply makes an object of its base and a delta, as gitformat-pack(5) has it.
func (r *reader) apply(base, delta []byte, limit int64) ([]byte, error) {
	from, n := deltaSize(delta)
	if n == 0 || from != int64(len(base)) {
		return nil, fmt.Errorf("%w: a delta for a base of another size", errCorrupted)
	}
	size, m := deltaSize(delta[n:])
	if m == 0 {
		return nil, fmt.Errorf("%w: a delta that is cut short", errCorrupted)
	}
	if size > limit {
		return nil, errTooLarge
	}
	if r.budget.Add(-size) < 0 {
		return nil, errBudget
	}
	out, ok := applyDelta(r.cache.buffer(int(size)), base, delta[n+m:], int(size))
	if !ok {
		return nil, fmt.Errorf("%w: a delta that reaches outside", errCorrupted)
	}
	return out, nil
}

// deltaSize reads one of the two sizes at a delta's beginning.
func deltaSize(b []byte) (size int64, n int) {
	for shift := 0; n < len(b) && shift < 56; shift += 7 {
		size |= int64(b[n]&0x7f) << shift
		if n++; b[n-1]&0x80 == 0 {
			return size, n
		}
	}
	return 0, 0
}

// applyDelta fills out with size bytes by the delta's instructions.
func applyDelta(out, base, delta []byte, size int) ([]byte, bool) {
	out = out[:0]
	for i := 0; i < len(delta); {
		op := delta[i]
		i++
		switch {
		case op&0x80 != 0:
			var at, n int
			for b := range 4 {
				if op&(1<<b) != 0 {
					if i >= len(delta) {
						return nil, false
					}
					at |= int(delta[i]) << (8 * b)
					i++
				}
			}
			for b := range 3 {
				if op&(0x10<<b) != 0 {
					if i >= len(delta) {
						return nil, false
					}
					n |= int(delta[i]) << (8 * b)
					i++
				}
			}
			if n == 0 {
				n = 0x10000
			}
			if at+n > len(base) || len(out)+n > size {
				return nil, false
			}
			out = append(out, base[at:at+n]...)
		case op != 0:
			n := int(op)
			if i+n > len(delta) || len(out)+n > size {
				return nil, false
			}
			out = append(out, delta[i:i+n]...)
			i += n
		default:
			return nil, false
		}
	}
	return out, len(out) == size
}

// loose reads an object that stands in a file of its own.
func (r *reader) loose(n id, limit int64) (kind, []byte, error) {
	f, err := r.repo.openLoose(n)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	z, err := zlib.NewReader(f)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errCorrupted, err)
	}
	defer z.Close()
	var head [32]byte
	got, err := io.ReadFull(z, head[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil, fmt.Errorf("%w: %w", errCorrupted, err)
	}
	k, size, rest, ok := looseHeader(head[:got])
	if !ok {
		return 0, nil, fmt.Errorf("%w: an object's header", errCorrupted)
	}
	if size > limit {
		return 0, nil, errTooLarge
	}
	if r.budget.Add(-size) < 0 {
		return 0, nil, errBudget
	}
	data := make([]byte, size)
	n2 := copy(data, rest)
	if n2 < len(rest) {
		return 0, nil, fmt.Errorf("%w: longer than it says", errCorrupted)
	}
	if _, err := io.ReadFull(z, data[n2:]); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errCorrupted, err)
	}
	var more [1]byte
	if n, err := z.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return 0, nil, fmt.Errorf("%w: longer than it says", errCorrupted)
	}
	return k, data, nil
}

// looseHeader reads "blob 12\x00" and returns what follows.
func looseHeader(b []byte) (k kind, size int64, rest []byte, ok bool) {
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return 0, 0, nil, false
	}
	name, digits, _ := bytes.Cut(b[:end], []byte(" "))
	size, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || size < 0 {
		return 0, 0, nil, false
	}
	switch string(name) {
	case "commit":
		k = commitObject
	case "tree":
		k = treeObject
	case "blob":
		k = blobObject
	case "tag":
		k = tagObject
	default:
		return 0, 0, nil, false
	}
	return k, size, b[end+1:], true
}

// kindOf returns an object's kind without its content.
func (r *reader) kindOf(o id) (kind, error) {
	at := r.repo.place(o)
	for range maxChain {
		if at.pack == nil {
			f, err := r.repo.openLoose(id(at.at))
			if err != nil {
				return 0, err
			}
			defer f.Close()
			z, err := zlib.NewReader(f)
			if err != nil {
				return 0, fmt.Errorf("%w: %w", errCorrupted, err)
			}
			defer z.Close()
			var head [32]byte
			n, _ := io.ReadFull(z, head[:])
			if k, _, _, ok := looseHeader(head[:n]); ok {
				return k, nil
			}
			return 0, fmt.Errorf("%w: an object's header", errCorrupted)
		}
		h, err := r.header(at)
		if err != nil {
			return 0, err
		}
		if h.kind != offsetDelta && h.kind != nameDelta {
			return h.kind, nil
		}
		at = h.base
	}
	return 0, errChain
}
