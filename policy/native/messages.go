package native

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/operators"

	"github.com/testudo-sec/testudo/policy"
)

// fromIssues says what CEL found in words that fit the dialect.
func fromIssues(issues *cel.Issues, lines []int, parsing bool) []mistake {
	var all []mistake
	for _, err := range issues.Errors() {
		m := mistake{offset: offset(lines, err.Location.Line(), err.Location.Column())}
		if parsing {
			m.message, m.hint = syntaxMessage(err.Message)
		} else {
			m.message, m.hint = typeMessage(err.Message)
		}
		m.message = policy.Printable(m.message, 300)
		all = append(all, m)
		// A parser that has lost its way reports every word behind it.
		if parsing || len(all) == 20 {
			break
		}
	}
	return all
}

func syntaxMessage(text string) (message, hint string) {
	text, isSyntax := strings.CutPrefix(text, "Syntax error: ")
	if !isSyntax {
		return text, ""
	}
	if cut := strings.Index(text, " expecting "); cut > 0 {
		text = text[:cut]
	}
	switch {
	case strings.Contains(text, "token recognition error at: '="):
		hint = "write == to compare"
	case strings.Contains(text, "token recognition error at: '#'"):
		hint = "write a comment as // here, or with # outside of the condition"
	case strings.Contains(text, "'and'"):
		hint = "write && for and"
	case strings.Contains(text, "'or'"):
		hint = "write || for or"
	case strings.Contains(text, "'not'"):
		hint = "write ! for not"
	case strings.Contains(text, "token recognition error at: '&"):
		hint = "write && for and"
	case strings.Contains(text, "token recognition error at: '|"):
		hint = "write || for or"
	case strings.Contains(text, "token recognition error at: '\"") || strings.Contains(text, "token recognition error at: ''"):
		hint = "a quote is not closed, or an escape is unknown; write patterns as r\"...\""
	case strings.Contains(text, "<EOF>"):
		return "the condition ends too early", "something is missing at its end, such as a parenthesis"
	}
	return "syntax: " + text, hint
}

// typeMessage rewrites CEL's type errors.
func typeMessage(text string) (message, hint string) {
	m := regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`).FindStringSubmatch(text)
	if m == nil {
		return strings.Replace(text, " (in container '')", "", 1), ""
	}
	name, types := m[1], strings.TrimPrefix(m[2], "(")
	types = strings.TrimSuffix(types, ")")
	target := ""
	if cut := strings.Index(types, ".("); cut >= 0 {
		target, types = types[:cut], types[cut+2:]
	}
	args := splitTypes(types)
	for i := range args {
		args[i] = typeName(args[i])
	}
	if symbol, ok := operators.FindReverse(name); ok && symbol != "" && target == "" {
		if len(args) == 2 {
			message = fmt.Sprintf("%s cannot stand between %s and %s", symbol, args[0], args[1])
			switch {
			case args[0] == "a number" && args[1] == "text":
				hint = "write the number without quotes"
			case args[0] == "text" && args[1] == "a number":
				hint = "write the value in quotes"
			case args[0] == "a list" && args[1] == "text":
				hint = `write "text" in list, or list.exists(x, x.contains("text"))`
			case strings.Contains(args[0]+args[1], "a time"):
				hint = `write a time as timestamp("2026-01-31T00:00:00Z")`
			}
			return message, hint
		}
		return fmt.Sprintf("%s cannot stand before %s", symbol, strings.Join(args, ", ")), ""
	}
	if target != "" {
		if target = typeName(target); target == "a list" {
			hint = fmt.Sprintf("write list.exists(x, x.%s(...))", name)
		}
		return fmt.Sprintf("%s() is not for %s with (%s)", name, target, strings.Join(args, ", ")), hint
	}
	return fmt.Sprintf("%s() does not take (%s)", name, strings.Join(args, ", ")), ""
}

// splitTypes splits "string, list(string)" at the commas outside of parentheses.
func splitTypes(s string) []string {
	var all []string
	depth, begin := 0, 0
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				all = append(all, strings.TrimSpace(s[begin:i]))
				begin = i + 1
			}
		}
	}
	if rest := strings.TrimSpace(s[begin:]); rest != "" {
		all = append(all, rest)
	}
	return all
}

// typeName names a CEL type as people do.
func typeName(t string) string {
	switch {
	case t == "string":
		return "text"
	case t == "int", t == "uint", t == "double":
		return "a number"
	case t == "bool":
		return "true or false"
	case t == "timestamp", t == "google.protobuf.Timestamp":
		return "a time"
	case t == "duration", t == "google.protobuf.Duration":
		return "a duration"
	case strings.HasPrefix(t, "list"):
		return "a list"
	}
	return t
}
