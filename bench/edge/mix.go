package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kinds are what the mix is made of, in equal parts.
func kinds() []string { return []string{"get", "form", "json"} }

// eachKind is how many different requests there are of a kind.
const eachKind = 100

// mix makes requests of a kind, or of all kinds in turn where it is "". No two are alike.
func mix(kind string) [][]byte {
	r := rand.New(rand.NewPCG(11, 7))
	words := strings.Fields("tent lamp boots rope stove mug map socks pack knife green blue small light warm sturdy spare winter summer river")
	some := func(n int) string {
		var all []string
		for range n {
			all = append(all, words[r.IntN(len(words))])
		}
		return strings.Join(all, " ")
	}
	head := func(method, target, media string, size int) string {
		h := method + " " + target + " HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n" +
			fmt.Sprintf("Referer: http://shop.example.com/catalogue/%s\r\nCookie: session=%016x%016x; theme=dark\r\n", words[r.IntN(len(words))], r.Uint64(), r.Uint64())
		if media != "" {
			h += fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", media, size)
		}
		return h + "\r\n"
	}
	var all [][]byte
	for range eachKind {
		for _, k := range kinds() {
			var one string
			switch k {
			case "get":
				one = head("GET", fmt.Sprintf("/catalogue/item?id=%d&q=%s&page=%d", r.IntN(50_000), url.QueryEscape(some(2)), r.IntN(30)), "", 0)
			case "form":
				body := url.Values{"name": {"Jane Doe"}, "email": {fmt.Sprintf("jane.%d@example.org", r.IntN(9999))}, "message": {"Hello, could you send me the " + some(4) + " tomorrow?"}, "age": {fmt.Sprint(r.IntN(60) + 18)}}.Encode()
				one = head("POST", "/contact", "application/x-www-form-urlencoded", len(body)) + body
			case "json":
				var items []string
				for size := 0; size < 900; size += len(items[len(items)-1]) + 1 {
					items = append(items, fmt.Sprintf(`{"id":%d,"name":"%s","price":%d.99,"tags":["%s","%s"],"note":"Ships within %d days"}`, r.IntN(50_000), some(3), r.IntN(90)+9, some(1), some(1), r.IntN(9)+1))
				}
				body := `{"items":[` + strings.Join(items, ",") + `]}`
				one = head("POST", "/api/items", "application/json", len(body)) + body
			}
			if kind == "" || kind == k {
				all = append(all, []byte(one))
			}
		}
	}
	return all
}

// attacks are one of each kind.
func attacks() [][]byte {
	post := func(target, media, body string) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", target, media, len(body), body)
	}
	return [][]byte{
		[]byte("GET /catalogue/item?id=1%27%20UNION%20SELECT%20password%20FROM%20users--%20 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"),
		post("/contact", "application/x-www-form-urlencoded", "name=Jane&message=%3Cscript%3Ealert%28document.cookie%29%3C%2Fscript%3E"),
		post("/api/items", "application/json", `{"items":[{"id":1,"note":"1; cat /etc/passwd"}]}`),
	}
}

// script writes requests as a script for wrk, which sends them one after the other, over and over.
func script(dir, name string, all [][]byte) (string, error) {
	var b bytes.Buffer
	b.WriteString("local all = {\n")
	for _, one := range all {
		b.WriteByte('"')
		for _, c := range one {
			if c < ' ' || c > '~' || c == '"' || c == '\\' {
				fmt.Fprintf(&b, `\%03d`, c)
			} else {
				b.WriteByte(c)
			}
		}
		b.WriteString("\",\n")
	}
	b.WriteString("}\nlocal next = 0\nfunction request()\n  next = next % #all + 1\n  return all[next]\nend\n")
	file := filepath.Join(dir, name+".lua")
	return file, os.WriteFile(file, b.Bytes(), 0o644)
}

// exchange sends requests from a loopback address over one connection, and says which status each has to have, and a body of the upstream's with 200.
func exchange(from net.IP, address string, all [][]byte, want int) error {
	dial := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: patience}
	conn, err := dial.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, one := range all {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := conn.Write(one); err != nil {
			return err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		size, err := io.Copy(io.Discard, answer.Body)
		if err != nil {
			return err
		}
		line, _, _ := bytes.Cut(one, []byte("\r\n"))
		if answer.StatusCode != want || want == http.StatusOK && size != answerSize {
			return fmt.Errorf("%q is answered by %s with %d bytes, want %d", line, answer.Status, size, want)
		}
	}
	return nil
}
