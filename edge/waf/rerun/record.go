package rerun

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/signal"
)

// Fields are the fields of a record that a rerun reads.
func Fields() []signal.Field {
	return []signal.Field{
		signal.FieldMetadataUID, signal.FieldMetadataCorrelationUID, signal.FieldEdgeRoute, signal.FieldEdgeMode, signal.FieldSrcEndpointIP, signal.FieldSrcEndpointPort, signal.FieldDstEndpointIP, signal.FieldDstEndpointPort,
		signal.FieldWAFScore, signal.FieldWAFThreshold, signal.FieldWAFParanoia, signal.FieldWAFRules, signal.FieldWAFTargets, signal.FieldWAFMessages, signal.FieldWAFCategories, signal.FieldWAFError,
		signal.FieldHTTPRequestHTTPMethod, signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestURLQueryString, signal.FieldHTTPRequestURLHostname, signal.FieldHTTPRequestURLPort,
		signal.FieldHTTPRequestVersion, signal.FieldHTTPRequestUserAgent, signal.FieldHTTPRequestReferrer, signal.FieldHTTPRequestContentType, signal.FieldHTTPRequestLength,
		signal.FieldHTTPRequestHeaderNames, signal.FieldHTTPRequestCookieNames, signal.FieldHTTPRequestArgsNames, signal.FieldHTTPRequestXForwardedFor,
	}
}

// What is put where a value was masked: text in which no rule finds anything, and text that looks like no value that exclusions know.
const (
	stand    = "x"
	oddStand = "%01"
)

// request makes one that net/http knows.
func request(m *edge.Received) *http.Request {
	r := &http.Request{Method: m.Method, RequestURI: m.URI, Proto: m.Proto, Host: m.Host, Header: m.Header, TransferEncoding: m.Coding, URL: &url.URL{}, Body: http.NoBody, ContentLength: m.Length}
	_, r.URL.RawQuery, _ = strings.Cut(m.URI, "?")
	if len(m.Body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(m.Body))
	}
	return r
}

// Restore puts what was masked of a request back into its record, for rules to see. What is written of the record stays masked.
func Restore(e *signal.Event, m *edge.Received) {
	_, query, _ := strings.Cut(m.URI, "?")
	for f, raw := range map[signal.Field]string{
		signal.FieldHTTPRequestURLPath: m.Path(), signal.FieldHTTPRequestURLQueryString: query, signal.FieldHTTPRequestUserAgent: m.Header.Get("User-Agent"),
		signal.FieldHTTPRequestReferrer: m.Header.Get("Referer"),
	} {
		if e.IsMasked(f) && raw != "" {
			e.SetMasked(f, raw, e.RecordedStr(f))
		}
	}
}

// exchange is what the firewall is told of it.
func exchange(m *edge.Received, e *signal.Event, level int) edge.Exchange {
	end := func(ip, port signal.Field) netip.AddrPort {
		a := e.IP(ip)
		if !a.IsValid() {
			a = netip.IPv4Unspecified()
		}
		return netip.AddrPortFrom(a, uint16(e.Int(port)))
	}
	return edge.Exchange{Request: request(m), Client: end(signal.FieldSrcEndpointIP, signal.FieldSrcEndpointPort), Server: end(signal.FieldDstEndpointIP, signal.FieldDstEndpointPort), ID: "rerun",
		Route: e.Str(signal.FieldEdgeRoute), Host: e.RecordedStr(signal.FieldHTTPRequestURLHostname), Path: m.Path(), Paranoia: level}
}

// unmasked returns the query of a record with what stands in the place of masked values. Each pair says whether its name and its value are as sent.
func unmasked(e *signal.Event, stand string) string {
	query := e.RecordedStr(signal.FieldHTTPRequestURLQueryString)
	if !e.IsMasked(signal.FieldHTTPRequestURLQueryString) {
		return query
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if name == urlmask.Masked {
			name = stand
		}
		if value == urlmask.Masked {
			value = stand
		}
		if pairs[i] = name; ok {
			pairs[i] += "=" + value
		}
	}
	return strings.Join(pairs, "&")
}

