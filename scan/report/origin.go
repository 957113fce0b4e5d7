package report

import (
	"strings"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// maxInstruction bounds how much of an image's instruction is shown beside a finding.
const maxInstruction = 120

// origin says who brought a finding in a history or in an image, and whether it is still there; empty for findings in other
// targets.
func origin(f *signal.Finding) string {
	var parts []string
	if f.Location.Commit != "" {
		text := "commit " + shortCommit(f.Location.Commit)
		if author := evidence(f, "author"); author != "" {
			text += " by " + author
		}
		parts = append(parts, text)
		switch evidence(f, "in HEAD") {
		case "yes":
			parts = append(parts, "still in HEAD")
		case "no":
			parts = append(parts, "not in HEAD any more")
		}
	}
	if layer := evidence(f, "layer"); layer != "" {
		text := "in layer " + shortDigest(layer)
		if by := evidence(f, "instruction"); by != "" {
			text += " by " + shorten(by, maxInstruction)
		}
		if base := evidence(f, "base image"); base != "" {
			text += ", of the base image " + base
		}
		parts = append(parts, text)
	}
	for _, gone := range []string{"deleted", "overwritten"} {
		if how := evidence(f, gone); how != "" {
			parts = append(parts, gone+" "+shorten(how, 2*maxInstruction))
		}
	}
	return strings.Join(parts, "; ")
}

// shortCommit is as much of a commit's id as people read.
func shortCommit(id string) string {
	id = scan.Printable(id)
	return id[:min(len(id), 12)]
}

// shortDigest shortens the digest that a text ends in.
func shortDigest(s string) string {
	const kind = "sha256:"
	if i := strings.Index(s, kind); i >= 0 && len(s) > i+len(kind)+12 {
		return s[:i+len(kind)+12]
	}
	return s
}
