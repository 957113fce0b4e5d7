package feed_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/intel"
	"github.com/testudo-sec/testudo/intel/feed"
	"github.com/testudo-sec/testudo/internal/require"
)

// mirror is a server with the layout of the public export.
type mirror struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	tags  map[string]int
	asked []string
	spoil func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

func newMirror(t testing.TB) *mirror {
	m := &mirror{files: map[string][]byte{}, tags: map[string]int{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(func() { m.CloseClientConnections(); m.Close() })
	return m
}

func (m *mirror) put(name string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !bytes.Equal(m.files[name], content) {
		m.tags[name]++
	}
	m.files[name] = content
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	content, there := m.files[name]
	tag, spoil := m.tags[name], m.spoil
	m.asked = append(m.asked, r.Method+" "+name+" "+r.Header.Get("Range"))
	m.mu.Unlock()
	if !there {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%s-%d"`, strings.ReplaceAll(name, " ", "_"), tag))
	sum := sha256.Sum256(content)
	w.Header().Set("Digest", "sha-256="+base64.StdEncoding.EncodeToString(sum[:]))
	if spoil != nil && spoil(w, r) {
		return
	}
	http.ServeContent(w, r, path.Base(name), time.Time{}, bytes.NewReader(content))
}

func (m *mirror) gets() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.asked {
		if name, ok := strings.CutPrefix(a, "GET "); ok {
			out = append(out, strings.TrimSpace(name))
		}
	}
	m.asked = nil
	return out
}

func osv(ecosystem string, n, revision int) (id string, text []byte) {
	id = fmt.Sprintf("T-%s-%d", strings.ReplaceAll(ecosystem, " ", ""), n)
	text, _ = json.Marshal(map[string]any{
		"id": id, "modified": at(revision).Format(time.RFC3339), "aliases": []string{fmt.Sprintf("CVE-2024-%04d", n)}, "summary": fmt.Sprintf("revision %d", revision),
		"affected": []any{map[string]any{"package": map[string]any{"ecosystem": ecosystem, "name": fmt.Sprintf("p%d", n%7)},
			"ranges": []any{map[string]any{"type": "ECOSYSTEM", "events": []any{map[string]any{"introduced": "0"}, map[string]any{"fixed": fmt.Sprint(n)}}}}}},
		"database_specific": map[string]any{"severity": "HIGH", "cwe_ids": []string{"CWE-79"}},
	})
	return id, text
}

func at(revision int) time.Time { return time.Date(2026, 1, 1, revision, 0, 0, 0, time.UTC) }

// fill puts an ecosystem of n advisories there; those in changed have another revision.
func (m *mirror) fill(ecosystem string, n int, changed map[int]int) {
	var b, list bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range n {
		id, text := osv(ecosystem, i, changed[i])
		w, _ := z.Create(id + ".json")
		_, _ = w.Write(text)
		fmt.Fprintf(&list, "%s,%s\n", at(changed[i]).Format(time.RFC3339), id)
		m.put(ecosystem+"/"+id+".json", text)
	}
	_ = z.Close()
	m.put(ecosystem+"/all.zip", b.Bytes())
	m.put(ecosystem+"/modified_id.csv", list.Bytes())
}

type bench struct {
	m    *mirror
	o    feed.Options
	path string
}

func newBench(t testing.TB) *bench {
	m := newMirror(t)
	m.put("ecosystems.txt", []byte("npm\nRocky Linux\nRocky Linux:9\n[EMPTY]\n"))
	m.fill("npm", 60, nil)
	m.fill("Rocky Linux", 30, nil)
	c := intel.DefaultConfig()
	c.Source, c.Retries, c.Timeout = m.URL, 2, time.Minute
	path := filepath.Join(t.TempDir(), "db")
	return &bench{m, feed.Options{Config: c, Path: path, Backoff: time.Millisecond}, path}
}

func (b *bench) update(t testing.TB) *feed.Result {
	t.Helper()
	res, err := feed.Update(context.Background(), b.o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (b *bench) fails(t testing.TB, with string) {
	t.Helper()
	_, err := feed.Update(context.Background(), b.o)
	if err == nil || !strings.Contains(err.Error(), with) {
		t.Errorf("the error is %v, want %q in it", err, with)
	}
	if left, _ := filepath.Glob(filepath.Join(b.path+".work", ".testudo*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func (b *bench) count(t testing.TB, ecosystem string) int64 {
	t.Helper()
	d, err := intel.Open(b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	info := d.Info()
	s, _ := info.Source(intel.KindOSV, ecosystem)
	return s.Advisories
}

func TestIncrements(t *testing.T) {
	b := newBench(t)
	res := b.update(t)
	if n, r := b.count(t, "npm"), b.count(t, "Rocky Linux"); n != 60 || r != 30 || res.Sources[0].State != feed.New {
		t.Fatalf("%d of npm, %d of Rocky Linux, %+v", n, r, res.Sources)
	}
	b.m.gets()

	res = b.update(t) // nothing new: no archive is asked for
	for _, got := range b.m.gets() {
		if strings.HasSuffix(got, "all.zip") || strings.HasSuffix(got, ".csv") {
			t.Errorf("%s was downloaded though nothing had changed", got)
		}
	}
	if res.Sources[0].State != feed.Unchanged {
		t.Errorf("%+v", res.Sources)
	}

	// One changes, one comes, none goes: three files.
	open, err := intel.Open(b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	b.m.fill("npm", 61, map[int]int{5: 2, 60: 2})
	b.update(t)
	var singles []string
	for _, got := range b.m.gets() {
		if strings.HasPrefix(got, "npm/T-") {
			singles = append(singles, got)
		} else if strings.HasSuffix(got, "all.zip") {
			t.Errorf("%s was downloaded for two advisories", got)
		}
	}
	if len(singles) != 2 || b.count(t, "npm") != 61 {
		t.Errorf("downloaded %v, now %d", singles, b.count(t, "npm"))
	}
	d, err := intel.Open(b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if a, err := d.Advisory("T-npm-5"); err != nil || a.Summary != "revision 2" || a.CWE[0] != "CWE-79" {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := d.Advisory("T-npm-6"); err != nil || a.Summary != "revision 0" || len(a.Affected) != 1 {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := open.Advisory("T-npm-5"); err != nil || a.Summary != "revision 0" {
		t.Errorf("who had the old one open now reads %+v %v", a, err)
	}

	b.m.fill("npm", 58, map[int]int{5: 2}) // three go
	if res = b.update(t); b.count(t, "npm") != 58 {
		t.Errorf("%+v", res.Sources)
	}
	if d, err := intel.Open(b.path); err != nil {
		t.Fatal(err)
	} else if _, err := d.Advisory("T-npm-59"); !errors.Is(err, intel.ErrNotFound) {
		t.Errorf("what was removed is there: %v", err)
	} else {
		d.Close()
	}
}

// TestPartialMirror: one that is being filled names changes before it has them. What it has is taken in, what it has not stays as it
// was, and comes once it is there, though nothing else changes.
func TestPartialMirror(t *testing.T) {
	b := newBench(t)
	b.update(t)
	b.m.fill("npm", 62, map[int]int{5: 2, 6: 2, 61: 3})
	b.m.mu.Lock()
	late := map[string][]byte{}
	for _, name := range []string{"npm/T-npm-5.json", "npm/T-npm-61.json"} { // one changed, one is new
		late[name] = b.m.files[name]
		delete(b.m.files, name)
	}
	b.m.mu.Unlock()
	summary := func(id string) string {
		d, err := intel.Open(b.path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		a, err := d.Advisory(id)
		if err != nil {
			return err.Error()
		}
		return a.Summary
	}
	b.update(t)
	if n, five, six := b.count(t, "npm"), summary("T-npm-5"), summary("T-npm-6"); n != 61 || five != "revision 0" || six != "revision 2" {
		t.Errorf("of a mirror that lacks two: %d, %s, %s", n, five, six)
	}
	for name, text := range late {
		b.m.put(name, text)
	}
	b.update(t)
	if n, five, last := b.count(t, "npm"), summary("T-npm-5"), summary("T-npm-61"); n != 62 || five != "revision 2" || last != "revision 3" {
		t.Errorf("once they are there: %d, %s, %s", n, five, last)
	}
	b.m.gets()
	b.update(t)
	for _, got := range b.m.gets() {
		if strings.HasPrefix(got, "npm/") {
			t.Errorf("%s is asked for again", got)
		}
	}
}

// TestLossAmongChanges: what goes is not made up for by what changes.
func TestLossAmongChanges(t *testing.T) {
	b := newBench(t)
	b.m.fill("npm", 100, nil)
	b.update(t)
	changed := map[int]int{}
	for i := range 15 {
		changed[i] = 2
	}
	b.m.fill("npm", 85, changed)
	b.fails(t, "lost 15 of 100")
}

func TestLossIsRefused(t *testing.T) {
	b := newBench(t)
	b.update(t)
	b.m.fill("npm", 20, nil)
	b.fails(t, "lost 40 of 60")
	if b.count(t, "npm") != 60 {
		t.Error("the old ones are gone")
	}
	b.o.Force = true
	if b.update(t); b.count(t, "npm") != 20 {
		t.Error("--force was not heeded")
	}
}

func TestLies(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(w http.ResponseWriter, r *http.Request) bool
		want  string
	}{
		"digest": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Digest", "sha-256="+base64.StdEncoding.EncodeToString(make([]byte, 32)))
			return false
		}, "digest"},
		"crc32c": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-Goog-Hash", "crc32c=AAAAAA==,md5=x")
			return false
		}, "CRC-32C"},
		"hang": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				return false
			}
			w.Header().Set("Content-Length", "100000")
			w.WriteHeader(200)
			_, _ = w.Write([]byte("PK"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, "stopped sending"},
		"hang at once": {func(w http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // or it would answer 200 after all
		}, "timeout"},
		"cut off": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write([]byte("PK"))
			return true
		}, "EOF"},
		"error": {func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(503); return true }, "503"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/x", http.StatusFound)
			return true
		}, "only https is"},
		"no zip": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Del("Digest")
			_, _ = w.Write([]byte("<html>hello"))
			return true
		}, "not a whole zip file"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.o.Config.Retries = 1
			b.update(t)
			if strings.HasPrefix(name, "hang") {
				b.o.Config.Retries, b.o.Config.Timeout = 0, 3*time.Second
			}
			b.m.fill("npm", 120, map[int]int{1: 1})
			b.m.mu.Lock()
			b.m.spoil = func(w http.ResponseWriter, r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, "npm/all.zip") && c.spoil(w, r)
			}
			b.m.mu.Unlock()
			b.fails(t, c.want)
			if b.count(t, "npm") != 60 || b.count(t, "Rocky Linux") != 30 {
				t.Error("the old ones are gone")
			}
			b.m.mu.Lock()
			b.m.spoil = nil
			b.m.mu.Unlock()
			b.o.Config.Timeout = time.Minute
			if b.update(t); b.count(t, "npm") != 120 {
				t.Error("it does not get well")
			}
		})
	}
}

