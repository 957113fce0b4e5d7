package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/detect/personal"
	"github.com/testudo-sec/testudo/edge/api/graphql"
	"github.com/testudo-sec/testudo/edge/api/grpc"
	"github.com/testudo-sec/testudo/edge/api/grpc/reflection"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/owner"
	"github.com/testudo-sec/testudo/edge/api/token"
	"github.com/testudo-sec/testudo/edge/habit"
	"github.com/testudo-sec/testudo/internal/bytesize"
)

// Mode says what becomes of what a check finds.
type Mode string

// The modes of a check.
const (
	Off    Mode = "off"    // it is not looked for
	Report Mode = "report" // it is told
	Block  Mode = "block"  // it is told, and what it is found in is refused
	Mask   Mode = "mask"   // of data in responses: it is told, and made unreadable on its way
	Auto   Mode = "auto"   // of bodies that could not be held to the document: see Route.Unchecked
)

// Config says how APIs are guarded.
type Config struct {
	// Default is how routes are guarded that are not named below.
	Default Route `yaml:"default"`
	// Routes are routes of the edge by their names, each over the defaults of testudo, not over those above.
	Routes []Route `yaml:"routes"`
	// Inventory bounds what is learned of endpoints.
	Inventory inventory.Config `yaml:"inventory"`
	// Habits bounds what is learned of parameters.
	Habits habit.Config `yaml:"habits"`
	// Objects bounds what is remembered of who reaches what.
	Objects owner.Config `yaml:"objects"`
	// Unused is how long a documented endpoint may rest before it is told of.
	Unused time.Duration `yaml:"unused"`
	// Settle is how long an endpoint is known before what is new of it is told of.
	Settle time.Duration `yaml:"settle"`
}

// Route says how one route is guarded.
type Route struct {
	// Route is the name of the edge's route.
	Route string `yaml:"route"`
	// Inventory learns the route's endpoints from its traffic.
	Inventory bool `yaml:"inventory"`
	// Habits learns what is normal for each parameter, and has events say how a request differs from that.
	Habits bool `yaml:"habits"`
	// Document is an OpenAPI document, 3.0 or later, in YAML or JSON. It may refer to files beside it.
	Document string `yaml:"document"`
	// Bases are what the document's paths stand under, in place of what its servers say: "" or "/api/v2".
	Bases []string `yaml:"bases"`
	// Undocumented is about paths and methods that the document does not know.
	Undocumented Mode `yaml:"undocumented"`
	// Requests holds parameters and bodies to the document.
	Requests Mode `yaml:"requests"`
	// Unchecked is about bodies of requests that could not be held to the document: longer than Bodies, in an unknown coding, too deep. Auto blocks JSON and forms where
	// Requests blocks, or who pads a body would have nothing checked, and reports others, such as files that are sent.
	Unchecked Mode `yaml:"unchecked"`
	// AnyQuery takes parameters of the query that the document does not name.
	AnyQuery bool `yaml:"any_query"`
	// Responses holds answers to the document.
	Responses Mode `yaml:"responses"`
	// Tokens holds the JSON Web Tokens of requests to their issuers.
	Tokens Tokens `yaml:"tokens"`
	// GraphQL bounds what GraphQL requests ask for.
	GraphQL GraphQL `yaml:"graphql"`
	// GRPC holds gRPC calls to descriptors.
	GRPC GRPC `yaml:"grpc"`
	// Objects is about one subject that walks through the objects of others.
	Objects Mode `yaml:"objects"`
	// Assignment is about fields of requests that nobody should set.
	Assignment Mode `yaml:"assignment"`
	// Exposure is about responses that give more than they do otherwise. Block refuses those of unusual size; fields that the document does not know are told of only.
	Exposure Mode `yaml:"exposure"`
	// Authentication is about endpoints that answer without credentials, against their custom. It is known when the answer is there: block has it told only.
	Authentication Mode `yaml:"authentication"`
	// Bypass is about overrides of method and address, and paths that another server reads as another endpoint.
	Bypass Mode `yaml:"bypass"`
	// SessionCookie is the cookie that says who asks, where no token does. Empty: the Authorization header, or a cookie whose name says session, token or auth.
	SessionCookie string `yaml:"session_cookie"`
	// Leaks looks for data in responses that should not leave.
	Leaks Leaks `yaml:"leaks"`
	// Bodies is how much of a body is looked at; the route's inspect_limit bounds it too. Masks have no such bound.
	Bodies bytesize.Size `yaml:"bodies"`
}

