package console

import (
	"net/http"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

type findingsIn struct {
	State    signal.FindingState `query:"state" doc:"where it stands"`
	Severity signal.Severity     `query:"severity" doc:"at least"`
	Kind     signal.FindingKind  `query:"kind" doc:"sort of weakness"`
	Plane    signal.Plane        `query:"plane" doc:"where it was seen"`
	Rule     string              `query:"rule" doc:"id of the rule"`
	Asset    string              `query:"asset" doc:"id of the asset"`
	Text     string              `query:"text" doc:"text in title, path, rule, any case"`
	Cursor   string              `query:"cursor" doc:"next of the page before"`
	Limit    int                 `query:"limit" default:"50" min:"1" max:"500" doc:"items of a page"`
}

type findingStateIn struct {
	ID   string `path:"id" doc:"id of the finding"`
	Body struct {
		State signal.FindingState `json:"state"`
		Note  string              `json:"note,omitempty" doc:"why, for the ledger"`
	} `body:"json"`
}

func (s *Server) findingRoutes() []Route {
	return []Route{
		call(get, v1+"/findings", RoleViewer, says{id: "listFindings", summary: "Findings by severity, then last seen", tag: "findings"},
			func(r *http.Request, _ http.ResponseWriter, in findingsIn) (Page[signal.Finding], error) {
				if s.sources.Findings == nil {
					return Page[signal.Finding]{}, unavailable("findings")
				}
				return s.sources.Findings.Findings(r.Context(), FindingQuery(in))
			}),
		call(get, v1+"/findings/{id}", RoleViewer, says{id: "getFinding", summary: "One finding with its evidence and how to mend it", tag: "findings"},
			func(r *http.Request, _ http.ResponseWriter, in idIn) (signal.Finding, error) {
				if s.sources.Findings == nil {
					return signal.Finding{}, unavailable("findings")
				}
				return s.sources.Findings.Finding(r.Context(), in.ID)
			}),
		call(put, v1+"/findings/{id}/state", RoleOperator, says{id: "setFindingState", summary: "Open, resolve or mute a finding", tag: "findings"},
			func(r *http.Request, _ http.ResponseWriter, in findingStateIn) (signal.Finding, error) {
				return s.desk.SetFindingState(r.Context(), in.ID, in.Body.State, in.Body.Note)
			}),
	}
}

type actionsIn struct {
	State  signal.ActionState `query:"state" doc:"where it stands"`
	Kind   string             `query:"kind" doc:"responder, as in block"`
	Target string             `query:"target" doc:"what it acts on, whole"`
	Cursor string             `query:"cursor" doc:"next of the page before"`
	Limit  int                `query:"limit" default:"50" min:"1" max:"500" doc:"items of a page"`
}

// OrderBody is an Order in the API's form.
type OrderBody struct {
	Kind   string    `json:"kind" doc:"responder: block"`
	Target string    `json:"target" doc:"an address or prefix"`
	For    Duration  `json:"for,omitempty" doc:"time limit, as in 10m; left out, the responder's default"`
	Reason string    `json:"reason,omitempty" doc:"why, for the ledger"`
	Event  signal.ID `json:"event,omitzero" doc:"id of the event that led to it"`
	Force  bool      `json:"force,omitempty" doc:"insist on a protected target, where the preview says that it may be forced"`
}

func (b OrderBody) order() Order {
	return Order{Kind: b.Kind, Target: b.Target, For: time.Duration(b.For), Reason: b.Reason, Event: b.Event, Force: b.Force}
}

type orderIn struct {
	Body OrderBody `body:"json"`
}

type undoIn struct {
	ID   string `path:"id" doc:"id of the action"`
	Body struct {
		Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
	} `body:"json"`
}

func (s *Server) actionRoutes() []Route {
	return []Route{
		call(get, v1+"/actions", RoleViewer, says{id: "listActions", summary: "Actions, newest first", tag: "actions"},
			func(r *http.Request, _ http.ResponseWriter, in actionsIn) (Page[signal.Action], error) {
				if s.sources.Actions == nil {
					return Page[signal.Action]{}, unavailable("actions")
				}
				return s.sources.Actions.Actions(r.Context(), ActionQuery(in))
			}),
		call(get, v1+"/actions/{id}", RoleViewer, says{id: "getAction", summary: "One action", tag: "actions"},
			func(r *http.Request, _ http.ResponseWriter, in idIn) (signal.Action, error) {
				if s.sources.Actions == nil {
					return signal.Action{}, unavailable("actions")
				}
				return s.sources.Actions.Action(r.Context(), in.ID)
			}),
		call(post, v1+"/actions/preview", RoleOperator, says{id: "previewAction", summary: "What an action would touch; does nothing", tag: "actions"},
			func(r *http.Request, _ http.ResponseWriter, in orderIn) (Preview, error) {
				return s.desk.Preview(r.Context(), in.Body.order())
			}),
		call(post, v1+"/actions", RoleOperator, says{id: "orderAction", summary: "Have an action done; a protected target gives one in state refused", tag: "actions", status: http.StatusCreated},
			func(r *http.Request, _ http.ResponseWriter, in orderIn) (signal.Action, error) {
				return s.desk.Order(r.Context(), in.Body.order())
			}),
		call(post, v1+"/actions/{id}/undo", RoleOperator, says{id: "undoAction", summary: "Lift an action before its time", tag: "actions"},
			func(r *http.Request, _ http.ResponseWriter, in undoIn) (signal.Action, error) {
				return s.desk.Undo(r.Context(), in.ID, in.Body.Reason)
			}),
	}
}

type checkRuleIn struct {
	Body struct {
		Text string `json:"text" doc:"YAML of one or more rules"`
	} `body:"json"`
}

func (s *Server) ruleRoutes() []Route {
	return []Route{
		call(get, v1+"/rules", RoleViewer, says{id: "listRules", summary: "The rules in force, by id, without their text", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Page[Rule], error) {
				if s.sources.Rules == nil {
					return Page[Rule]{}, unavailable("rules")
				}
				all, err := s.sources.Rules.Rules(r.Context())
				return Page[Rule]{Items: all}, err
			}),
		call(get, v1+"/rules/{id}", RoleViewer, says{id: "getRule", summary: "One rule with its text and tests", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, in idIn) (Rule, error) {
				if s.sources.Rules == nil {
					return Rule{}, unavailable("rules")
				}
				return s.sources.Rules.Rule(r.Context(), in.ID)
			}),
		call(get, v1+"/ruleset", RoleViewer, says{id: "getRuleSet", summary: "State of the rules as a whole, and what was wrong with the last reload", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (RuleSet, error) {
				if s.sources.Rules == nil {
					return RuleSet{}, unavailable("rules")
				}
				return s.sources.Rules.RuleSet(r.Context())
			}),
		call(post, v1+"/ruleset/check", RoleOperator, says{id: "checkRule", summary: "Compile rule text and run its tests; puts nothing in force", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, in checkRuleIn) (RuleReport, error) {
				return s.desk.CheckRule(r.Context(), in.Body.Text)
			}),
		call(post, v1+"/ruleset/test", RoleOperator, says{id: "testRules", summary: "Run the tests of all rules in force", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (RuleReport, error) {
				return s.desk.TestRules(r.Context(), "")
			}),
		call(post, v1+"/rules/{id}/test", RoleOperator, says{id: "testRule", summary: "Run the tests of one rule in force", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, in idIn) (RuleReport, error) {
				return s.desk.TestRules(r.Context(), in.ID)
			}),
		call(post, v1+"/ruleset/reload", RoleAdmin, says{id: "reloadRules", summary: "Read the rules folder anew, all or nothing", tag: "rules"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (RuleSet, error) {
				return s.desk.ReloadRules(r.Context())
			}),
	}
}

func (s *Server) systemRoutes() []Route {
	return []Route{
		call(get, v1+"/overview", RoleViewer, says{id: "overview", summary: "What is happening now", tag: "system"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Overview, error) {
				return s.Overview(r.Context())
			}),
		call(get, v1+"/system", RoleViewer, says{id: "system", summary: "How the node runs", tag: "system"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (System, error) {
				if s.sources.System == nil {
					return System{}, unavailable("a system view")
				}
				return s.sources.System.System(r.Context())
			}),
		call(get, v1+"/doctor", RoleOperator, says{id: "doctor", summary: "What the machine can and cannot do, looked at anew", tag: "system"},
			func(r *http.Request, _ http.ResponseWriter, _ nothing) (Page[Check], error) {
				all, err := s.desk.Doctor(r.Context())
				return Page[Check]{Items: all}, err
			}),
	}
}
