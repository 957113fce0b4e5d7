package match

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// The bounds of a regular expression. Go's matcher (RE2 semantics) runs in time
// linear in the text, with the program's size as the factor.
const (
	MaxRegexSize    = 4 << 10 // bytes of the pattern
	MaxRegexProgram = 4000    // instructions that it makes
)

// CompileRegex compiles a pattern for [OpRegex]. It refuses those that are not RE2 or too large.
func CompileRegex(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > MaxRegexSize {
		return nil, fmt.Errorf("the pattern is longer than %d bytes", MaxRegexSize)
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the pattern is no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the pattern is no regular expression (RE2): %w", err)
	}
	if len(prog.Inst) > MaxRegexProgram {
		return nil, fmt.Errorf("the pattern is too large: it makes %d instructions, and %d are allowed", len(prog.Inst), MaxRegexProgram)
	}
	return regexp.Compile(pattern)
}
