package engine

import (
	"strconv"

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
	default:
		base := len(tx.scratch)
		tx.scratch = tx.collect(tx.scratch, p.Variable, p.Variable, &selector{key: p.Key})
		found := tx.scratch[base:]
		tx.scratch = tx.scratch[:base]
		if len(found) > 0 && p.Key != "" {
			return found[0].Value
		}
	}
	return p.Text
}
