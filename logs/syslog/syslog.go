// Package syslog reads syslog messages: RFC 5424, RFC 3164 with and without its priority, and the lines that rsyslog writes
// into files with times of RFC 3339.
//
// The message is the field message, the program is app_name, structured data are attributes (origin.ip). Sigma's
// service is the program where Sigma has rules for it (sshd, sudo, cron, ...), "auth" for others of the facilities
// auth and authpriv, else "syslog"; the product is linux. Sign-ins by sshd, commands by sudo and cron are read further:
// who, from where, what, as fields.
//
// The journal of systemd in JSON says the same and more: see [Journal].
//
// RFC 3164 states neither year nor zone: they come from logs.Source.
package syslog

import (
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of syslog lines.
var Format = logs.Format{
	Name:    "syslog",
	Title:   "syslog, RFC 5424 and RFC 3164",
	Framing: logs.Lines,
	Detect: func(sample []byte) bool {
		m, ok := read(string(logs.FirstLine(sample)), logs.Source{Now: time.Now})
		return ok && (m.pri >= 0 || m.when != 0 && m.app != "")
	},
	New: New,
}

type parser struct {
	m      *logs.Mapper
	source logs.Source
}

// New returns a parser of syslog messages.
func New(source logs.Source) logs.Parser {
	return &parser{m: logs.NewMapper(nil, source), source: source}
}

// message is what the header of a message says.
type message struct {
	pri    int // -1 where there is none
	when   int64
	time   string // as written, where it cannot be read
	host   string
	app    string
	pid    string
	id     string
	params string // structured data of RFC 5424
	text   string
}

// Parse reads one message.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	m, ok := read(string(record), p.source)
	if !ok {
		return &logs.ParseError{Format: "syslog", Class: logs.BadSyntax, Reason: "neither a priority nor a time at the beginning", Offset: -1}
	}
	p.m.Start(e, logs.Source{Product: "linux", Service: service(m.app, m.pri)})
	e.Time = m.when
	set := func(f signal.Field, v string) {
		if v != "" && v != "-" {
			e.SetString(f, v)
		}
	}
	set(signal.FieldDeviceHostname, m.host)
	set(signal.FieldAppName, m.app)
	set(signal.FieldMetadataEventCode, m.id)
	e.SetString(signal.FieldMessage, m.text)
	if pid, ok := logs.Integer(m.pid); ok {
		e.SetInt(signal.FieldActorProcessPID, pid)
	} else if m.pid != "" && m.pid != "-" {
		p.m.Add("procid", m.pid)
	}
	if m.time != "" {
		p.m.Add("timestamp", m.time)
	}
	if m.pri >= 0 {
		e.Severity = severities[m.pri&7]
		p.m.Add("facility", facilities[m.pri>>3])
		p.m.Add("severity", levels[m.pri&7])
	}
	dropped := p.params(m.params)
	details(p.m, e, m.app, m.text)
	p.m.End(dropped)
	return nil
}

var (
	facilities = [24]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	levels     = [8]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	severities = [8]signal.Severity{signal.SeverityFatal, signal.SeverityCritical, signal.SeverityCritical, signal.SeverityHigh, signal.SeverityMedium,
		signal.SeverityLow, signal.SeverityInfo, signal.SeverityInfo}
)

// service returns Sigma's service of a message.
func service(app string, pri int) string {
	switch strings.ToLower(app) {
	case "sshd", "sshd-session":
		return "sshd"
	case "sudo":
		return "sudo"
	case "cron", "crond", "crontab", "anacron":
		return "cron"
	case "clamd", "freshclam", "clamav":
		return "clamav"
	case "vsftpd":
		return "vsftpd"
	case "guacd", "guacamole":
		return "guacamole"
	case "su", "login", "systemd-logind", "passwd", "useradd", "usermod", "userdel", "groupadd", "chage", "polkitd", "pkexec":
		return "auth"
	}
	if pri>>3 == 4 || pri>>3 == 10 {
		return "auth"
	}
	return "syslog"
}

// read reads the header of a message.
func read(s string, source logs.Source) (message, bool) {
	m := message{pri: -1}
	s = strings.TrimRight(s, "\x00")
	if rest, pri, ok := priority(s); ok {
		m.pri, s = pri, rest
		if rest, ok := strings.CutPrefix(s, "1 "); ok {
			return m.rfc5424(rest, source)
		}
	}
	return m.rfc3164(s, source)
}

// priority reads <PRI>.
func priority(s string) (rest string, pri int, ok bool) {
	if len(s) < 3 || s[0] != '<' {
		return s, 0, false
	}
	end := strings.IndexByte(s[:min(len(s), 5)], '>')
	if end < 2 {
		return s, 0, false
	}
	n, err := strconv.Atoi(s[1:end])
	return s[end+1:], n, err == nil && n >= 0 && n <= 191
}

