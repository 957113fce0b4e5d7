package waf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"

	"github.com/testudo-sec/testudo/edge"
)

// WAF holds the compiled rules. It is safe for concurrent use.
type WAF struct {
	cfg   Config
	rules coraza.WAF
}

// New compiles the Core Rule Set with the settings. Parts of uploads that Coraza writes to
// disk while it inspects them go to dir, which is made with mode 0700.
func New(cfg Config, dir string) (*WAF, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("waf: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("waf: %w", err)
	}
	rules, err := coraza.NewWAF(coraza.NewWAFConfig().
		WithRootFS(coreruleset.FS).
		WithDirectives(directives(cfg, dir)))
	if err != nil {
		return nil, fmt.Errorf("waf: %w", explain(err))
	}
	return &WAF{cfg: cfg, rules: rules}, nil
}

func directives(cfg Config, dir string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Include @coraza.conf-recommended")
	line("SecRuleEngine DetectionOnly")
	line("SecAuditEngine Off")
	line("SecUploadDir %s", dir)
	line("SecDataDir %s", dir)
	// One byte more than is ever handed in, so that Coraza's own limit is never the one that acts.
	line("SecRequestBodyLimit %d", cfg.RequestBody+1)
	line("SecRequestBodyInMemoryLimit %d", cfg.RequestBody+1)
	line("SecRequestBodyLimitAction ProcessPartial")
	if cfg.ResponseBody > 0 {
		line("SecResponseBodyAccess On")
		line("SecResponseBodyLimit %d", cfg.ResponseBody+1)
		line("SecResponseBodyLimitAction ProcessPartial")
		line("SecResponseBodyMimeType %s", strings.Join(cfg.ResponseTypes, " "))
	} else {
		line("SecResponseBodyAccess Off")
	}
	// The Core Rule Set's setup says for phases 1 and 2 only that what matches is to be logged.
	line(`SecDefaultAction "phase:3,log,noauditlog,pass"`)
	line(`SecDefaultAction "phase:4,log,noauditlog,pass"`)
	line("%s", cfg.Before)
	line("Include @crs-setup.conf.example")
	line("Include @owasp_crs/*.conf")
	for _, id := range attributeBlind() {
		line(`SecRuleUpdateTargetById %s "XML://@*"`, id)
	}
	// Coraza's recommended settings know a rule for this only in later versions. What it costs is
	// counted by the inspection, which knows whether the body was cut short.
	line(`SecRule ARGUMENTS_LIMIT_REACHED "@eq 1" "id:%d,phase:2,pass,log,t:none,severity:'CRITICAL',tag:'attack-protocol',`+
		`msg:'More arguments than are inspected'"`, argumentsRule)
	line("%s", cfg.After)
	return b.String()
}

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

// Rules returns how many rules are loaded.
func (w *WAF) Rules() int {
	if counted, ok := w.rules.(experimental.WAFWithRules); ok {
		return counted.RulesCount()
	}
	return 0
}

// Begin starts the inspection of one exchange.
func (w *WAF) Begin(_ context.Context, x edge.Exchange) edge.Inspection {
	i := &inspection{waf: w, x: x, tx: w.rules.NewTransactionWithID(x.ID)}
	i.level = max(x.Paranoia, 1)
	i.guard(func() {
		if tx := i.variables(); tx != nil {
			level := []string{strconv.Itoa(i.level)}
			tx.Set("blocking_paranoia_level", level)
			tx.Set("detection_paranoia_level", level)
		}
	})
	return i
}

// streams reports whether a body of that media type passes uninspected.
func (w *WAF) streams(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	for _, pattern := range w.cfg.StreamTypes {
		if ok, _ := path.Match(pattern, media); ok {
			return true
		}
	}
	return false
}
