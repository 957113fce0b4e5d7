package signal

import "fmt"

// OCSFVersion is the version of the schema that names, classes and numbers follow.
const OCSFVersion = "1.5.0"

// Class is an OCSF event class by its class_uid. The thousands are the category.
type Class uint16

// The classes that testudo records.
const (
	ClassBaseEvent            Class = 0 // what no other class fits: a record of a log
	ClassFileActivity         Class = 1001
	ClassProcessActivity      Class = 1007
	ClassVulnerabilityFinding Class = 2002
	ClassComplianceFinding    Class = 2003
	ClassDetectionFinding     Class = 2004
	ClassPostureFinding       Class = 2007 // Application Security Posture Finding
	ClassAuthentication       Class = 3002
	ClassNetworkActivity      Class = 4001
	ClassHTTPActivity         Class = 4002
	ClassDNSActivity          Class = 4003
	ClassAPIActivity          Class = 6003
)

type classSpec struct {
	class      Class
	name       string // short name: rules (on:), lake folders
	title      string // OCSF caption
	activities []string
}

// classTable lists the classes; activities are indexed by activity_id, the
// empty string where the schema has no such number.
var classTable = [...]classSpec{
	{ClassBaseEvent, "base_event", "Base Event", []string{"Unknown"}},
	{ClassFileActivity, "file_activity", "File System Activity", []string{"Unknown", "Create", "Read", "Update", "Delete", "Rename", "Set Attributes", "Set Security", "Get Attributes", "Get Security", "Encrypt", "Decrypt", "Mount", "Unmount", "Open"}},
	{ClassProcessActivity, "process_activity", "Process Activity", []string{"Unknown", "Launch", "Terminate", "Open", "Inject", "Set User ID"}},
	{ClassVulnerabilityFinding, "vulnerability_finding", "Vulnerability Finding", []string{"Unknown", "Create", "Update", "Close"}},
	{ClassComplianceFinding, "compliance_finding", "Compliance Finding", []string{"Unknown", "Create", "Update", "Close"}},
	{ClassDetectionFinding, "detection_finding", "Detection Finding", []string{"Unknown", "Create", "Update", "Close"}},
	{ClassPostureFinding, "application_security_posture_finding", "Application Security Posture Finding", []string{"Unknown", "Create", "Update", "Close"}},
	{ClassAuthentication, "authentication", "Authentication", []string{"Unknown", "Logon", "Logoff", "Authentication Ticket", "Service Ticket Request", "Service Ticket Renew", "Preauth"}},
	{ClassNetworkActivity, "network_activity", "Network Activity", []string{"Unknown", "Open", "Close", "Reset", "Fail", "Refuse", "Traffic", "Listen"}},
	{ClassHTTPActivity, "http_activity", "HTTP Activity", []string{"Unknown", "Connect", "Delete", "Get", "Head", "Options", "Post", "Put", "Trace", "Patch"}},
	{ClassDNSActivity, "dns_activity", "DNS Activity", []string{"Unknown", "Query", "Response", "", "", "", "Traffic"}},
	{ClassAPIActivity, "api_activity", "API Activity", []string{"Unknown", "Create", "Read", "Update", "Delete"}},
}

// ActivityOther is the activity_id for what the schema has no number for.
const ActivityOther uint8 = 99

// Activities of the classes that testudo's own planes produce.
const (
	ActivityProcessLaunch    uint8 = 1
	ActivityProcessTerminate uint8 = 2
	ActivityFindingCreate    uint8 = 1
	ActivityFindingUpdate    uint8 = 2
	ActivityFindingClose     uint8 = 3
	ActivityLogon            uint8 = 1
	ActivityLogoff           uint8 = 2
)

// HTTPActivity returns the activity_id of an HTTP method.
func HTTPActivity(method string) uint8 {
	switch method {
	case "CONNECT":
		return 1
	case "DELETE":
		return 2
	case "GET":
		return 3
	case "HEAD":
		return 4
	case "OPTIONS":
		return 5
	case "POST":
		return 6
	case "PUT":
		return 7
	case "TRACE":
		return 8
	case "PATCH":
		return 9
	}
	return ActivityOther
}

