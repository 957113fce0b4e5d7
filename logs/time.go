package logs

import (
	"strconv"
	"strings"
	"time"
)

// ParseTime reads the forms of time that logs use, in nanoseconds since the Unix epoch: RFC 3339 and its relatives
// (a blank for the T, a comma for the point, no zone), seconds, milliseconds, microseconds or nanoseconds since the
// epoch, told apart by their size, and /Date(ms)/. zone is that of times that do not state one, UTC where it is nil.
// Times before 1970 and after 2261 are none.
func ParseTime(s string, zone *time.Location) (ns int64, ok bool) {
	if len(s) >= 19 && s[4] == '-' {
		return parseDate(s, zone)
	}
	if inner, is := strings.CutPrefix(s, "/Date("); is {
		s = strings.TrimSuffix(inner, ")/")
	}
	return parseEpoch(s)
}

func parseEpoch(s string) (int64, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(whole) < 9 || len(whole) > 19 {
		return 0, false
	}
	n, ok := number(whole)
	if !ok {
		return 0, false
	}
	unit := int64(1)
	switch {
	case n < 1e11:
		unit = 1e9
	case n < 1e14:
		unit = 1e6
	case n < 1e17:
		unit = 1e3
	}
	if n > lastSecond*(1e9/unit) {
		return 0, false
	}
	ns := n * unit
	for i := 0; i < len(fraction); i++ {
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0, false
		}
		unit /= 10
		ns += int64(fraction[i]-'0') * unit
	}
	return ns, true
}

// lastSecond is the end of 2261, beyond which nanoseconds do not fit.
const lastSecond = 9214646399

// number reads decimal digits, nothing else.
func number(s string) (int64, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	n := int64(0)
	for i := 0; i < len(s); i++ {
		d := int64(s[i]) - '0'
		if d < 0 || d > 9 || n > (1<<63-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// two reads two digits at i; -1 is none.
func two(s string, i int) int {
	a, b := s[i]-'0', s[i+1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

func parseDate(s string, zone *time.Location) (int64, bool) {
	high, low := two(s, 0), two(s, 2)
	month, day, hour, minute, sec := two(s, 5), two(s, 8), two(s, 11), two(s, 14), two(s, 17)
	if high < 0 || low < 0 || s[7] != '-' || s[10] != 'T' && s[10] != ' ' && s[10] != 't' || s[13] != ':' || s[16] != ':' ||
		month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || sec < 0 || sec > 60 {
		return 0, false
	}
	year := high*100 + low
	if year < 1970 || year > 2261 || day > daysIn(year, month) {
		return 0, false
	}
	rest := s[19:]
	nano := int64(0)
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		i, unit := 1, int64(1e8)
		for ; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
			nano += int64(rest[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return 0, false
		}
		rest = rest[i:]
	}
	secs := civil(year, month, day)*86400 + int64(hour*3600+minute*60+sec)
	switch off, stated, ok := offset(strings.TrimPrefix(rest, " ")); {
	case !ok:
		return 0, false
	case stated:
		secs -= int64(off)
	case zone != nil && zone != time.UTC:
		secs = time.Date(year, time.Month(month), day, hour, minute, sec, 0, zone).Unix()
	}
	return secs*1e9 + nano, secs >= 0
}

// offset reads Z, UTC, +hh:mm, +hhmm and +hh, in seconds east of Greenwich.
func offset(s string) (seconds int, stated, ok bool) {
	switch s {
	case "":
		return 0, false, true
	case "Z", "z", "UTC", "GMT":
		return 0, true, true
	}
	if len(s) < 3 || s[0] != '+' && s[0] != '-' {
		return 0, false, false
	}
	hours, minutes := two(s, 1), 0
	switch digits := strings.TrimPrefix(s[3:], ":"); len(digits) {
	case 0:
	case 2:
		minutes = two(digits, 0)
	default:
		return 0, false, false
	}
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, false, false
	}
	seconds = hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// civil returns the days from 1970-01-01 to a date of the Gregorian calendar. It counts the years from March, so that the
// leap day is a year's last.
func civil(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	// 153 days are in any five months from March on.
	return int64(365*year+year/4-year/100+year/400+(153*(month-3)+2)/5+day-1) - 719468
}

// months are the names that syslog and access logs write.
const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// Month reads a month's short English name.
func Month(s string) (time.Month, bool) {
	if len(s) != 3 {
		return 0, false
	}
	i := strings.Index(months, s)
	return time.Month(i/3 + 1), i >= 0 && i%3 == 0
}

// ParseCommonLogTime reads the time of access logs: 10/Oct/2000:13:55:36 -0700.
func ParseCommonLogTime(s string) (ns int64, ok bool) {
	if len(s) != 26 || s[2] != '/' || s[6] != '/' || s[11] != ':' || s[20] != ' ' {
		return 0, false
	}
	month, ok := Month(s[3:6])
	if !ok {
		return 0, false
	}
	// The same digits in the order of RFC 3339.
	var b [26]byte
	copy(b[:], s[7:11])
	b[4], b[7], b[10] = '-', '-', 'T'
	b[5], b[6] = '0'+byte(month)/10, '0'+byte(month)%10
	copy(b[8:], s[0:2])
	copy(b[11:], s[12:20])
	n := 19 + copy(b[19:], s[21:])
	return parseDate(string(b[:n]), nil)
}

// WithoutYear reads the time of RFC 3164, "Oct 11 22:14:15", which states no year: the one is taken that puts it nearest
// before a day after now.
func WithoutYear(s string, now time.Time, zone *time.Location) (ns int64, ok bool) {
	if len(s) != 15 || s[3] != ' ' || s[6] != ' ' || s[9] != ':' || s[12] != ':' {
		return 0, false
	}
	month, ok := Month(s[:3])
	day, err := strconv.Atoi(strings.TrimPrefix(s[4:6], " "))
	hour, minute, sec := two(s, 7), two(s, 10), two(s, 13)
	if !ok || err != nil || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || sec < 0 || sec > 60 {
		return 0, false
	}
	if zone == nil {
		zone = time.UTC
	}
	latest := now.Add(24 * time.Hour)
	for year := latest.In(zone).Year(); year > latest.Year()-9; year-- { // a 29th of February is at most eight years back
		if day > daysIn(year, int(month)) {
			continue
		}
		if at := time.Date(year, month, day, hour, minute, sec, 0, zone); !at.After(latest) {
			return at.UnixNano(), at.Unix() >= 0
		}
	}
	return 0, false
}
