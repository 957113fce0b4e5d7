package replay

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxAgo bounds how far back a span may reach.
const maxAgo = 100 * 365 * 24 * time.Hour

// ParseSince reads a moment of the past: a span before now, as in 90s, 15m, 1h, 7d, 2w or 1d12h, a
// date (2006-01-02, its first moment in UTC) or a time (RFC 3339). The empty string is the zero time.
func ParseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.After(now) {
				return time.Time{}, fmt.Errorf("%q is in the future", s)
			}
			return t.UTC(), nil
		}
	}
	span, ok := parseSpan(s)
	if !ok {
		return time.Time{}, fmt.Errorf("%q is no moment: write a span such as 1h, 7d or 2w, a date such as 2006-01-02, or a time such as 2006-01-02T15:04:05Z", s)
	}
	return now.Add(-span), nil
}

// parseSpan reads spans with days and weeks, which time.ParseDuration does not know.
func parseSpan(s string) (time.Duration, bool) {
	var total time.Duration
	for rest := s; rest != ""; {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits <= 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[rest[digits]]
		if err != nil || unit == 0 || n > int64(maxAgo/unit) {
			return 0, false
		}
		if total += time.Duration(n) * unit; total > maxAgo {
			return 0, false
		}
		rest = rest[digits+1:]
	}
	return total, total > 0
}
