package ui

import (
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// cause is why an event got its verdict, for one line of a list.
type cause struct {
	Kind string // firewall, api, rule, edge or habit: who says so
	Text string
	In   string // where in the request or its answer, in words
	More int    // things that the same one found besides
}

// String is the cause as one text.
func (c cause) String() string {
	s := c.Text
	if c.In != "" {
		s = c.In + ": " + s
	}
	if c.More > 0 {
		s += ", and " + num(c.More) + " more"
	}
	return s
}

// causeOf says why an event got its verdict. A request is judged by the rules of policy, many of which go by what the firewall
// or the guard of APIs found: then that is the cause, and not the rule that read it.
func causeOf(e *signal.Event, r *row) cause {
	reason := trimAsked(r)
	if e.Class != signal.ClassHTTPActivity || e.Plane != signal.PlaneEdge {
		return policyCause(r, reason)
	}
	wall, guard := firewallCause(e), guardCause(e)
	rule := ""
	if len(r.Rules) > 0 {
		rule = r.Rules[0]
	}
	says := func(c cause, prefix string) bool {
		return c.Text != "" && (strings.HasPrefix(rule, prefix) || reason != "" && strings.Contains(reason, c.Text))
	}
	// An attack says more than the form that it came in, whichever of the two refused it.
	attack := wall.Text != "" && slices.ContainsFunc(e.Strings(signal.FieldVerdictRules), func(id string) bool { return strings.HasPrefix(id, "edge-waf-attack") })
	switch {
	case r.Fault != "" && rule == "" && reason == "":
		return cause{Kind: "edge", Text: faultWord(r.Fault)}
	case attack:
		return wall
	case says(guard, "edge-api-"):
		return guard
	case says(wall, "edge-waf-attack"):
		return wall
	case rule != "" || reason != "":
		return policyCause(r, reason)
	case guard.Text != "":
		return guard
	case wall.Text == "":
		return habitCause(e)
	}
	return wall
}

// habitCause is how a request differs from what others send, where nothing else is known against it.
func habitCause(e *signal.Event) cause {
	all := e.Strings(signal.FieldHabitUnusual)
	if len(all) == 0 {
		return cause{}
	}
	return cause{Kind: "habit", Text: all[0], More: len(all) - 1}
}

func policyCause(r *row, reason string) cause {
	switch {
	case reason != "":
		return cause{Kind: "rule", Text: reason}
	case len(r.Rules) > 0:
		return cause{Kind: "rule", Text: strings.Join(r.Rules, ", ")}
	case r.Fault != "":
		return cause{Kind: "edge", Text: faultWord(r.Fault)}
	}
	return cause{}
}

// trimAsked is the reason without the request at its beginning, which a list shows beside it.
func trimAsked(r *row) string {
	path, _, _ := strings.Cut(r.Path, "?")
	if r.Method == "" || path == "" {
		return r.Reason
	}
	if rest, ok := strings.CutPrefix(r.Reason, r.Method+" "+path); ok && rest != "" && (rest[0] == ' ' || rest[0] == ':') {
		return strings.TrimLeft(rest, ": ")
	}
	return r.Reason
}

// firewallCause is what the firewall found, the most telling first: what only says how HTTP was used is no attack yet.
func firewallCause(e *signal.Event) cause {
	all := matchesOf(e)
	if len(all) == 0 {
		if fault := e.RecordedStr(signal.FieldWAFError); fault != "" {
			return cause{Kind: "firewall", Text: "could not judge: " + fault}
		}
		return cause{}
	}
	at := slices.IndexFunc(all, func(m wafMatch) bool { return m.Message != "" && !strings.HasPrefix(m.ID, "920") })
	m := all[max(at, 0)]
	c := cause{Kind: "firewall", Text: m.Message, In: firewallWhere(m.Target), More: len(all) - 1}
	if c.Text == "" {
		c.Text = "rule " + m.ID
	}
	return c
}

// guardCause is what the guard of APIs found.
func guardCause(e *signal.Event) cause {
	found := foundOf(e)
	if len(found) == 0 {
		if fault := e.RecordedStr(signal.FieldAPIError); fault != "" {
			return cause{Kind: "api", Text: "could not be checked: " + fault}
		}
		return cause{}
	}
	c := cause{Kind: "api", Text: found[0].Message, In: found[0].Where, More: len(found) - 1}
	if c.Text == "" {
		c.Text = found[0].Code
	}
	return c
}

// firewallNames are the firewall's collections in words; with a name behind them where there is one.
var firewallNames = map[string]string{
	"ARGS": "parameter", "ARGS_GET": "parameter", "ARGS_POST": "parameter", "ARGS_PATH": "parameter", "ARGS_NAMES": "the name of parameter", "ARGS_GET_NAMES": "the name of parameter",
	"ARGS_POST_NAMES": "the name of parameter", "REQUEST_HEADERS": "header", "REQUEST_HEADERS_NAMES": "the name of header", "REQUEST_COOKIES": "cookie", "REQUEST_COOKIES_NAMES": "the name of cookie",
	"RESPONSE_HEADERS": "answer header", "FILES": "upload", "FILES_NAMES": "upload", "MULTIPART_PART_HEADERS": "a header of part",
}

// firewallWholes are variables of the firewall that have no parts.
var firewallWholes = map[string]string{
	"REQUEST_BODY": "the body", "REQUEST_URI": "the address", "REQUEST_URI_RAW": "the address", "REQUEST_FILENAME": "the path", "REQUEST_BASENAME": "the path", "REQUEST_LINE": "the request line",
	"QUERY_STRING": "the query", "REQUEST_METHOD": "the method", "REQUEST_PROTOCOL": "the protocol", "RESPONSE_BODY": "the answer", "RESPONSE_STATUS": "the status", "REMOTE_ADDR": "the address of the client",
	"REQBODY_ERROR": "the body", "MULTIPART_STRICT_ERROR": "the form", "FILES_COMBINED_SIZE": "the uploads", "ARGS_COMBINED_SIZE": "the parameters",
}

// firewallWhere says in words what a target of the firewall is, as in ARGS:q; what it does not know stays as it is.
func firewallWhere(target string) string {
	kind, name, named := strings.Cut(target, ":")
	if kind == "XML" {
		return "the XML"
	}
	if word := firewallNames[kind]; word != "" && named && name != "" {
		return word + " " + name
	}
	if word := firewallWholes[kind]; word != "" {
		return word
	}
	return target
}

// apiFound is one thing that the guard of APIs found.
type apiFound struct{ Code, Message, Target, Where string }

// foundOf returns what the guard found in a request, or in an answer.
func foundOf(e *signal.Event) []apiFound {
	codes, messages, targets := e.Strings(signal.FieldAPIViolations), e.Strings(signal.FieldAPIMessages), e.Strings(signal.FieldAPITargets)
	out := make([]apiFound, len(codes))
	for i, code := range codes {
		out[i].Code = code
		if i < len(messages) {
			out[i].Message = messages[i]
		}
		if i < len(targets) {
			out[i].Target, out[i].Where = targets[i], guardWhere(code, targets[i])
		}
	}
	return out
}

// saysOf is what the guard found as a sentence.
func saysOf(found []apiFound) string {
	parts := make([]string, len(found))
	for i, f := range found {
		parts[i] = cause{Text: f.Message, In: f.Where}.String()
	}
	return "The API does not allow it: " + strings.Join(parts, "; ") + "."
}

// guardWhere says in words where the guard found something. What it checked tells what a name is of.
func guardWhere(code, target string) string {
	check, _, _ := strings.Cut(code, "/")
	switch {
	case target == "":
		return ""
	case slices.Contains([]string{"path", "method", "body", "query"}, target):
		return "the " + target
	case strings.HasPrefix(target, "/"):
		return "field " + target
	case strings.HasPrefix(target, "query "):
		return "parameter " + target[len("query "):]
	case strings.Contains(target, " "):
		return target
	case check == "query":
		return "parameter " + target
	case check == "path":
		return "path parameter " + target
	case check == "header" || check == "cookie":
		return check + " " + target
	}
	return target
}

// guardFacts is what the guard of APIs knows of a request.
func guardFacts(e *signal.Event) []fact {
	var facts []fact
	add := func(name string, f signal.Field) {
		if v := e.RecordedStr(f); v != "" {
			facts = append(facts, fact{Name: name, Value: clip(maxFact, v)})
		}
	}
	add("Operation", signal.FieldAPIOperation)
	add("Document", signal.FieldAPIServiceName)
	switch auth := e.RecordedStr(signal.FieldAPIAuth); auth {
	case "":
	case "none":
		facts = append(facts, fact{Name: "Credentials", Value: "none"})
	default:
		facts = append(facts, fact{Name: "Credentials", Value: strings.Replace(auth, "other", "of a kind that is not looked into", 1)})
	}
	add("Subject", signal.FieldAPISubject)
	if kinds := e.Strings(signal.FieldAPISensitive); len(kinds) > 0 {
		facts = append(facts, fact{Name: "Sensitive data", Items: kinds})
	}
	add("Not checked", signal.FieldAPIError)
	return facts
}
