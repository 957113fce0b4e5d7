package console

import (
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Row is an event as one line of a table.
type Row struct {
	ID       signal.ID       `json:"id"`
	Time     time.Time       `json:"time"`
	Plane    signal.Plane    `json:"plane"`
	Class    string          `json:"class"`
	Severity signal.Severity `json:"severity"`
	Decision signal.Decision `json:"decision"`
	Client   string          `json:"client,omitempty"` // address that asked, or user
	What     string          `json:"what"`             // method and path, program, name: what it is about
	Where    string          `json:"where,omitempty"`  // host or device
	Route    string          `json:"route,omitempty"`
	Status   int64           `json:"status,omitempty"` // HTTP status, of a response
	Rules    []string        `json:"rules,omitempty"`  // that fired
	Reason   string          `json:"reason,omitempty"` // why, in a sentence
	Score    int64           `json:"score,omitempty"`  // of the WAF
	Parent   signal.ID       `json:"parent,omitzero"`  // the event that caused it
}

// RowOf reads an event's recorded form.
func RowOf(e *signal.Event) Row {
	r := Row{
		ID: e.ID, Time: time.Unix(0, e.Time).UTC(), Plane: e.Plane, Class: e.Class.String(), Severity: e.Severity,
		Decision: DecisionOf(e), Route: e.RecordedStr(signal.FieldEdgeRoute), Status: e.Int(signal.FieldHTTPResponseCode),
		Rules: slices.Clone(e.Strings(signal.FieldVerdictRules)), Reason: e.RecordedStr(signal.FieldVerdictReason),
		Score: e.Int(signal.FieldWAFScore), Parent: e.Parent,
	}
	if ip := e.IP(signal.FieldSrcEndpointIP); ip.IsValid() {
		r.Client = ip.String()
	} else {
		r.Client = first(e, signal.FieldActorUserName, signal.FieldUserName)
	}
	switch e.Class {
	case signal.ClassHTTPActivity:
		r.What = strings.TrimSpace(e.RecordedStr(signal.FieldHTTPRequestHTTPMethod) + " " + e.RecordedStr(signal.FieldHTTPRequestURLPath))
		if q := e.RecordedStr(signal.FieldHTTPRequestURLQueryString); q != "" {
			r.What += "?" + q
		}
		r.Where = first(e, signal.FieldHTTPRequestURLHostname, signal.FieldDstEndpointHostname)
	case signal.ClassProcessActivity:
		r.What, r.Where = first(e, signal.FieldProcessCmdLine, signal.FieldProcessFilePath, signal.FieldProcessName), first(e, signal.FieldDeviceHostname)
	case signal.ClassFileActivity:
		r.What, r.Where = first(e, signal.FieldFilePath, signal.FieldFileName), first(e, signal.FieldDeviceHostname)
	case signal.ClassNetworkActivity:
		r.What, r.Where = first(e, signal.FieldDstEndpointHostname), first(e, signal.FieldDeviceHostname)
		if ip := e.IP(signal.FieldDstEndpointIP); r.What == "" && ip.IsValid() {
			r.What = ip.String()
		}
	case signal.ClassDNSActivity:
		r.What, r.Where = first(e, signal.FieldQueryHostname), first(e, signal.FieldDeviceHostname)
	case signal.ClassAPIActivity:
		r.What, r.Where = first(e, signal.FieldAPIOperation), first(e, signal.FieldAPIServiceName)
	case signal.ClassAuthentication:
		r.What, r.Where = first(e, signal.FieldUserName), first(e, signal.FieldDeviceHostname)
	default:
		r.What, r.Where = first(e, signal.FieldFindingInfoTitle, signal.FieldMessage), first(e, signal.FieldCodeLocationPath)
	}
	if r.What == "" {
		r.What = first(e, signal.FieldMessage)
	}
	return r
}

func first(e *signal.Event, fields ...signal.Field) string {
	for _, f := range fields {
		if v := e.RecordedStr(f); v != "" {
			return v
		}
	}
	return ""
}

// DecisionOf returns what was decided about a recorded event, by its OCSF disposition.
func DecisionOf(e *signal.Event) signal.Decision {
	got := e.Int(signal.FieldDispositionID)
	for d := signal.Alert; d <= signal.Deny; d++ {
		if id, _ := d.Disposition(); id == got {
			return d
		}
	}
	return signal.Allow
}

// Match reports whether the query chooses the event. Condition, Cursor and
// Limit are not looked at.
func (q *EventQuery) Match(e *signal.Event) bool {
	if q.Plane != signal.PlaneNone && e.Plane != q.Plane || q.Class != 0 && e.Class != q.Class {
		return false
	}
	if !q.Since.IsZero() && e.Time < q.Since.UnixNano() || !q.Until.IsZero() && e.Time >= q.Until.UnixNano() {
		return false
	}
	if q.Decision != nil && DecisionOf(e) != *q.Decision {
		return false
	}
	if q.Client.IsValid() && !q.Client.Contains(e.IP(signal.FieldSrcEndpointIP)) {
		return false
	}
	if q.Route != "" && e.RecordedStr(signal.FieldEdgeRoute) != q.Route {
		return false
	}
	if q.Method != "" && e.RecordedStr(signal.FieldHTTPRequestHTTPMethod) != q.Method {
		return false
	}
	if q.Rule != "" && !slices.Contains(e.Strings(signal.FieldVerdictRules), q.Rule) {
		return false
	}
	return q.Text == "" || matchText(e, strings.ToLower(q.Text))
}

var textFields = [...]signal.Field{
	signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestURLQueryString, signal.FieldHTTPRequestURLHostname,
	signal.FieldHTTPRequestUserAgent, signal.FieldHTTPRequestHTTPMethod, signal.FieldHTTPRequestUID,
	signal.FieldVerdictReason, signal.FieldEdgeRoute, signal.FieldUserName, signal.FieldMessage,
	signal.FieldFindingInfoTitle, signal.FieldProcessCmdLine, signal.FieldFilePath, signal.FieldQueryHostname,
	signal.FieldCodeLocationPath, signal.FieldEdgeError, signal.FieldActorUserName, signal.FieldActorProcessFilePath, signal.FieldActorProcessCmdLine, signal.FieldProcessFilePath, signal.FieldProcessUserName,
	signal.FieldDeviceHostname, signal.FieldAPIOperation, signal.FieldAPIServiceName, signal.FieldAPIResponseError, signal.FieldStatusDetail,
	signal.FieldScriptContent, signal.FieldRegKeyPath, signal.FieldMetadataLogName, signal.FieldMetadataLogProduct, signal.FieldMetadataEventCode,
}

func matchText(e *signal.Event, lower string) bool {
	for _, f := range textFields {
		if strings.Contains(strings.ToLower(e.RecordedStr(f)), lower) {
			return true
		}
	}
	for _, f := range [...]signal.Field{signal.FieldVerdictRules, signal.FieldWAFRules, signal.FieldWAFMessages, signal.FieldWAFCategories, signal.FieldAPIViolations, signal.FieldAPIMessages, signal.FieldAPITargets} {
		for _, v := range e.Strings(f) {
			if strings.Contains(strings.ToLower(v), lower) {
				return true
			}
		}
	}
	for _, a := range e.UnmappedAttrs() {
		if strings.Contains(strings.ToLower(a.Value), lower) {
			return true
		}
	}
	ip := e.IP(signal.FieldSrcEndpointIP)
	return ip.IsValid() && strings.Contains(ip.String(), lower)
}
