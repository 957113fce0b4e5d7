package sigma

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// The bounds of what values stand for, by placeholders, dashes and offsets.
const (
	maxForms = 10_000  // texts of one value
	maxTexts = 250_000 // texts of a rule
)

// entry compiles an entry of a selection: a key and its value or values.
func (c *compiler) entry(at *yaml.Node, key string, value *yaml.Node) match.Expr {
	it, ok := c.s.parseItem(at, key)
	if !ok {
		return nil
	}
	return c.item(it, value)
}

// item returns what an item asks, or nil where something is wrong.
func (c *compiler) item(it *item, value *yaml.Node) match.Expr {
	value, ok := c.s.resolved(value)
	if !ok {
		return nil
	}
	values := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		if values = value.Content; len(values) == 0 {
			c.s.problem(value, "write a value; for a field that is not there, null", "the list of %s is empty", itemName(it))
			return nil
		}
	}
	if it.all && len(values) == 1 {
		c.s.problem(it.at, "leave all out", "all needs a list of two values or more")
		return nil
	}
	on := c.operands(it.field)
	parts := make([]match.Expr, 0, len(values))
	for _, v := range values {
		v, ok := c.s.resolved(v)
		if !ok {
			return nil
		}
		if v.Kind != yaml.ScalarNode {
			c.s.problem(v, "a value is text, a number, true, false or null", "a value of %s is %s", itemName(it), kindOf(v))
			return nil
		}
		if isNull(v) && (it.all || it.ask != asksText || it.where != entire || it.field == "") {
			c.s.problem(v, "write a selection of its own: field: null", "null cannot stand behind a modifier or among keywords")
			return nil
		}
		x := c.value(it, on, v)
		if x == nil {
			return nil
		}
		parts = append(parts, x)
	}
	var x match.Expr = match.Or(parts)
	if it.all {
		x = match.And(parts)
	}
	if it.neq {
		x = match.Not{Part: x}
	}
	return x
}

func itemName(it *item) string {
	if it.field == "" {
		return "the keywords"
	}
	return shown(it.field)
}

// value returns what an item asks with one of its values.
func (c *compiler) value(it *item, on []match.Operand, v *yaml.Node) match.Expr {
	switch it.ask {
	case asksRegex:
		return c.regex(it, on, v)
	case asksCIDR:
		prefix, err := parsePrefix(v.Value)
		if err != nil {
			c.s.problem(v, "as in 10.0.0.0/8 or fe80::/10", "%q is no network", shown(v.Value))
			return nil
		}
		return each(on, func(o match.Operand) match.Expr {
			return &match.Atom{On: o, Op: match.OpCIDR, Prefixes: []netip.Prefix{prefix}}
		})
	case asksExists:
		kind, yes, _ := readScalar(v)
		if kind != truth {
			c.s.problem(v, "write true or false", "exists is asked with %s", kindOf(v))
			return nil
		}
		exists := each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpExists} })
		if yes == 0 {
			return match.Not{Part: exists}
		}
		return exists
	case asksCompare:
		return c.comparison(it, on, v)
	case asksTime:
		return c.timePart(it, on, v)
	case asksField:
		return c.fieldRef(it, on, v)
	}
	if isNull(v) {
		return match.Not{Part: each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpExists} })}
	}
	return c.text(it, on, v)
}

// each joins what is asked of several operands: one that holds is enough.
func each(on []match.Operand, ask func(match.Operand) match.Expr) match.Expr {
	parts := make(match.Or, len(on))
	for i, o := range on {
		parts[i] = ask(o)
	}
	return parts
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), err
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("a network of mapped addresses")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), err
}

func (c *compiler) regex(it *item, on []match.Operand, v *yaml.Node) match.Expr {
	if c.texts += regexWeight; c.texts > maxTexts {
		if c.texts-regexWeight <= maxTexts {
			c.s.problem(v, "split the rule", "more than %d regular expressions in a rule", maxTexts/regexWeight)
		}
		return nil
	}
	text := v.Value
	if it.flags != "" {
		text = "(?" + it.flags + ")" + text
	}
	re, err := match.CompileRegex(text)
	if err != nil {
		c.s.problem(v, regexHint(v.Value), "re: %v", err)
		return nil
	}
	return each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpRegex, Regex: re} })
}

