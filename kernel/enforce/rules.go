//go:build linux

package enforce

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Limits of what is enforced here at once.
const (
	MaxRules    = 512   // pieces of rules
	MaxText     = 250   // bytes of a path, of a beginning of one, of a name
	maxTexts    = 16384 // distinct paths and names, and as many beginnings
	maxNumbers  = 65536 // distinct cgroups, users, ports together
	maxNetworks = 65536
)

// Residue is a piece of a rule that is not enforced here, and why.
type Residue struct {
	Index int // in Guard.Rules
	Rule  string
	Hook  kernel.Hook
	Why   string
}

func (r Residue) String() string {
	return fmt.Sprintf("rule %s at %s: %s", r.Rule, hookName(r.Hook), r.Why)
}

// ResidueError says that nothing was changed, as some of the rules cannot be enforced here.
type ResidueError struct{ Residue []Residue }

func (e *ResidueError) Error() string {
	const most = 5
	var b strings.Builder
	fmt.Fprintf(&b, "%d rules need a gate that can wait: ", len(e.Residue))
	for i, r := range e.Residue {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(e.Residue)-most)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.String())
	}
	return b.String()
}

func (e *ResidueError) Unwrap() error { return kernel.ErrUnable }

func hookName(h kernel.Hook) string {
	switch h {
	case kernel.HookExec:
		return "exec"
	case kernel.HookOpen:
		return "open"
	case kernel.HookConnect:
		return "connect"
	}
	return fmt.Sprintf("hook %d", h)
}

// able says what the hooks of this kernel can do.
type able struct {
	gates  map[kernel.Hook]record.Gate // of each hook that works
	why    map[kernel.Hook]string      // of each that does not
	caller bool                        // who calls exec is seen there
	host   bool                        // what is in no container is told from the rest
}

// residueOf names the rules that cannot be enforced with what is able.
func residueOf(rules []kernel.GuardRule, a able) []Residue {
	var left []Residue
	var taken, texts, prefixes, numbers, networks int
	for i, r := range rules {
		why := unfit(r, a)
		t, p := countTexts(r)
		n := len(r.Cgroups) + len(r.UIDs) + len(r.Ports)
		switch {
		case why != "":
		case taken == MaxRules:
			why = fmt.Sprintf("there are more than %d pieces of rules", MaxRules)
		case texts+t > maxTexts || prefixes+p > maxTexts:
			why = fmt.Sprintf("together the rules name more than %d paths", maxTexts)
		case numbers+n > maxNumbers:
			why = fmt.Sprintf("together the rules name more than %d workloads, users and ports", maxNumbers)
		case networks+len(r.Remote) > maxNetworks:
			why = fmt.Sprintf("together the rules name more than %d networks", maxNetworks)
		default:
			taken, texts, prefixes, numbers, networks = taken+1, texts+t, prefixes+p, numbers+n, networks+len(r.Remote)
			continue
		}
		left = append(left, Residue{Index: i, Rule: r.Rule, Hook: r.Hook, Why: why})
	}
	return left
}

func countTexts(r kernel.GuardRule) (texts, prefixes int) {
	for _, p := range []kernel.Paths{r.Exe, r.Parent, r.File} {
		texts, prefixes = texts+len(p.Exact)+len(p.Name), prefixes+len(p.Prefix)
	}
	return texts, prefixes
}

// unfit says why a rule cannot be enforced here, "" where it can.
func unfit(r kernel.GuardRule, a able) string {
	if _, ok := a.gates[r.Hook]; !ok {
		if why := a.why[r.Hook]; why != "" {
			return why
		}
		return "there is no such hook"
	}
	for _, p := range []struct {
		what string
		kernel.Paths
	}{{"the executable", r.Exe}, {"the caller", r.Parent}, {"the file", r.File}} {
		if len(p.Part) > 0 || len(p.End) > 0 {
			return p.what + " is named by parts or ends of names: only whole paths, beginnings and last components are compared here"
		}
		for _, text := range slices.Concat(p.Exact, p.Prefix, p.Name) {
			switch {
			case len(text) > MaxText:
				return fmt.Sprintf("%s is named by a text of %d bytes, at most %d are compared here", p.what, len(text), MaxText)
			case strings.ContainsRune(text, 0):
				return p.what + " is named by a text with a zero byte, which no path has"
			}
		}
		for _, text := range p.Exact {
			if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "memfd:") {
				return fmt.Sprintf("%s is named by %q, which is no absolute path", p.what, text)
			}
		}
		for _, text := range p.Name {
			if text == "" || strings.Contains(text, "/") {
				return fmt.Sprintf("%s is named by %q, which is no last component of a path", p.what, text)
			}
		}
	}
	switch {
	case set(r.Parent) && r.Hook != kernel.HookExec:
		return "it names who calls, which is known of exec only"
	case set(r.Parent) && !a.caller:
		return "it names who calls exec, which needs BPF LSM or Linux 6.10: when the program is killed, its caller is gone"
	case (set(r.File) || r.Write) && r.Hook != kernel.HookOpen:
		return "it names a file, which is known of open only"
	case (r.Remote != nil || r.Ports != nil) && r.Hook != kernel.HookConnect:
		return "it names a remote end, which is known of connect only"
	case r.Host && !a.host:
		return "what is in no container cannot be told from the rest: /proc/1/mountinfo is not readable"
	}
	for _, p := range r.Remote {
		if !p.IsValid() {
			return "it names a network that is none"
		}
	}
	return ""
}

// set reports whether paths constrain anything.
func set(p kernel.Paths) bool {
	return !p.All && len(p.Exact)+len(p.Prefix)+len(p.Name)+len(p.Part)+len(p.End) > 0 && !slices.Contains(p.Prefix, "") && !slices.Contains(p.Prefix, "/")
}

// lockout says why a rule would refuse so much that nobody could mend it, "" where it does not.
func lockout(r kernel.GuardRule) string {
	everybody := r.UIDs == nil || slices.Contains(r.UIDs, 0)
	if !r.Enforce || !everybody || r.Cgroups != nil || set(r.Exe) || set(r.Parent) || r.Upper || r.Memory {
		return ""
	}
	switch {
	case r.Hook == kernel.HookExec:
		return "it refuses every program of the host, those that would take it back too: name executables, callers or workloads, or list the rule in kernel.force"
	case r.Hook == kernel.HookOpen && !set(r.File):
		return "it refuses every file of the host: name files, executables or workloads, or list the rule in kernel.force"
	case r.Hook == kernel.HookConnect && r.Ports == nil && everywhere(r.Remote):
		return "it refuses every connection of the host: name remote ends, executables or workloads, or list the rule in kernel.force"
	}
	return ""
}

func everywhere(remote []netip.Prefix) bool {
	return remote == nil || slices.ContainsFunc(remote, func(p netip.Prefix) bool { return p.Bits() == 0 })
}
