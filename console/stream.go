package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

const (
	streamPace      = 50 * time.Millisecond // at most 20 updates a second
	streamHeartbeat = 15 * time.Second
	streamBeat      = 5 * time.Second  // how often a stream asks whether its session still holds
	streamWrite     = 10 * time.Second // a client that takes longer for one update is cut off
	streamEvents    = 50               // events in one update; of more, the newest
)

// Update is what a live stream has to tell at one moment.
type Update struct {
	Events  []*signal.Event // newest last, at most 50
	Skipped uint64          // further events that matched, too many to show
	Lost    uint64          // events that this reader was too slow for; whether they matched is not known
	Gap     bool            // the stream begins anew after an interruption: reload what is shown
	Topics  []Topic         // lists that have changed, sorted
}

// Message is one server-sent event.
type Message struct {
	Event string
	Data  []byte // line breaks are kept
}

// StreamOptions choose what a live stream tells.
type StreamOptions struct {
	// Query chooses events; its Condition is compiled, its Cursor and Limit mean nothing.
	Query EventQuery
	// NoEvents leaves events out: topics alone.
	NoEvents bool
	// Render makes the messages of an update. An error ends the stream.
	Render func(u *Update) ([]Message, error)
}

// ServeStream answers with server-sent events (WHATWG HTML, section 9.2) until the
// client goes, its session ends or the server stops, of which a message "bye" tells. Its
// route must be marked Stream. Updates come at most 20 times a second, however many
// events there are. A client that comes back with Last-Event-ID goes on where it was, as far
// as the last 4096 events reach.
func (s *Server) ServeStream(w http.ResponseWriter, r *http.Request, opt StreamOptions) error {
	match, err := s.matcher(opt.Query)
	if err != nil {
		return err
	}
	lastID := r.Header.Get("Last-Event-ID")
	rd, missed, resumed := s.hub.reader(lastID)
	out := &sseWriter{w: w, control: http.NewResponseController(w)}

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	// A first line opens the stream in the browser before anything happens.
	if err := out.write([]byte("retry: 2000\n\n")); err != nil {
		return nil
	}
	u := Update{Lost: missed, Gap: !resumed || missed > 0}
	var buf []*signal.Event
	lastWrite := time.Now()
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	for {
		events, lost, topics, wake, ended := rd.take(buf)
		buf = events
		u.Lost += lost
		u.Topics = topics
		slices.Sort(u.Topics)
		if !opt.NoEvents {
			u.choose(events, match)
		}
		if u.worth(opt.NoEvents) {
			if u.Lost > 0 {
				s.metrics.streamLost.Add(float64(u.Lost))
			}
			msgs, err := opt.Render(&u)
			if err != nil {
				s.log.Error("live stream ends", "route", r.Pattern, "error", err)
				return nil
			}
			if err := out.messages(rd.id(), msgs); err != nil {
				return nil
			}
			lastWrite = time.Now()
			u = Update{}
		}
		clear(buf) // the ring alone keeps events alive
		if ended {
			_ = out.messages(rd.id(), []Message{{Event: "bye", Data: []byte("the server stops")}})
			return nil
		}
		if !pause(r.Context(), streamPace) {
			return nil
		}
		select {
		case <-wake:
		case <-r.Context().Done():
			return nil
		case <-beat.C:
			if !s.stillValid(r) {
				_ = out.messages(rd.id(), []Message{{Event: "bye", Data: []byte("the session has ended")}})
				return nil
			}
			if time.Since(lastWrite) >= streamHeartbeat {
				if err := out.write([]byte(": still here\n\n")); err != nil {
					return nil
				}
				lastWrite = time.Now()
			}
		}
	}
}

func (u *Update) choose(events []*signal.Event, match func(*signal.Event) bool) {
	for _, e := range events {
		if match(e) {
			u.Events = append(u.Events, e)
		}
	}
	if over := len(u.Events) - streamEvents; over > 0 {
		u.Skipped += uint64(over)
		u.Events = u.Events[over:]
	}
}

func (u *Update) worth(noEvents bool) bool {
	if noEvents {
		return len(u.Topics) > 0 || u.Gap
	}
	return len(u.Events) > 0 || u.Lost > 0 || u.Gap || len(u.Topics) > 0
}

// matcher returns the query as a function of recorded events.
func (s *Server) matcher(q EventQuery) (func(*signal.Event) bool, error) {
	if q.Condition == "" {
		return q.Match, nil
	}
	if s.sources.Conditions == nil {
		return nil, unavailable("conditions")
	}
	cond, err := s.sources.Conditions.Condition(q.Condition)
	if err != nil {
		return nil, err
	}
	return func(e *signal.Event) bool { return q.Match(e) && cond(e) }, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sseWriter writes a stream with a time limit for each write.
type sseWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

func (o *sseWriter) messages(id string, msgs []Message) error {
	if len(msgs) == 0 {
		return nil
	}
	o.buf.Reset()
	for i, m := range msgs {
		if m.Event != "" {
			fmt.Fprintf(&o.buf, "event: %s\n", m.Event)
		}
		if i == len(msgs)-1 { // a client that got half of them resumes before all
			fmt.Fprintf(&o.buf, "id: %s\n", id)
		}
		data := bytes.ReplaceAll(m.Data, []byte("\r\n"), []byte("\n"))
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			o.buf.WriteString("data: ")
			o.buf.Write(line)
			o.buf.WriteByte('\n')
		}
		o.buf.WriteByte('\n')
	}
	return o.write(o.buf.Bytes())
}

func (o *sseWriter) write(b []byte) error {
	if err := o.control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return err
	}
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	if err := o.control.Flush(); err != nil {
		return err
	}
	// A deadline that passes between two writes would end an HTTP/2 stream.
	return o.control.SetWriteDeadline(time.Time{})
}

// streams counts open streams by who has them.
type streams struct {
	total, each int
	open        map[string]int // guarded by Server.mu
	all         int
}

func (s *Server) openStream(who string) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.streams
	if st.open[who] >= st.each {
		return nil, &refused{http.StatusTooManyRequests, "streams", "you have " + strconv.Itoa(st.each) + " live streams open: close another page first", ""}
	}
	if st.all >= st.total {
		return nil, &refused{http.StatusServiceUnavailable, "streams", "all " + strconv.Itoa(st.total) + " live streams are taken: try again later", ""}
	}
	st.open[who]++
	st.all++
	s.metrics.streams.Set(float64(st.all))
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if st.open[who]--; st.open[who] == 0 {
			delete(st.open, who)
		}
		st.all--
		s.metrics.streams.Set(float64(st.all))
	}, nil
}
