package image

import (
	"regexp"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

const (
	maxInstruction = 300
	// longestInstruction bounds what is looked at.
	longestInstruction = 32 << 10
)

var (
	buildArguments = regexp.MustCompile(`^\|\d+ .*?(/bin/(?:ba|da|a)?sh -[a-z]*c )`)
	shell          = regexp.MustCompile(`^(?:RUN +)?/bin/(?:ba|da|a)?sh -[a-z]*c +`)
	settings       = regexp.MustCompile(`^(ENV|ARG|LABEL) +(.*)$`)
	setting        = regexp.MustCompile(`([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|'[^']*'|\S*)`)
	longRun        = regexp.MustCompile(`[A-Za-z0-9+/_=-]{16,}`)
)

// instruction writes an entry of the history as it stood in the build file, as far as that is known, without secrets.
func (i *Image) instruction(createdBy string) string {
	s := strings.Join(strings.Fields(cut(createdBy, longestInstruction)), " ")
	s = strings.TrimSuffix(s, " # buildkit")
	if m := buildArguments.FindStringSubmatchIndex(s); m != nil {
		s = s[m[2]:] // their values are often secrets
	}
	if rest, ok := strings.CutPrefix(s, "RUN |"); ok {
		if m := buildArguments.FindStringSubmatchIndex("|" + rest); m != nil {
			s = ("|" + rest)[m[2]:]
		}
	}
	run := false
	if at := shell.FindStringIndex(s); at != nil {
		s, run = s[at[1]:], true
	}
	if rest, ok := strings.CutPrefix(s, "#(nop) "); ok {
		s, run = strings.TrimSpace(rest), false
	}
	switch {
	case run:
		line, _ := strings.CutPrefix(i.mask.Line([]string{"/bin/sh", "-c", s}, false), "/bin/sh -c ")
		s = "RUN " + line
	case settings.MatchString(s):
		s = maskSettings(s)
	default:
		s = i.mask.Line(strings.Fields(s), false)
	}
	return scan.Printable(cut(maskRuns(s), maxInstruction))
}

// maskSettings leaves the names of variables: what they hold is said by the finding about it, if it is one.
func maskSettings(s string) string {
	if setting.MatchString(s) {
		return setting.ReplaceAllString(s, "$1=…")
	}
	words := strings.SplitN(s, " ", 3) // "ENV NAME value"
	if len(words) == 3 {
		return words[0] + " " + words[1] + " …"
	}
	return s
}

// maskRuns takes out what looks as a machine made it: long and of mixed letters and digits.
func maskRuns(s string) string {
	return longRun.ReplaceAllStringFunc(s, func(run string) string {
		var digits, upper, lower int
		for _, c := range []byte(run) {
			switch {
			case '0' <= c && c <= '9':
				digits++
			case 'A' <= c && c <= 'Z':
				upper++
			case 'a' <= c && c <= 'z':
				lower++
			}
		}
		if digits > 0 && upper > 0 && lower > 0 || digits >= 4 && upper+lower >= 4 && !strings.Contains(run, "/") {
			return "…"
		}
		return run
	})
}
