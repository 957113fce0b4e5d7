package image

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

const (
	cacheMark = "testudo image cache 1\n"
	// maxRecord bounds what a record unpacks to.
	maxRecord = 512 << 20
)

// A Cache keeps what the parts said of layers, by the layers' digests, in a folder that only its owner can enter. It is safe for concurrent
// use, also by several processes. What it returns it wrote itself: each file carries a keyed checksum over its name and content, whose key lies in
// the folder. What does not fit in the size goes, the longest unused first.
type Cache struct {
	root *os.Root
	max  int64
	key  []byte

	mu sync.Mutex // one trims at a time
}

// OpenCache opens a folder, or makes it.
func OpenCache(dir string, size bytesize.Size) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cache of images: %w", err)
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cache of images: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("cache of images: %s is no folder", dir)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("cache of images: others may enter %s: chmod 700 it, or name another folder", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cache of images: %w", err)
	}
	c := &Cache{root: root, max: int64(size)}
	if c.key, err = c.secret(); err != nil {
		root.Close()
		return nil, fmt.Errorf("cache of images: %w", err)
	}
	return c, nil
}

// Close closes the folder.
func (c *Cache) Close() error { return c.root.Close() }

const keyName = "key"

// secret returns the folder's key, which the first who opens it makes.
func (c *Cache) secret() ([]byte, error) {
	for range 3 {
		key, err := c.root.ReadFile(keyName)
		if err == nil && len(key) == 32 {
			return key, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			_ = c.root.Remove(keyName) // cut short: what it proved is lost
		}
		key = make([]byte, 32)
		_, _ = rand.Read(key)
		temporary := "new-" + rand.Text()
		if err := c.root.WriteFile(temporary, key, 0o600); err != nil {
			return nil, err
		}
		err = c.root.Link(temporary, keyName)
		_ = c.root.Remove(temporary)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, errors.New("its key cannot be made")
}

// fileOf names the file of a record.
func fileOf(key []string) string {
	h := sha256.New()
	for _, k := range key {
		fmt.Fprintf(h, "%d:%s,", len(k), k)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (c *Cache) seal(name string, content []byte) []byte {
	h := hmac.New(sha256.New, c.key)
	h.Write([]byte(name))
	h.Write(content)
	return h.Sum(nil)
}

// get returns a record, nil if there is none that is whole and the cache's own.
func (c *Cache) get(key ...string) []byte {
	if c == nil {
		return nil
	}
	name := fileOf(key)
	info, err := c.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxRecord {
		return nil
	}
	data, err := c.root.ReadFile(name)
	if err != nil {
		return nil
	}
	content, ok := strings.CutPrefix(string(data[:min(len(data), len(cacheMark))]), cacheMark)
	if !ok || content != "" || len(data) < len(cacheMark)+sha256.Size {
		return nil
	}
	sum, packed := data[len(cacheMark):len(cacheMark)+sha256.Size], data[len(cacheMark)+sha256.Size:]
	if !hmac.Equal(sum, c.seal(name, packed)) {
		_ = c.root.Remove(name)
		return nil
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxRecord), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil
	}
	defer d.Close()
	out, err := d.DecodeAll(packed, nil)
	if err != nil {
		return nil
	}
	now := time.Now()
	_ = c.root.Chtimes(name, now, now)
	return out
}

// put keeps a record. That it cannot be kept costs time later, and nothing else.
func (c *Cache) put(content []byte, key ...string) {
	if c == nil || len(content) > maxRecord {
		return
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return
	}
	defer e.Close()
	packed := e.EncodeAll(content, nil)
	if int64(len(packed)) > c.max {
		return
	}
	name := fileOf(key)
	file := slices.Concat([]byte(cacheMark), c.seal(name, packed), packed)
	temporary := "new-" + rand.Text()
	if err := c.root.WriteFile(temporary, file, 0o600); err != nil {
		_ = c.root.Remove(temporary)
		return
	}
	if err := c.root.Rename(temporary, name); err != nil {
		_ = c.root.Remove(temporary)
	}
	c.trim()
}

// trim takes away the longest unused files until the rest fits.
func (c *Cache) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, err := c.root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name() == keyName || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(e.Name(), "new-") {
			if time.Since(info.ModTime()) > time.Hour { // of a process that was killed
				_ = c.root.Remove(e.Name())
			}
			continue
		}
		size += info.Size()
		files = append(files, info)
	}
	if size <= c.max {
		return
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if size <= c.max {
			return
		}
		if c.root.Remove(filepath.Base(f.Name())) == nil {
			size -= f.Size()
		}
	}
}
