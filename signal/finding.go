package signal

import (
	"crypto/sha256"
	"encoding/base32"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// FindingKind is the sort of weakness; it chooses the OCSF class.
type FindingKind string

// The kinds of findings.
const (
	FindingDetection     FindingKind = "detection"     // something happened
	FindingVulnerability FindingKind = "vulnerability" // a known flaw in a component
	FindingCompliance    FindingKind = "compliance"    // a control that does not hold
	FindingPosture       FindingKind = "posture"       // a weakness in code or artefacts: secrets, SAST, IaC
)

// Class returns the OCSF class of findings of that kind.
func (k FindingKind) Class() Class {
	switch k {
	case FindingVulnerability:
		return ClassVulnerabilityFinding
	case FindingCompliance:
		return ClassComplianceFinding
	case FindingPosture:
		return ClassPostureFinding
	}
	return ClassDetectionFinding
}

// FindingState is where a finding stands.
type FindingState string

// The states of a finding.
const (
	FindingOpen     FindingState = "open"
	FindingResolved FindingState = "resolved" // mended, or no longer seen
	FindingMuted    FindingState = "muted"    // a person decided that it does not matter
)

// Finding is something that is wrong. The same weakness seen twice is one
// finding: ID is its fingerprint, First and Last span its sightings. Nothing in it holds
// a secret in clear.
type Finding struct {
	ID         string       `json:"id"` // by Fingerprint
	Kind       FindingKind  `json:"kind"`
	Rule       string       `json:"rule"`
	Title      string       `json:"title"`
	Desc       string       `json:"desc,omitempty"`
	Severity   Severity     `json:"severity"`
	State      FindingState `json:"state"`
	Plane      Plane        `json:"plane"`
	Asset      string       `json:"asset,omitempty"` // asset id
	Location   Location     `json:"location,omitzero"`
	Evidence   []Evidence   `json:"evidence,omitempty"`
	Fix        string       `json:"fix,omitempty"` // how to mend it
	References []string     `json:"references,omitempty"`
	Tags       []string     `json:"tags,omitempty"`
	First      time.Time    `json:"first_seen"`
	Last       time.Time    `json:"last_seen"`
	Count      uint64       `json:"count"`
	Events     []ID         `json:"events,omitempty"` // the latest events behind it, at most MaxFindingEvents
}

// MaxFindingEvents bounds the events that a finding names.
const MaxFindingEvents = 20

// Location is a place in code or an artefact.
type Location struct {
	Path    string `json:"path"` // relative to the root of the scan, with slashes
	Line    int    `json:"line,omitempty"`
	EndLine int    `json:"end_line,omitempty"`
	Column  int    `json:"column,omitempty"` // from 1, in bytes
	Snippet string `json:"snippet,omitempty"`
	Commit  string `json:"commit,omitempty"`
}

// Evidence is one thing that shows that the finding is true.
type Evidence struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// The evidence by which a vulnerability says what it is of: Event makes the attributes of OCSF of them.
const (
	EvidencePackage   = "package"         // package URL
	EvidenceInstalled = "installed"       // version
	EvidenceFixed     = "fixed in"        // lowest version without it that can be upgraded to
	EvidencePriority  = "priority"        // "88 of 100: ..."
	EvidenceAliases   = "also known as"   // ids, separated by ", "
	EvidenceCVSS      = "CVSS"            // base score, then the vector in parentheses
	EvidenceEPSS      = "EPSS"            // probability, 0 to 1
	EvidenceExploited = "known exploited" // since when, as a day
)

// EvidenceOf returns the first piece of evidence of that name; empty if there is none.
func (f *Finding) EvidenceOf(name string) string {
	for _, e := range f.Evidence {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// Fingerprint returns an id for what the parts name, 26 characters, the same for the
// same parts in the same order: the first 128 bits of a SHA-256 over the parts, each
// with its length before it, in base32.
func Fingerprint(parts ...string) string {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		putBE64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:16]))
}

