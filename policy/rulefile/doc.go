// Package rulefile reads the YAML of rule files for the dialects that are written in it: within bounds that no file can
// make slow, and with the place of every key, every value and every character of a value, so that a problem says where
// it stands.
//
// Anchors, aliases, merge keys, tags and directives are not part of rule files: with them a small file can stand for an
// endless one. A dialect reads the nodes of [File.Parse] with [File.Pairs], [File.Scalar] and [File.Scalars], which note
// what is wrong; [File.Align] says where the characters of a folded or quoted text stand.
package rulefile
