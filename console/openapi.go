package console

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// openAPI writes the document of the routes that say what they are: OpenAPI 3.1
// (https://spec.openapis.org/oas/v3.1.1).
func openAPI(routes []Route) ([]byte, error) {
	s := newSchemas()
	paths := object{}
	for _, rt := range routes {
		if rt.api == nil {
			continue
		}
		item, ok := paths[rt.Path].(object)
		if !ok {
			item = object{}
			paths[rt.Path] = item
		}
		item[strings.ToLower(rt.Method)] = describe(s, rt)
	}
	problem := s.of(reflect.TypeFor[Problem]())
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "testudo",
			"version": "1",
			"description": "What the console shows and does, for programs. Send a token as Authorization: Bearer; a browser's session works too, " +
				"with its CSRF token in the header " + CSRFHeader + " for what changes something. " +
				"Lists come in pages: pass next as cursor. Unknown parameters and keys are errors. Errors are RFC 9457 problems.",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":  []object{{"url": "/"}},
		"paths":    paths,
		"security": []object{{"token": []string{}}, {"session": []string{}}},
		"components": object{
			"schemas": s.named,
			"responses": object{"Problem": object{
				"description": "What went wrong, and what to do",
				"content":     object{"application/problem+json": object{"schema": problem}},
			}},
			"securitySchemes": object{
				"token":   object{"type": "http", "scheme": "bearer"},
				"session": object{"type": "apiKey", "in": "cookie", "name": "__Host-testudo-PORT"},
			},
		},
	}
	if s.err != nil {
		return nil, s.err
	}
	return json.MarshalIndent(doc, "", "  ")
}

func describe(s *schemas, rt Route) object {
	op := rt.api
	o := object{"operationId": op.id, "summary": op.summary, "tags": []string{op.tag}, "x-role": rt.Role.String()}
	if rt.Role == RoleNone {
		o["security"] = []object{{}}
	}
	var params []object
	for i := range op.in.NumField() {
		f := op.in.Field(i)
		if _, ok := f.Tag.Lookup("body"); ok {
			body := s.fields(f.Type)
			body["additionalProperties"] = false
			o["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": body}}}
			continue
		}
		params = append(params, parameter(s, f))
	}
	if params != nil {
		o["parameters"] = params
	}
	ok := object{"description": http.StatusText(op.status)}
	if op.status != http.StatusNoContent {
		ok["content"] = object{op.media: object{"schema": answer(s, op)}}
	}
	o["responses"] = object{strconv.Itoa(op.status): ok, "default": object{"$ref": "#/components/responses/Problem"}}
	return o
}

// answer is the schema of what a route answers; streams are text, whose items the
// description names.
func answer(s *schemas, op *operation) any {
	item := s.of(op.out)
	switch op.media {
	case "text/event-stream", "application/x-ndjson":
		return object{"type": "string", "description": "a stream of " + schemaName(op.out) + ", each in JSON", "x-item": item}
	}
	return item
}

func parameter(s *schemas, f reflect.StructField) object {
	p := object{"description": f.Tag.Get("doc")}
	sch, ok := s.of(f.Type).(object)
	if !ok {
		sch = object{}
	}
	delete(sch, "description")
	if name, isPath := f.Tag.Lookup("path"); isPath {
		p["name"], p["in"], p["required"] = name, "path", true
	} else {
		p["name"], p["in"] = f.Tag.Get("query"), "query"
		if d := f.Tag.Get("default"); d != "" {
			if n, err := strconv.Atoi(d); err == nil {
				sch["default"] = n
			} else {
				sch["default"] = d
			}
		}
		if lo, hi, bounded := bounds(f); bounded {
			sch["minimum"], sch["maximum"] = lo, hi
		}
	}
	p["schema"] = sch
	return p
}
