package fim

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// Baseline is what files were when somebody said that they were right. Its text form is the same for the same files: a head of lines
// "name value", a line of column names, and a line of tab-separated columns for each file in the order of a walk. Texts of others' making are escaped
// as [kernel.FilePath] says.
type Baseline struct {
	Host  string
	Taken time.Time // to the second, UTC
	Roots []string  // that were watched
	Full  bool      // there was more to watch than the limits allow
	Files []kernel.File
}

const (
	baselineHead    = "testudo files 1"
	baselineColumns = "path\tmode\tuid\tgid\tsize\tmodified\tsha256\ttarget\tpackage\taltered\tunread"
	maxBaseline     = 512 << 20 // bytes
	maxLine         = 64 << 10
)

// Find returns the file at a path.
func (b *Baseline) Find(name string) (kernel.File, bool) {
	i, ok := slices.BinarySearchFunc(b.Files, name, func(f kernel.File, name string) int { return comparePaths(string(f.Path), name) })
	if !ok {
		return kernel.File{}, false
	}
	return b.Files[i], true
}

// Put sets what a file is, or takes it out where it does not exist.
func (b *Baseline) Put(f kernel.File) {
	i, ok := slices.BinarySearchFunc(b.Files, string(f.Path), func(f kernel.File, name string) int { return comparePaths(string(f.Path), name) })
	switch {
	case ok && f.Exists:
		b.Files[i] = f
	case ok:
		b.Files = slices.Delete(b.Files, i, i+1)
	case f.Exists:
		b.Files = slices.Insert(b.Files, i, f)
	}
}

// Counts says what a baseline holds.
func (b *Baseline) Counts() (files, hashed, altered int) {
	for i := range b.Files {
		if b.Files[i].SHA256 != "" {
			hashed++
		}
		if b.Files[i].Altered {
			altered++
		}
	}
	return len(b.Files), hashed, altered
}

// Text returns the text form.
func (b *Baseline) Text() []byte {
	var w bytes.Buffer
	roots := make([]string, len(b.Roots))
	for i, r := range b.Roots {
		roots[i] = kernel.FilePath(r).String()
	}
	fmt.Fprintf(&w, "%s\nhost %s\ntaken %s\nroots %s\nfull %t\nfiles %d\n%s\n", baselineHead, kernel.FilePath(b.Host), b.Taken.UTC().Format(time.RFC3339),
		strings.Join(roots, " "), b.Full, len(b.Files), baselineColumns)
	text := func(s string) {
		w.WriteByte('\t')
		if s == "" {
			s = "-"
		} else if s = kernel.FilePath(s).String(); s == "-" {
			s = "%2D"
		}
		w.WriteString(s)
	}
	num := func(n int64, base int) {
		w.WriteByte('\t')
		w.Write(strconv.AppendInt(w.AvailableBuffer(), n, base))
	}
	for i := range b.Files {
		f := &b.Files[i]
		w.WriteString(f.Path.String())
		num(int64(f.Mode), 8)
		num(int64(f.UID), 10)
		num(int64(f.GID), 10)
		num(f.Size, 10)
		num(f.Modified, 10)
		text(f.SHA256)
		text(string(f.Target))
		text(f.Package)
		text(map[bool]string{true: "altered"}[f.Altered])
		text(f.Unread)
		w.WriteByte('\n')
	}
	return w.Bytes()
}

// Digest returns the SHA-256 of a text form, as it stands in the ledger.
func Digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// ParseBaseline reads a text form. What it takes is what [Baseline.Text] makes: any other text is an error.
func ParseBaseline(text []byte) (*Baseline, error) {
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, maxLine)
	line := 0
	next := func() (string, error) {
		if line++; s.Scan() {
			return s.Text(), nil
		}
		return "", fmt.Errorf("line %d: the baseline ends early", line)
	}
	head := func(name string) (string, error) {
		l, err := next()
		value, ok := strings.CutPrefix(l, name+" ")
		if err == nil && !ok {
			err = fmt.Errorf("line %d: want %q", line, name)
		}
		return value, err
	}
	if l, err := next(); err != nil || l != baselineHead {
		return nil, fmt.Errorf("line 1: %.40q is not the beginning of a baseline, %q is", l, baselineHead)
	}
	var b Baseline
	host, err := head("host")
	if err == nil {
		var p kernel.FilePath
		err = p.UnmarshalText([]byte(host))
		b.Host = string(p)
	}
	taken, err2 := head("taken")
	if err2 == nil {
		b.Taken, err2 = time.Parse(time.RFC3339, taken)
	}
	roots, err3 := head("roots")
	full, err4 := head("full")
	count, err5 := head("files")
	columns, err6 := next()
	if err := errors.Join(err, err2, err3, err4, err5, err6); err != nil {
		return nil, err
	}
	for _, r := range strings.Fields(roots) {
		var p kernel.FilePath
		if err := p.UnmarshalText([]byte(r)); err != nil {
			return nil, fmt.Errorf("line 4: %w", err)
		}
		b.Roots = append(b.Roots, string(p))
	}
	b.Full = full == "true"
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > mostFiles || columns != baselineColumns {
		return nil, fmt.Errorf("lines 6 and 7: want a number of files up to %d, and the names of the columns", mostFiles)
	}
	for range n {
		l, err := next()
		if err != nil {
			return nil, err
		}
		f, err := parseFile(l)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if len(b.Files) > 0 && comparePaths(string(b.Files[len(b.Files)-1].Path), string(f.Path)) >= 0 {
			return nil, fmt.Errorf("line %d: %s is out of order", line, f.Path)
		}
		b.Files = append(b.Files, f)
	}
	if s.Scan() || s.Err() != nil {
		return nil, fmt.Errorf("line %d: there is more than the %d files that were announced", line+1, n)
	}
	return &b, nil
}

func parseFile(l string) (f kernel.File, err error) {
	c := strings.Split(l, "\t")
	if len(c) != strings.Count(baselineColumns, "\t")+1 {
		return f, fmt.Errorf("%d columns, want %d", len(c), strings.Count(baselineColumns, "\t")+1)
	}
	num := func(s string, base, bits int) int64 {
		n, e := strconv.ParseInt(s, base, bits)
		err = errors.Join(err, e)
		return n
	}
	text := func(s string) string {
		if s == "-" {
			return ""
		}
		var p kernel.FilePath
		err = errors.Join(err, p.UnmarshalText([]byte(s)))
		return string(p)
	}
	f = kernel.File{Path: kernel.FilePath(text(c[0])), Exists: true, Mode: uint32(num(c[1], 8, 64)), UID: uint32(num(c[2], 10, 64)), GID: uint32(num(c[3], 10, 64)),
		Size: num(c[4], 10, 64), Modified: num(c[5], 10, 64), SHA256: text(c[6]), Target: kernel.FilePath(text(c[7])), Package: text(c[8]),
		Altered: text(c[9]) != "", Unread: text(c[10])}
	if f.Path == "" {
		err = errors.Join(err, errors.New("no path"))
	}
	return f, err
}

// save writes a file whole or not at all, readable by its owner alone.
func save(name string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// read reads a baseline's file.
func read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxBaseline {
		return nil, fmt.Errorf("%s: %d bytes are no baseline", name, info.Size())
	}
	return os.ReadFile(name)
}
