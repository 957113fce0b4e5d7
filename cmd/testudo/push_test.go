package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
)

// TestPush: a scan is sent with its token to the server of the configuration alone; what goes wrong is a warning, unless
// the configuration requires it.
func TestPush(t *testing.T) {
	var got []console.ScanReport
	var elsewhere int
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/scans", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tok" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", r.Header)
		}
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		var s console.ScanReport
		if err := dec.Decode(&s); err != nil {
			t.Error(err)
		}
		got = append(got, s)
		_, _ = io.WriteString(w, `{"asset":"pushed:repository:x","findings":1,"packages":2,"resolved":3}`)
	})
	mux.HandleFunc("/moved/api/v1/scans", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/full/api/v1/scans", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"status":403,"detail":"this needs the role operator\u001b[31m"}`)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere++ })
	srv := httptest.NewServer(mux)
	defer srv.Close()

	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := write("token", "tok\n")
	write("shop/package-lock.json", `{"name":"shop","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"shop","version":"1.0.0"},"node_modules/lodash":{"version":"4.17.20"}}}`)
	write("shop/settings.py", "aws_access_key_id = \""+"AKIA"+"Q3EGWDNZLM5XKTBV"+"\"\n")
	scanned := func(url string, required bool, args ...string) (int, string) {
		t.Helper()
		config := "scan:\n  server: {url: \"" + url + "\", token_file: \"" + token + "\"}\n"
		if required {
			config = strings.Replace(config, "}", ", required: true}", 1)
		}
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"scan", filepath.Join(dir, "shop"), "--config", write("c.yaml", config), "--data", filepath.Join(dir, "data")}, args...), strings.NewReader(""), &out, &errs)
		return code, errs.String()
	}
	code, errs := scanned(srv.URL, true)
	if code != 1 || !strings.Contains(errs, "1 findings, 2 packages; 3 are gone") || len(got) != 1 {
		t.Fatalf("%d %s", code, errs)
	}
	s := got[0]
	if s.Asset.Kind != "repository" || s.Asset.Name != "shop" || len(s.Findings) != 1 || len(s.Packages) == 0 {
		t.Errorf("sent %+v", s)
	}
	if s.Complete {
		t.Error("without a database of advisories a scan says nothing of what is gone")
	}
	if text, _ := json.Marshal(s); bytes.Contains(text, []byte("Q3EGWDNZLM5XKTBV")) {
		t.Error("the secret was sent")
	}
	if _, _ = scanned(srv.URL, false, "--asset", "acme/shop"); len(got) != 2 || got[1].Asset.Name != "acme/shop" {
		t.Error("--asset does not name it")
	}
	for _, c := range []struct{ url, want string }{
		{srv.URL + "/moved", "redirect"}, {srv.URL + "/full", "this needs the role operator"}, {"http://127.0.0.1:1", "refused"},
	} {
		if code, errs := scanned(c.url, false); code != 1 || !strings.Contains(errs, "warning") || !strings.Contains(errs, c.want) || strings.Contains(errs, "\x1b") {
			t.Errorf("%s: %d %q", c.url, code, errs)
		}
		if code, errs := scanned(c.url, true); code != 2 || !strings.Contains(errs, c.want) {
			t.Errorf("%s, required: %d %q", c.url, code, errs)
		}
	}
	if elsewhere != 0 {
		t.Error("a redirect was followed")
	}
	if code, errs := scanned("http://example.com", false); code != 2 || !strings.Contains(errs, "want https") {
		t.Errorf("a token in clear: %d %s", code, errs)
	}
}

func TestRemoteName(t *testing.T) {
	for remote, want := range map[string]string{
		"https://user:hunter2@github.com/acme/shop.git": "acme/shop", "git@github.com:acme/shop.git": "acme/shop", "ssh://git@host:22/acme/shop": "acme/shop",
		"/srv/git/shop.git": "shop", "https://host/": "", "": "",
	} {
		if got := remoteName(remote); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

func TestScanServer(t *testing.T) {
	for url, ok := range map[string]bool{
		"": true, "https://a.example": true, "http://127.0.0.1:7443": true, "http://[::1]:1": true, "http://localhost": true,
		"http://a.example": false, "https://user:pw@a.example": false, "ftp://a": false, "https://": false, "https://a/?q=1": false,
	} {
		c := assembly.DefaultScanServer()
		c.URL = url
		if err := c.Validate(); (err == nil) != ok || err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
