package coverage

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// Exclusion is rules that do not look at something, on some path, if it has some shape.
type Exclusion struct {
	Rules []int
	// Target is what they leave out: a variable, and of a collection one key, or the keys that an expression fits: "ARGS:q",
	// "ARGS:/\Ajson\.items\.[0-9]+\.name\z/". Empty leaves out the rules as a whole.
	Target string
	// Path is where: one path without percent signs, or those that PathPattern (RE2) fits as a whole. With neither, everywhere.
	Path, PathPattern string
	// Shape is what each value in the target has to look like. It needs a key in Target.
	Shape Shape
}

// static reports whether the exclusion depends on no request.
func (x *Exclusion) static() bool {
	return x.Path == "" && x.PathPattern == "" && x.Shape.Pattern == ""
}

// String returns the exclusion for people.
func (x *Exclusion) String() string {
	ids := make([]string, len(x.Rules))
	for i, id := range x.Rules {
		ids[i] = strconv.Itoa(id)
	}
	out := "rule " + ids[0]
	if n := len(ids); n > 1 {
		out = "rules " + strings.Join(ids[:n-1], ", ") + " and " + ids[n-1]
	}
	if x.Target != "" {
		out += " in " + x.Target
	}
	switch {
	case x.Path != "":
		out += " of " + x.Path
	case x.PathPattern != "":
		out += " of paths like " + x.PathPattern
	default:
		out += " of all paths"
	}
	if x.Shape.Pattern != "" {
		out += ", where the value is " + x.Shape.Name
	}
	return out
}

// writer writes directives.
type writer struct {
	phases map[int]int // of rules
	taken  map[int]bool
	guard  int // not 0: only for requests with this number in the header field guardField
}

// guardField chooses among exclusions that are compiled into one firewall to be tried.
const guardField = "X-Testudo-Exclusion"

func newWriter(p *seclang.Program) *writer {
	w := &writer{phases: map[int]int{}, taken: map[int]bool{}}
	if p == nil {
		return w
	}
	for _, r := range p.Rules {
		if r.ID != 0 {
			w.phases[r.ID], w.taken[r.ID] = r.Phase, true
		}
	}
	return w
}

// id returns an id for local rules (1 to 99,999) that is free and depends on the text alone as long as it is.
func (w *writer) id(text string) int {
	sum := sha256.Sum256([]byte(text))
	id := 10_000 + (int(sum[0])<<8 | int(sum[1]))
	for w.taken[id] {
		if id++; id > 99_999 {
			id = 10_000
		}
	}
	w.taken[id] = true
	return id
}

// Directives returns what to put into waf.before and waf.after, each "" for nothing. The program has the ids that are not to be
// used again.
func (p *Proposal) Directives(program *seclang.Program) (before, after string) {
	w := newWriter(program)
	for i := range p.Exclusions {
		if x := &p.Exclusions[i]; x.static() {
			after += w.static(x)
		} else {
			before += w.conditional(x)
		}
	}
	return before, after
}

func (w *writer) static(x *Exclusion) string {
	var b strings.Builder
	for _, id := range x.Rules {
		if x.Target == "" {
			fmt.Fprintf(&b, "SecRuleRemoveById %d\n", id)
		} else {
			fmt.Fprintf(&b, "SecRuleUpdateTargetById %d \"!%s\"\n", id, x.Target)
		}
	}
	return b.String()
}

// conditional writes the exclusion as a rule that takes the targets out of the others when a request comes by. It has to run before
// them: in their phase, or one before where it need not look at the body.
func (w *writer) conditional(x *Exclusion) string {
	byPhase := map[int][]int{}
	for _, id := range x.Rules {
		phase := seclang.RequestHeaders
		if x.Shape.Pattern != "" && w.phases[id] != seclang.RequestHeaders {
			phase = seclang.RequestBody
		}
		byPhase[phase] = append(byPhase[phase], id)
	}
	var b strings.Builder
	for _, phase := range []int{seclang.RequestHeaders, seclang.RequestBody} {
		if rules := byPhase[phase]; len(rules) > 0 {
			w.rule(&b, x, phase, rules)
		}
	}
	return b.String()
}

