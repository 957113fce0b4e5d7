package auditd

import (
	_ "embed"
	"encoding/binary"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/testudo-sec/testudo/signal"
)

// The kinds of lines that facts are taken from.
const (
	kindOther uint8 = iota
	kindSyscall
	kindExecve
	kindPath
	kindCwd
	kindSockaddr
)

func kindOf(kind []byte) uint8 {
	switch string(kind) {
	case "SYSCALL":
		return kindSyscall
	case "EXECVE":
		return kindExecve
	case "PATH":
		return kindPath
	case "CWD":
		return kindCwd
	case "SOCKADDR":
		return kindSockaddr
	}
	return kindOther
}

// facts is what the lines of an event say together.
type facts struct {
	category string
	class    signal.Class
	activity uint8
	kind     string // the line that names the event
	syscall  string
	enriched bool // the log names the system call itself
	status   int64
	command  string
	exe      string
	file     string
	renamed  string
	remote   netip.AddrPort
}

// facts reads what was gathered.
func (p *parser) facts() facts {
	var f facts
	var arch, number, cwd, nametype, pathName, created, deleted, opened, saddr string
	args := 0
	flush := func() {
		switch nametype {
		case "CREATE":
			created = pathName
		case "DELETE":
			deleted = pathName
		case "NORMAL", "UNKNOWN":
			opened = pathName
		}
		nametype, pathName = "", ""
	}
	for _, pr := range p.pairs {
		v := p.text[pr.start:pr.end]
		switch pr.key.name {
		case "type":
			flush()
			if f.kind == "" || v == "SYSCALL" {
				f.kind = v
			}
		case "arch":
			arch = v
		case "syscall":
			number = v
		case "SYSCALL":
			f.syscall, f.enriched = v, true
		case "success", "res":
			switch v {
			case "yes", "success", "1":
				f.status = 1
			case "no", "failed", "0":
				f.status = 2
			}
		case "exe":
			if f.exe == "" {
				f.exe = v
			}
		case "cwd":
			cwd = v
		case "name":
			pathName = v
		case "nametype":
			nametype = v
		case "saddr":
			saddr = v
		default:
			if pr.kind == kindExecve && argument(pr.key.name) {
				args++
			}
		}
	}
	flush()
	if f.syscall == "" && number != "" {
		f.syscall = syscallName(arch, number)
	}
	absolute := func(name string) string {
		if name != "" && name[0] != '/' && cwd != "" {
			return path.Join(cwd, name)
		}
		return name
	}
	switch {
	case args > 0 && (f.syscall == "" || strings.HasPrefix(f.syscall, "execve")):
		f.category = "process_creation"
		f.command = p.command()
	case f.syscall == "connect" && saddr != "":
		if f.remote = sockaddr(saddr); f.remote.IsValid() {
			f.category = "network_connection"
		}
	case strings.HasPrefix(f.syscall, "rename") && deleted != "" && created != "":
		f.category = "file_rename"
		f.file, f.renamed = absolute(deleted), absolute(created)
	case created != "":
		f.category = "file_event"
		f.file = absolute(created)
	case deleted != "":
		f.category = "file_delete"
		f.file = absolute(deleted)
	case opened != "" && f.syscall != "":
		f.file = absolute(opened)
		f.class = signal.ClassFileActivity
		switch {
		case strings.Contains(f.syscall, "chmod"), strings.Contains(f.syscall, "utime"), strings.HasPrefix(f.syscall, "truncate"):
			f.activity = 6 // Set Attributes
		case strings.Contains(f.syscall, "chown"), strings.Contains(f.syscall, "xattr"):
			f.activity = 7 // Set Security
		case strings.HasPrefix(f.syscall, "open"):
			f.activity = 14
		default:
			f.activity = signal.ActivityOther
		}
	}
	switch f.kind {
	case "USER_LOGIN", "USER_AUTH", "USER_START":
		f.class, f.activity = signal.ClassAuthentication, signal.ActivityLogon
	case "USER_LOGOUT", "USER_END":
		f.class, f.activity = signal.ClassAuthentication, signal.ActivityLogoff
	}
	return f
}

// command joins the arguments of EXECVE with blanks, as proctitle does, but whole: the kernel cuts that off at 128 bytes.
func (p *parser) command() string {
	var b strings.Builder
	last := ""
	for _, pr := range p.pairs {
		if pr.kind != kindExecve || !argument(pr.key.name) {
			continue
		}
		arg, _, _ := strings.Cut(pr.key.name, "[") // a long argument comes in parts: a1[0], a1[1]
		if last != "" && arg != last {
			b.WriteByte(' ')
		}
		last = arg
		b.WriteString(p.text[pr.start:pr.end])
	}
	return b.String()
}

func (f *facts) set(e *signal.Event) {
	if f.class != 0 {
		e.Class, e.Activity = f.class, f.activity
	}
	text := func(field signal.Field, v string) {
		if v != "" {
			e.SetString(field, v)
		}
	}
	text(signal.FieldMetadataEventCode, f.kind)
	text(signal.FieldProcessCmdLine, f.command)
	text(signal.FieldFilePath, f.file)
	text(signal.FieldFileResultPath, f.renamed)
	if f.status != 0 {
		e.SetInt(signal.FieldStatusID, f.status)
	}
	if f.category != "" && f.category != "process_creation" {
		text(signal.FieldActorProcessFilePath, f.exe) // rules for files and connections look for it there
	}
	if f.remote.IsValid() {
		e.SetIP(signal.FieldDstEndpointIP, f.remote.Addr())
		e.SetInt(signal.FieldDstEndpointPort, int64(f.remote.Port()))
	}
}

// sockaddr reads a struct sockaddr of the internet families in hexadecimal, as little-endian machines write it.
func sockaddr(s string) netip.AddrPort {
	if len(s) > 256 || !isHex([]byte(s)) {
		return netip.AddrPort{}
	}
	b := unhex(nil, []byte(s))
	if len(b) < 8 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch b[0] {
	case 2:
		a, _ := netip.AddrFromSlice(b[4:8])
		return netip.AddrPortFrom(a, port)
	case 10:
		if len(b) >= 24 {
			a, _ := netip.AddrFromSlice(b[8:24])
			return netip.AddrPortFrom(a.Unmap(), port)
		}
	}
	return netip.AddrPort{}
}

//go:embed syscalls.tsv
var syscallTable string

// syscalls holds the names by "architecture number". It is made once and never changed.
var syscalls = sync.OnceValue(func() map[string]string {
	names := make(map[string]string)
	for line := range strings.Lines(syscallTable) {
		cells := strings.Split(strings.TrimSpace(line), "\t")
		if len(cells) != 3 || cells[0] == "" {
			continue
		}
		for i, arch := range [...]string{"c000003e ", "c00000b7 "} {
			if n := cells[i+1]; n != "-" {
				names[arch+n] = cells[0]
			}
		}
	}
	return names
})

func syscallName(arch, number string) string {
	if len(arch) > 16 || len(number) > 16 {
		return ""
	}
	return syscalls()[arch+" "+number]
}

func isHex(b []byte) bool {
	if len(b) == 0 || len(b)%2 != 0 {
		return false
	}
	for _, c := range b {
		if nibble(c) > 15 {
			return false
		}
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func unhex(to, b []byte) []byte {
	for i := 0; i+1 < len(b); i += 2 {
		to = append(to, nibble(b[i])<<4|nibble(b[i+1]))
	}
	return to
}

func itoa(n int) string { return strconv.Itoa(n) }
