package ui_test

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	"github.com/testudo-sec/testudo/console/consoletest"
)

func TestPackages(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	for _, c := range []struct {
		q           string
		status      int
		has, hasNot string
	}{
		{"", http.StatusOK, "golang.org/x/net", ""},
		{"lodash", http.StatusOK, "CVE-2021-23337", "openssl"},
		{"pkg:npm/lodash@<4.17.21", http.StatusOK, "fixed in <bdi>4.17.21", "golang.org"},
		{"nothing-like-this", http.StatusOK, "Nobody has it", "<table"},
		{"pkg:nothing", http.StatusUnprocessableEntity, "no package URL", "<table"},
	} {
		status, body := p.get("/packages?q=" + url.QueryEscape(c.q))
		if status != c.status || !bytes.Contains(body, []byte(c.has)) || c.hasNot != "" && bytes.Contains(body, []byte(c.hasNot)) {
			t.Errorf("%q: %d, want %d with %q and without %q", c.q, status, c.status, c.has, c.hasNot)
		}
		if bytes.Contains(body, []byte("<script>alert")) || bytes.ContainsRune(body, '\u202e') {
			t.Errorf("%q: a package's name is not escaped", c.q)
		}
	}
	// A vulnerability says first what decides about it, and who else has the package.
	_, body := p.get("/findings/" + flawOf(w))
	for _, want := range []string{"What decides", "brought by", "async@2.6.1", "/packages?q=pkg%3Anpm%2Flodash"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the page of a vulnerability lacks %q", want)
		}
	}
	// The list has its priority with the reasons, and what to upgrade to.
	_, body = p.get("/findings")
	for _, want := range []string{`title="priority 73 of 100: CVSS 7.2 (&#43;65); exploitation within 30 days has a probability of 46% (EPSS) (&#43;8)">73</span>`, `<span class="tag">fixed in <bdi>4.17.21</bdi></span>`} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the list of findings lacks %q", want)
		}
	}
}
