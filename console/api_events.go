package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// classText is an event class by its short name.
type classText signal.Class

// UnmarshalText reads the short name.
func (c *classText) UnmarshalText(b []byte) error {
	v, err := signal.ParseClass(string(b))
	if err == nil {
		*c = classText(v)
	}
	return err
}

type eventsIn struct {
	Plane     signal.Plane     `query:"plane" doc:"where it was seen"`
	Class     classText        `query:"class" doc:"short name of the OCSF class, as in http_activity"`
	Decision  *signal.Decision `query:"decision" doc:"what was decided"`
	Client    netip.Prefix     `query:"client" doc:"address or prefix of the client"`
	Route     string           `query:"route" doc:"route of the edge"`
	Method    string           `query:"method" doc:"HTTP method"`
	Rule      string           `query:"rule" doc:"id of a rule that fired"`
	Text      string           `query:"text" doc:"text in path, host, rule, reason and the like, any case"`
	Condition string           `query:"condition" doc:"a condition as in a rule's when"`
	Since     time.Time        `query:"since" doc:"not before (RFC 3339)"`
	Until     time.Time        `query:"until" doc:"before (RFC 3339)"`
	Cursor    string           `query:"cursor" doc:"next of the page before"`
	Limit     int              `query:"limit" default:"50" min:"1" max:"500" doc:"items of a page"`
}

func (in eventsIn) query() EventQuery {
	return EventQuery{Plane: in.Plane, Class: signal.Class(in.Class), Decision: in.Decision, Client: in.Client, Route: in.Route, Method: in.Method,
		Rule: in.Rule, Text: in.Text, Condition: in.Condition, Since: in.Since, Until: in.Until, Cursor: in.Cursor, Limit: in.Limit}
}

// streamIn is eventsIn without what has no meaning for what is still to come.
type streamIn struct {
	Plane     signal.Plane     `query:"plane" doc:"where it was seen"`
	Class     classText        `query:"class" doc:"short name of the OCSF class, as in http_activity"`
	Decision  *signal.Decision `query:"decision" doc:"what was decided"`
	Client    netip.Prefix     `query:"client" doc:"address or prefix of the client"`
	Route     string           `query:"route" doc:"route of the edge"`
	Method    string           `query:"method" doc:"HTTP method"`
	Rule      string           `query:"rule" doc:"id of a rule that fired"`
	Text      string           `query:"text" doc:"text in path, host, rule, reason and the like, any case"`
	Condition string           `query:"condition" doc:"a condition as in a rule's when"`
}

// LiveUpdate is the data of one message "events" of the live stream.
type LiveUpdate struct {
	Events  []*signal.Event `json:"events" doc:"newest last, at most 50"`
	Skipped uint64          `json:"skipped" doc:"further events that matched, too many to show"`
	Lost    uint64          `json:"lost" doc:"events this client was too slow for"`
	Gap     bool            `json:"gap" doc:"the stream begins anew: ask for the list again"`
	Topics  []Topic         `json:"topics" doc:"lists that have changed"`
}

// HuntLine is one line of a search's answer: an event, or, last, the statistics, or the
// problem that ended it.
type HuntLine struct {
	Event   json.RawMessage `json:"event,omitempty"`
	Stats   *HuntStats      `json:"stats,omitempty"`
	Problem *Problem        `json:"problem,omitempty"`
}

type huntIn struct {
	Condition string    `query:"condition" doc:"as in a rule's when; empty chooses all"`
	Since     time.Time `query:"since" doc:"not before (RFC 3339)"`
	Until     time.Time `query:"until" doc:"before (RFC 3339)"`
	Limit     int       `query:"limit" default:"100" min:"0" max:"1000000" doc:"events at most; 0 for all, then in no promised order"`
}

type idIn struct {
	ID string `path:"id" doc:"id, as lists name it"`
}

type eventIn struct {
	ID signal.ID `path:"id" doc:"id of the event"`
}

