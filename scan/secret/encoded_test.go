package secret_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/scantest"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"
)

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func gzipOf(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

func wrap(s string, width int, newline string) string {
	var out []string
	for len(s) > width {
		out, s = append(out, s[:width]), s[width:]
	}
	return strings.Join(append(out, s), newline)
}

func percentOf(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// TestEncoded holds that a secret is found in encoded text, at the place of that, and that the finding says how.
func TestEncoded(t *testing.T) {
	s := secret.New(builtin(t))
	token := expand(t, "{{github ghp_}}", "encoded")
	config := "# the settings of the shop, long enough to go over several lines\nregion = north\nGITHUB_TOKEN=" + token + "\nlast = line of it\n"
	address := "postgres://shop:" + expand(t, "{{base62 16}}", "encoded") + "@db.corp.net/shop"
	for name, c := range map[string]struct {
		text         string
		line, column int
		how          string
		rule         string
	}{
		"base64":          {"\nx = \"" + base64Of(token) + "\"", 2, 6, "base64 of ghp_… (40 characters)", "github-token"},
		"without padding": {"x=" + strings.TrimRight(base64Of(config), "="), 1, 3, "base64 of ghp_", "github-token"},
		"url":             {"x=" + base64.RawURLEncoding.EncodeToString([]byte("??>>~~"+config)), 1, 3, "base64 of ghp_", "github-token"},
		"behind a path":   {"data/" + base64Of(config), 1, 6, "base64 of ghp_", "github-token"},
		"data address":    {"url(data:text/plain;base64," + base64Of(config) + ")", 1, 28, "base64 of ghp_", "github-token"},
		"wrapped":         {"cfg:\n" + wrap(base64Of(config), 76, "\n"), 2, 1, "base64 of ghp_", "github-token"},
		"Kubernetes":      {"kind: Secret\ndata:\n  app.env: |\n    " + wrap(base64Of(config), 64, "\r\n    ") + "\n  other: YQ==\n", 4, 5, "base64 of ghp_", "github-token"},
		"hex":             {"x = " + hex.EncodeToString([]byte(config)), 1, 5, "hex of ghp_", "github-token"},
		"HEX":             {"x = " + strings.ToUpper(hex.EncodeToString([]byte(config))), 1, 5, "hex of ghp_", "github-token"},
		"percent":         {"GET /?q=" + percentOf(address), 1, 5, "percent-encoding of not shown", "database-url-password"},
		"query":           {"see https://x.corp.net/?dsn=" + url.QueryEscape(address) + " there", 1, 5, "percent-encoding of not shown", "database-url-password"},
		"gzip":            {"x = " + base64Of(gzipOf(config)), 1, 5, "base64 of gzip of ghp_", "github-token"},
		"twice":           {"x = " + base64Of("y = "+base64Of(config)), 1, 5, "base64 of base64 of ghp_", "github-token"},
		"three times":     {"x = " + hex.EncodeToString([]byte("y = "+base64Of(gzipOf("z = "+base64Of(config))))), 1, 5, "hex of base64 of gzip of base64 of ghp_", "github-token"},
	} {
		found := scantest.Findings(t, s, "deploy/x", []byte(c.text))
		found = slices.DeleteFunc(found, func(f signal.Finding) bool { return f.Rule != c.rule })
		if len(found) != 1 {
			t.Errorf("%s: %d findings", name, len(found))
			continue
		}
		f := found[0]
		if f.Location.Line != c.line || f.Location.Column != c.column || !strings.HasPrefix(f.Evidence[0].Value, c.how) {
			t.Errorf("%s: at %d:%d %q, want %d:%d %q", name, f.Location.Line, f.Location.Column, f.Evidence[0].Value, c.line, c.column, c.how)
		}
		if strings.Contains(fmt.Sprint(f), token[8:20]) || strings.Contains(fmt.Sprint(f), base64Of(token)[12:24]) {
			t.Errorf("%s: repeated: %+v", name, f)
		}
	}
}

// TestEncodedIs holds that the same secret, plain and encoded, is one finding.
func TestEncodedIs(t *testing.T) {
	s := secret.New(builtin(t))
	token := expand(t, "{{github ghp_}}", "encoded")
	found := scantest.Findings(t, s, "x", []byte("a "+token+"\nb "+base64Of(token)+"\n"))
	if len(found) != 1 || found[0].Count != 2 || found[0].Location.Line != 1 {
		t.Errorf("%+v", found)
	}
}

// TestNotEncoded holds that nothing is found in what only looks encoded, nor deeper than the limit, nor twice.
func TestNotEncoded(t *testing.T) {
	s := secret.New(builtin(t))
	token := expand(t, "{{github ghp_}}", "encoded")
	deep := "x = " + token
	for range 4 {
		deep = "x = " + base64Of(deep)
	}
	for name, text := range map[string]string{
		"too deep":         deep,
		"other characters": "x = " + strings.ReplaceAll(base64Of("a"+token), "Z", "."),
		"cut gzip":         "x = " + base64Of(gzipOf(token)[:14]),
		"words":            strings.Repeat("ThisIsNotBase64ButALongNameOfAClassInJava8/With/Some/Path ", 20),
	} {
		if found := scantest.Findings(t, s, "x", []byte(text)); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
	jwt := expand(t, "{{jwt}}", "encoded")
	if found := scantest.Findings(t, s, "x", []byte("t = "+jwt)); len(found) != 1 || strings.Contains(found[0].Evidence[0].Value, "base64") {
		t.Errorf("a token is judged in parts: %+v", found)
	}
	bomb := "x = " + base64Of(gzipOf(strings.Repeat("no secret at all\n", 1<<20))) + "\n"
	f := []byte(strings.Repeat(bomb, 100))
	if err := s.Scan(t.Context(), fileOf("x", f), func(signal.Finding, confidence) {}); err == nil || !strings.Contains(err.Error(), "too much of it is encoded") {
		t.Errorf("a bomb: %v", err)
	}
}

// TestEncodedAsPlain holds that whatever any rule finds in a text it finds in the text's encoded forms.
func TestEncodedAsPlain(t *testing.T) {
	set := builtin(t)
	s := secret.New(set)
	missed, all := 0, 0
	for _, sample := range samples(t, set) {
		text := "# padding, so that short samples are long enough\n" + sample.Data
		plain := scantest.Findings(t, s, sample.Path, []byte(text))
		for how, encoded := range map[string]string{"base64": base64Of(text), "wrapped": wrap(base64Of(text), 76, "\n"), "hex": hex.EncodeToString([]byte(text)), "gzip": base64Of(gzipOf(text))} {
			found := scantest.Findings(t, s, sample.Path, []byte(encoded))
			for _, p := range plain {
				all++
				if !slices.ContainsFunc(found, func(f signal.Finding) bool { return f.Rule == p.Rule }) {
					missed++
					t.Errorf("%s in %s: %s is not found", how, sample.Path, p.Rule)
				}
			}
		}
	}
	if all < 600 || missed > 0 {
		t.Errorf("%d of %d missed", missed, all)
	}
}

func BenchmarkEncodedPassesOver(b *testing.B) {
	set := builtin(b)
	text := []byte(strings.Repeat("func (d *decoder) take(n int) bool { // an ordinary line of code, as most are\n", 20000))
	s := secret.New(set)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_ = s.Scan(b.Context(), fileOf("x.go", text), func(signal.Finding, confidence) {})
	}
}

type confidence = scan.Confidence

func fileOf(path string, data []byte) *scan.File { return &scan.File{Path: path, Data: data} }
