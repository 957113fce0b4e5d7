package console

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// APISource says which endpoints of APIs there are behind the edge, as learned from traffic.
type APISource interface {
	// APIs returns the endpoints that the query chooses, by route, template and method.
	APIs(ctx context.Context, q APIQuery) (APIList, error)
	// API returns one endpoint: ErrNotFound where it is not known.
	API(ctx context.Context, key APIKey) (APIDetail, error)
	// Drift says how routes differ from their documents; of all routes where none is named.
	Drift(ctx context.Context, route string) ([]APIDrift, error)
	// Document is what was learned of a route as an OpenAPI document in JSON: ErrNotFound where nothing was.
	Document(ctx context.Context, route string) ([]byte, error)
}

// APIKey names an endpoint.
type APIKey struct {
	Route    string `json:"route" query:"route" doc:"name of the edge's route"`
	Method   string `json:"method" query:"method" doc:"as in GET"`
	Template string `json:"template" query:"template" doc:"path with its parameters, as in /users/{id}"`
}

// APIQuery chooses endpoints. Zero fields choose all.
type APIQuery struct {
	Route, Method string
	Text          string // in the template, any case
	State         string // one of APIStates
	Sort          string // one of APISorts: before Limit cuts
	Limit         int
}

// What the State of an endpoint can hold.
const (
	APIDocumented      = "documented"
	APILearned         = "learned"     // its route has no document
	APIUnconfirmed     = "unconfirmed" // few asked for it: it is not compared yet
	APIShadow          = "shadow"      // the document does not know it
	APIZombie          = "zombie"      // deprecated and in use
	APIDrifted         = "drifted"     // fields, types, parameters or statuses that the document does not know
	APIUnauthenticated = "unauthenticated"
	APISensitive       = "new-sensitive" // sensitive data that it did not carry before
	APIExposed         = "exposed"       // answered without credentials, and carries sensitive data
)

// APIStates are all of them.
func APIStates() []string {
	return []string{APIDocumented, APILearned, APIUnconfirmed, APIShadow, APIZombie, APIDrifted, APIUnauthenticated, APISensitive, APIExposed}
}

// apiOrder are the states by what asks for attention first.
var apiOrder = [...]string{APIExposed, APIUnauthenticated, APIShadow, APIZombie, APISensitive, APIDrifted, APIDocumented, APILearned, APIUnconfirmed}

// APIRank is the state that an endpoint counts as, which is the one that asks for attention first, and its place among all.
func APIRank(states []string) (state string, rank int) {
	for i, s := range apiOrder {
		if slices.Contains(states, s) {
			return s, i
		}
	}
	return APIUnconfirmed, len(apiOrder) - 1
}

// APISorts are the orders of a list of endpoints; path is that of route, template and method.
func APISorts() []string { return []string{"path", "state", "requests", "first", "last"} }

// SortAPIs puts endpoints, which are ordered by path, into another order of APISorts.
func SortAPIs(all []APIEndpoint, by string) {
	slices.SortStableFunc(all, func(a, b APIEndpoint) int {
		switch by {
		case "state":
			_, x := APIRank(a.State)
			_, y := APIRank(b.State)
			return cmp.Compare(x, y)
		case "requests":
			return cmp.Compare(b.Requests, a.Requests)
		case "first":
			return b.First.Compare(a.First)
		case "last":
			return b.Last.Compare(a.Last)
		}
		return 0
	})
}

// APIList is a list of endpoints.
type APIList struct {
	Items  []APIEndpoint `json:"items"`
	More   int           `json:"more"` // that the query chooses and that are not in it
	Routes []APIRoute    `json:"routes"`
}

// APIRoute is how a route is guarded.
type APIRoute struct {
	Name       string `json:"name"`
	Document   string `json:"document,omitempty"` // file; "" where there is none
	Title      string `json:"title,omitempty"`    // of the document
	Operations int    `json:"operations"`         // that it describes
	Endpoints  int    `json:"endpoints"`          // that were learned
	Drift      int    `json:"drift"`              // differences

	States map[string]int `json:"states,omitempty"` // endpoints by the state that asks for attention first
}

