package ui

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/signal"
)

// vis shows text from outside: what cannot be seen, moves the cursor or turns the
// direction of writing is shown as its escape and marked.
func vis(s string) template.HTML {
	var b strings.Builder
	b.WriteString(`<bdi>`)
	write := func(plain, escape string) {
		if plain != "" {
			template.HTMLEscape(&b, []byte(plain))
		}
		if escape != "" {
			b.WriteString(`<span class="esc">` + escape + `</span>`) // letters, digits and a backslash
		}
	}
	pieces(s, write)
	b.WriteString(`</bdi>`)
	return template.HTML(b.String())
}

// visText is vis for attributes and plain text.
func visText(s string) string {
	var b strings.Builder
	pieces(s, func(plain, escape string) { b.WriteString(plain + escape) })
	return b.String()
}

// visLines is vis that keeps line breaks and tabs, for text in a pre.
func visLines(s string) template.HTML {
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		for j, cell := range strings.Split(line, "\t") {
			if j > 0 {
				b.WriteByte('\t')
			}
			pieces(cell, func(plain, escape string) {
				template.HTMLEscape(&b, []byte(plain))
				if escape != "" {
					b.WriteString(`<span class="esc">` + escape + `</span>`)
				}
			})
		}
	}
	return template.HTML(b.String())
}

// pieces cuts s into plain text and the escapes of what must not be shown as it is.
func pieces(s string, yield func(plain, escape string)) {
	from := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if esc := escapeOf(r, s[i], n); esc != "" {
			yield(s[from:i], esc)
			from = i + n
		}
		i += n
	}
	yield(s[from:], "")
}

func escapeOf(r rune, first byte, n int) string {
	switch {
	case r == utf8.RuneError && n == 1:
		return fmt.Sprintf(`\x%02x`, first)
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < 0x20 || r == 0x7f:
		return fmt.Sprintf(`\x%02x`, r)
	case r > 0x7f && (unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) || r == 0x2800 || r == 0x3164 || r == 0x115f || r == 0x1160 || r == 0xffa0):
		if r > 0xffff {
			return fmt.Sprintf(`\U%08x`, r)
		}
		return fmt.Sprintf(`\u%04x`, r)
	}
	return ""
}

// clip shortens text in lists, where the whole is one click away.
func clip(n int, s string) string {
	if len(s) <= n {
		return s
	}
	cut := 0
	for i := range s {
		if i > n {
			break
		}
		cut = i
	}
	return s[:cut] + "…"
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func timeTag(t time.Time, kind, text string) template.HTML {
	if t.IsZero() {
		return `<span class="none">never</span>`
	}
	return template.HTML(`<time datetime="` + iso(t) + `" data-t="` + kind + `">` + template.HTMLEscapeString(text) + `</time>`)
}

// clock is a time of the day, with the day where it is another than now's.
func clock(t, now time.Time) template.HTML {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return timeTag(t, "clock", t.Format(time.TimeOnly))
	}
	return timeTag(t, "clock", t.Format("Jan 2 15:04"))
}

// moment is a whole time.
func moment(t time.Time) template.HTML {
	return timeTag(t, "full", t.UTC().Format("2006-01-02 15:04:05")+" UTC")
}

// ago is how long ago something was.
func ago(t, now time.Time) template.HTML {
	d := now.Sub(t)
	if d < 2*time.Second {
		return timeTag(t, "ago", "just now")
	}
	return timeTag(t, "ago", coarse(d)+" ago")
}

// left is how long something still lasts, counted down by a script.
func left(t, now time.Time) template.HTML {
	d := t.Sub(now)
	if d <= 0 {
		return timeTag(t, "left", "over")
	}
	return timeTag(t, "left", fine(d))
}

// coarse and fine are the words for a duration; the script has the same.
func coarse(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h", s/3600)
	}
	return fmt.Sprintf("%d days", s/86400)
}

func fine(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 3600:
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
}

// span is a length of time as people say it.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour && d%(24*time.Hour) == 0:
		return plural(uint64(d/(24*time.Hour)), "day", "days")
	case d >= time.Hour && d%time.Hour == 0:
		return plural(uint64(d/time.Hour), "hour", "hours")
	case d >= time.Minute && d%time.Minute == 0:
		return plural(uint64(d/time.Minute), "minute", "minutes")
	}
	return d.Round(time.Second).String()
}

