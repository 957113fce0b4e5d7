package report

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// maxPlaces is how many places of one rule the table lists.
const maxPlaces = 20

type painter struct {
	bytes.Buffer
	Options
	terminal bool // its width is known
}

const (
	bold  = "1"
	dim   = "2"
	green = "32"
)

func severityColor(s signal.Severity) string {
	switch {
	case s >= signal.SeverityCritical:
		return "1;37;41"
	case s == signal.SeverityHigh:
		return "1;31"
	case s == signal.SeverityMedium:
		return "1;33"
	}
	return "1;36"
}

func (p *painter) paint(style, text string) string {
	if !p.Color || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *painter) line(text string) {
	p.WriteString(inert(strings.TrimRight(text, " ")))
	p.WriteByte('\n')
}

// marks are what build servers obey wherever it stands in a line: ##[command], ##vso[, ##teamcity[. GitHub obeys "::" at
// the beginning of one too, after spaces.
var (
	marks  = regexp.MustCompile(`##(\w*\[)`)
	begins = regexp.MustCompile(`^((?:\s|\x1b\[[0-9;]*m)*):(:)`)
)

// inert returns a line that no build server takes for a command to itself.
func inert(line string) string {
	return begins.ReplaceAllString(marks.ReplaceAllString(line, "# #$1"), "$1: $2")
}

// writeTable groups the findings by severity and rule, so that what to do is said once.
func writeTable(w io.Writer, r Result, o Options) error {
	terminal := o.Width > 0
	if !terminal {
		o.Width = 100
	}
	o.Width = max(o.Width, 40)
	p := &painter{Options: o, terminal: terminal}
	ups, rest := upgrades(r.Findings, r.Verdict)
	for i := range ups {
		p.upgrade(&ups[i])
	}
	for from := 0; from < len(rest); {
		to := from + 1
		for to < len(rest) && rest[to].Rule == rest[from].Rule && rest[to].Severity == rest[from].Severity {
			to++
		}
		p.group(rest[from:to])
		from = to
	}
	p.summary(r)
	for _, n := range r.Notes {
		for i, l := range wrap(scan.Printable(n), p.Width-4) {
			p.line(strings.Repeat(" ", min(i, 1)*2) + l)
		}
	}
	p.verdict(r.Verdict)
	_, err := w.Write(p.Bytes())
	return err
}

// group writes the findings of one rule.
func (p *painter) group(findings []signal.Finding) {
	first := &findings[0]
	label := strings.ToUpper(first.Severity.String())
	title := scan.Printable(first.Title)
	head := p.paint(severityColor(first.Severity), " "+label+" ") + " " + p.paint(bold, shorten(title, p.Width-len(label)-3))
	if rule := scan.Printable(first.Rule); utf8.RuneCountInString(title)+len(label)+len(rule)+7 <= p.Width {
		head += p.paint(dim, "  ["+rule+"]")
	}
	p.line(head)
	place := 0
	for i := range findings[:min(len(findings), maxPlaces)] {
		place = max(place, utf8.RuneCountInString(where(&findings[i])))
	}
	place = min(place, max(20, p.Width/2))
	for i := range findings {
		if i == maxPlaces {
			p.line(p.paint(dim, fmt.Sprintf("    and %d more: --format json lists all", len(findings)-i)))
			break
		}
		f := &findings[i]
		at := shortenLeft(where(f), place)
		rest := p.Width - place - 6
		detail := shorten(scan.Printable(f.Location.Snippet), rest)
		text := "    " + at + strings.Repeat(" ", place-utf8.RuneCountInString(at)+2) + detail
		if proof := evidence(f, "proof"); proof != "" && utf8.RuneCountInString(detail)+len(proof)+4 <= rest {
			text += p.paint(dim, "  ("+proof+")")
		}
		p.line(text)
		p.aside(origin(f))
		p.aside(live(f))
		if note := evidence(f, "comment"); note != "" {
			p.aside("the comment beside it: " + note)
		}
	}
	for i, l := range wrap(scan.Printable(first.Fix), p.Width-9) {
		lead := "         "
		if i == 0 {
			lead = "    " + p.paint(green, "Fix:") + " "
		}
		p.line(lead + l)
	}
	p.line("")
}

