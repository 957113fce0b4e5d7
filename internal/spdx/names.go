package spdx

import (
	"slices"
	"strings"
)

// Normalize returns the expression that a licence as people write it means: "Apache 2", "MIT License", "GPLv3+",
// "MIT/Apache-2.0", "BSD-3-Clause or GPL-2.0+". It returns false where nothing is meant for sure: "BSD", "see LICENSE".
func Normalize(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxExpression {
		return "", false
	}
	if e, err := Parse(s); err == nil {
		return e.String(), true
	}
	if id, ok := byName(s); ok {
		return id, true
	}
	return compound(s)
}

// compound reads names that are joined by words or by "/", "|", ";" or ",".
func compound(s string) (string, bool) {
	for _, by := range []struct {
		words []string
		join  string
	}{
		{[]string{" or ", "||", "|", "/"}, " OR "},
		{[]string{" and ", "&&", "&", ";", ","}, " AND "},
	} {
		lower := asciiLower(s)
		for _, word := range by.words {
			if !strings.Contains(lower, word) {
				continue
			}
			var parts []string
			for rest, at := s, 0; at >= 0; {
				at = strings.Index(asciiLower(rest), word)
				part := rest
				if at >= 0 && at <= len(rest) {
					part, rest = rest[:at], rest[min(at+len(word), len(rest)):]
				}
				one, ok := Normalize(strings.Trim(part, " ()"))
				if !ok {
					return "", false
				}
				if strings.Contains(one, " OR ") {
					one = "(" + one + ")"
				}
				parts = append(parts, one)
				if len(parts) > 50 {
					return "", false
				}
			}
			e, err := Parse(strings.Join(parts, by.join))
			if err != nil {
				return "", false
			}
			return e.String(), true
		}
	}
	return "", false
}

// asciiLower keeps the length, so that places in the result are places in s.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// byName knows names of single licences.
func byName(s string) (string, bool) {
	s = strings.ToLower(s)
	for _, prefix := range []string{"license :: osi approved :: ", "license :: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	if id, ok := urls[strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://"), "www."), "/"), ".txt")]; ok {
		return id, true
	}
	key := squeeze(s)
	if id, ok := names[key]; ok {
		return id, true
	}
	if id, ok := License(key); ok && id != "" {
		return Current(id), true
	}
	return gnu(key)
}

// squeeze takes out what does not tell licences apart.
func squeeze(s string) string {
	s = strings.NewReplacer("license", " ", "licence", " ", "licensed under", " ", "the ", " ", "version", " ", "software", " ", "(", " ", ")", " ",
		",", " ", "\"", " ", "'", " ", "_", " ", "-", " ", ":", " ").Replace(s)
	words := strings.Fields(s)
	for i, w := range words {
		if len(w) > 1 && w[0] == 'v' && w[1] >= '0' && w[1] <= '9' {
			w = w[1:]
		}
		words[i] = strings.TrimPrefix(w, "v.")
	}
	if half := len(words) / 2; len(words) == 2*half && slices.Equal(words[:half], words[half:]) {
		words = words[:half] // "MIT License (MIT)"
	}
	return strings.TrimSuffix(strings.Join(words, " "), ".")
}

// gnu reads the many ways to write a licence of the GNU project: "gplv2+", "gnu gpl 3 or later", "lgpl 2.1".
func gnu(key string) (string, bool) {
	later := false
	for _, suffix := range []string{"or any later", "or later", "or newer", "+", "or greater"} {
		if stem, ok := strings.CutSuffix(key, suffix); ok {
			key, later = strings.TrimSpace(stem), true
			break
		}
	}
	if stem, ok := strings.CutSuffix(key, " only"); ok {
		key = stem
	}
	key = strings.TrimPrefix(strings.TrimPrefix(key, "gnu "), "/")
	for _, f := range []struct{ name, id string }{
		{"affero general public", "AGPL"}, {"agpl", "AGPL"}, {"lesser general public", "LGPL"}, {"library general public", "LGPL"},
		{"lgpl", "LGPL"}, {"general public", "GPL"}, {"gpl", "GPL"}, {"free documentation", "GFDL"}, {"gfdl", "GFDL"},
	} {
		rest, ok := strings.CutPrefix(key, f.name)
		if !ok {
			continue
		}
		for _, abbreviation := range []string{"agpl", "lgpl", "gpl"} {
			rest = strings.TrimPrefix(strings.TrimSpace(rest), abbreviation)
		}
		number := strings.TrimPrefix(strings.TrimSpace(rest), "v")
		if !strings.Contains(number, ".") {
			number += ".0"
		}
		id := f.id + "-" + number + "-only"
		if later {
			id = f.id + "-" + number + "-or-later"
		}
		return License(id)
	}
	return "", false
}

