package native

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// The bounds of a rendered sentence, in characters.
const (
	maxValue    = 120
	maxSentence = 600
)

// sentence is a why: texts and the fields between them.
type sentence struct {
	texts  []string // one more than fields
	fields []signal.Field
}

// why reads a sentence with references to fields in braces; a brace that stands for
// itself is doubled.
func (s *source) why(r *policy.Rule, n ast.Node) {
	v, ok := s.Scalar(n, "why")
	if !ok {
		return
	}
	if len(v.Text) > 1000 {
		s.Problem(v.At, "", "why is longer than 1000 bytes")
		return
	}
	tpl, mistakes := parseSentence(strings.TrimRight(v.Text, "\n"))
	if len(mistakes) > 0 {
		where := s.Align(v)
		for _, m := range mistakes {
			at := where.At(m.offset)
			s.Problem(&token.Token{Position: &token.Position{Line: at.Line, Column: at.Column}}, m.hint, "why: %s", m.message)
		}
		return
	}
	r.Why, r.Sentence = strings.TrimSpace(v.Text), tpl.render
}

func parseSentence(text string) (*sentence, []mistake) {
	tpl := new(sentence)
	var mistakes []mistake
	var b strings.Builder
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		c := runes[i]
		doubled := i+1 < len(runes) && runes[i+1] == c
		switch {
		case (c == '{' || c == '}') && doubled:
			b.WriteRune(c)
			i++
		case c == '}':
			mistakes = append(mistakes, mistake{i, "a closing brace without an opening one", "write }} for a brace"})
		case c == '{':
			end := i + 1
			for end < len(runes) && runes[end] != '}' && runes[end] != '{' {
				end++
			}
			if end == len(runes) || runes[end] != '}' {
				mistakes = append(mistakes, mistake{i, "an opening brace without a closing one", "write {{ for a brace"})
				return nil, mistakes
			}
			name := strings.TrimSpace(string(runes[i+1 : end]))
			f, ok := signal.Lookup(name)
			if !ok {
				mistakes = append(mistakes, mistake{i + 1, unknownField(name), ""})
			}
			tpl.texts, tpl.fields = append(tpl.texts, b.String()), append(tpl.fields, f)
			b.Reset()
			i = end
		default:
			b.WriteRune(c)
		}
	}
	tpl.texts = append(tpl.texts, b.String())
	return tpl, mistakes
}

// render fills the sentence from recorded forms. Values are the sender's: they are escaped
// and cut, and so is the whole.
func (t *sentence) render(e *signal.Event) string {
	var b strings.Builder
	for i, f := range t.fields {
		b.WriteString(t.texts[i])
		v := e.RecordedText(f)
		if f.Kind() == signal.KindStrings {
			v = strings.Join(distinct(e.Strings(f)), ", ") // said once is enough for people
		}
		if v == "" {
			v = "(none)"
		}
		b.WriteString(policy.Printable(v, maxValue))
	}
	b.WriteString(t.texts[len(t.texts)-1])
	return policy.Printable(b.String(), maxSentence)
}

// distinct returns the first of each of the values that are alike, in their order.
func distinct(list []string) []string {
	var out []string
	for _, v := range list {
		if len(out) == maxListed {
			return append(out, "…")
		}
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// maxListed bounds the elements of a list in a sentence.
const maxListed = 20
