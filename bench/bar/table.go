package bar

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Widths of the columns of a line: those of the longest name and unit of the bars.
type Widths struct{ name, unit int }

// Measured returns the widths that the bars need.
func Measured(bars []Bar) Widths {
	var w Widths
	for _, b := range bars {
		w.name, w.unit = max(w.name, len(b.Name)), max(w.unit, len(b.Unit))
	}
	return w
}

// Line returns the one line of a result, without a line end: name, value, unit, bound,
// outcome. What could not be measured has dashes for value and unit, and the reason behind it.
func (w Widths) Line(r *Result) string {
	value, unit, outcome := r.Bar.Bound.write(r.Value), r.Bar.Unit, string(r.Outcome())
	if r.Err != nil {
		value, unit = "-", "-"
		outcome += ": " + oneLine(r.Err.Error())
	}
	return fmt.Sprintf("%-*s %10s %-*s %10s %s", w.name, r.Bar.Name, value, w.unit, unit, r.Bar.Bound, outcome)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Host is where something was measured.
type Host struct {
	Cores int
	Go    string // "go1.26.0"
	OS    string // "linux/amd64"
	When  time.Time
}

// The table's head, and what stands above it.
const (
	title = "# Bars\n\n"
	intro = "What testudo has to keep, and what it kept when it was last measured. Missed bars stand here too. CPU is\n" +
		"user plus system time of whole processes; ratios are between processes that ran in turn in one run, since absolute\n" +
		"figures drift from machine to machine. `bench/README.md` says how each is measured. The table is written by\n" +
		"`make bench BENCHFLAGS='-write ../docs/bars.md'`; with `BAR=` beside it only those rows are replaced.\n\n"
	head = "| bar | what | value | bound | | figures | command | measured |\n" +
		"|---|---|---:|---:|---|---|---|---|\n"
)

// Page returns the page of the bars: a row of every bar, from the results where it was
// measured now and from the old page where not. Rows of bars that are gone are left out.
func Page(old string, bars []Bar, results []Result, host Host) string {
	rows := map[string]string{}
	for line := range strings.Lines(old) {
		if name, ok := rowName(line); ok {
			rows[name] = line
		}
	}
	for i := range results {
		rows[results[i].Bar.Name] = row(&results[i], host)
	}
	var b strings.Builder
	b.WriteString(title + intro + head)
	for _, bar := range bars {
		line, ok := rows[bar.Name]
		if !ok {
			line = row(&Result{Bar: &bar, Err: errNever}, Host{})
		}
		b.WriteString(line)
	}
	return b.String()
}

var errNever = errors.New("not measured yet")

// rowName returns the bar that a row of the table is about.
func rowName(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "| `")
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, "` |")
	return name, ok
}

func row(r *Result, h Host) string {
	value, figures, outcome := r.Bar.Bound.write(r.Value)+" "+r.Bar.Unit, r.Detail, string(r.Outcome())
	if r.Err != nil {
		value, figures = "-", r.Err.Error()
	}
	if outcome != string(OK) {
		outcome = "**" + outcome + "**"
	}
	where := ""
	if !h.When.IsZero() {
		where = fmt.Sprintf("%s, %d cores, %s, %s", h.When.Format(time.DateOnly), h.Cores, h.Go, h.OS)
	}
	cells := []string{"`" + r.Bar.Name + "`", r.Bar.What, value, bound(r.Bar.Bound), outcome, figures,
		"`make bench BAR=" + r.Bar.Name + "`", where}
	for i := range cells {
		cells[i] = strings.ReplaceAll(oneLine(cells[i]), "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func bound(b Bound) string {
	return strings.NewReplacer("<=", "≤ ", ">=", "≥ ").Replace(b.String())
}
