// Package jsonlines reads any JSON records: one object a line, printed over many lines, or in arrays. The attributes
// are flattened (a.items[0].cidr), and go into fields where it is known what the log is and internal/logfields knows its
// attributes; else they keep their own names. What the log is says the user (product, service, category); of Okta, Azure, Google
// Cloud, Microsoft 365, GitHub, Bitbucket, Zeek and OpenCanary the records themselves do.
//
// The time is the first of the well-known attributes that holds one: @timestamp, timestamp, time, ts, eventTime,
// published and a few more. Events of testudo itself, or of another that writes OCSF (class_uid at the top), are read as such.
package jsonlines

import (
	"bytes"

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

// role is what an attribute tells of its record.
type role struct {
	time uint8 // rank among those that may hold the time, the best first; 0 for others
	mark mark
}

func roleOf(attr string) role {
	r := role{mark: marks[attr]}
	for i, name := range [...]string{
		"@timestamp", "timestamp", "time", "ts", "eventTime", "EventTime", "UtcTime", "datetime", "date", "published", "created_at", "createdDateTime",
		"CreationTime", "creationTime", "activityDateTime", "TimeGenerated", "TimeCreated", "receiveTimestamp", "utc_time", "@timestamp_ms", "asctime", "t",
	} {
		if attr == name {
			r.time = uint8(i + 1)
		}
	}
	return r
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
	var seen mark
	var category, path string
	for i := range items {
		r := p.Role(items[i].ID)
		seen |= r.mark
		switch {
		case r.mark == markClass:
			if p.ocsf(record, e) {
				return nil
			}
		case r.mark == markHost && hostAt < 0:
			hostAt = i
		case r.mark == markCategory:
			category = items[i].Value
		case r.mark == markPath:
			path = items[i].Value
		}
		if r.time != 0 && (timeAt < 0 || r.time < p.Role(items[timeAt].ID).time) {
			if ns, ok := logs.ParseTime(items[i].Value, p.source.Zone); ok {
				timeAt, when = i, ns
			}
		}
	}
	src := p.source.Or(guess(seen, category, path))
	p.Map.Start(e, src)
	e.Time = when
	e.Class, e.Activity = logs.ClassOf(src.Category)
	for i, it := range items {
		if i != timeAt {
			p.Map.Item(it)
		}
	}
	if hostAt >= 0 && !e.Has(signal.FieldDeviceHostname) && src.Product != "zeek" { // where the host is the one asked for
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
// taken over: they are this node's to give. It reports false where the record is no such event after all, whose attributes are then
// those of any other: nobody shall keep a record from being judged by writing class_uid into it.
func (p *parser) ocsf(record []byte, e *signal.Event) bool {
	if e.UnmarshalJSON(bytes.Clone(record)) != nil {
		return false
	}
	e.ID, e.Parent, e.Seq, e.Plane = signal.ID{}, signal.ID{}, 0, signal.PlaneLogs
	logs.MaskSecrets(e)
	set := func(f signal.Field, v string) {
		if v != "" {
			e.SetString(f, v)
		}
	}
	set(signal.FieldMetadataLogProduct, p.source.Product)
	set(signal.FieldMetadataLogName, p.source.Service)
	set(signal.FieldMetadataLogCategory, p.source.Category)
	return true
}
