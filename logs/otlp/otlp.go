// Package otlp reads log records of OpenTelemetry (opentelemetry-proto, logs v1): requests in protobuf or JSON as a listener
// gets them ([Open]), and files of the collector's file exporter, one request a line ([Format]).
//
// A request is taken apart into records, each with its resource and scope, which the parser reads. The body is the message; one that is a list
// of keys and values are attributes of those names. Attributes keep their names without a prefix, those of the resource are
// resource.NAME. The semantic conventions that say what a field of ours says (host.name, k8s.pod.name, client.address,
// http.request.method, ...) go there. What log a record is (Sigma's product, service, category) is what the user states.
package otlp

import (
	"strings"
	"time"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of files with one export request a line.
var Format = logs.Format{
	Name:      "otlp",
	Title:     "OpenTelemetry logs",
	Framing:   logs.Documents,
	MaxRecord: 16 << 20,
	Unpack: func(record []byte) (logs.Unpacked, error) {
		r, err := Open(record, true)
		if err != nil {
			return nil, err
		}
		return r, nil
	},
	Detect: func(sample []byte) bool {
		for name := range logs.FirstAttributes(sample) {
			if strings.HasPrefix(name, "resourceLogs.") {
				return true
			}
		}
		return false
	},
	New: New,
}

type role uint8

const (
	roleNone role = iota
	roleMark
	roleTime
	roleObserved
	roleSeverity
	roleBody
	roleField // of the semantic conventions
)

// rename takes the prefixes off that the records of [Request.Next] have, but for a name that would then pass for what
// OTLP itself or the resource says.
func rename(name, attr string) (string, string) {
	for _, prefix := range [...]string{"attributes.", "body."} {
		own, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		for _, reserved := range [...]string{"otlp", "resource", "scope", "body"} {
			if own == reserved || strings.HasPrefix(own, reserved+".") || strings.HasPrefix(own, reserved+"[") {
				return name, attr
			}
		}
		return own, strings.TrimPrefix(attr, prefix)
	}
	return name, attr
}

func roleOf(attr string) role {
	switch attr {
	case "otlp.mark":
		return roleMark
	case "otlp.time":
		return roleTime
	case "otlp.observed":
		return roleObserved
	case "otlp.severity":
		return roleSeverity
	case "body":
		return roleBody
	}
	if fieldOf(attr) != 0 {
		return roleField
	}
	return roleNone
}

// fieldOf returns the field of an attribute of the semantic conventions, 0 for others.
func fieldOf(attr string) signal.Field {
	switch attr {
	case "otlp.trace":
		return signal.FieldTraceUID
	case "otlp.span":
		return signal.FieldTraceSpanUID
	case "otlp.event", "event.name":
		return signal.FieldMetadataEventCode
	case "resource.service.name":
		return signal.FieldAppName
	case "resource.host.name", "host.name":
		return signal.FieldDeviceHostname
	case "resource.host.id":
		return signal.FieldDeviceUID
	case "resource.container.id", "container.id":
		return signal.FieldContainerUID
	case "resource.container.name", "resource.k8s.container.name":
		return signal.FieldContainerName
	case "resource.container.image.name":
		return signal.FieldContainerImageName
	case "resource.container.image.tag":
		return signal.FieldContainerImageTag
	case "resource.k8s.pod.name":
		return signal.FieldOrchestratorPodName
	case "resource.k8s.pod.uid":
		return signal.FieldContainerPodUUID
	case "resource.k8s.namespace.name":
		return signal.FieldOrchestratorNamespace
	case "resource.k8s.cluster.name":
		return signal.FieldOrchestratorCluster
	case "resource.cloud.provider":
		return signal.FieldCloudProvider
	case "resource.cloud.region":
		return signal.FieldCloudRegion
	case "resource.cloud.account.id":
		return signal.FieldCloudAccountUID
	case "resource.process.pid", "process.pid":
		return signal.FieldActorProcessPID
	case "client.address", "source.address", "net.peer.ip":
		return signal.FieldSrcEndpointIP
	case "client.port", "source.port":
		return signal.FieldSrcEndpointPort
	case "server.address", "destination.address":
		return signal.FieldDstEndpointIP
	case "server.port", "destination.port":
		return signal.FieldDstEndpointPort
	case "http.request.method", "http.method":
		return signal.FieldHTTPRequestHTTPMethod
	case "url.full", "http.url", "http.target":
		return signal.FieldURLURLString
	case "url.path":
		return signal.FieldHTTPRequestURLPath
	case "url.query":
		return signal.FieldHTTPRequestURLQueryString
	case "http.response.status_code", "http.status_code":
		return signal.FieldHTTPResponseCode
	case "user_agent.original", "http.user_agent":
		return signal.FieldHTTPRequestUserAgent
	case "enduser.id", "user.name":
		return signal.FieldActorUserName
	case "user.id":
		return signal.FieldActorUserUID
	case "user.email":
		return signal.FieldActorUserEmailAddr
	}
	return 0
}

type parser struct {
	*logs.JSONReader[role]
	source logs.Source
}

// New returns a parser of the records that [Request.Next] returns.
func New(source logs.Source) logs.Parser {
	p := &parser{logs.NewJSONReader("otlp", source, roleOf), source}
	p.Map.Rename = rename
	return p
}

// Parse reads one record.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	marked := false
	for i := range items {
		marked = marked || p.Role(items[i].ID) == roleMark
	}
	if !marked {
		return p.Shape("no resourceLogs")
	}
	p.Map.Start(e, logs.Source{})
	e.Class, e.Activity = logs.ClassOf(p.source.Category)
	timed := false
	for _, it := range items {
		switch p.Role(it.ID) {
		case roleMark:
		case roleTime:
			if ns, ok := logs.ParseTime(it.Value, nil); ok {
				e.Time, timed = ns, true
			}
		case roleObserved: // when it was collected stands in for when it happened
			if ns, ok := logs.ParseTime(it.Value, nil); ok {
				e.SetTime(signal.FieldMetadataLoggedTime, time.Unix(0, ns))
				if !timed {
					e.Time = ns
				}
			}
		case roleSeverity:
			e.Severity = severity(it.Value)
		case roleBody:
			e.SetString(signal.FieldMessage, it.Value)
		case roleField:
			_, attr := p.Map.Own(it.ID)
			if !logs.Set(e, fieldOf(attr), it.Value) {
				p.Map.Item(it)
			}
		default:
			p.Map.Item(it)
		}
	}
	if e.Class == signal.ClassHTTPActivity {
		e.Activity = signal.HTTPActivity(e.Str(signal.FieldHTTPRequestHTTPMethod))
	}
	p.Map.End(p.Flat.Dropped())
	return nil
}

// severity reads a SeverityNumber: four each of trace, debug, info, warn, error, fatal.
func severity(v string) signal.Severity {
	n, _ := logs.Integer(v)
	switch {
	case n >= 21:
		return signal.SeverityFatal
	case n >= 17:
		return signal.SeverityHigh
	case n >= 13:
		return signal.SeverityMedium
	}
	return signal.SeverityInfo
}