// recorded makes a request of a record.
func recorded(e *signal.Event, stand string) *edge.Received {
	path := e.RecordedStr(signal.FieldHTTPRequestURLPath)
	if e.IsMasked(signal.FieldHTTPRequestURLPath) {
		path = strings.ReplaceAll(path, urlmask.Masked, stand)
	}
	m := &edge.Received{Method: e.RecordedStr(signal.FieldHTTPRequestHTTPMethod), URI: path, Proto: "HTTP/" + e.RecordedStr(signal.FieldHTTPRequestVersion), Header: http.Header{}, Length: e.Int(signal.FieldHTTPRequestLength)}
	if m.Proto == "HTTP/2" {
		m.Proto = "HTTP/2.0"
	}
	query := unmasked(e, stand)
	if query != "" {
		m.URI += "?" + query
	}
	if m.Host = e.RecordedStr(signal.FieldHTTPRequestURLHostname); e.Has(signal.FieldHTTPRequestURLPort) {
		m.Host += ":" + strconv.FormatInt(e.Int(signal.FieldHTTPRequestURLPort), 10)
	}
	for _, name := range e.Strings(signal.FieldHTTPRequestHeaderNames) {
		if name != urlmask.Masked {
			m.Header.Set(name, headerValue(e, name, stand))
		}
	}
	if m.Length != 0 {
		m.Body = bodyOf(e, query, stand)
	}
	return m
}

// headerValue returns the value of a header field as far as it is known, and else one that is usual.
func headerValue(e *signal.Event, name, stand string) string {
	if v, ok := headerInClear(e, name); ok {
		return v
	}
	switch name {
	case "user-agent":
		return "Mozilla/5.0"
	case "accept":
		return "*/*"
	case "accept-encoding":
		return "gzip"
	case "accept-language":
		return "en"
	case "connection":
		return "keep-alive"
	case "content-type":
		return e.RecordedStr(signal.FieldHTTPRequestContentType)
	case "content-length":
		return strconv.FormatInt(max(0, e.Int(signal.FieldHTTPRequestLength)), 10)
	case "referer":
		return "http://localhost/"
	case "range":
		return "bytes=0-1"
	case "cookie":
		var pairs []string
		for _, n := range e.Strings(signal.FieldHTTPRequestCookieNames) {
			pairs = append(pairs, strings.ReplaceAll(n, urlmask.Masked, stand)+"="+stand)
		}
		return strings.Join(pairs, "; ")
	}
	return stand
}

// headerInClear returns the value of a header field that was recorded as it was sent.
func headerInClear(e *signal.Event, name string) (string, bool) {
	field := signal.Field(0)
	switch name {
	case "user-agent":
		field = signal.FieldHTTPRequestUserAgent
	case "referer":
		field = signal.FieldHTTPRequestReferrer
	case "content-length":
		if n := e.Int(signal.FieldHTTPRequestLength); n > 0 {
			return strconv.FormatInt(n, 10), true
		}
		return "", false
	default:
		v, ok := e.Unmapped("http_request.headers." + name)
		return v, ok && !strings.Contains(v, "…")
	}
	return e.RecordedStr(field), e.Has(field) && !e.IsMasked(field)
}

// bodyOf makes a body of the same kind: the names of a form are recorded, of others nothing is.
func bodyOf(e *signal.Event, query, stand string) []byte {
	media := e.RecordedStr(signal.FieldHTTPRequestContentType)
	switch {
	case strings.Contains(media, "json"):
		return []byte("{}")
	case strings.EqualFold(media, "application/x-www-form-urlencoded"):
		var pairs []string
		for _, n := range e.Strings(signal.FieldHTTPRequestArgsNames) {
			if n != urlmask.Masked && !inQuery(query, n) {
				pairs = append(pairs, n+"="+stand)
			}
		}
		return []byte(strings.Join(pairs, "&"))
	}
	return nil
}

func inQuery(query, name string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if n, _, _ := strings.Cut(pair, "="); n == name {
			return true
		}
	}
	return false
}

// allInClear reports whether all of a request that targets name was recorded as it was sent.
func allInClear(e *signal.Event, targets []seclang.Target) bool {
	for i := range targets {
		if !inClear(e, &targets[i]) {
			return false
		}
	}
	return true
}