func (s *Server) eventRoutes() []Route {
	return []Route{
		call(get, v1+"/events", RoleViewer, says{id: "listEvents", summary: "Recent events, newest first", tag: "events"},
			func(r *http.Request, _ http.ResponseWriter, in eventsIn) (Page[*signal.Event], error) {
				if s.sources.Events == nil {
					return Page[*signal.Event]{}, unavailable("events")
				}
				return s.sources.Events.Events(r.Context(), in.query())
			}),
		call(get, v1+"/events/{id}", RoleViewer, says{id: "getEvent", summary: "One event", tag: "events"},
			func(r *http.Request, _ http.ResponseWriter, in eventIn) (*signal.Event, error) {
				if s.sources.Events == nil {
					return nil, unavailable("events")
				}
				return s.sources.Events.Event(r.Context(), in.ID)
			}),
		call(get, v1+"/events/{id}/related", RoleViewer, says{id: "relatedEvents", summary: "The event's cause, response and findings, oldest first", tag: "events"},
			func(r *http.Request, _ http.ResponseWriter, in eventIn) (Page[*signal.Event], error) {
				if s.sources.Events == nil {
					return Page[*signal.Event]{}, unavailable("events")
				}
				all, err := s.sources.Events.Related(r.Context(), in.ID)
				return Page[*signal.Event]{Items: all}, err
			}),
		stream[streamIn, LiveUpdate](v1+"/events/stream", "text/event-stream", RoleViewer,
			says{id: "streamEvents", summary: "Events as they are recorded, as server-sent events, at most 20 a second with counts; Last-Event-ID resumes", tag: "events"},
			func(w http.ResponseWriter, r *http.Request, in streamIn) error {
				q := EventQuery{Plane: in.Plane, Class: signal.Class(in.Class), Decision: in.Decision, Client: in.Client,
					Route: in.Route, Method: in.Method, Rule: in.Rule, Text: in.Text, Condition: in.Condition}
				return s.ServeStream(w, r, StreamOptions{Query: q, Render: renderUpdate})
			}),
		stream[nothing, LiveUpdate](v1+"/changes", "text/event-stream", RoleViewer,
			says{id: "streamChanges", summary: "Which lists have changed, as server-sent events", tag: "events"},
			func(w http.ResponseWriter, r *http.Request, _ nothing) error {
				return s.ServeStream(w, r, StreamOptions{NoEvents: true, Render: renderUpdate})
			}),
		stream[huntIn, HuntLine](v1+"/hunt", "application/x-ndjson", RoleViewer,
			says{id: "hunt", summary: "Search everything that is kept, one line of JSON for each event, statistics last", tag: "events"}, s.hunt),
	}
}

func renderUpdate(u *Update) ([]Message, error) {
	b, err := json.Marshal(listed(LiveUpdate{Events: u.Events, Skipped: u.Skipped, Lost: u.Lost, Gap: u.Gap, Topics: u.Topics}))
	return []Message{{Event: "events", Data: b}}, err
}

// hunt writes what the search finds as it finds it. An error before the first line is a
// problem as ever; one after it is the last line.
func (s *Server) hunt(w http.ResponseWriter, r *http.Request, in huntIn) error {
	if s.sources.Hunt == nil {
		return unavailable("a lake")
	}
	select {
	case s.hunts <- struct{}{}:
		defer func() { <-s.hunts }()
	default:
		return &LimitedError{RetryAfter: 2 * time.Second}
	}
	out := &lineWriter{w: w, control: http.NewResponseController(w)}
	q := HuntQuery(in)
	var line []byte
	stats, err := s.sources.Hunt.Hunt(r.Context(), q, func(e *signal.Event) error {
		line = append(line[:0], `{"event":`...)
		line = e.AppendJSON(line)
		return out.line(append(line, '}'))
	})
	if err != nil && !out.begun {
		return err
	}
	last := HuntLine{Stats: &stats}
	if err != nil {
		if errors.Is(err, errGone) {
			return nil
		}
		p, _, ours := problemOf(err)
		if ours && r.Context().Err() == nil {
			s.metrics.faults.Inc()
			s.log.Error("search ended", "error", err)
		}
		last.Problem = &p
	}
	b, err := json.Marshal(last)
	if err != nil {
		return err
	}
	if err := out.line(b); err == nil {
		_ = out.flush()
	}
	return nil
}

// errGone says that nobody reads any more.
var errGone = errors.New("the client has gone")

// lineWriter writes lines with a time limit for each write. It flushes now and then.
type lineWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	flushed time.Time
}

func (o *lineWriter) line(b []byte) error {
	if !o.begun {
		o.begun = true
		o.w.Header().Set("Content-Type", "application/x-ndjson")
		o.w.WriteHeader(http.StatusOK)
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(streamWrite))
	if _, err := o.w.Write(b); err != nil {
		return errGone
	}
	if _, err := io.WriteString(o.w, "\n"); err != nil {
		return errGone
	}
	if time.Since(o.flushed) > 100*time.Millisecond {
		return o.flush()
	}
	return nil
}

func (o *lineWriter) flush() error {
	o.flushed = time.Now()
	if err := o.control.Flush(); err != nil {
		return errGone
	}
	// A deadline that passes between two writes would end an HTTP/2 stream.
	_ = o.control.SetWriteDeadline(time.Time{})
	return nil
}
