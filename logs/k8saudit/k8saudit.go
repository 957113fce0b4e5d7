// Package k8saudit reads the audit log of the Kubernetes API server (audit.k8s.io/v1): one event a line, as a file or
// a webhook's EventList.
//
// What a request or a response says of Secrets is masked (data, stringData, patches), and the values of environment
// variables, the copy of an object that kubectl apply leaves in an annotation, and tokens that the server hands out. The verb is api.operation, the object is in resources; the rest of the
// record are attributes under their own names, those of requestObject too.
package k8saudit

import (
	"strings"

	"github.com/testudo-sec/testudo/internal/jsonflat"
	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of Kubernetes audit logs.
var Format = logs.Format{
	Name:      "k8saudit",
	Title:     "Kubernetes audit log",
	Framing:   logs.Documents,
	Envelopes: []string{"items"},
	Detect:    detect,
	New:       New,
}

func detect(sample []byte) bool {
	attrs := logs.FirstAttributes(sample, "items")
	_, id := attrs["auditID"]
	_, verb := attrs["verb"]
	_, stage := attrs["stage"]
	return id && (verb || stage)
}

type role uint8

const (
	roleNone role = iota
	roleStageTime
	roleRequestTime
	roleVerb
	roleID
	roleResource
	roleStage
	roleCode
	roleData       // of an object that the request or the response carries
	roleAnnotation // its copy of what kubectl applied
	roleVariable   // value of an environment variable
	roleIgnored
)

func roleOf(attr string) role {
	switch attr {
	case "stageTimestamp":
		return roleStageTime
	case "requestReceivedTimestamp":
		return roleRequestTime
	case "verb":
		return roleVerb
	case "auditID":
		return roleID
	case "objectRef.resource":
		return roleResource
	case "stage":
		return roleStage
	case "responseStatus.code":
		return roleCode
	case "kind", "apiVersion":
		return roleIgnored
	}
	for _, object := range [...]string{"requestObject.", "responseObject."} {
		rest, ok := strings.CutPrefix(attr, object)
		if !ok {
			continue
		}
		rest = strings.TrimPrefix(rest, "items.") // a list of them
		switch {
		case strings.HasPrefix(rest, "data."), strings.HasPrefix(rest, "stringData."), strings.HasPrefix(rest, "value"), strings.HasPrefix(rest, "patch"):
			return roleData
		case strings.HasSuffix(rest, ".env.value"):
			return roleVariable
		case rest == "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration":
			return roleAnnotation
		}
	}
	return roleNone
}

type parser struct {
	*logs.JSONReader[role]
}

// New returns a parser of Kubernetes audit logs.
func New(source logs.Source) logs.Parser {
	return &parser{logs.NewJSONReader("k8saudit", source, roleOf)}
}

// Parse reads one event.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	var verb, id, resource, stage, code string
	timeAt, when := -1, int64(0)
	for i := range items {
		v := items[i].Value
		switch r := p.Role(items[i].ID); r {
		case roleRequestTime, roleStageTime:
			if timeAt < 0 || r == roleRequestTime {
				if ns, ok := logs.ParseTime(v, nil); ok {
					timeAt, when = i, ns
				}
			}
		case roleVerb:
			verb = v
		case roleID:
			id = v
		case roleResource:
			resource = v
		case roleStage:
			stage = v
		case roleCode:
			code = v
		}
	}
	if id == "" || verb == "" {
		return p.Shape("no auditID or no verb")
	}
	p.Map.Start(e, logs.Source{Product: "kubernetes", Service: "audit", Category: "application"})
	e.Time = when
	e.Class, e.Activity = signal.ClassAPIActivity, logs.APIActivity(verb)
	e.SetString(signal.FieldMetadataEventCode, stage)
	if len(code) == 3 {
		status := int64(1)
		if code[0] >= '4' {
			status = 2
		}
		e.SetInt(signal.FieldStatusID, status)
	}
	for i, it := range items {
		switch r := p.Role(it.ID); {
		case i == timeAt, r == roleIgnored:
		case (resource == "secrets" && r == roleData || r == roleAnnotation || r == roleVariable) && it.Value != "":
			p.Map.Item(jsonflat.Item{ID: it.ID, Kind: it.Kind, Value: logs.Masked})
		default:
			p.Map.Item(it)
		}
	}
	p.Map.End(p.Flat.Dropped())
	return nil
}
