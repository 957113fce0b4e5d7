// Package web is the demo shop as its visitors see it: pages, a JSON interface,
// a stream of stock changes and a chat. Five places are open to attack on
// purpose, each marked VULNERABLE in the code: the search and the login (SQL
// injection), the comments (stored cross-site scripting), the download (path
// traversal) and the ping (command injection). All else is meant to be sound, so
// that what testudo reports about the shop is about those five.
package web

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
	"github.com/testudo-sec/testudo/examples/shop/shell"
)

//go:embed templates/*.html static/* pictures/*.svg
var content embed.FS

const (
	maxBody   = 64 << 10        // bytes of a form or a JSON body
	queryTime = 2 * time.Second // of one query: an injected one may be endless
)

// Config is what a Shop is made of.
type Config struct {
	Store   *catalogue.Store
	Shell   *shell.Runner
	Manuals string        // folder that downloads are meant to come from
	Tick    time.Duration // between two stock changes; 0 means a second
	Log     *slog.Logger
}

// Shop serves the pages. Close ends its streams and chats.
type Shop struct {
	Config
	mux      *http.ServeMux
	pages    map[string]*template.Template
	pictures map[string]template.HTML
	sessions *sessions
	chat     *chat
	streams  chan struct{} // one token for each open stream
	stop     context.CancelFunc
	stopped  context.Context
}

// New reads the embedded pages. It starts nothing.
func New(cfg Config) (*Shop, error) {
	if cfg.Tick == 0 {
		cfg.Tick = time.Second
	}
	s := &Shop{Config: cfg, pictures: map[string]template.HTML{}, pages: map[string]*template.Template{},
		sessions: newSessions(), chat: newChat(), streams: make(chan struct{}, maxStreams)}
	s.stopped, s.stop = context.WithCancel(context.Background())

	pictures, err := fs.Glob(content, "pictures/*.svg")
	if err != nil {
		return nil, err
	}
	for _, name := range pictures {
		svg, err := content.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s.pictures[strings.TrimSuffix(strings.TrimPrefix(name, "pictures/"), ".svg")] = template.HTML(svg)
	}
	layout, err := template.New("layout.html").Funcs(template.FuncMap{"euro": euro, "picture": s.picture}).ParseFS(content, "templates/layout.html")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"home", "search", "product", "login", "account", "cart", "diag", "chat", "message"} {
		t, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if s.pages[name], err = t.ParseFS(content, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	s.routes()
	return s, nil
}

func (s *Shop) routes() {
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /{$}", s.home)
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	s.mux.Handle("GET /static/", http.FileServerFS(content))
	s.mux.HandleFunc("GET /products/{slug}", s.product)
	s.mux.HandleFunc("GET /search", s.search)
	s.mux.HandleFunc("GET /login", s.loginForm)
	s.mux.HandleFunc("POST /login", s.login)
	s.mux.HandleFunc("POST /logout", s.logout)
	s.mux.HandleFunc("GET /account", s.account)
	s.mux.HandleFunc("POST /comments", s.comment)
	s.mux.HandleFunc("GET /download", s.download)
	s.mux.HandleFunc("GET /diag", s.diag)
	s.mux.HandleFunc("GET /diag/ping", s.ping)
	s.mux.HandleFunc("GET /cart", s.cart)
	s.mux.HandleFunc("POST /cart", s.changeCart)
	s.mux.HandleFunc("GET /api/products", s.apiProducts)
	s.mux.HandleFunc("GET /api/products/{slug}", s.apiProduct)
	s.mux.HandleFunc("GET /api/cart", s.apiCart)
	s.mux.HandleFunc("POST /api/cart", s.apiAddToCart)
	s.mux.HandleFunc("GET /events", s.events)
	s.mux.HandleFunc("GET /chat", s.chatPage)
	s.mux.Handle("GET /ws", s.chat.handler())
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.message(w, r, http.StatusNotFound, "Nothing here", "The shop has no page "+r.URL.Path+" for "+r.Method+" requests.")
	})
}

// policy keeps what the stored script can do on this machine: it runs, which is
// the point, but it loads from nowhere and sends nowhere but to the shop.
const policy = "default-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

// Close ends all open streams and chats and waits for the chats; other requests
// are the server's to end.
func (s *Shop) Close() {
	s.stop()
	s.chat.close()
}

// page is what every template gets.
type page struct {
	Title, Here, Query string
	User               *catalogue.User
	InCart             int
	Data               any
}

func (s *Shop) show(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	p := page{Title: title, Here: name, Query: param(r, "q"), Data: data}
	if ses := s.sessions.of(r); ses != nil {
		for _, n := range ses.cart {
			p.InCart += n
		}
		if ses.user != 0 {
			if u, err := s.Store.User(r.Context(), ses.user); err == nil {
				p.User = &u
			}
		}
	}
	var b strings.Builder
	if err := s.pages[name].ExecuteTemplate(&b, "layout.html", p); err != nil {
		s.Log.Error("page is broken", "page", name, "error", err)
		http.Error(w, "this page is broken", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, b.String())
}

func (s *Shop) message(w http.ResponseWriter, r *http.Request, status int, title, words string) {
	s.show(w, r, status, "message", title, words)
}

// broken tells the visitor what the database said, as careless shops do: it is
// what makes an injection easy to find.
func (s *Shop) broken(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, catalogue.ErrNotFound):
		s.message(w, r, http.StatusNotFound, "Nothing here", "The shop has no such product.")
	default:
		s.message(w, r, http.StatusInternalServerError, "The database complains",
			err.Error()+". If an attack has broken the catalogue, start the shop again: it is made anew each time.")
	}
}

// form reads a posted form and answers itself when it cannot.
func (s *Shop) form(w http.ResponseWriter, r *http.Request) bool {
	err := r.ParseForm()
	if err == nil {
		return true
	}
	status := http.StatusBadRequest
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		status = http.StatusRequestEntityTooLarge
	}
	s.message(w, r, status, "Cannot read the form", err.Error())
	return false
}

func (s *Shop) picture(slug string) template.HTML {
	if p, ok := s.pictures[slug]; ok {
		return p
	}
	return s.pictures["unknown"]
}

func euro(cents int64) string {
	return fmt.Sprintf("€ %d.%02d", cents/100, cents%100)
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// param returns the first query parameter of that name. A semicolon does not end
// it, as in most shops' languages; Go's own parser would drop the parameter, and
// with it the commonest form of command injection.
func param(r *http.Request, name string) string {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k != name {
			continue
		}
		if decoded, err := url.QueryUnescape(v); err == nil {
			return decoded
		}
		return v
	}
	return ""
}

// wantsHTML tells a browser from curl.
func wantsHTML(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }
