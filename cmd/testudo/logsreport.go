package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// logPrinter prints detections as they come, and the summary.
type logPrinter struct {
	w        io.Writer
	width    int // of the terminal; 0 where there is none
	color    bool
	json     bool
	limit    int
	since    string
	bar      io.Writer // nil: none
	barWidth int

	mu      sync.Mutex
	drawn   bool
	header  bool
	printed map[string]int // by rule
	fault   error
}

// progress draws the bar.
func (p *logPrinter) progress(g assembly.LogProgress) {
	if g.Elapsed < 300*time.Millisecond {
		return
	}
	seconds := g.Elapsed.Seconds()
	text := fmt.Sprintf(" %s, %s/s, %s events/s, %s", sizeText(g.Read), sizeText(int64(float64(g.Read)/seconds)),
		thousands(uint64(float64(g.Events)/seconds)), counted(g.Detections, "detection"))
	if g.Total > 0 {
		part := min(float64(g.Read)/float64(g.Total), 1)
		if cells := min(30, p.barWidth-len(text)-10); cells >= 5 {
			full := int(part * float64(cells))
			text = "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + fmt.Sprintf("] %3.0f%%", 100*part) + text
		} else {
			text = fmt.Sprintf("%3.0f%%%s", 100*part, text)
		}
	}
	text = cut(text, p.barWidth-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.bar, "\r%-*s", p.barWidth-1, text)
	p.drawn = true
}

// clear removes the bar. Callers hold mu.
func (p *logPrinter) clear() {
	if p.drawn {
		fmt.Fprintf(p.bar, "\r%*s\r", p.barWidth-1, "")
		p.drawn = false
	}
}

func (p *logPrinter) write(text string) {
	if _, err := io.WriteString(p.w, text); err != nil && p.fault == nil {
		p.fault = err
	}
}

// detection prints what a rule found.
func (p *logPrinter) detection(d assembly.Detection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.printed[d.Hit.Rule]; p.limit > 0 && n >= p.limit {
		return
	}
	p.printed[d.Hit.Rule]++
	p.clear()
	if p.json {
		p.write(detectionJSON(d))
		return
	}
	width := p.width
	if width <= 0 {
		width = 120
	}
	if !p.header {
		p.header = true
		p.write(p.paint("1", "TIME                 SEVERITY  RULE") + "\n")
	}
	at := "-"
	if d.Event.Time != 0 {
		at = time.Unix(0, d.Event.Time).UTC().Format("2006-01-02 15:04:05Z")
	}
	title := policy.Printable(d.Hit.Title, 200)
	id := policy.Printable(d.Hit.Rule, 100)
	line := cut(title, max(width-31, 10))
	rest := width - 31 - utf8.RuneCountInString(line)
	if utf8.RuneCountInString(id)+4 <= rest && id != title {
		line += p.paint("2", "  ["+id+"]")
	}
	p.write(fmt.Sprintf("%-20s %s  %s\n", at, p.paint(severityStyle(d.Hit.Severity), fmt.Sprintf("%-8s", strings.ToUpper(d.Hit.Severity.String()))), line))
	indent := strings.Repeat(" ", 21)
	p.write(indent + p.paint("36", cutLeft(policy.Printable(d.At.String(), 1000), max(width-21, 10))) + "\n")
	for _, l := range wrapText(policy.Printable(why(d), 600), max(width-21, 20)) {
		p.write(indent + l + "\n")
	}
	if tags := attackTags(d.Rule); tags != "" {
		p.write(indent + p.paint("2", cut(tags, max(width-21, 10))) + "\n")
	}
}

// why says why the rule fired: its sentence, or, where that says no more than the title, what held.
func why(d assembly.Detection) string {
	if d.Hit.Why != "" && d.Hit.Why != d.Hit.Title {
		return d.Hit.Why
	}
	var parts []string
	for _, e := range d.Hit.Proof {
		if strings.HasPrefix(e.Name, "metadata.log_") {
			continue // which log it is says where already
		}
		if len(parts) == 4 {
			parts = append(parts, "...")
			break
		}
		parts = append(parts, e.Name+": "+e.Value)
	}
	if len(parts) == 0 {
		return d.Hit.Title
	}
	return strings.Join(parts, "; ")
}

func attackTags(r *policy.Rule) string {
	if r == nil {
		return ""
	}
	return policy.Printable(strings.Join(r.Tags, " "), 300)
}

