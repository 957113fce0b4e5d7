package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const (
	maxPassword  = 1024
	maxUserAgent = 256
	maxFlash     = 300
)

// CookieName returns the name of the session cookie. It names the port too: browsers do not keep cookies of ports apart, and
// two nodes on one machine must not sign each other's people out.
func (s *Server) CookieName() string { return "__Host-testudo-" + s.port }

// SignIn checks name and password, and starts the session with the answer's cookie.
func (s *Server) SignIn(w http.ResponseWriter, r *http.Request, name, password string) (Session, error) {
	if s.sources.Auth == nil || s.sources.Sessions == nil {
		return Session{}, unavailable("people")
	}
	if len(name) > 64 || len(password) > maxPassword {
		return Session{}, ErrRefused
	}
	ses, err := s.sources.Auth.SignIn(r.Context(), Credentials{
		Name: name, Password: password, Client: clientOf(r), UserAgent: userAgent(r),
	})
	return s.begin(w, r, ses, err)
}

// Redeem uses a one-time link up and starts the session with the answer's cookie.
// Call it for a POST only.
func (s *Server) Redeem(w http.ResponseWriter, r *http.Request, secret, password string) (Session, error) {
	if s.sources.Auth == nil || s.sources.Sessions == nil {
		return Session{}, unavailable("people")
	}
	if len(secret) > 256 {
		return Session{}, ErrRefused
	}
	if len(password) > maxPassword {
		return Session{}, &InputError{Field: "password", Reason: "the password is longer than 1024 bytes"}
	}
	ses, err := s.sources.Auth.Redeem(r.Context(), Redemption{
		Secret: secret, Password: password, Client: clientOf(r), UserAgent: userAgent(r),
	})
	return s.begin(w, r, ses, err)
}

// ChangePassword gives the person who asks another password, and a new session in place
// of all they had.
func (s *Server) ChangePassword(w http.ResponseWriter, r *http.Request, current, password string) (Session, error) {
	if s.sources.Passwords == nil || s.sources.Sessions == nil {
		return Session{}, unavailable("people")
	}
	c := CallerFrom(r.Context())
	if c.Kind != KindPerson {
		return Session{}, &refused{http.StatusForbidden, "person", "only a person who has signed in has a password to change", ""}
	}
	if len(current) > maxPassword || len(password) > maxPassword {
		return Session{}, &InputError{Field: "password", Reason: "the password is longer than 1024 bytes"}
	}
	ses, err := s.sources.Passwords.ChangePassword(r.Context(), Credentials{
		Name: c.Name, Password: current, Client: clientOf(r), UserAgent: userAgent(r),
	}, password)
	return s.begin(w, r, ses, err)
}

// Link looks at a one-time link and uses nothing up.
func (s *Server) Link(r *http.Request, secret string) (Link, error) {
	if s.sources.Auth == nil {
		return Link{}, unavailable("people")
	}
	if secret == "" || len(secret) > 256 {
		return Link{}, ErrRefused
	}
	return s.sources.Auth.Link(r.Context(), secret, clientOf(r))
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request, ses Session, err error) (Session, error) {
	if err != nil {
		s.metrics.signIns.WithLabelValues("refused").Inc()
		return Session{}, err
	}
	s.metrics.signIns.WithLabelValues("ok").Inc()
	// Whoever was signed in here before is no longer: the cookie has room for one.
	if old, err := r.Cookie(s.CookieName()); err == nil && old.Value != ses.Token {
		_ = s.sources.Sessions.SignOut(r.Context(), old.Value)
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.CookieName(), Value: ses.Token, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, MaxAge: max(1, int(ses.Expires.Sub(s.now()).Seconds())),
	})
	return ses, nil
}

// SignOut ends the session and takes the cookie away.
func (s *Server) SignOut(w http.ResponseWriter, r *http.Request) error {
	if c, err := r.Cookie(s.CookieName()); err == nil && s.sources.Sessions != nil {
		if err := s.sources.Sessions.SignOut(r.Context(), c.Value); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: s.CookieName(), Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, MaxAge: -1})
	// Pages of the session must not come back by the browser's back button.
	w.Header().Set("Clear-Site-Data", `"cache"`)
	return nil
}

// LinkURL returns the address of a one-time link's page.
func (s *Server) LinkURL(secret string) string {
	return s.URL() + LinkPath + "?link=" + url.QueryEscape(secret)
}

// csrfOf derives what forms of the session carry from its secret, so that there
// is nothing more to keep.
func csrfOf(token string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("testudo console csrf 1"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// SetFlash keeps a sentence for the next page, for a minute.
func (s *Server) SetFlash(w http.ResponseWriter, text string) {
	if len(text) > maxFlash {
		text = strings.ToValidUTF8(text[:maxFlash], "") + "…"
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.CookieName() + "-flash", Value: base64.RawURLEncoding.EncodeToString([]byte(text)), Path: "/",
		Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: 60,
	})
}

// TakeFlash returns the sentence that the page before left, once.
func (s *Server) TakeFlash(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(s.CookieName() + "-flash")
	if err != nil {
		return ""
	}
	http.SetCookie(w, &http.Cookie{Name: c.Name, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, MaxAge: -1})
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || checkText("", string(b), maxFlash+8) != nil {
		return ""
	}
	return string(b)
}

// toSignIn sends a person to the sign-in page and, after it, back.
func (s *Server) toSignIn(w http.ResponseWriter, r *http.Request) {
	to := SignInPath
	// htmx loads parts of a page: the page around it is where to come back to.
	if at := r.Header.Get("HX-Current-URL"); at != "" {
		if u, err := url.Parse(at); err == nil {
			to += "?next=" + url.QueryEscape(LocalPath(u.RequestURI()))
		}
		w.Header().Set("HX-Redirect", to)
		writePlain(w, http.StatusUnauthorized, "signed out\n")
		return
	}
	if r.Method == http.MethodGet && r.URL.Path != "/" {
		to += "?next=" + url.QueryEscape(LocalPath(r.URL.RequestURI()))
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// LocalPath returns where to go after sign-in: next, where it is a path of this
// console, else "/". Another host, however written, is never returned.
func LocalPath(next string) string {
	if len(next) > 2048 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") ||
		strings.ContainsAny(next, "\\\x00\r\n\t") {
		return "/"
	}
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.Path == SignInPath || u.Path == LinkPath {
		return "/"
	}
	return next
}

// clientOf returns the address that connected; the zero Addr on the Unix socket.
func clientOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func userAgent(r *http.Request) string {
	ua := r.UserAgent()
	if len(ua) > maxUserAgent {
		ua = ua[:maxUserAgent]
	}
	return strings.ToValidUTF8(ua, "�")
}
