package engine_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/edge/waf/waftest"
	"github.com/testudo-sec/testudo/internal/require"
)

// material is what requests are made of.
type material struct {
	seed     uint64
	requests []string // the Core Rule Set's regression tests, as they go on the wire
	attacks  []string // values of them
	harmless []string // prose, code and data that is found on the machine
	json     []string // whole documents
}

func gather(t testing.TB) *material {
	m := &material{attacks: attacks, harmless: harmless}
	for _, test := range waftest.Read(t, require.Corpora(t)) {
		for i := range test.Stages {
			raw := string(test.Stages[i].Bytes())
			m.requests = append(m.requests, raw)
			p := parse(raw)
			_, query, _ := strings.Cut(p.uri, "?")
			for _, form := range []string{query, p.body} {
				for pair := range strings.SplitSeq(form, "&") {
					_, value, _ := strings.Cut(pair, "=")
					if plain, err := url.QueryUnescape(value); err == nil && plain != "" {
						m.attacks = append(m.attacks, plain)
					}
				}
			}
		}
	}
	for _, dir := range []string{"/usr/share/doc", "/usr/share/perl", "/usr/lib/python3", "/usr/share/common-licenses", moduleCache()} {
		m.read(dir)
	}
	return m
}

func moduleCache() string {
	if dir := os.Getenv("GOMODCACHE"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, "go", "pkg", "mod")
}

// read takes pieces of the files below a folder, of one in five.
func (m *material) read(dir string) {
	seen, taken := 0, 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if seen++; seen > 20_000 || taken > 1500 {
			return filepath.SkipAll
		}
		switch filepath.Ext(path) {
		case "", ".md", ".txt", ".go", ".py", ".pl", ".pm", ".json", ".html", ".sh", ".sql", ".xml", ".yaml", ".yml", ".c", ".js":
		default:
			return nil
		}
		info, err := d.Info()
		if seen%5 != 0 || err != nil || !info.Mode().IsRegular() || info.Size() > 200_000 {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || !utf8.Valid(text) {
			return nil
		}
		taken++
		if filepath.Ext(path) == ".json" && json.Valid(text) && len(text) < 4000 {
			m.json = append(m.json, string(text))
		}
		for at := 0; at < len(text) && at < 6000; at += 1500 {
			m.harmless = append(m.harmless, string(text[at:min(at+40+seen%300, len(text))]))
		}
		return nil
	})
}

// message makes a request, and maybe a response.
func (m *material) message(r *rand.Rand) *message {
	var out *message
	switch r.IntN(8) {
	case 0, 1, 2:
		out = parse(m.requests[r.IntN(len(m.requests))])
		for range r.IntN(4) {
			m.mutate(r, out)
		}
	case 3, 4, 5:
		out = m.written(r)
	default:
		out = randomMessage(r)
		if r.IntN(2) == 0 {
			m.mutate(r, out)
		}
	}
	out.level = 1 + r.IntN(4)
	if out.status == 0 && r.IntN(6) == 0 {
		out.status = []int{200, 404, 500, 302, 403}[r.IntN(5)]
		out.respHeader = []header{{"Content-Type", pick(r, []string{"text/html", "text/html; charset=utf-8", "text/plain", "application/json", "image/png"})}, {"Server", "x"}}
		out.respBody = m.value(r)
		if r.IntN(3) == 0 && len(m.json) > 0 {
			out.respBody = pick(r, m.json)
		}
	}
	return out
}

// value is an attack or harmless, in some coding.
func (m *material) value(r *rand.Rand) string {
	v := pick(r, m.attacks, m.harmless)
	if len(v) > 600 {
		v = v[:600]
	}
	for range r.IntN(3) {
		switch r.IntN(12) {
		case 0:
			v = query(v)
		case 1:
			v = query(query(v))
		case 2:
			v = base64.StdEncoding.EncodeToString([]byte(v))
		case 3:
			v = strings.ToUpper(v)
		case 4:
			v += pick(r, m.attacks, m.harmless)
		case 5:
			v = strings.ReplaceAll(v, " ", pick(r, []string{"/**/", "+", "\t", "%20", "\n", "\u00a0"}))
		case 6:
			v = strings.NewReplacer("<", "&lt;", "'", "&#39;", "a", "&#x61;").Replace(v)
		case 7:
			v = strings.NewReplacer("<", `\u003c`, "'", `\x27`, "e", `\145`).Replace(v)
		case 8:
			v = strings.NewReplacer("/", "%c0%af", ".", "%2e", "<", "\uff1c").Replace(v)
		case 9:
			v = m.bytes(r, v)
		case 10:
			if len(v) > 2 {
				v = v[r.IntN(len(v)/2):]
			}
		case 11:
			v += strings.Repeat(pick(r, []string{"a", "'", "(", " ", "%", "\x00", "\xff", "../"}), r.IntN(40))
		}
	}
	return v
}

