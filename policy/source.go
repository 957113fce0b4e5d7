package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// The bounds of one load, beside the configured size of a file.
const (
	MaxFiles      = 20_000
	MaxTotalBytes = 256 << 20
)

// Source is where rule files come from: a tree in the program, or a folder or file on
// disk. Of a tree every file that ends in .yaml, .yml or .rego is read, in the
// order of their names; hidden files and folders are not. Links are followed to files
// inside the folder only.
type Source struct {
	Name string // put before file names in problems
	FS   fs.FS  // nil for Path
	Path string // folder or file on disk
}

// Embedded returns the source of a tree in the program.
func Embedded(name string, tree fs.FS) Source { return Source{Name: name, FS: tree} }

// Disk returns the source of a folder or file on disk. Problems name its files as path
// begins.
func Disk(path string) Source { return Source{Name: filepath.ToSlash(path), Path: path} }

// ReadFiles returns the rule files of the sources, none larger than limit (0 for DefaultMaxFile), and what is wrong with
// them as files. The error is for what ends the whole load.
func ReadFiles(ctx context.Context, limit bytesize.Size, sources ...Source) ([]File, Problems, error) {
	if limit <= 0 {
		limit = DefaultMaxFile
	}
	return read(ctx, sources, limit)
}

// read returns the files of the sources and what is wrong with them as files.
func read(ctx context.Context, sources []Source, limit bytesize.Size) ([]File, Problems, error) {
	r := reader{ctx: ctx, limit: int64(limit)}
	for _, s := range sources {
		if err := r.source(s); err != nil {
			return nil, nil, err
		}
	}
	return r.files, r.problems, nil
}

type reader struct {
	ctx      context.Context
	limit    int64 // bytes of one file
	total    int64
	files    []File
	problems Problems
}

func (r *reader) problem(name, message, hint string) {
	r.problems = append(r.problems, Problem{File: name, Message: message, Hint: hint})
}

// source reads one source. It returns an error only where the whole load is to end.
func (r *reader) source(s Source) error {
	tree, close, only, err := s.open()
	if err != nil {
		r.problem(s.Name, err.Error(), "")
		return nil
	}
	defer close()
	if only != "" {
		return r.file(tree, only, s.Name)
	}
	return fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if stop := r.ctx.Err(); stop != nil {
			return stop
		}
		name := path.Join(s.Name, p)
		if err != nil {
			r.problem(name, plain(err), "")
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if hidden := p != "." && strings.HasPrefix(d.Name(), "."); hidden || d.IsDir() {
			if hidden && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !isRuleFile(p) {
			return nil
		}
		return r.file(tree, p, name)
	})
}

func isRuleFile(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".yaml" || ext == ".yml" || ext == ".rego"
}

// open returns the tree, or for a single file the tree around it and its name.
// What is on disk is opened as a root, which links cannot leave.
func (s Source) open() (tree fs.FS, close func() error, only string, err error) {
	if s.FS != nil {
		return s.FS, func() error { return nil }, "", nil
	}
	info, err := os.Stat(s.Path)
	if err != nil {
		return nil, nil, "", errors.New(plain(err))
	}
	dir := s.Path
	if !info.IsDir() {
		dir, only = filepath.Split(filepath.Clean(s.Path))
		if dir == "" {
			dir = "."
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, "", errors.New(plain(err))
	}
	return root.FS(), root.Close, only, nil
}

func (r *reader) file(tree fs.FS, p, name string) error {
	if len(r.files) >= MaxFiles {
		return fmt.Errorf("more than %d rule files: name a smaller folder", MaxFiles)
	}
	// Stat first: opening a pipe would wait for its writer.
	info, err := fs.Stat(tree, p)
	switch {
	case err != nil:
		r.problem(name, plain(err), "")
		return nil
	case info.IsDir():
		return nil // a link to a folder
	case !info.Mode().IsRegular():
		r.problem(name, "not a regular file", "")
		return nil
	}
	f, err := tree.Open(p)
	if err != nil {
		r.problem(name, plain(err), "")
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, r.limit+1))
	switch {
	case err != nil:
		r.problem(name, plain(err), "")
		return nil
	case int64(len(text)) > r.limit:
		r.problem(name, fmt.Sprintf("larger than %v", bytesize.Size(r.limit)), "split it, or raise policy.max_file")
		return nil
	}
	if r.total += int64(len(text)); r.total > MaxTotalBytes {
		return fmt.Errorf("more than %v of rule files: name a smaller folder", bytesize.Size(MaxTotalBytes))
	}
	if !utf8.Valid(text) {
		line, column := 1, 1
		for rest := text; ; {
			c, size := utf8.DecodeRune(rest)
			if c == utf8.RuneError && size <= 1 {
				break
			}
			if column++; c == '\n' {
				line, column = line+1, 1
			}
			rest = rest[size:]
		}
		r.problems = append(r.problems, Problem{File: name, Line: line, Column: column, Message: "not valid UTF-8", Hint: "save the file as UTF-8"})
		return nil
	}
	r.files = append(r.files, File{Name: name, Text: text})
	return nil
}

// plain is the error without the path, which stands before it already.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
