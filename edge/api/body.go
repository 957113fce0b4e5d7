package api

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// message is a body as all parts need it.
type message struct {
	body      []byte
	truncated bool
	decoded   bool // it was compressed, and is no more
	stranger  bool // nobody whom we know has made it
	json      any
}

// unpackers are readers of compressed bodies, for one after the other: each has some ten or hundred kilobytes.
type unpackers struct{ gzip, zlib, brotli, zstd, strange sync.Pool }

// A few bytes make a reader of brotli or zstd take as much memory as they say that it needs.
const (
	maxStrangeWindow = 18      // bits, in requests
	maxWindow        = 8 << 20 // bytes of zstd, in responses
)

// decode undoes the one content coding of a body, up to a size. What has another coding, or several, stays as it is: whoever reads it says that it could not.
func (m *message) decode(h http.Header, limit int, u *unpackers) {
	coding := h["Content-Encoding"]
	if len(coding) != 1 || len(m.body) == 0 {
		return
	}
	var plain []byte
	var err error
	switch from := bytes.NewReader(m.body); strings.ToLower(strings.TrimSpace(coding[0])) {
	case "gzip", "x-gzip":
		r, _ := u.gzip.Get().(*gzip.Reader)
		if r == nil {
			r = new(gzip.Reader)
		}
		if err = r.Reset(from); err == nil {
			plain, err = readUpTo(r, limit)
		}
		if err != nil && len(plain) > 0 && !m.truncated { // what follows the first member is none: there are servers that leave it, and take the rest
			from.Reset(m.body)
			if err = r.Reset(from); err == nil {
				r.Multistream(false)
				plain, err = readUpTo(r, limit)
			}
		}
		u.gzip.Put(r)
	case "deflate":
		if !isZlib(m.body) { // as RFC 9110, section 8.4.1.2 has it, some write it without the frame, and servers take both
			plain, err = readUpTo(flate.NewReader(from), limit)
			break
		}
		r, _ := u.zlib.Get().(io.ReadCloser)
		if r == nil {
			r, err = zlib.NewReader(from)
		} else {
			err = r.(zlib.Resetter).Reset(from, nil)
		}
		if err == nil {
			plain, err = readUpTo(r, limit)
		}
		if r != nil {
			u.zlib.Put(r)
		}
	case "br":
		if m.stranger && brotliWindow(m.body) > maxStrangeWindow {
			return
		}
		r, _ := u.brotli.Get().(*brotli.Reader)
		if r == nil {
			r = brotli.NewReader(from)
		} else {
			err = r.Reset(from)
		}
		if err == nil {
			plain, err = readUpTo(r, limit)
		}
		u.brotli.Put(r)
	case "zstd":
		pool, window := &u.zstd, uint64(maxWindow)
		if m.stranger {
			pool, window = &u.strange, 1<<maxStrangeWindow
		}
		r, _ := pool.Get().(*zstd.Decoder)
		if r == nil {
			if r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window)); err != nil {
				return
			}
		}
		if err = r.Reset(from); err == nil {
			plain, err = readUpTo(r, limit)
		}
		pool.Put(r)
	default:
		return
	}
	if err != nil && (!m.truncated || len(plain) == 0) { // else the end of a part is missing
		return
	}
	if len(plain) > limit {
		plain, m.truncated = plain[:limit], true
	}
	m.body, m.decoded = plain, true
}

// isZlib reports whether a body begins as RFC 1950 has it.
func isZlib(body []byte) bool {
	return len(body) > 1 && body[0]&0xf == 8 && (int(body[0])<<8|int(body[1]))%31 == 0
}

// readUpTo reads one byte more than the limit, to tell that there is more.
func readUpTo(r io.Reader, limit int) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, int64(limit)+1))
}

// brotliWindow is the size of the window that a stream of brotli asks for, in bits (RFC 7932, section 9.1).
func brotliWindow(body []byte) int {
	switch b := int(body[0]); {
	case b&1 == 0:
		return 16
	case b&0xe != 0:
		return 17 + b>>1&7
	case b&0x70 == 0:
		return 17
	case b&0x70 == 0x10: // of streams with larger windows than the standard's
		return 30
	default:
		return 8 + b>>4&7
	}
}

// coded reports whether the body still is in a content coding.
func (m *message) coded(h http.Header) bool {
	v := h["Content-Encoding"]
	return len(v) > 0 && !m.decoded && !(len(v) == 1 && strings.EqualFold(strings.TrimSpace(v[0]), "identity"))
}

// looksLikeJSON reports whether the body begins as an object or a list.
func (m *message) looksLikeJSON() bool {
	b := bytes.TrimLeft(m.body, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

// read reads a body of JSON that is there whole, if it has not too many values; 0 is what jsontree takes.
func (m *message) read(values int) {
	if m.json != nil || m.truncated || len(m.body) == 0 {
		return
	}
	if v, _, err := jsontree.Decode(m.body, jsontree.Limits{Values: values}); err == nil {
		m.json = v
	}
}
