package edge

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/httpframe"
)

// Validate reports everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Listen) == 0 {
		bad("listen: no address; give one, as in 127.0.0.1:8080")
	}
	for i, l := range c.Listen {
		if _, _, err := net.SplitHostPort(l.Address); err != nil {
			bad("listen[%d].address: %q is not host:port", i, l.Address)
		}
	}
	if c.TLS.MinVersion != "1.2" && c.TLS.MinVersion != "1.3" {
		bad("tls.min_version: %q: want 1.2 or 1.3", c.TLS.MinVersion)
	}
	for i, p := range c.TLS.Certificates {
		if p.Cert == "" || p.Key == "" {
			bad("tls.certificates[%d]: give both cert and key", i)
		}
	}
	if c.ClientHeader != "x-forwarded-for" && c.ClientHeader != "forwarded" {
		bad("client_header: %q: want x-forwarded-for or forwarded", c.ClientHeader)
	}
	for i, p := range c.TrustedProxies {
		if !p.IsValid() {
			bad("trusted_proxies[%d]: not a network; write one as in 10.0.0.0/8", i)
		}
	}
	if c.Drain < 0 {
		bad("drain: %v is negative", c.Drain)
	}
	c.Limits.validate(bad)
	seen := make(map[string]bool, len(c.Routes))
	for i := range c.Routes {
		r := &c.Routes[i]
		r.validate(func(format string, args ...any) {
			bad("routes[%d] (%s): "+format, append([]any{i, r.Name}, args...)...)
		})
		if seen[r.Name] {
			bad("routes[%d]: the name %q is used twice", i, r.Name)
		}
		seen[r.Name] = true
	}
	return errors.Join(errs...)
}

func (l *Limits) validate(bad func(string, ...any)) {
	atLeast := func(name string, v, least int64) {
		if v < least {
			bad("limits.%s: %d is less than %d", name, v, least)
		}
	}
	atLeast("header_bytes", int64(l.HeaderBytes), 1024)
	atLeast("header_count", int64(l.HeaderCount), 8)
	atLeast("uri_length", int64(l.URILength), 64)
	atLeast("min_body_rate", int64(l.MinBodyRate), 0)
	atLeast("connections", int64(l.Connections), 1)
	atLeast("connections_per_client", int64(l.ConnectionsPerClient), 0)
	atLeast("requests_per_connection", int64(l.RequestsPerConnection), 0)
	atLeast("streams", int64(l.Streams), 1)
	atLeast("stream_resets", int64(l.StreamResets), 1)
	if l.HeaderTimeout <= 0 || l.IdleTimeout <= 0 || l.StallTimeout <= 0 {
		bad("limits: header_timeout, idle_timeout and stall_timeout must be more than 0")
	}
}

func (r *Route) validate(bad func(string, ...any)) {
	if r.Name == "" || len(r.Name) > 64 || strings.ContainsFunc(r.Name, func(c rune) bool { return c <= ' ' || c > '~' }) {
		bad("name: want 1 to 64 printable characters without spaces")
	}
	for _, h := range r.Hosts {
		name := strings.TrimPrefix(h, "*.")
		if !httpframe.ValidHost(name) || strings.ContainsAny(name, "*:/") {
			bad("hosts: %q is not a host name; write it without port, a wildcard as in *.example.com", h)
		}
	}
	if !strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, "?#%;") {
		bad("path: %q: want a plain path that begins with /", r.Path)
	}
	if len(r.Upstreams) == 0 {
		bad("upstreams: none; give at least one, as in http://127.0.0.1:8081")
	}
	for _, u := range r.Upstreams {
		if err := u.validate(); err != nil {
			bad("upstreams: %v", err)
		}
	}
	if r.Retries < 0 || r.Retries > 5 {
		bad("retries: %d: want 0 to 5", r.Retries)
	}
	if h := r.HealthCheck; h.Interval <= 0 || h.Timeout <= 0 || h.Healthy < 1 || h.Unhealthy < 1 || h.CoolDown <= 0 {
		bad("health_check: interval, timeout, healthy, unhealthy and cool_down must be more than 0")
	} else if h.Path != "" && !strings.HasPrefix(h.Path, "/") {
		bad("health_check.path: %q does not begin with /", h.Path)
	}
	if t := r.Timeouts; t.Connect <= 0 || t.Response <= 0 || t.Idle <= 0 {
		bad("timeouts: connect, response and idle must be more than 0")
	}
	if r.Mode != ModeBlock && r.Mode != ModeDetect && r.Mode != ModeOff {
		bad("mode: %q: want block, detect or off", r.Mode)
	}
	if r.Paranoia < 1 || r.Paranoia > 4 {
		bad("paranoia: %d: want 1 to 4", r.Paranoia)
	}
	if r.Thresholds.Inbound < 1 || r.Thresholds.Outbound < 1 {
		bad("thresholds: inbound and outbound must be more than 0")
	}
	if r.Fail != "open" && r.Fail != "closed" {
		bad("fail: %q: want open or closed", r.Fail)
	}
	if r.InspectLimit < 0 || r.InspectLimit > maxInspect {
		bad("inspect_limit: want 0 to %v", maxInspect)
	}
	if r.MaxBody < 0 {
		bad("max_body: negative")
	}
	if r.SetHost != "" && !httpframe.ValidHost(r.SetHost) {
		bad("set_host: %q is not a host", r.SetHost)
	}
	for _, h := range r.Record.Headers {
		if credentialHeader(h) {
			bad("record.headers: %q carries credentials and is never recorded", h)
		}
	}
	for _, h := range r.Record.MaskHeaders {
		if !slices.Contains([]string{"user-agent", "referer", "content-type", "x-forwarded-for"}, strings.ToLower(h)) {
			bad("record.mask_headers: %q is not recorded anyway; want user-agent, referer, content-type or x-forwarded-for", h)
		}
	}
	if d := r.Record.Bodies.For; d != 0 && (d < time.Minute || d > MaxKept) {
		bad("record.bodies.for: %v: want 1m to %v, or 0 to keep nothing", d, MaxKept)
	}
	for _, p := range r.Record.MaskPaths {
		if !strings.HasPrefix(p, "/") {
			bad("record.mask_paths: %q does not begin with /", p)
		}
	}
}

func (u *Upstream) validate() error {
	parsed, err := url.Parse(u.URL)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL; write it as http://host:port", clean(u.URL, 128))
	case parsed.User != nil:
		return fmt.Errorf("%q carries a password; upstreams take none", parsed.Redacted())
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "":
		return fmt.Errorf("%q: want http://host:port or https://host:port", u.URL)
	case parsed.RawQuery != "" || parsed.Fragment != "":
		return fmt.Errorf("%q: a query or fragment makes no sense here", u.URL)
	case u.Weight < 0 || u.Weight > 1000:
		return fmt.Errorf("%q: weight %d: want 1 to 1000", u.URL, u.Weight)
	case u.CA != "" && parsed.Scheme != "https":
		return fmt.Errorf("%q: ca is for https upstreams", u.URL)
	}
	return nil
}
