// Package auditd reads the audit log of Linux (audit.log, or the same lines by way of syslog). The records of one event
// (SYSCALL, EXECVE, CWD, PATH, PROCTITLE, ...) share a time and a serial and become one event; an attribute that several of them
// have carries an index: type[0]=SYSCALL, type[1]=EXECVE, name[0]=/etc/passwd.
//
// Values that auditd writes in hexadecimal, because they hold blanks or worse, are decoded. Of a log that is not
// enriched the name of the system call is added (SYSCALL=execve) on x86-64 and AArch64.
//
// An event that says more in other words is given those words too, so that rules for processes, files and connections
// judge it, not those for auditd alone:
//
//   - a program started (execve) has the category process_creation; process.cmd_line are its arguments
//   - a path created or deleted has the category file_event or file_delete, and file.path
//   - a connection opened has the category network_connection, and dst_endpoint
//   - sign-ins and sign-outs have the class Authentication
package auditd

import (
	"bytes"
	"strings"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/signal"
)

// Format is the format of auditd.
var Format = logs.Format{
	Name:    "auditd",
	Title:   "Linux audit log",
	Framing: logs.Lines,
	Group:   group,
	Detect: func(sample []byte) bool {
		_, _, ok := header(logs.FirstLine(sample))
		return ok
	},
	New: New,
}

// header returns the type of a record, and its time and serial ("1700000000.123:456").
func header(line []byte) (kind, id []byte, ok bool) {
	at := bytes.Index(line, []byte("msg=audit("))
	if at < 0 {
		return nil, nil, false
	}
	id = line[at+len("msg=audit("):]
	end := bytes.IndexByte(id, ')')
	t := bytes.LastIndex(line[:at], []byte("type="))
	if end < 3 || t < 0 {
		return nil, nil, false
	}
	kind = bytes.TrimSpace(line[t+len("type=") : at])
	return kind, id[:end], len(kind) > 0 && bytes.IndexByte(kind, ' ') < 0
}

// group says which lines make an event. The kernel closes the records of a system call with PROCTITLE and EOE; what
// programs report (USER_LOGIN, SERVICE_START, ...) is an event by itself.
func group(line []byte) ([]byte, logs.Part) {
	kind, id, ok := header(line)
	if !ok {
		return nil, logs.Alone
	}
	switch string(kind) {
	case "PROCTITLE":
		return id, logs.Last
	case "EOE":
		return id, logs.Closer
	case "SYSCALL", "EXECVE", "PATH", "CWD", "SOCKADDR", "SOCKETCALL", "FD_PAIR", "MMAP", "OBJ_PID", "CAPSET", "BPRM_FCAPS", "NETFILTER_CFG",
		"KERN_MODULE", "IPC", "IPC_SET_PERM", "MQ_OPEN", "MQ_SENDRECV", "MQ_NOTIFY", "MQ_GETSETATTR", "AVC", "SELINUX_ERR", "OPENAT2", "BPF",
		"TIME_INJOFFSET", "TIME_ADJNTPVAL", "CONFIG_CHANGE", "ANOM_PROMISCUOUS", "ANOM_LINK", "FEATURE_CHANGE", "URINGOP", "FANOTIFY", "LANDLOCK_ACCESS":
		return id, logs.More
	}
	return id, logs.Alone
}

type parser struct {
	m      *logs.Mapper
	keys   map[string]*key
	pairs  []pair
	buf    []byte
	epoch  uint32
	text   string // the values of the record
	source logs.Source
	names  int // with an index
}

// key is the name of an attribute, learnt once.
type key struct {
	name    string
	indexed []string // name[0], name[1], ...
	encoded bool     // its value may be written in hexadecimal
	epoch   uint32
	count   int // in this record
	next    int
}

type pair struct {
	key        *key
	start, end int
	kind       uint8 // of the line
}

// Bounds of one record, and of the names remembered.
const (
	maxPairs   = 4096
	maxKeys    = 4096
	maxIndexed = 512   // values of one attribute
	maxNames   = 16384 // names with an index that are remembered
)

// New returns a parser of audit records.
func New(source logs.Source) logs.Parser {
	return &parser{m: logs.NewMapper(nil, source), keys: make(map[string]*key), source: source}
}

func fail(class logs.ErrorClass, reason string) error {
	return &logs.ParseError{Format: "auditd", Class: class, Reason: reason, Offset: -1}
}

// Parse reads the lines of one event.
func (p *parser) Parse(record []byte, e *signal.Event) error {
	if p.epoch++; p.epoch == 0 || len(p.keys) > maxKeys || p.names > maxNames {
		clear(p.keys)
		p.epoch, p.names = 1, 0
	}
	p.pairs, p.buf = p.pairs[:0], p.buf[:0]
	var serial []byte
	dropped := 0
	for line := range bytes.Lines(record) {
		line = bytes.TrimRight(line, "\r\n")
		kind, id, ok := header(line)
		if !ok {
			return fail(logs.BadSyntax, "no audit record")
		}
		if serial == nil {
			serial = id
		}
		dropped += p.line(line, kind)
	}
	stamp, number, ok := bytes.Cut(serial, []byte{':'})
	if !ok {
		return fail(logs.BadSyntax, "no time and serial")
	}
	start := len(p.buf)
	p.buf = append(p.buf, number...)
	p.text = string(p.buf)
	when, known := logs.ParseTime(string(stamp), nil)

	f := p.facts()
	p.m.Start(e, logs.Source{Product: "linux", Service: "auditd", Category: f.category})
	if known {
		e.Time = when
	} else {
		dropped++
	}
	e.Class, e.Activity = logs.ClassOf(f.category)
	f.set(e)
	for _, pr := range p.pairs {
		name := pr.key.name
		if pr.key.count > 1 {
			if pr.key.next >= maxIndexed {
				dropped++
				continue
			}
			before := len(pr.key.indexed)
			name = pr.key.indexedName()
			p.names += len(pr.key.indexed) - before
		}
		p.m.Pair(name, p.text[pr.start:pr.end])
	}
	p.m.Pair("serial", p.text[start:])
	if f.syscall != "" && !f.enriched {
		p.m.Pair("SYSCALL", f.syscall)
	}
	if f.category == "network_connection" {
		p.m.Add("Initiated", "true")
	}
	p.m.End(dropped)
	return nil
}

