package process

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// stat is what is read of /proc/PID/stat, proc_pid_stat(5).
type stat struct {
	pid, ppid uint32
	comm      []byte
	state     byte
	group     uint32
	session   uint32
	tty       uint32 // major<<20 | minor, as records carry it
	flags     uint64
	start     uint64 // ticks since boot
}

// kernelThread is PF_KTHREAD of the kernel's flags.
const kernelThread = 0x00200000

// parseStat reads the line of /proc/PID/stat. The name stands between the first and the last parenthesis and may hold anything but a zero
// byte: parentheses, spaces, newlines.
func parseStat(b []byte) (stat, error) {
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || shut < open {
		return stat{}, errors.New("stat: no name in parentheses")
	}
	s := stat{comm: b[open+1 : shut]}
	f := bytes.Fields(b[shut+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("stat: %d fields behind the name, want 20", len(f))
	}
	s.state = f[0][0]
	number := func(b []byte, bits int) uint64 {
		n, err := strconv.ParseUint(string(b), 10, bits)
		if err != nil && b[0] != '-' { // the group of a kernel thread may be -1
			s.pid = 0
		}
		return n
	}
	pid, err := strconv.ParseUint(string(bytes.TrimSpace(b[:open])), 10, 32)
	if err != nil || pid == 0 {
		return stat{}, fmt.Errorf("stat: %q is no process id", b[:open])
	}
	s.pid = uint32(pid)
	s.ppid, s.group, s.session = uint32(number(f[1], 32)), uint32(number(f[2], 32)), uint32(number(f[3], 32))
	if tty, err := strconv.ParseInt(string(f[4]), 10, 64); err == nil {
		d := uint32(tty) // as new_encode_dev of the kernel has it
		s.tty = (d>>8&0xfff)<<20 | d&0xff | d>>12&0xfff00
	}
	s.flags, s.start = number(f[6], 64), number(f[19], 64)
	if s.pid == 0 {
		return stat{}, errors.New("stat: a field is no number")
	}
	return s, nil
}

// status is what is read of /proc/PID/status, proc_pid_status(5).
type status struct {
	uid, gid                                  [4]uint32 // real, effective, saved, of the file system
	inheritable, permitted, effective, bounds uint64    // capabilities
	pids, groups, sessions                    []uint32  // from the namespace of the reader to the innermost
}

// parseStatus reads /proc/PID/status; what is missing stays zero. The kernel escapes newlines in the name, so every line is what it says.
func parseStatus(b []byte) status {
	var s status
	for line := range bytes.Lines(b) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch string(name) {
		case "Uid":
			four(&s.uid, rest)
		case "Gid":
			four(&s.gid, rest)
		case "CapInh":
			s.inheritable = hexadecimal(rest)
		case "CapPrm":
			s.permitted = hexadecimal(rest)
		case "CapEff":
			s.effective = hexadecimal(rest)
		case "CapBnd":
			s.bounds = hexadecimal(rest)
		case "NSpid":
			s.pids = numbers(rest)
		case "NSpgid":
			s.groups = numbers(rest)
		case "NSsid":
			s.sessions = numbers(rest)
		}
	}
	return s
}

func four(to *[4]uint32, b []byte) {
	if n := numbers(b); len(n) == 4 {
		*to = [4]uint32(n)
	}
}

