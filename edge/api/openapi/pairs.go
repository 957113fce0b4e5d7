package openapi

import (
	"strings"
	"unicode/utf8"
)

// pair is one parameter of a query or a field of a form, decoded.
type pair struct {
	name, value string
	bare        bool // without an equals sign: the name may be a value
	used        bool
}

// maxPairs bounds a query and a form.
const maxPairs = 1000

// parsePairs reads application/x-www-form-urlencoded. Whether all could be read is said by code.
func parsePairs(s string, into []pair) (pairs []pair, code, message string) {
	pairs = into[:0]
	for more := s != ""; more; {
		var one string
		one, s, more = strings.Cut(s, "&")
		if one == "" {
			continue
		}
		if len(pairs) >= maxPairs {
			return pairs, CodeNotChecked, "there are more than 1000 parameters"
		}
		name, value, eq := strings.Cut(one, "=")
		if i := strings.IndexByte(one, ';'); i >= 0 && strings.IndexByte(one[i:], '=') > 1 && code == "" {
			code, message = CodeAmbiguous, "there is a semicolon that some servers take for the end of a parameter"
		}
		name, ok := percent(name, true)
		if ok {
			value, ok = percent(value, true)
		}
		switch {
		case !ok:
			code, message = CodeEncoding, "there is a broken percent-encoding"
			continue
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			code, message = CodeEncoding, "there is text that is not valid UTF-8"
		}
		pairs = append(pairs, pair{name: name, value: value, bare: !eq})
	}
	return pairs, code, message
}

// values marks the pairs of a name as used and returns their values.
func values(pairs []pair, name string, into []string) []string {
	into = into[:0]
	for i := range pairs {
		if pairs[i].name == name {
			pairs[i].used = true
			into = append(into, pairs[i].value)
		}
	}
	return into
}

// deep gathers name[a][b]=c into a tree of objects with lists of texts as leaves; nil where there is none. ok is false
// where the names are no such tree.
func deep(pairs []pair, name string) (tree map[string]any, ok bool) {
	ok = true
	for i := range pairs {
		rest, is := strings.CutPrefix(pairs[i].name, name)
		if !is || rest == "" || rest[0] != '[' {
			continue
		}
		pairs[i].used = true
		if tree == nil {
			tree = map[string]any{}
		}
		at := tree
		for depth := 0; ; depth++ {
			key, after, closed := strings.Cut(rest[1:], "]")
			if !closed || depth >= 8 || after != "" && after[0] != '[' {
				ok = false
				break
			}
			if after == "" {
				leaf, fits := at[key].([]string)
				if at[key] != nil && !fits {
					ok = false
					break
				}
				at[key] = append(leaf, pairs[i].value)
				break
			}
			next, fits := at[key].(map[string]any)
			if at[key] != nil && !fits {
				ok = false
				break
			}
			if next == nil {
				next = map[string]any{}
				at[key] = next
			}
			at, rest = next, after
		}
	}
	return tree, ok
}
