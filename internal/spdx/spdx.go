// Package spdx reads SPDX licence expressions (SPDX 2.3, annex D) and tells which licence the names mean that people
// write instead. The list of identifiers is ids.txt, made
// of the npm packages spdx-license-ids 3.0.24 and spdx-exceptions 2.5.0.
package spdx

import (
	_ "embed"
	"strings"
	"sync"
)

//go:embed ids.txt
var idsText string

// kind says what an identifier stands for.
type kind uint8

const (
	license kind = iota + 1
	deprecated
	exception
)

type entry struct {
	id   string
	kind kind
}

// list is read when it is first asked for: most runs never do.
var list = sync.OnceValue(func() map[string]entry {
	m := make(map[string]entry, 900)
	for line := range strings.Lines(idsText) {
		id, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		e := entry{id: id, kind: license}
		switch what {
		case "deprecated":
			e.kind = deprecated
		case "exception":
			e.kind = exception
		}
		m[strings.ToLower(id)] = e
	}
	return m
})

// License returns the identifier as SPDX writes it, whatever its case; deprecated ones are known too.
func License(id string) (string, bool) {
	e, ok := list()[strings.ToLower(id)]
	return e.id, ok && e.kind != exception
}

// Exception returns the identifier of an exception as SPDX writes it.
func Exception(id string) (string, bool) {
	e, ok := list()[strings.ToLower(id)]
	return e.id, ok && e.kind == exception
}

// Current returns what stands for a deprecated identifier today: "GPL-2.0+" is GPL-2.0-or-later. Others are returned as they
// are.
func Current(id string) string {
	e, ok := list()[strings.ToLower(id)]
	if !ok || e.kind != deprecated {
		return id
	}
	stem, plus := strings.CutSuffix(e.id, "+")
	for _, family := range []string{"AGPL-", "GPL-", "LGPL-", "GFDL-"} {
		if strings.HasPrefix(stem, family) && !strings.Contains(stem, "-with-") {
			if plus {
				return stem + "-or-later"
			}
			return stem + "-only"
		}
	}
	if with, after, ok := strings.Cut(stem, "-with-"); ok {
		if to, known := withExceptions[after]; known {
			if newer, ok := strings.CutSuffix(to, "-2.0"); ok && with == "GPL-3.0" {
				to = newer + map[string]string{"GCC-exception": "-3.1"}[newer]
				if newer == "Autoconf-exception" {
					to = newer + "-3.0"
				}
			}
			return with + "-only WITH " + to
		}
	}
	return e.id
}

// withExceptions are the deprecated identifiers that name an exception.
var withExceptions = map[string]string{
	"autoconf-exception": "Autoconf-exception-2.0", "bison-exception": "Bison-exception-2.2", "classpath-exception": "Classpath-exception-2.0",
	"font-exception": "Font-exception-2.0", "GCC-exception": "GCC-exception-2.0",
}