// live says what the provider answered about a secret.
func live(f *signal.Finding) string {
	switch evidence(f, "live") {
	case "yes":
		text := "in use: the provider accepts it"
		if who := evidence(f, "live as"); who != "" {
			text += " (" + who + ")"
		}
		return text
	case "no":
		return "not valid any more, says the provider"
	case "unknown":
		return "not verified: " + evidence(f, "not verified")
	}
	return ""
}

// aside writes what belongs to the line above.
func (p *painter) aside(text string) {
	for _, l := range wrap(text, p.Width-8) {
		p.line(p.paint(dim, "      "+shorten(l, p.Width-6)))
	}
}

const (
	// maxFlaws is how many flaws of one package the table explains; those of low severity are named alone.
	maxFlaws = 5
	// maxNamed is how many of the others it names.
	maxNamed = 12
)

// vector is a CVSS vector, which says little to people.
var vector = regexp.MustCompile(` \(CVSS:[^)]*\)`)

// upgrade writes a package with its flaws, the worst first.
func (p *painter) upgrade(u *upgrade) {
	worst := u.Worst()
	label := strings.ToUpper(worst.String())
	versions := " " + shorten(scan.Printable(u.Installed), 50)
	if u.Target != "" {
		versions += " → " + shorten(scan.Printable(u.Target), 50)
	} else {
		versions += ", no fixed version"
	}
	room := p.Width - len(label) - 3
	title := shorten(shorten(u.Name, max(room-utf8.RuneCountInString(versions), 20))+versions, room)
	p.line(p.paint(severityColor(worst), " "+label+" ") + " " + p.paint(bold, title))
	p.line("    " + p.paint(dim, shortenLeft(u.Place, p.Width/2)) + "  " + u.Counts())
	if u.By != "" {
		for i, l := range wrap("brought by "+u.By, p.Width-6) {
			p.line(p.paint(dim, "    "+strings.Repeat(" ", min(i, 1)*2)+l))
		}
	}
	p.aside(origin(&u.Findings[0]))
	told := 0
	for i := range u.Findings {
		f := &u.Findings[i]
		if told == maxFlaws || f.Severity <= signal.SeverityLow && len(u.Findings) > 1 {
			break
		}
		told++
		p.line("    " + shorten(fmt.Sprintf("%-8s %s  %s", f.Severity, scan.Printable(f.Rule), what(f)), p.Width-4))
		if _, why, ok := strings.Cut(evidence(f, "priority"), ": "); ok && strings.Contains(why, "; ") { // more than its rating
			for _, l := range wrap(vector.ReplaceAllString(why, ""), p.Width-13) {
				p.line(p.paint(dim, "             "+l))
			}
		}
	}
	if rest := u.Findings[told:]; len(rest) > 0 {
		text := ids(rest[:min(len(rest), maxNamed)])
		if told > 0 {
			text = "and " + text
		}
		if len(rest) > maxNamed {
			text += fmt.Sprintf(" and %d more", len(rest)-maxNamed)
		}
		for j, l := range wrap(text, p.Width-6) {
			p.line(p.paint(dim, "    "+strings.Repeat(" ", min(j, 1)*2)+l))
		}
	}
	for i, l := range wrap(scan.Printable(u.Findings[0].Fix), p.Width-9) {
		if u.Target == "" || len(u.Findings) > 1 || len(u.also) > 0 {
			break // said above
		}
		lead := "         "
		if i == 0 {
			lead = "    " + p.paint(green, "Fix:") + " "
		}
		p.line(lead + l)
	}
	p.line("")
}

// verdict says what a policy decided.
func (p *painter) verdict(v *Verdict) {
	switch {
	case v == nil:
	case v.Stopped:
		p.lead("1;31", "Stopped:", " "+strings.Join(v.Reasons, ", ")+".")
	default:
		p.lead("1;"+green, "Passed:", " nothing stops the change.")
	}
}

