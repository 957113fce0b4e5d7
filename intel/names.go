package intel

import "strings"

// Ecosystem returns the family and the release of an OSV ecosystem: "Debian:12" is "Debian" and "12".
func Ecosystem(name string) (family, release string) {
	family, release, _ = strings.Cut(name, ":")
	return family, release
}

// NormalName is a package's name in the form in which the ecosystem compares names.
// PyPI: PEP 503; NuGet, Packagist and GitHub Actions do not tell case; elsewhere a name has one spelling.
func NormalName(ecosystem, name string) string {
	switch family, _ := Ecosystem(ecosystem); family {
	case "PyPI":
		return normalPyPI(name)
	case "NuGet", "Packagist", "GitHub Actions":
		return strings.ToLower(name)
	}
	return name
}

func normalPyPI(name string) string {
	var b strings.Builder
	b.Grow(len(name))
	gap := false
	for _, r := range strings.ToLower(name) {
		if r == '-' || r == '_' || r == '.' {
			gap = true
			continue
		}
		if gap {
			b.WriteByte('-')
			gap = false
		}
		b.WriteRune(r)
	}
	if gap {
		b.WriteByte('-')
	}
	return b.String()
}

// Limits of what a database holds of one advisory; what is larger is refused, or cut where that is said.
const (
	maxID         = 128
	maxName       = 1024
	maxEcosystem  = 128
	maxAliases    = 1000
	maxReferences = 500      // the rest is left out
	maxDetails    = 64 << 10 // bytes; the rest is cut off
	maxSummary    = 1 << 10
	maxAffected   = 100_000
	maxRecord     = 8 << 20 // encoded, for one package
)

// validName reports whether a name may be part of a key: of a sane length, without control characters.
func validName(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// ValidID reports whether s can be the id of an advisory: letters, digits and "-_.:+@", at most 128.
func ValidID(s string) bool {
	if s == "" || len(s) > maxID || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.:+@", rune(c)) {
			return false
		}
	}
	return true
}
