// Package evtx reads Windows events in JSON: as Winlogbeat and Elastic Agent write them (winlog.event_data), as converters of
// EVTX files do (Event.System, Event.EventData, attributes under #attributes, @ or _attributes, <Data Name=...> as a list),
// as Wazuh does (data.win), and flat, as NXLog and public data sets of attacks do.
//
// The channel gives Sigma's service, channel and EventID its category. What stands in EventData and UserData has its own
// name without the wrapping (CommandLine, not winlog.event_data.CommandLine); what stands in System is called as Sigma
// calls it: EventID, Channel, Computer, Provider_Name, Level. Sysmon for Linux is read too, as product linux.
package evtx

import (
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of Windows events.
var Format = logs.Format{
	Name:      "evtx",
	Title:     "Windows events in JSON",
	Framing:   logs.Documents,
	Envelopes: []string{"Events", "events", "Records"},
	Detect:    detect,
	New:       New,
}

func detect(sample []byte) bool {
	id, channel := false, false
	for name := range logs.FirstAttributes(sample, "Events", "events", "Records") {
		switch own, _ := rename(name, name); own {
		case "EventID":
			id = true
		case "Channel", "Provider_Name":
			channel = true
		}
	}
	return id && channel
}

type role uint8

const (
	roleNone role = iota
	roleID
	roleChannel
	roleProvider
	roleSystemTime // the best first
	roleTimestamp
	roleUtcTime
	roleEventTime
	roleEventType
	roleDataName
	roleDataText
	roleLabel
	roleSubject
	roleTarget
)

func roleOf(attr string) role {
	switch attr {
	case "EventID":
		return roleID
	case "Channel":
		return roleChannel
	case "Provider_Name":
		return roleProvider
	case "TimeCreated_SystemTime":
		return roleSystemTime
	case "@timestamp":
		return roleTimestamp
	case "UtcTime":
		return roleUtcTime
	case "EventTime", "TimeCreated", "TimeGenerated":
		return roleEventTime
	case "EventType":
		return roleEventType
	case "Data.@Name", "Data.#attributes.Name", "Data.Name", "Data._Name":
		return roleDataName
	case "Data.#text", "Data.Value", "Data.text", "Data.__text":
		return roleDataText
	case "MandatoryLabel":
		return roleLabel
	case "SubjectUserName":
		return roleSubject
	case "TargetUserName":
		return roleTarget
	}
	return roleNone
}

type parser struct {
	*logs.JSONReader[role]
	source logs.Source
}

// New returns a parser of Windows events.
func New(source logs.Source) logs.Parser {
	p := &parser{JSONReader: logs.NewJSONReader("evtx", source, roleOf), source: source}
	p.Map.Rename = rename
	return p
}

// Parse reads one event.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	var id, channel, provider, eventType, label, subject, target string
	timeAt, when := -1, int64(0)
	for i := range items {
		r := p.Role(items[i].ID)
		v := items[i].Value
		switch r {
		case roleNone, roleDataName, roleDataText:
		case roleID:
			if id == "" {
				id = v
			}
		case roleChannel:
			channel = v
		case roleProvider:
			provider = v
		case roleEventType:
			eventType = v
		case roleLabel:
			label = v
		case roleSubject:
			subject = v
		case roleTarget:
			target = v
		default:
			if timeAt < 0 || r < p.Role(items[timeAt].ID) {
				if ns, ok := logs.ParseTime(v, p.source.Zone); ok {
					timeAt, when = i, ns
				}
			}
		}
	}
	if id == "" {
		return p.Shape("no EventID")
	}
	product, service := serviceOf(channel, provider)
	category := categoryOf(service, id, eventType)
	m := p.Map
	m.Start(e, logs.Source{Product: product, Service: service, Category: category})
	e.Time = when
	p.class(e, service, category, id)
	var pending data
	for i, it := range items {
		if i == timeAt {
			continue
		}
		switch r := p.Role(it.ID); r {
		case roleDataName, roleDataText:
			name, _ := m.Own(it.ID)
			pending.take(m, name, it.Value, r == roleDataName)
		default:
			m.Item(it)
		}
	}
	pending.end(m)
	if category == "process_creation" && service == "security" {
		derive(e, label, subject, target)
	}
	m.End(p.Flat.Dropped())
	return nil
}

// data joins the parts of one element of a list of values, <Data Name="Image">...</Data>. A value without a name is
// an attribute Data.
type data struct {
	element, name, text, path string
	hasName, hasText          bool
}

func (d *data) take(m *logs.Mapper, path, value string, isName bool) {
	element := path[:strings.LastIndexByte(path, '.')]
	if element != d.element || isName && d.hasName || !isName && d.hasText {
		d.end(m)
		d.element = element
	}
	if isName {
		d.name, d.hasName = value, true
	} else {
		d.text, d.path, d.hasText = value, path, true
	}
}

func (d *data) end(m *logs.Mapper) {
	switch {
	case d.hasText && d.name != "":
		m.Pair(d.name, d.text)
	case d.hasText:
		m.Add("Data"+index(d.path), d.text)
	}
	*d = data{}
}

// index returns the index in a path, [2] of Data[2].#text, "" where it has none.
func index(path string) string {
	i := strings.IndexByte(path, '[')
	if i < 0 {
		return ""
	}
	return path[i : i+strings.IndexByte(path[i:], ']')+1]
}

// derive sets what 4688 says in other words than Sysmon: who the new process runs as, and how trusted it is.
func derive(e *signal.Event, label, subject, target string) {
	if !e.Has(signal.FieldProcessUserName) {
		switch {
		case target != "" && target != "-":
			e.SetString(signal.FieldProcessUserName, target)
		case subject != "" && subject != "-":
			e.SetString(signal.FieldProcessUserName, subject)
		}
	}
	if e.Has(signal.FieldProcessIntegrity) {
		return
	}
	switch label { // well-known identifiers, [MS-DTYP] 2.4.2.4
	case "S-1-16-4096":
		e.SetString(signal.FieldProcessIntegrity, "Low")
	case "S-1-16-8192", "S-1-16-8448":
		e.SetString(signal.FieldProcessIntegrity, "Medium")
	case "S-1-16-12288":
		e.SetString(signal.FieldProcessIntegrity, "High")
	case "S-1-16-16384":
		e.SetString(signal.FieldProcessIntegrity, "System")
	}
}

// class sets the OCSF class, by the category, or of the Security log by the event.
func (p *parser) class(e *signal.Event, service, category, id string) {
	e.Class, e.Activity = logs.ClassOf(category)
	if service != "security" {
		return
	}
	sign := func(activity uint8, status int64) {
		e.Class, e.Activity = signal.ClassAuthentication, activity
		if status != 0 {
			e.SetInt(signal.FieldStatusID, status)
		}
	}
	switch id {
	case "4624", "4648":
		sign(signal.ActivityLogon, 1)
	case "4625":
		sign(signal.ActivityLogon, 2)
	case "4634", "4647":
		sign(signal.ActivityLogoff, 0)
	case "4768":
		sign(3, 0) // Authentication Ticket
	case "4769":
		sign(4, 0) // Service Ticket Request
	case "4770":
		sign(5, 1) // Service Ticket Renew
	case "4771":
		sign(6, 2) // Preauth
	case "4776":
		sign(signal.ActivityOther, 0)
	}
}
