package detect

import (
	"math"
	"path"
	"strings"
)

// entropy is the Shannon entropy of b in bits a byte.
func entropy(b []byte) float64 {
	if len(b) == 0 {
		return 0
	}
	var counts [256]uint16
	for _, c := range b[:min(len(b), math.MaxUint16)] {
		counts[c]++
	}
	n, sum := float64(min(len(b), math.MaxUint16)), 0.0
	for _, k := range counts {
		if k > 0 {
			p := float64(k) / n
			sum -= p * math.Log2(p)
		}
	}
	return sum
}

// need is a set of characters as a bit.
type need uint8

const (
	needDigit need = 1 << iota
	needLower
	needUpper
	needSymbol
	needLetter
)

func needs(name string) (need, bool) {
	switch name {
	case "digit":
		return needDigit, true
	case "lower":
		return needLower, true
	case "upper":
		return needUpper, true
	case "symbol":
		return needSymbol, true
	case "letter":
		return needLetter, true
	}
	return 0, false
}

func has(b []byte) need {
	var n need
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			n |= needDigit
		case 'a' <= c && c <= 'z':
			n |= needLower | needLetter
		case 'A' <= c && c <= 'Z':
			n |= needUpper | needLetter
		default:
			n |= needSymbol
		}
	}
	return n
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// placeholders are parts, in lower case, that show that a value stands for a secret instead
// of being one. None is likely by chance in a random token.
var placeholders = []string{
	"example", "xxxx", "****", "....", "____", "----", "${", "{{", "%(", "$(", "#{", "%{", "@@",
	"placeholder", "changeme", "change-me", "change_me", "redacted", "your-", "your_", "yourtoken", "yourkey", "yourapi",
	"insert", "replace", "sample", "dummy", "notreal", "not-real", "not_real", "fake", "12345678", "abcdefgh", "01234567", "deadbeef",
	"foobar", "secret_key_here", "keyhere", "key_here", "tokenhere", "token_here",
}

// isPlaceholder tells of values that documentation, templates and masks use.
func isPlaceholder(secret []byte) bool {
	if len(secret) > 512 {
		return false // a key block: its own check decides
	}
	var buf [512]byte
	low := buf[:len(secret)]
	longest, run := 0, 0
	for i, c := range secret {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
		if i > 0 && low[i-1] == c {
			run++
		} else {
			run = 1
		}
		longest = max(longest, run)
	}
	if longest*2 >= len(secret) || longest >= 8 {
		return true
	}
	s := string(low)
	for _, p := range placeholders {
		if strings.Contains(s, p) {
			return true
		}
	}
	return isBracketed(s)
}

// isBracketed tells of a name in angle brackets, as in <your token>: a lone bracket stands in passwords too.
func isBracketed(s string) bool {
	_, s, ok := strings.Cut(s, "<")
	name, _, closed := strings.Cut(s, ">")
	return ok && (!closed && s == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789 _.-/") == "")
}

// file is what a path tells about its content.
type file struct {
	path    string
	fixture bool // tests, examples, documentation: secrets there are often made up
	code    bool // a programming language: a value without quotes is an expression
}

func classifyPath(p string) file {
	f := file{path: p}
	if p == "" {
		return f
	}
	low := strings.ToLower(p)
	base := path.Base(low)
	for dir := range strings.SplitSeq(strings.TrimSuffix(low, base), "/") {
		switch dir {
		case "__tests__", "__mocks__", "__fixtures__", "spec", "specs", "fixture", "fixtures",
			"example", "examples", "_examples", "sample", "samples", "doc", "docs", "demo", "demos", "mock", "mocks",
			"e2e", "integration", "internal_test", "mirage", "tutorial", "tutorials", "node_modules":
			f.fixture = true
		}
		if strings.HasSuffix(dir, "test") || strings.HasSuffix(dir, "tests") || strings.HasPrefix(dir, "test") || strings.HasPrefix(dir, "dummy") {
			f.fixture = true
		}
	}
	ext := path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	switch ext {
	case ".md", ".markdown", ".rst", ".adoc", ".snap", ".mdx", ".html", ".txtar", ".ipynb", ".1", ".5", ".8":
		f.fixture = true
	case ".go", ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx", ".py", ".java", ".kt", ".c", ".cc", ".cpp", ".h", ".hpp", ".cs", ".rb", ".rs",
		".php", ".swift", ".scala", ".m", ".lua", ".pl", ".dart", ".vue", ".svelte", ".groovy", ".ex", ".exs", ".clj", ".hs", ".s", ".proto", ".css", ".scss", ".sql":
		f.code = true
	}
	if strings.HasSuffix(stem, "_test") || strings.Contains(stem, "_test_") || strings.Contains(stem, "_test.") || strings.HasSuffix(stem, ".test") || strings.HasSuffix(stem, ".spec") || strings.HasSuffix(stem, "_spec") ||
		strings.HasPrefix(stem, "test_") || strings.HasPrefix(stem, "testdata") || strings.HasSuffix(stem, "-test") || strings.HasPrefix(stem, "example") ||
		strings.HasSuffix(base, ".example") || strings.HasSuffix(base, ".sample") || strings.HasSuffix(base, ".template") || strings.HasSuffix(base, ".dist") ||
		base == "pkg-info" || base == "metadata" || strings.HasPrefix(base, "changelog") || strings.HasPrefix(base, "readme") || strings.HasPrefix(base, "swagger") || strings.HasPrefix(base, "openapi") ||
		strings.HasPrefix(stem, "fake") || strings.HasPrefix(stem, "mock") || strings.HasSuffix(stem, "_mock") || strings.HasSuffix(stem, "testing") {
		f.fixture = true
	}
	return f
}
