package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// forbidden says that the caller's role is too low: status 403.
type forbidden struct{ need Role }

func (e *forbidden) Error() string {
	return "this needs the role " + e.need.String() + ": ask an admin"
}

// refused is a request that no handler gets to see.
type refused struct {
	status int
	kind   string // last part of Problem.Type, and the metrics label
	detail string
	field  string
}

func (e *refused) Error() string { return e.detail }

// unavailable says that this node lacks a source.
func unavailable(what string) error {
	return fmt.Errorf("%w: it runs without %s", ErrUnavailable, what)
}

// problemOf says how an error looks from outside. ours reports a fault that
// belongs in the log.
func problemOf(err error) (p Problem, retryAfter int, ours bool) {
	var (
		input   *InputError
		limited *LimitedError
		forbid  *forbidden
		ref     *refused
		tooBig  *http.MaxBytesError
	)
	switch {
	case errors.As(err, &ref):
		return problem(ref.status, ref.kind, ref.detail, ref.field), 0, false
	case errors.As(err, &limited):
		wait := max(1, int(limited.RetryAfter.Seconds()+0.999))
		return problem(http.StatusTooManyRequests, "limited", limited.Error(), ""), wait, false
	case errors.As(err, &forbid):
		return problem(http.StatusForbidden, "role", forbid.Error(), ""), 0, false
	case errors.As(err, &tooBig):
		return problem(http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("the body is larger than %d bytes", tooBig.Limit), ""), 0, false
	case errors.As(err, &input):
		return problem(http.StatusUnprocessableEntity, "input", input.Reason, input.Field), 0, false
	case errors.Is(err, ErrRefused):
		return problem(http.StatusUnauthorized, "sign-in", "the name, password, link or token is not right, or no longer valid", ""), 0, false
	case errors.Is(err, ErrNotFound):
		return problem(http.StatusNotFound, "not-found", err.Error(), ""), 0, false
	case errors.Is(err, ErrConflict):
		return problem(http.StatusConflict, "conflict", err.Error(), ""), 0, false
	case errors.Is(err, ErrUnavailable):
		return problem(http.StatusServiceUnavailable, "unavailable", err.Error(), ""), 0, false
	}
	return problem(http.StatusInternalServerError, "fault", "testudo could not do this; its log says why", ""), 0, true
}

func problem(status int, kind, detail, field string) Problem {
	return Problem{Type: "/problems/" + kind, Title: http.StatusText(status), Status: status, Detail: detail, Field: field}
}

// fail answers with an error: a problem for programs, a page for people.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, retry, ours := problemOf(err)
	if ours && r.Context().Err() != nil && errors.Is(err, r.Context().Err()) {
		// The caller has gone, and gets no answer, or a source did not answer in time.
		p, ours = problem(http.StatusServiceUnavailable, "slow", "a part of testudo did not answer in time; try again", ""), false
		s.metrics.refused.WithLabelValues("slow").Inc()
	}
	if ours {
		s.metrics.faults.Inc()
		s.log.Error("request not answered", "method", r.Method, "route", r.Pattern, "error", err)
		// Who may use the control socket may read the log, and would have to.
		if who := peerOf(r.Context()); who != nil && who.refused == "" {
			p.Detail = clip(err.Error())
		}
	}
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retry))
	}
	w.Header().Set("Cache-Control", "no-store")
	if isAPI(r) {
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="testudo"`)
		}
		writeProblem(w, p)
		return
	}
	if p.Status == http.StatusUnauthorized && r.URL.Path != SignInPath && r.URL.Path != LinkPath && s.ui != nil {
		s.toSignIn(w, r)
		return
	}
	if s.ui != nil {
		s.ui.Problem(w, r, p)
		return
	}
	writePlain(w, p.Status, p.Title+"\n"+p.Detail+"\n")
}

// isAPI reports whether the request is a program's, which is not sent to the sign-in page.
func isAPI(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics"
}

func writeProblem(w http.ResponseWriter, p Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	b, _ := json.Marshal(p) // strings and a number
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b)
}

func writePlain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
