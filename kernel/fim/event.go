package fim

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// changingCalls are the system calls that change files.
func changingCalls() map[record.Call]bool {
	all := map[record.Call]bool{}
	for _, c := range []record.Call{record.CallOpen, record.CallOpenat, record.CallOpenat2, record.CallCreat, record.CallRename, record.CallRenameat, record.CallRenameat2,
		record.CallUnlink, record.CallUnlinkat, record.CallRmdir, record.CallMkdir, record.CallMkdirat, record.CallMknod, record.CallMknodat,
		record.CallLink, record.CallLinkat, record.CallSymlink, record.CallSymlinkat, record.CallChmod, record.CallFchmod, record.CallFchmodat, record.CallFchmodat2,
		record.CallChown, record.CallFchown, record.CallLchown, record.CallFchownat, record.CallTruncate, record.CallFtruncate, record.CallSetxattr} {
		all[c] = true
	}
	return all
}

// Attributes of the events that a monitor makes, beside the fields of the file and of who acted.
const (
	AttrChange      = "fim.change"       // what is different: created, removed, type, content, mode, owner, target; several with ", " between
	AttrSeen        = "fim.seen"         // "true", or "false": it was found by a walk, and by whom is not known
	AttrBefore      = "fim.before"       // SHA-256 before
	AttrAfter       = "fim.after"        // and after; "" where there is none
	AttrModeBefore  = "fim.mode.before"  // permissions: "0644"
	AttrModeAfter   = "fim.mode.after"   //
	AttrOwnerBefore = "fim.owner.before" // "0:0"
	AttrOwnerAfter  = "fim.owner.after"
	AttrTarget      = "fim.target.before"
	AttrTargetAfter = "fim.target.after"
	AttrPackage     = "fim.package" // "altered": the package's database says another digest; "same"; nothing without a package
	AttrRaw         = "fim.path"    // the path with %XX, where it has bytes that are no text
	AttrOthers      = "fim.others"  // further processes that had the file open for writing, or changed it
	AttrNote        = "fim.note"
)

// unseenNote is for people.
const unseenNote = "nobody was seen to change it: it happened while testudo did not run, from within a container, on a path that was not watched, or this kernel does not tell who"

// fields of who acted, as events of the plane have them.
func actorFields() []signal.Field {
	return []signal.Field{signal.FieldActorProcessUID, signal.FieldActorProcessPID, signal.FieldActorProcessName, signal.FieldActorProcessCmdLine,
		signal.FieldActorProcessFilePath, signal.FieldActorProcessFilePackage, signal.FieldActorProcessUserName, signal.FieldActorProcessUserUID,
		signal.FieldActorProcessLineage, signal.FieldActorProcessCreatedTime, signal.FieldActorProcessParentProcessUID, signal.FieldActorProcessParentProcessPID,
		signal.FieldActorProcessParentProcessName, signal.FieldActorProcessParentProcessCmdLine, signal.FieldActorProcessParentProcessFilePath,
		signal.FieldActorUserName, signal.FieldActorUserUID, signal.FieldHTTPRequestUID, signal.FieldTraceUID}
}

// copyActor sets on an event who acted in another.
func copyActor(to, from *signal.Event) {
	for _, f := range actorFields() {
		if !from.Has(f) {
			continue
		}
		switch f {
		case signal.FieldActorProcessLineage:
			to.SetStrings(f, append([]string(nil), from.Strings(f)...))
		case signal.FieldActorProcessPID, signal.FieldActorProcessParentProcessPID:
			to.SetInt(f, from.Int(f))
		case signal.FieldActorProcessCreatedTime:
			to.SetTime(f, from.Timestamp(f))
		default:
			if from.IsMasked(f) {
				to.SetMasked(f, from.Str(f), from.RecordedStr(f))
			} else {
				to.SetString(f, from.Str(f))
			}
		}
	}
}