// TestResume breaks a download off, and looks that the next one asks for the rest alone.
func TestResume(t *testing.T) {
	b := newBench(t)
	b.o.Config.Retries = 0
	full := b.m.files["npm/all.zip"]
	b.m.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "npm/all.zip") {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(full)))
		_, _ = w.Write(full[:len(full)/2])
		return true
	}
	b.fails(t, "EOF")
	b.m.mu.Lock()
	b.m.spoil = nil
	b.m.mu.Unlock()
	b.m.gets()
	b.update(t)
	want := fmt.Sprintf("npm/all.zip bytes=%d-", len(full)/2)
	if got := strings.Join(b.m.gets(), "\n"); !strings.Contains(got, want) {
		t.Errorf("asked for\n%s\nwant %s", got, want)
	}
	if b.count(t, "npm") != 60 {
		t.Error("not all came")
	}
}

func TestBrokenAdvisories(t *testing.T) {
	b := newBench(t)
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	put := func(name, text string) {
		w, _ := z.Create(name)
		_, _ = w.Write([]byte(text))
	}
	for i := range 40 {
		id, text := osv("npm", i, 0)
		put(id+".json", string(text))
	}
	put("bad.json", "{")
	put("../../evil.json", `{"id":"EVIL-1"}`)
	put("noid.json", `{"affected":[]}`)
	put("id.json", `{"id":"a/../b"}`)
	put("deep.json", strings.Repeat("[", 100000))
	put("huge.json", strings.Repeat(" ", 17<<20)+"{}")
	put("control.json", `{"id":"C-1","affected":[{"package":{"ecosystem":"npm","name":"a\u0000b"}}]}`)
	put("README.md", "not looked at")
	_ = z.Close()
	b.m.put("npm/all.zip", buf.Bytes())
	b.o.Config.MaxLoss = 50
	res := b.update(t)
	for _, s := range res.Sources {
		if s.Name == "npm" && (s.Broken != 7 || s.Advisories != 40 || len(s.Examples) != 7) {
			t.Errorf("%+v", s)
		}
	}
}

