package api

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/testudo-sec/testudo/edge/api/inventory"
)

// Bounds of what one request carries to say who asks.
const (
	maxCredentials = 4  // told apart by kind and name
	maxSubjects    = 4  // told apart by value
	maxCookieName  = 64 // bytes
)

var keyHeaders = [...]string{"X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token"}

// credentials lists what a request carries to say who asks, as kinds and names.
func credentials(h http.Header, session string) []inventory.Credential {
	var all []inventory.Credential
	if v := h["Authorization"]; len(v) > 0 && v[0] != "" {
		scheme, _, _ := strings.Cut(v[0], " ")
		switch {
		case strings.EqualFold(scheme, "bearer"):
			all = append(all, inventory.Credential{Kind: inventory.Bearer})
		case strings.EqualFold(scheme, "basic"):
			all = append(all, inventory.Credential{Kind: inventory.Basic})
		default:
			all = append(all, inventory.Credential{Kind: inventory.APIKey, Name: "Authorization"})
		}
	}
	for _, name := range keyHeaders {
		if v := h[name]; len(v) > 0 && v[0] != "" {
			all = append(all, inventory.Credential{Kind: inventory.APIKey, Name: name})
		}
	}
	eachCookie(h, func(name, _ string) bool {
		if isSession(name, session) && !slices.ContainsFunc(all, func(c inventory.Credential) bool { return c.Kind == inventory.Cookie && c.Name == name }) {
			all = append(all, inventory.Credential{Kind: inventory.Cookie, Name: strings.Clone(name)})
		}
		return len(all) < maxCredentials
	})
	return all[:min(len(all), maxCredentials)]
}

// subjects returns the values of the credentials, the configured cookie's first, else as they stand: which of them the server goes by is not known here,
// and who adds one of his own making to each request is still known by the others.
func subjects(h http.Header, session string, into []string) []string {
	all := into[:0]
	add := func(v string) bool {
		if v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
		return len(all) < maxSubjects
	}
	cookies := func() {
		eachCookie(h, func(name, v string) bool { return !isSession(name, session) || add(v) })
	}
	if session != "" {
		cookies()
	}
	for _, v := range h["Authorization"] {
		if !add(v) {
			return all
		}
	}
	for _, name := range keyHeaders {
		for _, v := range h[name] {
			if !add(v) {
				return all
			}
		}
	}
	if session == "" {
		cookies()
	}
	return all
}

// eachCookie calls yield with the name and value of each cookie that is named as cookies are, until that returns false.
func eachCookie(h http.Header, yield func(name, value string) bool) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if isCookieName(name) && !yield(name, value) {
				return
			}
		}
	}
}

// isCookieName admits names as RFC 6265 has them: a stranger's would be shown to people.
func isCookieName(name string) bool {
	return len(name) <= maxCookieName && httpguts.ValidHeaderFieldName(name)
}

// isSession reports whether a cookie says who asks: the one that is configured or, without one, one that is named so.
func isSession(name, session string) bool {
	if session != "" {
		return name == session
	}
	lower := strings.ToLower(name)
	if strings.Contains(lower, "csrf") || strings.Contains(lower, "xsrf") {
		return false
	}
	for _, part := range [...]string{"sess", "sid", "auth", "token", "jwt", "login"} {
		if strings.Contains(lower, part) {
			return true
		}
	}
	return false
}

func be64(b []byte) uint64 { return max(binary.BigEndian.Uint64(b), 1) } // 0 is nobody

func hex64(n uint64) string { return strconv.FormatUint(n, 16) }
