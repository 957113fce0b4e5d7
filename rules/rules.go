// Package rules holds the rule content that ships with testudo. One file is one
// rule, or a few that belong together, with its tests in the same file.
//
// The folders are named after the planes whose events the rules read. The package
// knows no dialect: who uses a folder compiles it (package policy for edge,
// package detect for code/secrets).
package rules

import (
	"embed"
	"io/fs"
)

//go:embed all:edge all:code
var content embed.FS

// FS returns the whole content: a read-only tree with the folders edge and code.
func FS() fs.FS { return content }

// Edge returns the rules over HTTP requests and responses, in the native dialect of
// package policy.
func Edge() fs.FS { return sub("edge") }

// Code returns the rules over source code and artefacts, a folder for each kind of
// scanner.
func Code() fs.FS { return sub("code") }

// sub cannot fail: the folders are named in the embed directive above.
func sub(dir string) fs.FS {
	tree, err := fs.Sub(content, dir)
	if err != nil {
		panic("rules: " + err.Error())
	}
	return tree
}
