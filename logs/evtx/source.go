package evtx

import "strings"

// serviceOf returns Sigma's product and service of a channel; the service is "" for one that Sigma has no word for.
func serviceOf(channel, provider string) (product, service string) {
	if strings.HasPrefix(channel, "Linux-Sysmon") || provider == "Linux-Sysmon" {
		return "linux", "sysmon"
	}
	if channel == "" && provider == "Microsoft-Windows-Sysmon" {
		return "windows", "sysmon"
	}
	if channel == "" && provider == "Microsoft-Windows-Security-Auditing" {
		return "windows", "security"
	}
	return "windows", channelService(channel)
}

// channelService returns the service of a channel of Windows, by the table of the Sigma project's log sources.
func channelService(channel string) string {
	switch channel {
	case "Security", "security":
		return "security"
	case "System", "system":
		return "system"
	case "Application", "application":
		return "application"
	case "Windows PowerShell":
		return "powershell-classic"
	case "PowerShellCore/Operational":
		return "powershell"
	case "DNS Server":
		return "dns-server"
	case "MSExchange Management":
		return "msexchange-management"
	case "OpenSSH/Operational":
		return "openssh"
	case "Microsoft-IIS-Configuration/Operational":
		return "iis-configuration"
	}
	if strings.HasPrefix(channel, "Microsoft-ServiceBus-Client") {
		return "microsoft-servicebus-client"
	}
	rest, ok := strings.CutPrefix(channel, "Microsoft-Windows-")
	if !ok {
		return ""
	}
	switch rest {
	case "Sysmon/Operational":
		return "sysmon"
	case "PowerShell/Operational":
		return "powershell"
	case "Windows Defender/Operational":
		return "windefend"
	case "TaskScheduler/Operational":
		return "taskscheduler"
	case "WMI-Activity/Operational":
		return "wmi"
	case "NTLM/Operational":
		return "ntlm"
	case "DHCP-Server/Operational":
		return "dhcp"
	case "DNS-Server/Audit":
		return "dns-server-audit"
	case "DNS-Server/Analytical":
		return "dns-server-analytic"
	case "DNS Client Events/Operational", "DNS-Client/Operational":
		return "dns-client"
	case "DriverFrameworks-UserMode/Operational":
		return "driver-framework"
	case "PrintService/Admin":
		return "printservice-admin"
	case "PrintService/Operational":
		return "printservice-operational"
	case "CodeIntegrity/Operational":
		return "codeintegrity-operational"
	case "SmbClient/Security", "SMBClient/Security":
		return "smbclient-security"
	case "SmbClient/Connectivity", "SMBClient/Connectivity":
		return "smbclient-connectivity"
	case "SMBServer/Connectivity":
		return "smbserver-connectivity"
	case "Windows Firewall With Advanced Security/Firewall":
		return "firewall-as"
	case "Bits-Client/Operational":
		return "bits-client"
	case "TerminalServices-LocalSessionManager/Operational":
		return "terminalservices-localsessionmanager"
	case "LDAP-Client/Debug":
		return "ldap"
	case "Security-Mitigations/KernelMode", "Security-Mitigations/UserMode", "Security-Mitigations/Kernel Mode", "Security-Mitigations/User Mode":
		return "security-mitigations"
	case "Diagnosis-Scripted/Operational":
		return "diagnosis-scripted"
	case "Shell-Core/Operational":
		return "shell-core"
	case "AppXDeploymentServer/Operational", "AppXDeployment-Server/Operational":
		return "appxdeployment-server"
	case "AppxPackaging/Operational":
		return "appxpackaging-om"
	case "LSA/Operational":
		return "lsa-server"
	case "AppModel-Runtime/Admin":
		return "appmodel-runtime"
	case "CAPI2/Operational":
		return "capi2"
	case "CertificateServicesClient-Lifecycle-System/Operational":
		return "certificateservicesclient-lifecycle-system"
	case "Kernel-EventTracing/Admin":
		return "kernel-event-tracing"
	case "Kernel-ShimEngine/Operational":
		return "kernel-shimengine"
	case "WinRM/Operational":
		return "winrm"
	}
	if strings.HasPrefix(rest, "AppLocker/") {
		return "applocker"
	}
	return ""
}

// categoryOf returns Sigma's category of an event, "" where it has none.
func categoryOf(service, id, eventType string) string {
	switch service {
	case "sysmon":
		return sysmonCategory(id, eventType)
	case "security":
		switch id {
		case "4688":
			return "process_creation"
		case "4689":
			return "process_termination"
		}
	case "powershell":
		switch id {
		case "4103":
			return "ps_module"
		case "4104":
			return "ps_script"
		}
	case "powershell-classic":
		switch id {
		case "400":
			return "ps_classic_start"
		case "600":
			return "ps_classic_provider_start"
		case "800":
			return "ps_module"
		}
	}
	return ""
}

// sysmonCategory is the table of Sysmon's events.
func sysmonCategory(id, eventType string) string {
	switch id {
	case "1":
		return "process_creation"
	case "2":
		return "file_change"
	case "3":
		return "network_connection"
	case "4", "16":
		return "sysmon_status"
	case "5":
		return "process_termination"
	case "6":
		return "driver_load"
	case "7":
		return "image_load"
	case "8":
		return "create_remote_thread"
	case "9":
		return "raw_access_thread"
	case "10":
		return "process_access"
	case "11":
		return "file_event"
	case "12":
		if strings.HasPrefix(eventType, "Delete") {
			return "registry_delete"
		}
		return "registry_add"
	case "13":
		return "registry_set"
	case "14":
		return "registry_rename"
	case "15":
		return "create_stream_hash"
	case "17", "18":
		return "pipe_created"
	case "19", "20", "21":
		return "wmi_event"
	case "22":
		return "dns_query"
	case "23", "26":
		return "file_delete"
	case "24":
		return "clipboard_capture"
	case "25":
		return "process_tampering"
	case "27":
		return "file_block_executable"
	case "28":
		return "file_block_shredding"
	case "29":
		return "file_executable_detected"
	case "255":
		return "sysmon_error"
	}
	return ""
}
