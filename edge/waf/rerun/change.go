package rerun

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Change is another setting of the firewall. Its zero value changes nothing.
type Change struct {
	// Before and After are directives that are read behind those of the settings of that name.
	Before, After string
	// Paranoia is the level, 1 to 4; Threshold the score from which a request is an attack. 0 leaves that of each route.
	Paranoia, Threshold int
	// Routes are those that the level and the threshold are changed of; none for all. Directives hold on all routes, but what they find is
	// told of these alone.
	Routes []string
}

// Empty reports whether nothing is changed.
func (c *Change) Empty() bool { return !c.directs() && c.Paranoia == 0 && c.Threshold == 0 }

func (c *Change) directs() bool { return strings.TrimSpace(c.Before+c.After) != "" }

// The bounds of a change.
const (
	maxText      = 256 << 10
	maxThreshold = 10_000
)

// tried are the directives that may be tried. Others are about files, logs and engines: who tries a change is not who may write there.
func tried() []string {
	return []string{"secrule", "secaction", "secmarker", "secruleremovebyid", "secruleremovebytag", "secruleremovebymsg", "secruleupdatetargetbyid",
		"secruleupdatetargetbytag", "secruleupdatetargetbymsg", "secruleupdateactionbyid", "secargumentslimit"}
}

// Validate says what of the change makes no sense, or cannot be tried.
func (c *Change) Validate() error {
	var errs []error
	if c.Paranoia < 0 || c.Paranoia > 4 {
		errs = append(errs, fmt.Errorf("paranoia %d: want 1 to 4", c.Paranoia))
	}
	if c.Threshold < 0 || c.Threshold > maxThreshold {
		errs = append(errs, fmt.Errorf("threshold %d: want 1 to %d", c.Threshold, maxThreshold))
	}
	if n := len(c.Before) + len(c.After); n > maxText {
		return fmt.Errorf("%d bytes of directives: at most %d are tried", n, maxText)
	}
	for _, text := range []string{c.Before, c.After} {
		for _, d := range directivesOf(text) {
			if name := d.name(); !slices.Contains(tried(), name) {
				errs = append(errs, fmt.Errorf("line %d: %.40q cannot be tried: rules, exclusions, removals and updates can, other directives belong into testudo.yaml", d.line, name))
			}
		}
	}
	return errors.Join(errs...)
}

// directive is one of a text.
type directive struct {
	line int    // its first
	text string // with its line breaks and the comments in it
	flat string // in one line
}

func (d *directive) name() string {
	name, _, _ := strings.Cut(strings.TrimSpace(d.flat), " ")
	return strings.ToLower(strings.TrimSpace(name))
}

// directivesOf splits a text as Coraza does: a line that ends in a backslash goes on in the next one that is no comment.
func directivesOf(text string) []directive {
	var out []directive
	var now directive
	number, quoted := 0, false // between backticks
	for line := range strings.Lines(text) {
		number++
		plain := strings.TrimSpace(line)
		if plain == "" || plain[0] == '#' {
			if now.text != "" {
				now.text += line
			}
			continue
		}
		if now.text == "" {
			now.line = number
		}
		now.text += line
		if !quoted && strings.HasSuffix(plain, "`") {
			quoted = true
		} else if quoted && plain[0] == '`' {
			quoted = false
		}
		if quoted {
			now.flat += plain + "\n"
			continue
		}
		head, more := strings.CutSuffix(plain, `\`)
		now.flat += head
		if !more {
			out, now = append(out, now), directive{}
		}
	}
	if now.text != "" {
		out = append(out, now)
	}
	return out
}

// Split puts each directive of a text where it has its effect: what takes rules or targets out by ctl, and what sets the Core Rule Set up (rules
// 900000 to 900999), in front of the Core Rule Set; all else behind it.
func Split(text string) (before, after string) {
	ahead, chained := false, false
	for _, d := range directivesOf(text) {
		flat := strings.ToLower(d.flat)
		if !chained {
			ahead = (d.name() == "secrule" || d.name() == "secaction") && (strings.Contains(flat, "ctl:") || setsUp(flat))
		}
		// What a chain does may stand in its last rule.
		if !chained && chains(flat) {
			ahead = ahead || chainHas(text, d.line, "ctl:")
		}
		chained = d.name() == "secrule" && chains(flat)
		line := strings.TrimRight(d.text, "\n") + "\n"
		if ahead {
			before += line
		} else {
			after += line
		}
	}
	return before, after
}

// chainHas reports whether one of the rules of the chain that begins at a line holds the words.
func chainHas(text string, line int, words string) bool {
	within := false
	for _, d := range directivesOf(text) {
		if d.line == line {
			within = true
		}
		if !within {
			continue
		}
		flat := strings.ToLower(d.flat)
		if strings.Contains(flat, words) {
			return true
		}
		if !chains(flat) {
			return false
		}
	}
	return false
}

// chains reports whether a rule has the action chain.
func chains(flat string) bool {
	at := strings.LastIndex(strings.TrimRight(flat, `" `), `"`)
	for action := range strings.SplitSeq(flat[at+1:], ",") {
		if strings.Trim(action, "\" \t\n") == "chain" {
			return true
		}
	}
	return false
}

// setsUp reports whether a directive has an id of the Core Rule Set's setup.
func setsUp(flat string) bool {
	_, rest, ok := strings.Cut(flat, "id:")
	rest = strings.TrimLeft(rest, "'")
	return ok && len(rest) >= 6 && strings.HasPrefix(rest, "900") && strings.Trim(rest[:6], "0123456789") == "" && (len(rest) == 6 || rest[6] < '0' || rest[6] > '9')
}
