package edge

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
)

// traceparentLen is the length of a traceparent of version 00: 2-32-16-2 hexadecimal digits.
const traceparentLen = 55

// trace continues the W3C trace context of a request or starts one
// (https://www.w3.org/TR/trace-context/). It returns the field for the upstream; the trace id is
// its [3:35], the id of the edge's own span its [36:52]. A new trace is marked as
// sampled, since the edge records every request. Where the client's traceparent is
// not valid, its tracestate must not be believed either: fresh is true.
func trace(h http.Header) (parent string, fresh bool) {
	var b [traceparentLen]byte
	if in := h["Traceparent"]; len(in) == 1 && validTraceparent(in[0]) {
		copy(b[:], in[0][:traceparentLen])
		b[0], b[1] = '0', '0' // what is sent on is of the version that this code speaks
	} else {
		fresh = true
		copy(b[:3], "00-")
		appendHex(b[3:3], rand.Uint64()|1)
		appendHex(b[19:19], rand.Uint64())
		b[35] = '-'
		copy(b[52:], "-01")
	}
	appendHex(b[36:36], rand.Uint64()|1)
	return string(b[:]), fresh
}

func appendHex(b []byte, v uint64) {
	var raw [8]byte
	for i := range raw {
		raw[i] = byte(v >> (56 - 8*i))
	}
	hex.AppendEncode(b, raw[:])
}

func validTraceparent(s string) bool {
	if len(s) < traceparentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version := s[:2]
	if version == "ff" || version == "00" && len(s) != traceparentLen || len(s) > traceparentLen && s[traceparentLen] != '-' {
		return false
	}
	return lowerHex(version) && lowerHex(s[3:35]) && lowerHex(s[36:52]) && lowerHex(s[53:55]) &&
		strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// validRequestID reports whether an id given by a trusted proxy is fit to be passed on.
func validRequestID(s string) bool {
	if len(s) < 8 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '=', c == '/', c == '+':
		default:
			return false
		}
	}
	return true
}
