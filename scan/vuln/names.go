package vuln

import "strings"

// sameName reports whether two names are one package in the ecosystem.
func sameName(ecosystem, a, b string) bool {
	if a == b {
		return true
	}
	family, _, _ := strings.Cut(ecosystem, ":")
	switch family {
	case "PyPI":
		return normalPyPI(a) == normalPyPI(b)
	case "NuGet", "Packagist", "GitHub Actions":
		return strings.EqualFold(a, b)
	}
	return false
}

// normalPyPI is a name as PEP 503 compares it.
func normalPyPI(name string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(name) {
		if r == '-' || r == '_' || r == '.' {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('-')
		}
		gap = false
		b.WriteRune(r)
	}
	return b.String()
}

// withoutVersion is a package URL that stays the same when the package is upgraded.
func withoutVersion(purl string) string {
	purl, _, _ = strings.Cut(purl, "#")
	purl, _, _ = strings.Cut(purl, "?")
	if at := strings.LastIndexByte(purl, '@'); at > strings.LastIndexByte(purl, '/') {
		purl = purl[:at]
	}
	return purl
}
