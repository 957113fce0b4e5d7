package kernel

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Examiner is a [Sensor] that says what files are, of those that its own configuration names; it answers for no other, and never with
// what is in a file. It changes nothing. Its method is safe for concurrent use.
type Examiner interface {
	Examine(ctx context.Context, q ExamineRequest) (Examined, error)
}

// MaxExamined bounds the files of one answer, and the paths of one question.
const MaxExamined = 256

// ExamineRequest asks for files: those of Paths, or a page of all that are watched.
type ExamineRequest struct {
	Paths []FilePath // exact; what is not watched is an error. Empty asks for a page
	After FilePath   // of a page: the last file of the page before, "" for the first
	Limit int        // of a page: at most this many files, 0 for MaxExamined
}

// Examined is the answer.
type Examined struct {
	Files []File   // of a question for paths in its order; of a page in the order of the walk
	After FilePath // of a page: where the next begins; "" after the last
	Full  bool     // there is more to watch than the limits allow, and it was left out
}

// File says of a path what is there.
type File struct {
	Path     FilePath
	Exists   bool
	Mode     uint32 // type and permissions, as stat(2) has them
	UID, GID uint32
	Size     int64
	Modified int64 // nanoseconds since the Unix epoch
	Changed  int64 // as Modified, of the inode
	Device   uint64
	Inode    uint64
	SHA256   string   // lower-case hexadecimal, of regular files; "" where it was not read
	Unread   string   // why it was not
	Target   FilePath // of a symbolic link
	Package  string   // that owns the file, with its version; "" for none
	Altered  bool     // the package's database says another digest
}

// FilePath is a path as the kernel has it: any bytes but zero. As text it has %XX for bytes that are no printable character, for spaces
// and for %, so that it stands in a line, in JSON and on a terminal, and gives the same bytes back.
type FilePath string

const upperHex = "0123456789ABCDEF"

// String returns the text form.
func (p FilePath) String() string {
	plain := true
	for _, r := range string(p) {
		if r == utf8.RuneError || r == '%' || r == ' ' || !unicode.IsGraphic(r) {
			plain = false
			break
		}
	}
	if plain {
		return string(p)
	}
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(string(p[i:]))
		if r == utf8.RuneError || r == '%' || r == ' ' || !unicode.IsGraphic(r) {
			for _, c := range []byte(p[i : i+n]) {
				b.WriteByte('%')
				b.WriteByte(upperHex[c>>4])
				b.WriteByte(upperHex[c&15])
			}
		} else {
			b.WriteString(string(p[i : i+n]))
		}
		i += n
	}
	return b.String()
}

// MarshalText returns the text form.
func (p FilePath) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form.
func (p *FilePath) UnmarshalText(text []byte) error {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' {
			if i+2 >= len(text) {
				return errors.New("a path ends within %XX")
			}
			hi, lo := strings.IndexByte(upperHex, text[i+1]), strings.IndexByte(upperHex, text[i+2])
			if hi < 0 || lo < 0 {
				return errors.New("a path has a % that is not %XX in capitals")
			}
			c, i = byte(hi<<4|lo), i+2
		}
		if c == 0 {
			return errors.New("a path has a zero byte")
		}
		b = append(b, c)
	}
	*p = FilePath(b)
	return nil
}