func inClear(e *signal.Event, t *seclang.Target) bool {
	bodiless := e.Int(signal.FieldHTTPRequestLength) == 0
	names := func(f signal.Field) bool { return !slices.Contains(e.Strings(f), urlmask.Masked) }
	switch t.Variable {
	case variables.TX, variables.Rule, variables.MatchedVar, variables.MatchedVarName, variables.MatchedVars, variables.MatchedVarsNames, variables.HighestSeverity,
		variables.RequestMethod, variables.RequestProtocol, variables.RemoteAddr, variables.ServerAddr, variables.ServerName, variables.ReqbodyProcessor:
		return true
	case variables.RequestFilename, variables.RequestBasename:
		return !e.IsMasked(signal.FieldHTTPRequestURLPath)
	case variables.RequestURI, variables.RequestURIRaw, variables.RequestLine:
		return !e.IsMasked(signal.FieldHTTPRequestURLPath) && !e.IsMasked(signal.FieldHTTPRequestURLQueryString)
	case variables.QueryString:
		return !e.IsMasked(signal.FieldHTTPRequestURLQueryString)
	case variables.ArgsGet:
		return queryInClear(e, t)
	case variables.Args:
		return bodiless && queryInClear(e, t)
	case variables.ArgsGetNames:
		return queryInClear(e, t)
	case variables.ArgsNames:
		return bodiless && queryInClear(e, t)
	case variables.RequestHeadersNames:
		return names(signal.FieldHTTPRequestHeaderNames)
	case variables.RequestHeaders:
		return headersInClear(e, t)
	case variables.RequestCookies, variables.RequestCookiesNames:
		sent := e.Strings(signal.FieldHTTPRequestCookieNames)
		return len(sent) == 0 || names(signal.FieldHTTPRequestCookieNames) && (t.Count || t.Variable == variables.RequestCookiesNames || t.Key != "" && !containsFold(sent, t.Key))
	case variables.ArgsPost, variables.ArgsPostNames, variables.RequestBody, variables.RequestBodyLength, variables.Files, variables.FilesNames, variables.FilesCombinedSize, variables.XML,
		variables.RequestXML, variables.ReqbodyError, variables.ReqbodyErrorMsg, variables.MultipartPartHeaders, variables.MultipartStrictError:
		return bodiless
	}
	return false
}

// queryInClear reports whether the parameters of the query that a target names are known.
func queryInClear(e *signal.Event, t *seclang.Target) bool {
	if !e.IsMasked(signal.FieldHTTPRequestURLQueryString) {
		return true
	}
	for pair := range strings.SplitSeq(e.RecordedStr(signal.FieldHTTPRequestURLQueryString), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.Contains(name, urlmask.Masked) || strings.Contains(pair, "…") {
			return false // whatever its name is
		}
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		of := t.Key == "" && t.KeyRx == nil || strings.EqualFold(t.Key, name) || t.KeyRx != nil && t.KeyRx.MatchString(strings.ToLower(name))
		left := slices.ContainsFunc(t.Except, func(x seclang.Exception) bool { return x.KeyRx == nil && strings.EqualFold(x.Key, name) })
		if of && !left && value == urlmask.Masked && !t.Count && t.Variable != variables.ArgsNames && t.Variable != variables.ArgsGetNames {
			return false
		}
	}
	return true
}

func headersInClear(e *signal.Event, t *seclang.Target) bool {
	sent := e.Strings(signal.FieldHTTPRequestHeaderNames)
	if slices.Contains(sent, urlmask.Masked) || len(sent) >= urlmask.MaxNames {
		return false
	}
	if t.Count {
		return true
	}
	for _, name := range sent {
		of := t.Key == "" && t.KeyRx == nil || strings.EqualFold(t.Key, name) || t.KeyRx != nil && t.KeyRx.MatchString(name)
		left := slices.ContainsFunc(t.Except, func(x seclang.Exception) bool { return x.KeyRx == nil && strings.EqualFold(x.Key, name) })
		if of && !left && name != "host" {
			if _, known := headerInClear(e, name); !known {
				return false
			}
		}
	}
	return true
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(one, s) })
}
