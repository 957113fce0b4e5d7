package follow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// identity is a file's device and inode number.
type identity struct {
	Dev uint64 `json:"dev"`
	Ino uint64 `json:"ino"`
}

// headSize is how many of a file's first bytes tell it from another file in its place.
const headSize = 1024

// telling is the least number of first bytes by which a copy is recognised: shorter ones may be the
// heading that many files of a format share.
const telling = 256

// head is a digest over the first bytes of a file. The file may have grown since.
type head struct {
	Len int    `json:"head,omitempty"`
	Sum string `json:"sum,omitempty"` // SHA-256
}

func headOf(first []byte) head {
	if len(first) == 0 {
		return head{}
	}
	sum := sha256.Sum256(first)
	return head{len(first), hex.EncodeToString(sum[:])}
}

// begins reports whether a file with these first bytes may be the one that h was taken of.
func (h head) begins(first []byte) bool {
	if h.Len == 0 {
		return true
	}
	return len(first) >= h.Len && headOf(first[:h.Len]) == h
}

// position is how far a file was read.
type position struct {
	Path string `json:"path"`
	identity
	Offset int64 `json:"offset"`
	Lines  int64 `json:"lines"` // line feeds before offset
	head
	Seen time.Time `json:"seen"`           // when a file of that identity was last there
	Done bool      `json:"done,omitempty"` // rotated away and read to its end

	changed time.Time // when it was last written to, as of when it was closed
}

// kept is the file of positions. Version 1:
//
//	{"version":1,
//	 "paths":["/var/log/nginx/*.log"],
//	 "files":[{"path":"/var/log/nginx/access.log","dev":2049,"ino":131,"offset":5120,"lines":40,
//	           "head":1024,"sum":"…","seen":"2026-11-22T10:00:00Z"}]}
//
// paths are the patterns that have been followed before, files how far each file was read.
type kept struct {
	Version int        `json:"version"`
	Paths   []string   `json:"paths"`
	Files   []position `json:"files"`
}

// The bounds of what is kept.
const (
	maxPositions = 10_000
	forgetAfter  = 7 * 24 * time.Hour // a file that nobody has seen for so long
	maxKept      = 8 << 20            // bytes
)

func readKept(path string) (kept, error) {
	if path == "" {
		return kept{}, nil
	}
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKept+1))
	if err != nil {
		return kept{}, err
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return kept{}, fmt.Errorf("%s is damaged (%w): remove it to read the files again from where logs.files says they begin", path, err)
	}
	if k.Version != 1 {
		return kept{}, fmt.Errorf("%s has version %d, and this program knows version 1", path, k.Version)
	}
	return k, nil
}

// write replaces the file as a whole: what is there is either the old or the new one, also after a crash.
func (k kept) write(path string) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(k); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(b.Bytes())
	if err == nil {
		err = tmp.Sync()
	}
	if failed := tmp.Close(); err == nil {
		err = failed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// firstBytes reads the beginning of a file.
func firstBytes(f io.ReaderAt, buf []byte) ([]byte, error) {
	n, err := f.ReadAt(buf, 0)
	if err == io.EOF {
		err = nil
	}
	return buf[:n], err
}

// opened is a regular file that was opened.
type opened struct {
	f       *os.File
	id      identity
	size    int64
	changed time.Time
	first   []byte
}

// open opens a regular file and says which one it is, of the file that was opened, not of the name.
func open(path string) (*opened, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	o := &opened{f: f}
	if err == nil {
		o.id, _ = identify(info)
		o.size, o.changed = info.Size(), info.ModTime()
		o.first, err = firstBytes(f, make([]byte, headSize))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return o, nil
}
