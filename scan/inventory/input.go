package inventory

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/google/osv-scalibr/extractor/filesystem"

	"github.com/testudo-sec/testudo/scan"
)

const (
	maxName    = 512
	maxVersion = 256
	// maxBeside bounds a file that is read beside another.
	maxBeside = 4 << 20
	// maxOpens bounds the files that are opened beside one.
	maxOpens = 20_000
)

// input is a file that is judged.
type input struct {
	x       *Extractor
	file    *scan.File
	path    string // in its tree
	size    int64
	at      io.ReaderAt
	whole   []byte // read on demand
	readErr error
	head    []byte

	ctx      context.Context
	deadline time.Time
	opens    int
	release  *release
}

func newInput(x *Extractor, f *scan.File) *input {
	in := &input{x: x, file: f, path: f.Name, at: f.Content}
	if in.path == "" || strings.Contains(f.Path, "!/") {
		in.path = inTree(f.Path)
	}
	if f.Data != nil || f.Content == nil {
		in.whole, in.at, in.size = f.Data, bytes.NewReader(f.Data), int64(len(f.Data))
	} else if f.Info != nil {
		in.size = f.Info.Size()
	}
	return in
}

// begin starts the time of one parser.
func (in *input) begin(ctx context.Context) {
	in.ctx, in.deadline, in.opens = ctx, time.Now().Add(in.x.config.FileTimeout), 0
}

var errTime = errors.New("reading it took longer than file_timeout")

// late says whether the parser must end.
func (in *input) late() error {
	if err := in.ctx.Err(); err != nil {
		return err
	}
	if time.Now().After(in.deadline) {
		return errTime
	}
	return nil
}

// data returns the whole file; read bounds it before.
func (in *input) data() ([]byte, error) {
	if in.whole == nil && in.readErr == nil {
		b := make([]byte, in.size)
		n, err := in.at.ReadAt(b, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			in.readErr = err
		}
		in.whole = b[:n]
	}
	return in.whole, in.readErr
}

// isProgram tells by the first bytes: ELF, PE, Mach-O. Of ELF, only what has a section that names packages, or no sections, is one.
func (in *input) isProgram() bool {
	if in.head == nil {
		in.head = make([]byte, 64)
		n, _ := in.at.ReadAt(in.head, 0)
		in.head = in.head[:n]
	}
	if len(in.head) < 64 {
		return false
	}
	switch binary.BigEndian.Uint32(in.head) {
	case 0x7f454c46:
		return in.namesPackages()
	case 0xfeedface, 0xfeedfacf, 0xcefaedfe, 0xcffaedfe, 0xcafebabe:
		return true
	}
	return in.head[0] == 'M' && in.head[1] == 'Z'
}

// namesPackages looks through the names of an ELF file's sections. It reads the header and two tables, where the parsers
// would search whole segments.
func (in *input) namesPackages() bool {
	h, order := in.head, binary.ByteOrder(binary.LittleEndian)
	if h[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	var table, at, n int64
	var entry, count, names int64
	if h[elf.EI_CLASS] == byte(elf.ELFCLASS64) {
		table, entry, count, names = int64(order.Uint64(h[0x28:])), int64(order.Uint16(h[0x3a:])), int64(order.Uint16(h[0x3c:])), int64(order.Uint16(h[0x3e:]))
	} else {
		table, entry, count, names = int64(order.Uint32(h[0x20:])), int64(order.Uint16(h[0x2e:])), int64(order.Uint16(h[0x30:])), int64(order.Uint16(h[0x32:]))
	}
	if table <= 0 || table > in.size || count == 0 || names >= count || entry < 40 {
		return true // stripped of its table, or odd: the parsers see for themselves
	}
	section := make([]byte, 64)
	if _, err := in.at.ReadAt(section[:min(entry, 64)], table+names*entry); err != nil {
		return true
	}
	if h[elf.EI_CLASS] == byte(elf.ELFCLASS64) {
		at, n = int64(order.Uint64(section[0x18:])), int64(order.Uint64(section[0x20:]))
	} else {
		at, n = int64(order.Uint32(section[0x10:])), int64(order.Uint32(section[0x14:]))
	}
	if at <= 0 || n <= 0 || n > 1<<16 || at > in.size {
		return true
	}
	text := make([]byte, n)
	if _, err := in.at.ReadAt(text, at); err != nil {
		return true
	}
	return bytes.Contains(text, []byte(".go.buildinfo")) || bytes.Contains(text, []byte(".dep-v0"))
}

// maxSiblings bounds the keys of one mapping in YAML: the parser compares each with all others of its mapping. The lockfiles of the
// largest repositories have some ten thousand packages.
const maxSiblings = 40_000

// checkYAML refuses a file with a mapping of too many keys, as its indentation and its commas show.
func checkYAML(data []byte) error {
	var counts [64]int // of lines at each indentation since the last line further out
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := bytes.TrimLeft(line, " ")
		if len(bytes.TrimSpace(text)) == 0 || text[0] == '#' {
			continue
		}
		at := min(len(line)-len(text), len(counts)-1)
		counts[at]++
		clear(counts[at+1:])
		if counts[at] > maxSiblings || len(text) > maxSiblings && bytes.Count(text, []byte(",")) > maxSiblings {
			return fmt.Errorf("line %d: more than %d entries of one kind", number, maxSiblings)
		}
	}
	return nil
}