// rfc5424 reads what stands behind the version: RFC 5424, section 6.
func (m message) rfc5424(s string, source logs.Source) (message, bool) {
	var stamp string
	for _, to := range [...]*string{&stamp, &m.host, &m.app, &m.pid, &m.id} {
		word, rest, ok := strings.Cut(s, " ")
		if !ok && to != &m.id {
			return m, false
		}
		*to, s = word, rest
	}
	m.stamp(stamp, source)
	if strings.HasPrefix(s, "[") {
		end := structured(s)
		m.params, s = s[:end], s[end:]
	} else {
		s = strings.TrimPrefix(s, "-")
	}
	s = strings.TrimPrefix(s, " ")
	m.text = strings.TrimPrefix(s, "\ufeff")
	return m, true
}

// stamp reads a time; what cannot be read is kept as it is.
func (m *message) stamp(s string, source logs.Source) {
	if s == "" || s == "-" {
		return
	}
	if ns, ok := logs.ParseTime(s, source.Zone); ok {
		m.when = ns
		return
	}
	m.time = s
}

// structured returns where the structured data at the beginning of s ends.
func structured(s string) int {
	i := 0
	for i < len(s) && s[i] == '[' {
		quoted := false
		for i++; i < len(s) && (quoted || s[i] != ']'); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				quoted = !quoted
			}
		}
		i++
	}
	return min(i, len(s))
}

// params puts structured data: [id name="value" ...] is id.name.
func (p *parser) params(s string) (dropped int) {
	for len(s) > 2 && s[0] == '[' {
		end := structured(s)
		if next := strings.Index(s, "]["); next > 0 && structured(s[:next+1]) == next+1 {
			end = next + 1
		}
		element := strings.Trim(s[:end], "[]")
		s = s[end:]
		id, rest, _ := strings.Cut(element, " ")
		id, _, _ = strings.Cut(id, "@") // the enterprise number says nothing to people
		for rest != "" {
			name, after, ok := strings.Cut(strings.TrimLeft(rest, " "), `="`)
			if !ok {
				break
			}
			value, n := unquote(after)
			rest = after[n:]
			if len(id)+len(name) > 256 {
				dropped++
				continue
			}
			p.m.Pair(id+"."+name, value)
		}
	}
	return dropped
}

// unquote reads up to a quote; n is how far. Quotes, brackets and backslashes are escaped.
func unquote(s string) (value string, n int) {
	var b strings.Builder
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\' || s[i+1] == ']') {
				b.WriteString(s[start:i])
				start = i + 1
				i++
			}
		case '"':
			if b.Len() == 0 {
				return s[start:i], i + 1
			}
			b.WriteString(s[start:i])
			return b.String(), i + 1
		}
	}
	b.WriteString(s[start:])
	return b.String(), len(s)
}

// rfc3164 reads the older form, and what writers of files made of it.
func (m message) rfc3164(s string, source logs.Source) (message, bool) {
	timed := false
	switch {
	case len(s) > 16 && s[15] == ' ' && s[3] == ' ' && s[9] == ':':
		stamp := s[:15]
		if _, ok := logs.Month(stamp[:3]); !ok {
			break
		}
		timed = true
		ok := false
		if source.Now != nil {
			m.when, ok = logs.WithoutYear(stamp, source.Now(), source.Zone)
		}
		if !ok {
			m.time = stamp
		}
		s = s[16:]
	case len(s) > 21 && s[20] == ' ' && s[3] == ' ' && s[6] == ' ' && s[11] == ' ' && s[14] == ':': // Feb  3 2026 09:14:22
		if month, ok := logs.Month(s[:3]); ok {
			day := strings.Replace(s[4:6], " ", "0", 1)
			iso := s[7:11] + "-" + strconv.Itoa(int(month)/10) + strconv.Itoa(int(month)%10) + "-" + day + "T" + s[12:20]
			m.stamp(iso, source)
			timed = true
			s = s[21:]
		}
	case len(s) > 20 && s[4] == '-' && s[10] == 'T':
		word, rest, _ := strings.Cut(s, " ")
		m.stamp(word, source)
		timed = m.when != 0
		s = rest
	}
	if !timed {
		m.text = s // RFC 3164, section 4.3.3: a message all the same, if it has a priority
		return m, m.pri >= 0
	}
	word, rest, ok := strings.Cut(s, " ")
	if ok && !strings.HasSuffix(word, ":") && !strings.Contains(word, "[") { // else the host is left out
		m.host, s = word, rest
	}
	m.tag(s)
	return m, true
}

// tag reads "app[pid]: text".
func (m *message) tag(s string) {
	i := strings.IndexAny(s, ":[ ")
	if i <= 0 || i > 64 || s[i] == ' ' {
		m.text = s
		return
	}
	rest := s[i:]
	if rest[0] == '[' {
		end := strings.IndexByte(rest, ']')
		if end < 0 || end > 64 || len(rest) <= end+1 || rest[end+1] != ':' {
			m.text = s
			return
		}
		m.pid, rest = rest[1:end], rest[end+1:]
	}
	m.app = s[:i]
	m.text = strings.TrimPrefix(strings.TrimPrefix(rest, ":"), " ")
}
