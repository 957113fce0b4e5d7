package gate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// Missed is what could not be scanned.
type Missed struct {
	Any bool
	// New names what the base did not miss; empty where there is nothing to compare with.
	New []string
}

// maxEnumerated is how much of it a reason names.
const maxEnumerated = 5

// MissedBy compares what two scans could not look at: of the change, and of its base; nil stands for nothing to compare with.
func MissedBy(change, base *scan.Stats) Missed {
	m := Missed{Any: change.Incomplete()}
	if base == nil || !m.Any {
		return m
	}
	known := map[string]bool{}
	for _, s := range base.Skipped {
		known[s.Path] = true
	}
	for _, s := range change.Skipped {
		if !known[s.Path] {
			m.New = append(m.New, s.Path+" ("+s.Reason+")")
		}
	}
	// Only the first are named. Of the others it is known how many there are.
	if more := unnamed(change); more > 0 && files(change) > files(base) {
		m.New = append(m.New, fmt.Sprintf("up to %d more files", more))
	}
	if change.Dropped > base.Dropped {
		m.New = append(m.New, fmt.Sprintf("%d findings above the limit (scan.max_findings)", change.Dropped))
	}
	if change.NoRoom > base.NoRoom {
		m.New = append(m.New, fmt.Sprintf("%d packages above the limit (scan.max_packages)", change.NoRoom))
	}
	return m
}

// Sum is what two scans together could not look at.
func Sum(a, b *scan.Stats) *scan.Stats {
	return &scan.Stats{Skipped: slices.Concat(a.Skipped, b.Skipped), TooLarge: a.TooLarge + b.TooLarge, TooDeep: a.TooDeep + b.TooDeep, Unreadable: a.Unreadable + b.Unreadable,
		Failed: a.Failed + b.Failed, Dropped: a.Dropped + b.Dropped, NoRoom: a.NoRoom + b.NoRoom}
}

// files counts what could have been named.
func files(s *scan.Stats) uint64 { return s.TooLarge + s.TooDeep + s.Unreadable + s.Failed }

func unnamed(s *scan.Stats) uint64 {
	if n := files(s); n > uint64(len(s.Skipped)) {
		return n - uint64(len(s.Skipped))
	}
	return 0
}

// Enumerate lists the first of the names, and says how many more there are.
func Enumerate(names []string) string {
	if n := len(names); n > maxEnumerated {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxEnumerated], ", "), n-maxEnumerated)
	}
	return strings.Join(names, ", ")
}
