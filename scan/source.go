package scan

import (
	"context"
	"io"
	"io/fs"

	"github.com/testudo-sec/testudo/signal"
)

// A Source gives the files of a target, each once.
//
// Files calls the visitor for each file, in parallel if it likes, and returns when no call is
// under way. An error says that the target cannot be read at all, or that ctx ended; a part of it
// that cannot be read is skipped and said.
type Source interface {
	Files(ctx context.Context, v Visitor) error
}

// A Visitor takes what a source gives. It is safe for concurrent use.
type Visitor interface {
	// Found adds to the number of files that are known to come; complete says that there are no more.
	Found(files int, complete bool)
	// Wants reports whether somebody reads the file though it is larger than MaxFileSize: then it
	// is to be given with Content and without Data.
	Wants(path string, info fs.FileInfo) bool
	// File offers a file. Neither f nor what it holds is kept.
	File(ctx context.Context, f *File)
	// Skip counts files or folders that are left out; the first paths are named with the reason.
	Skip(why Skipped, path, reason string)
	// Count counts what is left out and needs no name.
	Count(why Skipped, n uint64)
}

// A Chooser is a visitor that says before a file is opened that nobody reads it; the file counts then as offered. A source
// that asks gives the others with Content, without Data.
type Chooser interface {
	// Selective reports whether there are files that nobody reads, of whatever size; else Passes is true of large ones alone.
	Selective() bool
	Passes(path string, info fs.FileInfo) bool
}

// Skipped is why something was left out.
type Skipped uint8

// The reasons to leave something out; see [Stats].
const (
	Ignored Skipped = iota
	TooLarge
	Special
	TooDeep
	Unreadable
	Failed
	NoRoom
)

// An Opener makes a source of a file that holds others, as an archive does.
//
// Open returns nil if the file is none of its. The paths that the source gives begin with the file's own,
// then "!/"; their Depth is one more. What it unpacks is bounded, and what does not fit is skipped and said. An opener with
// an extractor's Wants is also given files that are larger than MaxFileSize.
type Opener interface {
	Open(f *File) Source
}

// File is a file as the parts see it.
type File struct {
	// Path is relative to the root, with slashes. Bytes that are not printable UTF-8 are
	// written as escapes (see Printable).
	Path string
	// Data is the whole content, valid during the call. UTF-16 with a byte order mark is
	// converted to UTF-8. It is nil for files larger than MaxFileSize, and
	// where no scanner runs: only extractors see these.
	Data []byte
	// Binary says that a zero byte is among the first 8,000.
	Binary bool

	// Name is the path in FS, as it is.
	Name string
	// Info is what the source knows of the file; may be nil.
	Info fs.FileInfo
	// Content is the file's bytes as they are stored; valid during the call, nil where Data is
	// all there is.
	Content io.ReaderAt
	// FS is the tree that the file stands in, for parts that must look at files beside it; nil if there is none.
	FS fs.FS
	// Depth counts the archives that the file is in.
	Depth int
	// Layer is the digest of the image layer that holds the file.
	Layer string
	// Commit is the first one that holds the file, for files of a history: of which a finding, by its id, is reported
	// once, at the file of the lowest Order, when all are through.
	Commit string
	// Order is the place of Commit in the history, oldest first.
	Order int
	// Current says that the file is still in the history's newest state, at this path.
	Current bool
	// Evidence is added to each finding in the file: the instruction that made the layer, the commit's author.
	Evidence []signal.Evidence

	// Only restricts the parts that are asked.
	Only Parts
	// Take, if not nil, gets what the parts say, before Visitor.File returns; the run reports nothing of the file.
	Take func(Result)
	// Given, if not nil, is what the parts said: the run reports it and asks none. Layer and Evidence count, nothing else does.
	Given *Result
}