// bytes changes a text anywhere.
func (m *material) bytes(r *rand.Rand, s string) string {
	at := r.IntN(len(s) + 1)
	switch r.IntN(5) {
	case 0:
		return s[:at] + string([]byte{byte(r.IntN(256))}) + s[at:]
	case 1:
		return s[:at] + s[min(len(s), at+1+r.IntN(4)):]
	case 2:
		other := pick(r, m.attacks)
		return s[:at] + other[:min(len(other), 200)] + s[at:]
	case 3:
		return s[:at] + pick(r, []string{"\x00", "'", "\"", "<", "--", "/*", "%00", "&", "=", ";", "\r\n", "\\", "`", "${", "\u017f", "\u212a", "%u0027", "\xed\xa0\x80", "[]", "."}) + s[at:]
	}
	return s[at:] + s[:at]
}

// mutate changes one part of a request.
func (m *material) mutate(r *rand.Rand, out *message) {
	switch r.IntN(6) {
	case 0, 1:
		path, q, _ := strings.Cut(out.uri, "?")
		out.uri = path + "?" + m.bytes(r, q)
	case 2:
		if len(out.header) > 0 {
			h := &out.header[r.IntN(len(out.header))]
			h.value = m.bytes(r, h.value)
		}
	case 3, 4:
		if out.body != "" {
			out.body = m.bytes(r, out.body)
		} else {
			out.uri = m.bytes(r, out.uri)
		}
	case 5:
		out.header = append(out.header, header{pick(r, []string{"X-Own", "Cookie", "Referer", "User-Agent", "Content-Type", "X-Forwarded-For", "Accept", "Host", "Content-Length", "Transfer-Encoding"}), m.value(r)})
	}
}

// written is a request in an honest form, with values of any kind.
func (m *material) written(r *rand.Rand) *message {
	out := &message{method: "GET", uri: pick(r, []string{"/", "/search", "/api/items/7", "/a/b.php", "/login", "/../x", "/caf%C3%A9"}), proto: "HTTP/1.1"}
	out.header = []header{{"Host", "example.org"}, {"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0"}, {"Accept", "text/html"}}
	field := func() string { return pick(r, []string{"q", "id", "name", "f[]", "a.b", "text", "x", "Q", "file"}) }
	pairs := func() string {
		var b strings.Builder
		for range 1 + r.IntN(3) {
			b.WriteString(field() + "=" + query(m.value(r)) + "&")
		}
		return strings.TrimSuffix(b.String(), "&")
	}
	if r.IntN(2) == 0 {
		out.uri += "?" + pairs()
	}
	if r.IntN(4) == 0 {
		out.header = append(out.header, header{"Cookie", "sid=" + query(m.value(r))})
	}
	kind := ""
	switch r.IntN(7) {
	case 0:
		kind, out.body = "application/x-www-form-urlencoded", pairs()
	case 1:
		list := map[string]any{field(): m.value(r), field(): r.IntN(1000), field(): []any{m.value(r), nil, r.Float64(), map[string]any{field(): m.value(r)}}}
		text, _ := json.Marshal(list)
		kind, out.body = "application/json", string(text)
	case 2:
		if kind = "application/json"; len(m.json) > 0 {
			out.body = pick(r, m.json)
		}
	case 3:
		kind = "multipart/form-data; boundary=b"
		for range 1 + r.IntN(3) {
			name := ""
			if r.IntN(2) == 0 {
				name = pick(r, []string{`; filename="a.txt"`, `; filename*=UTF-8''a%2ephp`, `; filename="a.txt"; filename*=UTF-8''b.txt`, `; filename=x.phtml`, `; filename*0="a"; filename*1=".php"`})
			}
			out.body += fmt.Sprintf("--b\r\nContent-Disposition: form-data; name=%q%s\r\n\r\n%s\r\n", field(), name, m.value(r))
		}
		out.body += "--b--\r\n"
	case 4:
		kind, out.body = "application/xml", fmt.Sprintf(`<?xml version="1.0"?><a b="%s"><c>%s</c><!-- %s --><d/></a>`, m.value(r), m.value(r), m.value(r))
	}
	if kind != "" {
		out.method = pick(r, []string{"POST", "PUT", "PATCH"})
		out.header = append(out.header, header{"Content-Type", kind}, header{"Content-Length", fmt.Sprint(len(out.body))})
	}
	return out
}
