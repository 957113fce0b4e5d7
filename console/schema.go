package console

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// schemas collects JSON Schemas (2020-12, as OpenAPI 3.1 uses it) of Go types, each named
// type once.
type schemas struct {
	named map[string]any
	types map[string]reflect.Type
	err   error
}

func newSchemas() *schemas {
	return &schemas{named: make(map[string]any), types: make(map[string]reflect.Type)}
}

type object = map[string]any

// words are the values of types that are text.
func words(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[Role]():
		return roleNames[1:]
	case reflect.TypeFor[Kind]():
		return []string{string(KindPerson), string(KindToken), string(KindLocal)}
	case reflect.TypeFor[Topic]():
		return []string{string(TopicActions), string(TopicFindings), string(TopicPeople), string(TopicRules), string(TopicSystem)}
	case reflect.TypeFor[HealthState]():
		return []string{string(HealthOK), string(HealthDegraded), string(HealthStarting), string(HealthStopping)}
	case reflect.TypeFor[signal.Decision]():
		return []string{"allow", "alert", "limit", "challenge", "deny"}
	case reflect.TypeFor[signal.Severity]():
		return []string{"unknown", "info", "low", "medium", "high", "critical", "fatal"}
	case reflect.TypeFor[signal.FindingKind]():
		return []string{string(signal.FindingDetection), string(signal.FindingVulnerability), string(signal.FindingCompliance), string(signal.FindingPosture)}
	case reflect.TypeFor[signal.FindingState]():
		return []string{string(signal.FindingOpen), string(signal.FindingResolved), string(signal.FindingMuted)}
	case reflect.TypeFor[signal.ActionState]():
		return []string{string(signal.ActionActive), string(signal.ActionExpired), string(signal.ActionUndone), string(signal.ActionRefused), string(signal.ActionFailed),
			string(signal.ActionDone)}
	case reflect.TypeFor[signal.Plane]():
		return []string{"", "scan", "kernel", "edge", "mesh", "cluster", "cloud", "logs", "testudo"}
	}
	return nil
}

// of returns the schema of a type.
func (s *schemas) of(t reflect.Type) any {
	if w := words(t); w != nil {
		return object{"type": "string", "enum": w}
	}
	switch t {
	case reflect.TypeFor[*signal.Event](), reflect.TypeFor[signal.Event]():
		return s.event()
	case reflect.TypeFor[signal.ID]():
		return object{"type": "string", "description": "UUID version 7; empty for none"}
	case reflect.TypeFor[classText]():
		return object{"type": "string", "description": "short name of an OCSF class, as in http_activity"}
	case timeType:
		return object{"type": "string", "format": "date-time"}
	case prefixType:
		return object{"type": "string", "description": "an address or prefix, as in 203.0.113.7 or 203.0.113.0/24"}
	case durationType:
		return object{"type": "string", "description": `a time span, as in "10m", "36h" or "7d"`}
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	}
	if t.Implements(textOutType) && t.Kind() != reflect.Pointer {
		s.err = fmt.Errorf("console: %s is text that the OpenAPI document does not know", t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Uint64, reflect.Uint16, reflect.Uint8:
		return object{"type": "integer", "format": "int64", "minimum": 0}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.named1(t)
	}
	s.err = fmt.Errorf("console: the OpenAPI document cannot describe %s", t)
	return nil
}

// named1 describes a struct under its name.
func (s *schemas) named1(t reflect.Type) any {
	name := schemaName(t)
	ref := object{"$ref": "#/components/schemas/" + name}
	if have, ok := s.types[name]; ok {
		if have != t {
			s.err = fmt.Errorf("console: %s and %s have one name in the OpenAPI document", have, t)
		}
		return ref
	}
	s.types[name] = t
	s.named[name] = s.fields(t)
	return ref
}

// fields describes a struct by its fields; embedded ones lie flat, as in JSON.
func (s *schemas) fields(t reflect.Type) object {
	props, required := object{}, []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				add(f.Type)
				continue
			case name == "-" || !f.IsExported():
				continue
			case name == "":
				name = f.Name
			}
			sch := s.of(f.Type)
			if doc := f.Tag.Get("doc"); doc != "" {
				if o, ok := sch.(object); ok && o["$ref"] == nil {
					o["description"] = doc
				}
			}
			props[name] = sch
			if !strings.Contains(opts, "omit") {
				required = append(required, name)
			}
		}
	}
	add(t)
	o := object{"type": "object", "properties": props}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

func (s *schemas) event() any {
	s.named["Event"] = object{
		"type":        "object",
		"description": "An event in its recorded form: OCSF " + signal.OCSFVersion + " JSON (https://schema.ocsf.io). Its attributes depend on class_uid.",
		"properties": object{
			"class_uid":    object{"type": "integer"},
			"category_uid": object{"type": "integer"},
			"activity_id":  object{"type": "integer"},
			"severity_id":  object{"type": "integer"},
			"type_uid":     object{"type": "integer"},
			"time":         object{"type": "integer", "format": "int64", "description": "milliseconds since 1970"},
			"metadata":     object{"type": "object"},
		},
		"required": []string{"class_uid", "activity_id", "time", "metadata"},
	}
	return object{"$ref": "#/components/schemas/Event"}
}

// schemaName names a type: Finding, and FindingPage for Page[signal.Finding].
func schemaName(t reflect.Type) string {
	name := t.Name()
	base, arg, generic := strings.Cut(name, "[")
	if generic {
		arg = strings.TrimSuffix(arg, "]")
		base = arg[strings.LastIndexAny(arg, "./")+1:] + base
	}
	return strings.ToUpper(base[:1]) + base[1:]
}