// lead writes one line that begins with words in a colour; on a terminal as many lines as it needs. A log is searched for it.
func (p *painter) lead(style, words, text string) {
	lines := []string{words + text}
	if p.terminal {
		lines = wrap(lines[0], p.Width-2)
	}
	for i, l := range lines {
		if i > 0 {
			p.line("  " + l)
			continue
		}
		p.line(p.paint(style, words) + strings.TrimPrefix(l, words))
	}
}

func where(f *signal.Finding) string {
	s := scan.Printable(f.Location.Path)
	if f.Location.Line > 0 {
		s += ":" + strconv.Itoa(f.Location.Line)
		if f.Location.Column > 0 {
			s += ":" + strconv.Itoa(f.Location.Column)
		}
	}
	return s
}

func evidence(f *signal.Finding, name string) string {
	for _, e := range f.Evidence {
		if e.Name == name {
			return scan.Printable(e.Value)
		}
	}
	return ""
}

// summary says how many, what was read and what was not.
func (p *painter) summary(r Result) {
	s := &r.Stats
	read := fmt.Sprintf("%s in %s (%s, %s)", plural(s.Files, "file"), scan.Printable(r.Root), size(s.Bytes), duration(s.Elapsed))
	if s.Packages > 0 {
		read = plural(s.Packages, "package") + ", " + read
	}
	if len(r.Findings) == 0 {
		nothing := "Nothing found."
		if r.comparing() {
			nothing = "Nothing new found."
		}
		p.lead("1;"+green, nothing, " Read "+read+".")
	} else {
		p.lead(bold, plural(uint64(len(r.Findings)), "finding"), ": "+severityCounts(r.Findings)+". Read "+read+".")
	}
	for _, l := range leftOut(s) {
		for i, part := range wrap(l, p.Width-4) {
			p.line(p.paint(dim, strings.Repeat(" ", min(i, 1)*2)+part))
		}
	}
	if s.Incomplete() {
		for i, skip := range s.Skipped {
			if i == 10 {
				p.line(p.paint(dim, "    ..."))
				break
			}
			p.line(p.paint(dim, "    "+shortenLeft(scan.Printable(skip.Path), p.Width/2)+": "+scan.Printable(skip.Reason)))
		}
	}
}

// leftOut puts the counters into sentences; those that are zero say nothing.
func leftOut(s *scan.Stats) []string {
	var quiet, missed []string
	add := func(list *[]string, n uint64, format string) {
		if n > 0 {
			*list = append(*list, fmt.Sprintf(format, group3(n)))
		}
	}
	add(&quiet, s.Quiet, "%s of low confidence (--confidence low shows them)")
	add(&quiet, s.Known, "%s known from the baseline")
	add(&quiet, s.Allowed, "%s allowed by a comment")
	add(&missed, s.TooLarge, "%s too large (scan.max_file_size)")
	add(&missed, s.Unreadable, "%s unreadable")
	add(&missed, s.TooDeep, "%s nested too deep")
	add(&missed, s.Failed, "%s only in part")
	add(&missed, s.NoRoom, "%s packages above the limit")
	var out []string
	if len(quiet) > 0 {
		out = append(out, "Not shown: "+strings.Join(quiet, ", ")+".")
	}
	if s.Dropped > 0 {
		out = append(out, fmt.Sprintf("Dropped: %s findings above the limit.", group3(s.Dropped)))
	}
	if len(missed) > 0 {
		out = append(out, "Not scanned: "+strings.Join(missed, ", ")+".")
	}
	return out
}

// shorten cuts at the end, shortenLeft at the beginning, to n columns with an ellipsis.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:max(n-1, 0)]) + "…"
}

func shortenLeft(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return "…" + string(r[len(r)-max(n-1, 0):])
}

// wrap breaks a text at spaces.
func wrap(s string, width int) []string {
	var out []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return group3(n) + " " + noun + "s"
}

// group3 writes a number with commas.
func group3(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

func duration(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
