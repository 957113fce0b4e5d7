package waftest

import (
	"net/url"
	"strings"
)

// LosesFields reports whether a form has fields whose names differ in case alone. Coraza 3.8.1 keeps those of one of them, whichever
// a map's order has last, and no rule sees the others.
func LosesFields(form string) bool {
	seen := map[string]string{}
	for pair := range strings.SplitSeq(form, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		lower := strings.ToLower(name)
		if other, ok := seen[lower]; ok && other != name {
			return true
		}
		seen[lower] = name
	}
	return false
}
