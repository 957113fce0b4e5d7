package sigma

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// timeRanges are the numbers that a part of a date can be (modifiers appendix, "Time Modifiers").
var timeRanges = map[string][2]int64{"minute": {0, 59}, "hour": {0, 23}, "day": {1, 31}, "week": {1, 53}, "month": {1, 12}, "year": {1, 9999}}

// timePart compares a part of a date with a number. A date is read as it is written: in its own time zone, in UTC
// where it names none.
func (c *compiler) timePart(it *item, on []match.Operand, v *yaml.Node) match.Expr {
	kind, want, _ := readScalar(v)
	limits := timeRanges[it.part]
	if kind != whole || want < limits[0] || want > limits[1] {
		c.s.problem(v, fmt.Sprintf("write a number from %d to %d", limits[0], limits[1]), "the %s of a date is never %q", it.part, shown(v.Value))
		return nil
	}
	order, part := orders[it.compare], it.part
	return each(on, func(o match.Operand) match.Expr {
		f := &match.Func{Attrs: o.Attr != "", Cost: 300, Text: fmt.Sprintf("%s of %s %s %d", part, o, order, want)}
		if o.Field != 0 {
			f.Fields = []signal.Field{o.Field}
		}
		f.Call = func(e *signal.Event) match.Answer {
			return match.Of(o.Texts(e, func(text string) bool {
				t, ok := parseTime(text)
				return ok && order.Holds(cmp.Compare(partOf(t, part), want))
			}))
		}
		return f
	})
}

func partOf(t time.Time, part string) int64 {
	switch part {
	case "minute":
		return int64(t.Minute())
	case "hour":
		return int64(t.Hour())
	case "day":
		return int64(t.Day())
	case "week":
		_, week := t.ISOWeek()
		return int64(week)
	case "month":
		return int64(t.Month())
	}
	return int64(t.Year())
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", time.DateOnly}

// parseTime reads a date as logs write it: ISO 8601, or seconds, milliseconds, microseconds or nanoseconds since 1970.
func parseTime(s string) (time.Time, bool) {
	if len(s) < 8 || len(s) > 40 {
		return time.Time{}, false
	}
	if n, ok := match.ParseInt(s); ok {
		return unixTime(n)
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// unixTime reads a number of some unit by its size: each unit reaches from 1973 to the year 5138.
func unixTime(n int64) (time.Time, bool) {
	switch abs := math.Abs(float64(n)); {
	case abs < 1e8:
		return time.Time{}, false
	case abs < 1e11:
		return time.Unix(n, 0).UTC(), true
	case abs < 1e14:
		return time.UnixMilli(n).UTC(), true
	case abs < 1e17:
		return time.UnixMicro(n).UTC(), true
	}
	return time.Unix(0, n).UTC(), true
}
