package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/bench/proc"
)

// answerSize is the length of the upstream's answers.
const answerSize = 1024

// serveUpstream is the role of the application behind the proxies. It says its address.
func serveUpstream(_ context.Context, talk *proc.Talk, _ []string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	body := make([]byte, answerSize)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = []string{"text/html; charset=utf-8"}, []string{strconv.Itoa(answerSize)}
		h["Cache-Control"], h["X-Content-Type-Options"] = []string{"no-store"}, []string{"nosniff"}
		_, _ = w.Write(body)
	})}
	go func() { _ = server.Serve(ln) }()
	if err := talk.Say("%s", ln.Addr()); err != nil {
		return err
	}
	for {
		if _, ok := talk.Hear(); !ok {
			return server.Close()
		}
	}
}

// makeLoad is the role of the clients: it keeps connections to an address open, and for each line "N" sends
// that many requests over them, one at a time on each, and answers when all answers are there.
func makeLoad(_ context.Context, talk *proc.Talk, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("load wants an address and a number of connections, got %q", args)
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	clients := make([]*client, n)
	for i := range clients {
		conn, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		clients[i] = &client{conn: conn, r: bufio.NewReaderSize(conn, 8<<10), requests: requests(uint64(i))}
	}
	if err := talk.Say("ready"); err != nil {
		return err
	}
	for {
		line, ok := talk.Hear()
		if !ok {
			return nil
		}
		total, err := strconv.Atoi(line)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := sendAll(clients, total); err != nil {
			return talk.Fail(err)
		}
		if err := talk.Say("%s", time.Since(begin)); err != nil {
			return err
		}
	}
}

func sendAll(clients []*client, total int) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(clients))
	for i, c := range clients {
		count := total / len(clients)
		if i < total%len(clients) {
			count++
		}
		wg.Go(func() {
			for range count {
				if err := c.send(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

type client struct {
	conn     net.Conn
	r        *bufio.Reader
	requests [][]byte
	next     int
}

// patience is how long one answer may take.
const patience = 30 * time.Second

func (c *client) send() error {
	if c.next%64 == 0 {
		if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
	}
	if _, err := c.conn.Write(c.requests[c.next%len(c.requests)]); err != nil {
		return err
	}
	c.next++
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	size, err := io.Copy(io.Discard, answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK || size != answerSize:
		return fmt.Errorf("answer %s with %d bytes, want 200 with %d", answer.Status, size, answerSize)
	}
	return nil
}

// requests returns what a browser would send while somebody looks around in a shop: the path, the
// query and the referer differ from one to the next, the user agent and the session from
// client to client.
func requests(seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 7))
	agents := []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
	}
	words := []string{"tent", "lamp", "boots", "rope", "stove", "mug", "map", "socks", "pack", "knife"}
	agent, session := agents[r.IntN(len(agents))], fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	out := make([][]byte, 256)
	for i := range out {
		out[i] = fmt.Appendf(nil, "GET /catalogue/%s/item?id=%d&q=%s+%s&page=%d HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: %s\r\n"+
			"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"+
			"Referer: http://shop.example.com/catalogue/%s\r\nCookie: session=%s; theme=dark; consent=1\r\n\r\n",
			words[r.IntN(len(words))], r.IntN(50_000), words[r.IntN(len(words))], words[r.IntN(len(words))], r.IntN(30), agent, words[r.IntN(len(words))], session)
	}
	return out
}
