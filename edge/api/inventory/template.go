package inventory

import (
	"net/url"
	"strconv"
	"strings"
)

// compareTemplates compares a document's template with a learned one, segment by segment. It fits where a document's parameter
// stands for whatever is learned; it covers where what was learned to be a parameter is a name in the document.
func compareTemplates(documented, learned string) (fits, covers bool) {
	fits, covers = true, true
	documented, learned = strings.Trim(documented, "/"), strings.Trim(learned, "/")
	for documented != "" || learned != "" {
		var d, l string
		d, documented, _ = strings.Cut(documented, "/")
		l, learned, _ = strings.Cut(learned, "/")
		switch {
		case d == "" || l == "":
			return false, false
		case strings.Contains(d, "{"):
		case strings.HasPrefix(l, "{"):
			fits = false
		case d != l && unescaped(d) != unescaped(l):
			return false, false
		}
	}
	return fits, covers && !fits
}

func unescaped(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// literals counts the names in a template.
func literals(template string) int {
	n := 0
	for s := range strings.SplitSeq(template, "/") {
		if !strings.Contains(s, "{") {
			n++
		}
	}
	return n
}

// sameMethod lets a HEAD be answered where there is a GET (RFC 9110, section 9.3.2).
func sameMethod(documented, learned string) bool {
	return strings.EqualFold(documented, learned) || learned == "HEAD" && strings.EqualFold(documented, "GET")
}

func statusText(code int) string { return "status " + strconv.Itoa(code) }
