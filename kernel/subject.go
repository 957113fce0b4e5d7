package kernel

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/internal/linuxabi"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// subject is a process as events tell of it: all texts of it made once, when the first event of it is built. It is the
// process as it was then; what changes of a process gives it another subject.
type subject struct {
	p       *process.Process
	cmd     text
	exe     text
	cwd     text
	lineage []string // executables of its ancestors, see [builder.lineage]
	created int64    // nanoseconds since the Unix epoch
	uid     string
	gid     string
	user    string
	login   string // user name of who signed in
	loginID string
	tty     string
	session string
	env     []string // names

	parent      *process.Ancestor
	parentCmd   text
	parentExe   text
	parentUser  string
	parentBegan int64
	attrs       []signal.Attr
	attrsFor    *wanted
	inContainer bool
}

// subject returns the process as events tell of it.
func (b *builder) subject(p *process.Process, contained bool) *subject {
	if s, ok := b.subjects.get(p); ok && s.inContainer == contained {
		return s
	}
	s := b.makeSubject(p, b.commandLine(p), contained)
	b.subjects.put(p, s)
	return s
}

func (b *builder) makeSubject(p *process.Process, cmd text, contained bool) *subject {
	s := &subject{p: p, cmd: cmd, exe: b.path(p.Exe), cwd: b.path(p.Cwd), lineage: b.lineage(p.Lineage), inContainer: contained, uid: b.nums.of(int64(p.UID)), gid: b.nums.of(int64(p.GID)),
		user: b.userName(p.UID, contained)}
	if p.Start != 0 {
		s.created = b.table.Wall(p.Start).UnixNano()
	}
	if p.LoginUID != record.NoLogin {
		s.loginID, s.login = b.nums.of(int64(p.LoginUID)), b.userName(p.LoginUID, false)
	} else {
		s.loginID = "-1"
	}
	if p.HasCreds {
		if s.tty = linuxabi.Terminal(p.Creds.TTY); s.tty == "" && p.Flags&record.FlagTTY != 0 {
			s.tty = "tty"
		}
		if p.Creds.Session != 0 {
			s.session = b.nums.of(int64(p.Creds.Session))
		}
	}
	s.env, _ = b.environments.get(imageOf(p))
	if s.parent = p.Parent(); s.parent != nil {
		s.parentCmd, s.parentUser, s.parentExe = b.ancestorLine(s.parent), b.userName(s.parent.UID, contained), b.path(s.parent.Exe)
		if s.parent.Start != 0 {
			s.parentBegan = b.table.Wall(s.parent.Start).UnixNano()
		}
	}
	return s
}

// image names what a process runs: copies of it that it forked run the same.
type image struct {
	began uint64
	exe   string
}

func imageOf(p *process.Process) image { return image{p.Image, p.Exe} }

// path returns both forms of a path.
func (b *builder) path(p string) text {
	if p == "" {
		return text{}
	}
	return b.paths.of([]byte(p))
}

// notKnown stands in a lineage for an executable that is not known, between others that are.
const notKnown = "?"

// lineage returns the executables of ancestors, as rules number them, in their recorded form; those that nothing is known of at the end of it (the kernel's own threads, what was
// before the sensor) are left out. Made once for each.
func (b *builder) lineage(l *process.Lineage) []string {
	n := len(l.Paths)
	for n > 0 && l.Paths[n-1] == "" {
		n--
	}
	if n == 0 {
		return nil
	}
	if v, ok := b.lineages.get(l); ok {
		return v
	}
	v := l.Paths[:n:n]
	for i, path := range l.Paths[:n] {
		shown := notKnown
		if path != "" {
			shown = b.path(path).recorded
		}
		if shown == path {
			continue
		}
		if &v[0] == &l.Paths[0] { // which others read
			v = slices.Clone(v)
		}
		v[i] = shown
	}
	b.lineages.put(l, v)
	return v
}

// line is a command line; the same text may be all of one and the beginning of another.
type line struct {
	text string
	cut  bool
}

// commandLine returns both forms of the command line, made once for each.
func (b *builder) commandLine(p *process.Process) text {
	if p.CmdLine == "" {
		return text{}
	}
	k := line{p.CmdLine, p.Cut}
	if v, ok := b.lines.get(k); ok {
		return v
	}
	args := p.Args()
	if strings.Join(args, " ") != p.CmdLine { // of what would have run
		args = strings.Split(p.CmdLine, " ")
	}
	v := text{p.CmdLine, b.mask.Line(args, p.Cut)}
	b.lines.put(k, v)
	return v
}

