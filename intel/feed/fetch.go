package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/intel"
)

// fetcher downloads. It is safe for concurrent use.
type fetcher struct {
	client  *http.Client
	timeout time.Duration
	retries int
	backoff time.Duration // before the first retry
	limit   int64
	bytes   func(n int64) // told of each piece that arrives
}

// errStatus is an answer that is no success.
type errStatus struct {
	url   string
	code  int
	after time.Duration
}

func (e *errStatus) Error() string {
	return fmt.Sprintf("%s: the server answers %d %s", e.url, e.code, http.StatusText(e.code))
}

func missing(err error) bool {
	var s *errStatus
	return errors.As(err, &s) && (s.code == http.StatusNotFound || s.code == http.StatusForbidden || s.code == http.StatusGone)
}

// errDigest says that what came is not what the server or a list of digests says it is.
var errDigest = errors.New("its digest is not the one that was promised")

// errStill says that a server stopped sending.
var errStill = errors.New("the server has stopped sending")

// again reports whether an error may pass.
func again(err error) bool {
	var s *errStatus
	switch {
	case errors.As(err, &s):
		return s.code >= 500 || s.code == http.StatusTooManyRequests || s.code == http.StatusRequestTimeout
	case errors.Is(err, ErrRedirect), errors.Is(err, errTooLarge), errors.Is(err, syscall.ENOSPC), errors.Is(err, os.ErrPermission), errors.Is(err, context.Canceled):
		return false
	}
	return true
}

var errTooLarge = errors.New("it is larger than what is downloaded")

// retry calls f until it succeeds, fails for good, or fails too often.
func (f *fetcher) retry(ctx context.Context, try func() error) error {
	for n := 0; ; n++ {
		err := try()
		if err == nil || ctx.Err() != nil || n >= f.retries || !again(err) {
			return err
		}
		wait := f.backoff << min(n, 6)
		wait += rand.N(wait/2 + 1)
		var s *errStatus
		if errors.As(err, &s) && s.after > wait {
			wait = s.after
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(wait, time.Minute)):
		}
	}
}

// request asks, and returns what is to be read with the function that ends it.
func (f *fetcher) request(ctx context.Context, method, url string, header http.Header) (*http.Response, context.CancelFunc, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "testudo")
	res, err := f.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	switch res.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
		res.Body = &watched{ReadCloser: res.Body, ctx: ctx, bytes: f.bytes, timer: time.AfterFunc(f.timeout, func() { cancel(errStill) }), timeout: f.timeout}
		return res, func() { _ = res.Body.Close(); cancel(nil) }, nil
	}
	_ = res.Body.Close()
	cancel(nil)
	e := &errStatus{url: url, code: res.StatusCode}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = time.Duration(min(s, 60)) * time.Second
	}
	return nil, nil, e
}

// watched ends a body that stands still, or that only drips.
type watched struct {
	io.ReadCloser
	ctx     context.Context
	bytes   func(int64)
	timer   *time.Timer
	timeout time.Duration
	since   int64
}

// leastPiece is how much must come within the timeout.
const leastPiece = 8 << 10

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if w.since += int64(n); w.since >= leastPiece {
		w.since = 0
		w.timer.Reset(w.timeout)
	}
	if w.bytes != nil && n > 0 {
		w.bytes(int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(w.ctx); errors.Is(cause, errStill) {
			err = cause
		}
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	return w.ReadCloser.Close()
}

// get reads a small file.
func (f *fetcher) get(ctx context.Context, url string, limit int64) (body []byte, err error) {
	err = f.retry(ctx, func() error {
		res, end, err := f.request(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		defer end()
		if body, err = io.ReadAll(io.LimitReader(res.Body, limit+1)); err != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
		if int64(len(body)) > limit {
			return fmt.Errorf("%s: %w: more than %d bytes", url, errTooLarge, limit)
		}
		p := promiseOf(res.Header)
		sum := sha256.Sum256(body)
		return p.check(url, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)), sum[:])
	})
	return body, err
}

// state is what a file on a server was when it was asked.
type state struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

