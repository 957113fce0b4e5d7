package console

import (
	"time"
)

// Op names a route's operation, "" for what is not in the API.
func (r Route) Op() string {
	if r.api == nil {
		return ""
	}
	return r.api.id
}

// Media and Status are what the route's document promises.
func (r Route) Media() string { return r.api.media }
func (r Route) Status() int   { return r.api.status }

// Table returns the routes in force.
func (s *Server) Table() []Route { return s.routes }

// SetBeat changes how often streams ask whether their session holds.
func (s *Server) SetBeat(d time.Duration) { s.beat = d }

// SetHeaderTime changes how long a client may take for a header.
func (s *Server) SetHeaderTime(d time.Duration) { s.https.ReadHeaderTimeout = d }

// CSRFOf is what forms of a session carry.
func CSRFOf(token string) string { return csrfOf(token) }

// CloseListener lets the address go that Listen bound, without Run.
func (s *Server) CloseListener() {
	if s.ln != nil {
		_ = s.ln.Close()
	}
}

// CloseSocket does so for ListenSocket.
func (s *Server) CloseSocket() {
	if s.sock != nil {
		_ = s.sock.Close()
	}
}
