package api

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/inventory"
)

// maxCredentials bounds the credentials of one request that are told apart.
const maxCredentials = 4

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
	for _, name := range []string{"X-Api-Key", "Api-Key", "Apikey", "X-Auth-Token", "X-Access-Token"} {
		if h.Get(name) != "" {
			all = append(all, inventory.Credential{Kind: inventory.APIKey, Name: name})
		}
	}
	eachCookie(h, func(name, _ string) bool {
		if len(all) < maxCredentials && isSession(name, session) {
			all = append(all, inventory.Credential{Kind: inventory.Cookie, Name: strings.Clone(name)})
		}
		return true
	})
	return all[:min(len(all), maxCredentials)]
}

// whose returns the value of the first credential.
func whose(h http.Header, all []inventory.Credential) (value string) {
	if len(all) == 0 {
		return ""
	}
	switch c := all[0]; c.Kind {
	case inventory.Bearer, inventory.Basic:
		return h["Authorization"][0]
	case inventory.APIKey:
		return h.Get(c.Name)
	case inventory.Cookie:
		eachCookie(h, func(name, v string) bool {
			if name == c.Name {
				value = v
			}
			return value == ""
		})
	}
	return value
}

// eachCookie calls yield with each cookie's name and value until that returns false.
func eachCookie(h http.Header, yield func(name, value string) bool) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if name != "" && !yield(name, value) {
				return
			}
		}
	}
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

func be64(b []byte) uint64 { return max(binary.BigEndian.Uint64(b), 1) }

func hex64(n uint64) string { return strconv.FormatUint(n, 16) }
