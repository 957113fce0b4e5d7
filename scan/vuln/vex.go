package vuln

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/openvex/go-vex/pkg/vex"

	"github.com/testudo-sec/testudo/scan"
)

// maxDocument bounds a VEX document.
const maxDocument = 64 << 20

// Statement is what a VEX document says of one vulnerability in one package.
type Statement struct {
	Vulnerability string   // and its aliases in Names
	Names         []string // all names, the first included
	PURL          string   // of the package, with or without a version
	Status        Status
	Why           string // the justification or the impact, for people
	Time          time.Time
}

// Status is VEX's.
type Status string

// The statuses of the VEX minimum requirements.
const (
	NotAffected        Status = "not_affected"
	Affected           Status = "affected"
	FixedStatus        Status = "fixed"
	UnderInvestigation Status = "under_investigation"
)

// ReadVEX reads an OpenVEX document or a CSAF document with product statuses. Products without a package URL are
// passed over. Where OpenVEX names subcomponents, the statement is about these.
func ReadVEX(r io.Reader) ([]Statement, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("the VEX document is larger than %d MiB", maxDocument>>20)
	}
	var head struct {
		Context  string          `json:"@context"`
		Document json.RawMessage `json:"document"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("the VEX document is no JSON: %w", err)
	}
	switch {
	case strings.HasPrefix(head.Context, "https://openvex.dev/ns"):
		return readOpenVEX(data)
	case len(head.Document) > 0:
		return readCSAF(data)
	}
	return nil, errors.New(`neither OpenVEX ("@context": "https://openvex.dev/ns…") nor CSAF ("document") was found in the VEX document`)
}

func readOpenVEX(data []byte) ([]Statement, error) {
	doc, err := vex.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("OpenVEX: %w", err)
	}
	var out []Statement
	for i := range doc.Statements {
		s := &doc.Statements[i]
		if !s.Status.Valid() {
			return nil, fmt.Errorf("OpenVEX: statement %d has the status %q: want one of %s", i+1, scan.Printable(string(s.Status)), strings.Join(vex.Statuses(), ", "))
		}
		base := Statement{Vulnerability: string(s.Vulnerability.Name), Status: Status(s.Status), Why: why(s)}
		base.Names = append(base.Names, base.Vulnerability)
		for _, a := range s.Vulnerability.Aliases {
			base.Names = append(base.Names, string(a))
		}
		for _, at := range []*time.Time{s.LastUpdated, s.Timestamp, doc.LastUpdated, doc.Timestamp} {
			if at != nil {
				base.Time = *at
				break
			}
		}
		for _, p := range s.Products {
			components := []vex.Component{p.Component}
			if len(p.Subcomponents) > 0 {
				components = components[:0]
				for _, sub := range p.Subcomponents {
					components = append(components, sub.Component)
				}
			}
			for _, c := range components {
				if purl := purlOf(c); purl != "" {
					st := base
					st.PURL = purl
					out = append(out, st)
				}
			}
		}
	}
	return out, nil
}

func why(s *vex.Statement) string {
	var parts []string
	for _, p := range []string{string(s.Justification), s.ImpactStatement, s.StatusNotes} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

func purlOf(c vex.Component) string {
	if p := c.Identifiers[vex.PURL]; p != "" {
		return p
	}
	if strings.HasPrefix(c.ID, "pkg:") {
		return c.ID
	}
	return ""
}

// notAffected reports whether the latest statement about the flaw says so.
func (m *Matcher) notAffected(f *Flaw) bool {
	var latest *Statement
	for i := range m.o.Statements {
		s := &m.o.Statements[i]
		if f.isAbout(s) && (latest == nil || s.after(latest)) {
			latest = s
		}
	}
	if latest == nil || latest.Status != NotAffected && latest.Status != FixedStatus {
		return false
	}
	f.VEX = latest
	return true
}

// after reports whether s replaces t: it is later, or as old and says that something is to be done.
func (s *Statement) after(t *Statement) bool {
	if !s.Time.Equal(t.Time) {
		return s.Time.After(t.Time)
	}
	return s.Status == Affected || s.Status == UnderInvestigation
}

func (f *Flaw) isAbout(s *Statement) bool {
	named := slices.ContainsFunc(s.Names, func(n string) bool { return n == f.ID || slices.Contains(f.Aliases, n) })
	return named && vex.PurlMatches(s.PURL, f.Package().PURL)
}

// WriteVEX writes what is known of the flaws as an OpenVEX document, the same for the same flaws: what is reachable or
// not judged is affected, what nothing calls is not. Author is who says it; at is when.
func WriteVEX(w io.Writer, flaws []*Flaw, author string, at time.Time) error {
	at = at.UTC().Truncate(time.Second)
	doc := vex.VEX{Metadata: vex.Metadata{Context: vex.ContextLocator(), Author: author, Version: 1, Timestamp: &at, Tooling: "testudo"}}
	doc.Statements = []vex.Statement{}
	for _, f := range flaws {
		s := vex.Statement{Vulnerability: vex.Vulnerability{Name: vex.VulnerabilityID(f.ID)}, Status: vex.StatusAffected}
		for _, a := range f.Aliases {
			s.Vulnerability.Aliases = append(s.Vulnerability.Aliases, vex.VulnerabilityID(a))
		}
		s.Products = []vex.Product{{Component: vex.Component{ID: f.Package().PURL, Identifiers: map[vex.IdentifierType]string{vex.PURL: f.Package().PURL}}}}
		switch {
		case f.VEX != nil:
			s.Status, s.ImpactStatement = vex.Status(f.VEX.Status), f.VEX.Why
			if s.Status == vex.StatusNotAffected && s.ImpactStatement == "" {
				s.ImpactStatement = "said by another VEX document without a reason"
			}
		case f.Reach == NotReached:
			s.Status, s.Justification = vex.StatusNotAffected, vex.VulnerableCodeNotInExecutePath
		case f.Reach == NotImported, f.Reach == NotBuilt:
			s.Status, s.Justification = vex.StatusNotAffected, vex.VulnerableCodeNotPresent
		default:
			s.ActionStatement = f.fix()
		}
		doc.Statements = append(doc.Statements, s)
	}
	slices.SortFunc(doc.Statements, func(a, b vex.Statement) int {
		return strings.Compare(string(a.Vulnerability.Name)+" "+a.Products[0].ID, string(b.Vulnerability.Name)+" "+b.Products[0].ID)
	})
	if _, err := doc.GenerateCanonicalID(); err != nil {
		return fmt.Errorf("OpenVEX: %w", err)
	}
	var b bytes.Buffer
	if err := doc.ToJSON(&b); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
