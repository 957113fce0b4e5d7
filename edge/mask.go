package edge

import (
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/urlmask"
)

// Bounds of what is recorded of one request beside those of urlmask, in bytes.
const (
	maxUserAgent = 512
	maxValue     = 256
)

const masked = urlmask.Masked

// clean is urlmask's, which nearly every event needs.
func clean(s string, limit int) string { return urlmask.Clean(s, limit) }

// A masker makes the recorded forms for one route.
type masker struct {
	urlmask.Masker
	headers                                    []recordedHeader
	userAgent, referer, contentType, forwarded bool // whether they are recorded
}

type recordedHeader struct{ key, attr string } // canonical name, name of the attribute

func newMasker(r *Record) masker {
	has := func(name string) bool {
		return slices.ContainsFunc(r.MaskHeaders, func(h string) bool { return strings.EqualFold(h, name) })
	}
	m := masker{Masker: urlmask.New(r.Parameters, r.MaskParameters, r.MaskPaths),
		userAgent: !has("user-agent"), referer: !has("referer"),
		contentType: !has("content-type"), forwarded: !has("x-forwarded-for")}
	for _, h := range r.Headers {
		m.headers = append(m.headers, recordedHeader{http.CanonicalHeaderKey(h), "http_request.headers." + strings.ToLower(h)})
	}
	return m
}

// credentialHeader reports whether a field's value is never recorded, whatever
// the configuration says.
func credentialHeader(name string) bool {
	n := strings.ToLower(name)
	switch n {
	case "cookie", "set-cookie", "cookie2", "set-cookie2", "dpop", "sec-websocket-key":
		return true
	}
	for _, word := range []string{"auth", "token", "secret", "password", "passwd", "credential", "session", "api-key", "apikey", "access-key", "signature", "jwt", "assertion", "csrf", "xsrf", "cert"} {
		if strings.Contains(n, word) {
			return true
		}
	}
	return false
}