func (w *writer) rule(b *strings.Builder, x *Exclusion, phase int, rules []int) {
	var conditions []string
	if w.guard > 0 {
		conditions = append(conditions, fmt.Sprintf(`REQUEST_HEADERS:%s "@streq %d"`, guardField, w.guard))
	}
	switch {
	case x.PathPattern != "":
		conditions = append(conditions, `REQUEST_FILENAME "@rx \A(?:`+x.PathPattern+`)\z"`)
	case x.Path != "" && plainPath.MatchString(x.Path):
		conditions = append(conditions, `REQUEST_FILENAME "@streq `+x.Path+`"`)
	case x.Path != "":
		conditions = append(conditions, `REQUEST_FILENAME "@rx \A`+quote(x.Path)+`\z"`)
	}
	named := fmt.Sprint(x, phase, w.guard)
	if x.Shape.Pattern != "" {
		// Each value has to fit: one that does must not let others in which do not.
		if strings.Contains(x.Target, ":/") {
			flag := w.id(named + " values")
			fmt.Fprintf(b, "SecRule %s \"!@rx %s\" \"id:%d,phase:%d,pass,nolog,t:none,setvar:'tx.other_%d=1'\"\n", x.Target, x.Shape.Expression(), flag, phase, flag)
			conditions = append(conditions, fmt.Sprintf(`&TX:other_%d "@eq 0"`, flag))
		} else {
			conditions = append(conditions, "&"+x.Target+` "@eq 1"`, x.Target+` "@rx `+x.Shape.Expression()+`"`)
		}
	}
	actions := "t:none"
	for _, id := range rules {
		if x.Target == "" {
			actions += fmt.Sprintf(",ctl:ruleRemoveById=%d", id)
		} else {
			actions += fmt.Sprintf(",ctl:ruleRemoveTargetById=%d;%s", id, x.Target)
		}
	}
	head := fmt.Sprintf("id:%d,phase:%d,pass,nolog,", w.id(named), phase)
	if len(conditions) == 0 {
		fmt.Fprintf(b, "SecAction \"%s%s\"\n", head, actions)
		return
	}
	for i, c := range conditions {
		indent, end := strings.Repeat("  ", min(i, 1)), "\n"
		own := actions
		if i+1 < len(conditions) {
			own = "t:none,chain"
		}
		if i > 0 {
			head = ""
		}
		fmt.Fprintf(b, "%sSecRule %s \"%s%s\"%s", indent, c, head, own, end)
	}
}

// plainPath is a path that needs no quoting in a directive.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/_.~:@!,;=+()-]+$`)

// covers reports whether the exclusion takes out a match of a rule in a target on a path. Of values nothing is known.
func (x *Exclusion) covers(rule int, target, path string) bool {
	if !slices.Contains(x.Rules, rule) {
		return false
	}
	switch {
	case x.PathPattern != "":
		if rx, err := regexp.Compile(`\A(?:` + x.PathPattern + `)\z`); err != nil || !rx.MatchString(path) {
			return false
		}
	case x.Path != "" && x.Path != path:
		return false
	}
	if x.Target == "" {
		return true
	}
	variable, key, keyed := strings.Cut(x.Target, ":")
	its, itsKey, _ := strings.Cut(target, ":")
	switch {
	case !strings.EqualFold(variable, its):
		return false
	case !keyed:
		return true
	case len(key) > 2 && key[0] == '/' && key[len(key)-1] == '/':
		rx, err := regexp.Compile(key[1 : len(key)-1])
		return err == nil && rx.MatchString(strings.ToLower(itsKey))
	}
	return strings.EqualFold(key, itsKey)
}
