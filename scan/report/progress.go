package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/scan"
)

// Bar draws how far a scan has come on one line of a terminal. Its Update fits
// scan.Options.Progress, which calls it ten times a second. It is not safe for concurrent use.
type Bar struct {
	w     io.Writer
	width int
	drawn bool
}

// NewBar returns a bar for a terminal of that width; where w is none, use no bar.
func NewBar(w io.Writer, width int) *Bar { return &Bar{w: w, width: max(width, 20)} }

// appearAfter keeps short scans free of a bar that only flashes up.
const appearAfter = 300 * time.Millisecond

// Update redraws the bar.
func (b *Bar) Update(p scan.Progress) {
	if p.Elapsed < appearAfter {
		return
	}
	text := shorten(line(p, b.width), b.width-1)
	pad := max(b.width-1-utf8.RuneCountInString(text), 0)
	fmt.Fprintf(b.w, "\r%s%s", text, strings.Repeat(" ", pad))
	b.drawn = true
}

// Clear removes the bar; call it before anything else is written.
func (b *Bar) Clear() {
	if b.drawn {
		fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", b.width-1))
		b.drawn = false
	}
}

func line(p scan.Progress, width int) string {
	rate := float64(p.Bytes) / max(p.Elapsed.Seconds(), 0.001)
	tail := fmt.Sprintf(" %s, %s/s", plural(p.Files, "file"), size(uint64(rate)))
	if p.Findings > 0 {
		tail += ", " + plural(p.Findings, "finding")
	}
	if !p.Complete || p.Total == 0 {
		return "scanning" + tail
	}
	part := min(float64(p.Files)/float64(p.Total), 1)
	if part > 0.02 && part < 1 {
		left := time.Duration(float64(p.Elapsed) * (1 - part) / part)
		tail += fmt.Sprintf(", %s left", duration(max(left.Round(100*time.Millisecond), 100*time.Millisecond)))
	}
	cells := min(30, width-utf8.RuneCountInString(tail)-8)
	if cells < 5 {
		return fmt.Sprintf("%3.0f%%%s", 100*part, tail)
	}
	full := int(part * float64(cells))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + fmt.Sprintf("] %3.0f%%", 100*part) + tail
}
