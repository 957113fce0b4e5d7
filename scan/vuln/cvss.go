package vuln

import (
	"fmt"
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/testudo-sec/testudo/intel"
)

// rating is how severe an advisory says the flaw is.
type rating struct {
	score  float64 // 0 to 10
	text   string  // "CVSS 9.8 (CVSS:3.1/AV:N/…)" or a database's word
	vector bool
}

// words are what databases write instead of a vector, as the middle of the band that CVSS gives the word.
var words = map[string]float64{
	"critical": 9.5, "important": 8, "high": 8, "moderate": 5.5, "medium": 5.5, "low": 2.5, "minor": 2.5,
	"negligible": 1, "unimportant": 1, "none": 0,
}

// rate returns the highest of the ratings; ok is false if there is none that can be read. Vectors come before words,
// and version 2 counts where there is nothing newer.
func rate(all []intel.Severity) (best rating, ok bool) {
	old := rating{}
	hasOld := false
	for _, s := range all {
		r, read := readRating(s)
		switch {
		case !read:
		case s.Type == "CVSS_V2":
			if !hasOld || r.score > old.score {
				old, hasOld = r, true
			}
		case !ok || r.vector && !best.vector || r.vector == best.vector && r.score > best.score:
			best, ok = r, true
		}
	}
	if hasOld && (!ok || !best.vector) {
		return old, true
	}
	return best, ok
}

func readRating(s intel.Severity) (rating, bool) {
	if len(s.Score) > 300 {
		return rating{}, false
	}
	score, err := 0.0, error(nil)
	switch {
	case strings.HasPrefix(s.Score, "CVSS:4.0/"):
		v, e := gocvss40.ParseVector(s.Score)
		if err = e; e == nil {
			score = v.Score()
		}
	case strings.HasPrefix(s.Score, "CVSS:3.1/"):
		v, e := gocvss31.ParseVector(s.Score)
		if err = e; e == nil {
			score = v.BaseScore()
		}
	case strings.HasPrefix(s.Score, "CVSS:3.0/"):
		v, e := gocvss30.ParseVector(s.Score)
		if err = e; e == nil {
			score = v.BaseScore()
		}
	case s.Type == "CVSS_V2":
		v, e := gocvss20.ParseVector(strings.Trim(strings.TrimPrefix(s.Score, "CVSS:2.0/"), "()"))
		if err = e; e == nil {
			score = v.BaseScore()
		}
	default:
		score, known := words[strings.ToLower(s.Score)]
		return rating{score: score, text: fmt.Sprintf("%s says %s", source(s.Type), strings.ToLower(s.Score))}, known
	}
	return rating{score: score, text: fmt.Sprintf("CVSS %.1f (%s)", score, s.Score), vector: true}, err == nil
}

func source(kind string) string {
	if kind == "" || kind == "WORD" {
		return "the advisory"
	}
	return kind
}
