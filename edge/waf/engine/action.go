package engine

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// action is what a rule does for each value that matches.
type action struct {
	set *setVar
	ctl *ctl
}

type setVar struct {
	key, value *macro
	slot       int // of a constant key; -1 otherwise
	remove     bool
	score      bool // of an anomaly score
}

type ctl struct {
	*seclang.Ctl
	rules bits // that it concerns
}

func (e *Engine) setVar(from *seclang.SetVar) (*setVar, error) {
	s := &setVar{slot: -1, remove: from.Remove}
	var err error
	if s.key, err = e.macro(from.Key); err != nil {
		return nil, err
	}
	if len(s.key.parts) == 0 {
		name := strings.ToLower(s.key.constant)
		s.slot, s.score = e.slot(name), strings.Contains(name, "_score")
	}
	s.value, err = e.macro(from.Value)
	return s, err
}

// run sets a variable: "+N" and "-N" change a number, and do nothing to what is none.
func (s *setVar) run(tx *Transaction) {
	var key string
	if s.slot >= 0 {
		key = tx.engine.names[s.slot]
	} else {
		key = strings.ToLower(s.key.expand(tx))
	}
	value := s.value.expand(tx)
	if s.remove {
		tx.removeTX(key)
		return
	}
	if value == "" || value[0] != '+' && value[0] != '-' {
		tx.setTX(key, value)
		return
	}
	change := 0
	if len(value) > 1 {
		var err error
		if change, err = strconv.Atoi(value[1:]); err != nil {
			if !strings.HasPrefix(value[1:], "tx.") { // which is the name of a variable that is not there
				tx.setTX(key, value)
			}
			return
		}
	}
	now := 0
	if text, _ := tx.TX(key); text != "" {
		var err error
		if now, err = strconv.Atoi(text); err != nil {
			return
		}
	}
	if value[0] == '-' {
		change = -change
	}
	tx.setTX(key, strconv.Itoa(now+change))
}

func (c *ctl) run(tx *Transaction) {
	switch c.Kind {
	case seclang.RemoveByID, seclang.RemoveByTag, seclang.RemoveByMessage:
		tx.removed.add(c.rules)
	case seclang.RemoveTargetByID, seclang.RemoveTargetByTag, seclang.RemoveTargetByMessage:
		tx.narrowed.add(c.rules)
		if !slices.Contains(tx.narrowings, c) { // or a rule that matches in a thousand values made a thousand
			tx.narrowings = append(tx.narrowings, c)
		}
	case seclang.SetEngine:
		tx.mode = c.Engine
	case seclang.ForceRequestBody:
		tx.forceRequestBody = c.On
	case seclang.ForceResponseBody:
		tx.forceResponseBody = c.On
	}
	if tx.phase <= seclang.RequestHeaders {
		switch c.Kind {
		case seclang.SetRequestBodyAccess:
			tx.requestBodyAccess = c.On
		case seclang.SetRequestBodyLimit:
			tx.requestBodyLimit = c.Number
		case seclang.SetRequestBodyProcessor:
			tx.put(variables.ReqbodyProcessor, c.Value)
		}
	}
	if tx.phase <= seclang.ResponseHeaders {
		switch c.Kind {
		case seclang.SetResponseBodyAccess:
			tx.responseBodyAccess = c.On
		case seclang.SetResponseBodyLimit:
			tx.responseBodyLimit = c.Number
		case seclang.SetResponseBodyProcessor:
			tx.put(variables.ResBodyProcessor, c.Value)
		}
	}
}

// Interruption is what a disruptive action decided.
type Interruption struct {
	Action string // deny, drop or redirect
	Status int
	Rule   int    // its id
	Target string // of a redirect
}

// flow runs what a rule does once where its whole chain matched.
func (tx *Transaction) flow(r *rule) {
	for i := range r.Flow {
		switch f := &r.Flow[i]; f.Kind {
		case seclang.SkipAfter:
			tx.skipAfter = f.Value
		case seclang.Skip:
			tx.skip = f.Number
		case seclang.AllowPhase, seclang.AllowRequest, seclang.AllowAll:
			if tx.mode == types.RuleEngineOn {
				tx.allowed = f.Kind
			}
		case seclang.Deny, seclang.Drop, seclang.Redirect:
			if !tx.muted.has(r.number) {
				tx.disrupt(r, f)
			}
		}
	}
}

// disrupt does what a rule decides.
func (tx *Transaction) disrupt(r *rule, f *seclang.Flow) {
	switch f.Kind {
	case seclang.Deny:
		tx.interrupt(Interruption{Action: "deny", Status: or(r.Status, http.StatusForbidden), Rule: r.ID})
	case seclang.Drop:
		tx.interrupt(Interruption{Action: "drop", Status: r.Status, Rule: r.ID})
	case seclang.Redirect:
		status := r.Status
		switch status {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
		default:
			status = http.StatusFound
		}
		tx.interrupt(Interruption{Action: "redirect", Status: status, Rule: r.ID, Target: f.Value})
	}
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// interrupt ends the transaction, or keeps the first that would have ended it where rules only detect.
func (tx *Transaction) interrupt(i Interruption) {
	switch tx.mode {
	case types.RuleEngineOn:
		tx.interruption = &i
	case types.RuleEngineDetectionOnly:
		if tx.would == nil {
			tx.would = &i
		}
	}
}
