package assembly

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/testudo-sec/testudo/policy"
)

// PrintLockouts writes which rules of a set would lock everybody out of this host, and what each would refuse first. It writes nothing for none.
func PrintLockouts(w io.Writer, set *policy.Set, settings *Settings) error {
	tried, err := tryRules(set, factsOfHost(uint32(os.Getuid())))
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(tried.rules)) {
		what := "it is told of and never enforced; narrow it, or list it in kernel.force"
		if slices.Contains(settings.Kernel.Force, id) {
			what = "kernel.force lists it: it is enforced all the same where kernel.mode is enforce"
		}
		if _, err := fmt.Fprintf(w, "%s: would lock everybody out: it refuses %s\n    %s\n", policy.Printable(id, 200), tried.rules[id], what); err != nil {
			return err
		}
	}
	return nil
}
