package edge

import (
	"net/http"
	"strings"
)

// ownCookies begins the names of the console's cookies. Browsers do not keep cookies of ports
// apart: who is signed in to a console on 127.0.0.1 sends its session to every port of
// 127.0.0.1, and so to an edge and the application behind it.
const ownCookies = "__Host-testudo"

// dropOwnCookies takes the console's cookies out of a request. Lines that hold none stay
// byte for byte as they came.
func dropOwnCookies(h http.Header) {
	lines := h["Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if strings.Contains(line, ownCookies) {
			if line = withoutOwnCookies(line); line == "" {
				continue
			}
		}
		kept = append(kept, line)
	}
	if len(lines) > 0 && len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	if len(kept) < len(lines) {
		h["Cookie"] = kept
	}
}

// withoutOwnCookies joins the other cookies as RFC 6265 section 4.2.1 has it, or returns the
// line itself where none is ours. A semicolon ends a cookie even within quotes, as it does for
// browsers: what only looks like a part of another cookie's value is taken out too.
func withoutOwnCookies(line string) string {
	var kept []string
	dropped := false
	for pair := range strings.SplitSeq(line, ";") {
		pair = strings.Trim(pair, " \t")
		if strings.HasPrefix(pair, ownCookies) {
			dropped = true
		} else if pair != "" {
			kept = append(kept, pair)
		}
	}
	if !dropped {
		return line
	}
	return strings.Join(kept, "; ")
}

// dropSetOwnCookies keeps an application from signing a person out of the console, or
// into somebody else's session, by setting its cookies.
func dropSetOwnCookies(h http.Header) {
	lines := h["Set-Cookie"]
	kept := lines[:0]
	for _, line := range lines {
		if !strings.HasPrefix(strings.TrimLeft(line, " \t"), ownCookies) {
			kept = append(kept, line)
		}
	}
	if len(kept) < len(lines) {
		h["Set-Cookie"] = kept
	}
}
