// Package detect recognises secrets in bytes: for scanning source code, for the edge, and
// for keeping secrets out of what testudo itself records.
//
// A [Set] is compiled from rules, one YAML file each (the shape is [Rule]'s). It looks
// for all rules' literals in one pass and looks closer only where one
// occurs: at a token that begins with the literal, at a regular expression in a window around it,
// or at the value assigned to a name that contains it. What it finds then has to pass the
// rule's entropy and character checks, must not be a placeholder, and is put to an
// offline proof where the format has one (a checksum, a key that parses).
//
// To find use [Set.Find] or, where the bytes have a path, [Set.FindIn], which also weighs what kind of
// file it is; to mask use [Set.Redact]. Nothing here reads the network or the clock, and the package
// never writes a secret anywhere: a [Match] has positions only.
package detect
