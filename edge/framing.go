package edge

import (
	"bytes"
	"errors"
	"strings"
)

// Reasons for refusing a message by its form alone: the label of
// testudo_edge_rejected_total, and behind "malformed: " in edge.error.
const (
	reasonBareLF       = "bare-lf"
	reasonBareCR       = "bare-cr"
	reasonNUL          = "nul"
	reasonObsFold      = "obs-fold"
	reasonFieldName    = "field-name"
	reasonBothLengths  = "both-lengths"
	reasonLength       = "content-length"
	reasonTransfer     = "transfer-encoding"
	reasonChunk        = "chunk"
	reasonHost         = "host"
	reasonHostMismatch = "host-mismatch"
	reasonHeaderBytes  = "header-bytes"
	reasonHeaderCount  = "header-count"
	reasonURILength    = "uri-length"
	reasonBodySize     = "body-size"
	reasonSlowHeader   = "slow-header"
	reasonSlowBody     = "slow-body"
	reasonHTTP         = "http" // net/http refused it for another reason
	reasonHTTP2        = "http2"
	reasonRapidReset   = "http2-rapid-reset"
	reasonTLS          = "tls"
	reasonConnections  = "connections"
	reasonPerClient    = "connections-per-client"
	reasonMethod       = "method"
	reasonAmbiguous    = "ambiguous-path"
)

func reasons() []string {
	return []string{reasonBareLF, reasonBareCR, reasonNUL, reasonObsFold, reasonFieldName, reasonBothLengths, reasonLength,
		reasonTransfer, reasonChunk, reasonHost, reasonHostMismatch, reasonHeaderBytes, reasonHeaderCount, reasonURILength,
		reasonBodySize, reasonSlowHeader, reasonSlowBody, reasonHTTP, reasonHTTP2, reasonRapidReset, reasonTLS,
		reasonConnections, reasonPerClient, reasonMethod, reasonAmbiguous}
}

// malformed is the error of a message that is refused by its form.
type malformed struct{ reason string }

func (m *malformed) Error() string { return "malformed message: " + m.reason }

// framer follows the bytes of an HTTP/1 connection from the client and refuses
// every message whose extent two parsers could see differently. net/http is more
// lenient: it joins folded lines, takes a bare line feed for a line's end and prefers
// Transfer-Encoding where both lengths are given. A proxy that forwards what such a
// parser understood, to an upstream that understands something else, lets the client
// smuggle a request.
//
// It works on what net/http is about to read, and never copies but where a line
// is split between two reads.
type framer struct {
	state    frameState
	after    frameState // behind a chunk's data
	line     []byte     // beginning of a line that a former read left unfinished
	left     uint64     // bytes of the body or chunk to come
	size     int        // bytes of the head so far
	count    int        // header fields of the head so far
	maxSize  int
	maxCount int

	// Of the head under way.
	length    int64 // Content-Length, -1 where there is none
	chunked   bool
	http10    bool
	upgrade   bool
	hosts     int
	authority string // of an absolute-form target

	err *malformed
}

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

// midHead reports whether a head has begun and is not complete.
func (f *framer) midHead() bool {
	return f.state == inHead || f.state == inStart && len(f.line) > 0
}

// midBody reports whether a body has begun and is not complete.
func (f *framer) midBody() bool {
	return f.state == inBody || f.state == inSize || f.state == inChunk || f.state == inCRLF || f.state == inTail
}

// feed takes the next bytes and returns how many of them net/http may see. Once it has
// returned an error it always does.
func (f *framer) feed(p []byte) (int, error) {
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

func (f *framer) refuse(n int, reason string) (int, error) {
	f.err = &malformed{reason}
	return n, f.err
}

// keep remembers the beginning of a line.
func (f *framer) keep(p []byte) string {
	if len(f.line)+len(p) > f.maxSize {
		return reasonHeaderBytes
	}
	f.line = append(f.line, p...)
	if f.state == inCRLF && string(f.line) != "\r" {
		return reasonChunk // net/http does not wait for the end of this line either
	}
	return ""
}

// takeLine takes a whole line, without its line feed.
func (f *framer) takeLine(line []byte) (reason string) {
	f.size += len(line) + 1
	if f.size > f.maxSize {
		return reasonHeaderBytes
	}
	n := len(line) - 1
	if f.state == inCRLF && n > 0 {
		return reasonChunk
	}
	if n < 0 || line[n] != '\r' {
		return reasonBareLF
	}
	line = line[:n]
	if bytes.IndexByte(line, '\r') >= 0 {
		return reasonBareCR
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return reasonNUL
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
func (f *framer) next() {
	f.state, f.size, f.count, f.length, f.chunked, f.upgrade, f.hosts = inStart, 0, 0, -1, false, false, 0
	f.authority = ""
}

func (f *framer) requestLine(line []byte) string {
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
			if bytes.IndexByte(rest, '@') >= 0 || !validHost(rest) {
				return reasonHost
			}
			f.authority = string(rest)
		}
	}
	return ""
}

func (f *framer) headerLine(line []byte, head bool) string {
	if line[0] == ' ' || line[0] == '\t' {
		return reasonObsFold
	}
	if f.count++; f.count > f.maxCount {
		return reasonHeaderCount
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return reasonFieldName
	}
	name := line[:colon]
	for _, c := range name {
		if !tokenByte(c) {
			return reasonFieldName
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
			if f.hosts > 1 || !validHost(host) {
				return reasonHost
			}
			if f.authority != "" && !strings.EqualFold(f.authority, string(host)) {
				return reasonHostMismatch
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
				return reasonTransfer
			}
			f.chunked = true
		}
	}
	return ""
}

func (f *framer) contentLength(v []byte) string {
	if f.length >= 0 || len(v) == 0 || len(v) > 18 {
		return reasonLength
	}
	n := int64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return reasonLength
		}
		n = n*10 + int64(c-'0')
	}
	f.length = n
	return ""
}

func (f *framer) headEnd() string {
	switch {
	case f.chunked && f.length >= 0:
		return reasonBothLengths
	case f.upgrade:
		// What follows is the other protocol's, if the upstream agrees. If not, the
		// edge closes the connection: see exchange.respond.
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

func (f *framer) chunkSize(line []byte) string {
	f.size = 0
	digits := line
	if semi := bytes.IndexByte(line, ';'); semi >= 0 {
		if len(line)-semi > 256 {
			return reasonChunk
		}
		digits = line[:semi]
	}
	if len(digits) == 0 || len(digits) > 15 {
		return reasonChunk
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
			return reasonChunk
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

// malformedReason returns why a read failed where the framer refused the message.
func malformedReason(err error) (string, bool) {
	var m *malformed
	if errors.As(err, &m) {
		return m.reason, true
	}
	return "", false
}
