// Package access reads the access logs of web servers: the common and combined formats of Apache and nginx, with a virtual
// host before and further fields behind them ([Format]), and JSON access logs of nginx, Apache, Caddy, Traefik and
// Envoy ([JSON]).
//
// An event has the class HTTP Activity and Sigma's category webserver; the product and the service (nginx, apache) are what
// the user states. The whole target of the request is url.url_string, its parts http_request.url.path and query_string. Query
// values and what a referrer carries are masked where the event is recorded; rules see them while it is judged.
// "-" says that there is no value, and sets none.
package access

import (
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of access logs as text.
var Format = logs.Format{
	Name:    "access",
	Title:   "access log of nginx or Apache",
	Framing: logs.Lines,
	Detect: func(sample []byte) bool {
		_, ok := read(string(logs.FirstLine(sample)))
		return ok
	},
	New: New,
}

type parser struct {
	m *logs.Mapper
}

// New returns a parser of access logs as text.
func New(source logs.Source) logs.Parser {
	return &parser{m: logs.NewMapper(nil, source)}
}

// line is what an access log says of a request.
type line struct {
	vhost, client, user, time string
	request, status, size     string
	referrer, agent           string
	extra                     string
}

// Parse reads one line.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	l, ok := read(string(record))
	if !ok {
		return &logs.ParseError{Format: "access", Class: logs.BadSyntax, Reason: "no line of the common log format", Offset: -1}
	}
	p.m.Start(e, logs.Source{Category: "webserver"})
	if ns, ok := logs.ParseCommonLogTime(l.time); ok {
		e.Time = ns
	} else {
		p.m.Add("time", l.time)
	}
	client(e, l.client)
	text(e, signal.FieldActorUserName, l.user)
	setHost(e, l.vhost)
	if method, rest, ok := strings.Cut(l.request, " "); ok && token(method) {
		target, version, ok := cutLast(rest, " HTTP/")
		if !ok {
			target = rest
		}
		e.SetString(signal.FieldHTTPRequestHTTPMethod, method)
		text(e, signal.FieldHTTPRequestVersion, version)
		setTarget(e, target)
	} else if l.request != "-" {
		p.m.Add("request", l.request) // no HTTP: a handshake of TLS, say
	}
	status(e, l.status)
	if n, ok := logs.Integer(l.size); ok {
		e.SetInt(signal.FieldHTTPResponseLength, n)
	}
	text(e, signal.FieldHTTPRequestReferrer, l.referrer)
	text(e, signal.FieldHTTPRequestUserAgent, l.agent)
	if l.extra != "" {
		p.m.Add("extra", l.extra)
	}
	finish(e)
	p.m.End(0)
	return nil
}

// read takes a line apart.
func read(s string) (line, bool) {
	var l line
	open := strings.Index(s, " [")
	if open < 0 {
		return l, false
	}
	words := strings.Fields(s[:open])
	switch len(words) {
	case 3:
		l.client, l.user = words[0], words[2]
	case 4: // vhost_combined
		l.vhost, l.client, l.user = words[0], words[1], words[3]
	default:
		return l, false // a name with blanks is not worth a guess
	}
	s = s[open+2:]
	var ok bool
	if l.time, s, ok = strings.Cut(s, "] \""); !ok || len(l.time) > 64 {
		return l, false
	}
	if l.request, s, ok = unquote(s); !ok {
		return l, false
	}
	s = strings.TrimPrefix(s, " ")
	l.status, s, _ = strings.Cut(s, " ")
	if len(l.status) != 3 || l.status[0] < '0' || l.status[0] > '9' {
		return l, false
	}
	l.size, s, _ = strings.Cut(s, " ")
	if rest, ok := strings.CutPrefix(s, `"`); ok {
		if l.referrer, rest, ok = unquote(rest); ok {
			s = strings.TrimPrefix(rest, " ")
			if rest, ok := strings.CutPrefix(s, `"`); ok {
				if l.agent, rest, ok = unquote(rest); ok {
					s = strings.TrimPrefix(rest, " ")
				}
			}
		}
	}
	l.extra = s
	return l, true
}

