package console

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mount makes the handler of the table. Each path answers its methods, and 405 to others.
func (s *Server) mount(routes []Route) (h http.Handler, err error) {
	defer func() { // ServeMux panics on patterns that are wrong or clash
		if p := recover(); p != nil {
			err = fmt.Errorf("console: routes: %v", p)
		}
	}()
	mux := http.NewServeMux()
	byPath := make(map[string]map[string]http.Handler)
	bodies := make(map[string]int64) // by method and path
	for _, rt := range routes {
		if rt.Handler == nil || rt.Method == "" || !strings.HasPrefix(rt.Path, "/") {
			return nil, fmt.Errorf("console: route %q %q is incomplete", rt.Method, rt.Path)
		}
		methods := byPath[rt.Path]
		if methods == nil {
			methods = make(map[string]http.Handler)
			byPath[rt.Path] = methods
			mux.Handle(rt.Path, s.byMethod(methods))
		}
		if methods[rt.Method] != nil {
			return nil, fmt.Errorf("console: route %s %s stands twice", rt.Method, rt.Path)
		}
		methods[rt.Method] = s.guard(rt)
		bodies[rt.Method+rt.Path] = rt.Body
	}
	if byPath["/"] == nil {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			s.refuse(w, r, &refused{http.StatusNotFound, "not-found", "there is nothing at this address; /api/v1/openapi.json lists what there is for programs", ""})
		})
	}
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		defer s.finish(rec, r)
		local := peerOf(r.Context()) != nil
		s.setHeaders(w.Header(), r)
		if !local && !s.hostAllowed(r) {
			s.refuse(rec, r, &refused{http.StatusMisdirectedRequest, "host", "this console does not answer for the host in the address; use " + s.URL() + " or add the name to console.names", ""})
			return
		}
		if !local {
			// Browsers say where a request comes from; a page elsewhere must not act here.
			if err := cross.Check(r); err != nil {
				s.refuse(rec, r, &refused{http.StatusForbidden, "cross-site", "the request comes from another site", ""})
				return
			}
		}
		limit := max(maxBody, bodies[r.Method+r.URL.Path])
		if local {
			limit = maxLocalBody
		}
		if r.ContentLength > limit {
			s.refuse(rec, r, &http.MaxBytesError{Limit: limit})
			return
		}
		r.Body = http.MaxBytesReader(rec, r.Body, limit)
		mux.ServeHTTP(rec, r)
	}), nil
}

// byMethod answers the methods of one path, and 405 to others. ServeMux would do so too, but
// not in our words, and it takes a path of one method beside a pattern of another for
// a clash.
func (s *Server) byMethod(methods map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h := methods[method]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		allowed := slices.Sorted(maps.Keys(methods))
		if methods[http.MethodGet] != nil {
			allowed = append(allowed, http.MethodHead)
		}
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		s.refuse(w, r, &refused{http.StatusMethodNotAllowed, "method", "only " + list + " is answered here", ""})
	})
}

// finish counts the request, and ends a panic in it: logged without anything
// that the client sent but its path's pattern.
func (s *Server) finish(rec *recorder, r *http.Request) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler {
			panic(p)
		}
		s.metrics.panics.Inc()
		s.log.Error("panic in a request", "method", r.Method, "route", r.Pattern, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
		if rec.status != 0 {
			panic(http.ErrAbortHandler) // half an answer is out: cut it, so that it is not taken for a whole
		}
		s.fail(rec, r, errors.New("panic"))
	}
	surface := "page"
	switch {
	case peerOf(r.Context()) != nil:
		surface = "socket"
	case isAPI(r):
		surface = "api"
	}
	status := max(rec.status, http.StatusOK)
	s.metrics.requests.WithLabelValues(surface, strconv.Itoa(status/100)+"xx").Inc()
	// The pattern and not the address: an address may hold a one-time link.
	s.log.Debug("request", "surface", surface, "method", r.Method, "route", r.Pattern, "status", status)
}

// refuse answers a request that reaches no handler.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	reason := "other"
	var ref *refused
	var forbid *forbidden
	switch {
	case errors.As(err, &ref):
		reason = ref.kind
	case errors.As(err, &forbid):
		reason = "role"
	case errors.Is(err, ErrRefused):
		reason = "sign-in"
	}
	s.metrics.refused.WithLabelValues(reason).Inc()
	s.fail(w, r, err)
}