func (p *logPrinter) paint(style, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func severityStyle(s signal.Severity) string {
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

func detectionJSON(d assembly.Detection) string {
	type place struct {
		Path string `json:"path"`
		Line int64  `json:"line,omitempty"`
	}
	out := struct {
		Type     string            `json:"type"`
		Time     time.Time         `json:"time,omitzero"`
		Severity signal.Severity   `json:"severity"`
		Rule     string            `json:"rule"`
		Title    string            `json:"title"`
		Why      string            `json:"why"`
		Where    place             `json:"where"`
		Tags     []string          `json:"tags,omitempty"`
		Proof    []signal.Evidence `json:"proof,omitempty"`
		Event    json.RawMessage   `json:"event"`
	}{Type: "detection", Severity: d.Hit.Severity, Rule: d.Hit.Rule, Title: d.Hit.Title, Why: why(d), Where: place{d.At.Path, d.At.Line}, Proof: d.Hit.Proof,
		Event: d.Event.AppendJSON(nil)}
	if d.Event.Time != 0 {
		out.Time = time.Unix(0, d.Event.Time).UTC()
	}
	if d.Rule != nil {
		out.Tags = d.Rule.Tags
	}
	text, err := json.Marshal(out)
	if err != nil {
		return fmt.Sprintf(`{"type":"error","error":%q}`+"\n", err)
	}
	return string(text) + "\n"
}

// summary prints what was read and found, and returns the first error in printing.
func (p *logPrinter) summary(s *assembly.LogSummary, deadLetter string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	if p.json {
		p.write(summaryJSON(s, deadLetter))
		return p.fault
	}
	if s.Detections > 0 {
		p.write("\n")
	}
	p.found(s)
	p.read(s, deadLetter)
	return p.fault
}

// found prints how often which rule fired.
func (p *logPrinter) found(s *assembly.LogSummary) {
	if s.Detections == 0 {
		if len(s.Unread) > 0 || total(s.Rejected) > 0 || s.Stopped {
			p.write(p.paint("1;33", "Nothing detected in what could be read.") + "\n")
			return
		}
		p.write(p.paint("1;32", "Nothing detected.") + "\n")
		return
	}
	var parts []string
	for sev := signal.SeverityFatal; sev > signal.SeverityUnknown; sev-- {
		if n := s.BySeverity[sev]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", thousands(n), sev))
		}
	}
	p.write(p.paint("1", counted(s.Detections, "detection")) + " by " + counted(uint64(len(s.Top)), "rule") + ": " + strings.Join(parts, ", ") + "\n\n")
	width := p.width
	if width <= 0 {
		width = 120
	}
	const shown = 15
	for i, c := range s.Top {
		if i == shown {
			p.write(fmt.Sprintf("  and %s\n", counted(uint64(len(s.Top)-shown), "more rule")))
			break
		}
		span := c.First.Format("2006-01-02 15:04:05Z")
		if c.First.IsZero() {
			span = ""
		} else if !c.Last.Equal(c.First) {
			span += " to " + c.Last.Format("01-02 15:04:05Z")
		}
		hidden := ""
		if p.limit > 0 && c.Count > uint64(p.limit) {
			hidden = fmt.Sprintf(" (%s not printed: --limit 0)", thousands(c.Count-uint64(p.limit)))
		}
		title := cut(policy.Printable(c.Title, 200), max(width-24-len(span)-len(hidden), 12))
		p.write(fmt.Sprintf("  %8s  %s  %s  %s%s\n", thousands(c.Count), p.paint(severityStyle(c.Severity), fmt.Sprintf("%-8s", c.Severity)), title, p.paint("2", span), hidden))
	}
	for _, who := range []struct {
		what string
		all  []assembly.NameCount
	}{{"hosts", s.Hosts}, {"users", s.Users}} {
		if len(who.all) == 0 {
			continue
		}
		names := make([]string, len(who.all))
		for i, n := range who.all {
			names[i] = fmt.Sprintf("%s (%s)", policy.Printable(n.Name, 60), thousands(n.Count))
		}
		p.write(cut(fmt.Sprintf("  %-9s %s", who.what, strings.Join(names, ", ")), width) + "\n")
	}
	p.write("\n")
}

// read prints what was read, and what was not.
func (p *logPrinter) read(s *assembly.LogSummary, deadLetter string) {
	line := func(name, format string, args ...any) {
		p.write(fmt.Sprintf("  %-9s %s\n", name, fmt.Sprintf(format, args...)))
	}
	reading := s.Elapsed - s.Loading
	seconds := max(reading.Seconds(), 0.001)
	line("read", "%s, %s in %s", counted(uint64(s.Files), "file"), sizeText(s.Bytes), reading.Round(10*time.Millisecond))
	var formats []string
	for _, name := range slices.Sorted(maps.Keys(s.Formats)) {
		formats = append(formats, fmt.Sprintf("%s %s", name, thousands(s.Formats[name])))
	}
	by := ""
	if len(formats) > 0 {
		by = ": " + strings.Join(formats, ", ")
	}
	line("events", "%s, %s/s%s", thousands(s.Events), thousands(uint64(float64(s.Events)/seconds)), by)
	if s.Older > 0 {
		line("", "%s older than --since %s were passed over", thousands(s.Older), p.since)
	}
	if n := total(s.Rejected); n > 0 {
		var reasons []string
		for _, name := range slices.Sorted(maps.Keys(s.Rejected)) {
			reasons = append(reasons, fmt.Sprintf("%s %s", name, thousands(s.Rejected[name])))
		}
		where := "keep them with --dead-letter FILE"
		switch {
		case s.Unkept != nil:
			where = "not all of them are kept: " + policy.Printable(s.Unkept.Error(), 300)
		case deadLetter != "":
			where = "kept in " + policy.Printable(deadLetter, 200)
		}
		line("not read", "%s (%s); %s", counted(n, "record"), strings.Join(reasons, ", "), where)
		for _, e := range s.Examples {
			line("", "%s", policy.Printable(e, 160))
		}
	}
	if s.Stopped {
		line("not read", "what comes after that: interrupted")
	}
	const shown = 5
	for i, f := range s.Unread {
		if i == shown {
			line("", "and %s", counted(uint64(len(s.Unread)-shown), "more file"))
			break
		}
		line("not read", "%s", policy.Printable(f, 300))
	}
	r := s.RuleSet
	line("rules", "%s, loaded in %s", counted(uint64(s.RulesTotal), "rule"), s.Loading.Round(10*time.Millisecond))
	if !r.OK() {
		line("", "%s of %s did not load, so that its rules did not judge; --strict makes that an error:", counted(uint64(r.Files-r.Loaded), "file"), thousands(uint64(r.Files)))
		for i, problem := range r.Problems {
			if i == shown {
				line("", "  ... testudo rule check lists them all")
				break
			}
			line("", "  %s", policy.Printable(problem.Error(), 300))
		}
	}
	if s.Late > 0 {
		line("", "%s lay too far behind later ones to be counted by rules over time: logs that overlap in time are best judged apart", counted(s.Late, "match"))
	}
	if s.Faults > 0 {
		line("", "%s could not be worked out for a rule", counted(s.Faults, "event"))
	}
}

func total(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func summaryJSON(s *assembly.LogSummary, deadLetter string) string {
	type ruleCount struct {
		assembly.RuleCount
		First time.Time `json:"first,omitzero"`
		Last  time.Time `json:"last,omitzero"`
	}
	top := make([]ruleCount, len(s.Top))
	for i, c := range s.Top {
		top[i] = ruleCount{c, c.First, c.Last}
	}
	severities := map[string]uint64{}
	for sev, n := range s.BySeverity {
		severities[sev.String()] = n
	}
	unkept := ""
	if s.Unkept != nil {
		unkept = s.Unkept.Error()
	}
	text, err := json.Marshal(map[string]any{
		"type": "summary", "interrupted": s.Stopped, "dead_letter_error": unkept, "files": s.Files, "files_unread": append([]string{}, s.Unread...), "bytes": s.Bytes, "events": s.Events, "events_older": s.Older,
		"formats": s.Formats, "records_unread": s.Rejected, "dead_letter": deadLetter, "detections": s.Detections, "severities": severities,
		"top_rules": top, "top_hosts": append([]assembly.NameCount{}, s.Hosts...), "top_users": append([]assembly.NameCount{}, s.Users...), "rules": s.RulesTotal, "rule_files": s.RuleSet.Files,
		"rule_files_loaded": s.RuleSet.Loaded, "rule_problems": append(policy.Problems{}, s.RuleSet.Problems...), "faults": s.Faults, "events_late": s.Late, "seconds": s.Elapsed.Seconds(), "seconds_loading": s.Loading.Seconds(),
	})
	if err != nil {
		return fmt.Sprintf(`{"type":"error","error":%q}`+"\n", err)
	}
	return string(text) + "\n"
}

// counted returns "1 rule", "12,345 rules".
func counted(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "ch") {
		what += "e"
	}
	return thousands(n) + " " + what + "s"
}

// sizeText writes a size for people.
func sizeText(n int64) string {
	switch f := float64(n); {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", f/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", f/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", f/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// thousands writes a number with commas.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// cut shortens a text at its end to n columns, cutLeft at its beginning.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(n-1, 0)]) + "…"
}

func cutLeft(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return "…" + string(r[len(r)-max(n-1, 0):])
}

// wrapText breaks a text at spaces into lines of at most n columns, three at the most.
func wrapText(s string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= n:
			line += " " + word
		default:
			lines, line = append(lines, cut(line, n)), word
		}
	}
	if line != "" {
		lines = append(lines, cut(line, n))
	}
	if len(lines) > 3 {
		lines = lines[:3]
		lines[2] = cut(lines[2]+" …", n)
	}
	return lines
}