// TestZipBomb: one that is what it says, and one that is not, which costs no time to make or to refuse.
func TestZipBomb(t *testing.T) {
	const entry = 15 << 20
	spaces := bytes.Repeat([]byte(" "), entry)
	sum := crc32.ChecksumIEEE(spaces)
	var whole bytes.Buffer
	w, _ := flate.NewWriter(&whole, flate.DefaultCompression)
	_, _ = w.Write(spaces)
	_ = w.Close()
	for name, packed := range map[string][]byte{"true": whole.Bytes(), "cut off": whole.Bytes()[:20]} {
		if name == "true" && require.Race {
			continue // 400 MB through an inflater of the race detector's; `make test` runs it without
		}
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			var buf bytes.Buffer
			z := zip.NewWriter(&buf)
			for i := range 40 {
				w, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("b%d.json", i), Method: zip.Deflate, CRC32: sum,
					CompressedSize64: uint64(len(packed)), UncompressedSize64: entry})
				if err != nil {
					t.Fatal(err)
				}
				_, _ = w.Write(packed)
			}
			_ = z.Close()
			b.m.put("npm/all.zip", buf.Bytes())
			b.fails(t, "unpacks to more than")
		})
	}
}

func TestBusyAndCancelled(t *testing.T) {
	b := newBench(t)
	b.update(t)
	b.m.fill("npm", 120, nil)
	entered := make(chan struct{})
	var once sync.Once
	b.m.mu.Lock()
	b.m.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "npm/all.zip") {
			return false
		}
		once.Do(func() { close(entered) })
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	b.m.mu.Unlock()
	b.o.Config.Timeout = time.Minute
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := feed.Update(ctx, b.o)
		ended <- err
	}()
	<-entered
	if _, err := feed.Update(context.Background(), b.o); !errors.Is(err, feed.ErrBusy) {
		t.Errorf("a second update at the same time: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if b.count(t, "npm") != 60 {
		t.Error("the old ones are gone")
	}
}