// Tokens says which tokens a route takes.
type Tokens struct {
	// Mode is what becomes of a request whose token is not as it should be.
	Mode Mode `yaml:"mode"`
	// ByDocument asks for no token where the document asks for no credentials, and for its scopes where it names them.
	ByDocument bool `yaml:"by_document"`
	// Verify says who makes tokens, and what they must hold.
	Verify token.Config `yaml:"verify"`
}

// GraphQL bounds what a GraphQL request may ask for. 0 means no bound.
type GraphQL struct {
	// Mode is what becomes of a request beyond the bounds.
	Mode Mode `yaml:"mode"`
	// Path is where GraphQL requests go to.
	Path string `yaml:"path"`
	// Schema is a file in the schema definition language; fields that it does not know are violations.
	Schema string `yaml:"schema"`
	// Introspection lets requests ask about the schema.
	Introspection bool `yaml:"introspection"`
	// Depth bounds how far fields stand within each other.
	Depth int `yaml:"depth"`
	// Cost bounds how many fields the answer would have, lists counted by their length.
	Cost int `yaml:"cost"`
	// Aliases bounds fields under another name, in all.
	Aliases int `yaml:"aliases"`
	// RootFields bounds the fields of the operation itself.
	RootFields int `yaml:"root_fields"`
	// Directives bounds the directives of the text.
	Directives int `yaml:"directives"`
	// Batch bounds the operations of one request.
	Batch int `yaml:"batch"`
	// ListSize is what a list counts whose length is not said.
	ListSize int `yaml:"list_size"`
	// Persisted takes requests that name their text by a digest only.
	Persisted bool `yaml:"persisted"`
}

// GRPC holds gRPC calls to descriptors.
type GRPC struct {
	// Mode is what becomes of a call that is not as described.
	Mode Mode `yaml:"mode"`
	// Descriptors is a file with a FileDescriptorSet and all that it imports, as protoc and buf make it, or grpcurl of a server with reflection.
	Descriptors string `yaml:"descriptors"`
	// Reflection is a server that is asked for its descriptors instead: http://host:port without TLS, or https://host:port. It must serve reflection; calls cannot be checked until
	// it has answered.
	Reflection reflection.Target `yaml:"reflection"`
	// Message bounds one message, in bytes.
	Message bytesize.Size `yaml:"message"`
	// Messages bounds the messages of a call, as far as they are looked at.
	Messages int `yaml:"messages"`
}

// Leaks looks for data in responses.
type Leaks struct {
	// Mode is what becomes of a response with such data: off, report, mask, or block.
	Mode Mode `yaml:"mode"`
	// Alert are the kinds or groups that are violations; the others are recorded only.
	Alert []string `yaml:"alert"`
	// Find says what is looked for.
	Find personal.Config `yaml:"find"`
}

// Default returns a Config under which every route is learned of and reported on, and nothing is blocked.
func Default() Config {
	return Config{Default: DefaultRoute(), Inventory: inventory.Default(), Habits: habit.Default(), Objects: owner.Default(), Unused: 30 * 24 * time.Hour, Settle: 3 * 24 * time.Hour}
}

// DefaultRoute returns how a route is guarded that nobody said anything of.
func DefaultRoute() Route {
	q := graphql.DefaultLimits()
	return Route{
		Tokens:    Tokens{Mode: Off, Verify: token.Default()},
		GraphQL:   GraphQL{Mode: Off, Path: "/graphql", Depth: q.Depth, Cost: q.Cost, Aliases: q.Aliases, RootFields: q.RootFields, Directives: q.Directives, Batch: q.Batch, ListSize: 10},
		GRPC:      GRPC{Mode: Off, Message: 4 * bytesize.MiB, Messages: 1000},
		Inventory: true, Habits: true, Undocumented: Report, Requests: Block, Unchecked: Auto, Responses: Report, Objects: Report, Assignment: Report, Exposure: Report, Authentication: Report, Bypass: Report,
		Leaks: Leaks{Mode: Report, Alert: []string{personal.Card, personal.Secret, personal.Trace}, Find: personal.Default()}, Bodies: 128 * bytesize.KiB,
	}
}

// UnmarshalYAML reads a route over the defaults.
func (r *Route) UnmarshalYAML(decode func(any) error) error {
	type plain Route
	*r = DefaultRoute()
	return decode((*plain)(r))
}

func (g *GraphQL) limits() graphql.Limits {
	return graphql.Limits{Depth: g.Depth, Cost: g.Cost, Aliases: g.Aliases, RootFields: g.RootFields, Directives: g.Directives, Batch: g.Batch, ListSize: g.ListSize,
		Introspection: g.Introspection, Persisted: g.Persisted}
}

