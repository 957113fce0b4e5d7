package token

import (
	"net/http"
	"strings"
)

// extract finds the token of a request: the text, where it stood, and what kind of credentials there are. One that is there
// twice, in one place or in two, is refused: servers differ in which they take.
func (v *Verifier) extract(h http.Header) (text, where, auth string, bad *Violation) {
	auth = AuthNone
	if v.config.Header != "" {
		where = strings.ToLower(v.config.Header)
		values := h[v.config.Header]
		if len(values) > 1 {
			return "", where, AuthOther, violation(CodeRepeated, where, "the header is there more than once")
		}
		if len(values) == 1 {
			value := strings.Trim(values[0], " \t")
			rest, bearer := cutPrefixFold(value, "bearer")
			bearer = bearer && rest != "" && (rest[0] == ' ' || rest[0] == '\t') // servers that split at any blank take both
			switch {
			case bearer:
				text, auth = strings.Trim(rest, " \t"), AuthToken
			case where != "authorization" && value != "":
				text, auth = value, AuthToken
			case value != "":
				auth = AuthOther
			}
		}
	}
	if v.config.Cookie == "" {
		return text, where, auth, nil
	}
	if where == "" {
		where = "cookie " + v.config.Cookie
	}
	cookies := 0
	for _, line := range h["Cookie"] {
		for line != "" {
			var one string
			one, line, _ = strings.Cut(line, ";")
			name, value, _ := strings.Cut(strings.Trim(one, " \t"), "=")
			if strings.TrimRight(name, " \t") != v.config.Cookie {
				continue
			}
			if cookies++; text != "" || cookies > 1 {
				return "", where, AuthToken, violation(CodeRepeated, "cookie "+v.config.Cookie, "there is more than one token")
			}
			value = strings.Trim(value, " \t")
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			text, where, auth = value, "cookie "+v.config.Cookie, AuthToken
		}
	}
	return text, where, auth, nil
}
