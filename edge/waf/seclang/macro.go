package seclang

import (
	"errors"
	"fmt"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// Macro is a text with values to be put in, as in "%{tx.0} found within %{MATCHED_VAR_NAME}".
type Macro struct {
	Text  string // as it is written
	Parts []MacroPart
}

// MacroPart is a stretch of text, or a variable.
type MacroPart struct {
	Text     string                 // also what stands for a key that is not there
	Variable variables.RuleVariable // Unknown: the text
	Key      string                 // in lower case
}

// ParseMacro splits the text at its %{...}.
func ParseMacro(text string) (*Macro, error) {
	if text == "" {
		return nil, errors.New("the text is empty")
	}
	m := &Macro{Text: text}
	for rest := text; rest != ""; {
		at := strings.Index(rest, "%{")
		if at != 0 {
			if at < 0 {
				at = len(rest)
			}
			m.Parts = append(m.Parts, MacroPart{Text: rest[:at]})
			rest = rest[at:]
			continue
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return nil, fmt.Errorf("%q has no closing brace", rest)
		}
		inner := rest[2:end]
		if i := strings.IndexFunc(inner, notInMacro); i >= 0 {
			return nil, fmt.Errorf("%q cannot stand in the name of a variable", inner[i:])
		}
		if strings.HasSuffix(inner, ".") {
			return nil, fmt.Errorf("%q names no key", inner)
		}
		name, key, _ := strings.Cut(inner, ".")
		v, err := variables.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("there is no variable %q", name)
		}
		m.Parts = append(m.Parts, MacroPart{Text: inner, Variable: v, Key: strings.ToLower(key)})
		rest = rest[end+1:]
	}
	return m, nil
}

func notInMacro(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("[]._-", r))
}

// Constant returns the text where it is the same for every request.
func (m *Macro) Constant() (string, bool) {
	if len(m.Parts) == 1 && m.Parts[0].Variable == variables.Unknown {
		return m.Parts[0].Text, true
	}
	return "", false
}
