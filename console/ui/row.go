package ui

import (
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// row is a line of the traffic list: a request with its response, or another event.
type row struct {
	console.Row
	Method    string
	Path      string // of a request with its query; of another event a sentence
	Threshold int64
	Took      int64 // milliseconds, -1 where it is not known
	Answer    bool  // a response whose request is not in the list
	Fault     string
	Log       string // product and name of the log that it was read from
	Failed    bool   // what somebody tried did not succeed
	Cause     cause  // of the verdict
}

func rowOf(e *signal.Event) row {
	r := row{Row: console.RowOf(e), Threshold: e.Int(signal.FieldWAFThreshold), Took: -1, Fault: e.RecordedStr(signal.FieldEdgeError)}
	if e.Class == signal.ClassHTTPActivity {
		r.Method = e.RecordedStr(signal.FieldHTTPRequestHTTPMethod)
		r.Path = e.RecordedStr(signal.FieldHTTPRequestURLPath)
		if q := e.RecordedStr(signal.FieldHTTPRequestURLQueryString); q != "" {
			r.Path += "?" + q
		}
		r.Answer = isResponse(e)
		if e.Has(signal.FieldDuration) {
			r.Took = e.Int(signal.FieldDuration)
		}
	} else {
		r.Path = sentenceOf(e)
		r.Failed = failed(e)
	}
	if e.Plane == signal.PlaneLogs {
		r.Log = strings.TrimSpace(e.RecordedStr(signal.FieldMetadataLogProduct) + " " + e.RecordedStr(signal.FieldMetadataLogName))
	}
	if len(r.Rules) > 3 {
		r.Rules = r.Rules[:3]
	}
	r.Cause = causeOf(e, &r)
	return r
}

// Attr is the verdict as a class name of the style sheet.
func (r row) Attr() string { return r.Decision.String() }

// Verdict is what became of it in a word. A record of a log is of something that is over: nothing was let through
// or held up because of it.
func (r row) Verdict() string {
	switch {
	case r.Plane != signal.PlaneLogs:
		return verdictWord(r.Decision)
	case r.Decision == signal.Allow:
		return "no rule"
	}
	return r.Decision.String()
}

// Why is the short reason of a list.
func (r row) Why() string { return r.Cause.String() }

func isResponse(e *signal.Event) bool {
	return e.Class == signal.ClassHTTPActivity && !e.Parent.IsZero()
}

// requestRows makes one line of a request and its response, which are events of their own.
// A response whose request is not among them is left out where lone is false and it
// was simply let through.
func requestRows(events []*signal.Event, lone bool) []row {
	rows := make([]row, 0, len(events))
	at := make(map[signal.ID]int, len(events))
	for _, e := range events {
		if !isResponse(e) {
			at[e.ID] = len(rows)
			rows = append(rows, rowOf(e))
		}
	}
	var left []row
	for _, e := range events {
		if !isResponse(e) {
			continue
		}
		r := rowOf(e)
		if i, ok := at[e.Parent]; ok {
			rows[i].answer(r)
		} else if lone || r.Decision > signal.Allow {
			left = append(left, r)
		}
	}
	if len(left) > 0 {
		rows = append(rows, left...)
		slices.SortStableFunc(rows, func(a, b row) int { return b.Time.Compare(a.Time) })
	}
	return rows
}

// answer adds to a request what its response said.
func (r *row) answer(a row) {
	r.Status, r.Took = a.Status, max(r.Took, a.Took)
	if r.Fault == "" {
		r.Fault = a.Fault
	}
	switch {
	case a.Decision > r.Decision:
		r.Decision, r.Reason, r.Rules, r.Severity, r.Cause = a.Decision, a.Reason, a.Rules, max(r.Severity, a.Severity), a.Cause
	case r.Cause.Text == "":
		r.Cause = a.Cause
	}
}

// faultWords are for the codes of edge.error.
var faultWords = map[string]string{
	"blocklist":                "the client's address was blocked",
	"not-judged":               "it could not be judged",
	"ambiguous-path":           "its path can be read in two ways",
	"malformed":                "it was not well-formed HTTP",
	"aborted":                  "the connection was cut before an answer",
	"client-gone":              "the client went away",
	"draining":                 "the edge was stopping",
	"upstream-connect-timeout": "the application did not take the connection in time",
	"upstream-refused":         "the application refused the connection",
	"upstream-unreachable":     "the application could not be reached",
	"upstream-timeout":         "the application did not answer in time",
	"upstream-tls":             "the application's certificate or TLS was not right",
	"upstream-reset":           "the application cut the connection",
	"upstream-broken":          "the application's answer was not well-formed HTTP",
	"upstream-idle":            "the application stopped in the middle of its answer",
	"upstream-cut":             "the application's answer ended too early",
}

// faultWord says what an edge.error means; the words of the edge are kept where there
// is nothing to add.
func faultWord(code string) string {
	if word := faultWords[code]; word != "" {
		return word
	}
	return strings.ReplaceAll(code, "-", " ")
}

// took is a duration of a request as text.
func (r row) TookText() string {
	switch {
	case r.Took < 0:
		return ""
	case r.Took < 1000:
		return num(r.Took) + " ms"
	}
	return (time.Duration(r.Took) * time.Millisecond).Round(100 * time.Millisecond).String()
}
