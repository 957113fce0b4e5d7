package waf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"

	"github.com/testudo-sec/testudo/edge/waf/ftw"
)

// exchanges makes the requests of a kind.
func exchanges(kind string) ([]exchange, error) {
	switch kind {
	case "get":
		return one(read("GET", "/products/42?ref=newsletter&page=2", "", nil))
	case "form":
		return one(read("POST", "/contact", "application/x-www-form-urlencoded", []byte("name=Jane+Doe&email=jane%40example.org&message=Hello%2C+could+you+call+me+back+tomorrow%3F&age=42&newsletter=on")))
	case "json1k":
		return one(read("POST", "/api/items", "application/json", items(900)))
	case "json10k":
		return one(read("POST", "/api/items", "application/json", items(10_000)))
	case "attacks":
		return attacks()
	case "unseen":
		return unseen()
	case "hostile":
		return hostile()
	}
	return nil, fmt.Errorf("no kind of requests is named %q", kind)
}

func one(x exchange, err error) ([]exchange, error) { return []exchange{x}, err }

// read makes a request as a browser would send it.
func read(method, target, contentType string, body []byte) (exchange, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n", method, target)
	b.WriteString("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n" +
		"Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark\r\nConnection: keep-alive\r\n")
	if contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	}
	b.WriteString("\r\n")
	r, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		return exchange{}, err
	}
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body)) // that there is one is looked at; it is handed over by itself
	}
	return exchange{r, body}, nil
}

func items(n int) []byte {
	var all []string
	for i, size := 0, 0; size < n; i++ {
		all = append(all, fmt.Sprintf(`{"id":%d,"name":"Item number %d","price":%d.99,"tags":["new","blue"],"note":"Ships within %d days"}`, i, i, i*3, i%9+1))
		size += len(all[i]) + 1
	}
	return []byte(`{"items":[` + strings.Join(all, ",") + `]}`)
}

// attacks are the requests of the Core Rule Set's regression tests that HTTP can read.
func attacks() ([]exchange, error) {
	files, err := ftw.Read(tests.FS, "*/*.yaml")
	if err != nil {
		return nil, err
	}
	var all []exchange
	for _, t := range files {
		for _, stage := range t.Stages {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(stage.Bytes())))
			if err != nil {
				continue
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				continue
			}
			if len(body) > 0 {
				r.Body = io.NopCloser(bytes.NewReader(body))
			}
			all = append(all, exchange{r, body})
		}
	}
	if len(all) < 1000 {
		return nil, fmt.Errorf("only %d requests of the regression tests can be read", len(all))
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// Sizes of documents that are sent.
const (
	leastText, mostText = 300, 8_000
	texts               = 1600
)

// unseen are documents of this machine: JSON as JSON, prose and code in a field of a form.
func unseen() ([]exchange, error) {
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		return nil, err
	}
	var all []exchange
	enough := errors.New("enough")
	kinds := map[string]int{}
	for _, root := range []string{strings.TrimSpace(string(cache)), "/usr/share", "/usr/lib"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			ext := filepath.Ext(path)
			if ext != ".json" && ext != ".md" && ext != ".go" && ext != ".txt" && ext != ".sql" || kinds[ext] >= texts/4 || len(filepath.Dir(path))%3 == 0 {
				return nil
			}
			info, err := d.Info()
			if err != nil || info.Size() < leastText || info.Size() > mostText {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			var x exchange
			if ext == ".json" {
				if !json.Valid(text) {
					return nil
				}
				x, err = read("POST", "/api/documents", "application/json", text)
			} else {
				x, err = read("POST", "/notes", "application/x-www-form-urlencoded", []byte("title="+url.QueryEscape(d.Name())+"&text="+url.QueryEscape(string(text))))
			}
			if err != nil {
				return err
			}
			kinds[ext]++
			if all = append(all, x); len(all) >= texts {
				return enough
			}
			return nil
		})
		if errors.Is(err, enough) {
			break
		}
	}
	if len(all) < texts/3 {
		return nil, fmt.Errorf("this machine has only %d documents of a usual size: have Go's modules in their cache", len(all))
	}
	rand.New(rand.NewPCG(2, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// hostile are texts of few, ambiguous pieces in random order: an automaton that is made as it is needed makes a state for nearly each byte of them.
func hostile() ([]exchange, error) {
	pieces := []string{"'", "\"", "or ", "union", "select", " ", "(", ")", "<", ">", "script", "on", "=", "a", "aa", "1", "--", "/*", "*/", ";", "|", "&", "$(", "`", "../", "%27", "\\x", "\n", "eval", "x=", "{", "}",
		"@", "#", "=~", "0x", "char(", "like ", "é", "&#x27;", "and ", "waitfor", "sleep(", "cat ", "/etc/", "https://", ".php"}
	r := rand.New(rand.NewPCG(3, 3))
	var all []exchange
	for range 600 {
		var b strings.Builder
		for b.Len() < 2000 {
			b.WriteString(pieces[r.IntN(len(pieces))])
			if r.IntN(8) == 0 {
				b.WriteByte(byte(r.IntN(256)))
			}
		}
		x, err := read("POST", "/notes", "application/x-www-form-urlencoded", []byte("text="+url.QueryEscape(b.String())))
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return all, nil
}