func hexadecimal(b []byte) uint64 {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// numbers reads at most as many as namespaces can be within each other.
func numbers(b []byte) []uint32 {
	var all []uint32
	for f := range bytes.FieldsSeq(b) {
		n, err := strconv.ParseUint(string(f), 10, 32)
		if err != nil || len(all) == 33 {
			return nil
		}
		all = append(all, uint32(n))
	}
	return all
}

// CgroupLine is a line of /proc/PID/cgroup, cgroups(7).
type CgroupLine struct {
	Hierarchy   int    // 0 is cgroup v2
	Controllers string // of v1, joined by commas: "cpu,cpuacct", "name=systemd"
	Path        string // from the root of the hierarchy, or of the reader's cgroup namespace: then it may begin with "/.."
}

// ParseCgroups reads /proc/PID/cgroup. Lines that are malformed are passed over.
func ParseCgroups(b []byte) []CgroupLine {
	var all []CgroupLine
	for line := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(part) != 3 || !strings.HasPrefix(part[2], "/") {
			continue
		}
		n, err := strconv.Atoi(part[0])
		if err != nil || n < 0 {
			continue
		}
		all = append(all, CgroupLine{n, part[1], strings.TrimSuffix(part[2], " (deleted)")})
	}
	return all
}

// MountLine is a line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
type MountLine struct {
	ID, Parent   int
	Major, Minor uint32
	Root         string // which folder of the file system is mounted
	Point        string // where, from the root of the process
	Options      string // of the mount: "rw,nosuid"
	Type         string // of the file system
	Source       string
	SuperOptions string // of the file system: "rw,upperdir=/a"
}

// Option returns the value of an option of the file system: "upperdir".
func (m MountLine) Option(name string) (string, bool) {
	for rest := m.SuperOptions; rest != ""; {
		var one string
		if one, rest = cutOption(rest); strings.HasPrefix(one, name+"=") {
			return strings.ReplaceAll(strings.ReplaceAll(one[len(name)+1:], `\,`, ","), `\\`, `\`), true
		}
	}
	return "", false
}

// cutOption cuts at the first comma that has no backslash before it.
func cutOption(s string) (one, rest string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ',':
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// ParseMounts reads /proc/PID/mountinfo. Lines that are malformed are passed over.
func ParseMounts(b []byte) []MountLine {
	var all []MountLine
	for line := range strings.Lines(string(b)) {
		left, right, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 6 || len(g) < 2 {
			continue
		}
		m := MountLine{Root: unescape(f[3]), Point: unescape(f[4]), Options: f[5], Type: g[0], Source: unescape(g[1])}
		if len(g) > 2 {
			m.SuperOptions = unescape(g[2])
		}
		id, err1 := strconv.Atoi(f[0])
		parent, err2 := strconv.Atoi(f[1])
		major, minor, _ := strings.Cut(f[2], ":")
		a, err3 := strconv.ParseUint(major, 10, 32)
		i, err4 := strconv.ParseUint(minor, 10, 32)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || !strings.HasPrefix(m.Point, "/") {
			continue
		}
		m.ID, m.Parent, m.Major, m.Minor = id, parent, uint32(a), uint32(i)
		all = append(all, m)
	}
	return all
}

// unescape reads \040 and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b = append(b, byte(n))
				i += 3
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// appendNames appends the names of variables in an environment as /proc/PID/environ has it, each ended by a zero byte. A process may write there
// what it likes: what has no name is passed over.
func appendNames(to, environ []byte, limit int) []byte {
	for len(environ) > 0 {
		var one []byte
		one, environ, _ = bytes.Cut(environ, []byte{0})
		if name, _, ok := bytes.Cut(one, []byte("=")); ok && len(name) > 0 {
			if len(to)+len(name)+1 > limit {
				return to
			}
			to = append(append(to, name...), 0)
		}
	}
	return to
}

// parseTimeOffsets reads /proc/PID/timens_offsets: the shift of the boot clock in nanoseconds.
func parseTimeOffsets(b []byte) int64 {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 || string(f[0]) != "boottime" && string(f[0]) != "7" {
			continue
		}
		seconds, err1 := strconv.ParseInt(string(f[1]), 10, 64)
		nanos, err2 := strconv.ParseInt(string(f[2]), 10, 64)
		if err1 == nil && err2 == nil && seconds < 1<<33 && seconds > -(1<<33) && nanos >= 0 && nanos < 1e9 {
			return seconds*1e9 + nanos
		}
	}
	return 0
}
