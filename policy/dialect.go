package policy

// File is the text of a rule file.
type File struct {
	Name string // as problems and rules name it, with slashes
	Text []byte // valid UTF-8
}

// A Dialect compiles rule files of one language. It is safe for concurrent use, and its
// result depends on the files alone.
type Dialect interface {
	// Name is the dialect's name, as in "native".
	Name() string
	// Detect reports whether the file is written in the dialect. The first dialect
	// that says so gets the file.
	Detect(f File) bool
	// Compile returns the rules of all files, which are in order and belong
	// together: what one defines another may use. What cannot be compiled is a problem,
	// never left out in silence; of a file with a problem no rule need be returned. A problem that is a
	// note keeps nothing from being loaded.
	Compile(files []File) ([]*Rule, Problems)
}