// APIEndpoint is a method of a template. Names in it are of strangers' making, values are not in it.
type APIEndpoint struct {
	APIKey
	State     []string  `json:"state"`
	Requests  uint64    `json:"requests"`
	Succeeded uint64    `json:"succeeded"`
	Callers   int       `json:"callers"` // above 16 an estimate
	Auth      []string  `json:"auth"`    // credentials that were answered with success: none, bearer, basic, cookie NAME, api-key NAME
	Sensitive []string  `json:"sensitive"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

// APIDetail is all that is known of an endpoint.
type APIDetail struct {
	APIEndpoint
	Hosts    []string    `json:"hosts"`
	Statuses []APIStatus `json:"statuses"`
	Fields   []APIField  `json:"fields"` // parameters first
	More     int         `json:"more"`   // fields that are not in it
	Drift    []APIDrift  `json:"drift"`
}

// APIStatus is how often a status was answered.
type APIStatus struct {
	Status int    `json:"status"`
	Count  uint64 `json:"count"`
}

// APIField is a parameter, or a field of a JSON body.
type APIField struct {
	In       string   `json:"in"`   // path, query, request, response
	Name     string   `json:"name"` // of a parameter; a JSON pointer with * for any item
	Types    []string `json:"types"`
	Format   string   `json:"format,omitempty"`
	Required bool     `json:"required"` // in all that was seen
}

// APIDrift is one difference between what is and what the document says, or what was before.
type APIDrift struct {
	APIKey
	Learned string    `json:"learned,omitempty"` // the endpoint's template, where the document has another one
	Kind    string    `json:"kind"`
	Where   string    `json:"where,omitempty"`
	Message string    `json:"message"`
	Since   time.Time `json:"since,omitzero"`
}

type apisIn struct {
	Route  string `query:"route" doc:"name of the edge's route"`
	Method string `query:"method" doc:"as in GET"`
	Text   string `query:"text" doc:"in the template, any case"`
	State  string `query:"state" doc:"documented, learned, unconfirmed, shadow, zombie, drifted, unauthenticated, new-sensitive or exposed"`
	Sort   string `query:"sort" doc:"path, state (what asks for attention first), requests, first or last (the newest first)"`
	Limit  int    `query:"limit" default:"200" min:"1" max:"500" doc:"endpoints in the answer"`
}

type apiRouteIn struct {
	Route string `query:"route" doc:"name of the edge's route"`
}

func (s *Server) endpointRoutes() []Route {
	const tag = "apis"
	source := func() (APISource, error) {
		if s.sources.APIs == nil {
			return nil, unavailable("an inventory of APIs")
		}
		return s.sources.APIs, nil
	}
	return []Route{
		call(get, v1+"/apis", RoleViewer, says{id: "listAPIs", summary: "Endpoints of APIs as learned from traffic, and how they stand to their documents", tag: tag},
			func(r *http.Request, _ http.ResponseWriter, in apisIn) (APIList, error) {
				src, err := source()
				if err != nil {
					return APIList{}, err
				}
				return src.APIs(r.Context(), APIQuery(in))
			}),
		call(get, v1+"/apis/endpoint", RoleViewer, says{id: "getAPI", summary: "One endpoint: parameters, fields, callers, and how it differs from its document", tag: tag},
			func(r *http.Request, _ http.ResponseWriter, in APIKey) (APIDetail, error) {
				src, err := source()
				if err != nil {
					return APIDetail{}, err
				}
				return src.API(r.Context(), in)
			}),
		call(get, v1+"/apis/drift", RoleViewer, says{id: "listAPIDrift", summary: "How routes differ from their documents", tag: tag},
			func(r *http.Request, _ http.ResponseWriter, in apiRouteIn) (Page[APIDrift], error) {
				src, err := source()
				if err != nil {
					return Page[APIDrift]{}, err
				}
				all, err := src.Drift(r.Context(), in.Route)
				return Page[APIDrift]{Items: all}, err
			}),
		call(get, v1+"/apis/document", RoleViewer, says{id: "exportAPI", summary: "What was learned of a route as an OpenAPI 3.1 document", tag: tag},
			func(r *http.Request, _ http.ResponseWriter, in apiRouteIn) (json.RawMessage, error) {
				src, err := source()
				if err != nil {
					return nil, err
				}
				return src.Document(r.Context(), in.Route)
			}),
	}
}