func TestLists(t *testing.T) {
	b := newBench(t)
	b.m.put("known_exploited_vulnerabilities.json", []byte(`{"dateReleased":"2026-01-02T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2024-0003","dateAdded":"2026-01-01","dueDate":"2026-02-01","knownRansomwareCampaignUse":"Known"},{"cveID":7}]}`))
	b.m.put("epss_scores-current.csv.gz", []byte("#model_version:v1,score_date:2026-01-03T00:00:00+0000\ncve,epss,percentile\nCVE-2024-0003,0.5,0.9\nCVE-2024-0004,1e-05,0.1\nx,y,z\n"))
	b.update(t)
	d, err := intel.Open(b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a, err := d.Advisory("T-npm-3")
	if err != nil || a.Exploited == nil || !a.Exploited.Ransomware || a.Exploited.Added.Day() != 1 || a.Probability == nil || a.Probability.Score != 0.5 || a.Probability.Date.Day() != 3 {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err := d.Advisory("T-npm-4"); err != nil || a.Exploited != nil || a.Probability.Score != 0.00001 {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := d.Advisory("T-npm-5"); err != nil || a.Probability != nil {
		t.Errorf("%+v %v", a, err)
	}
}

func TestChoice(t *testing.T) {
	b := newBench(t)
	b.update(t)
	b.o.Config.Ecosystems = []string{"npm"}
	if b.update(t); b.count(t, "Rocky Linux") != 0 || b.count(t, "npm") != 60 {
		t.Error("what is not wanted any more stays")
	}
	b.o.Config.Ecosystems = []string{"npm", "Nonesuch"}
	b.fails(t, "no such ecosystem")
}

func FuzzParseOSV(f *testing.F) {
	_, text := osv("npm", 1, 1)
	f.Add(text)
	f.Add([]byte(`{"id":"A-1","affected":[{"ranges":[{"type":"GIT","repo":"x"}],"ecosystem_specific":{"imports":[{"path":1}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := feed.ParseOSV(text)
		if err == nil && !intel.ValidID(a.ID) {
			t.Errorf("id %q", a.ID)
		}
	})
}
