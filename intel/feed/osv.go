package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/testudo-sec/testudo/intel"
)

// Bounds of one advisory's file.
const (
	maxAdvisory     = 16 << 20
	maxAdvisoryYAML = 512 << 10 // what parses it takes a thousand times that
	maxYAMLNesting  = 64
	// maxObjects bounds the objects in one advisory: "{}" takes three bytes in a file and a hundred times that in memory. The largest
	// that are published have some ten thousand.
	maxObjects = 250_000
)

// osvRecord is what of the OSV schema (1.7) is read. What stands under database_specific has any shape.
type osvRecord struct {
	ID         string            `json:"id"`
	Aliases    []string          `json:"aliases"`
	Upstream   []string          `json:"upstream"`
	Summary    string            `json:"summary"`
	Details    string            `json:"details"`
	Published  string            `json:"published"`
	Modified   string            `json:"modified"`
	Withdrawn  string            `json:"withdrawn"`
	Severity   []intel.Severity  `json:"severity"`
	References []intel.Reference `json:"references"`
	Affected   []struct {
		Package struct {
			Ecosystem string `json:"ecosystem"`
			Name      string `json:"name"`
			PURL      string `json:"purl"`
		} `json:"package"`
		Severity          []intel.Severity `json:"severity"`
		Ranges            []intel.Range    `json:"ranges"`
		Versions          []string         `json:"versions"`
		EcosystemSpecific json.RawMessage  `json:"ecosystem_specific"`
		DatabaseSpecific  json.RawMessage  `json:"database_specific"`
	} `json:"affected"`
	DatabaseSpecific json.RawMessage `json:"database_specific"`
}

// ParseOSV reads an advisory in OSV form.
func ParseOSV(text []byte) (*intel.Advisory, error) {
	if len(text) > maxAdvisory {
		return nil, fmt.Errorf("it has %d bytes: more than %d are not read", len(text), maxAdvisory)
	}
	if n := bytes.Count(text, []byte("{")); n > maxObjects {
		return nil, fmt.Errorf("it has %d objects: more than %d are not read", n, maxObjects)
	}
	var r osvRecord
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &r); err != nil {
		return nil, fmt.Errorf("not an OSV advisory: %w", err)
	}
	if !intel.ValidID(r.ID) {
		return nil, fmt.Errorf("not an OSV advisory: its id is %.100q", r.ID)
	}
	a := &intel.Advisory{ID: r.ID, Aliases: r.Aliases, Upstream: r.Upstream, Summary: r.Summary, Details: r.Details, Severity: r.Severity,
		References: r.References, Malicious: strings.HasPrefix(r.ID, "MAL-")}
	for _, t := range []struct {
		to   *time.Time
		text string
		name string
	}{{&a.Published, r.Published, "published"}, {&a.Modified, r.Modified, "modified"}, {&a.Withdrawn, r.Withdrawn, "withdrawn"}} {
		if t.text == "" {
			continue
		}
		var err error
		if *t.to, err = time.Parse(time.RFC3339Nano, t.text); err != nil {
			return nil, fmt.Errorf("%s is %.40q: want a time as in 2026-01-02T15:04:05Z", t.name, t.text)
		}
		*t.to = t.to.UTC()
	}
	a.CWE = weaknesses(r.DatabaseSpecific)
	if word := wordOf(r.DatabaseSpecific, "severity"); word != "" {
		a.Severity = append(a.Severity, intel.Severity{Type: "WORD", Score: word})
	}
	for i := range r.Affected {
		e := &r.Affected[i]
		out := intel.Affected{Ecosystem: e.Package.Ecosystem, Name: e.Package.Name, PURL: e.Package.PURL, Ranges: e.Ranges, Versions: e.Versions, Severity: e.Severity}
		if out.Ecosystem == "" && out.Name == "" {
			// Flaws of what is no package are known by its repository.
			for _, g := range e.Ranges {
				if g.Type == "GIT" && g.Repo != "" {
					out.Ecosystem, out.Name = "GIT", g.Repo
					break
				}
			}
		}
		if out.Ecosystem == "" || out.Name == "" {
			continue
		}
		out.Imports = importsOf(e.EcosystemSpecific)
		for _, word := range []string{wordOf(e.EcosystemSpecific, "urgency"), wordOf(e.DatabaseSpecific, "severity"), wordOf(e.EcosystemSpecific, "severity")} {
			if word != "" && word != "not yet assigned" && word != "end-of-life" {
				out.Severity = append(out.Severity, intel.Severity{Type: "WORD", Score: word})
				break
			}
		}
		if len(a.CWE) == 0 {
			a.CWE = weaknesses(e.DatabaseSpecific)
		}
		a.Affected = append(a.Affected, out)
	}
	return a, nil
}