// beside returns a file in the same folder, nil if there is none or it is too large.
func (in *input) beside(name string) []byte { return in.other(path.Join(path.Dir(in.path), name)) }

// other returns another file of the tree.
func (in *input) other(name string) []byte {
	f, err := in.open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBeside+1))
	if err != nil || len(data) > maxBeside {
		return nil
	}
	return data
}

// mayOpen says why no more files beside this one are opened.
func (in *input) mayOpen() error {
	if in.opens > maxOpens {
		return errors.New("too many files are named here")
	}
	return in.late()
}

func (in *input) open(name string) (fs.File, error) {
	if in.file.FS == nil || !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	in.opens++
	if err := in.mayOpen(); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	// Pipes and devices would hang.
	if info, err := fs.Stat(in.file.FS, name); err != nil || !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return in.file.FS.Open(name)
}

// scanInput is the file as scalibr takes it. It has no root, so that nothing is read but through FS.
func (in *input) scanInput() *filesystem.ScanInput {
	return &filesystem.ScanInput{FS: tree{in}, Path: in.path, Info: sized{in.file.Info, in.size, path.Base(in.path)},
		Reader: &timed{SectionReader: io.NewSectionReader(in.at, 0, in.size), in: in}}
}

// timed ends reading when the time is over.
type timed struct {
	*io.SectionReader
	in    *input
	reads int
}

func (t *timed) Read(p []byte) (int, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	return t.SectionReader.Read(p)
}

func (t *timed) ReadAt(p []byte, off int64) (int, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	return t.SectionReader.ReadAt(p, off)
}

func (t *timed) check() error {
	if t.reads++; t.reads%16 != 0 {
		return nil
	}
	return t.in.late()
}

// Close is there for readers that look for it.
func (t *timed) Close() error { return nil }

// tree is the file's tree for scalibr.
type tree struct{ in *input }

func (t tree) Open(name string) (fs.File, error) {
	f, err := t.in.open(path.Clean(name))
	if err != nil {
		return nil, err
	}
	return &bounded{File: f, left: int64(t.in.x.config.MaxManifestSize)}, nil
}

func (t tree) ReadDir(name string) ([]fs.DirEntry, error) {
	if name = path.Clean(name); t.in.file.FS == nil || !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return fs.ReadDir(t.in.file.FS, name)
}

func (t tree) Stat(name string) (fs.FileInfo, error) {
	if name = path.Clean(name); t.in.file.FS == nil || !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return fs.Stat(t.in.file.FS, name)
}

// bounded ends a file at its limit.
type bounded struct {
	fs.File
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("a file beside it is larger than max_manifest_size")
	}
	n, err := b.File.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt where the file does.
func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if at, ok := b.File.(io.ReaderAt); ok {
		return at.ReadAt(p, off)
	}
	return 0, errors.ErrUnsupported
}

// sized gives a file a size, whatever its info says.
type sized struct {
	fs.FileInfo
	size int64
	name string
}

func (s sized) Size() int64  { return s.size }
func (s sized) Name() string { return s.name }
func (s sized) IsDir() bool  { return false }
func (s sized) Sys() any     { return nil }
func (s sized) Mode() fs.FileMode {
	if s.FileInfo == nil {
		return 0o644
	}
	return s.FileInfo.Mode()
}
func (s sized) ModTime() time.Time {
	if s.FileInfo == nil {
		return time.Time{}
	}
	return s.FileInfo.ModTime()
}

// plain is an error of scalibr in one short line.
func (in *input) plain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, errTime) {
		return err
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	text = strings.ReplaceAll(text, "failed to ", "cannot ")
	text = strings.ReplaceAll(text, "error(s) in extractor java/archive: ", "") // once for each archive in another
	text = unsigned(text)
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return errors.New(text)
}

// signedIn is who signs in, in a URL.
var signedIn = regexp.MustCompile(`://[^/@\s]+@`)

// unsigned leaves out of a text who signs in, and the password.
func unsigned(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	return signedIn.ReplaceAllString(s, "://")
}

// checked drops packages whose names nobody could show or match.
func (in *input) checked(all []scan.Package) ([]scan.Package, error) {
	out := all[:0]
	bad := 0
	for _, p := range all {
		p.Name, p.Version = unsigned(p.Name), unsigned(p.Version)
		switch {
		case p.Name == "":
			continue // a project without a name
		case len(p.Name) > maxName || len(p.Version) > maxVersion || scan.Printable(p.Name+p.Version) != p.Name+p.Version:
			bad++
			continue
		}
		p.Path = in.file.Path
		out = append(out, p)
	}
	if bad > 0 {
		return out, fmt.Errorf("%d packages with a name or version that is too long or not printable are left out", bad)
	}
	return out, nil
}
