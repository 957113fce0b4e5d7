package spdx

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"mit":                                    "MIT",
		"MIT or Apache-2.0":                      "MIT OR Apache-2.0",
		"(MIT AND (Apache-2.0 OR BSD-3-Clause))": "MIT AND (Apache-2.0 OR BSD-3-Clause)",
		"MIT AND Apache-2.0 OR ISC":              "MIT AND Apache-2.0 OR ISC",
		"GPL-2.0+":                               "GPL-2.0-or-later",
		"GPL-2.0":                                "GPL-2.0-only",
		"GPL-2.0-with-classpath-exception":       "GPL-2.0-only WITH Classpath-exception-2.0",
		"GPL-2.0-only WITH classpath-exception-2.0": "GPL-2.0-only WITH Classpath-exception-2.0",
		"Apache-2.0+": "Apache-2.0+",
		"LicenseRef-ours OR DocumentRef-x:LicenseRef-y": "LicenseRef-ours OR DocumentRef-x:LicenseRef-y",
	} {
		e, err := Parse(in)
		if err != nil || e.String() != want {
			t.Errorf("Parse(%q) = %v, %v, want %s", in, e, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "ends where", "MIT OR": "ends where", "(MIT": "not closed", "MIT)": "not expected", "Apache-2": "SPDX list", "MIT WITH MIT": "exception",
		"AND": "where a licence", "MIT MIT": "not expected", "LicenseRef-": "SPDX list", strings.Repeat("(", 60) + "MIT": "nested deeper", strings.Repeat("MIT AND ", 1000) + "MIT": "the limit is",
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.20q): %v, want %q", in, err, want)
		}
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"Apache 2": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "The Apache Software License, Version 2.0": "Apache-2.0", "MIT License": "MIT", "The MIT License (MIT)": "",
		"BSD-3-Clause OR GPL-2.0+": "BSD-3-Clause OR GPL-2.0-or-later", "MIT/Apache-2.0": "MIT OR Apache-2.0", "GPLv3+": "GPL-3.0-or-later", "GPL v2": "GPL-2.0-only",
		"GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later", "License :: OSI Approved :: MIT License": "MIT", "LGPLv2.1": "LGPL-2.1-only", "New BSD License": "BSD-3-Clause",
		"http://www.apache.org/licenses/LICENSE-2.0.txt": "Apache-2.0", "BSD": "", "see LICENSE": "", "UNLICENSED": "", "Public Domain": "", "GNU Lesser General Public License v3.0": "LGPL-3.0-only",
		"Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "MIT and Apache 2": "MIT AND Apache-2.0", "Python Software Foundation License": "PSF-2.0", "GPL": "", "LGPL-2.1+": "LGPL-2.1-or-later",
		"Perl": "Artistic-1.0-Perl OR GPL-1.0-or-later",
	} {
		got, ok := Normalize(in)
		if in == "The MIT License (MIT)" {
			want = "MIT"
		}
		if got != want || ok != (want != "") {
			t.Errorf("Normalize(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}

// Every identifier of the list is an expression of its own, whatever its case.
func TestList(t *testing.T) {
	n := 0
	for key, e := range list() {
		if e.kind == exception {
			continue
		}
		n++
		if parsed, err := Parse(key); err != nil || parsed.License == "" {
			t.Errorf("%s: %v", e.id, err)
		}
	}
	if n < 600 {
		t.Errorf("%d licences in the list", n)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"MIT", "(MIT OR Apache-2.0) AND ISC WITH x", "GPL v2 / MIT", "İ or MIT", "a,b;c|d&e", "GPL-2.0-with-classpath-exception"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := Normalize(s)
		if !ok {
			return
		}
		e, err := Parse(got)
		if err != nil || e.String() != got {
			t.Fatalf("Normalize(%q) = %q, which reads as %v, %v", s, got, e, err)
		}
	})
}
