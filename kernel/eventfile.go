package kernel

import (
	"github.com/testudo-sec/testudo/internal/linuxabi"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

const (
	modeType    = 0o170000
	modeFolder  = 0o040000
	modeSocket  = 0o140000
	modeLink    = 0o120000
	modeBlock   = 0o060000
	modeChar    = 0o020000
	modePipe    = 0o010000
	fileRegular = 1
	fileFolder  = 2
	fileChar    = 3
	fileBlock   = 4
	fileSocket  = 5
	filePipe    = 6
	fileLink    = 7
	permission  = 0o7777
	anyMayRun   = 0o111
)

// fileType returns OCSF's type_id of a mode, 0 where it is not known.
func fileType(mode uint32) int64 {
	switch mode & modeType {
	case modeFolder:
		return fileFolder
	case modeChar:
		return fileChar
	case modeBlock:
		return fileBlock
	case modeSocket:
		return fileSocket
	case modePipe:
		return filePipe
	case modeLink:
		return fileLink
	case 0:
		return 0
	}
	return fileRegular
}

// file says of a call what file it was about.
func (b *builder) file(e *signal.Event, v *view) {
	r := v.r
	path := b.paths.of(r.Path)
	setText(e, signal.FieldFilePath, path)
	b.fileName(e, signal.FieldFileName, path)
	if len(r.Path2) > 0 {
		to := b.paths.of(r.Path2)
		setText(e, signal.FieldFileResultPath, to)
		b.fileName(e, signal.FieldFileResultName, to)
	}
	if r.Flags&record.FlagUnsure != 0 {
		e.SetBool(signal.FieldKernelUnsure, true)
	}
	if r.HasInode {
		i := &r.Inode
		if t := fileType(i.Mode); t != 0 {
			e.SetInt(signal.FieldFileTypeID, t)
		}
		e.SetInt(signal.FieldFileMode, int64(i.Mode&permission))
		e.SetInt(signal.FieldFileSize, i.Size)
		setString(e, signal.FieldFileOwnerUID, b.nums.of(int64(i.UID)))
		setString(e, signal.FieldFileOwnerName, b.userName(i.UID, v.c != nil))
		b.num(e, attrIno, int64(i.Number))
		b.num(e, attrDevMajor, int64(i.Device>>32))
		b.num(e, attrDevMinor, int64(uint32(i.Device)))
		b.num(e, attrDev, int64(i.Device>>32<<20|i.Device&0xfffff))
		b.yes(e, attrFDUpper, r.Flags&record.FlagUpper != 0)
		b.yes(e, attrFDLower, i.FilesystemID == overlayMagic && r.Flags&record.FlagUpper == 0)
	} else if r.Call == record.CallMkdir || r.Call == record.CallMkdirat || r.Call == record.CallRmdir {
		e.SetInt(signal.FieldFileTypeID, fileFolder)
	}
	raw := b.paths.of(r.Name)
	b.set(e, attrAbsPath, path.recorded)
	if raw.seen == "" {
		raw = path
	}
	b.set(e, attrNameRaw, raw.recorded)
	if len(r.Path2) > 0 {
		b.set(e, attrPathSourceRaw, raw.recorded)
		b.set(e, attrPathTargetRaw, b.paths.of(r.Path2).recorded)
	} else {
		b.set(e, attrPathNameRaw, raw.recorded)
	}
	if flags, ok := openFlags(r); ok {
		e.SetStrings(signal.FieldOpenFlags, b.openNames(flags))
		mode := uint64(0)
		if at := modeAt(r.Call); at < r.NumLen {
			mode = r.Nums[at]
		}
		creates := flags&linuxabi.OCreat != 0
		b.yes(e, attrOpenExec, creates && r.Ret >= 0 && mode&anyMayRun != 0)
		b.yes(e, attrOpenCreate, creates && r.Ret >= 0)
	}
	if fd, ok := descriptor(r); ok {
		b.num(e, attrFDNum, fd)
	}
}

func (b *builder) fileName(e *signal.Event, f signal.Field, path text) {
	setText(e, f, text{baseName(path.seen), baseName(path.recorded)})
}

// openFlags returns what a file was opened with.
func openFlags(r *record.Record) (flags uint64, ok bool) {
	at := -1
	switch r.Call {
	case record.CallOpen:
		at = 1
	case record.CallOpenat, record.CallOpenat2:
		at = 2
	case record.CallCreat:
		return linuxabi.OCreat | linuxabi.OWronly | linuxabi.OTrunc, true
	default:
		return 0, false
	}
	if r.Kind == record.KindEnforced {
		at = enforcedFlags
	}
	if r.NumLen <= at {
		return 0, false
	}
	return r.Nums[at], true
}

// enforcedFlags is where a record of KindEnforced has the flags of the open that it is about, behind rule, gate and hook.
const enforcedFlags = 3

// modeAt is which argument is the mode of a file that is made.
func modeAt(c record.Call) int {
	switch c {
	case record.CallCreat, record.CallMkdir, record.CallChmod, record.CallFchmod, record.CallMknod:
		return 1
	case record.CallOpen, record.CallMkdirat, record.CallFchmodat, record.CallFchmodat2, record.CallMknodat:
		return 2
	}
	return 3
}

// openNames returns the names of the flags, the same slice for the same flags.
func (b *builder) openNames(flags uint64) []string {
	if l, ok := b.opens.get(flags); ok {
		return l
	}
	l := b.machine.OpenFlags(flags)
	b.opens.put(flags, l)
	return l
}

// descriptor returns the descriptor that a call is about: the one that it opened, or was given.
func descriptor(r *record.Record) (int64, bool) {
	switch r.Call {
	case record.CallOpen, record.CallOpenat, record.CallOpenat2, record.CallCreat, record.CallMemfdCreate, record.CallSocket, record.CallAccept, record.CallAccept4,
		record.CallUserfaultfd, record.CallPerfEventOpen, record.CallFsopen, record.CallFsmount, record.CallOpenTree, record.CallDup, record.CallDup2, record.CallDup3:
		return max(r.Ret, -1), true
	case record.CallFchmod, record.CallFchown, record.CallFtruncate, record.CallFinitModule, record.CallSetns, record.CallConnect, record.CallBind, record.CallListen,
		record.CallSendto, record.CallSendmsg, record.CallSendmmsg, record.CallRecvfrom, record.CallRecvmsg:
		if r.Kind == record.KindCall && r.NumLen > 0 {
			return int64(int32(r.Nums[0])), true
		}
	}
	if r.HasNet && r.Net.FD >= 0 {
		return int64(r.Net.FD), true
	}
	return 0, false
}
