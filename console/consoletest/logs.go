package consoletest

import (
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// LogEvents returns an event of each class as the logs plane makes them of records, the first one at the given time.
func LogEvents(at time.Time) []*signal.Event {
	var all []*signal.Event
	add := func(class signal.Class, activity uint8, product, log, category, source string) *signal.Event {
		at = at.Add(9 * time.Second)
		e := &signal.Event{ID: signal.NewID(at), Time: at.UnixNano(), Class: class, Activity: activity, Severity: signal.SeverityInfo, Plane: signal.PlaneLogs}
		text(e, signal.FieldMetadataLogProduct, product, signal.FieldMetadataLogName, log, signal.FieldMetadataLogCategory, category)
		e.SetStrings(signal.FieldMetadataLabels, []string{product + " servers"})
		e.SetUnmapped("testudo.source", source)
		disposition, action := signal.Allow.Disposition()
		e.SetInt(signal.FieldDispositionID, disposition)
		e.SetInt(signal.FieldActionID, action)
		all = append(all, e)
		return e
	}
	e := add(signal.ClassProcessActivity, signal.ActivityProcessLaunch, "windows", "sysmon", "process_creation", "/var/log/win/sysmon.json:1204")
	text(e, signal.FieldProcessCmdLine, `powershell.exe -nop -w hidden -enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQA`, signal.FieldProcessFilePath, `C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe`,
		signal.FieldProcessUserName, `CORP\ada`, signal.FieldProcessParentProcessFilePath, `C:\Program Files\Microsoft Office\root\Office16\WINWORD.EXE`, signal.FieldProcessParentProcessName, "WINWORD.EXE",
		signal.FieldDeviceHostname, "desk-17.corp.example", signal.FieldMetadataEventCode, "1", signal.FieldProcessWorkingDirectory, `C:\Users\ada\`)
	e.SetInt(signal.FieldProcessPID, 7120)
	e.SetUnmapped("Company", "Microsoft Corporation")
	e.SetUnmapped("LogonGuid", "{515cd0d1-7669-6345-abba-3a0000000000}")
	e.SetUnmapped("TerminalSessionId", "1")
	e.Severity = signal.SeverityHigh
	disposition, action := signal.Alert.Disposition()
	e.SetInt(signal.FieldDispositionID, disposition)
	e.SetInt(signal.FieldActionID, action)
	e.SetStrings(signal.FieldVerdictRules, []string{"falco.terminal-shell-in-container"})
	text(e, signal.FieldVerdictReason, "Word started a shell with a hidden window and an encoded command.")

	e = add(signal.ClassAPIActivity, 1, "aws", "cloudtrail", "", "/var/log/aws/trail.json:88")
	text(e, signal.FieldActorUserName, "deploy-bot", signal.FieldActorUserAccountUID, "123456789012", signal.FieldAPIOperation, "CreateAccessKey", signal.FieldAPIServiceName, "iam.amazonaws.com",
		signal.FieldAPIResponseError, "AccessDenied", signal.FieldCloudProvider, "aws", signal.FieldCloudRegion, "eu-central-1", signal.FieldHTTPRequestUserAgent, "aws-cli/2.15")
	e.SetStrings(signal.FieldResourcesName, []string{"root-backup"})
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.66"))
	e.SetInt(signal.FieldStatusID, 2)
	e.SetUnmapped("requestParameters.userName", "root-backup")
	e.SetUnmapped("userIdentity.sessionContext.attributes.mfaAuthenticated", "false")

	e = add(signal.ClassAuthentication, signal.ActivityLogon, "linux", "sshd", "", "syslog udp 127.0.0.1:5514 from 192.0.2.7:40022")
	text(e, signal.FieldUserName, "root", signal.FieldDeviceHostname, "web-1", signal.FieldAuthProtocol, "ssh", signal.FieldStatusDetail, "wrong password")
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("198.51.100.23"))
	e.SetInt(signal.FieldStatusID, 2)

	e = add(signal.ClassFileActivity, 4, "linux", "auditd", "", "/var/log/audit/audit.log:310")
	text(e, signal.FieldFilePath, "/var/log/auth.log", signal.FieldActorProcessFilePath, "/usr/bin/shred", signal.FieldActorUserName, "root", signal.FieldDeviceHostname, "web-1")

	e = add(signal.ClassNetworkActivity, 1, "linux", "zeek", "", "/var/log/zeek/conn.log:9")
	text(e, signal.FieldProcessFilePath, "/usr/bin/nc", signal.FieldConnectionInfoProtocolName, "tcp", signal.FieldDeviceHostname, "web-1")
	e.SetIP(signal.FieldDstEndpointIP, netip.MustParseAddr("203.0.113.181"))
	e.SetInt(signal.FieldDstEndpointPort, 4444)

	e = add(signal.ClassDNSActivity, 1, "windows", "dns-server", "dns", "/var/log/win/dns.json:4")
	text(e, signal.FieldQueryHostname, "update.evil.example", signal.FieldQueryType, "TXT", signal.FieldRcode, "NXDOMAIN", signal.FieldDeviceHostname, "desk-17.corp.example")

	e = add(signal.ClassHTTPActivity, signal.HTTPActivity("GET"), "nginx", "access", "webserver", "/var/log/nginx/access.log:5531")
	text(e, signal.FieldHTTPRequestHTTPMethod, "GET", signal.FieldHTTPRequestURLPath, "/.git/config", signal.FieldHTTPRequestUserAgent, "curl/8.14.1")
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.66"))
	e.SetInt(signal.FieldHTTPResponseCode, 404)

	e = add(signal.ClassBaseEvent, 0, "windows", "system", "", "/var/log/win/system.json:77")
	text(e, signal.FieldMetadataEventCode, "7045", signal.FieldDeviceHostname, "desk-17.corp.example", signal.FieldServiceName, "updater")
	e.SetUnmapped("ImagePath", `C:\Users\Public\svc.exe`)
	e.SetUnmapped("StartType", "auto start")
	return all
}

// text sets fields by pairs of a field and its value.
func text(e *signal.Event, pairs ...any) {
	for i := 0; i < len(pairs); i += 2 {
		if v := pairs[i+1].(string); v != "" {
			e.SetString(pairs[i].(signal.Field), v)
		}
	}
}
