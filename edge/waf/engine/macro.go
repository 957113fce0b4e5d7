package engine

import (
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// macro is a text with values to be put in.
type macro struct {
	constant string // if there are no parts
	parts    []part
}

type part struct {
	seclang.MacroPart
	slot int // of TX
}

func (e *Engine) macro(from *seclang.Macro) (*macro, error) {
	if from == nil {
		return nil, nil
	}
	if text, ok := from.Constant(); ok {
		return &macro{constant: text}, nil
	}
	m := &macro{}
	for _, p := range from.Parts {
		if err := e.reads(p.Variable); err != nil {
			return nil, err
		}
		compiled := part{p, -1}
		if p.Variable == variables.TX {
			compiled.slot = e.slot(p.Key)
		}
		m.parts = append(m.parts, compiled)
	}
	return m, nil
}

// expand puts the values in. A key that is not there leaves its name.
func (m *macro) expand(tx *Transaction) string {
	switch len(m.parts) {
	case 0:
		return m.constant
	case 1:
		return tx.part(&m.parts[0])
	}
	tx.parts = tx.parts[:0]
	for i := range m.parts {
		tx.parts = append(tx.parts, tx.part(&m.parts[i]))
	}
	return tx.arena.Join(tx.parts)
}

func (tx *Transaction) part(p *part) string {
	if p.Variable == variables.Unknown {
		return p.Text
	}
	if p.slot >= 0 {
		if value, ok := tx.slot(p.slot); ok {
			return value
		}
		return p.Text
	}
	switch shapeOf(p.Variable) {
	case isSingle:
		return tx.single(p.Variable)
	case isSize:
		return strconv.Itoa(tx.size())
	}
	if value, ok := tx.get(p.Variable, p.Key); ok {
		return value
	}
	return p.Text
}

// get returns the first value of a key, which is in lower case. Without a key it is the one of the empty key, as files have it. Names
// stand for what is under them.
func (tx *Transaction) get(v variables.RuleVariable, key string) (string, bool) {
	from := []variables.RuleVariable{v}
	switch v {
	case variables.Args, variables.ArgsNames:
		from = []variables.RuleVariable{variables.ArgsGet, variables.ArgsPost, variables.ArgsPath}
	case variables.MatchedVars:
		for i := range tx.matchedList {
			if strings.ToLower(nameOf(&tx.matchedList[i])) == key {
				return tx.matchedList[i].Value, true
			}
		}
		return "", false
	case variables.XML:
		from[0] = variables.RequestXML
	default:
		switch shapeOf(v) {
		case isNames:
			from[0] = namesOf(v)
			if from[0] == variables.MatchedVars {
				return tx.get(from[0], key)
			}
		case isKeyed:
		default:
			return "", false
		}
	}
	for _, v := range from {
		if value, ok := tx.first(v, key); ok {
			return value, true
		}
	}
	return "", false
}
