package falco

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// exec returns the event of a program that is started in a container, as the kernel plane is to send it.
func exec() *signal.Event {
	e := &signal.Event{Class: signal.ClassProcessActivity, Activity: signal.ActivityProcessLaunch, Plane: signal.PlaneKernel, Time: 10_000_000_000}
	e.SetString(signal.FieldProcessName, "bash")
	e.SetString(signal.FieldProcessCmdLine, "/bin/bash -c id -u")
	e.SetString(signal.FieldProcessFilePath, "/usr/bin/bash")
	e.SetString(signal.FieldProcessParentProcessName, "nginx")
	e.SetString(signal.FieldProcessParentProcessCmdLine, "nginx: worker process")
	e.SetStrings(signal.FieldProcessLineage, []string{"/usr/sbin/nginx", "/usr/bin/containerd-shim-runc-v2", "/usr/lib/systemd/systemd"})
	e.SetString(signal.FieldProcessUserUID, "33")
	e.SetString(signal.FieldProcessUserName, "www-data")
	e.SetString(signal.FieldActorUserUID, "4294967295")
	e.SetInt(signal.FieldProcessPID, 4711)
	e.SetString(signal.FieldProcessTTY, "pts0")
	e.SetTime(signal.FieldProcessCreatedTime, time.Unix(9, 0))
	e.SetString(signal.FieldContainerUID, "3ad7b26ded6d8e7b23da7d48fe889434573036c27ae5a74837233de441c3601e")
	e.SetString(signal.FieldContainerImageName, "docker.io/library/nginx")
	e.SetUnmapped("evt.type", "execve")
	e.SetUnmapped("container.mounts[0]", "/var/run/docker.sock:/run/docker.sock:rw:true:rprivate")
	e.SetUnmapped("container.mounts[1]", "/proc/1:/host:ro:false:rprivate")
	e.SetUnmapped("proc.vpid", "7")
	e.SetUnmapped("evt.arg.flags", "EXE_WRITABLE|EXE_UPPER_LAYER")
	return e
}

// open returns the event of a file that is opened for writing.
func open() *signal.Event {
	e := &signal.Event{Class: signal.ClassFileActivity, Activity: 14, Plane: signal.PlaneKernel, Time: 10_000_000_000}
	e.SetString(signal.FieldActorProcessName, "vi")
	e.SetString(signal.FieldActorProcessCmdLine, "vi /etc/shadow")
	e.SetString(signal.FieldFilePath, "/etc/shadow")
	e.SetStrings(signal.FieldOpenFlags, []string{"O_RDWR", "O_TRUNC"})
	e.SetInt(signal.FieldStatusID, 1)
	e.SetUnmapped("evt.type", "openat")
	return e
}

// connection returns the event of a connection that goes out.
func connection() *signal.Event {
	e := &signal.Event{Class: signal.ClassNetworkActivity, Activity: 1, Plane: signal.PlaneKernel, Time: 10_000_000_000}
	e.SetString(signal.FieldActorProcessName, "curl")
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("10.1.2.3"))
	e.SetInt(signal.FieldSrcEndpointPort, 40000)
	e.SetIP(signal.FieldDstEndpointIP, netip.MustParseAddr("169.254.169.254"))
	e.SetInt(signal.FieldDstEndpointPort, 80)
	e.SetString(signal.FieldConnectionInfoProtocolName, "tcp")
	e.SetInt(signal.FieldConnectionInfoDirectionID, 2)
	e.SetInt(signal.FieldStatusID, 1)
	e.SetUnmapped("evt.type", "connect")
	return e
}

// compileOne compiles a condition in a rule of its own, with one list and one macro beside it.
func compileOne(t testing.TB, condition string) (*policy.Rule, policy.Problems) {
	t.Helper()
	indented := strings.ReplaceAll(condition, "\n", "\n    ")
	file := "- list: shells\n  items: [bash, sh, '\"(sd-pam)\"', \"a b\"]\n- macro: shell_procs\n  condition: (proc.name in (shells))\n" +
		"- rule: R\n  desc: d\n  condition: |\n    " + indented + "\n  output: x\n  priority: NOTICE\n"
	rules, problems := New().Compile([]policy.File{{Name: "r.yaml", Text: []byte(file)}})
	if len(rules) == 0 {
		return nil, problems
	}
	return rules[0], problems
}

