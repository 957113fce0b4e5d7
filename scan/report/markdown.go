package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

const (
	// maxRows bounds a table of the summary: code hosts refuse comments of more than 65,536 characters.
	maxRows = 50
	maxCell = 160
)

// writeMarkdown writes a summary for the page of a change.
func writeMarkdown(w io.Writer, r Result) error {
	var b bytes.Buffer
	head := "testudo: nothing found"
	if r.comparing() {
		head = "testudo: nothing new found"
	}
	switch {
	case r.Verdict != nil && r.Verdict.Stopped:
		head = "testudo: stopped"
	case len(r.Findings) > 0:
		head = "testudo: " + plural(uint64(len(r.Findings)), "finding")
		if r.Verdict != nil {
			head += ", none stops the change"
		}
	}
	fmt.Fprintf(&b, "### %s\n\n", head)
	if r.Verdict != nil && r.Verdict.Stopped {
		fmt.Fprintf(&b, "Because of %s.\n\n", cell(strings.Join(r.Verdict.Reasons, ", ")))
	}
	ups, rest := upgrades(r.Findings, r.Verdict)
	if len(ups) > 0 {
		b.WriteString("| | Package | Installed | Upgrade to | Known vulnerabilities | Where |\n|---|---|---|---|---|---|\n")
		for i := range ups[:min(len(ups), maxRows)] {
			u := &ups[i]
			target := "no fix yet"
			if u.Target != "" {
				target = code(u.Target)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", mark(r.Verdict, u.Findings), cell(u.Name), code(u.Installed), target, cell(u.Counts()+": "+ids(u.Findings)), code(u.Place))
		}
		more(&b, len(ups))
	}
	if len(rest) > 0 {
		b.WriteString("| | Severity | What | Where | Fix |\n|---|---|---|---|---|\n")
		for i := range rest[:min(len(rest), maxRows)] {
			f := &rest[i]
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", mark(r.Verdict, rest[i:i+1]), f.Severity, cell(f.Title), code(where(f))+beside(origin(f)), cell(f.Fix))
		}
		more(&b, len(rest))
	}
	fmt.Fprintf(&b, "%s, %s, %s.", plural(r.Stats.Files, "file"), size(r.Stats.Bytes), duration(r.Stats.Elapsed))
	if r.Stats.Packages > 0 {
		fmt.Fprintf(&b, " %s.", plural(r.Stats.Packages, "package"))
	}
	for _, l := range leftOut(&r.Stats) {
		b.WriteString(" " + cell(l))
	}
	for _, n := range r.Notes {
		b.WriteString(" " + cell(n))
	}
	b.WriteString("\n")
	_, err := w.Write(b.Bytes())
	return err
}

func more(b *bytes.Buffer, n int) {
	if n > maxRows {
		fmt.Fprintf(b, "\n%d more are in the full report.\n", n-maxRows)
	}
	b.WriteByte('\n')
}

// mark shows what stops the change, and what is new.
func mark(v *Verdict, findings []signal.Finding) string {
	if v == nil {
		return ""
	}
	fresh := false
	for i := range findings {
		if v.Stops[findings[i].ID] {
			return "❌"
		}
		fresh = fresh || v.New[findings[i].ID]
	}
	if fresh {
		return "🆕"
	}
	return ""
}

func ids(findings []signal.Finding) string {
	var out []string
	for i := range findings {
		out = append(out, findings[i].Rule)
	}
	return strings.Join(out, ", ")
}

// beside is what follows a place in its cell.
func beside(s string) string {
	if s == "" {
		return ""
	}
	return " " + cell(s)
}

// cell writes text so that neither the table, nor the page, nor the people it could call by name are touched: everything that has a meaning in
// Markdown or HTML is escaped.
func cell(s string) string { return escape(shorten(scan.Printable(s), maxCell)) }

// escape is cell without its bound.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '@' || r == '#':
			fmt.Fprintf(&b, "%c\u200b", r) // no mention of people or issues
		case strings.ContainsRune("\\`*_{}[]()!|~", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ':':
			b.WriteString("&#58;") // no link from a bare address
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code writes text as code. A backtick in it would end that, and a bar the cell.
func code(s string) string {
	s = strings.NewReplacer("`", "'", "|", "¦", "##", "# #").Replace(shortenLeft(scan.Printable(s), maxCell))
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
