package engine

import (
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// Match is a rule that matched.
type Match struct {
	Rule    *seclang.Rule
	Message string
	// Data are the values that matched, of all rules of the chain in their order. A SecAction has one without a variable.
	Data []Datum
}

// eval runs the rules of a phase.
func (tx *Transaction) eval(phase int) {
	tx.phase = phase
	clear(tx.searched[:]) // there may be new texts
	for _, r := range tx.engine.phases[phase] {
		if tx.interruption != nil && phase != seclang.Logging {
			break
		}
		if r.Marker == "" && tx.removed.has(r.number) {
			continue
		}
		if tx.skipAfter != "" {
			if r.Marker == tx.skipAfter {
				tx.skipAfter = ""
			}
			continue
		}
		if tx.skip > 0 {
			tx.skip--
			continue
		}
		if stop := tx.stopped(phase); stop {
			break
		}
		tx.matchedList = tx.matchedList[:0]
		if r.Marker != "" { // in Coraza a rule that matches nothing in particular
			tx.matched(Datum{})
			continue
		}
		tx.judge(r)
	}
	if tx.allowed == seclang.AllowPhase {
		tx.allowed = 0
	}
	tx.skip = 0
}

// stopped reports whether an allow ends the phase.
func (tx *Transaction) stopped(phase int) bool {
	switch tx.allowed {
	case seclang.AllowPhase, seclang.AllowAll:
		return true
	case seclang.AllowRequest:
		if phase == seclang.RequestBody {
			tx.allowed = 0
		}
		return phase <= seclang.RequestBody
	}
	return false
}

// judge asks a rule, and the rest of its chain where it matches.
func (tx *Transaction) judge(head *rule) {
	data := tx.data[:0]
	message, said := "", false
	level := 0
	for r := head; r != nil; r = r.next {
		from := len(data)
		var text string
		data, text = tx.ask(r, head, data)
		if len(data) == from {
			tx.data = data[:0]
			return
		}
		if text != "" && !said && r != head {
			message, said = text, true
		}
		if r == head && head.next == nil {
			message, said = text, text != ""
		}
		level++
	}
	if head.message != nil && (head.next != nil || head.op == nil) {
		if text := head.message.expand(tx); text != "" {
			message = text
		}
	}
	tx.flow(head)
	if head.Severity != types.RuleSeverityUnset {
		if now, _ := strconv.Atoi(tx.singles[variables.HighestSeverity]); head.Severity.Int() < now {
			tx.singles[variables.HighestSeverity] = strconv.Itoa(head.Severity.Int())
		}
	}
	kept := len(tx.kept)
	tx.kept = append(tx.kept, data...)
	tx.matches = append(tx.matches, Match{Rule: head.Rule, Message: message, Data: tx.kept[kept:len(tx.kept):len(tx.kept)]})
	tx.data = data[:0]
}

// ask appends the values that match one rule of a chain, and runs its actions for each. The text is the message that the first of
// them gave.
func (tx *Transaction) ask(r, head *rule, data []Datum) ([]Datum, string) {
	tx.capture = r.Capture
	defer func() { tx.capture = false }()
	text := ""
	hit := func(d Datum) {
		tx.matched(d)
		for i := range r.actions {
			if a := &r.actions[i]; a.set != nil {
				if !a.set.score || !tx.muted.has(head.number) {
					a.set.run(tx)
				}
			} else {
				a.ctl.run(tx)
			}
		}
		if text == "" && r.message != nil && (r != head || head.next == nil) && (r == head || r.op != nil) {
			text = r.message.expand(tx)
		}
		data = append(data, d)
	}
	if r.op == nil {
		if r != head && r.message != nil { // in the rest of a chain it tells of what matched before
			text = r.message.expand(tx)
		}
		hit(Datum{})
		return data, text
	}
	var narrowings []*ctl // what the rule takes out itself it still looks at
	if tx.narrowed.has(head.number) {
		narrowings = tx.narrowings
	}
	for i := range r.targets {
		t := &r.targets[i]
		if r.pattern >= 0 && !r.negated && !tx.lights(r, t) {
			continue
		}
		// What is looked at does not change while the target is: actions may change TX.
		base := len(tx.scratch)
		tx.scratch = tx.looked(tx.scratch, t, head, narrowings)
		for at := base; at < len(tx.scratch); at++ {
			d := tx.scratch[at]
			if r.pattern >= 0 && len(r.chainNumbers) == 1 {
				l := tx.looking(d.look, d.Value)
				tx.search(l, r.class, d.from, d.Key)
				f := l.form(tx, r.chainNumbers[0])
				found := f.found.has(r.pattern)
				if d.Value = f.text; found && tx.capture {
					tx.captureOf(r.op, d.Value)
				}
				if found == r.negated {
					continue
				}
				hit(d.Datum)
				continue
			}
			if !r.MultiMatch || r.chain == nil {
				if r.chain != nil {
					d.Value = r.chain.Apply(&tx.arena, d.Value)
				}
				if r.op.match(tx, d.Value) != r.negated {
					hit(d.Datum)
				}
				continue
			}
			tx.forms = r.chain.Each(&tx.arena, tx.forms[:0], d.Value)
			for _, value := range tx.forms {
				if r.op.match(tx, value) != r.negated {
					hit(Datum{d.Variable, d.Key, value})
				}
			}
		}
		tx.scratch = tx.scratch[:base]
	}
	return data, text
}

// captureOf takes what an operator captures of a value that it matches.
func (tx *Transaction) captureOf(op operator, value string) {
	if c, ok := op.(capturer); ok {
		tx.willCapture(c, value)
	} else {
		op.match(tx, value)
	}
}

// looked appends the values that a target names, without those that are left out.
func (tx *Transaction) looked(out []item, t *target, head *rule, narrowings []*ctl) []item {
	from := len(out)
	if t.slot >= 0 {
		if value, ok := tx.slot(t.slot); ok {
			out = append(out, item{Datum{variables.TX, tx.engine.names[t.slot], value}, nil, 0})
		}
	} else {
		out = tx.collect(out, t.Variable, t.Variable, &selector{t.Key, t.KeyRx})
	}
	if len(t.Except) > 0 || len(narrowings) > 0 {
		kept := out[:from]
		for _, d := range out[from:] {
			if !leftOut(t, head, d.Key, narrowings) {
				kept = append(kept, d)
			}
		}
		out = kept
	}
	if t.Count {
		n := len(out) - from
		out = append(out[:from], item{Datum{t.Variable, t.Key, strconv.Itoa(n)}, nil, 0})
	}
	return out
}

func leftOut(t *target, head *rule, key string, narrowings []*ctl) bool {
	key = strings.ToLower(key)
	for i := range t.Except {
		if leaves(&t.Except[i], key) {
			return true
		}
	}
	for _, c := range narrowings {
		if c.Variable == t.Variable && c.rules.has(head.number) && leaves(&c.Except, key) {
			return true
		}
	}
	return false
}

func leaves(x *seclang.Exception, key string) bool {
	if x.KeyRx != nil {
		return x.KeyRx.MatchString(key)
	}
	return x.Key == "" || x.Key == key
}

// matched sets the variables that tell what has just matched.
func (tx *Transaction) matched(d Datum) {
	tx.matchedList = append(tx.matchedList, d)
	tx.lastMatched, tx.anyMatched = d, true
	tx.singles[variables.MatchedVar] = d.Value
}
