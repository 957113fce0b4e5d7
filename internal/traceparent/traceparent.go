// Package traceparent continues a W3C trace context (https://www.w3.org/TR/trace-context/, level 1,
// version 00 of the field) or starts one.
package traceparent

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Len is the length of a field of version 00: "00-", 32 digits of the trace's id, "-", 16 of the
// span's, "-" and 2 of flags, all hexadecimal and lower case.
const Len = 55

// TraceID and SpanID return the ids of a field that Next returned.
func TraceID(parent string) string { return parent[3:35] }
func SpanID(parent string) string  { return parent[36:52] }

// Next returns the field to send on: of the trace that the request belongs to, with a span of
// our own. A new trace is marked as sampled. Where there is no valid field fresh is true, and the
// request's tracestate must not be believed either.
func Next(h http.Header) (parent string, fresh bool) {
	var b [Len]byte
	if in := h["Traceparent"]; len(in) == 1 && Valid(in[0]) {
		copy(b[:], in[0][:Len])
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

// Valid reports whether s is a field that can be continued, of this version or a later one.
func Valid(s string) bool {
	if len(s) < Len || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version := s[:2]
	if version == "ff" || version == "00" && len(s) != Len || len(s) > Len && s[Len] != '-' {
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
