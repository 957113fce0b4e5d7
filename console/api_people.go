package console

import (
	"net/http"
	"time"
)

type linkIn struct {
	Body struct {
		Name string `json:"name" doc:"whom the link signs in; made where not there yet"`
		Role Role   `json:"role,omitempty" doc:"of a new person; who exists keeps theirs"`
	} `body:"json"`
}

type roleIn struct {
	Name string `path:"name" doc:"name of the person"`
	Body struct {
		Role Role `json:"role"`
	} `body:"json"`
}

type nameIn struct {
	Name string `path:"name" doc:"name of the person"`
}

type tokenIn struct {
	Body struct {
		Name string   `json:"name" doc:"what the token is for"`
		Role Role     `json:"role"`
		TTL  Duration `json:"ttl" doc:"how long it is good, as in 90d"`
	} `body:"json"`
}

// issued is a token with its secret, which is shown this once.
type issued struct {
	Token  Token  `json:"token"`
	Secret string `json:"secret"`
}

func (s *Server) peopleRoutes() []Route {
	return []Route{
		call(get, v1+"/people", RoleAdmin, says{id: "listPeople", summary: "Who may sign in", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Page[Person], error) {
				if s.sources.People == nil {
					return Page[Person]{}, unavailable("people")
				}
				all, err := s.sources.People.People(r.Context())
				return Page[Person]{Items: all}, err
			}),
		call(post, v1+"/people", RoleAdmin, says{id: "invite", summary: "Make a one-time sign-in link", tag: "people", status: http.StatusCreated},
			func(r *http.Request, _ http.ResponseWriter, in linkIn) (Invitation, error) {
				if in.Body.Role == RoleNone {
					in.Body.Role = RoleViewer
				}
				return s.desk.Invite(r.Context(), in.Body.Name, in.Body.Role)
			}),
		call(post, v1+"/console/link", RoleAdmin, says{id: "consoleLink", summary: "Make a one-time sign-in link for the admin of this machine", tag: "people", status: http.StatusCreated},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Invitation, error) {
				return s.desk.Invite(r.Context(), LocalAdmin, RoleAdmin)
			}),
		call(put, v1+"/people/{name}/role", RoleAdmin, says{id: "setRole", summary: "Change what a person may do", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, in roleIn) (nothing, error) {
				return nothing{}, s.desk.SetRole(r.Context(), in.Name, in.Body.Role)
			}),
		call(del, v1+"/people/{name}", RoleAdmin, says{id: "removePerson", summary: "Remove a person, their sessions and links", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, in nameIn) (nothing, error) {
				return nothing{}, s.desk.RemovePerson(r.Context(), in.Name)
			}),
		call(get, v1+"/sessions", RoleViewer, says{id: "listSessions", summary: "Open sessions: one's own, for admins everybody's", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Page[SessionView], error) {
				all, err := s.desk.Sessions(r.Context())
				return Page[SessionView]{Items: all}, err
			}),
		call(del, v1+"/sessions/{id}", RoleViewer, says{id: "endSession", summary: "End a session: one's own, for admins anybody's", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, in idIn) (nothing, error) {
				return nothing{}, s.desk.EndSession(r.Context(), in.ID)
			}),
		call(get, v1+"/tokens", RoleAdmin, says{id: "listTokens", summary: "Bearer tokens, without their secrets", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Page[Token], error) {
				if s.sources.Tokens == nil {
					return Page[Token]{}, unavailable("tokens")
				}
				all, err := s.sources.Tokens.Tokens(r.Context())
				return Page[Token]{Items: all}, err
			}),
		call(post, v1+"/tokens", RoleAdmin, says{id: "issueToken", summary: "Make a bearer token; its secret is shown this once", tag: "people", status: http.StatusCreated},
			func(r *http.Request, _ http.ResponseWriter, in tokenIn) (issued, error) {
				t, secret, err := s.desk.IssueToken(r.Context(), in.Body.Name, in.Body.Role, time.Duration(in.Body.TTL))
				return issued{Token: t, Secret: secret}, err
			}),
		call(del, v1+"/tokens/{id}", RoleAdmin, says{id: "revokeToken", summary: "End a token", tag: "people"},
			func(r *http.Request, _ http.ResponseWriter, in idIn) (nothing, error) {
				return nothing{}, s.desk.RevokeToken(r.Context(), in.ID)
			}),
	}
}

type ledgerIn struct {
	Actor   string `query:"actor" doc:"who did it, whole"`
	Verb    string `query:"verb" doc:"what was done; block chooses block.apply too"`
	Subject string `query:"subject" doc:"what it was done to, whole"`
	Cursor  string `query:"cursor" doc:"next of the page before"`
	Limit   int    `query:"limit" default:"50" min:"1" max:"500" doc:"items of a page"`
}

func (s *Server) ledgerRoutes() []Route {
	return []Route{
		call(get, v1+"/ledger/entries", RoleViewer, says{id: "listLedger", summary: "Ledger entries, newest first", tag: "ledger"},
			func(r *http.Request, _ http.ResponseWriter, in ledgerIn) (Page[LedgerEntry], error) {
				if s.sources.Ledger == nil {
					return Page[LedgerEntry]{}, unavailable("a ledger")
				}
				return s.sources.Ledger.Entries(r.Context(), LedgerQuery(in))
			}),
		call(get, v1+"/ledger/head", RoleViewer, says{id: "ledgerHead", summary: "The newest signed head, to keep elsewhere", tag: "ledger"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (LedgerHead, error) {
				if s.sources.Ledger == nil {
					return LedgerHead{}, unavailable("a ledger")
				}
				return s.sources.Ledger.Head(r.Context())
			}),
		call(get, v1+"/ledger/verify", RoleOperator, says{id: "verifyLedger", summary: "Read the whole ledger and check every entry and head", tag: "ledger"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (LedgerReport, error) {
				if s.sources.Ledger == nil {
					return LedgerReport{}, unavailable("a ledger")
				}
				select {
				case s.proofs <- struct{}{}:
					defer func() { <-s.proofs }()
				default:
					return LedgerReport{}, &LimitedError{RetryAfter: 2 * time.Second}
				}
				return s.sources.Ledger.Verify(r.Context())
			}),
	}
}