func (g *GRPC) limits() grpc.Limits {
	return grpc.Limits{Message: int(g.Message), Messages: g.Messages}
}

// Validate reports what is wrong with a Config, all of it.
func (c *Config) Validate() error {
	errs := []error{c.Inventory.Validate(), c.Habits.Validate(), c.Objects.Validate(), c.Default.validate("default")}
	if c.Default.Route != "" || c.Default.Document != "" {
		errs = append(errs, errors.New("default: it is of routes without a name here: give no route and no document"))
	}
	if c.Unused < 0 || c.Settle < 0 {
		errs = append(errs, errors.New("unused, settle: want 0 or more"))
	}
	seen := map[string]bool{}
	for i := range c.Routes {
		r := &c.Routes[i]
		where := fmt.Sprintf("routes[%d] (%s)", i, r.Route)
		if r.Route == "" {
			errs = append(errs, fmt.Errorf("%s: route: name one of the edge's routes", where))
		}
		if seen[r.Route] {
			errs = append(errs, fmt.Errorf("%s: the route is named twice", where))
		}
		seen[r.Route] = true
		errs = append(errs, r.validate(where))
	}
	return errors.Join(errs...)
}

func (r *Route) validate(where string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(where+": "+format, args...)) }
	mode := func(name string, m Mode, more ...Mode) {
		if m != Off && m != Report && m != Block && !slices.Contains(more, m) {
			bad("%s: %q: want off, report or block", name, m)
		}
	}
	mode("undocumented", r.Undocumented)
	mode("requests", r.Requests)
	mode("unchecked", r.Unchecked, Auto)
	mode("responses", r.Responses)
	mode("objects", r.Objects)
	mode("assignment", r.Assignment)
	mode("exposure", r.Exposure)
	mode("authentication", r.Authentication)
	mode("bypass", r.Bypass)
	mode("leaks.mode", r.Leaks.Mode, Mask)
	if err := r.Leaks.Find.Validate(); err != nil {
		bad("leaks.find: %v", err)
	}
	if err := known(r.Leaks.Alert); err != nil {
		bad("leaks.alert: %v", err)
	}
	if r.SessionCookie != "" && !isCookieName(r.SessionCookie) {
		bad("session_cookie: %q is no name of a cookie", r.SessionCookie)
	}
	if r.Bodies < 1 || r.Bodies > maxBodies {
		bad("bodies: want 1 byte to %v", maxBodies)
	}
	if len(r.Bases) > 0 && r.Document == "" {
		bad("bases: there is no document")
	}
	for _, b := range r.Bases {
		if b != "" && !strings.HasPrefix(b, "/") {
			bad("bases: %q does not begin with /", b)
		}
	}
	mode("tokens.mode", r.Tokens.Mode)
	if t := &r.Tokens; t.Mode != Off {
		if t.ByDocument && r.Document == "" {
			bad("tokens.by_document: there is no document")
		}
		if err := t.Verify.Validate(); err != nil {
			bad("tokens.verify: %v", err)
		}
		if len(t.Verify.Issuers) == 0 {
			bad("tokens.verify.issuers: name those whose tokens are taken")
		}
	}
	mode("graphql.mode", r.GraphQL.Mode)
	if g := &r.GraphQL; g.Mode != Off {
		if !strings.HasPrefix(g.Path, "/") {
			bad("graphql.path: %q does not begin with /", g.Path)
		}
		if min(g.Depth, g.Cost, g.Aliases, g.RootFields, g.Directives, g.Batch, g.ListSize) < 0 {
			bad("graphql: a bound is less than 0")
		}
	}
	mode("grpc.mode", r.GRPC.Mode)
	if g := &r.GRPC; g.Mode != Off {
		if (g.Descriptors == "") == (g.Reflection == "") {
			bad("grpc: name descriptors, a file, or reflection, a server")
		}
		if g.Reflection != "" {
			if err := g.Reflection.Validate(); err != nil {
				bad("grpc.reflection: %v", err)
			}
		}
		if g.Message < 1 || g.Messages < 1 {
			bad("grpc: message and messages must be more than 0")
		}
	}
	return errors.Join(errs...)
}

// maxBodies bounds Route.Bodies: it is held in memory.
const maxBodies = 16 * bytesize.MiB

// known says which of these are neither kinds nor groups of data.
func known(names []string) error {
	for _, n := range names {
		if !slices.ContainsFunc(personal.Kinds(), func(k *personal.Kind) bool { return k.ID == n || k.Group == n }) {
			return fmt.Errorf("%q is neither a kind nor a group of data", n)
		}
	}
	return nil
}