// num writes a whole number with commas.
func num(n any) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

func plural(n any, one, many string) string {
	if s := num(n); s != "1" {
		return s + " " + many
	}
	return "1 " + one
}

func byteSize(n any) string {
	f := number(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 {
			if unit == "B" || f >= 100 {
				return fmt.Sprintf("%.0f %s", f, unit)
			}
			return fmt.Sprintf("%.1f %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.1f TiB", f)
}

func rate(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return num(int64(math.Round(f)))
}

// verdictWord is what people call a decision.
func verdictWord(d signal.Decision) string {
	switch d {
	case signal.Deny:
		return "blocked"
	case signal.Limit:
		return "limited"
	case signal.Challenge:
		return "challenged"
	case signal.Alert:
		return "alert"
	}
	return "allowed"
}

// pct is value as a part of whole in percent, 0 to 100.
func pct(value, whole float64) float64 {
	if whole <= 0 || value <= 0 {
		return 0
	}
	return math.Min(100, math.Round(value/whole*1000)/10)
}

// bar draws a value against a limit. Widths are attributes of SVG: the
// Content-Security-Policy allows no style on an element.
func bar(value, whole, mark float64, class, label string) template.HTML {
	var b strings.Builder
	said := `aria-hidden="true"`
	if label != "" {
		said = `role="img" aria-label="` + template.HTMLEscapeString(label) + `"`
	}
	fmt.Fprintf(&b, `<svg class="bar %s" %s preserveAspectRatio="none" viewBox="0 0 100 8">`, template.HTMLEscapeString(class), said)
	fmt.Fprintf(&b, `<rect class="bar-back" width="100" height="8" rx="1"/><rect class="bar-fill" width="%.1f" height="8" rx="1"/>`, pct(value, whole))
	if mark > 0 {
		fmt.Fprintf(&b, `<rect class="bar-mark" x="%.1f" width="0.8" height="8"/>`, math.Min(99.2, pct(mark, whole)))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// barOf draws a count as a part of the largest. It says nothing that the number
// beside it does not say, so it is not read aloud.
func barOf(n, most any, class string) template.HTML {
	return bar(number(n), number(most), 0, class, "")
}

// queueBar draws how full a queue is.
func queueBar(length, capacity int) template.HTML {
	class := ""
	switch p := pct(float64(length), float64(capacity)); {
	case p >= 90:
		class = "is-bad"
	case p >= 60:
		class = "is-warn"
	}
	return bar(float64(length), float64(capacity), 0, class, fmt.Sprintf("%.0f%% full", pct(float64(length), float64(capacity))))
}

// scoreBar draws a WAF score with the threshold as a mark.
func scoreBar(score, limit int64, whole float64) template.HTML {
	class := "is-ok"
	switch {
	case limit > 0 && score >= limit:
		class = "is-bad"
	case score > 0:
		class = "is-warn"
	}
	return bar(float64(score), whole, float64(limit), class, fmt.Sprintf("score %d, threshold %d", score, limit))
}

func number(n any) float64 {
	f, _ := strconv.ParseFloat(fmt.Sprint(n), 64)
	return f
}

// webLink returns the address where it is one of the web, "" else: references in rules and
// findings come from files.
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return s
}

// ref escapes an id as one part of a path.
func ref(s string) string { return url.PathEscape(s) }

// query builds the addresses of filtered lists.
type query struct{ v url.Values }

// newQuery copies the query of a page without its cursor.
func newQuery(v url.Values) query {
	c := make(url.Values, len(v))
	for k, vs := range v {
		if k != "cursor" && len(vs) > 0 && vs[0] != "" {
			c[k] = vs[:1]
		}
	}
	return query{c}
}

// With returns the query with one key set, or taken away where value is empty.
func (q query) With(key, value string) query {
	c := newQuery(q.v)
	if value == "" {
		delete(c.v, key)
	} else {
		c.v.Set(key, value)
	}
	return c
}

// At returns path with the query.
func (q query) At(path string) string {
	if len(q.v) == 0 {
		return path
	}
	return path + "?" + q.v.Encode()
}

// prose makes one line of a text that its author broke into several: a rule's "how to fix it" is
// wrapped for those who read the file.
func prose(s string) string { return strings.Join(strings.Fields(s), " ") }
