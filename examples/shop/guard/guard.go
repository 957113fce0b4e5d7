// Package guard keeps the demo shop to the machine it runs on. The shop is open
// to attack on purpose, so nothing but this machine may reach it: not another
// host, not a name that was rebound to loopback, and not a web page that the
// user happens to have open in the same browser.
//
// Address judges what the shop listens on, Handler judges every request.
package guard

import (
	"fmt"
	"html"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Handler refuses with 403 and an explanation every request that did not start
// on this machine or that another web site caused, and gives all others to
// next. refused is called with the reason of each refusal; it may be nil.
//
// Refused are: a peer that is not loopback (a destination-NAT rule can deliver
// one), a Host that is no loopback name, a forwarding header that names a
// client or host elsewhere (an edge in front that is open to the network), an
// Origin other than the host that was asked, and Sec-Fetch-Site of another site.
func Handler(next http.Handler, refused func(r *http.Request, reason string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reason := Foreign(r); reason != "" {
			if refused != nil {
				refused(r, reason)
			}
			refuse(w, r, reason)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Foreign says in one sentence why r must be refused; it is empty for a request
// of this machine's own.
func Foreign(r *http.Request) string {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !loopback(peer.Addr()) {
		return fmt.Sprintf("the request comes from %q, which is not this machine", r.RemoteAddr)
	}
	if !LoopbackHost(r.Host) {
		return fmt.Sprintf("the Host %q is not a loopback name (127.0.0.1, [::1], localhost or a name under .localhost)", r.Host)
	}
	hosts := []string{r.Host}
	for _, h := range list(r, "X-Forwarded-Host") {
		if !LoopbackHost(h) {
			return fmt.Sprintf("the X-Forwarded-Host %q is not a loopback name", h)
		}
		hosts = append(hosts, h)
	}
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip"} {
		for _, client := range list(r, name) {
			if !loopbackClient(client) {
				return fmt.Sprintf("%s names %q: the edge in front of the shop was reached from another machine", name, client)
			}
		}
	}
	for _, node := range forwardedFor(r) {
		if !loopbackClient(node) {
			return fmt.Sprintf("Forwarded names %q: the edge in front of the shop was reached from another machine", node)
		}
	}
	for _, origin := range r.Header.Values("Origin") {
		if !sameOrigin(origin, hosts) {
			return fmt.Sprintf("the Origin %q is another site than %q", origin, r.Host)
		}
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		// "none" is the user's own doing: the address bar, a bookmark.
		if site != "same-origin" && site != "none" {
			return fmt.Sprintf("another site caused the request (Sec-Fetch-Site: %q)", site)
		}
	}
	return ""
}

// LoopbackHost reports whether a Host header (with or without a port) can only
// mean this machine: a loopback address, localhost, or a name under .localhost
// (RFC 6761, section 6.3).
func LoopbackHost(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if !digits(port) {
			return false
		}
		name = h
		// SplitHostPort takes the brackets off; only an IPv6 address has them.
		if strings.HasPrefix(host, "[") != strings.Contains(name, ":") {
			return false
		}
	} else if inner, ok := strings.CutPrefix(host, "["); ok {
		if name, ok = strings.CutSuffix(inner, "]"); !ok || !strings.Contains(name, ":") {
			return false
		}
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return loopback(addr)
	}
	return loopbackName(name)
}

func loopbackName(name string) bool {
	name = strings.ToLower(name)
	label, ok := strings.CutSuffix(name, "localhost")
	if !ok {
		return false
	}
	if label == "" {
		return true
	}
	sub, ok := strings.CutSuffix(label, ".")
	if !ok || sub == "" {
		return false
	}
	for part := range strings.SplitSeq(sub, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// loopback takes the IPv4 form inside IPv6 for what it is. A zone is refused: it
// names an interface, and loopback needs none.
func loopback(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && a.Unmap().IsLoopback()
}

// loopbackClient judges one element of a forwarding header: an address, with or
// without port and brackets. What is no address ("unknown", a hidden name) could
// be anybody and is refused.
func loopbackClient(s string) bool {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return loopback(a)
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return loopback(ap.Addr())
	}
	return false
}

// list splits all values of a comma separated header.
func list(r *http.Request, name string) []string {
	var out []string
	for _, v := range r.Header.Values(name) {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.TrimSpace(e); e != "" {
				out = append(out, e)
			}
		}
	}
	return out
}

// forwardedFor returns the for= nodes of the Forwarded header (RFC 7239).
func forwardedFor(r *http.Request) []string {
	var out []string
	for _, element := range list(r, "Forwarded") {
		for pair := range strings.SplitSeq(element, ";") {
			k, v, _ := strings.Cut(pair, "=")
			if strings.EqualFold(strings.TrimSpace(k), "for") {
				out = append(out, strings.Trim(strings.TrimSpace(v), `"`))
			}
		}
	}
	return out
}

// sameOrigin compares an Origin with the hosts that were asked for. A loopback
// origin on another port is foreign too: it is another program of this machine,
// and what a page of that program does is not the user's wish.
func sameOrigin(origin string, hosts []string) bool {
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || !LoopbackHost(u.Host) {
		return false
	}
	for _, h := range hosts {
		if canonical(h) == canonical(u.Host) {
			return true
		}
	}
	return false
}

func canonical(host string) string {
	host = strings.ToLower(host)
	return strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ":443")
}

func digits(s string) bool {
	return s != "" && len(s) <= 5 && strings.Trim(s, "0123456789") == ""
}

const advice = "This is the demo shop of testudo. It is deliberately vulnerable, so it answers only requests that " +
	"begin on this machine. Type its address into the address bar, or use curl on this machine."

func refuse(w http.ResponseWriter, r *http.Request, reason string) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "refused by the demo shop itself: %s\n%s\n", reason, advice)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">`+
		`<title>Refused by the demo shop</title><h1>Refused by the demo shop itself</h1><p>Because %s.</p><p>%s</p>`+
		`<p><a href="/">Go to the shop's front page</a></p></html>`, html.EscapeString(reason), html.EscapeString(advice))
}
