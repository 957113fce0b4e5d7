package assembly

import (
	"cmp"
	"path/filepath"

	"github.com/testudo-sec/testudo/console"
)

// maxShownFiles bounds the files that the console shows.
const maxShownFiles = 100

// view is what the console shows of the plane; nil where there is none.
func (p *logPlane) view(dir string) *console.Logs {
	if p == nil {
		return nil
	}
	v := &console.Logs{Sources: []console.LogSource{}, Files: []console.LogFile{}}
	for _, s := range p.sources {
		st := s.feed.Stats()
		one := console.LogSource{Name: st.Source, Kind: s.kind, Where: s.where, Events: st.Events, Bytes: st.Bytes, Formats: st.Formats, Rejected: st.Rejected,
			Forged: st.Forged, Last: st.Last}
		if s.listener != nil {
			one.Refused = s.listener.Stats().Refused
		}
		for _, pattern := range s.patterns {
			if c := logFileCheck(one.Name, pattern); !c.OK {
				one.Problem, one.Command = cmp.Or(one.Problem, c.Detail), cmp.Or(one.Command, c.Command)
			}
		}
		v.Sources = append(v.Sources, one)
	}
	if p.follower != nil {
		st := p.follower.Stats()
		v.Open, v.Unreadable, v.Waiting, v.Lost = st.Open, st.Unreadable, st.Waiting, st.Lost
		all := p.follower.Status()
		for _, f := range all[:min(len(all), maxShownFiles)] {
			v.Files = append(v.Files, console.LogFile{Path: f.Path, Taken: f.Offset, Read: f.Read, Quiet: f.Quiet})
		}
	}
	if p.dead != nil {
		v.Rejects, v.Kept = filepath.Join(dir, logDeadLetter), p.dead.Stats().Kept
	}
	return v
}
