// Package httpframe reads HTTP/1 messages only as far as is needed to know where each ends, and
// refuses those whose extent, or whose host, two parsers could see differently ([RFC 9112] sections
// 2.2, 3.2, 5, 6 and 7.1). It is for a proxy that parses with net/http.
//
// net/http is more lenient: it joins folded lines, takes a bare line feed for a line's end and
// prefers Transfer-Encoding where both lengths are given. A proxy that forwards what such a
// parser understood, to a server that understands something else, lets the client smuggle a
// request.
//
// What passes a [Framer] net/http reads as the same messages, to the same byte; a fuzz test
// holds that.
//
// [RFC 9112]: https://www.rfc-editor.org/rfc/rfc9112
package httpframe

import (
	"bytes"
	"net/netip"
	"strings"
)

// Why a message is refused: the reasons of an [Error].
const (
	BareLF       = "bare-lf"           // a line that does not end in CR LF
	BareCR       = "bare-cr"           // a carriage return within a line
	NUL          = "nul"               // a NUL within a line
	ObsFold      = "obs-fold"          // a field continued on the next line
	FieldName    = "field-name"        // no colon, or what stands before it is no token
	BothLengths  = "both-lengths"      // Content-Length and Transfer-Encoding
	Length       = "content-length"    // several, or not just up to 18 digits
	Transfer     = "transfer-encoding" // other than one "chunked", or any in HTTP/1.0
	Chunk        = "chunk"             // size, extension or end of a chunk
	Host         = "host"              // several, or no host with an optional port
	HostMismatch = "host-mismatch"     // another than the target's
	HeaderBytes  = "header-bytes"      // a head over Limits.Bytes
	HeaderCount  = "header-count"      // more fields than Limits.Fields
)

// Reasons lists all of them.
func Reasons() []string {
	return []string{BareLF, BareCR, NUL, ObsFold, FieldName, BothLengths, Length, Transfer, Chunk, Host, HostMismatch, HeaderBytes, HeaderCount}
}

// Error says that a message is refused by its form.
type Error struct{ Reason string }

func (e *Error) Error() string { return "malformed message: " + e.Reason }

// Limits bound a head, and a trailer.
type Limits struct {
	Bytes  int // of all lines together
	Fields int
}

// Framer follows the bytes of one HTTP/1 connection from the client. It works on what the
// parser is about to read, and never copies but where a line is split between two reads. It
// is not safe for concurrent use.
type Framer struct {
	state  frameState
	after  frameState // behind a chunk's data
	line   []byte     // beginning of a line that a former read left unfinished
	left   uint64     // bytes of the body or chunk to come
	size   int        // bytes of the head so far
	count  int        // header fields of the head so far
	limits Limits

	// Of the head under way.
	length    int64 // Content-Length, -1 where there is none
	chunked   bool
	http10    bool
	upgrade   bool
	hosts     int
	authority string // of an absolute-form target

	err *Error
}

// New returns a Framer at the beginning of a connection.
func New(l Limits) Framer {
	f := Framer{limits: l}
	f.next()
	return f
}

// Err returns why the connection is refused, nil where it is not.
func (f *Framer) Err() *Error { return f.err }

type frameState uint8

const (
	inStart  frameState = iota // nothing of the next head has come yet
	inHead                     // request line is complete
	inBody                     // body of known length
	inSize                     // chunk size line
	inChunk                    // chunk data
	inCRLF                     // line end behind chunk data
	inTail                     // trailer
	inTunnel                   // another protocol: HTTP/2, or after an upgrade
)

// MidHead reports whether a head has begun and is not complete.
func (f *Framer) MidHead() bool {
	return f.state == inHead || f.state == inStart && len(f.line) > 0
}

// MidBody reports whether a body has begun and is not complete.
func (f *Framer) MidBody() bool {
	return f.state == inBody || f.state == inSize || f.state == inChunk || f.state == inCRLF || f.state == inTail
}

// Feed takes the next bytes and returns how many of them the parser may see. Once it has
// returned an error it always does.
func (f *Framer) Feed(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	for i := 0; i < len(p); {
		switch f.state {
		case inTunnel:
			return len(p), nil
		case inBody, inChunk:
			n := min(uint64(len(p)-i), f.left)
			i += int(n)
			if f.left -= n; f.left == 0 {
				f.state = f.after
			}
		default:
			end := bytes.IndexByte(p[i:], '\n')
			if end < 0 {
				if reason := f.keep(p[i:]); reason != "" {
					return f.refuse(i, reason)
				}
				return len(p), nil
			}
			line := p[i : i+end]
			if len(f.line) > 0 {
				f.line = append(f.line, line...)
				line = f.line
			}
			if reason := f.takeLine(line); reason != "" {
				return f.refuse(i, reason)
			}
			f.line = f.line[:0]
			i += end + 1
		}
	}
	return len(p), nil
}

func (f *Framer) refuse(n int, reason string) (int, error) {
	f.err = &Error{reason}
	return n, f.err
}

// keep remembers the beginning of a line.
func (f *Framer) keep(p []byte) string {
	if len(f.line)+len(p) > f.limits.Bytes {
		return HeaderBytes
	}
	f.line = append(f.line, p...)
	if f.state == inCRLF && string(f.line) != "\r" {
		return Chunk // net/http does not wait for the end of this line either
	}
	return ""
}