func stateOf(h http.Header) state { return state{h.Get("ETag"), h.Get("Last-Modified")} }

// same reports whether the two are surely of the same file.
func (s state) same(o state) bool {
	if s.ETag != "" || o.ETag != "" {
		return s.ETag == o.ETag
	}
	return s.LastModified != "" && s.LastModified == o.LastModified
}

// head asks for a file's state; ok is false where the server does not tell.
func (f *fetcher) head(ctx context.Context, url string) (s state, ok bool, err error) {
	err = f.retry(ctx, func() error {
		res, end, err := f.request(ctx, http.MethodHead, url, nil)
		var status *errStatus
		if errors.As(err, &status) && (status.code == http.StatusMethodNotAllowed || status.code == http.StatusNotImplemented) {
			return nil
		}
		if err != nil {
			return err
		}
		end()
		s, ok = stateOf(res.Header), true
		return nil
	})
	return s, ok, err
}

// partial is what is known of a download that did not end.
type partial struct {
	URL string `json:"url"`
	state
}

// download brings a file to path. What a former attempt left there is gone on with if the server says that it is still the
// same file. sum is the SHA-256 that it must have, if known.
func (f *fetcher) download(ctx context.Context, url, path, sum string) (s state, digest string, err error) {
	err = f.retry(ctx, func() error {
		s, digest, err = f.attempt(ctx, url, path, sum)
		if errors.Is(err, errDigest) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, errTooLarge) {
			forget(path) // of no use, and in the way
		}
		return err
	})
	return s, digest, err
}

func forget(path string) {
	_ = os.Remove(path)
	_ = os.Remove(path + ".json")
}

// sweep takes away what forget left of a download when it was killed between the two.
func sweep(work string) {
	for _, note := range endingIn(work, ".part.json") {
		if _, err := os.Stat(strings.TrimSuffix(note, ".json")); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(note)
		}
	}
}

// sweepParts takes away downloads that did not end, but for those of what is still missing: of the rest nobody will go on with them.
func sweepParts(work string, sources []Outcome) {
	wanted := map[string]bool{}
	for _, s := range sources {
		if s.Err != nil || s.State == Kept {
			wanted[partOf(work, s.Kind, s.Name)] = true
		}
	}
	for _, part := range endingIn(work, ".part") {
		if !wanted[part] {
			forget(part)
		}
	}
}

// endingIn returns the files of a folder with that ending.
func endingIn(dir, ending string) (paths []string) {
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ending) {
			paths = append(paths, filepath.Join(dir, f.Name()))
		}
	}
	return paths
}

// partOf is where the download of a source stands while it has not ended.
func partOf(work string, kind intel.Kind, name string) string {
	if kind == intel.KindOSV {
		name = fileName(name) + ".zip"
	}
	return filepath.Join(work, name+".part")
}

func (f *fetcher) attempt(ctx context.Context, url, path, sum string) (s state, digest string, err error) {
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return s, "", err
	}
	defer out.Close()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return s, "", err
	}
	header := http.Header{}
	var before partial
	if raw, err := os.ReadFile(path + ".json"); err == nil && len(raw) < 64<<10 && json.Unmarshal(raw, &before) == nil && before.URL == url && have > 0 {
		if v := before.validator(); v != "" {
			header.Set("Range", fmt.Sprintf("bytes=%d-", have))
			header.Set("If-Range", v)
		}
	}
	res, end, err := f.request(ctx, http.MethodGet, url, header)
	if err != nil {
		return s, "", err
	}
	defer end()
	s = stateOf(res.Header)
	total := res.ContentLength
	switch {
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		forget(path)
		return s, "", fmt.Errorf("%s: the file has changed", url)
	case res.StatusCode == http.StatusPartialContent:
		first, all, ok := contentRange(res.Header.Get("Content-Range"))
		if !ok || first != have || !s.same(before.state) {
			forget(path)
			return s, "", fmt.Errorf("%s: the server sends another part than was asked for", url)
		}
		total = all
	default:
		have = 0
		if err := out.Truncate(0); err != nil {
			return s, "", err
		}
		note, _ := json.Marshal(partial{url, s})
		if err := os.WriteFile(path+".json", note, 0o600); err != nil {
			return s, "", err
		}
	}
	if total > f.limit {
		return s, "", fmt.Errorf("%s: %w: %d bytes", url, errTooLarge, total)
	}
	if _, err := out.Seek(have, io.SeekStart); err != nil {
		return s, "", err
	}
	n, err := io.Copy(out, io.LimitReader(res.Body, f.limit-have+1))
	if err != nil {
		return s, "", fmt.Errorf("%s: %w", url, err)
	}
	if have+n > f.limit {
		return s, "", fmt.Errorf("%s: %w: more than %d bytes", url, errTooLarge, f.limit)
	}
	if total >= 0 && have+n != total {
		return s, "", fmt.Errorf("%s: %d of %d bytes came", url, have+n, total)
	}
	p := promiseOf(res.Header)
	if sum != "" {
		p.sha256 = append(p.sha256, sum)
	}
	sums, crc, err := digestFile(out)
	if err != nil {
		return s, "", err
	}
	return s, "sha256:" + hex.EncodeToString(sums), p.check(url, crc, sums)
}

