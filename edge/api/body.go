package api

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// decode undoes the one content coding of a body, up to a size. What has another coding, or several, stays as it is: whoever reads it says that it could not.
func (m *message) decode(h http.Header, limit int) {
	coding := h["Content-Encoding"]
	if len(coding) == 0 || len(m.body) == 0 {
		return
	}
	if len(coding) > 1 {
		return
	}
	var r io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(coding[0])) {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(m.body))
	case "deflate":
		r, err = zlib.NewReader(bytes.NewReader(m.body))
	case "br":
		r = brotli.NewReader(bytes.NewReader(m.body))
	default:
		return
	}
	if err != nil {
		return
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil && !m.truncated { // the end of a part is missing
		return
	}
	if len(plain) > limit {
		plain, m.truncated = plain[:limit], true
	}
	m.body, m.decoded = plain, true
}

// coded reports whether the body still is in a content coding.
func (m *message) coded(h http.Header) bool {
	v := h["Content-Encoding"]
	return len(v) > 0 && !m.decoded && !(len(v) == 1 && strings.EqualFold(strings.TrimSpace(v[0]), "identity"))
}

// read reads a body of JSON that is there whole.
func (m *message) read() {
	if m.json != nil || m.truncated || len(m.body) == 0 {
		return
	}
	if v, _, err := jsontree.Decode(m.body, jsontree.Limits{}); err == nil {
		m.json = v
	}
}
