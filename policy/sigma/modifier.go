package sigma

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/spell"
)

// modifierNames are the modifiers of the specification's appendix, in its order.
var modifierNames = []string{
	"all", "startswith", "endswith", "contains", "exists", "cased", "neq",
	"windash", "re", "i", "m", "s", "base64", "base64offset", "utf16le", "utf16be", "utf16", "wide",
	"lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year", "cidr", "expand", "fieldref",
}

// asks is what a selection item asks of its field, after its type modifier.
type asks uint8

const (
	asksText    asks = iota // the values are texts with wildcards
	asksRegex               // re
	asksCIDR                // cidr
	asksExists              // exists
	asksCompare             // lt lte gt gte
	asksTime                // minute to year, by themselves or with a comparison behind them
	asksField               // fieldref
)

// place is where in a value a text or another field's value is wanted.
type place uint8

const (
	entire place = iota // it is all of it
	atStart
	atEnd
	within
)

// item is the key of a selection's entry: a field and what its modifiers say.
type item struct {
	field string // "" for keywords
	at    *yaml.Node
	ask   asks

	all, neq, cased, expand bool
	where                   place
	compare                 string   // lt, lte, gt or gte
	part                    string   // minute to year
	flags                   string   // of re
	forms                   []string // windash and encodings, in their order
}

// parseItem reads a key, and says what is wrong with how its modifiers go together.
func (s *source) parseItem(at *yaml.Node, key string) (*item, bool) {
	name, rest, _ := strings.Cut(key, "|")
	it := &item{field: name, at: at}
	if rest == "" {
		if strings.Contains(key, "|") {
			s.problemIn(at, len(name), "leave the | out, or write a modifier behind it", "a modifier is empty")
			return nil, false
		}
		return it, true
	}
	var before []string
	offset := len(name) + 1
	for m := range strings.SplitSeq(rest, "|") {
		if message, hint := it.apply(m, before); message != "" {
			s.problemIn(at, offset, hint, "%s", message)
			return nil, false
		}
		before = append(before, m)
		offset += len(m) + 1
	}
	if it.field == "" {
		if message, hint := it.keywordProblem(); message != "" {
			s.problemIn(at, 1, hint, "%s", message)
			return nil, false
		}
	}
	return it, true
}

var encodings = []string{"base64", "base64offset", "utf16le", "utf16be", "utf16", "wide"}

// apply takes in one modifier. It returns what is wrong with it where it stands, and what to write instead.
func (it *item) apply(m string, before []string) (message, hint string) {
	last := ""
	if len(before) > 0 {
		last = before[len(before)-1]
	}
	if !slices.Contains(modifierNames, m) {
		hint = "the specification has " + strings.Join(modifierNames, ", ")
		if near := spell.Nearest(m, modifierNames); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return fmt.Sprintf("unknown modifier %q", shown(m)), hint
	}
	if slices.Contains(before, m) {
		return fmt.Sprintf("modifier %q stands twice", m), ""
	}
	clash := func(hint string) (string, string) {
		return fmt.Sprintf("modifier %q does not go with %q", m, strings.Join(before, "|")), hint
	}
	if it.ask == asksExists {
		return clash("exists stands alone")
	}
	switch m {
	case "all":
		if it.neq {
			return clash("neq holds for a value that is none of the list: write the values that go together as a selection, and negate it in the condition")
		}
		it.all = true
	case "neq":
		switch {
		case it.all:
			return clash("neq holds for a value that is none of the list: write the values that go together as a selection, and negate it in the condition")
		case it.ask == asksCompare:
			return clash("turn the comparison round")
		}
		it.neq = true
	case "cased":
		if it.ask != asksText && it.ask != asksField {
			return clash("cased is for texts; a regular expression sees case by itself")
		}
		it.cased = true
	case "startswith", "endswith", "contains":
		switch {
		case it.where != entire:
			return clash("one of startswith, endswith and contains")
		case it.ask == asksRegex:
			return clash("a regular expression looks anywhere in the value: leave it out, or write ^ or $ in the expression")
		case it.ask != asksText && it.ask != asksField:
			return clash(m + " is for texts")
		}
		it.where = map[string]place{"startswith": atStart, "endswith": atEnd, "contains": within}[m]
	case "windash":
		switch {
		case it.ask != asksText:
			return clash("windash is for texts")
		case slices.ContainsFunc(it.forms, func(f string) bool { return slices.Contains(encodings, f) }):
			return clash("write windash before the encoding: it changes the text that is encoded")
		}
		it.forms = append(it.forms, m)
	case "base64", "base64offset", "utf16le", "utf16be", "utf16", "wide":
		switch {
		case it.ask != asksText:
			return clash(m + " is for texts")
		case it.where != entire:
			return clash("write " + m + " before it: modifiers change the value in their order, and wildcards cannot be encoded")
		case slices.Contains(it.forms, "base64") || slices.Contains(it.forms, "base64offset"):
			return clash("one base64, after the others")
		case m != "base64" && m != "base64offset" && slices.ContainsFunc(it.forms, func(f string) bool { return f != "windash" }):
			return clash("one of utf16le, utf16be, utf16 and wide")
		}
		it.forms = append(it.forms, m)
	case "expand":
		switch {
		case it.ask != asksText:
			return clash("expand is for texts")
		case len(it.forms) > 0:
			return clash("write expand before it: the placeholder's values are what is changed")
		}
		it.expand = true
	case "i", "m", "s":
		if last != "re" && !(it.ask == asksRegex && (last == "i" || last == "m" || last == "s")) {
			return fmt.Sprintf("modifier %q does not stand behind re", m), "as in re|" + m
		}
		it.flags += m
	case "re", "cidr", "lt", "lte", "gt", "gte", "minute", "hour", "day", "week", "month", "year", "fieldref", "exists":
		return it.applyType(m, before, clash)
	}
	return "", ""
}

func (it *item) applyType(m string, before []string, clash func(string) (string, string)) (message, hint string) {
	if len(it.forms) > 0 || it.expand {
		return clash(m + " is for values as they are written")
	}
	comparison := m == "lt" || m == "lte" || m == "gt" || m == "gte"
	if it.ask != asksText && !(it.ask == asksTime && comparison && it.compare == "") {
		return clash("one of re, cidr, fieldref, exists, a comparison, and a part of the date")
	}
	switch {
	case comparison && it.neq:
		return clash("turn the comparison round")
	case (it.where != entire || it.cased) && m != "fieldref":
		return clash(m + " is for whole values")
	case m == "exists" && len(before) > 0:
		return clash("exists stands alone")
	case comparison && it.ask == asksText:
		it.ask, it.compare = asksCompare, m
	case comparison:
		it.compare = m
	default:
		it.ask = map[string]asks{"re": asksRegex, "cidr": asksCIDR, "fieldref": asksField, "exists": asksExists}[m]
		if it.ask == asksText {
			it.ask, it.part = asksTime, m
		}
	}
	return "", ""
}

// keywordProblem says what is wrong with modifiers that have no field before them.
func (it *item) keywordProblem() (message, hint string) {
	switch it.ask {
	case asksText, asksRegex, asksCIDR:
		return "", ""
	}
	return "keywords have no field that this could be asked of", "write a field before the first |"
}