func (k *key) indexedName() string {
	for k.next >= len(k.indexed) {
		k.indexed = append(k.indexed, k.name+"["+itoa(len(k.indexed))+"]")
	}
	k.next++
	return k.indexed[k.next-1]
}

// line gathers the attributes of one line and returns how many were dropped.
func (p *parser) line(line, kind []byte) (dropped int) {
	code := kindOf(kind)
	p.add("type", kind, code)
	if rest, ok := bytes.CutPrefix(line, []byte("node=")); ok {
		node, _, _ := bytes.Cut(rest, []byte{' '})
		p.add("node", node, code)
	}
	at := bytes.Index(line, []byte("msg=audit("))
	body := line[at:]
	body = body[bytes.IndexByte(body, ')')+1:]
	body = bytes.TrimPrefix(body, []byte{':'})
	return p.values(body, code)
}

// values reads key=value pairs. A value is a word, a text in double quotes, or pairs in single quotes.
func (p *parser) values(b []byte, code uint8) (dropped int) {
	for {
		for len(b) > 0 && (b[0] <= ' ' || b[0] == ',') { // 0x1d stands before what auditd enriched
			b = b[1:]
		}
		eq := bytes.IndexByte(b, '=')
		if eq < 0 {
			return dropped
		}
		name := b[:eq]
		if i := bytes.LastIndexAny(name, " \x1d"); i >= 0 { // words between pairs: "avc:  denied  { read } for  pid=1"
			p.words(name[:i], code)
			name = name[i+1:]
		}
		b = b[eq+1:]
		var value []byte
		quoted := false
		switch {
		case len(b) > 0 && b[0] == '"':
			end := bytes.IndexByte(b[1:], '"')
			if end < 0 {
				value, b = b[1:], nil
			} else {
				value, b = b[1:end+1], b[end+2:]
			}
			quoted = true
		case len(b) > 0 && b[0] == '\'' && string(name) == "msg":
			end := bytes.LastIndexByte(b, '\'')
			inner := b[1:max(end, 1)]
			b = b[max(end, 0)+1:]
			dropped += p.values(inner, code)
			continue
		default:
			end := bytes.IndexAny(b, " \x1d")
			if end < 0 {
				end = len(b)
			}
			value, b = b[:end], b[end:]
		}
		if len(name) == 0 || len(name) > 64 || len(p.pairs) >= maxPairs {
			dropped++
			continue
		}
		p.put(name, value, quoted, code)
	}
}

// words keeps what SELinux writes before its pairs: whether it was denied, and what.
func (p *parser) words(w []byte, code uint8) {
	open, close := bytes.IndexByte(w, '{'), bytes.IndexByte(w, '}')
	if open < 0 || close < open {
		return
	}
	p.add("avc", bytes.TrimSpace(w[open+1:close]), code)
	if bytes.Contains(w, []byte("denied")) {
		p.add("avc_result", []byte("denied"), code)
	} else if bytes.Contains(w, []byte("granted")) {
		p.add("avc_result", []byte("granted"), code)
	}
}

func (p *parser) add(name string, value []byte, code uint8) {
	p.put([]byte(name), value, true, code)
}

func (p *parser) put(name, value []byte, quoted bool, code uint8) {
	k := p.keys[string(name)]
	if k == nil {
		k = &key{name: strings.ToValidUTF8(string(name), "\ufffd")}
		k.encoded = encoded(k.name)
		p.keys[string(name)] = k
	}
	if k.epoch != p.epoch {
		k.epoch, k.count, k.next = p.epoch, 0, 0
	}
	start := len(p.buf)
	// The arguments of EXECVE are texts, those of SYSCALL numbers.
	if !quoted && (k.encoded || code == kindExecve && argument(k.name)) && isHex(value) {
		p.buf = unhex(p.buf, value)
		if k.name == "proctitle" {
			for i := start; i < len(p.buf); i++ {
				if p.buf[i] == 0 {
					p.buf[i] = ' '
				}
			}
		}
	} else {
		p.buf = append(p.buf, value...)
	}
	k.count++
	p.pairs = append(p.pairs, pair{k, start, len(p.buf), code})
}

// encoded reports whether auditd writes the values of an attribute in hexadecimal where they are not plain words.
func encoded(name string) bool {
	switch name {
	case "proctitle", "exe", "comm", "cwd", "name", "path", "dir", "cmd", "acct", "data", "key", "watch", "file", "vm", "new-chardev", "old-disk", "new-disk":
		return true
	}
	return false
}

// argument reports whether a name is that of an argument of EXECVE: a0, a1[2].
func argument(name string) bool {
	return len(name) >= 2 && name[0] == 'a' && '0' <= name[1] && name[1] <= '9' && !strings.HasSuffix(name, "_len")
}
