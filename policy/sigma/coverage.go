package sigma

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
)

// Coverage says what of a set's Sigma rules the tables know.
type Coverage struct {
	Rules     int     `json:"rules"`               // Sigma rules with a condition of their own
	Mapped    []Count `json:"mapped"`              // fields of events, by how many rules read them
	Unmapped  []Count `json:"unmapped"`            // fields that no table maps: they are read from the event's unmapped attributes
	AllMapped int     `json:"all_mapped"`          // rules that read mapped fields alone
	Unknown   []Count `json:"unknown_log_sources"` // log sources that no table knows: they are matched by their names
	Off       []Off   `json:"off"`                 // deprecated and unsupported rules, and those with placeholders that have no values
}

// Off is a rule that loads and never fires.
type Off struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Why  string `json:"why"`
}

// Count is how many rules there are of something.
type Count struct {
	Name  string `json:"name"`
	Rules int    `json:"rules"`
}

// Cover looks through the rules of a set, those of other dialects aside.
func Cover(rules []*policy.Rule) Coverage {
	var c Coverage
	mapped, unmapped, unknown := map[string]int{}, map[string]int{}, map[string]int{}
	for _, r := range rules {
		if r.Dialect != "sigma" || r.Condition == nil {
			continue
		}
		c.Rules++
		fields, attrs := map[string]bool{}, map[string]bool{}
		for _, o := range match.Operands(r.Condition) {
			if o.Field != 0 {
				fields[o.Field.Name()] = true
			} else if o.Attr != "" {
				attrs[o.Attr] = true
			}
		}
		for f := range fields {
			mapped[f]++
		}
		for a := range attrs {
			unmapped[a]++
		}
		if len(attrs) == 0 {
			c.AllMapped++
		}
		for _, n := range r.Notes {
			if n.Key == NoteDisabled {
				c.Off = append(c.Off, Off{r.ID, r.File, n.Text})
			}
			if n.Key == NoteUnknownSource {
				for name := range strings.SplitSeq(n.Text, ", ") {
					unknown[name]++
				}
			}
		}
	}
	slices.SortStableFunc(c.Off, func(a, b Off) int { return strings.Compare(a.File, b.File) })
	c.Mapped, c.Unmapped, c.Unknown = counts(mapped), counts(unmapped), counts(unknown)
	return c
}

// counts returns the counts, largest first.
func counts(of map[string]int) []Count {
	all := make([]Count, 0, len(of))
	for name, n := range of {
		all = append(all, Count{name, n})
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(cmp.Compare(b.Rules, a.Rules), strings.Compare(a.Name, b.Name)) })
	return all
}

// Print writes the coverage for people.
func (c Coverage) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Sigma: of %d rules %d read mapped fields alone\n", c.Rules, c.AllMapped)
	part := func(title string, list []Count) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s:\n", title)
		for _, e := range list {
			fmt.Fprintf(&b, "%7d  %s\n", e.Rules, policy.Printable(e.Name, 100))
		}
	}
	part("fields that no table maps, read from unmapped attributes (rules, field)", c.Unmapped)
	part("log sources that no table knows, matched by name (rules, log source)", c.Unknown)
	if len(c.Off) > 0 {
		b.WriteString("rules that load and never fire:\n")
	}
	for _, o := range c.Off {
		fmt.Fprintf(&b, "         %s: %s\n", policy.Printable(o.File, 500), policy.Printable(o.Why, 200))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
