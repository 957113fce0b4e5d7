package console

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Static serves files that never change under their address: each address holds a
// hash of the content.
type Static struct {
	prefix string
	urls   map[string]string
	files  map[string]asset
}

type asset struct {
	body []byte
	kind string
	gzip []byte // where the folder holds NAME.gz too
}

// NewStatic reads all files of a folder, with the addresses prefix + "NAME-HASH.EXT".
// Prefix begins and ends with a slash. A file NAME.gz is served as the compressed
// form of NAME.
func NewStatic(prefix string, files fs.FS) (*Static, error) {
	s := &Static{prefix: prefix, urls: make(map[string]string), files: make(map[string]asset)}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".gz") {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		ext := path.Ext(name)
		kind := contentType(ext)
		if kind == "" {
			return fmt.Errorf("asset %s: no content type is known for %q", name, ext)
		}
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(name, ext) + "-" + base64.RawURLEncoding.EncodeToString(sum[:9]) + ext
		a := asset{body: body, kind: kind}
		if gz, err := fs.ReadFile(files, name+".gz"); err == nil {
			a.gzip = gz
		}
		s.files[hashed] = a
		s.urls[name] = prefix + hashed
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// contentType is a list of our own: the machine's mime tables must not change how
// a browser reads our files.
func contentType(ext string) string {
	switch ext {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".ico":
		return "image/x-icon"
	case ".woff2":
		return "font/woff2"
	case ".json", ".map":
		return "application/json"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".webmanifest":
		return "application/manifest+json"
	}
	return ""
}

// URL returns the address of a file by its name, "" where there is none.
func (s *Static) URL(name string) string { return s.urls[name] }

// Route returns the row of the table that serves the files, to anybody.
func (s *Static) Route() Route {
	return Route{Method: http.MethodGet, Path: s.prefix + "{file...}", Handler: s.serve}
}

func (s *Static) serve(w http.ResponseWriter, r *http.Request) error {
	a, ok := s.files[strings.TrimPrefix(r.URL.Path, s.prefix)]
	if !ok {
		return ErrNotFound
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	body := a.body
	if a.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body = a.gzip
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
	return nil
}

func acceptsGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