func digestFile(f *os.File) (sum []byte, crc uint32, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	h, c := sha256.New(), crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(io.MultiWriter(h, c), f); err != nil {
		return nil, 0, err
	}
	return h.Sum(nil), c.Sum32(), nil
}

// validator is what tells whether a file is still the same: a strong ETag or a date (RFC 9110, 13.1.5).
func (s state) validator() string {
	if s.ETag != "" && !strings.HasPrefix(s.ETag, "W/") {
		return s.ETag
	}
	return s.LastModified
}

// contentRange reads "bytes 10-99/100"; all is -1 if the server does not know.
func contentRange(s string) (first, all int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(s, "/")
	from, _, ok3 := strings.Cut(span, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	all = -1
	if size != "*" {
		var err2 error
		all, err2 = strconv.ParseInt(size, 10, 64)
		err = errors.Join(err, err2)
	}
	return first, all, ok && ok2 && ok3 && err == nil && first >= 0
}

// promise is the digests that a server gives of the whole file.
type promise struct {
	crc32c []uint32
	sha256 []string // hex
}

// promiseOf reads x-goog-hash, Digest (RFC 3230) and Repr-Digest (RFC 9530).
func promiseOf(h http.Header) (p promise) {
	if stored := h.Get("X-Goog-Stored-Content-Encoding"); stored == "" || stored == cmp.Or(h.Get("Content-Encoding"), "identity") {
		for _, line := range h.Values("X-Goog-Hash") {
			for item := range strings.SplitSeq(line, ",") {
				if v, ok := strings.CutPrefix(strings.TrimSpace(item), "crc32c="); ok {
					if raw, err := base64.StdEncoding.DecodeString(v); err == nil && len(raw) == 4 {
						p.crc32c = append(p.crc32c, binary.BigEndian.Uint32(raw))
					}
				}
			}
		}
	}
	for _, name := range []string{"Digest", "Repr-Digest"} {
		for _, line := range h.Values(name) {
			for item := range strings.SplitSeq(line, ",") {
				algorithm, v, _ := strings.Cut(strings.TrimSpace(item), "=")
				if raw, err := base64.StdEncoding.DecodeString(strings.Trim(v, ":")); strings.EqualFold(algorithm, "sha-256") && err == nil && len(raw) == sha256.Size {
					p.sha256 = append(p.sha256, hex.EncodeToString(raw))
				}
			}
		}
	}
	return p
}

func (p *promise) check(url string, crc uint32, sum []byte) error {
	for _, want := range p.crc32c {
		if want != crc {
			return fmt.Errorf("%s: %w: CRC-32C is %08x, not %08x", url, errDigest, crc, want)
		}
	}
	for _, want := range p.sha256 {
		if got := hex.EncodeToString(sum); !strings.EqualFold(want, got) {
			return fmt.Errorf("%s: %w: SHA-256 is %s, not %s", url, errDigest, got, strings.ToLower(want))
		}
	}
	return nil
}