// unquote reads up to a quote. Apache and nginx write what is not plain as \x16 and \".
func unquote(s string) (text, rest string, ok bool) {
	end, escaped := 0, false
	for end < len(s) && s[end] != '"' {
		if s[end] == '\\' {
			escaped = true
			end++
		}
		end++
	}
	if end >= len(s) {
		return "", s, false
	}
	text, rest = s[:end], s[end+1:]
	if !escaped {
		return text, rest, true
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b = append(b, text[i])
			continue
		}
		i++
		switch c := text[i]; c {
		case 'x':
			if i+2 < len(text) && nibble(text[i+1]) < 16 && nibble(text[i+2]) < 16 {
				b = append(b, nibble(text[i+1])<<4|nibble(text[i+2]))
				i += 2
				continue
			}
			b = append(b, '\\', 'x')
		case 'n':
			b = append(b, '\n')
		case 't':
			b = append(b, '\t')
		case 'r':
			b = append(b, '\r')
		case '"', '\\':
			b = append(b, c)
		default:
			b = append(b, '\\', c)
		}
	}
	return string(b), rest, true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return (c | 0x20) - 'a' + 10
	}
	return 255
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// token reports whether s is a method: a token of RFC 9110.
func token(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// text sets a field unless there is no value.
func text(e *signal.Event, f signal.Field, v string) {
	if v != "" && v != "-" {
		logs.SetText(e, f, v)
	}
}

// client sets where a request came from: an address, perhaps with a port, or a name.
func client(e *signal.Event, v string) {
	if a, ok := logs.Address(v); ok {
		e.SetIP(signal.FieldSrcEndpointIP, a)
		return
	}
	if host, port, ok := cutLast(v, ":"); ok {
		if a, ok := logs.Address(strings.Trim(host, "[]")); ok {
			e.SetIP(signal.FieldSrcEndpointIP, a)
			if n, ok := logs.Integer(port); ok {
				e.SetInt(signal.FieldSrcEndpointPort, n)
			}
			return
		}
	}
	text(e, signal.FieldSrcEndpointHostname, v)
}

// setHost sets the host asked for, and the port where one is stated.
func setHost(e *signal.Event, v string) {
	if i := strings.LastIndexByte(v, ':'); i >= 0 && !strings.HasSuffix(v, "]") {
		if n, ok := logs.Integer(v[i+1:]); ok {
			e.SetInt(signal.FieldHTTPRequestURLPort, n)
			v = v[:i]
		}
	}
	text(e, signal.FieldHTTPRequestURLHostname, v)
}

// setTarget sets the target of a request and its parts.
func setTarget(e *signal.Event, target string) {
	text(e, signal.FieldURLURLString, target)
	rest := target
	if i := strings.Index(rest, "://"); i > 0 && i < 10 && !strings.HasPrefix(rest, "/") {
		host, path := rest[i+3:], "/"
		if j := strings.IndexAny(host, "/?"); j >= 0 {
			host, path = host[:j], host[j:]
		}
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = host[at+1:]
		}
		if !e.Has(signal.FieldHTTPRequestURLHostname) {
			setHost(e, host)
		}
		rest = path
	}
	path, query, _ := strings.Cut(rest, "?")
	text(e, signal.FieldHTTPRequestURLPath, path)
	text(e, signal.FieldHTTPRequestURLQueryString, query)
}

func status(e *signal.Event, v string) {
	code, ok := logs.Integer(v)
	if !ok || code < 0 || code > 999 {
		return
	}
	e.SetInt(signal.FieldHTTPResponseCode, code)
	switch {
	case code >= 400:
		e.SetInt(signal.FieldStatusID, 2)
	case code > 0:
		e.SetInt(signal.FieldStatusID, 1)
	}
}

// finish sets the class, once the method is known.
func finish(e *signal.Event) {
	e.Class = signal.ClassHTTPActivity
	if m := e.Str(signal.FieldHTTPRequestHTTPMethod); m != "" {
		e.Activity = signal.HTTPActivity(m)
	}
}