func regexHint(text string) string {
	for _, look := range []string{"(?=", "(?!", "(?<=", "(?<!", "(?>"} {
		if strings.Contains(text, look) {
			return look + " is not part of Sigma's regular expressions: write a selection of its own and negate it in the condition"
		}
	}
	if strings.Contains(text, `\1`) {
		return "references to groups are not part of Sigma's regular expressions"
	}
	return ""
}

var orders = map[string]match.Order{"lt": match.Less, "lte": match.LessEqual, "gt": match.Greater, "gte": match.GreaterEqual, "": match.Equal}

func (c *compiler) comparison(it *item, on []match.Operand, v *yaml.Node) match.Expr {
	kind, i, f := readScalar(v)
	if kind == text && v.Style != 0 { // a number in quotes
		kind, i, f = readScalar(&yaml.Node{Kind: yaml.ScalarNode, Value: v.Value})
	}
	if kind != whole && kind != fraction {
		c.s.problem(v, "write a number", "%s is compared with %s", it.compare, kindOf(v))
		return nil
	}
	order := orders[it.compare]
	return each(on, func(o match.Operand) match.Expr {
		if kind == whole && o.Field.Kind() == signal.KindInt {
			return match.Int(o, match.IntOrder(order, i)...)
		}
		if kind == whole {
			f = float64(i)
		}
		return &match.Atom{On: o, Op: match.OpNumber, Numbers: match.NumberOrder(order, f)}
	})
}

// fieldRef compares the values of a field with those of another.
func (c *compiler) fieldRef(it *item, on []match.Operand, v *yaml.Node) match.Expr {
	if v.Value == "" || strings.ContainsAny(v.Value, "|") {
		c.s.problem(v, "name a field", "fieldref to %q", shown(v.Value))
		return nil
	}
	others := c.operands(v.Value)
	op := map[place]match.Op{entire: match.OpEqual, atStart: match.OpPrefix, atEnd: match.OpSuffix, within: match.OpContains}[it.where]
	return each(on, func(o match.Operand) match.Expr {
		return each(others, func(other match.Operand) match.Expr {
			return &match.Atom{On: o, Op: op, Fold: !it.cased, Other: &other}
		})
	})
}

// text compares with the forms of a text.
func (c *compiler) text(it *item, on []match.Operand, v *yaml.Node) match.Expr {
	patterns, ok := c.patterns(it, v)
	if !ok {
		return nil
	}
	before, behind := it.where == atEnd || it.where == within, it.where == atStart || it.where == within
	if it.field == "" && it.where == entire {
		before, behind = true, true // a keyword is looked for anywhere
	}
	var plain, regexes match.Or
	for i := range patterns {
		p := patterns[i].around(before, behind)
		if it.dashesLast() && p.countDashes() > maxDashes {
			re, err := match.CompileRegex(p.dashRegex(!it.cased))
			if err != nil {
				c.s.problem(v, "write fewer dashes, or the forms themselves", "windash: %v", err)
				return nil
			}
			regexes = append(regexes, each(on, func(o match.Operand) match.Expr { return &match.Atom{On: o, Op: match.OpRegex, Regex: re} }))
			patterns[i] = nil
			continue
		}
		patterns[i] = p
		if len(p) == 0 {
			patterns[i] = pattern{{literal, ""}}
		}
	}
	for _, o := range on {
		plain = append(plain, textAtoms(o, !it.cased, patterns)...)
	}
	if kind, _, f := readScalar(v); kind == fraction && it.field != "" && it.where == entire && len(it.forms) == 0 {
		// 1.50 is written in more than one way.
		plain = append(plain, each(on, func(o match.Operand) match.Expr {
			return &match.Atom{On: o, Op: match.OpNumber, Numbers: match.NumberOrder(match.Equal, f)}
		}))
	}
	return append(plain, regexes...)
}