func (b *builder) ancestorLine(a *process.Ancestor) text {
	if a.CmdLine == "" {
		return text{}
	}
	k := line{a.CmdLine, a.Cut}
	if v, ok := b.lines.get(k); ok {
		return v
	}
	v := text{a.CmdLine, b.mask.Line(a.Args(), a.Cut)}
	b.lines.put(k, v)
	return v
}

// userName names a user: by the host's accounts, and in a container by its number, but for root, which is 0 everywhere.
func (b *builder) userName(uid uint32, contained bool) string {
	if uid == 0 {
		return "root"
	}
	if !contained {
		if name, ok := b.accounts.users[uid]; ok {
			return name
		}
	}
	return b.nums.of(int64(uid))
}

func (b *builder) groupName(gid uint32, contained bool) string {
	if gid == 0 {
		return "root"
	}
	if !contained {
		if name, ok := b.accounts.groups[gid]; ok {
			return name
		}
	}
	return b.nums.of(int64(gid))
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func firstWord(line string) string {
	word, _, _ := strings.Cut(line, " ")
	return word
}

var streamNames = [...]string{record.StreamNone: "", record.StreamFile: "file", record.StreamDevice: "file", record.StreamPipe: "pipe", record.StreamSocket: "socket", record.StreamOther: "other",
	record.StreamUnix: "unix", record.StreamInet: "ipv4", record.StreamInet6: "ipv6"}

func isShell(name string) bool {
	return slices.Contains([]string{"sh", "bash", "dash", "ash", "zsh", "ksh", "csh", "tcsh", "fish", "rbash", "mksh"}, name)
}

// namespaceBegan returns when the first process of the process's namespace began, in nanoseconds since boot.
func namespaceBegan(p *process.Process) (uint64, bool) {
	switch {
	case !p.HasCreds || p.Creds.VPID == 0:
		return 0, false
	case p.Creds.VPID == 1:
		return p.Start, p.Start != 0
	case p.Creds.VPID == p.PID: // the first namespace, as old as the boot
		return 0, true
	}
	for _, a := range p.Lineage.Ancestors {
		if a.VPID == 1 && a.PIDNS == p.PIDNS && a.Start != 0 {
			return a.Start, true
		}
	}
	return 0, false
}

const overlayMagic = 0x794c7630

// attributes returns what rules ask of the process that has no field.
func (b *builder) attributes(s *subject) []signal.Attr {
	w := b.wanted
	if s.attrsFor == w {
		return s.attrs
	}
	s.attrs, s.attrsFor = nil, w
	if !w.any {
		return nil
	}
	p, c := s.p, &s.p.Creds
	set := func(a attr, v string) {
		if w.is[a] && v != "" {
			s.attrs = append(s.attrs, signal.Attr{Name: attrNames[a], Value: v})
		}
	}
	num := func(a attr, v int64, known bool) {
		if known && w.is[a] {
			set(a, b.nums.of(v))
		}
	}
	yes := func(a attr, v bool) { set(a, strconv.FormatBool(v)) }
	_, rest, _ := strings.Cut(s.cmd.seen, " ")
	if s.cmd.seen != "" {
		num(attrCmdNArgs, int64(max(len(p.Args())-1, 0)), true)
		num(attrCmdLenArgs, int64(len(rest)), true)
	}
	if w.is[attrEnv] {
		set(attrEnv, strings.Join(s.env, " "))
	}
	set(attrCwd, s.cwd.recorded)
	set(attrTTY, s.tty)
	num(attrPPID, int64(p.PPID), p.PPID != 0)
	set(attrSID, s.session)
	num(attrPIDTS, s.created, s.created != 0)
	num(attrVPID, int64(c.VPID), p.HasCreds && c.VPID != 0)
	num(attrVPGID, int64(c.Group), p.HasCreds && c.Group != 0)
	if a := s.parent; a != nil {
		num(attrPVPID, int64(a.VPID), a.VPID != 0)
		num(attrPPIDTS, s.parentBegan, s.parentBegan != 0)
	}
	if p.HasInode {
		num(attrExeIno, int64(p.Inode.Number), true)
		num(attrExeCtime, p.Inode.Changed, p.Inode.Changed != 0)
		num(attrExeMtime, p.Inode.Modified, p.Inode.Modified != 0)
		num(attrExeCtimeToStart, b.table.Wall(p.Image).UnixNano()-p.Inode.Changed, p.Inode.Changed != 0)
		yes(attrExeUpper, p.Flags&record.FlagUpper != 0)
		yes(attrExeLower, p.Inode.FilesystemID == overlayMagic && p.Flags&record.FlagUpper == 0)
	}
	if p.Exe != "" {
		yes(attrExeWritable, p.Flags&record.FlagWritable != 0)
		yes(attrExeMemfd, p.Flags&record.FlagMemory != 0)
		yes(attrExeDeleted, p.Flags&record.FlagDeleted != 0)
		yes(attrSetuid, p.Flags&record.FlagSetuid != 0)
		yes(attrSetgid, p.Flags&record.FlagSetgid != 0)
	}
	if p.HasCreds {
		yes(attrSIDLeader, c.VPID != 0 && c.VPID == c.Session)
		yes(attrVPGIDLeader, c.VPID != 0 && c.VPID == c.Group)
		yes(attrPGIDLeader, c.VPID != 0 && c.VPID == c.Group)
		set(attrCapPermitted, linuxabi.Capabilities(c.Permitted))
		set(attrCapInheritable, linuxabi.Capabilities(c.Inheritable))
		set(attrCapEffective, linuxabi.Capabilities(c.Effective))
		if a := b.table.Leader(p); a != nil {
			set(attrSName, a.Name)
			set(attrSIDExe, firstWord(b.ancestorLine(a).recorded))
			set(attrSIDExePath, b.path(a.Exe).recorded)
		}
		if a := b.table.GroupLeader(p); a != nil {
			exe := firstWord(b.ancestorLine(a).recorded)
			num(attrPGID, int64(a.PID), true)
			set(attrVPGIDName, a.Name)
			set(attrPGIDName, a.Name)
			set(attrVPGIDExe, exe)
			set(attrPGIDExe, exe)
			set(attrVPGIDExePath, b.path(a.Exe).recorded)
			set(attrPGIDExePath, b.path(a.Exe).recorded)
		}
	}
	set(attrGroupID, s.gid)
	if p.HasStdio {
		for i, stream := range p.Stdio {
			kind := "other"
			if stream.Type < uint32(len(streamNames)) {
				kind = streamNames[stream.Type]
			}
			set(attrStdinType+attr(i), kind)
			switch stream.Type {
			case record.StreamPipe, record.StreamSocket, record.StreamUnix, record.StreamInet, record.StreamInet6:
				set(attrStdinName+attr(i), kind+":["+strconv.FormatUint(stream.Inode, 10)+"]")
			}
		}
	}
	if began, ok := namespaceBegan(p); ok && (w.is[attrNamespaceBegan] || w.is[attrExeCtimeToNamespace]) {
		at := b.table.Wall(began).UnixNano()
		num(attrNamespaceBegan, at, true)
		num(attrExeCtimeToNamespace, p.Inode.Changed-at, p.HasInode && p.Inode.Changed != 0)
	}
	if w.is[attrLoginShell] {
		for _, a := range slices.Backward(p.Lineage.Ancestors) { // the outermost shell
			if isShell(a.Name) {
				num(attrLoginShell, int64(a.PID), true)
				break
			}
		}
	}
	for i, a := range p.Lineage.Ancestors[:min(len(p.Lineage.Ancestors), w.level)] {
		level := strconv.Itoa(i + 1)
		named := func(begin string, v string) {
			if v != "" && w.names(begin, level) {
				s.attrs = append(s.attrs, signal.Attr{Name: begin + level, Value: v})
			}
		}
		line := b.ancestorLine(a).recorded
		named("proc.aexe.", firstWord(line))
		named("proc.acmdline.", line)
		named("proc.apid.", b.nums.of(int64(a.PID)))
	}
	return s.attrs
}

// Bounds of what is kept of an environment.
const (
	maxVariables    = 256
	maxVariableName = 128
)

// keepEnvironment keeps the names of a program's variables for its events.
func (b *builder) keepEnvironment(p *process.Process, r *record.Record) {
	if len(r.Env) == 0 {
		return
	}
	b.names1 = b.names1[:0]
	for rest := r.Env; len(rest) > 0 && len(b.names1) < maxVariables; {
		name := rest
		if i := bytes.IndexByte(rest, 0); i >= 0 {
			name, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if i := bytes.IndexByte(name, '='); i >= 0 {
			name = name[:i] // values are never carried; whoever sends one
		}
		if len(name) > 0 {
			b.names1 = append(b.names1, b.names.of(name[:min(len(name), maxVariableName)]).seen)
		}
	}
	b.environments.put(imageOf(p), slices.Clone(b.names1))
}