// wordOf returns the short text under a key, of a value that may have any shape.
func wordOf(raw json.RawMessage, key string) string {
	if !bytes.Contains(raw, []byte(`"`+key+`"`)) {
		return ""
	}
	var fields map[string]json.RawMessage
	var word string
	if json.Unmarshal(raw, &fields) != nil || json.Unmarshal(fields[key], &word) != nil || len(word) > 40 {
		return ""
	}
	return word
}

func weaknesses(raw json.RawMessage) []string {
	if !bytes.Contains(raw, []byte(`"cwe`)) {
		return nil
	}
	var byID struct {
		IDs []string `json:"cwe_ids"`
	}
	if json.Unmarshal(raw, &byID) == nil && len(byID.IDs) > 0 {
		return byID.IDs
	}
	var objects struct {
		CWEs []struct {
			ID string `json:"cweId"`
		} `json:"cwes"`
	}
	if json.Unmarshal(raw, &objects) != nil {
		return nil
	}
	var out []string
	for _, c := range objects.CWEs {
		if c.ID != "" {
			out = append(out, c.ID)
		}
	}
	return out
}

func importsOf(raw json.RawMessage) []intel.Import {
	if !bytes.Contains(raw, []byte(`"imports"`)) {
		return nil
	}
	var specific struct {
		Imports []intel.Import `json:"imports"`
	}
	if json.Unmarshal(raw, &specific) != nil {
		return nil
	}
	return specific.Imports
}

// parseYAML reads an advisory that is written in YAML, as PyPA keeps them.
func parseYAML(text []byte) (*intel.Advisory, error) {
	if len(text) > maxAdvisoryYAML {
		return nil, fmt.Errorf("it has %d bytes: more than %d of YAML are not read", len(text), maxAdvisoryYAML)
	}
	if err := plainYAML(text); err != nil {
		return nil, err
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("not an OSV advisory: %.200s", yaml.FormatError(err, false, false))
	}
	return ParseOSV(asJSON)
}

// plainYAML refuses what advisories do not need and what costs a parser more than its text is worth: deep nesting, and anchors,
// by which a small text can stand for a large one.
func plainYAML(text []byte) error {
	flow := 0
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimLeft(line, " ")
		if len(line)-len(trimmed) > 4*maxYAMLNesting && len(bytes.TrimSpace(trimmed)) > 0 {
			return errors.New("it is nested too deeply")
		}
		dashes := 0
		for bytes.HasPrefix(trimmed, []byte("- ")) || bytes.HasPrefix(trimmed, []byte("? ")) {
			trimmed = bytes.TrimLeft(trimmed[2:], " ")
			if dashes++; dashes > maxYAMLNesting {
				return errors.New("it is nested too deeply")
			}
		}
		// "key: &name" and "- *name": in running text they stand after other words.
		value := trimmed
		if _, after, isKey := bytes.Cut(trimmed, []byte(": ")); isKey {
			value = bytes.TrimLeft(after, " ")
		}
		for _, v := range [][]byte{trimmed, value} {
			if len(v) > 1 && (v[0] == '&' || v[0] == '*') && v[1] != ' ' && v[1] != '*' && !bytes.ContainsRune(bytes.TrimSpace(v), ' ') {
				return errors.New("anchors and aliases are not read")
			}
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				flow++
			case ']', '}':
				flow = max(flow-1, 0)
			}
		}
		if flow > 1000 {
			return errors.New("it is nested too deeply")
		}
	}
	return nil
}
