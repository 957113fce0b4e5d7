package edge

import (
	"net/http"

	"github.com/testudo-sec/testudo/internal/httpframe"
)

// Reasons for refusing a message or connection before a verdict, beside those of
// httpframe: the label of testudo_edge_rejected_total, and behind "malformed: " in edge.error.
const (
	reasonURILength   = "uri-length"
	reasonBodySize    = "body-size"
	reasonSlowHeader  = "slow-header"
	reasonSlowBody    = "slow-body"
	reasonHTTP        = "http" // net/http refused it for another reason
	reasonHTTP2       = "http2"
	reasonRapidReset  = "http2-rapid-reset"
	reasonTLS         = "tls"
	reasonConnections = "connections"
	reasonPerClient   = "connections-per-client"
	reasonMethod      = "method"
	reasonAmbiguous   = "ambiguous-path"
)

func reasons() []string {
	return append(httpframe.Reasons(), reasonURILength, reasonBodySize, reasonSlowHeader, reasonSlowBody, reasonHTTP, reasonHTTP2,
		reasonRapidReset, reasonTLS, reasonConnections, reasonPerClient, reasonMethod, reasonAmbiguous)
}

// statusOf says with which status a request is refused for the reason.
func statusOf(reason string) int {
	switch reason {
	case reasonBodySize:
		return http.StatusRequestEntityTooLarge
	case reasonSlowBody:
		return http.StatusRequestTimeout
	case httpframe.HeaderCount, httpframe.HeaderBytes:
		return http.StatusRequestHeaderFieldsTooLarge
	case reasonURILength:
		return http.StatusRequestURITooLong
	case reasonMethod:
		return http.StatusNotImplemented
	}
	return http.StatusBadRequest
}
