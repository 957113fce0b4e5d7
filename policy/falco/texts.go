package falco

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
)

// commLength is how long the kernel lets the name of a process be (TASK_COMM_LEN without its end).
const commLength = 15

// textExpr compiles a comparison of texts. With comm, the values are names of processes, which rules know cut at 15
// bytes: a constant of that length stands for all names that begin with it.
func textExpr(c *checkNode, on []match.Operand, comm bool) (match.Expr, *mistake) {
	texts := make([]string, len(c.values))
	for i, v := range c.values {
		texts[i] = v.text
	}
	atoms := func(op match.Op, fold bool, texts ...string) (match.Expr, *mistake) {
		if len(texts) == 0 {
			return match.Const(false), nil
		}
		return each(on, func(o match.Operand) match.Expr { return match.Text(o, op, fold, texts...) }), nil
	}
	switch c.op {
	case "=", "in", "intersects":
		if !comm {
			return atoms(match.OpEqual, false, texts...)
		}
		var whole, cut []string
		for _, t := range texts {
			if len(t) == commLength {
				cut = append(cut, t)
			} else {
				whole = append(whole, t)
			}
		}
		a, _ := atoms(match.OpEqual, false, whole...)
		b, _ := atoms(match.OpPrefix, false, cut...)
		return match.Simplify(match.Or{a, b}), nil
	case "contains":
		return atoms(match.OpContains, false, texts...)
	case "icontains":
		return atoms(match.OpContains, true, texts...)
	case "startswith":
		return atoms(match.OpPrefix, false, texts...)
	case "endswith":
		return atoms(match.OpSuffix, false, texts...)
	case "bcontains", "bstartswith":
		raw, err := hex.DecodeString(texts[0])
		if err != nil || len(raw) == 0 {
			return nil, &mistake{c.values[0].src, c.values[0].offset, fmt.Sprintf("%q are no bytes", policy.Printable(texts[0], 60)), "write pairs of hexadecimal digits, as in cafebabe"}
		}
		if c.op == "bcontains" {
			return atoms(match.OpContains, false, string(raw))
		}
		return atoms(match.OpPrefix, false, string(raw))
	case "pmatch":
		return pathExpr(c, on)
	case "glob", "iglob":
		pattern, plain := globPattern(texts[0], false)
		if plain {
			return atoms(match.OpGlob, c.op == "iglob", texts[0])
		}
		if c.op == "iglob" {
			pattern = "(?i)" + pattern
		}
		return regexExpr(c, on, c.values[0], pattern)
	case "regex":
		if _, err := match.CompileRegex(texts[0]); err != nil { // its message names the pattern as it is written
			return nil, &mistake{c.values[0].src, c.values[0].offset, err.Error(), ""}
		}
		return regexExpr(c, on, c.values[0], `^(?:`+texts[0]+`)$`)
	case "<", "<=", ">", ">=":
		return nil, fault(c, "use =, contains, startswith, endswith or glob", "%s is text, which %s is not for", c.left.String(), c.op)
	}
	return nil, fault(c, "", "%s is not for %s", c.op, c.left.String())
}

func regexExpr(c *checkNode, on []match.Operand, v value, pattern string) (match.Expr, *mistake) {
	re, err := match.CompileRegex(pattern)
	if err != nil {
		return nil, &mistake{v.src, v.offset, err.Error(), ""}
	}
	return each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpRegex, Regex: re} }), nil
}

