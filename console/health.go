package console

import (
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// table is the one list of what the server answers.
func (s *Server) table() ([]Route, error) {
	routes := []Route{
		{Method: http.MethodGet, Path: "/livez", Handler: s.livez},
		{Method: http.MethodGet, Path: "/readyz", Handler: s.readyz},
		{Method: http.MethodGet, Path: "/metrics", Handler: s.metricsPage},
		{Method: http.MethodGet, Path: "/robots.txt", Handler: func(w http.ResponseWriter, r *http.Request) error {
			writePlain(w, http.StatusOK, "User-agent: *\nDisallow: /\n")
			return nil
		}},
	}
	routes = append(routes, s.apiRoutes()...)
	if s.ui != nil {
		return append(routes, s.ui.Routes(s)...), nil
	}
	return append(routes, s.fallback()...), nil
}

func (s *Server) health() Health {
	if s.sources.Health == nil {
		return Health{State: HealthOK}
	}
	return s.sources.Health.Health()
}

// livez answers whether the process is worth keeping: it does so while it can answer.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) error {
	writePlain(w, http.StatusOK, "ok\n")
	return nil
}

// readyz answers whether the node does its work, with the state alone: why is for
// those who sign in.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) error {
	status := http.StatusOK
	h := s.health()
	if h.State != HealthOK {
		status = http.StatusServiceUnavailable
	}
	writePlain(w, status, string(h.State)+"\n")
	return nil
}

// metricsPage serves Prometheus to this machine, and to others with a role.
func (s *Server) metricsPage(w http.ResponseWriter, r *http.Request) error {
	if !s.directLoopback(r) && !CallerFrom(r.Context()).May(RoleViewer) {
		return &refused{http.StatusUnauthorized, "sign-in", "metrics are for this machine; from elsewhere send a token", ""}
	}
	if s.gather == nil {
		return unavailable("metrics")
	}
	promhttp.HandlerFor(s.gather, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// directLoopback reports whether a process of this machine asks for itself. A
// proxy on this machine asks for others and says so.
func (s *Server) directLoopback(r *http.Request) bool {
	if peerOf(r.Context()) != nil {
		return true
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !ap.Addr().Unmap().IsLoopback() {
		return false
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return loopbackHost(hostOnly(r.Host))
}

// fallback is served where the pages were not built in.
func (s *Server) fallback() []Route {
	page := func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, err := w.Write([]byte(fallbackPage))
		return err
	}
	return []Route{
		{Method: http.MethodGet, Path: "/{$}", Handler: page},
		{Method: http.MethodGet, Path: SignInPath, Handler: page},
		{Method: http.MethodGet, Path: LinkPath, Handler: page},
	}
}

const fallbackPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>testudo</title></head>
<body><h1>testudo runs; its pages are not in this binary</h1>
<p>It was built without the console's scripts and styles. In the checkout, with Node 18 or later:</p>
<pre>make build</pre>
<p>Everything else works: the JSON API under <a href="/api/v1/openapi.json">/api/v1</a>, and on this machine
the commands <code>testudo hunt</code>, <code>testudo rule</code>, <code>testudo block</code> and <code>testudo ledger</code>.</p>
</body></html>
`