// guard lets a request through to the route's handler, or not.
func (s *Server) guard(rt Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, how, err := s.identify(r)
		if err == nil {
			err = s.admit(r, rt, caller, how)
		}
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		caller.Client = clientOf(r)
		r = r.WithContext(WithCaller(r.Context(), caller))
		if !rt.Stream {
			ctx, cancel := context.WithTimeout(r.Context(), answerTime)
			defer cancel()
			r = r.WithContext(ctx)
		} else {
			who := caller.Actor()
			if who == "" {
				who = clientOf(r).String()
			}
			done, err := s.openStream(who)
			if err != nil {
				s.refuse(w, r, err)
				return
			}
			defer done()
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(time.Time{})
			_ = c.SetWriteDeadline(time.Time{})
		}
		if err := rt.Handler(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// credential is how a request says who it is.
type credential uint8

const (
	byNothing credential = iota
	byCookie
	byToken
	bySocket
)

// identify says who asks. A token that is not right is an error; a cookie that is
// not right is nobody, so that its owner sees the sign-in page.
func (s *Server) identify(r *http.Request) (Caller, credential, error) {
	if p := peerOf(r.Context()); p != nil {
		if p.refused != "" {
			return Caller{}, bySocket, &refused{http.StatusForbidden, "peer", p.refused, ""}
		}
		return Caller{Identity: p.identity}, bySocket, nil
	}
	if auth := r.Header.Get("Authorization"); auth != "" {
		scheme, token, _ := strings.Cut(auth, " ")
		if !strings.EqualFold(scheme, "bearer") || token == "" || len(token) > 512 || s.sources.Sessions == nil {
			return Caller{}, byToken, &refused{http.StatusUnauthorized, "sign-in", "send the header Authorization: Bearer and a token", ""}
		}
		id, err := s.sources.Sessions.Token(r.Context(), strings.TrimSpace(token), clientOf(r))
		return Caller{Identity: id}, byToken, err
	}
	c, err := r.Cookie(s.CookieName())
	if err != nil || c.Value == "" || len(c.Value) > 512 || s.sources.Sessions == nil {
		return Caller{}, byNothing, nil
	}
	ses, err := s.sources.Sessions.Session(r.Context(), c.Value, clientOf(r))
	switch {
	case errors.Is(err, ErrRefused):
		return Caller{}, byNothing, nil
	case err != nil:
		return Caller{}, byNothing, err
	}
	return Caller{Identity: ses.Identity, Session: ses.ID, CSRF: csrfOf(c.Value)}, byCookie, nil
}

// admit holds the caller to the table.
func (s *Server) admit(r *http.Request, rt Route, c Caller, how credential) error {
	if rt.Role == RoleNone {
		return nil
	}
	if c.Role == RoleNone {
		return &refused{http.StatusUnauthorized, "sign-in", "sign in first, or send a token", ""}
	}
	if !c.May(rt.Role) {
		return &forbidden{need: rt.Role}
	}
	if how == byCookie && !safe(r.Method) {
		sent := r.Header.Get(CSRFHeader)
		if sent == "" && formBody(r) {
			sent = r.PostFormValue(CSRFField)
		}
		if subtle.ConstantTimeCompare([]byte(sent), []byte(c.CSRF)) != 1 {
			return &refused{http.StatusForbidden, "csrf", "the form is from an earlier session: load the page again", ""}
		}
	}
	return nil
}

func safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

func formBody(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// stillValid reports whether the request would be let in now. Streams ask again and
// again: who is removed must not go on watching.
func (s *Server) stillValid(r *http.Request) bool {
	before := CallerFrom(r.Context())
	if before.Role == RoleNone {
		return true
	}
	now, _, err := s.identify(r)
	if err != nil {
		return errors.Is(err, context.Canceled)
	}
	return now.Actor() == before.Actor() && now.Session == before.Session && now.May(before.Role)
}

// hostNames are the names that a request may be for, besides addresses of this machine.
func hostNames(cfg Config) map[string]bool {
	names := map[string]bool{"localhost": true}
	if host, _, err := net.SplitHostPort(cfg.Listen); err == nil && host != "" {
		names[canonicalHost(host)] = true
	}
	for _, n := range cfg.Names {
		names[canonicalHost(n)] = true
	}
	return names
}

func canonicalHost(h string) string { return strings.ToLower(strings.TrimSuffix(h, ".")) }

// hostAllowed reports whether the request is for this console. A page elsewhere whose
// name is made to point here (DNS rebinding) sends its own name. An address is no name: it is
// allowed where the connection came in on it, or it is loopback.
func (s *Server) hostAllowed(r *http.Request) bool {
	host := hostOnly(r.Host)
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Unmap().IsLoopback() {
			return true
		}
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			if ap, err := netip.ParseAddrPort(local.String()); err == nil && ap.Addr().Unmap().WithZone("") == a.Unmap() {
				return true
			}
		}
	}
	return s.names[canonicalHost(host)]
}

func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

// setHeaders is on every answer.
func (s *Server) setHeaders(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Permissions-Policy", "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store") // handlers of files that never change set another
	// With a certificate that browsers do not know, HSTS would take away the way
	// past the warning.
	if s.cfg.Certificate != "" && r.TLS != nil && !loopbackHost(hostOnly(r.Host)) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func loopbackHost(h string) bool {
	a, err := netip.ParseAddr(h)
	return err == nil && a.Unmap().IsLoopback() || canonicalHost(h) == "localhost"
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
