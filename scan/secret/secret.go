// Package secret is the scanner for secrets in files: it puts the findings of package detect
// into words, without ever repeating a secret. It looks also at what is encoded in a file: base64, hexadecimal,
// percent-encoding, gzip in these, and in each other.
//
// A finding's id is stable when lines move. For secrets that machines make it is derived from
// the rule, the path and the secret, of which nobody can guess the 80 bits and more; for
// secrets that people may choose it is derived from what stands before the secret in its line
// instead, so that no hash of a password leaves the machine. See
// docs/decisions/0009-secret-detection.md.
package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// Scanner finds secrets. It is safe for concurrent use.
type Scanner struct {
	set      *detect.Set
	verifier Verifier
}

// New returns a scanner that uses the rules of the set.
func New(set *detect.Set) *Scanner { return &Scanner{set: set} }

// NewVerifying returns a scanner that asks about each secret that it finds, while it has it. What is found in an
// inconspicuous place and is in use is reported with high confidence.
func NewVerifying(set *detect.Set, v Verifier) *Scanner { return &Scanner{set: set, verifier: v} }

// Name returns "secret".
func (s *Scanner) Name() string { return "secret" }

// Rules lists what it finds.
func (s *Scanner) Rules() []scan.Rule {
	var out []scan.Rule
	for _, r := range s.set.Rules() {
		out = append(out, scan.Rule{ID: r.ID, Title: r.Title, Why: r.Why, Fix: r.Fix, Severity: r.Severity, References: r.References, Tags: r.Tags})
	}
	return out
}

var errCutShort = errors.New("too much in it looks like a secret: the rest of the file was not judged")

// maxPlaces bounds the other lines that a finding names.
const maxPlaces = 10

// Scan looks at a file that is text.
func (s *Scanner) Scan(ctx context.Context, f *scan.File, report scan.Report) error {
	if f.Binary {
		return nil
	}
	var matches []detect.Match
	complete := s.set.FindIn(f.Path, f.Data, func(m detect.Match) bool {
		matches = append(matches, m)
		return true
	})
	d := decoder{find: s.set.FindIn, path: f.Path, room: maxDecoded + len(f.Data)}
	d.look(f.Data, 0, "", 0, 0)
	for _, group := range group(f, merge(matches, f.Data, d.hits)) {
		if s.verifier != nil {
			group.ask(ctx, s.verifier)
		}
		report(group.finding, group.confidence)
	}
	switch {
	case !complete:
		return errCutShort
	case d.short:
		return errEncoded
	}
	return nil
}

// sighting is one secret with all its places in the file.
type sighting struct {
	finding    signal.Finding
	confidence scan.Confidence
	places     []string
	hit        hit // the first
}

// group makes one finding of all places that hold the same secret.
func group(f *scan.File, matches []hit) []*sighting {
	var order []*sighting
	byID := map[string]*sighting{}
	contexts := map[string]int{}
	line, lineStart, at := 1, 0, 0
	for i, m := range matches {
		for at < m.Start {
			n := bytes.IndexByte(f.Data[at:m.Start], '\n')
			if n < 0 {
				break
			}
			at += n + 1
			line, lineStart = line+1, at
		}
		before := leadUp(f.Data, lineStart, m.Start, matches[:i])
		id := fingerprint(f, m, before, contexts)
		if g := byID[id]; g != nil {
			g.finding.Count++
			if len(g.places) < maxPlaces {
				g.places = append(g.places, strconv.Itoa(line))
			}
			continue
		}
		g := &sighting{confidence: scan.Confidence(m.Confidence), hit: m}
		g.finding = signal.Finding{
			ID: id, Kind: signal.FindingPosture, Rule: m.Rule.ID, Title: m.Rule.Title, Desc: m.Rule.Why, Severity: m.Rule.Severity,
			Fix: m.Rule.Fix, References: m.Rule.References, Tags: m.Rule.Tags, Count: 1,
			Location: signal.Location{Path: f.Path, Line: line, EndLine: line + bytes.Count(f.Data[m.Start:m.End], []byte("\n")), Column: m.Start - lineStart + 1,
				Snippet: before + mask(m.secret, m.Rule)},
			Evidence: []signal.Evidence{{Name: "secret", Value: m.via + describe(m.secret, m.Rule)}},
		}
		if m.Proof != "" {
			g.finding.Evidence = append(g.finding.Evidence, signal.Evidence{Name: "proof", Value: m.Proof})
		}
		if m.Note != "" {
			g.finding.Evidence = append(g.finding.Evidence, signal.Evidence{Name: "names", Value: m.Note})
		}
		byID[id] = g
		order = append(order, g)
	}
	for _, g := range order {
		if len(g.places) > 0 {
			g.finding.Evidence = append(g.finding.Evidence, signal.Evidence{Name: "also on lines", Value: strings.Join(g.places, ", ")})
		}
	}
	return order
}

func fingerprint(f *scan.File, m hit, before string, contexts map[string]int) string {
	if !m.Rule.Guessable {
		return signal.Fingerprint("secret", m.Rule.ID, f.Path, string(m.secret))
	}
	context := m.Rule.ID + "\x00" + strings.Join(strings.Fields(before), " ")
	contexts[context]++
	return signal.Fingerprint("secret-place", m.Rule.ID, f.Path, context, strconv.Itoa(contexts[context]))
}

// mask stands for the secret: the fixed beginning of its format, if it has one.
func mask(secret []byte, r *detect.Rule) string {
	for i := range r.Detect {
		for _, l := range r.Detect[i].Literals {
			l = strings.TrimLeft(l, `"'=:> `)
			if len(l) >= 3 && bytes.HasPrefix(secret, []byte(l)) {
				return scan.Printable(l) + "…"
			}
		}
	}
	return "…"
}

func describe(secret []byte, r *detect.Rule) string {
	if r.Guessable {
		return "not shown" // the length of a password helps who guesses it
	}
	return fmt.Sprintf("%s (%d characters)", mask(secret, r), len(secret))
}

const (
	leadBytes = 60
	// randomRun is the length from which a run of token characters is not repeated, whether a rule
	// knows it or not.
	randomRun = 16
)

// leadUp returns what stands before the secret in its line, at most the last 60 bytes, with everything
// masked that is a secret or could be one.
func leadUp(data []byte, lineStart, start int, earlier []hit) string {
	floor := lineStart
	if n := len(earlier); n > 0 {
		floor = max(floor, min(earlier[n-1].End, start)) // several may be in one encoded text
	}
	from := max(floor, start-leadBytes)
	// A run of token characters that reaches over the cut is masked as a whole.
	cut := from
	for cut > floor && from-cut < 4*randomRun && isToken(data[cut-1]) {
		cut--
	}
	var out []byte
	if cut > lineStart {
		out = append(out, "…"...)
	}
	for i := cut; i < start; {
		j := i
		digits := false
		for j < start && isToken(data[j]) {
			digits = digits || '0' <= data[j] && data[j] <= '9'
			j++
		}
		switch {
		case j == i:
			out = append(out, data[i])
			i++
		case j-i >= randomRun && digits || j-i >= 3*randomRun:
			out = append(out, "…"...)
			i = j
		default:
			out = append(out, data[i:j]...)
			i = j
		}
	}
	return scan.Printable(strings.ToValidUTF8(strings.TrimLeft(strings.ReplaceAll(string(out), "\t", " "), " "), "?"))
}

func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '_' || c == '-'
}