// takeLine takes a whole line, without its line feed.
func (f *Framer) takeLine(line []byte) (reason string) {
	f.size += len(line) + 1
	if f.size > f.limits.Bytes {
		return HeaderBytes
	}
	n := len(line) - 1
	if f.state == inCRLF && n > 0 {
		return Chunk
	}
	if n < 0 || line[n] != '\r' {
		return BareLF
	}
	line = line[:n]
	if bytes.IndexByte(line, '\r') >= 0 {
		return BareCR
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return NUL
	}
	switch f.state {
	case inStart:
		return f.requestLine(line)
	case inHead:
		if len(line) == 0 {
			return f.headEnd()
		}
		return f.headerLine(line, true)
	case inSize:
		return f.chunkSize(line)
	case inCRLF:
		f.state, f.size = inSize, 0
	case inTail:
		if len(line) == 0 {
			f.next()
			return ""
		}
		return f.headerLine(line, false)
	}
	return ""
}

// next makes ready for the next head.
func (f *Framer) next() {
	f.state, f.size, f.count, f.length, f.chunked, f.upgrade, f.hosts = inStart, 0, 0, -1, false, false, 0
	f.authority = ""
}

func (f *Framer) requestLine(line []byte) string {
	f.next()
	f.size = len(line) + 2
	f.state = inHead
	if string(line) == "PRI * HTTP/2.0" {
		// Without h2c net/http refuses this; with it, HTTP/2 follows.
		f.state = inTunnel
		return ""
	}
	f.http10 = bytes.HasSuffix(line, []byte(" HTTP/1.0"))
	_, target, _ := bytes.Cut(line, []byte{' '})
	if len(target) > 0 && target[0] != '/' && target[0] != '*' {
		if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
			if end := bytes.IndexAny(rest, "/?# "); end >= 0 {
				rest = rest[:end]
			}
			if bytes.IndexByte(rest, '@') >= 0 || !ValidHost(rest) {
				return Host
			}
			f.authority = string(rest)
		}
	}
	return ""
}

func (f *Framer) headerLine(line []byte, head bool) string {
	if line[0] == ' ' || line[0] == '\t' {
		return ObsFold
	}
	if f.count++; f.count > f.limits.Fields {
		return HeaderCount
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return FieldName
	}
	name := line[:colon]
	for _, c := range name {
		if !tokenByte(c) {
			return FieldName
		}
	}
	if !head {
		return ""
	}
	switch len(name) {
	case 4:
		if equalFold(name, "host") {
			f.hosts++
			host := trimSpace(line[colon+1:])
			if f.hosts > 1 || !ValidHost(host) {
				return Host
			}
			if f.authority != "" && !strings.EqualFold(f.authority, string(host)) {
				return HostMismatch
			}
		}
	case 7:
		f.upgrade = f.upgrade || equalFold(name, "upgrade")
	case 14:
		if equalFold(name, "content-length") {
			return f.contentLength(trimSpace(line[colon+1:]))
		}
	case 17:
		if equalFold(name, "transfer-encoding") {
			if f.chunked || f.http10 || !equalFold(trimSpace(line[colon+1:]), "chunked") {
				return Transfer
			}
			f.chunked = true
		}
	}
	return ""
}

func (f *Framer) contentLength(v []byte) string {
	if f.length >= 0 || len(v) == 0 || len(v) > 18 {
		return Length
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return Length
		}
		n = n*10 + int64(c-'0')
	}
	f.length = n
	return ""
}

func (f *Framer) headEnd() string {
	switch {
	case f.chunked && f.length >= 0:
		return BothLengths
	case f.upgrade:
		// What follows is the other protocol's, if the server agrees. If not, the
		// caller must close the connection behind the response.
		f.state = inTunnel
	case f.chunked:
		f.state, f.size, f.count = inSize, 0, 0
	case f.length > 0:
		f.state, f.left, f.after = inBody, uint64(f.length), inStart
	default:
		f.state = inStart
	}
	f.size = 0
	return ""
}

func (f *Framer) chunkSize(line []byte) string {
	f.size = 0
	digits := line
	if semi := bytes.IndexByte(line, ';'); semi >= 0 {
		if len(line)-semi > 256 {
			return Chunk
		}
		digits = line[:semi]
	}
	if len(digits) == 0 || len(digits) > 15 {
		return Chunk
	}
	n := uint64(0)
	for _, c := range digits {
		var v byte
		switch {
		case '0' <= c && c <= '9':
			v = c - '0'
		case 'a' <= c && c <= 'f':
			v = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			v = c - 'A' + 10
		default:
			return Chunk
		}
		n = n<<4 | uint64(v)
	}
	if n == 0 {
		f.state = inTail
		return ""
	}
	f.state, f.left, f.after = inChunk, n, inCRLF
	return ""
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// equalFold compares b with a lower-case ASCII word of the same length.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t") }

// ValidHost reports whether h is a host with an optional port (RFC 3986 section
// 3.2.2, without percent-encoding and user information): what net/http lets through is
// wider, and upstreams disagree about the rest.
func ValidHost[T string | []byte](h T) bool {
	if len(h) == 0 || len(h) > 261 {
		return false
	}
	if h[0] == '[' {
		s := string(h)
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return false
		}
		a, err := netip.ParseAddr(s[1:end])
		return err == nil && a.Is6() && a.Zone() == "" && validPort(h[end+1:])
	}
	end := 0
	for ; end < len(h) && h[end] != ':'; end++ {
		c := h[end]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && end > 0 && h[end-1] != '.':
		default:
			return false
		}
	}
	return end > 0 && validPort(h[end:])
}

func validPort[T string | []byte](s T) bool {
	if len(s) == 0 {
		return true
	}
	if s[0] != ':' || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