// Event fills e with the finding as an OCSF finding event of that activity.
func (f *Finding) Event(e *Event, activity uint8, now time.Time) {
	e.Reset()
	e.ID, e.Time, e.Class, e.Activity = NewID(now), now.UnixNano(), f.Kind.Class(), activity
	e.Severity, e.Plane = f.Severity, f.Plane
	set := func(field Field, v string) {
		if v != "" {
			e.SetString(field, v)
		}
	}
	set(FieldFindingInfoUID, f.ID)
	set(FieldFindingInfoTitle, f.Title)
	set(FieldFindingInfoDesc, f.Desc)
	set(FieldFindingInfoAnalyticUID, f.Rule)
	set(FieldRemediationDesc, f.Fix)
	set(FieldCodeLocationPath, f.Location.Path)
	set(FieldCodeLocationSnippet, f.Location.Snippet)
	set(FieldCodeLocationCommit, f.Location.Commit)
	e.SetString(FieldStatusDetail, string(f.State))
	e.SetStrings(FieldFindingInfoTypes, []string{string(f.Kind)})
	e.SetTime(FieldFindingInfoFirstSeenTime, f.First)
	e.SetTime(FieldFindingInfoLastSeenTime, f.Last)
	e.SetInt(FieldCount, int64(f.Count))
	if f.Location.Line > 0 {
		e.SetInt(FieldCodeLocationLine, int64(f.Location.Line))
	}
	if f.Location.EndLine > 0 {
		e.SetInt(FieldCodeLocationEndLine, int64(f.Location.EndLine))
	}
	if f.Location.Column > 0 {
		e.SetInt(FieldCodeLocationColumn, int64(f.Location.Column))
	}
	if f.Asset != "" {
		e.SetStrings(FieldResourcesUID, []string{f.Asset})
	}
	if len(f.References) > 0 {
		e.SetStrings(FieldRemediationReferences, f.References)
	}
	if len(f.Tags) > 0 {
		e.SetStrings(FieldMetadataLabels, f.Tags)
	}
	if n := len(f.Evidence); n > 0 {
		names, values := make([]string, n), make([]string, n)
		for i, v := range f.Evidence {
			names[i], values[i] = v.Name, v.Value
		}
		e.SetStrings(FieldEvidencesName, names)
		e.SetStrings(FieldEvidencesValue, values)
	}
	if f.Kind == FindingVulnerability {
		f.vulnerability(e)
	}
	if n := len(f.Events); n > 0 {
		ids := make([]string, n)
		for i, id := range f.Events {
			ids[i] = id.String()
		}
		e.SetStrings(FieldFindingInfoRelatedEventsUID, ids)
	}
}

// vulnerability fills in what OCSF has of vulnerabilities beyond findings.
func (f *Finding) vulnerability(e *Event) {
	one := func(field Field, v string) {
		if v != "" {
			e.SetStrings(field, []string{v})
		}
	}
	one(FieldVulnerabilitiesCVEUID, f.cve())
	one(FieldVulnerabilitiesTitle, f.Title)
	one(FieldVulnerabilitiesSeverity, f.Severity.String())
	score, _, _ := strings.Cut(f.EvidenceOf(EvidenceCVSS), " ")
	one(FieldVulnerabilitiesCVECVSSScore, score)
	one(FieldVulnerabilitiesCVEEpssScore, f.EvidenceOf(EvidenceEPSS))
	if f.EvidenceOf(EvidenceExploited) != "" {
		one(FieldVulnerabilitiesIsExploitAvailable, "true")
	}
	purl := f.EvidenceOf(EvidencePackage)
	if purl == "" {
		return
	}
	one(FieldVulnerabilitiesAffectedPackagesPURL, purl)
	one(FieldVulnerabilitiesAffectedPackagesName, packageName(purl))
	one(FieldVulnerabilitiesAffectedPackagesVersion, f.EvidenceOf(EvidenceInstalled))
	fixed := f.EvidenceOf(EvidenceFixed)
	one(FieldVulnerabilitiesAffectedPackagesFixedInVersion, fixed)
	one(FieldVulnerabilitiesIsFixAvailable, strconv.FormatBool(fixed != ""))
}

// cve is the CVE's number; empty if it has none.
func (f *Finding) cve() string {
	if strings.HasPrefix(f.Rule, "CVE-") {
		return f.Rule
	}
	for alias := range strings.SplitSeq(f.EvidenceOf(EvidenceAliases), ", ") {
		if strings.HasPrefix(alias, "CVE-") {
			return alias
		}
	}
	return ""
}

// packageName is the name in a package URL, with its namespace: "@babel/core" of "pkg:npm/%40babel/core@7.0.0".
func packageName(purl string) string {
	name, _, _ := strings.Cut(purl, "?")
	name, _, _ = strings.Cut(name, "#")
	if _, rest, ok := strings.Cut(name, "/"); ok {
		name = rest
	}
	if at := strings.LastIndexByte(name, '@'); at > 0 {
		name = name[:at]
	}
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}
