// Package rules holds the rule content that ships with testudo. One file is one
// rule, or a few that belong together, with its tests in the same file.
//
// There are two trees: [Judging], by which events are judged, with a folder for each kind of harm, and
// [Code], which scanners look for. The package knows no dialect: who uses a tree compiles it (package
// policy the one, package detect the other).
package rules

import (
	"embed"
	"io/fs"
)

//go:embed all:edge all:process all:credential all:persistence all:integrity all:cloud all:exfil
var judging embed.FS

//go:embed all:code
var code embed.FS

// Folders lists the folders of [Judging] in the order in which people should meet them. A rule's id begins
// with its folder's name.
func Folders() []string {
	return []string{"edge", "process", "credential", "persistence", "integrity", "cloud", "exfil"}
}

// Judging returns the rules by which events are judged, all of them in the native dialect of package
// policy: a read-only tree with the folders that [Folders] lists.
func Judging() fs.FS { return judging }

// Edge returns the rules of [Judging] over HTTP requests and responses.
func Edge() fs.FS { return sub(judging, "edge") }

// Code returns the rules over source code and artefacts, a folder for each kind of
// scanner.
func Code() fs.FS { return sub(code, "code") }

// sub cannot fail: the folders are named in the embed directives above.
func sub(tree fs.FS, dir string) fs.FS {
	inner, err := fs.Sub(tree, dir)
	if err != nil {
		panic("rules: " + err.Error())
	}
	return inner
}