// pathExpr compiles pmatch: the path is one of these, or lies below one; a star stands for anything within one part.
func pathExpr(c *checkNode, on []match.Operand) (match.Expr, *mistake) {
	var any match.Or
	var plain []string
	for _, v := range c.values {
		path := strings.TrimRight(v.text, "/")
		if !strings.ContainsAny(path, `*?[\`) {
			plain = append(plain, path)
			continue
		}
		pattern, _ := globPattern(path, true)
		x, m := regexExpr(c, on, v, strings.TrimSuffix(pattern, "$")+`(?:/|$)`)
		if m != nil {
			return nil, m
		}
		any = append(any, x)
	}
	if len(plain) > 0 {
		any = append(any, each(on, func(o match.Operand) match.Expr { return match.Text(o, match.OpPathPrefix, false, plain...) }))
	}
	return match.Simplify(any), nil
}

// globPattern turns a pattern of glob(7) into a regular expression; within says that wildcards stop at slashes. plain
// says that [match.GlobMatch] reads the pattern alike, and is quicker.
func globPattern(pattern string, within bool) (re string, plain bool) {
	some, one := `.*`, `.`
	if within {
		some, one = `[^/]*`, `[^/]`
	}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	plain = true
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.IndexByte("?*+@", c) >= 0 && i+1 < len(pattern) && pattern[i+1] == '(':
			if group, end := extended(pattern[i:], within); end > 0 {
				b.WriteString(group)
				i += end - 1
				plain = false
				continue
			}
			if c == '*' {
				b.WriteString(some)
			} else if c == '?' {
				b.WriteString(one)
			} else {
				b.WriteString(regexp.QuoteMeta(string(c)))
			}
		case c == '*':
			b.WriteString(some)
		case c == '?':
			b.WriteString(one)
		case c == '\\' && i+1 < len(pattern):
			i++
			if pattern[i] < utf8.RuneSelf {
				b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			} else {
				b.WriteByte(pattern[i])
			}
		case c == '[':
			set, end := bracket(pattern[i:])
			if end == 0 {
				b.WriteString(`\[`)
				plain = false
				continue
			}
			b.WriteString(set)
			i += end - 1
			plain = false
		case c >= utf8.RuneSelf: // a byte of a character
			b.WriteByte(c)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	b.WriteString(`$`)
	return b.String(), plain
}

// bracket reads a set of characters such as [a-z] or [!0-9]; end is 0 where it is none.
func bracket(p string) (set string, end int) {
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	from := i
	for i < len(p) && (p[i] != ']' || i == from) {
		i++
	}
	if i >= len(p) {
		return "", 0
	}
	body := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(p[from:i])
	if strings.Contains(p[from:i], "[:") {
		body = p[from:i] // a named class, as in [[:digit:]]: RE2 knows them too
		if j := strings.Index(p[i:], "]"); strings.HasSuffix(p[from:i], ":") && j == 0 && i+1 < len(p) && p[i+1] == ']' {
			i++
			body += "]"
		}
	}
	if negated {
		return "[^" + body + "]", i + 1
	}
	return "[" + body + "]", i + 1
}

// extended reads a group of ksh's extended patterns, as in @(a|b); end is 0 where it is none.
func extended(p string, within bool) (group string, end int) {
	shut := strings.IndexByte(p, ')')
	if shut < 0 || strings.Contains(p[2:shut], "(") {
		return "", 0
	}
	var parts []string
	for part := range strings.SplitSeq(p[2:shut], "|") {
		re, _ := globPattern(part, within)
		parts = append(parts, strings.TrimSuffix(strings.TrimPrefix(re, `(?s)^`), `$`))
	}
	group = `(?:` + strings.Join(parts, "|") + `)`
	if p[0] != '@' {
		group += p[:1]
	}
	return group, shut + 1
}

// textTest returns what a comparison asks of a text, for values that no operand holds. The constants are those of the
// comparison.
func (c *checkNode) textTest(comm bool) (func(string) bool, *mistake) {
	positive := *c
	if c.op == "!=" {
		positive.op = "="
	}
	x, m := textExpr(&positive, []match.Operand{{Elem: true}}, comm)
	if m != nil {
		return nil, m
	}
	return func(v string) bool { return holds(x, v) != (c.op == "!=") }, nil
}

// holds evaluates what textExpr made over the one value of a loop.
func holds(x match.Expr, v string) bool {
	switch x := x.(type) {
	case match.Const:
		return bool(x)
	case match.Or:
		for _, part := range x {
			if holds(part, v) {
				return true
			}
		}
		return false
	case *match.Atom:
		return x.HoldsText(v)
	}
	return false
}
