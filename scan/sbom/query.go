package sbom

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// Query asks for packages: by package URL, whose version may be a comparison, or by a part of the name.
type Query struct {
	// Key is what Key returns for the packages that are asked for; empty asks by Text.
	Key string
	// Text is a part of the name, in lower case.
	Text  string
	terms []term
}

type term struct{ op, version string }

// maxQuery bounds a query in bytes.
const maxQuery = 512

// ParseQuery reads a query: "pkg:npm/lodash", "pkg:npm/lodash@4.17.20", "pkg:npm/lodash@<4.17.21",
// "pkg:npm/lodash@>=4 <4.17.21" (all terms must hold), or "lodash". A name with a scope may be written "@babel/core" or
// "%40babel/core".
func ParseQuery(text string) (Query, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Query{}, errors.New("nothing to look for: want a package URL, as in pkg:npm/lodash@<4.17.21, or a part of a name")
	case len(text) > maxQuery:
		return Query{}, fmt.Errorf("the query has %d bytes: want %d at most", len(text), maxQuery)
	case !strings.HasPrefix(text, "pkg:"):
		return Query{Text: strings.ToLower(text)}, nil
	}
	name, versions := text, ""
	if at := strings.LastIndexByte(text, '@'); at > strings.LastIndexByte(strings.TrimRight(text[:max(at, 0)], "/"), '/')+1 && at > 0 && text[at-1] != '/' {
		name, versions = text[:at], text[at+1:]
	}
	q := Query{Key: Key(name)}
	kind, rest, _ := strings.Cut(q.Key, "/")
	if kind == "" || rest == "" || strings.ContainsAny(q.Key, "<>= \t") {
		return Query{}, fmt.Errorf("%q is no package URL: want pkg:TYPE/NAME, as in pkg:npm/lodash@<4.17.21", scan.Printable(text))
	}
	if unescaped, err := url.PathUnescape(versions); err == nil {
		versions = unescaped
	}
	versions, _, _ = strings.Cut(versions, "?")
	var err error
	if q.terms, err = parseTerms(versions); err != nil {
		return Query{}, fmt.Errorf("%q: %w", scan.Printable(text), err)
	}
	return q, nil
}

// parseTerms reads comparisons. A space between the operator and the version does not matter.
func parseTerms(text string) ([]term, error) {
	var out []term
	op := ""
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		for _, o := range []string{"<=", ">=", "<", ">", "="} {
			if rest, ok := strings.CutPrefix(field, o); ok {
				if op != "" {
					return nil, fmt.Errorf("%s has no version", op)
				}
				op, field = o, rest
				break
			}
		}
		switch {
		case field == "":
			continue
		case strings.ContainsAny(field, "<>="):
			return nil, fmt.Errorf("%q is no version: put spaces between comparisons", scan.Printable(field))
		case op == "":
			op = "="
		}
		if len(out) == 8 {
			return nil, errors.New("more than 8 comparisons")
		}
		out = append(out, term{op, field})
		op = ""
	}
	if op != "" {
		return nil, fmt.Errorf("%s has no version", op)
	}
	return out, nil
}

// Versions reports whether the query says something of versions.
func (q *Query) Versions() bool { return len(q.terms) > 0 }

// Match reports whether the package is asked for. sure is false where its versions cannot be compared as the query
// wants; it is then not asked for, and the caller says so.
func (q *Query) Match(p *scan.Package) (match, sure bool) {
	if q.Key != "" && Key(p.PURL) != q.Key || q.Text != "" && !strings.Contains(strings.ToLower(p.Name), q.Text) {
		return false, true
	}
	return q.MatchVersion(p.Ecosystem, p.Version)
}

// MatchVersion is Match for what is known to have the name.
func (q *Query) MatchVersion(ecosystem, version string) (match, sure bool) {
	for _, t := range q.terms {
		if t.op == "=" && t.version == version {
			continue
		}
		want := t.version
		if strings.HasPrefix(ecosystem, "Go") {
			want, version = strings.TrimPrefix(want, "v"), strings.TrimPrefix(version, "v")
		}
		if version == "" {
			return false, false
		}
		n, ok := compare(ecosystem, version, want)
		if !ok {
			return false, t.op == "="
		}
		holds := map[string]bool{"<": n < 0, "<=": n <= 0, ">": n > 0, ">=": n >= 0, "=": n == 0}[t.op]
		if !holds {
			return false, true
		}
	}
	return true, true
}

// Key is a package URL without scheme, version and qualifiers, unescaped, with what does not matter in the names of its
// type taken away: the same for all spellings of one package. It is empty for what is no package URL.
func Key(purl string) string {
	rest, ok := strings.CutPrefix(withoutVersion(purl), "pkg:")
	if !ok {
		return ""
	}
	rest = strings.Trim(rest, "/")
	if unescaped, err := url.PathUnescape(rest); err == nil {
		rest = unescaped
	}
	kind, name, _ := strings.Cut(rest, "/")
	kind = strings.ToLower(kind)
	switch kind {
	case "pypi":
		name = normalisePyPI(name)
	case "nuget", "composer", "deb", "apk", "github", "bitbucket", "hex", "pub":
		name = strings.ToLower(name)
	}
	return kind + "/" + name
}

// normalisePyPI brings a name to the form of PEP 503.
func normalisePyPI(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(name) {
		if r == '-' || r == '_' || r == '.' {
			dash = true
			continue
		}
		if dash {
			b.WriteByte('-')
			dash = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