// textAtoms asks one operand about patterns: an atom for each operator that they need. A nil pattern is passed over.
func textAtoms(o match.Operand, fold bool, patterns []pattern) []match.Expr {
	var atoms []match.Expr
	var texts [match.OpGlob + 1][]string // by operator
	exists := false
	var ints []match.IntRange
	for _, p := range patterns {
		if p == nil {
			continue
		}
		op, text := p.op()
		if op == match.OpEqual {
			if n, ok := parseInt(text); ok && o.Field.Kind() == signal.KindInt {
				ints = append(ints, match.IntIs(n))
				continue
			}
			if addr, ok := match.ParseAddr(text); ok && o.Field.Kind() == signal.KindIP && addr.String() != text {
				texts[op] = append(texts[op], addr.String())
			}
		}
		if op == match.OpExists {
			exists = true
			continue
		}
		if texts[op] == nil {
			texts[op] = make([]string, 0, len(patterns))
		}
		texts[op] = append(texts[op], text)
	}
	if len(ints) > 0 {
		atoms = append(atoms, match.Int(o, ints...))
	}
	if exists {
		return append(atoms, &match.Atom{On: o, Op: match.OpExists})
	}
	for op := match.OpEqual; op <= match.OpGlob; op++ {
		if t := texts[op]; len(t) > 0 {
			atoms = append(atoms, match.Text(o, op, fold, t...))
		}
	}
	return atoms
}

// parseInt reads a number as integer fields take it: in decimal or, behind 0x, hexadecimal.
func parseInt(s string) (int64, bool) {
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		n, err := strconv.ParseInt(hex, 16, 64)
		return n, err == nil
	}
	return match.ParseInt(s)
}

// patterns returns the patterns that a value stands for, without the stars of contains, startswith and endswith.
func (c *compiler) patterns(it *item, v *yaml.Node) ([]pattern, bool) {
	var patterns []pattern
	kind, n, _ := readScalar(v)
	switch {
	case it.expand:
		expanded, ok := c.expand(v)
		if !ok {
			return nil, false
		}
		patterns = expanded
	case kind == whole:
		patterns = []pattern{plain(strconv.FormatInt(n, 10))}
		if written := v.Value; written != strconv.FormatInt(n, 10) {
			patterns = append(patterns, plain(written))
		}
	case kind == truth:
		patterns = []pattern{plain(strings.ToLower(v.Value))}
	default:
		patterns = []pattern{parsePattern(v.Value)}
	}
	for _, form := range it.forms {
		var next []pattern
		for _, p := range patterns {
			forms, message := p.form(form, it.dashesLast())
			if message != "" {
				c.s.problem(v, "", "%s: %s", form, message)
				return nil, false
			}
			next = append(next, forms...)
		}
		patterns = next
		if len(patterns) > maxForms {
			c.s.problem(v, "write fewer", "the value stands for more than %d texts", maxForms)
			return nil, false
		}
	}
	if c.texts += len(patterns); c.texts > maxTexts {
		if c.texts-len(patterns) <= maxTexts {
			c.s.problem(v, "split the rule", "the values up to here stand for more than %d texts", maxTexts)
		}
		return nil, false
	}
	return patterns, true
}

// dashesLast reports whether windash is the last change, so that a text with many dashes may become a regular expression.
func (it *item) dashesLast() bool {
	return len(it.forms) > 0 && it.forms[len(it.forms)-1] == "windash"
}

// form returns what a modifier that changes texts makes of the pattern, or what keeps it from that.
func (p pattern) form(name string, dashesLast bool) ([]pattern, string) {
	switch name {
	case "windash":
		switch n := p.countDashes(); {
		case n > maxDashes && dashesLast:
			return []pattern{p}, "" // a regular expression is made of it
		case n > 5:
			return nil, "more than 5 dashes are too many to be encoded in every form"
		}
		return p.dashForms(), ""
	case "base64", "base64offset":
		s, ok := p.plainText()
		if !ok {
			return nil, "wildcards cannot be encoded: escape them with a backslash, or leave them out"
		}
		if name == "base64" {
			return []pattern{plain(base64.StdEncoding.EncodeToString([]byte(s)))}, ""
		}
		var all []pattern
		for _, form := range base64Offsets(s) {
			all = append(all, plain(form))
		}
		if len(all) < 3 {
			return nil, "the text is too short to be told apart at every offset"
		}
		return all, ""
	}
	out := make(pattern, 0, len(p))
	for _, piece := range p {
		if piece.what == literal {
			piece.text = utf16Text(piece.text, name == "utf16be")
		}
		out = append(out, piece)
	}
	if name == "utf16" {
		if _, ok := p.plainText(); !ok {
			return nil, "wildcards cannot stand behind a byte order mark: use utf16le"
		}
		out = plain("\xff\xfe").addAll(out)
	}
	return []pattern{out}, ""
}
