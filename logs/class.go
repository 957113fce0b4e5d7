package logs

import (
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// ClassOf returns the OCSF class and activity of a record of a Sigma category; the Base Event where none fits.
func ClassOf(category string) (signal.Class, uint8) {
	switch category {
	case "process_creation":
		return signal.ClassProcessActivity, signal.ActivityProcessLaunch
	case "process_termination":
		return signal.ClassProcessActivity, signal.ActivityProcessTerminate
	case "process_access":
		return signal.ClassProcessActivity, 3 // Open
	case "create_remote_thread", "process_tampering":
		return signal.ClassProcessActivity, 4 // Inject
	case "file_event", "create_stream_hash", "file_executable_detected":
		return signal.ClassFileActivity, 1 // Create
	case "file_delete":
		return signal.ClassFileActivity, 4
	case "file_rename":
		return signal.ClassFileActivity, 5
	case "file_change":
		return signal.ClassFileActivity, 6 // Set Attributes
	case "file_access":
		return signal.ClassFileActivity, 14 // Open
	case "network_connection", "firewall":
		return signal.ClassNetworkActivity, 1
	case "dns_query", "dns":
		return signal.ClassDNSActivity, 1
	case "webserver", "proxy":
		return signal.ClassHTTPActivity, 0
	}
	return signal.ClassBaseEvent, 0
}

// APIActivity returns the activity of the class API Activity by the verb that an operation's name begins with, as in
// CreateUser, list and Microsoft.Compute/virtualMachines/delete.
func APIActivity(operation string) uint8 {
	if i := strings.LastIndexByte(operation, '/'); i >= 0 {
		operation = operation[i+1:]
	}
	if i := strings.LastIndexByte(operation, '.'); i >= 0 {
		operation = operation[i+1:]
	}
	for _, v := range verbs {
		if len(operation) >= len(v.verb) && strings.EqualFold(operation[:len(v.verb)], v.verb) {
			return v.activity
		}
	}
	return signal.ActivityOther
}

var verbs = [...]struct {
	verb     string
	activity uint8
}{
	{"create", 1}, {"run", 1}, {"add", 1}, {"register", 1}, {"import", 1}, {"issue", 1}, {"upload", 1}, {"allocate", 1}, {"copy", 1},
	{"get", 2}, {"list", 2}, {"describe", 2}, {"head", 2}, {"lookup", 2}, {"read", 2}, {"search", 2}, {"scan", 2}, {"query", 2},
	{"batchget", 2}, {"view", 2}, {"watch", 2}, {"download", 2}, {"select", 2},
	{"update", 3}, {"modify", 3}, {"put", 3}, {"set", 3}, {"attach", 3}, {"patch", 3}, {"change", 3}, {"associate", 3}, {"enable", 3},
	{"disable", 3}, {"write", 3}, {"edit", 3}, {"replace", 3}, {"tag", 3}, {"start", 3}, {"stop", 3}, {"reboot", 3}, {"authorize", 3},
	{"revoke", 3}, {"reset", 3}, {"restore", 3},
	{"delete", 4}, {"remove", 4}, {"terminate", 4}, {"detach", 4}, {"deregister", 4}, {"disassociate", 4}, {"destroy", 4}, {"purge", 4},
}
