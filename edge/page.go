package edge

import (
	"net/http"
	"strconv"
	"strings"
)

// writePage answers a request by the edge itself. The page names the request id and nothing
// else of the request, and no reason beyond what the status says: the sender may be
// an attacker who tries what passes.
func writePage(w http.ResponseWriter, r *http.Request, status int, id string) {
	title, text := pageWords(status)
	h := w.Header()
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	var body string
	switch preferred(r.Header["Accept"]) {
	case "json":
		h["Content-Type"] = []string{"application/json"}
		body = `{"error":"` + text + `","status":` + strconv.Itoa(status) + `,"reference":"` + id + "\"}\n"
	case "html":
		h["Content-Type"] = []string{"text/html; charset=utf-8"}
		h["Content-Security-Policy"] = []string{"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
		body = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex"><title>` + title +
			`</title><style>body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.25rem;color:#1c2430;background:#fff}code{overflow-wrap:anywhere}@media(prefers-color-scheme:dark){body{color:#e6e9ee;background:#14181f}}</style></head><body><h1>` +
			title + `</h1><p>` + text + `.</p><p>If you think this is a mistake, tell whoever runs this site, and give this reference: <code>` + id + "</code></p></body></html>\n"
	default:
		h["Content-Type"] = []string{"text/plain; charset=utf-8"}
		body = title + "\n" + text + ".\nReference: " + id + "\n"
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write([]byte(body))
	}
}

func pageWords(status int) (title, text string) {
	switch status {
	case http.StatusForbidden:
		return "Request refused", "This request was refused"
	case http.StatusTooManyRequests:
		return "Too many requests", "Too many requests came from you; please wait a moment"
	case http.StatusBadGateway:
		return "Bad gateway", "The application did not give a usable answer"
	case http.StatusServiceUnavailable:
		return "Not available", "The application is not available at the moment"
	case http.StatusGatewayTimeout:
		return "No answer", "The application did not answer in time"
	case http.StatusNotFound:
		return "Not found", "There is nothing at this address"
	}
	return http.StatusText(status), "The request cannot be served: " + strings.ToLower(http.StatusText(status))
}

// preferred reads no weights: browsers name text/html first, programs name what they want.
func preferred(accept []string) string {
	for _, line := range accept {
		for item := range strings.SplitSeq(line, ",") {
			item, _, _ = strings.Cut(item, ";")
			item = strings.TrimSpace(item)
			switch {
			case strings.EqualFold(item, "text/html"):
				return "html"
			case strings.EqualFold(item, "application/json"), strings.HasSuffix(strings.ToLower(item), "+json"):
				return "json"
			case strings.EqualFold(item, "text/plain"):
				return "text"
			}
		}
	}
	return "text"
}
