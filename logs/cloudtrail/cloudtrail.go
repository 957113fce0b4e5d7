// Package cloudtrail reads AWS CloudTrail: the files that it delivers ({"Records":[...]}), one record a line, and
// records that EventBridge wrapped (detail).
//
// Records are API activity, the activity by the verb of the operation; sign-ins to the console are authentication. The
// parameters of a call are attributes (requestParameters.userName) and, as the JSON text that they were, the field
// api.request.data; the text of responseElements is an attribute of that name. What those hold of secrets is masked:
// see package logs. Access key ids are no secrets.
package cloudtrail

import (
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of CloudTrail.
var Format = logs.Format{
	Name:      "cloudtrail",
	Title:     "AWS CloudTrail",
	Framing:   logs.Documents,
	Envelopes: []string{"Records"},
	Detect:    detect,
	New:       New,
}

func detect(sample []byte) bool {
	attrs := logs.FirstAttributes(sample, "Records")
	has := func(name string) bool {
		_, ok := attrs[name]
		_, wrapped := attrs["detail."+name]
		return ok || wrapped
	}
	return has("eventName") && has("eventSource") && (has("awsRegion") || has("eventVersion"))
}

type role uint8

const (
	roleNone role = iota
	roleTime
	roleName
	roleSource
	roleError
	roleLogin
	roleMFA
)

func roleOf(attr string) role {
	switch attr {
	case "eventTime":
		return roleTime
	case "eventName":
		return roleName
	case "eventSource":
		return roleSource
	case "errorCode":
		return roleError
	case "responseElements.ConsoleLogin":
		return roleLogin
	case "additionalEventData.MFAUsed":
		return roleMFA
	}
	return roleNone
}

type parser struct {
	*logs.JSONReader[role]
}

// New returns a parser of CloudTrail.
func New(source logs.Source) logs.Parser {
	p := &parser{logs.NewJSONReader("cloudtrail", source, roleOf)}
	p.Flat.KeepText = func(attr string) bool {
		attr = strings.TrimPrefix(attr, "detail.")
		return attr == "requestParameters" || attr == "responseElements"
	}
	p.Map.Rename = func(name, attr string) (string, string) { // EventBridge
		return strings.TrimPrefix(name, "detail."), strings.TrimPrefix(attr, "detail.")
	}
	return p
}

// Parse reads one record.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	var name, source, failure, login, mfa string
	timeAt, when := -1, int64(0)
	for i := range items {
		v := items[i].Value
		switch p.Role(items[i].ID) {
		case roleTime:
			if ns, ok := logs.ParseTime(v, nil); ok {
				timeAt, when = i, ns
			}
		case roleName:
			name = v
		case roleSource:
			source = v
		case roleError:
			failure = v
		case roleLogin:
			login = v
		case roleMFA:
			mfa = v
		}
	}
	if name == "" || source == "" {
		return p.Shape("no eventName or no eventSource")
	}
	p.Map.Start(e, logs.Source{Product: "aws", Service: "cloudtrail"})
	e.Time = when
	e.SetString(signal.FieldMetadataEventCode, name)
	e.SetString(signal.FieldCloudProvider, "AWS")
	status := int64(1)
	if failure != "" || login == "Failure" {
		status = 2
	}
	e.SetInt(signal.FieldStatusID, status)
	e.Class, e.Activity = signal.ClassAPIActivity, logs.APIActivity(name)
	if name == "ConsoleLogin" {
		e.Class, e.Activity = signal.ClassAuthentication, signal.ActivityLogon
		switch mfa {
		case "Yes":
			e.SetBool(signal.FieldIsMFA, true)
		case "No":
			e.SetBool(signal.FieldIsMFA, false)
		}
	}
	for i, it := range items {
		if i != timeAt {
			p.Map.Item(it)
		}
	}
	p.Map.End(p.Flat.Dropped())
	return nil
}