var names = map[string]string{
	"apache": "Apache-2.0", "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache2": "Apache-2.0", "apache2.0": "Apache-2.0", "asl 2.0": "Apache-2.0",
	"asl 2": "Apache-2.0", "al 2.0": "Apache-2.0", "apache public 2.0": "Apache-2.0", "apache foundation 2.0": "Apache-2.0", "apache 1.1": "Apache-1.1",
	"mit": "MIT", "mit x11": "MIT", "mit expat": "MIT", "expat": "MIT", "mit open source": "MIT", "x11": "X11",
	"isc": "ISC", "iscl": "ISC", "isc iscl": "ISC", "zlib": "Zlib", "zlib/libpng": "Zlib",
	"bsd 3 clause": "BSD-3-Clause", "bsd 3": "BSD-3-Clause", "3 clause bsd": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "modified bsd": "BSD-3-Clause",
	"revised bsd": "BSD-3-Clause", "bsd new": "BSD-3-Clause", "bsd 3clause": "BSD-3-Clause", "bsd3": "BSD-3-Clause",
	"bsd 2 clause": "BSD-2-Clause", "bsd 2": "BSD-2-Clause", "2 clause bsd": "BSD-2-Clause", "simplified bsd": "BSD-2-Clause", "freebsd": "BSD-2-Clause", "bsd 2clause": "BSD-2-Clause",
	"0bsd": "0BSD", "zero clause bsd": "0BSD", "bsd 4 clause": "BSD-4-Clause",
	"mozilla public 2.0": "MPL-2.0", "mozilla public 2.0 mpl 2.0": "MPL-2.0", "mpl 2.0": "MPL-2.0", "mpl 2": "MPL-2.0", "mpl2": "MPL-2.0", "mozilla public 1.1": "MPL-1.1", "mpl 1.1": "MPL-1.1",
	"eclipse public 1.0": "EPL-1.0", "epl 1.0": "EPL-1.0", "eclipse public 2.0": "EPL-2.0", "epl 2.0": "EPL-2.0", "eclipse distribution 1.0": "BSD-3-Clause", "edl 1.0": "BSD-3-Clause",
	"cddl 1.0": "CDDL-1.0", "cddl 1.1": "CDDL-1.1", "common development and distribution 1.0": "CDDL-1.0",
	"python foundation": "PSF-2.0", "psf": "PSF-2.0", "psfl": "PSF-2.0", "psf 2.0": "PSF-2.0", "python 2.0": "Python-2.0",
	"unlicense": "Unlicense", "unlicense unlicense": "Unlicense", "cc0": "CC0-1.0", "cc0 1.0": "CC0-1.0", "cc0 1.0 universal": "CC0-1.0", "cc0 1.0 universal cc0 1.0 public domain dedication": "CC0-1.0", "creative commons zero": "CC0-1.0",
	"cc by 4.0": "CC-BY-4.0", "cc by 3.0": "CC-BY-3.0", "cc by sa 4.0": "CC-BY-SA-4.0",
	"boost": "BSL-1.0", "boost 1.0": "BSL-1.0", "boost 1.0 bsl 1.0": "BSL-1.0", "bsl 1.0": "BSL-1.0", "wtfpl": "WTFPL", "do what fuck you want to public": "WTFPL",
	"artistic 2.0": "Artistic-2.0", "artistic 2": "Artistic-2.0", "artistic": "Artistic-1.0", "perl": "Artistic-1.0-Perl OR GPL-1.0-or-later", "ruby": "Ruby", "php 3.01": "PHP-3.01", "openssl": "OpenSSL",
	"blueoak 1.0.0": "BlueOak-1.0.0", "blue oak model 1.0.0": "BlueOak-1.0.0", "postgresql": "PostgreSQL", "sil open font 1.1": "OFL-1.1", "ofl 1.1": "OFL-1.1", "ms pl": "MS-PL", "microsoft public": "MS-PL",
	"universal permissive 1.0": "UPL-1.0", "upl 1.0": "UPL-1.0", "historical permission notice and disclaimer hpnd": "HPND", "hpnd": "HPND", "ecl 2.0": "ECL-2.0", "eupl 1.2": "EUPL-1.2", "european union public 1.2 eupl 1.2": "EUPL-1.2",
	"gnu affero general public 3": "AGPL-3.0-only", "gnu affero general public 3 or later agplv3+": "AGPL-3.0-or-later", "gnu general public 2 gplv2": "GPL-2.0-only", "gnu general public 3 gplv3": "GPL-3.0-only",
	"gnu general public 2 or later gplv2+": "GPL-2.0-or-later", "gnu general public 3 or later gplv3+": "GPL-3.0-or-later",
	"gnu lesser general public 2 lgplv2": "LGPL-2.0-only", "gnu lesser general public 3 lgplv3": "LGPL-3.0-only", "gnu lesser general public 2 or later lgplv2+": "LGPL-2.0-or-later", "gnu lesser general public 3 or later lgplv3+": "LGPL-3.0-or-later",
	"gpl 2 with classpath exception": "GPL-2.0-only WITH Classpath-exception-2.0", "gpl2 w/ cpe": "GPL-2.0-only WITH Classpath-exception-2.0",
}

var urls = map[string]string{
	"apache.org/licenses/license-2.0": "Apache-2.0", "apache.org/licenses/license-2.0.html": "Apache-2.0", "opensource.org/licenses/apache-2.0": "Apache-2.0", "opensource.org/licenses/mit": "MIT",
	"opensource.org/licenses/mit-license.php": "MIT", "opensource.org/licenses/bsd-3-clause": "BSD-3-Clause", "opensource.org/licenses/bsd-2-clause": "BSD-2-Clause", "eclipse.org/legal/epl-2.0": "EPL-2.0",
	"eclipse.org/legal/epl-v10.html": "EPL-1.0", "eclipse.org/legal/epl-v20.html": "EPL-2.0", "mozilla.org/mpl/2.0": "MPL-2.0", "gnu.org/licenses/lgpl-2.1": "LGPL-2.1-only", "gnu.org/licenses/gpl-3.0": "GPL-3.0-only",
}
