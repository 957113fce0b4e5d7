// Package intel is what the world knows: advisories, which of them are exploited and how likely that is.
// [Open] reads a database that the folders beside this file build and carry; it asks no network.
package intel

import "time"

// Advisory says what is wrong with some versions of some packages, in the terms of the OSV schema
// (https://ossf.github.io/osv-schema), joined with what else is known of it.
type Advisory struct {
	ID      string   `json:"id"`
	Aliases []string `json:"aliases,omitempty"`
	// Upstream are the advisories that this one passes on, as a distribution does.
	Upstream   []string    `json:"upstream,omitempty"`
	Summary    string      `json:"summary,omitempty"`
	Details    string      `json:"details,omitempty"`
	Published  time.Time   `json:"published,omitzero"`
	Modified   time.Time   `json:"modified,omitzero"`
	Withdrawn  time.Time   `json:"withdrawn,omitzero"`
	Severity   []Severity  `json:"severity,omitempty"`
	Affected   []Affected  `json:"affected,omitempty"`
	References []Reference `json:"references,omitempty"`
	// Malicious says that the package itself is an attack (MAL- ids).
	Malicious bool `json:"malicious,omitempty"`
	// CWE are the weaknesses: "CWE-79".
	CWE []string `json:"cwe,omitempty"`

	// Exploited is the entry in a list of exploited vulnerabilities, if there is one.
	Exploited *Exploited `json:"exploited,omitempty"`
	// Probability is EPSS's, if known.
	Probability *Probability `json:"probability,omitempty"`
}

// Severity is a rating: Type is "CVSS_V2", "CVSS_V3", "CVSS_V4" with a vector as Score, or "Ubuntu" and the like, or "WORD"
// with a database's own word: "HIGH".
type Severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// Affected is one package of an advisory.
type Affected struct {
	Ecosystem string `json:"ecosystem"` // with its release: "Debian:12"
	Name      string `json:"name"`
	PURL      string `json:"purl,omitempty"`
	// Ranges and Versions are alternatives: a version is affected if one of them says so.
	Ranges   []Range    `json:"ranges,omitempty"`
	Versions []string   `json:"versions,omitempty"`
	Severity []Severity `json:"severity,omitempty"`
	// Imports are the parts of the package with the flaw, where the database names them (Go).
	Imports []Import `json:"imports,omitempty"`
}

// Range is a set of versions, as events in the order of versions. Type is "SEMVER", "ECOSYSTEM" or "GIT".
type Range struct {
	Type   string  `json:"type"`
	Repo   string  `json:"repo,omitempty"`
	Events []Event `json:"events"`
}

// Event is one end of a range; one of its fields is set.
type Event struct {
	Introduced   string `json:"introduced,omitempty"` // "0": from the first
	Fixed        string `json:"fixed,omitempty"`
	LastAffected string `json:"last_affected,omitempty"`
	Limit        string `json:"limit,omitempty"`
}

// Import is a package with its symbols that have the flaw; no symbols stand for all.
type Import struct {
	Path    string   `json:"path"`
	Symbols []string `json:"symbols,omitempty"`
	GOOS    []string `json:"goos,omitempty"`
	GOARCH  []string `json:"goarch,omitempty"`
}

// Reference is a page about the advisory.
type Reference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// Exploited is an entry of CISA's list of known exploited vulnerabilities.
type Exploited struct {
	CVE        string    `json:"cve"`
	Added      time.Time `json:"added,omitzero"`
	Due        time.Time `json:"due,omitzero"`
	Ransomware bool      `json:"ransomware,omitempty"`
}

// Probability is the chance of exploitation within 30 days by FIRST's EPSS: both values are 0 to 1.
type Probability struct {
	CVE        string    `json:"cve"`
	Score      float64   `json:"score"`
	Percentile float64   `json:"percentile"`
	Date       time.Time `json:"date,omitzero"`
}
