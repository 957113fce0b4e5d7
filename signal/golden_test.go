package signal

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenEvents holds one event a class, with the fields that class is about.
func goldenEvents() map[string]*Event {
	at := time.Date(2026, 11, 22, 10, 0, 0, 250e6, time.UTC)
	event := func(class Class, activity uint8, plane Plane, set func(e *Event)) *Event {
		e := new(Event)
		e.ID, _ = ParseID("0192f0c1-2345-7abc-8def-0123456789ab")
		e.Time, e.Class, e.Activity, e.Severity, e.Plane, e.Seq = at.UnixNano(), class, activity, SeverityInfo, plane, 7
		set(e)
		return e
	}
	finding := func(kind FindingKind, set func(f *Finding)) *Event {
		f := &Finding{ID: Fingerprint("golden", string(kind)), Kind: kind, Rule: "rule-1", Title: "A finding", Severity: SeverityHigh,
			State: FindingOpen, Asset: AssetID("repository", "shop"), Fix: "Mend it.", References: []string{"https://example.com/fix"},
			First: at, Last: at.Add(time.Second), Count: 2, Evidence: []Evidence{{"line", "3"}, {"shape", "AKIA…"}}, Tags: []string{"cwe-798"}}
		set(f)
		e := new(Event)
		f.Event(e, ActivityFindingCreate, at)
		e.ID, _ = ParseID("0192f0c1-2345-7abc-8def-0123456789ab")
		return e
	}
	return map[string]*Event{
		"http_activity": event(ClassHTTPActivity, HTTPActivity("GET"), PlaneEdge, func(e *Event) {
			e.SetString(FieldHTTPRequestHTTPMethod, "GET")
			e.SetString(FieldHTTPRequestURLPath, "/search")
			e.SetMasked(FieldHTTPRequestURLQueryString, "q=canary", "q=*")
			e.SetIP(FieldSrcEndpointIP, netip.MustParseAddr("2001:db8::1"))
			e.SetInt(FieldHTTPResponseCode, 403)
			e.SetStrings(FieldWAFRules, []string{"942100"})
			e.SetInt(FieldWAFScore, 5)
		}),
		"process_activity": event(ClassProcessActivity, ActivityProcessLaunch, PlaneKernel, func(e *Event) {
			e.SetString(FieldProcessName, "sh")
			e.SetInt(FieldProcessPID, 4711)
			e.SetString(FieldProcessCmdLine, "sh -c id")
			e.SetTime(FieldProcessCreatedTime, at)
			e.SetString(FieldProcessParentProcessFilePath, "/usr/sbin/nginx")
			e.SetStrings(FieldProcessFileHashesValue, []string{"ab", "cd"})
		}),
		"file_activity": event(ClassFileActivity, 14, PlaneKernel, func(e *Event) {
			e.SetString(FieldFilePath, "/etc/shadow")
			e.SetString(FieldActorProcessName, "cat")
			e.SetStrings(FieldOpenFlags, []string{"O_RDONLY"})
		}),
		"base_event": event(ClassBaseEvent, 0, PlaneLogs, func(e *Event) {
			e.SetString(FieldMetadataLogProduct, "windows")
			e.SetString(FieldMetadataLogCategory, "registry_set")
			e.SetString(FieldRegKeyPath, `HKLM\Software\Run`)
			e.SetUnmapped("EventType", "SetValue")
		}),
		"network_activity": event(ClassNetworkActivity, 1, PlaneKernel, func(e *Event) {
			e.SetIP(FieldDstEndpointIP, netip.MustParseAddr("198.51.100.7"))
			e.SetInt(FieldDstEndpointPort, 443)
			e.SetInt(FieldTrafficBytesOut, 1<<40)
		}),
		"dns_activity": event(ClassDNSActivity, 1, PlaneKernel, func(e *Event) {
			e.SetString(FieldQueryHostname, "example.com")
			e.SetStrings(FieldAnswersRData, []string{"192.0.2.1", "192.0.2.2"})
			e.SetStrings(FieldAnswersType, []string{"A", "A"})
		}),
		"api_activity": event(ClassAPIActivity, 1, PlaneLogs, func(e *Event) {
			e.SetString(FieldAPIOperation, "CreateUser")
			e.SetString(FieldAPIServiceName, "iam.amazonaws.com")
			e.SetStrings(FieldResourcesName, []string{"ann"})
			e.SetUnmapped("requestParameters.path", "/")
		}),
		"authentication": event(ClassAuthentication, ActivityLogon, PlaneTestudo, func(e *Event) {
			e.SetString(FieldUserName, "ann")
			e.SetBool(FieldIsMFA, false)
			e.SetInt(FieldStatusID, 2)
		}),
		"detection_finding": finding(FindingDetection, func(f *Finding) {
			f.Plane = PlaneEdge
			id, _ := ParseID("0192f0c1-2345-7abc-8def-0123456789ac")
			f.Events = []ID{id}
		}),
		"vulnerability_finding": finding(FindingVulnerability, func(f *Finding) {
			f.Plane, f.Rule, f.Title = PlaneScan, "CVE-2024-0001", "CVE-2024-0001 in @acme/left 1.0.0: too far left"
			f.Evidence = []Evidence{{EvidencePackage, "pkg:npm/%40acme/left@1.0.0"}, {EvidenceInstalled, "1.0.0"}, {EvidenceFixed, "1.2.3"}, {EvidencePriority, "98 of 100: CVSS 9.8 (+88)"},
				{EvidenceAliases, "GHSA-aaaa-bbbb-cccc"}, {EvidenceCVSS, "9.8 (CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H)"}, {EvidenceEPSS, "0.97"}, {EvidenceExploited, "2024-02-03"}}
		}),
		"compliance_finding": func() *Event {
			e := finding(FindingCompliance, func(f *Finding) { f.Plane = PlaneCluster })
			e.SetString(FieldComplianceControl, "5.1.1")
			e.SetStrings(FieldComplianceStandards, []string{"CIS"})
			e.SetInt(FieldComplianceStatusID, 3)
			return e
		}(),
		"application_security_posture_finding": finding(FindingPosture, func(f *Finding) {
			f.Plane = PlaneScan
			f.Location = Location{Path: "src/config.py", Line: 3, EndLine: 3, Column: 9, Snippet: "key = \"AKIA…\""}
		}),
	}
}

