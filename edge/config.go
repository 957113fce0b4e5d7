package edge

import (
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Config says where the edge listens, whom it trusts and what it guards.
type Config struct {
	// Listen lists the addresses to listen on.
	Listen []Listener `yaml:"listen"`
	// TLS names the certificates of the listeners that speak HTTPS.
	TLS TLS `yaml:"tls"`
	// H2C lets clients speak HTTP/2 without TLS by prior knowledge on plain listeners.
	H2C bool `yaml:"h2c"`
	// TrustedProxies lists the addresses and networks of proxies in front of the edge. Only
	// from them are X-Forwarded-For, Forwarded and X-Request-Id believed.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`
	// ClientHeader is the field in which trusted proxies name the client: "x-forwarded-for" or
	// "forwarded". The other one is ignored, for a client could have written it.
	ClientHeader string `yaml:"client_header"`
	// Limits bounds what one client can make the edge hold.
	Limits Limits `yaml:"limits"`
	// Drain is how long requests in flight may take to end when the edge stops.
	Drain time.Duration `yaml:"drain"`
	// Routes lists what is guarded. The most specific host wins, then the longest path.
	Routes []Route `yaml:"routes"`
}

// Listener is one address to listen on.
type Listener struct {
	// Address is host:port; an empty host means all addresses of the machine.
	Address string `yaml:"address"`
	// TLS makes the listener speak HTTPS: HTTP/1.1 and, by ALPN, HTTP/2.
	TLS bool `yaml:"tls"`
}

// TLS names certificates. Without any, a listener with tls uses a self-made certificate that
// lives as long as the process.
type TLS struct {
	// Certificates lists certificate and key files, chosen by server name; the first one serves
	// clients that name none. The files are read again when they change.
	Certificates []Certificate `yaml:"certificates"`
	// MinVersion is the lowest protocol version: "1.2" or "1.3".
	MinVersion string `yaml:"min_version"`
}

// Certificate is a pair of PEM files.
type Certificate struct {
	// Cert is the file with the certificate, its chain behind it.
	Cert string `yaml:"cert"`
	// Key is the file with the private key.
	Key string `yaml:"key"`
}

// Limits bounds what one client can make the edge hold.
type Limits struct {
	// HeaderBytes is the size of request line and header fields together.
	HeaderBytes bytesize.Size `yaml:"header_bytes"`
	// HeaderCount is the number of header fields.
	HeaderCount int `yaml:"header_count"`
	// URILength is the length of the request target in bytes.
	URILength int `yaml:"uri_length"`
	// HeaderTimeout is how long a client may take to send the head of a request, and for the TLS
	// handshake.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// StallTimeout is how long a client may go without sending a byte of a body, or without
	// taking a byte of a response.
	StallTimeout time.Duration `yaml:"stall_timeout"`
	// MinBodyRate is the slowest average rate at which a body may arrive, in bytes per second,
	// measured once the body has been under way for the stall timeout; 0 means any.
	MinBodyRate bytesize.Size `yaml:"min_body_rate"`
	// Connections is the number of connections at a time.
	Connections int `yaml:"connections"`
	// ConnectionsPerClient is the number of connections at a time from one address; loopback
	// addresses and trusted proxies are exempt. 0 means any.
	ConnectionsPerClient int `yaml:"connections_per_client"`
	// RequestsPerConnection closes a connection after that many requests; 0 means never.
	RequestsPerConnection int `yaml:"requests_per_connection"`
	// Streams is the number of requests at a time on one HTTP/2 connection.
	Streams int `yaml:"streams"`
	// StreamResets is the number of requests in ten seconds that a client may cancel on one HTTP/2
	// connection before the connection is closed (the rapid reset attack, CVE-2023-44487).
	StreamResets int `yaml:"stream_resets"`
}

// Mode says whether verdicts are obeyed on a route.
type Mode string

// The modes of a route.
const (
	ModeBlock  Mode = "block"  // inspect, judge, obey
	ModeDetect Mode = "detect" // inspect, judge, let pass
	ModeOff    Mode = "off"    // do not inspect, judge, let pass
)

// Route is something guarded: an application behind the edge.
type Route struct {
	// Name names the route in events, metrics and the console.
	Name string `yaml:"name"`
	// Hosts lists the host names that the route serves: exact, or "*.example.com" for every
	// name below example.com. None means every host.
	Hosts []string `yaml:"hosts"`
	// Path is the path prefix that the route serves, on a segment's boundary: "/api" serves /api and
	// /api/x, not /apis.
	Path string `yaml:"path"`
	// Upstreams lists the servers behind the route.
	Upstreams []Upstream `yaml:"upstreams"`
	// HealthCheck asks the upstreams regularly whether they are well.
	HealthCheck HealthCheck `yaml:"health_check"`
	// Retries is how many more times a request is tried where no upstream has answered: requests without
	// a body and with an idempotent method (RFC 9110 section 9.2.2), and any request whose
	// connection could not be made.
	Retries int `yaml:"retries"`
	// Timeouts bounds what an upstream may take.
	Timeouts Timeouts `yaml:"timeouts"`
	// Mode is "block" (inspect, obey verdicts), "detect" (inspect, record verdicts, let
	// everything pass) or "off" (no inspection, record verdicts, let everything pass).
	Mode Mode `yaml:"mode"`
	// WAF lets the web application firewall inspect the route; without it, mode
	// "block" still obeys the verdicts of rules about other fields.
	WAF bool `yaml:"waf"`
	// Paranoia is the paranoia level of the web application firewall, 1 to 4.
	Paranoia int `yaml:"paranoia"`
	// Thresholds are the anomaly scores from which policy acts.
	Thresholds Thresholds `yaml:"thresholds"`
	// Fail says what happens in mode "block" to a request that could not be judged: "open" lets
	// it pass, "closed" refuses it with 503.
	Fail string `yaml:"fail"`
	// InspectLimit is how much of a body is held back for inspection at the most.
	InspectLimit bytesize.Size `yaml:"inspect_limit"`
	// MaxBody is the largest request body; larger ones are refused with 413. 0 means any.
	MaxBody bytesize.Size `yaml:"max_body"`
	// Record says what of a request is recorded in clear.
	Record Record `yaml:"record"`
	// WebSocket lets WebSocket connections through.
	WebSocket bool `yaml:"websocket"`
	// StripPrefix removes the route's path from the front of the forwarded path.
	StripPrefix bool `yaml:"strip_prefix"`
	// PreserveHost forwards the Host that the client asked for; without it the upstream gets its
	// own name.
	PreserveHost bool `yaml:"preserve_host"`
	// SetHost forwards this Host instead.
	SetHost string `yaml:"set_host"`
}

// Upstream is a server behind the edge.
type Upstream struct {
	// URL is http://host:port or https://host:port; a path in it is put before the forwarded path.
	URL string `yaml:"url"`
	// Weight is its share of the requests, relative to the others.
	Weight int `yaml:"weight"`
	// CA is a PEM file of authorities that an https upstream's certificate is checked against instead of
	// the machine's.
	CA string `yaml:"ca"`
}

// HealthCheck asks upstreams whether they are well.
type HealthCheck struct {
	// Path is what is asked for by GET; a status from 200 to 399 means well. Empty means that
	// upstreams are not asked, and judged by the requests that they answer alone.
	Path string `yaml:"path"`
	// Interval is the time between two questions, give or take a tenth.
	Interval time.Duration `yaml:"interval"`
	// Timeout is how long an answer may take.
	Timeout time.Duration `yaml:"timeout"`
	// Healthy is how many good answers in a row bring an upstream back.
	Healthy int `yaml:"healthy"`
	// Unhealthy is how many bad answers in a row take an upstream out, and how many failed requests in a row
	// take it out for the cool-down where another one is well.
	Unhealthy int `yaml:"unhealthy"`
	// CoolDown is how long an upstream stays out after failed requests.
	CoolDown time.Duration `yaml:"cool_down"`
}

// Timeouts bounds what an upstream may take.
type Timeouts struct {
	// Connect is the time to make a connection, TLS handshake included.
	Connect time.Duration `yaml:"connect"`
	// Response is the time from the end of the request to the head of the response.
	Response time.Duration `yaml:"response"`
	// Idle is how long a connection may carry no byte in either direction while a body or a
	// WebSocket is under way.
	Idle time.Duration `yaml:"idle"`
}

// Thresholds are anomaly scores from which policy acts.
type Thresholds struct {
	// Inbound is the threshold of requests.
	Inbound int `yaml:"inbound"`
	// Outbound is the threshold of responses.
	Outbound int `yaml:"outbound"`
}

// Record says what of a request is recorded. Cookies, credentials and bodies never are, but sealed where Bodies says so.
type Record struct {
	// Parameters lists the query parameters whose values are recorded in clear.
	Parameters []string `yaml:"parameters"`
	// Headers lists header fields whose values are recorded in clear, as unmapped attributes; fields that
	// carry credentials are refused.
	Headers []string `yaml:"headers"`
	// MaskHeaders lists which of user-agent, referer, content-type and x-forwarded-for are not recorded.
	MaskHeaders []string `yaml:"mask_headers"`
	// MaskParameters lists query parameters whose names are masked too.
	MaskParameters []string `yaml:"mask_parameters"`
	// MaskPaths lists path patterns in which the segments under "*" are masked, as in "/reset/*".
	MaskPaths []string `yaml:"mask_paths"`
	// Bodies keeps requests as they were received, sealed, so that a change of the firewall can be tried on what was sent.
	Bodies Bodies `yaml:"bodies"`
}

// Bodies says for how long requests are kept as they were received.
type Bodies struct {
	// For is how long: the head of a request, cookies and credentials included, and as much of its body as was inspected, encrypted under a key of the day
	// in the data directory. 0 keeps nothing; 7 days (168h) is the most.
	For time.Duration `yaml:"for"`
}

// MaxKept is how long requests may be kept as they were received.
const MaxKept = 7 * 24 * time.Hour

// Default returns the configuration of an edge that guards nothing yet.
func Default() Config {
	return Config{
		Listen:       []Listener{{Address: "127.0.0.1:8080"}},
		TLS:          TLS{MinVersion: "1.2"},
		ClientHeader: "x-forwarded-for",
		Drain:        10 * time.Second,
		Limits: Limits{
			HeaderBytes:          64 * bytesize.KiB,
			HeaderCount:          128,
			URILength:            16 << 10,
			HeaderTimeout:        10 * time.Second,
			IdleTimeout:          2 * time.Minute,
			StallTimeout:         30 * time.Second,
			MinBodyRate:          128,
			Connections:          10_000,
			ConnectionsPerClient: 1_000,
			Streams:              128,
			StreamResets:         200,
		},
	}
}

// DefaultRoute returns a route without name and upstreams.
func DefaultRoute() Route {
	return Route{
		Path:         "/",
		HealthCheck:  HealthCheck{Interval: 10 * time.Second, Timeout: 2 * time.Second, Healthy: 2, Unhealthy: 3, CoolDown: 10 * time.Second},
		Retries:      1,
		Timeouts:     Timeouts{Connect: 5 * time.Second, Response: time.Minute, Idle: 5 * time.Minute},
		Mode:         ModeBlock,
		WAF:          true,
		Paranoia:     1,
		Thresholds:   Thresholds{Inbound: 5, Outbound: 4},
		Fail:         "open",
		InspectLimit: 128 * bytesize.KiB,
		MaxBody:      64 * bytesize.MiB,
		WebSocket:    true,
		PreserveHost: true,
	}
}

// UnmarshalYAML reads a route over the defaults.
func (r *Route) UnmarshalYAML(decode func(any) error) error {
	type plain Route
	*r = DefaultRoute()
	return decode((*plain)(r))
}

// UnmarshalYAML reads an upstream, or the URL of one.
func (u *Upstream) UnmarshalYAML(decode func(any) error) error {
	type plain Upstream
	u.Weight = 1
	if err := decode(&u.URL); err == nil {
		return nil
	}
	return decode((*plain)(u))
}
