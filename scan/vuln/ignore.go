package vuln

import (
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/ignore"
)

// ignoreList is the configuration's decisions by flaw.
type ignoreList struct {
	byID map[string][]entry
}

type entry struct {
	Ignore
	expired bool
	paths   *ignore.List
}

func newIgnoreList(all []Ignore, now time.Time) ignoreList {
	l := ignoreList{byID: map[string][]entry{}}
	for _, ig := range all {
		end, err := ig.end()
		e := entry{Ignore: ig, expired: err != nil || !now.Before(end)}
		if ig.Path != "" {
			e.paths = (*ignore.List)(nil).Extend("", []byte(ig.Path))
		}
		l.byID[ig.ID] = append(l.byID[ig.ID], e)
	}
	return l
}

// decide reports whether the flaw is ignored, or would be if the decision had not ended. A decision about
// places takes these away from the flaw; it is ignored when none is left.
func (l ignoreList) decide(f *Flaw) (ignored, expired bool) {
	for _, id := range f.names() {
		for _, e := range l.byID[id] {
			left := slices.Clone(f.Packages)
			left = slices.DeleteFunc(left, func(p *placed) bool { return e.about(p) })
			switch {
			case len(left) == len(f.Packages):
			case e.expired:
				expired = true
			case len(left) == 0:
				return true, false
			default:
				f.Packages = left
			}
		}
	}
	return false, expired
}

func (e *entry) about(p *placed) bool {
	if e.Package != "" && e.Package != p.PURL && e.Package != withoutVersion(p.PURL) && !strings.EqualFold(e.Package, p.Name) {
		return false
	}
	if e.paths == nil {
		return true
	}
	out, matched := e.paths.Decide(p.Path, false)
	return matched && out
}
