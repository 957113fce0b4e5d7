package web

import (
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"sync"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
)

const (
	cookieName  = "shop_session"
	maxSessions = 1000 // the oldest goes first
	maxPerLine  = 99   // of one product in a cart
)

// session is one visitor's state; values of it are copies.
type session struct {
	id   string
	user int64 // 0: not signed in
	cart map[string]int
}

type sessions struct {
	mu    sync.Mutex
	byID  map[string]*list.Element // of *session
	order *list.List               // oldest first
}

func newSessions() *sessions {
	return &sessions{byID: map[string]*list.Element{}, order: list.New()}
}

// of returns a copy of the request's session, nil if it has none.
func (s *sessions) of(r *http.Request) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byID[c.Value]
	if !ok {
		return nil
	}
	ses := *e.Value.(*session)
	ses.cart = maps.Clone(ses.cart)
	return &ses
}

// change applies f to the request's session, or to a new one, and returns a copy.
// With renew the session gets a new id, as it must when its rights change.
func (s *sessions) change(w http.ResponseWriter, r *http.Request, renew bool, f func(*session)) session {
	s.mu.Lock()
	defer s.mu.Unlock()
	ses := &session{cart: map[string]int{}}
	fresh := true
	if c, err := r.Cookie(cookieName); err == nil {
		if e, ok := s.byID[c.Value]; ok {
			ses, fresh = e.Value.(*session), false
			if renew {
				s.order.Remove(e)
				delete(s.byID, ses.id)
			}
		}
	}
	if fresh || renew {
		ses.id = rand.Text()
		s.byID[ses.id] = s.order.PushBack(ses)
		if s.order.Len() > maxSessions {
			delete(s.byID, s.order.Remove(s.order.Front()).(*session).id)
		}
		// Readable by script on purpose: the stored script has something to steal.
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: ses.id, Path: "/", SameSite: http.SameSiteLaxMode})
	}
	f(ses)
	out := *ses
	out.cart = maps.Clone(ses.cart)
	return out
}

type loginPage struct{ Name, Problem string }

func (s *Shop) loginForm(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "login", "Sign in", loginPage{})
}

// login is VULNERABLE: see catalogue.Store.Login.
func (s *Shop) login(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), queryTime)
	defer cancel()
	name := r.PostForm.Get("username")
	u, err := s.Store.Login(ctx, name, r.PostForm.Get("password"))
	switch {
	case errors.Is(err, catalogue.ErrNotFound):
		s.show(w, r, http.StatusUnauthorized, "login", "Sign in", loginPage{name, "No user has that name and password."})
	case err != nil:
		s.broken(w, r, err)
	default:
		s.sessions.change(w, r, true, func(ses *session) { ses.user = u.ID })
		http.Redirect(w, r, "/account", http.StatusSeeOther)
	}
}

func (s *Shop) logout(w http.ResponseWriter, r *http.Request) {
	s.sessions.change(w, r, true, func(ses *session) { ses.user = 0 })
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Shop) account(w http.ResponseWriter, r *http.Request) {
	ses := s.sessions.of(r)
	if ses == nil || ses.user == 0 {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	s.show(w, r, http.StatusOK, "account", "Your account", nil)
}

// line is one product in a cart.
type line struct {
	Product  string `json:"product"`
	Name     string `json:"name"`
	Quantity int    `json:"quantity"`
	Cents    int64  `json:"total_cents"`
}

type cart struct {
	Lines []line `json:"lines"`
	Cents int64  `json:"total_cents"`
}

// filled prices a cart in the order of the catalogue.
func (s *Shop) filled(ctx context.Context, content map[string]int) (cart, error) {
	c := cart{Lines: []line{}}
	if len(content) == 0 {
		return c, nil
	}
	products, err := s.Store.Products(ctx)
	if err != nil {
		return c, err
	}
	for _, p := range products {
		if n := content[p.Slug]; n > 0 {
			l := line{p.Slug, p.Name, n, p.PriceCents * int64(n)}
			c.Lines = append(c.Lines, l)
			c.Cents += l.Cents
		}
	}
	return c, nil
}

func (s *Shop) cart(w http.ResponseWriter, r *http.Request) {
	var content map[string]int
	if ses := s.sessions.of(r); ses != nil {
		content = ses.cart
	}
	c, err := s.filled(r.Context(), content)
	if err != nil {
		s.broken(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "cart", "Your cart", c)
}

func (s *Shop) changeCart(w http.ResponseWriter, r *http.Request) {
	if !s.form(w, r) {
		return
	}
	slug := r.PostForm.Get("product")
	if _, err := s.Store.Product(r.Context(), slug); err != nil {
		s.broken(w, r, err)
		return
	}
	s.sessions.change(w, r, false, func(ses *session) {
		if r.PostForm.Get("action") == "remove" {
			delete(ses.cart, slug)
			return
		}
		ses.cart[slug] = min(ses.cart[slug]+1, maxPerLine)
	})
	http.Redirect(w, r, "/cart", http.StatusSeeOther)
}
