package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"crypto/tls"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	registryserver "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"io/fs"
	"log"
)

// serve runs a registry with an image in it, behind a handler that a test may put before it.
func serve(t *testing.T, m *made, before func(w http.ResponseWriter, r *http.Request) (handled bool)) (host string) {
	t.Helper()
	inner := registryserver.New(registryserver.Logger(log.New(io.Discard, "", 0)))
	pushed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pushed && before != nil && before(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	push(t, host+"/shop:1", m)
	pushed = true
	return host
}

func push(t *testing.T, ref string, m *made) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(m.layout(t))
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if err := remote.Write(at, img, remote.WithTransport(transport)); err != nil {
		t.Fatal(err)
	}
}

// keys are credentials for every registry.
type keys struct{ user, password string }

func (k keys) Resolve(authn.Resource) (authn.Authenticator, error) {
	if k.user == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: k.user, Password: k.password}), nil
}

func registryOptions() Options {
	o := options()
	o.Credentials = keys{}
	o.Stall = 300 * time.Millisecond
	return o
}

// TestRegistry holds that an image in a registry gives what it gives on disk, also behind a password, and that each blob is fetched once.
func TestRegistry(t *testing.T) {
	m := shop(t)
	want := scanned(t, m.layout(t), options())
	var blobs atomic.Int64
	host := serve(t, m, func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u != "ada" || p != "lovelace" {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		return false
	})
	o := registryOptions()
	o.Credentials = keys{"ada", "lovelace"}
	for _, ref := range []string{host + "/shop:1", "docker://" + host + "/shop:1", "registry:" + host + "/shop:1"} {
		blobs.Store(0)
		got := scanned(t, ref, o)
		if strings.Join(ids(got.findings), "\n") != strings.Join(ids(want.findings), "\n") || len(got.packages) != len(want.packages) {
			t.Errorf("%s: %q\nwant %q", ref, ids(got.findings), ids(want.findings))
		}
		if got.image.Digest == "" || got.image.Name != host+"/shop:1" || blobs.Load() != 5 {
			t.Errorf("%s: %q, digest %q, %d blobs fetched, want 5", ref, got.image.Name, got.image.Digest, blobs.Load())
		}
	}
	byDigest := scanned(t, host+"/shop@"+want.image.Digest, o)
	if len(byDigest.findings) != len(want.findings) {
		t.Errorf("by digest: %q", ids(byDigest.findings))
	}
	o.Credentials = keys{"ada", "wrong"}
	if _, err := Open(t.Context(), host+"/shop:1", o); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// TestRegistryMisbehaves holds that a registry that hangs, lies, or sends elsewhere gives a clear error, at once or for the layer.
func TestRegistryMisbehaves(t *testing.T) {
	m := shop(t)
	layer := sum(gz(t, m.layers[1]))
	var manifests atomic.Int64
	end := make(chan struct{})
	defer close(end)
	isLayer := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/blobs/"+layer) }
	isManifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	wait := func(r *http.Request) bool {
		select {
		case <-end:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler) // or it would answer 200 after all
	}
	for name, c := range map[string]struct {
		before   func(w http.ResponseWriter, r *http.Request) bool
		open     string // the error of Open
		unread   string // else that of the layer
		findings bool   // of other layers, there are
	}{
		"the manifest hangs": {before: func(w http.ResponseWriter, r *http.Request) bool { return isManifest(r) && wait(r) }, open: "sent nothing"},
		"the layer hangs in the middle": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			_, _ = w.Write(gz(t, m.layers[1])[:100])
			w.(http.Flusher).Flush()
			return wait(r)
		}, unread: "sent nothing"},
		"the layer is another": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			b := gz(t, m.layers[1])
			b[len(b)-1] ^= 1
			_, _ = w.Write(b)
			return true
		}, unread: "not what its digest says"},
		"the layer is missing": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				http.NotFound(w, r)
			}
			return isLayer(r)
		}, unread: "404"},
		"the layer is endless": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			for range 1 << 14 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					break
				}
			}
			return true
		}, unread: "limit"},
		"the metadata service": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if isLayer(r) {
				http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
			}
			return isLayer(r)
		}, unread: ""},
		"the list of lists": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if !isManifest(r) {
				return false
			}
			manifests.Add(1)
			return false
		}},
		"a page": {before: func(w http.ResponseWriter, r *http.Request) bool {
			if isManifest(r) {
				_, _ = io.WriteString(w, "<html>\x1b[31mlogin</html>")
			}
			return isManifest(r)
		}, open: "manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			host := serve(t, m, c.before)
			i, err := Open(t.Context(), host+"/shop:1", registryOptions())
			if c.open != "" {
				if err == nil || !strings.Contains(err.Error(), c.open) || strings.Contains(err.Error(), "\x1b") {
					t.Fatalf("%v, want %q", err, c.open)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			got := scanOpen(t, i)
			if name == "the list of lists" {
				return
			}
			if len(got.stats.Skipped) != 2 || !strings.Contains(got.stats.Skipped[0].Reason+got.stats.Skipped[1].Reason, c.unread) ||
				!strings.Contains(got.stats.Skipped[0].Path+got.stats.Skipped[1].Path, "layer 2 of 4") {
				t.Errorf("%+v, want %q", got.stats.Skipped, c.unread)
			}
			if len(got.packages) != 4 {
				t.Errorf("the other layers: %+v", got.packages)
			}
		})
	}
}

// TestGuard holds which addresses a registry may send to.
func TestGuard(t *testing.T) {
	var reached atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	local := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := strings.Cut(local, ":")
	for _, c := range []struct {
		host, url string
		plain     bool
		want      error // nil for reached or tried
	}{
		{host: "registry.example", url: "http://registry.example/v2/", want: errPlain},
		{host: "registry.example", url: "http://elsewhere.example/", plain: true, want: errPlain},
		{host: "registry.example", url: "https://127.0.0.1:" + port + "/", want: errPrivate},
		{host: "registry.example", url: "http://127.0.0.1:" + port + "/", want: errPrivate},
		{host: "registry.example", url: "http://localhost:" + port + "/", want: errPrivate}, // a name: refused when it is dialled
		{host: "registry.example", url: "https://10.1.2.3/", want: errPrivate},
		{host: "registry.example", url: "https://[fd00::1]/", want: errPrivate},
		{host: "registry.example", url: "https://[::ffff:10.0.0.1]/", want: errPrivate},
		{host: "registry.example", url: "https://100.64.1.1/", want: errPrivate},
		{host: "registry.example", url: "https://169.254.169.254/", want: errPrivate},
		{host: local, url: "https://169.254.169.254/", want: errPrivate}, // not for a private registry either
		{host: local, url: "http://10.1.2.3/", want: errPlain},
		{host: local, url: "http://" + local + "/", want: nil},
		{host: local, url: "http://localhost:" + port + "/", want: nil},
	} {
		o := registryOptions()
		o.PlainHTTP = c.plain
		g := newGuard(c.host, &o)
		g.transport.Proxy = nil
		before := reached.Load()
		request, err := http.NewRequest(http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := g.RoundTrip(request)
		if response != nil {
			response.Body.Close()
		}
		g.transport.CloseIdleConnections()
		if c.want == nil && (err != nil || reached.Load() == before) || c.want != nil && (!errors.Is(err, c.want) || reached.Load() != before) {
			t.Errorf("%s sends to %s: %v, want %v", c.host, c.url, err, c.want)
		}
	}
	for a, want := range map[string]bool{"8.8.8.8": false, "2606:4700::1": false, "10.0.0.1": true, "172.20.1.1": true, "192.168.1.1": true, "127.9.9.9": true, "::1": true, "fe80::1": true,
		"0.0.0.0": true, "::": true, "224.0.0.1": true, "64:ff9b::a00:1": true, "255.255.255.255": true} {
		if got := isPrivate(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: private %v, want %v", a, got, want)
		}
	}
}

// TestTokenServer holds that the address of a token server, which the registry chooses, is guarded as redirects are.
func TestTokenServer(t *testing.T) {
	host := serve(t, shop(t), func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://169.254.169.254/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	o := registryOptions()
	o.Credentials = keys{"ada", "lovelace"}
	_, err := Open(t.Context(), host+"/shop:1", o)
	if err == nil || !strings.Contains(err.Error(), "private") {
		t.Errorf("%v, want that the address is private", err)
	}
}

// TestRegistryTLS holds that a certificate is checked, and that the user's own roots count.
func TestRegistryTLS(t *testing.T) {
	inner := registryserver.New(registryserver.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewUnstartedServer(inner)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	u, _ := url.Parse(server.URL)
	o := registryOptions()
	o.Stall = 5 * time.Second
	if _, err := Open(t.Context(), u.Host+"/shop:1", o); err == nil {
		t.Error("a certificate of nobody was taken")
	}
	o.TLS = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if _, err := Open(t.Context(), u.Host+"/shop:1", o); err == nil || !strings.Contains(err.Error(), "NAME_UNKNOWN") && !strings.Contains(err.Error(), "404") {
		t.Errorf("%v, want that there is no such image", err)
	}
}

// fakes are blobs that a test gives by digest or name.
type fakes map[string][]byte

func (f fakes) Close() error { return nil }
func (f fakes) open(_ context.Context, d *descriptor) (*blob, error) {
	key := d.Digest
	if d.name != "" {
		key = d.name
	}
	data, ok := f[key]
	if !ok {
		return nil, missing(d, fs.ErrNotExist)
	}
	return (&spool{data: data, size: int64(len(data))}).blob(), nil
}

// TestChoose holds which image of several is taken.
func TestChoose(t *testing.T) {
	image := func(n int) []byte {
		return fmt.Appendf(nil, `{"config":{"digest":"%s"},"layers":[]}`, sum([]byte{byte(n)}))
	}
	all := fakes{}
	put := func(data []byte) string { all[sum(data)] = data; return sum(data) }
	amd, arm, armv7 := put(image(1)), put(image(2)), put(image(3))
	entry := func(digest, platform, more string) string {
		os, arch, _ := strings.Cut(platform, "/")
		arch, variant, _ := strings.Cut(arch, "/")
		return fmt.Sprintf(`{"digest":%q,"platform":{"os":%q,"architecture":%q,"variant":%q}%s}`, digest, os, arch, variant, more)
	}
	list := func(entries ...string) []byte { return []byte(`{"manifests":[` + strings.Join(entries, ",") + `]}`) }
	attestation := entry(put([]byte("a")), "unknown/unknown", `,"annotations":{"vnd.docker.reference.type":"attestation-manifest"}`)
	multi := list(entry(amd, "linux/amd64", ""), entry(arm, "linux/arm64/v8", ""), entry(armv7, "linux/arm/v7", ""), attestation)
	nested := list(entry(put(multi), "", ""))
	deep := multi
	for range 6 {
		deep = list(fmt.Sprintf(`{"digest":%q}`, put(deep)))
	}
	tagged := list(entry(amd, "linux/amd64", `,"annotations":{"org.opencontainers.image.ref.name":"a"}`), entry(arm, "linux/amd64", `,"annotations":{"org.opencontainers.image.ref.name":"b"}`))
	for _, c := range []struct {
		name, platform, tag string
		index               []byte
		want, err           string
	}{
		{name: "platform", platform: "linux/arm64", index: multi, want: arm},
		{name: "variant", platform: "linux/arm/v7", index: multi, want: armv7},
		{name: "no such platform", platform: "linux/s390x", index: multi, err: "no image for linux/s390x: there are linux/amd64, linux/arm64/v8, linux/arm/v7"},
		{name: "nested", platform: "linux/amd64", index: nested, want: amd},
		{name: "too deep", platform: "linux/amd64", index: deep, err: "nested deeper"},
		{name: "one image of a named platform that it is not", platform: "linux/arm64", index: list(entry(amd, "linux/amd64", "")), err: "no image for linux/arm64"},
		{name: "tag", platform: "linux/amd64", tag: "b", index: tagged, want: arm},
		{name: "which tag", platform: "linux/amd64", index: tagged, err: "say which tag: tag a, tag b"},
		{name: "missing", platform: "linux/amd64", index: list(entry(sum([]byte("no")), "linux/amd64", "")), err: "does not hold it"},
		{name: "no digest", platform: "linux/amd64", index: list(entry("sha256:../../etc/passwd", "linux/amd64", "")), err: "no digest"},
		{name: "ambiguous", platform: "linux/amd64", index: []byte(`{"config":{},"layers":[],"manifests":[{"digest":"` + amd + `"}]}`), err: "CVE-2021-41190"},
		{name: "schema 1", platform: "linux/amd64", index: []byte(`{"fsLayers":[{}]}`), err: "schema 1"},
		{name: "nothing", platform: "linux/amd64", index: []byte(`{}`), err: "neither"},
		{name: "deep JSON", platform: "linux/amd64", index: []byte(strings.Repeat("[", 1<<20)), err: "manifest"},
		{name: "large", platform: "linux/amd64", index: make([]byte, 9<<20), err: "limit"},
	} {
		all["index.json"] = c.index
		p, err := parsePlatform(c.platform)
		if err != nil {
			t.Fatal(err)
		}
		r := &resolver{blobs: all, limit: 8 << 20, platform: p, explicit: true, tag: c.tag}
		_, d, _, err := r.offered(t.Context())
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)), c.err == "" && (err != nil || d.Digest != c.want):
			t.Errorf("%s: %v %v, want %s%s", c.name, d.Digest, err, c.want, c.err)
		}
	}
}
