package web

import (
	"fmt"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/net/websocket"
)

const (
	maxStreams  = 64
	maxChatters = 32
	maxMessage  = 1000             // bytes of a chat message
	chatQueue   = 16               // messages a slow chatter may lag behind
	chatIdle    = 10 * time.Minute // without a message from a chatter
	sendTime    = 5 * time.Second  // for one message or stock change
)

// events streams the stock as server-sent events (HTML Living Standard, section
// 9.2), one product after the other, until the client goes. The numbers are the
// same for every client: they follow from the event's id.
func (s *Shop) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		text(w, http.StatusServiceUnavailable, "too many open streams\n")
		return
	}
	products, err := s.Store.Products(r.Context())
	if err != nil || len(products) == 0 {
		text(w, http.StatusInternalServerError, "no stock to tell of\n")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(s.Tick)
	defer tick.Stop()
	for id := 0; ; id++ {
		p := products[id%len(products)]
		stock := max(p.Stock, 1) // an injected statement may have set anything
		left := stock - int64(id/len(products))%stock
		if out.SetWriteDeadline(time.Now().Add(sendTime)) != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d\nevent: stock\ndata: {\"product\":%q,\"name\":%q,\"stock\":%d}\n\n", id, p.Slug, p.Name, left); err != nil {
			return
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.stopped.Done():
			return
		}
	}
}

// chat sends each message to everyone present, its sender included.
type chat struct {
	mu      sync.Mutex
	members map[*member]bool
	closed  bool
	all     sync.WaitGroup
}

type member struct {
	conn *websocket.Conn
	out  chan string
}

func newChat() *chat { return &chat{members: map[*member]bool{}} }

// handler takes any Origin: package guard has refused the foreign ones.
func (c *chat) handler() http.Handler {
	return websocket.Server{
		Handshake: func(*websocket.Config, *http.Request) error { return nil },
		Handler:   c.serve,
	}
}

func (c *chat) serve(conn *websocket.Conn) {
	conn.MaxPayloadBytes = maxMessage
	m := &member{conn: conn, out: make(chan string, chatQueue)}
	if !c.join(m) {
		conn.SetWriteDeadline(time.Now().Add(sendTime))
		websocket.Message.Send(conn, "shop: the chat is full, come back later")
		return
	}
	defer c.all.Done()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for text := range m.out {
			conn.SetWriteDeadline(time.Now().Add(sendTime))
			if websocket.Message.Send(conn, text) != nil {
				conn.Close() // which ends the reading, too
				break
			}
		}
	}()
	for {
		conn.SetReadDeadline(time.Now().Add(chatIdle))
		var text string
		if websocket.Message.Receive(conn, &text) != nil {
			break
		}
		if text != "" && utf8.ValidString(text) {
			c.say(text)
		}
	}
	c.leave(m)
	<-writing
}

func (c *chat) join(m *member) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.members) >= maxChatters {
		return false
	}
	c.members[m] = true
	c.all.Add(1)
	m.out <- fmt.Sprintf("shop: welcome, %d here", len(c.members))
	return true
}

func (c *chat) leave(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m] {
		delete(c.members, m)
		close(m.out)
	}
}

// say drops those who do not keep up, rather than a message of theirs.
func (c *chat) say(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for m := range c.members {
		select {
		case m.out <- text:
		default:
			m.conn.Close()
		}
	}
}

func (c *chat) close() {
	c.mu.Lock()
	c.closed = true
	for m := range c.members {
		m.conn.Close()
	}
	c.mu.Unlock()
	c.all.Wait()
}
