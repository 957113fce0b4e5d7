package syslog

import (
	"time"

	"github.com/testudo-sec/testudo/internal/jsonflat"
	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Journal is the format of systemd's journal in JSON, as journalctl -o json writes it
// (https://systemd.io/JOURNAL_EXPORT_FORMATS, systemd.journal-fields(7)).
var Journal = logs.Format{
	Name:    "journal",
	Title:   "journal of systemd in JSON",
	Framing: logs.Documents,
	Detect: func(sample []byte) bool {
		attrs := logs.FirstAttributes(sample)
		_, recorded := attrs["__REALTIME_TIMESTAMP"]
		_, cursor := attrs["__CURSOR"]
		return recorded && cursor
	},
	New: NewJournal,
}

type role uint8

const (
	roleNone role = iota
	roleRecorded
	roleTime // when the program wrote it
	roleMessage
	roleApp
	roleComm
	rolePID
	roleHost
	rolePriority
	roleFacility
	roleExe
	roleCommand
	roleUser
	roleEvent
)

func roleOf(attr string) role {
	switch attr {
	case "_SOURCE_REALTIME_TIMESTAMP":
		return roleTime
	case "__REALTIME_TIMESTAMP":
		return roleRecorded
	case "MESSAGE":
		return roleMessage
	case "SYSLOG_IDENTIFIER":
		return roleApp
	case "_COMM":
		return roleComm
	case "_PID":
		return rolePID
	case "_HOSTNAME":
		return roleHost
	case "PRIORITY":
		return rolePriority
	case "SYSLOG_FACILITY":
		return roleFacility
	case "_EXE":
		return roleExe
	case "_CMDLINE":
		return roleCommand
	case "_UID":
		return roleUser
	case "MESSAGE_ID":
		return roleEvent
	}
	return roleNone
}

type journal struct {
	*logs.JSONReader[role]
}

// NewJournal returns a parser of the journal.
func NewJournal(source logs.Source) logs.Parser {
	return &journal{logs.NewJSONReader("journal", source, roleOf)}
}

// Parse reads one entry.
func (p *journal) Parse(record []byte, e *signal.Event) error {
	items, err := p.Flatten(record)
	if err != nil {
		return err
	}
	var app, comm, message string
	facility, level, found := int64(-1), int64(-1), false
	for _, it := range items {
		switch p.Role(it.ID) {
		case roleApp:
			app = it.Value
		case roleComm:
			comm = it.Value
		case roleFacility:
			if n, ok := logs.Integer(it.Value); ok && n >= 0 && n < 24 {
				facility = n
			}
		case rolePriority:
			if n, ok := logs.Integer(it.Value); ok && n >= 0 && n < 8 {
				level = n
			}
		case roleRecorded:
			found = true
		}
	}
	if !found {
		return p.Shape("no __REALTIME_TIMESTAMP")
	}
	if app == "" {
		app = comm
	}
	pri := -1
	if facility >= 0 {
		pri = int(facility) << 3
	}
	p.Map.Start(e, logs.Source{Product: "linux", Service: service(app, pri)})
	if level >= 0 {
		e.Severity = severities[level]
		p.Map.Add("severity", levels[level])
	}
	if facility >= 0 {
		p.Map.Add("facility", facilities[facility])
	}
	if app != "" {
		e.SetString(signal.FieldAppName, app)
	}
	exact := false
	var raw []byte
	for _, it := range items {
		ok := true
		switch p.Role(it.ID) {
		case roleTime, roleRecorded:
			var ns int64
			if ns, ok = logs.ParseTime(it.Value, nil); ok {
				if p.Role(it.ID) == roleTime {
					e.Time, exact = ns, true
					continue
				}
				e.SetTime(signal.FieldMetadataLoggedTime, time.Unix(0, ns))
				if !exact {
					e.Time = ns
				}
			}
		case roleMessage:
			if it.Kind == jsonflat.Number { // a message that is not UTF-8 is a list of its bytes
				n, _ := logs.Integer(it.Value)
				raw = append(raw, byte(n))
				continue
			}
			if ok = message == ""; ok {
				message = it.Value
			}
		case roleApp:
		case rolePriority:
			ok = level >= 0
		case roleFacility:
			ok = facility >= 0
		case roleComm:
			ok = logs.Set(e, signal.FieldActorProcessName, it.Value)
		case rolePID:
			ok = logs.Set(e, signal.FieldActorProcessPID, it.Value)
		case roleHost:
			ok = logs.Set(e, signal.FieldDeviceHostname, it.Value)
		case roleExe:
			ok = logs.Set(e, signal.FieldActorProcessFilePath, it.Value)
		case roleCommand:
			ok = logs.Set(e, signal.FieldActorProcessCmdLine, it.Value)
		case roleUser:
			ok = logs.Set(e, signal.FieldActorUserUID, it.Value)
		case roleEvent:
			ok = logs.Set(e, signal.FieldMetadataEventCode, it.Value)
		default:
			ok = false
		}
		if !ok {
			p.Map.Item(it)
		}
	}
	if message == "" {
		message = string(raw)
	}
	e.SetString(signal.FieldMessage, message)
	details(p.Map, e, app, message)
	p.Map.End(p.Flat.Dropped())
	return nil
}
