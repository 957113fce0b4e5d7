package waf

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"

	"github.com/testudo-sec/testudo/edge/waf/engine"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// text is what the rules are compiled from.
type text struct {
	strings.Builder
	lines         int // so far
	before, after int // lines in front of what the settings say
}

func (t *text) line(format string, args ...any) {
	line := fmt.Sprintf(format+"\n", args...)
	t.lines += strings.Count(line, "\n")
	t.WriteString(line)
}

func directives(cfg *Config, dir string) *text {
	t := &text{}
	t.line("Include @coraza.conf-recommended")
	t.line("SecRuleEngine DetectionOnly")
	t.line("SecAuditEngine Off")
	t.line("SecUploadDir %s", dir)
	t.line("SecDataDir %s", dir)
	// One byte more than is ever handed in, so that Coraza's own limit is never the one that acts.
	t.line("SecRequestBodyLimit %d", cfg.RequestBody+1)
	t.line("SecRequestBodyInMemoryLimit %d", cfg.RequestBody+1)
	t.line("SecRequestBodyLimitAction ProcessPartial")
	if cfg.ResponseBody > 0 {
		t.line("SecResponseBodyAccess On")
		t.line("SecResponseBodyLimit %d", cfg.ResponseBody+1)
		t.line("SecResponseBodyLimitAction ProcessPartial")
		t.line("SecResponseBodyMimeType %s", strings.Join(cfg.ResponseTypes, " "))
	} else {
		t.line("SecResponseBodyAccess Off")
	}
	// The Core Rule Set's setup says for phases 1 and 2 only that what matches is to be logged.
	t.line(`SecDefaultAction "phase:3,log,noauditlog,pass"`)
	t.line(`SecDefaultAction "phase:4,log,noauditlog,pass"`)
	t.before = t.lines
	t.line("%s", cfg.Before)
	t.line("Include @crs-setup.conf.example")
	t.line("Include @owasp_crs/*.conf")
	for _, id := range attributeBlind() {
		t.line(`SecRuleUpdateTargetById %s "XML://@*"`, id)
	}
	// Coraza's recommended settings know a rule for this only in later versions. What it costs is
	// counted by the inspection, which knows whether the body was cut short.
	t.line(`SecRule ARGUMENTS_LIMIT_REACHED "@eq 1" "id:%d,phase:2,pass,log,t:none,severity:'CRITICAL',tag:'attack-protocol',`+
		`msg:'More arguments than are inspected'"`, argumentsRule)
	t.after = t.lines
	t.line("%s", cfg.After)
	return t
}

// where names a line as who wrote it knows it.
func (t *text) where(p seclang.Place, cfg *Config) string {
	switch {
	case p.File != "":
		return fmt.Sprintf("%s, line %d", p.File, p.Line)
	case p.Own > t.after:
		return fmt.Sprintf("waf.after, line %d", p.Own-t.after)
	case p.Own > t.before && p.Own <= t.before+1+strings.Count(cfg.Before, "\n"):
		return fmt.Sprintf("waf.before, line %d", p.Own-t.before)
	}
	return fmt.Sprintf("line %d", p.Own)
}

// Uncovered is something in the rules that the fast engine does not execute, as in {"waf.after, line 3", 1000, "@rbl"}.
type Uncovered struct {
	Where string // the file, or the setting, and the line
	Rule  int    // its id; 0 where it is no rule's
	What  string // an operator, a variable, a directive
	Why   string // what there is to say of it, "" for nothing
}

func (u Uncovered) String() string {
	s := u.What + " in " + u.Where
	if u.Rule != 0 {
		s = fmt.Sprintf("%s of rule %d in %s", u.What, u.Rule, u.Where)
	}
	if u.Why != "" {
		s += " (" + u.Why + ")"
	}
	return s
}

// uncovered turns an error of seclang or engine into what there is to tell.
func (t *text) uncovered(err error, cfg *Config) []Uncovered {
	var list []Uncovered
	var wrong *seclang.Error
	var joined interface{ Unwrap() []error }
	switch {
	case errors.As(err, &wrong):
		what := wrong.Directive
		if what == "" {
			what = "a line"
		}
		return []Uncovered{{Where: t.where(wrong.Place, cfg), What: what, Why: wrong.Err.Error()}}
	case errors.As(err, &joined):
		for _, err := range joined.Unwrap() {
			if u, ok := errors.AsType[engine.Uncovered](err); ok {
				list = append(list, Uncovered{Where: t.where(u.Place, cfg), Rule: u.Rule, What: u.What})
			}
		}
	}
	if len(list) == 0 {
		list = []Uncovered{{Where: "the rules", What: "an expression", Why: err.Error()}}
	}
	return list
}

// Check compiles the settings, and says what in them the fast engine leaves to Coraza, which is all it does then. Nothing is kept.
func Check(cfg Config) ([]Uncovered, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("waf: %w", err)
	}
	t := directives(&cfg, "/")
	if cfg.own() {
		if err := readable(t.String()); err != nil {
			return nil, fmt.Errorf("waf: %w", err)
		}
	}
	program, err := seclang.Parse(coreruleset.FS, t.String())
	if err == nil {
		err = engine.Check(program)
	}
	if err != nil {
		return t.uncovered(err, &cfg), nil
	}
	return nil, nil
}

// own reports whether there are directives that do not ship.
func (c *Config) own() bool { return strings.TrimSpace(c.Before+c.After) != "" }

// attributeBlind returns the ids of the rules that look at the text of XML bodies, but not at
// attributes, where an attack is as good. The rule sets after 4.25 look at both.
func attributeBlind() []string {
	var ids []string
	paths, _ := fs.Glob(coreruleset.FS, "@owasp_crs/*.conf")
	for _, name := range paths {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			continue
		}
		blind := false
		for line := range strings.Lines(string(text)) {
			if targets, ok := strings.CutPrefix(line, "SecRule "); ok {
				targets, _, _ = strings.Cut(targets, ` "`)
				blind = strings.Contains(targets, "XML:/*") && !strings.Contains(targets, "XML://@*")
			}
			if _, rest, ok := strings.Cut(line, `"id:`); ok && blind {
				id, _, _ := strings.Cut(rest, ",")
				ids, blind = append(ids, id), false
			}
		}
	}
	return ids
}

// explain says which of the settings a compile error comes from, as far as can be known.
func explain(err error) error {
	var notFound *fs.PathError
	if errors.As(err, &notFound) {
		return fmt.Errorf("%w: includes are read from the built-in Core Rule Set only", err)
	}
	return fmt.Errorf("the directives do not compile, see waf.before and waf.after: %w", err)
}
