package console

import (
	"net/http"
	"time"
)

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
	v1   = "/api/v1"
)

// apiRoutes is the API's part of the table.
func (s *Server) apiRoutes() []Route {
	document := Route{Method: get, Path: v1 + "/openapi.json", Handler: func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(s.openapi)
		return nil
	}}
	routes := []Route{document}
	for _, part := range [][]Route{s.sessionRoutes(), s.eventRoutes(), s.explainRoutes(), s.traceRoutes(), s.fileRoutes(), s.hostRoutes(), s.endpointRoutes(), s.findingRoutes(), s.packageRoutes(), s.actionRoutes(), s.ruleRoutes(), s.budgetRoutes(), s.replayRoutes(), s.systemRoutes(), s.peopleRoutes(), s.ledgerRoutes()} {
		routes = append(routes, part...)
	}
	return routes
}

// me says who asks.
type me struct {
	Identity
	Actor   string `json:"actor"`
	Session string `json:"session,omitempty"`
	CSRF    string `json:"csrf,omitempty" doc:"to send as X-CSRF-Token with what changes something"`
}

func meOf(c Caller) me {
	return me{Identity: c.Identity, Actor: c.Actor(), Session: c.Session, CSRF: c.CSRF}
}

// signedIn is the state of the browser's sign-in.
type signedIn struct {
	SignedIn bool      `json:"signed_in"`
	Me       *me       `json:"me,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
}

type credentialsBody struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

type linkBody struct {
	Link     string `json:"link" doc:"secret of the one-time link"`
	Password string `json:"password,omitempty" doc:"new password; may be left out by who has one"`
}

type passwordBody struct {
	Current  string `json:"current"`
	Password string `json:"password"`
}

func started(ses Session) signedIn {
	m := meOf(Caller{Identity: ses.Identity, Session: ses.ID, CSRF: csrfOf(ses.Token)})
	return signedIn{SignedIn: true, Me: &m, Expires: ses.Expires}
}

func (s *Server) sessionRoutes() []Route {
	return []Route{
		call(get, v1+"/me", RoleViewer, says{id: "me", summary: "Who asks", tag: "sign-in"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (me, error) {
				return meOf(CallerFrom(r.Context())), nil
			}),
		call(get, v1+"/session", RoleNone, says{id: "signInState", summary: "Whether the browser is signed in", tag: "sign-in"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (signedIn, error) {
				c := CallerFrom(r.Context())
				if c.Role == RoleNone {
					return signedIn{}, nil
				}
				m := meOf(c)
				return signedIn{SignedIn: true, Me: &m}, nil
			}),
		call(post, v1+"/session", RoleNone, says{id: "signIn", summary: "Sign in with name and password; sets the session cookie", tag: "sign-in"},
			func(r *http.Request, w http.ResponseWriter, in struct {
				Body credentialsBody `body:"json"`
			}) (signedIn, error) {
				ses, err := s.SignIn(w, r, in.Body.Name, in.Body.Password)
				if err != nil {
					return signedIn{}, err
				}
				return started(ses), nil
			}),
		call(post, v1+"/session/link", RoleNone, says{id: "redeemLink", summary: "Use up a one-time link; sets the session cookie", tag: "sign-in"},
			func(r *http.Request, w http.ResponseWriter, in struct {
				Body linkBody `body:"json"`
			}) (signedIn, error) {
				ses, err := s.Redeem(w, r, in.Body.Link, in.Body.Password)
				if err != nil {
					return signedIn{}, err
				}
				return started(ses), nil
			}),
		call(put, v1+"/session/password", RoleViewer, says{id: "changePassword", summary: "Change one's own password; ends all of one's other sessions", tag: "sign-in"},
			func(r *http.Request, w http.ResponseWriter, in struct {
				Body passwordBody `body:"json"`
			}) (signedIn, error) {
				ses, err := s.ChangePassword(w, r, in.Body.Current, in.Body.Password)
				if err != nil {
					return signedIn{}, err
				}
				return started(ses), nil
			}),
		call(del, v1+"/session", RoleViewer, says{id: "signOut", summary: "Sign out", tag: "sign-in"},
			func(r *http.Request, w http.ResponseWriter, _ nothing) (nothing, error) {
				return nothing{}, s.SignOut(w, r)
			}),
	}
}