// fill makes the event of a changed file. Its activity is Other: it tells of what came out, not of a call, so that no rule over calls judges the same
// deed twice.
func (m *Monitor) fill(e *signal.Event, c *Change, causes []cause) {
	now := m.now()
	e.ID, e.Time = signal.NewID(now), now.UnixNano()
	e.Class, e.Activity, e.Plane, e.Severity = signal.ClassFileActivity, signal.ActivityOther, signal.PlaneKernel, signal.SeverityInfo
	e.SetString(signal.FieldDeviceHostname, m.d.Host)
	m.setPath(e, c.Path)
	f := &c.After
	if !f.Exists {
		f = &c.Before
	}
	if t := fileType(f.Mode); t != 0 {
		e.SetInt(signal.FieldFileTypeID, t)
	}
	e.SetInt(signal.FieldFileMode, int64(f.Mode&permMask))
	e.SetInt(signal.FieldFileSize, f.Size)
	e.SetString(signal.FieldFileOwnerUID, strconv.FormatUint(uint64(f.UID), 10))
	if f.Modified != 0 {
		e.SetTime(signal.FieldFileModifiedTime, time.Unix(0, f.Modified))
	}
	if f.SHA256 != "" {
		e.SetStrings(signal.FieldFileHashesValue, []string{f.SHA256})
	}
	pkg := f.Package
	if pkg == "" {
		pkg = c.Before.Package
	}
	if pkg != "" {
		e.SetString(signal.FieldFilePackage, pkg)
		state := "same"
		if c.After.Altered || !c.After.Exists {
			state = "altered"
		}
		e.AddUnmapped(AttrPackage, state)
	}
	e.AddUnmapped(AttrChange, c.String())
	attr := func(name, value string) {
		if value != "" {
			e.AddUnmapped(name, value)
		}
	}
	attr(AttrBefore, c.Before.SHA256)
	attr(AttrAfter, c.After.SHA256)
	if c.Before.Exists {
		attr(AttrModeBefore, fmt.Sprintf("%04o", c.Before.Mode&permMask))
		attr(AttrOwnerBefore, fmt.Sprintf("%d:%d", c.Before.UID, c.Before.GID))
	}
	if c.After.Exists {
		attr(AttrModeAfter, fmt.Sprintf("%04o", c.After.Mode&permMask))
		attr(AttrOwnerAfter, fmt.Sprintf("%d:%d", c.After.UID, c.After.GID))
	}
	attr(AttrTarget, m.redacted(c.Before.Target))
	attr(AttrTargetAfter, m.redacted(c.After.Target))
	if len(causes) == 0 {
		attr(AttrSeen, "false")
		attr(AttrNote, unseenNote)
		return
	}
	attr(AttrSeen, "true")
	e.Parent = causes[0].event
	copyActor(e, causes[0].actor)
	var others []string
	for _, o := range causes[1:] {
		others = append(others, fmt.Sprintf("%s (%d)", o.actor.Str(signal.FieldActorProcessName), o.actor.Int(signal.FieldActorProcessPID)))
	}
	attr(AttrOthers, strings.Join(others, ", "))
}

// setPath says which file it is.
func (m *Monitor) setPath(e *signal.Event, p kernel.FilePath) {
	text := strings.ToValidUTF8(string(p), "\uFFFD")
	set := func(f signal.Field, s string) {
		if kept := m.redact(s); kept != s {
			e.SetMasked(f, s, kept)
		} else {
			e.SetString(f, s)
		}
	}
	set(signal.FieldFilePath, text)
	set(signal.FieldFileName, path.Base(text))
	if text != string(p) {
		e.AddUnmapped(AttrRaw, m.redacted(p))
	}
}

func (m *Monitor) redact(s string) string {
	if m.d.Redact == nil {
		return s
	}
	return m.d.Redact(s)
}

func (m *Monitor) redacted(p kernel.FilePath) string { return m.redact(p.String()) }

// fileType returns OCSF's type_id of a mode, 0 where it is not known.
func fileType(mode uint32) int64 {
	switch mode & typeMask {
	case typeFile:
		return 1
	case typeFolder:
		return 2
	case 0o020000:
		return 3
	case 0o060000:
		return 4
	case 0o140000:
		return 5
	case 0o010000:
		return 6
	case typeLink:
		return 7
	}
	return 0
}

// tellBaseline has it judged and recorded that the baseline is not the one that was signed.
func (m *Monitor) tellBaseline(ctx context.Context, why error) {
	var e signal.Event
	now := m.now()
	e.ID, e.Time = signal.NewID(now), now.UnixNano()
	e.Class, e.Activity, e.Plane, e.Severity = signal.ClassFileActivity, signal.ActivityOther, signal.PlaneKernel, signal.SeverityHigh
	e.SetString(signal.FieldDeviceHostname, m.d.Host)
	m.setPath(&e, kernel.FilePath(m.d.File))
	e.AddUnmapped(AttrChange, Tampered)
	e.AddUnmapped(AttrSeen, "false")
	e.AddUnmapped(AttrNote, m.redact(why.Error()))
	e.SetString(signal.FieldKernelGate, record.GateNone.String()) // nobody can be killed for it
	if _, err := m.d.Sink.Event(ctx, &e); err != nil && ctx.Err() == nil {
		m.log.Error("that the baseline is not the one that was signed was not judged", "error", err)
	}
}

// Tampered is the fim.change of a baseline that is not the one in the ledger.
const Tampered = "baseline"
