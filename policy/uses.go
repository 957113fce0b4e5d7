package policy

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// PrintUses writes which fields rules read under their dialects' own names, where an event holds them, whether events carry
// them today, and in how many rules they stand; and how many rules wait for what is not carried. It writes nothing where no
// rule's dialect has names of its own.
func PrintUses(w io.Writer, rules []*Rule) error {
	type row struct {
		Use
		dialect string
		rules   int
	}
	count := make(map[string]*row)
	waiting := make(map[string]int) // rules by the worst that they read
	total := 0
	for _, r := range rules {
		if len(r.Uses) == 0 {
			continue
		}
		total++
		worst := "yes"
		for _, u := range r.Uses {
			key := r.Dialect + " " + u.Name
			if count[key] == nil {
				count[key] = &row{Use: u, dialect: r.Dialect}
			}
			count[key].rules++
			if u.Carried != "yes" && worst != "no" {
				worst = u.Carried
			}
		}
		waiting[worst]++
	}
	if total == 0 {
		return nil
	}
	all := make([]*row, 0, len(count))
	for _, r := range count {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *row) int {
		return cmp.Or(strings.Compare(a.dialect, b.dialect), strings.Compare(a.Carried, b.Carried), strings.Compare(a.Name, b.Name))
	})
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "FIELD\tCARRIED\tRULES\tREADS")
	for _, r := range all {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", Printable(r.Name, 100), r.Carried, r.rules, Printable(r.Reads, 200))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "of %d rules, %d read only what logs carry too, %d need the kernel plane, %d read what no event carries\n",
		total, waiting["yes"], waiting["kernel"], waiting["no"])
	return err
}
