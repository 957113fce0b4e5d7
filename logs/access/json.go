package access

import (
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// JSON is the format of access logs in JSON.
var JSON = logs.Format{
	Name:    "access-json",
	Title:   "access log in JSON",
	Framing: logs.Documents,
	Detect:  detectJSON,
	New:     NewJSON,
}

func detectJSON(sample []byte) bool {
	var method, target, code bool
	for name := range logs.FirstAttributes(sample) {
		if name == "id.orig_h" {
			return false // Zeek's http.log, which Sigma has a source of its own for
		}
		switch roleOf(name) {
		case roleRequest:
			method, target = true, true
		case roleMethod:
			method = true
		case roleTarget, rolePath:
			target = true
		case roleStatus:
			code = true
		}
	}
	return method && target && code
}

type role uint8

const (
	roleNone role = iota
	roleTime
	roleRequest // the whole line: GET / HTTP/1.1
	roleMethod
	roleTarget // path and query
	rolePath
	roleQuery
	roleVersion
	roleStatus
	roleClient
	roleForwarded
	roleHost
	roleScheme
	roleUser
	roleAgent
	roleReferrer
	roleSize
	roleLength
	roleSeconds     // how long it took, in seconds
	roleNanoseconds // the same
	roleMillis
	roleTLS
	roleSNI
	roleID
	roleServer
)

// roleOf knows the names of nginx's variables, as people take them over, and those that Caddy, Traefik, Envoy and
// common examples for Apache write.
func roleOf(attr string) role {
	switch attr {
	case "time", "time_local", "time_iso8601", "msec", "ts", "@timestamp", "timestamp", "start_time", "StartUTC":
		return roleTime
	case "request":
		return roleRequest
	case "request_method", "method", "request.method", "RequestMethod", "http_method", "verb":
		return roleMethod
	case "request_uri", "uri", "url", "request.uri", "RequestPath", "requestUri":
		return roleTarget
	case "path", "uri_path", "request_path":
		return rolePath
	case "args", "query_string", "query":
		return roleQuery
	case "server_protocol", "protocol", "request.proto", "RequestProtocol":
		return roleVersion
	case "status", "response_code", "DownstreamStatus", "status_code", "sc_status":
		return roleStatus
	case "remote_addr", "remote_ip", "client_ip", "clientip", "request.client_ip", "ClientHost", "client", "downstream_remote_address", "remoteIP", "x_real_ip":
		return roleClient
	case "http_x_forwarded_for", "x_forwarded_for", "request.headers.X-Forwarded-For", "request_X-Forwarded-For":
		return roleForwarded
	case "host", "http_host", "request.host", "RequestHost", "authority", "vhost":
		return roleHost
	case "scheme", "RequestScheme":
		return roleScheme
	case "remote_user", "user_id", "ClientUsername", "user":
		return roleUser
	case "http_user_agent", "user_agent", "userAgent", "agent", "request.headers.User-Agent", "request_User-Agent":
		return roleAgent
	case "http_referer", "http_referrer", "referer", "referrer", "request.headers.Referer", "request_Referer":
		return roleReferrer
	case "body_bytes_sent", "bytes_sent", "bytes", "size", "DownstreamContentSize", "response_size":
		return roleSize
	case "request_length", "bytes_read", "RequestContentSize", "bytes_received":
		return roleLength
	case "request_time":
		return roleSeconds
	case "Duration":
		return roleNanoseconds
	case "response_time_ms", "duration_ms":
		return roleMillis
	case "ssl_protocol", "TLSVersion":
		return roleTLS
	case "ssl_server_name", "request.tls.server_name", "requested_server_name":
		return roleSNI
	case "request_id", "request.id", "x_request_id":
		return roleID
	case "hostname":
		return roleServer
	}
	return roleNone
}

type jsonParser struct {
	*logs.JSONReader[role]
	source logs.Source
}

// NewJSON returns a parser of access logs in JSON.
func NewJSON(source logs.Source) logs.Parser {
	return &jsonParser{logs.NewJSONReader("access-json", source, roleOf), source}
}

// Parse reads one record.
func (p *jsonParser) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	p.Map.Start(e, logs.Source{Category: "webserver"})
	var target, path, query string
	for _, it := range items {
		v := it.Value
		taken := true
		switch p.Role(it.ID) {
		case roleTime:
			ns, ok := logs.ParseTime(v, p.source.Zone)
			if !ok {
				ns, ok = logs.ParseCommonLogTime(v)
			}
			if taken = ok && e.Time == 0; taken {
				e.Time = ns
			}
		case roleRequest:
			method, rest, ok := strings.Cut(v, " ")
			if taken = ok && token(method); taken {
				var version string
				target, version, _ = cutLast(rest, " HTTP/")
				text(e, signal.FieldHTTPRequestHTTPMethod, method)
				text(e, signal.FieldHTTPRequestVersion, version)
			}
		case roleMethod:
			text(e, signal.FieldHTTPRequestHTTPMethod, v)
		case roleTarget:
			if target == "" {
				target = v
			}
		case rolePath:
			path = v
		case roleQuery:
			query = v
		case roleVersion:
			text(e, signal.FieldHTTPRequestVersion, strings.TrimPrefix(v, "HTTP/"))
		case roleStatus:
			status(e, v)
			taken = e.Has(signal.FieldHTTPResponseCode)
		case roleClient:
			if taken = !e.Has(signal.FieldSrcEndpointIP); taken {
				client(e, v)
			}
		case roleForwarded:
			if v != "-" && v != "" {
				e.SetStrings(signal.FieldHTTPRequestXForwardedFor, append(e.Strings(signal.FieldHTTPRequestXForwardedFor), v))
			}
		case roleHost:
			setHost(e, v)
		case roleScheme:
			text(e, signal.FieldHTTPRequestURLScheme, v)
		case roleUser:
			text(e, signal.FieldActorUserName, v)
		case roleAgent:
			text(e, signal.FieldHTTPRequestUserAgent, v)
		case roleReferrer:
			text(e, signal.FieldHTTPRequestReferrer, v)
		case roleSize:
			taken = number(e, signal.FieldHTTPResponseLength, v)
		case roleLength:
			taken = number(e, signal.FieldHTTPRequestLength, v)
		case roleSeconds:
			taken = duration(e, v, 1000)
		case roleNanoseconds:
			taken = duration(e, v, 1e-6)
		case roleMillis:
			taken = duration(e, v, 1)
		case roleTLS:
			text(e, signal.FieldTLSVersion, strings.TrimPrefix(v, "TLSv"))
		case roleSNI:
			text(e, signal.FieldTLSSNI, v)
		case roleID:
			text(e, signal.FieldHTTPRequestUID, v)
		case roleServer:
			text(e, signal.FieldDeviceHostname, v)
		default:
			taken = false
		}
		if !taken {
			p.Map.Item(it)
		}
	}
	switch {
	case target == "" && path != "":
		if target = path; query != "" && query != "-" {
			target += "?" + strings.TrimPrefix(query, "?")
		}
	case target != "" && query != "" && query != "-" && !strings.Contains(target, "?"):
		target += "?" + strings.TrimPrefix(query, "?") // nginx's $uri and $args
	}
	// What nginx could not read has neither method nor target, and a status all the same.
	if target == "" && !e.Has(signal.FieldHTTPRequestHTTPMethod) && !e.Has(signal.FieldHTTPResponseCode) {
		return p.Shape("no request")
	}
	setTarget(e, target)
	finish(e)
	p.Map.End(p.Flat.Dropped())
	return nil
}

func number(e *signal.Event, f signal.Field, v string) bool {
	n, ok := logs.Integer(v)
	if ok {
		e.SetInt(f, n)
	}
	return ok
}

func duration(e *signal.Event, v string, toMillis float64) bool {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0) || f*toMillis > 1e12 {
		return false
	}
	e.SetInt(signal.FieldDuration, int64(f*toMillis+0.5))
	return true
}
