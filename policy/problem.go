package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxProblems bounds how many problems one load reports.
const MaxProblems = 200

// maxMessage bounds what is shown of a message, in characters.
const maxMessage = 8000

// Problem is one thing that is wrong with a rule file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 where it is the whole file
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Rule    string `json:"rule,omitempty"`   // id, where it is known
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to write instead
	// Note says that it does not keep the rules from being loaded: a file that is written for a later version, say.
	Note bool `json:"note,omitempty"`
}

// Error returns "file:line:column: message; hint".
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(Printable(p.File, 1000))
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, max(1, p.Column))
		}
		b.WriteString(": ")
	}
	if p.Note {
		b.WriteString("note: ")
	}
	b.WriteString(Printable(p.Message, maxMessage)) // it may quote a file
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(Printable(p.Hint, maxMessage))
	}
	return b.String()
}

// Problems is what is wrong with a load, by file and place. It is an error.
type Problems []Problem

// Error returns the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the problems by file and place, no more than MaxProblems and a last one
// that counts the rest.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), strings.Compare(a.Message, b.Message))
	})
	if len(ps) <= MaxProblems {
		return ps
	}
	ps, repeats := ps.thinned()
	if over := len(ps) - MaxProblems; over > 0 {
		ps = append(ps[:MaxProblems:MaxProblems], Problem{Message: fmt.Sprintf("%d more problems are not shown", over)})
	}
	return append(ps, repeats...)
}

// maxAlike is how many problems of one message are shown where there are too many to show all.
const maxAlike = 10

// thinned leaves out what repeats itself, so that a folder full of one mistake does not hide the others. It returns what
// is left, and a problem for each message that counts what was left out of it.
func (ps Problems) thinned() (left, repeats Problems) {
	seen := make(map[string]int)
	var order []string
	for _, p := range ps {
		if seen[p.Message]++; seen[p.Message] <= maxAlike {
			left = append(left, p)
		} else if seen[p.Message] == maxAlike+1 {
			order = append(order, p.Message)
		}
	}
	for i, message := range order {
		if i == maxAlike {
			break
		}
		repeats = append(repeats, Problem{Message: fmt.Sprintf("%d more: %s", seen[message]-maxAlike, message)})
		delete(seen, message)
	}
	rest := 0
	for _, n := range seen {
		rest += max(0, n-maxAlike)
	}
	if rest > 0 {
		repeats = append(repeats, Problem{Message: fmt.Sprintf("%d more of other kinds", rest)})
	}
	return left, repeats
}

// Errors returns the problems that are no notes.
func (ps Problems) Errors() Problems {
	problems, _ := ps.split()
	return problems
}

// split returns the problems apart from the notes.
func (ps Problems) split() (problems, notes Problems) {
	for _, p := range ps {
		if p.Note {
			notes = append(notes, p)
		} else {
			problems = append(problems, p)
		}
	}
	return problems, notes
}

// files counts the files that have a problem.
func (ps Problems) files() map[string]bool {
	seen := make(map[string]bool)
	for _, p := range ps {
		if p.File != "" {
			seen[p.File] = true
		}
	}
	return seen
}
