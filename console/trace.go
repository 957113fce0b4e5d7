package console

import (
	"context"
	"net/http"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// TraceSource says what a request caused.
type TraceSource interface {
	// Trace returns what is known of a request: ErrNotFound where no event of it is kept.
	Trace(ctx context.Context, request string) (Trace, error)
}

// Trace is what one request caused: a tree, as lines with their depth, outer ones first.
type Trace struct {
	Request string      `json:"request"` // http_request.uid
	Lines   []TraceLine `json:"lines"`
	More    bool        `json:"more"` // there are more events than are shown
}

// TraceLine is one thing that a request caused.
type TraceLine struct {
	Depth    int             `json:"depth"`
	Kind     string          `json:"kind"` // request, response, service, process, file, network, socket, dns, event
	Text     string          `json:"text"` // recorded form, of a stranger's making
	Detail   string          `json:"detail,omitempty"`
	At       time.Time       `json:"at,omitzero"`
	Event    signal.ID       `json:"event,omitzero"` // zero for what no event tells of
	PID      int             `json:"pid,omitempty"`
	Joined   string          `json:"joined,omitempty"` // of a service: socket, translated socket, header
	Unsure   bool            `json:"unsure,omitempty"` // of a service: the request is one of several that it could be
	Decision signal.Decision `json:"decision"`
	Rules    []string        `json:"rules,omitempty"`
	// Outcome is what became of what a rule refused on a host: refused, killed, watched, or ordered (to be killed) where the end of that is
	// not known; failed and ended where the process was not killed.
	Outcome string `json:"outcome,omitempty"`
}

// Became says the outcome for people, "" where nothing was refused.
func (l *TraceLine) Became() string {
	return map[string]string{"refused": "refused", "killed": "killed", "ordered": "ordered to be killed", "failed": "NOT killed", "ended": "had ended before it could be killed"}[l.Outcome]
}

type traceIn struct {
	ID string `path:"id" doc:"id of the request, as X-Request-Id and http_request.uid have it"`
}

func (s *Server) traceRoutes() []Route {
	return []Route{
		call(get, v1+"/trace/{id}", RoleViewer, says{id: "traceRequest", summary: "What a request caused: services, processes, files, connections", tag: "events"},
			func(r *http.Request, _ http.ResponseWriter, in traceIn) (Trace, error) {
				if s.sources.Trace == nil {
					return Trace{}, unavailable("traces")
				}
				return s.sources.Trace.Trace(r.Context(), in.ID)
			}),
	}
}