func (c Class) spec() *classSpec {
	for i := range classTable {
		if classTable[i].class == c {
			return &classTable[i]
		}
	}
	return nil
}

// Classes returns the known classes in the order of their numbers.
func Classes() []Class {
	all := make([]Class, len(classTable))
	for i := range classTable {
		all[i] = classTable[i].class
	}
	return all
}

// ParseClass reads a class's short name, as in "http_activity".
func ParseClass(name string) (Class, error) {
	for i := range classTable {
		if classTable[i].name == name {
			return classTable[i].class, nil
		}
	}
	return 0, fmt.Errorf("unknown event class %q", name)
}

// Known reports whether the class is in the table.
func (c Class) Known() bool { return c.spec() != nil }

// String returns the short name, as in "http_activity", which rules and lake
// folders use; "class_N" for an unknown class.
func (c Class) String() string {
	if s := c.spec(); s != nil {
		return s.name
	}
	return fmt.Sprintf("class_%d", uint16(c))
}

// Title returns the OCSF caption, as in "HTTP Activity".
func (c Class) Title() string {
	if s := c.spec(); s != nil {
		return s.title
	}
	return ""
}

// Category returns the OCSF category_uid.
func (c Class) Category() int { return int(c) / 1000 }

// Activity returns the OCSF caption of an activity of the class, "" where the
// schema has none.
func (c Class) Activity(id uint8) string {
	if id == ActivityOther {
		return "Other"
	}
	if s := c.spec(); s != nil && int(id) < len(s.activities) {
		return s.activities[id]
	}
	return ""
}

// Severity is the OCSF severity_id.
type Severity uint8

// The severities, by OCSF's numbers.
const (
	SeverityUnknown Severity = iota
	SeverityInfo
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
	SeverityFatal
)

var severityNames = [...]string{"unknown", "info", "low", "medium", "high", "critical", "fatal"}

// String returns the lower-case name.
func (s Severity) String() string {
	if int(s) < len(severityNames) {
		return severityNames[s]
	}
	return "unknown"
}

// ParseSeverity reads a lower-case name.
func ParseSeverity(name string) (Severity, error) {
	for i, n := range severityNames {
		if n == name {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("unknown severity %q: want info, low, medium, high, critical or fatal", name)
}

// MarshalText writes the lower-case name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the lower-case name.
func (s *Severity) UnmarshalText(b []byte) error {
	v, err := ParseSeverity(string(b))
	if err == nil {
		*s = v
	}
	return err
}

// Plane is where an event was seen.
type Plane uint8

// The planes. Their numbers are part of the binary frame.
const (
	PlaneNone Plane = iota
	PlaneScan
	PlaneKernel
	PlaneEdge
	PlaneMesh
	PlaneCluster
	PlaneCloud
	PlaneLogs
	PlaneTestudo // testudo about itself: sign-ins to the console, findings
)

// DetailRefused is the status detail of what a gate of a host was asked about, and refused: its status was written when it had been judged.
const DetailRefused = "refused before it happened"

var planeNames = [...]string{"", "scan", "kernel", "edge", "mesh", "cluster", "cloud", "logs", "testudo"}

// String returns the plane's name, "" for none.
func (p Plane) String() string {
	if int(p) < len(planeNames) {
		return planeNames[p]
	}
	return ""
}

// ParsePlane reads a plane's name; "" is PlaneNone.
func ParsePlane(name string) (Plane, error) {
	for i, n := range planeNames {
		if n == name {
			return Plane(i), nil
		}
	}
	return 0, fmt.Errorf("unknown plane %q", name)
}

// MarshalText writes the plane's name.
func (p Plane) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the plane's name.
func (p *Plane) UnmarshalText(b []byte) error {
	v, err := ParsePlane(string(b))
	if err == nil {
		*p = v
	}
	return err
}
