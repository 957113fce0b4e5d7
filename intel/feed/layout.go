package feed

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/intel"
)

// The public export's layout, which mirrors copy: ecosystems.txt names the ecosystems, one a line; each has a folder with
// all.zip, modified_id.csv (time and id, newest first), and each advisory as ID.json
// (https://google.github.io/osv.dev/data/#data-dumps). SHA256SUMS is a mirror's own, and may be missing.
const (
	ecosystemsFile  = "ecosystems.txt"
	archiveFile     = "all.zip"
	changesFile     = "modified_id.csv"
	sumsFile        = "SHA256SUMS"
	exploitedFile   = "known_exploited_vulnerabilities.json"
	probabilityFile = "epss_scores-current.csv.gz"

	maxChanges = 64 << 20
	maxSums    = 4 << 20
	maxListing = 1 << 20
)

// layout is a source that has it.
type layout interface {
	// list returns ecosystems.txt.
	list(ctx context.Context) ([]byte, error)
	// state is of the ecosystem's archive; ok is false if the source does not tell.
	state(ctx context.Context, ecosystem string) (s state, ok bool, err error)
	changes(ctx context.Context, ecosystem string) ([]byte, error)
	advisory(ctx context.Context, ecosystem, id string) ([]byte, error)
	// archive returns the path of the ecosystem's archive, its state, its digest, and what to call once it was read.
	archive(ctx context.Context, ecosystem string) (path string, s state, digest string, done func(), err error)
}

// remote is a layout behind a URL.
type remote struct {
	base string // without a slash at its end
	work string
	f    *fetcher
	sums map[string]string
}

func newRemote(ctx context.Context, base, work string, f *fetcher) (*remote, error) {
	r := &remote{base: strings.TrimRight(base, "/"), work: work, f: f}
	if r.base == intel.PublicSource {
		return r, nil // it has none, and says so slowly
	}
	text, err := f.get(ctx, r.base+"/"+sumsFile, maxSums)
	if err != nil && !missing(err) {
		return nil, err
	}
	r.sums = parseSums(text)
	return r, nil
}

func (r *remote) url(parts ...string) string {
	out := r.base
	for _, p := range parts {
		out += "/" + url.PathEscape(p)
	}
	return out
}

func (r *remote) list(ctx context.Context) ([]byte, error) {
	return r.f.get(ctx, r.url(ecosystemsFile), maxListing)
}

func (r *remote) state(ctx context.Context, ecosystem string) (state, bool, error) {
	return r.f.head(ctx, r.url(ecosystem, archiveFile))
}

func (r *remote) changes(ctx context.Context, ecosystem string) ([]byte, error) {
	return r.f.get(ctx, r.url(ecosystem, changesFile), maxChanges)
}

func (r *remote) advisory(ctx context.Context, ecosystem, id string) ([]byte, error) {
	return r.f.get(ctx, r.url(ecosystem, id+".json"), maxAdvisory)
}

func (r *remote) archive(ctx context.Context, ecosystem string) (string, state, string, func(), error) {
	path := partOf(r.work, intel.KindOSV, ecosystem)
	s, digest, err := r.f.download(ctx, r.url(ecosystem, archiveFile), path, r.sums[ecosystem+"/"+archiveFile])
	return path, s, digest, func() { forget(path) }, err
}

// fileName is a name that is safe as a file's, for ecosystems of any.
func fileName(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '_'
	}, s) + "-" + hex.EncodeToString([]byte(s))[:min(2*len(s), 32)]
}

// folder is a layout on this machine. Names lead nowhere outside of it.
type folder struct {
	root *os.Root
	path string
	sums map[string]string
}

func (l *folder) read(name string, limit int64) ([]byte, error) {
	f, err := l.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, limit)
}

// readBounded reads a regular file that has at most so many bytes.
func readBounded(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > limit:
		return nil, fmt.Errorf("it has %d bytes: more than %d are not read", info.Size(), limit)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("more than %d bytes are not read", limit)
	}
	return text, err
}

func (l *folder) list(context.Context) ([]byte, error) {
	text, err := l.read(ecosystemsFile, maxListing)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	// A folder can be looked into.
	all, err := fs.Glob(l.root.FS(), "*/"+archiveFile)
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], "/"+archiveFile)
	}
	return []byte(strings.Join(all, "\n")), err
}

func (l *folder) state(_ context.Context, ecosystem string) (state, bool, error) {
	info, err := l.root.Stat(ecosystem + "/" + archiveFile)
	if err != nil {
		return state{}, false, err
	}
	return state{ETag: fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())}, true, nil
}

func (l *folder) changes(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

func (l *folder) advisory(_ context.Context, ecosystem, id string) ([]byte, error) {
	return l.read(ecosystem+"/"+id+".json", maxAdvisory)
}

func (l *folder) archive(ctx context.Context, ecosystem string) (path string, s state, digest string, done func(), err error) {
	name := ecosystem + "/" + archiveFile
	if s, _, err = l.state(ctx, ecosystem); err != nil {
		return "", s, "", nil, err
	}
	f, err := l.root.Open(name)
	if err != nil {
		return "", s, "", nil, err
	}
	defer f.Close()
	sum, crc, err := digestFile(f)
	if err != nil {
		return "", s, "", nil, err
	}
	var p promise
	if want := l.sums[name]; want != "" {
		p.sha256 = []string{want}
	}
	path = filepath.Join(l.path, ecosystem, archiveFile)
	return path, s, "sha256:" + hex.EncodeToString(sum), func() {}, p.check(path, crc, sum)
}

// parseSums reads what sha256sum writes.
func parseSums(text []byte) map[string]string {
	sums := map[string]string{}
	for line := range bytes.Lines(text) {
		sum, name, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if raw, err := hex.DecodeString(sum); ok && err == nil && len(raw) == 32 {
			sums[strings.TrimPrefix(strings.TrimLeft(name, " *"), "./")] = strings.ToLower(sum)
		}
	}
	return sums
}

// parseEcosystems returns the families in ecosystems.txt.
func parseEcosystems(text []byte) []string {
	var out []string
	for line := range bytes.Lines(text) {
		name := strings.TrimSpace(string(line))
		// Those of one release are in their family's archive too.
		if name == "" || len(name) > 100 || strings.ContainsAny(name, ":/\\\x00") || strings.HasPrefix(name, "[") || strings.HasPrefix(name, ".") || len(out) > 1000 {
			continue
		}
		out = append(out, name)
	}
	return out
}

// change is one line of modified_id.csv.
type change struct {
	id string
	at time.Time
}

func parseChanges(text []byte) ([]change, error) {
	var out []change
	for line := range bytes.Lines(text) {
		at, id, _ := strings.Cut(strings.TrimSpace(string(line)), ",")
		if at == "" {
			continue
		}
		// The list of all ecosystems has the ecosystem before the id.
		id = id[strings.LastIndexByte(id, '/')+1:]
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil || !intel.ValidID(id) {
			return nil, fmt.Errorf("%s: not a time and an id: %.100q", changesFile, line)
		}
		if out = append(out, change{id, t}); len(out) > maxZipEntries {
			return nil, fmt.Errorf("%s: more than %d lines", changesFile, maxZipEntries)
		}
	}
	return out, nil
}