// TestGoldenForms pins the OCSF form and the binary frame of one event of every class:
// both are on disk and in other programs.
func TestGoldenForms(t *testing.T) {
	events := goldenEvents()
	for _, class := range Classes() {
		e := events[class.String()]
		if e == nil {
			t.Errorf("no golden event of class %v", class)
			continue
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, e.AppendJSON(nil), "", "  "); err != nil {
			t.Fatal(err)
		}
		pretty.WriteByte('\n')
		golden(t, class.String()+".json", pretty.Bytes())
		golden(t, class.String()+".frame", e.AppendFrame(nil))

		var fromJSON, fromFrame Event
		if err := fromJSON.UnmarshalJSON(readGolden(t, class.String()+".json")); err != nil {
			t.Fatal(err)
		}
		if f := ReadFrames(readGolden(t, class.String()+".frame")); !f.Next(&fromFrame) {
			t.Fatal(f.Err())
		}
		if d := difference(&fromJSON, e) + difference(&fromFrame, e); d != "" {
			t.Errorf("%v: the golden files differ from the event in %s", class, d)
		}
	}
}

// TestFieldNumbersAreStable pins the numbers of the fields, which are on disk.
func TestFieldNumbersAreStable(t *testing.T) {
	var b bytes.Buffer
	for _, f := range Fields() {
		b.WriteString(f.Path() + " " + f.Kind().String() + "\n")
	}
	if *update {
		golden(t, "fields.txt", b.Bytes())
	}
	if !bytes.HasPrefix(b.Bytes(), readGolden(t, "fields.txt")) {
		t.Error("a field was renumbered, renamed or removed: append new ones to fields.tsv instead")
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(readGolden(t, name)), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
