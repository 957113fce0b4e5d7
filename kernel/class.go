package kernel

import (
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// Activities of the classes that only this plane gives events.
const (
	activityFileCreate     uint8 = 1
	activityFileUpdate     uint8 = 3
	activityFileDelete     uint8 = 4
	activityFileRename     uint8 = 5
	activityFileAttributes uint8 = 6
	activityFileSecurity   uint8 = 7
	activityFileMount      uint8 = 12
	activityFileUnmount    uint8 = 13
	activityFileOpen       uint8 = 14
	activityProcessOpen    uint8 = 3
	activityProcessInject  uint8 = 4
	activityProcessSetUser uint8 = 5
	activityNetworkOpen    uint8 = 1
	activityNetworkClose   uint8 = 2
	activityNetworkTraffic uint8 = 6
	activityNetworkListen  uint8 = 7
	activityDNSTraffic     uint8 = 6
)

// ClassOf returns class and activity of the event that a record becomes; an open for writing
// and a DNS message get a closer activity by what they hold (create, update; query, response). It returns false for records that become no event.
func ClassOf(k record.Kind, c record.Call) (class signal.Class, activity uint8, ok bool) {
	switch k {
	case record.KindExec:
		return signal.ClassProcessActivity, signal.ActivityProcessLaunch, true
	case record.KindExit:
		return signal.ClassProcessActivity, signal.ActivityProcessTerminate, true
	case record.KindConnect, record.KindAccept:
		return signal.ClassNetworkActivity, activityNetworkOpen, true
	case record.KindListen:
		return signal.ClassNetworkActivity, activityNetworkListen, true
	case record.KindBind:
		return signal.ClassNetworkActivity, signal.ActivityOther, true
	case record.KindFlow:
		return signal.ClassNetworkActivity, activityNetworkTraffic, true
	case record.KindDNS:
		return signal.ClassDNSActivity, activityDNSTraffic, true
	case record.KindCall:
		return classOfCall(c)
	case record.KindChange:
		return signal.ClassFileActivity, activityFileUpdate, true
	}
	return 0, 0, false
}

func classOfCall(c record.Call) (class signal.Class, activity uint8, ok bool) {
	switch c {
	case record.CallNone:
		return 0, 0, false
	case record.CallExecve, record.CallExecveat: // a failed one
		return signal.ClassProcessActivity, signal.ActivityProcessLaunch, true
	case record.CallOpen, record.CallOpenat, record.CallOpenat2:
		return signal.ClassFileActivity, activityFileOpen, true
	case record.CallCreat, record.CallMkdir, record.CallMkdirat, record.CallLink, record.CallLinkat, record.CallSymlink, record.CallSymlinkat,
		record.CallMknod, record.CallMknodat:
		return signal.ClassFileActivity, activityFileCreate, true
	case record.CallUnlink, record.CallUnlinkat, record.CallRmdir:
		return signal.ClassFileActivity, activityFileDelete, true
	case record.CallRename, record.CallRenameat, record.CallRenameat2:
		return signal.ClassFileActivity, activityFileRename, true
	case record.CallTruncate, record.CallFtruncate:
		return signal.ClassFileActivity, activityFileUpdate, true
	case record.CallSetxattr:
		return signal.ClassFileActivity, activityFileAttributes, true
	case record.CallChmod, record.CallFchmod, record.CallFchmodat, record.CallFchmodat2,
		record.CallChown, record.CallFchown, record.CallLchown, record.CallFchownat:
		return signal.ClassFileActivity, activityFileSecurity, true
	case record.CallMount:
		return signal.ClassFileActivity, activityFileMount, true
	case record.CallUmount2:
		return signal.ClassFileActivity, activityFileUnmount, true
	case record.CallMoveMount, record.CallOpenTree, record.CallFsopen, record.CallFsmount, record.CallPivotRoot, record.CallChroot:
		return signal.ClassFileActivity, signal.ActivityOther, true
	case record.CallConnect, record.CallAccept, record.CallAccept4:
		return signal.ClassNetworkActivity, activityNetworkOpen, true
	case record.CallListen:
		return signal.ClassNetworkActivity, activityNetworkListen, true
	case record.CallBind:
		return signal.ClassNetworkActivity, signal.ActivityOther, true
	case record.CallSendto, record.CallSendmsg, record.CallSendmmsg, record.CallRecvfrom, record.CallRecvmsg:
		return signal.ClassNetworkActivity, activityNetworkTraffic, true
	case record.CallPtrace, record.CallProcessVMReadv, record.CallProcessVMWritev:
		return signal.ClassProcessActivity, activityProcessInject, true
	case record.CallSetuid, record.CallSetreuid, record.CallSetresuid, record.CallSetfsuid:
		return signal.ClassProcessActivity, activityProcessSetUser, true
	}
	return signal.ClassProcessActivity, signal.ActivityOther, true
}
