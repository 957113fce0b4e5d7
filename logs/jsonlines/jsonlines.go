// Package jsonlines reads any JSON records: one object a line, printed over many lines, or in arrays. The attributes
// are flattened (a.items[0].cidr), and go into fields where the user says what the log is (product, service, category)
// and internal/logfields knows its attributes; without that they keep their own names.
//
// The time is the first of the well-known attributes that holds one: @timestamp, timestamp, time, ts, eventTime,
// published and a few more. Events of testudo itself, or of another that writes OCSF (class_uid at the top), are read as such.
package jsonlines

import (
	"bytes"
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of JSON records of any kind. Its Detect takes every JSON object, so that it stands behind those of
// JSON formats that are known.
var Format = logs.Format{
	Name:      "jsonlines",
	Title:     "JSON records",
	Framing:   logs.Documents,
	Envelopes: []string{"records", "Records"},
	Detect:    func(sample []byte) bool { return logs.FirstAttributes(sample, "records", "Records") != nil },
	New:       New,
}

// role orders the attributes that may hold the time, the best first; 0 is none.
type role uint8

const (
	roleNone  role = 0
	roleClass role = 100
	roleHost  role = 101
)

func roleOf(attr string) role {
	for i, name := range [...]string{
		"@timestamp", "timestamp", "time", "ts", "eventTime", "EventTime", "UtcTime", "datetime", "date", "published", "created_at", "createdDateTime",
		"CreationTime", "creationTime", "activityDateTime", "TimeGenerated", "TimeCreated", "receiveTimestamp", "@timestamp_ms", "asctime", "t",
	} {
		if attr == name {
			return role(i + 1)
		}
	}
	switch attr {
	case "class_uid":
		return roleClass
	case "host", "hostname", "host.name", "Computer":
		return roleHost
	}
	return roleNone
}

type parser struct {
	*logs.JSONReader[role]
	source logs.Source
}

// New returns a parser of JSON records.
func New(source logs.Source) logs.Parser {
	return &parser{logs.NewJSONReader("jsonlines", source, roleOf), source}
}

// Parse reads one record.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	timeAt, hostAt, when := -1, -1, int64(0)
	for i := range items {
		switch r := p.Role(items[i].ID); r {
		case roleNone:
		case roleClass:
			return p.ocsf(record, e)
		case roleHost:
			if hostAt < 0 {
				hostAt = i
			}
		default:
			if timeAt < 0 || r < p.Role(items[timeAt].ID) {
				if ns, ok := logs.ParseTime(items[i].Value, p.source.Zone); ok {
					timeAt, when = i, ns
				}
			}
		}
	}
	p.Map.Start(e, logs.Source{})
	e.Time = when
	e.Class, e.Activity = logs.ClassOf(p.source.Category)
	for i, it := range items {
		if i != timeAt {
			p.Map.Item(it)
		}
	}
	if hostAt >= 0 && !e.Has(signal.FieldDeviceHostname) {
		e.SetString(signal.FieldDeviceHostname, items[hostAt].Value)
	}
	switch e.Class {
	case signal.ClassHTTPActivity:
		e.Activity = signal.HTTPActivity(e.Str(signal.FieldHTTPRequestHTTPMethod))
	case signal.ClassBaseEvent:
		if op := e.Str(signal.FieldAPIOperation); op != "" {
			e.Class, e.Activity = signal.ClassAPIActivity, logs.APIActivity(op)
		}
	}
	p.Map.End(p.Flat.Dropped())
	return nil
}

// ocsf reads an event that is one already. Its identity, its cause, its plane and its place in a judge's sequence are not
// taken over: they are this node's to give.
func (p *parser) ocsf(record []byte, e *signal.Event) error {
	if err := e.UnmarshalJSON(bytes.Clone(record)); err != nil {
		return &logs.ParseError{Format: "jsonlines", Class: logs.BadShape, Reason: "no OCSF event: " + plain(err.Error()), Offset: -1}
	}
	e.ID, e.Parent, e.Seq, e.Plane = signal.ID{}, signal.ID{}, 0, signal.PlaneLogs
	set := func(f signal.Field, v string) {
		if v != "" {
			e.SetString(f, v)
		}
	}
	set(signal.FieldMetadataLogProduct, p.source.Product)
	set(signal.FieldMetadataLogName, p.source.Service)
	set(signal.FieldMetadataLogCategory, p.source.Category)
	return nil
}

// plain cuts off what an error may quote.
func plain(reason string) string {
	reason = strings.TrimPrefix(reason, "event: ")
	before, _, _ := strings.Cut(reason, ": ")
	return before
}