func TestSemantics(t *testing.T) {
	for _, c := range []struct {
		on   func() *signal.Event
		cond string
		want bool
	}{
		// The language: precedence, negation, words.
		{exec, `evt.type = execve`, true},
		{exec, `evt.type=execve`, true},
		{exec, `evt.type == execve`, true},
		{exec, `proc.name = sh or proc.name = bash and user.name = www-data`, true},
		{exec, `proc.name = bash or proc.name = bash and user.name = root`, true},
		{exec, `(proc.name = bash or proc.name = bash) and user.name = root`, false},
		{exec, `not proc.name = sh and user.name = root`, false},
		{exec, `not (proc.name = sh and user.name = root)`, true},
		{exec, `not(proc.name = sh)`, true},
		{exec, `not not proc.name = bash`, true},
		{exec, `not not not proc.name = bash`, false},
		{exec, "proc.name\n=\nbash and\tuser.name=www-data", true},
		{exec, `proc.name = "bash"`, true},
		{exec, `proc.name = 'bash'`, true},
		{exec, `proc.cmdline = "bash -c id -u"`, true},
		{exec, `proc.args contains -u`, true},
		{exec, `proc.pname in(nginx)`, true},
		{exec, `proc.pname in ()`, false},
		{exec, `shell_procs`, true},
		{exec, `not shell_procs`, false},
		{exec, `proc.name in (shells, zsh)`, true},
		{exec, `proc.name in (zsh)`, false},
		{exec, `proc.name in ("shells")`, false},
		// What is missing compares false, whichever way.
		{exec, `fd.name = /x`, false},
		{exec, `fd.name != /x`, false},
		{exec, `not fd.name = /x`, true},
		{exec, `not fd.name != /x`, true},
		{exec, `fd.name in (/x)`, false},
		{exec, `not fd.name in (/x)`, true},
		{exec, `fd.name exists`, false},
		{exec, `proc.name exists`, true},
		{exec, `not fd.name exists`, true},
		{exec, `fd.lport != 5`, false},
		{exec, `len(fd.name) >= 0`, false},
		{exec, `proc.name = val(fd.name)`, false},
		{exec, `proc.name != val(fd.name)`, false},
		// Texts.
		{exec, `proc.exepath startswith /usr`, true},
		{exec, `proc.exepath startswith usr`, false},
		{exec, `proc.exepath endswith bash`, true},
		{exec, `proc.exepath contains bin/`, true},
		{exec, `proc.exepath contains BIN/`, false},
		{exec, `proc.exepath icontains BIN/`, true},
		{exec, `proc.exepath bcontains 2f62696e`, true},
		{exec, `proc.exepath bstartswith 2F757372`, true},
		{exec, `proc.exepath bstartswith 62696e`, false},
		{exec, `proc.exepath glob /usr/*`, true},
		{exec, `proc.exepath glob /usr/*/bas?`, true},
		{exec, `proc.exepath glob usr`, false},
		{exec, `proc.exepath glob /USR/*`, false},
		{exec, `proc.exepath iglob /USR/*`, true},
		{exec, `proc.exepath glob /usr/[a-c]in/*`, true},
		{exec, `proc.exepath glob /usr/[!a-c]in/*`, false},
		{exec, `proc.exepath glob "/usr/@(bin|sbin)/*"`, true},
		{exec, `proc.exepath glob "/usr/@(lib|sbin)/*"`, false},
		{exec, `proc.exepath iglob /USR/[A-C]IN/*`, true},
		{exec, `proc.exepath regex '/usr/[a-z]+/bash'`, true},
		{exec, `proc.exepath regex '[a-z]+/bash'`, false}, // the whole text must match
		{exec, `proc.exepath regex 'x|/usr/bin/bash'`, true},
		{exec, `proc.exepath pmatch (/usr/bin)`, true},
		{exec, `proc.exepath pmatch (/usr/bi)`, false},
		{exec, `proc.exepath pmatch (/opt, /usr/)`, true},
		{exec, `proc.exepath pmatch (/usr/bin/bash)`, true},
		{exec, `proc.exepath pmatch (/*/bin)`, true},
		{exec, `proc.exepath pmatch (/*/bash)`, false},
		{exec, `proc.exepath pmatch (/u*)`, true},
		{exec, `proc.name intersects (bash, sh)`, true},
		{exec, `proc.name < z`, false}, // refused: see TestRefused
		// Escapes.
		{exec, `proc.cmdline contains "\x62ash"`, true},
		{exec, `proc.cmdline contains "\ "`, false},
		{exec, `proc.cmdline endswith \)`, false}, // an unmatched parenthesis: refused
		// Numbers.
		{exec, `proc.pid = 4711`, true},
		{exec, `proc.pid != 4711`, false},
		{exec, `proc.pid > 4710 and proc.pid >= 4711 and proc.pid < 4712 and proc.pid <= 4711`, true},
		{exec, `proc.pid = 0x1267`, true},
		{exec, `proc.pid in (1, 4711)`, true},
		{exec, `user.uid = 33`, true},
		{exec, `user.uid < 100`, true},
		{exec, `user.loginuid = -1`, true},
		{exec, `user.loginuid != -1`, false},
		{exec, `user.loginuid = 0`, false},
		{exec, `user.loginuid >= 0`, false}, // nobody signed in: -1, as Falco has it
		{exec, `user.loginuid >= -1`, true},
		{exec, `user.loginuid < 0`, true},
		{exec, `user.loginuid > 1000 and user.loginuid != -1`, false},
		{exec, `user.loginuid = 4294967295`, true},
		{exec, `not user.loginuid >= 1000`, true},
		{exec, `proc.vpid=7`, true},
		{exec, `proc.duration <= 5000000000`, true},
		{exec, `proc.duration < 1000000000`, false},
		{exec, `evt.num = 0`, false},
		{exec, `evt.num >= 0`, true},
		// Processes.
		{exec, `proc.cmdline startswith "bash -c"`, true},
		{exec, `proc.cmdline startswith "/bin/bash"`, false},
		{exec, `proc.args = "-c id -u"`, true},
		{exec, `proc.exe = /bin/bash`, true},
		{exec, `proc.exeline startswith /bin/bash`, true},
		{exec, `proc.pcmdline startswith "nginx: "`, true},
		{exec, `proc.pexe = nginx:`, true},
		{exec, `proc.aname = nginx`, true},
		{exec, `proc.aname[1] = nginx`, true},
		{exec, `proc.aname[2] = nginx`, false},
		{exec, `proc.aname[2] = containerd-shim`, true}, // 15 bytes: a name as the kernel cuts it
		{exec, `proc.aname[2] = containerd-shi`, false},
		{exec, `proc.aname[0] = bash`, true},
		{exec, `proc.aname in (systemd, foo)`, true},
		{exec, `proc.aname startswith sys`, true},
		{exec, `proc.aname[9] exists`, false},
		{exec, `proc.aname = bash`, false}, // the process itself is no ancestor
		{exec, `proc.aexepath[3] = /usr/lib/systemd/systemd`, true},
		{exec, `proc.aexepath endswith nginx`, true},
		{exec, `proc.tty != 0`, true},
		{exec, `proc.tty = 0`, false},
		{open, `proc.tty = 0`, true},
		{open, `proc.tty != 0`, false},
		{exec, `evt.arg.flags contains EXE_UPPER_LAYER`, true},
		{exec, `evt.arg[flags] contains EXE_UPPER_LAYER`, true},
		{open, `proc.name = vi and proc.cmdline = "vi /etc/shadow"`, true},
		{open, `proc.name = bash`, false},
		// Containers.
		{exec, `container.id != host`, true},
		{exec, `container.id = host`, false},
		{exec, `container.id = 3ad7b26ded6d`, true},
		{exec, `container.id in (host, 3ad7b26ded6d)`, true},
		{exec, `container.id startswith 3ad`, true},
		{open, `container.id = host`, true},
		{open, `container.id != host`, false},
		{open, `container.id startswith ho`, true},
		{open, `container.name = host`, true},
		{exec, `container.image.repository endswith /nginx`, true},
		{exec, `container.mount.dest[/var/run/docker.sock] = /run/docker.sock`, true},
		{exec, `container.mount.dest[/proc*] != "N/A"`, true},
		{exec, `container.mount.dest[/etc] != "N/A"`, false},
		{exec, `not container.mount.dest[/etc] in ("<NA>","N/A")`, false},
		{exec, `not container.mount.dest[/proc*] in ("<NA>","N/A")`, true},
		{exec, `container.mount.source[/host] = /proc/1`, true},
		{exec, `container.mount.dest[1] = /host`, true},
		// Files.
		{open, `fd.name = /etc/shadow`, true},
		{open, `fd.directory = /etc`, true},
		{open, `fd.filename = shadow`, true},
		{open, `fd.type = file and fd.typechar = 'f'`, true},
		{open, `fd.type in (ipv4, ipv6)`, false},
		{open, `fd.type != ipv4`, true},
		{open, `fd.typechar = 'd'`, false},
		{open, `fd.num >= 0`, true},
		{open, `fd.num = -1`, false},
		{open, `fd.num > 5`, false}, // not known
		{open, `evt.rawres >= 0`, true},
		{open, `evt.is_open_write = true`, true},
		{open, `evt.is_open_read=true`, true},
		{open, `evt.is_open_write = false`, false},
		{open, `evt.arg.flags contains O_TRUNC`, true},
		{open, `evt.arg.flags contains "O_CREAT"`, false},
		{open, `evt.type in (open, openat, openat2)`, true},
		{open, `evt.type = open`, false},
		{open, `evt.type != open`, true},
		{open, `evt.type startswith open`, true},
		{open, `syscall.type = openat`, true},
		{open, `evt.dir = <`, true},
		{open, `evt.dir = >`, false},
		{open, `evt.failed = false`, true},
		// Connections.
		{connection, `fd.sip = "169.254.169.254"`, true},
		{connection, `fd.sip != 169.254.169.254`, false},
		{connection, `fd.cip = 10.1.2.3`, true},
		{connection, `fd.ip = 10.1.2.3 and fd.ip = 169.254.169.254`, true},
		{connection, `fd.ip != 10.1.2.3`, false},
		{connection, `fd.snet in (10.0.0.0/8, 169.254.0.0/16)`, true},
		{connection, `fd.net != "127.0.0.0/8"`, true},
		{connection, `fd.cnet = 10.0.0.0/8`, true},
		{connection, `fd.rip = 169.254.169.254 and fd.lip = 10.1.2.3`, true},
		{connection, `fd.rport = 80 and fd.lport = 40000 and fd.sport = 80 and fd.cport = 40000`, true},
		{connection, `fd.port in (80, 443)`, true},
		{connection, `fd.sport >= 30000 and fd.sport <= 32767`, false},
		{connection, `fd.l4proto = tcp`, true},
		{connection, `fd.type = ipv4 and fd.typechar = 4 and fd.sockfamily = ip`, true},
		{connection, `fd.is_server = false`, true},
		{connection, `fd.name = "10.1.2.3:40000->169.254.169.254:80"`, true},
		{connection, `fd.name startswith 10.1.`, true},
		{connection, `fd.name exists`, true},
		{connection, `fd.name != x`, true},
		// Transformers and fields on the right.
		{exec, `toupper(proc.name) = BASH`, true},
		{exec, `tolower(toupper(proc.name)) = bash`, true},
		{exec, `basename(proc.exepath) = bash`, true},
		{exec, `basename(proc.exepath) = val(proc.name)`, true},
		{exec, `proc.name = val(proc.name)`, true},
		{exec, `proc.name != val(proc.pname)`, true},
		{exec, `proc.exepath endswith val(proc.name)`, true},
		{exec, `tolower(proc.name) = tolower(proc.pname)`, false},
		{exec, `len(proc.name) = 4`, true},
		{exec, `len(proc.name) > 4`, false},
		{exec, `b64(proc.name) exists`, true}, // "bash" is base64
		{exec, `proc.pid > val(proc.vpid)`, true},
		{exec, `concat(proc.name, "-", user.name) = bash-www-data`, true},
		{exec, `join(":", proc.name, user.name) contains :www`, true},
		{exec, `toupper(join(":", (proc.name, user.name))) = BASH:WWW-DATA`, true},
		{exec, `concat(proc.name, fd.name) exists`, false},
		// Other events.
		{httpEvent, `evt.type exists`, false},
		{httpEvent, `not proc.name = x`, false},
		{auditd, `evt.type = execve and proc.name = bash`, true},
		{auditd, `evt.type = open`, false},
	} {
		r, problems := compileOne(t, c.cond)
		if len(problems) > 0 {
			if c.want || !slicesRefused[c.cond] {
				t.Errorf("%s: %v", c.cond, problems)
			}
			continue
		}
		if got := judge(r, c.on()); got != c.want {
			t.Errorf("%s: %v, want %v\n%s", c.cond, got, c.want, match.String(r.Condition))
		}
	}
}

// slicesRefused holds the rows that are no conditions.
var slicesRefused = map[string]bool{`proc.name < z`: true, `proc.cmdline endswith \)`: true}

// judge reports whether the rule matches, by its classes and its condition.
func judge(r *policy.Rule, e *signal.Event) bool {
	if r.On != nil {
		in := false
		for _, c := range r.On {
			in = in || c == e.Class
		}
		if !in {
			return false
		}
	}
	return match.Eval(r.Condition, e) == match.Yes
}

func httpEvent() *signal.Event {
	e := &signal.Event{Class: signal.ClassHTTPActivity, Plane: signal.PlaneEdge}
	e.SetString(signal.FieldHTTPRequestURLPath, "/")
	return e
}

// auditd returns a record of a Linux audit log: it has no attribute evt.type.
func auditd() *signal.Event {
	e := &signal.Event{Class: signal.ClassProcessActivity, Activity: signal.ActivityProcessLaunch, Plane: signal.PlaneLogs}
	e.SetString(signal.FieldMetadataLogProduct, "linux")
	e.SetString(signal.FieldMetadataLogName, "auditd")
	e.SetString(signal.FieldProcessName, "bash")
	return e
}
