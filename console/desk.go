package console

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/signal"
)

// Desk does what people and programs ask for, pages and API alike: it checks the
// caller's role once more, bounds what was sent, writes to the ledger what the source does
// not write by itself, and tells live pages what changed. Who asks is CallerFrom(ctx).
type Desk struct {
	sources Sources
	changed func(Topic)
	link    func(secret string) string
	replays chan struct{} // the server's: what-ifs running
}

const (
	maxTarget   = 256
	maxReason   = 500
	maxRuleText = 512 << 10
	maxTokenTTL = 366 * 24 * time.Hour
)

func (d *Desk) caller(ctx context.Context, role Role) (Caller, error) {
	c := CallerFrom(ctx)
	if !c.May(role) {
		return c, &forbidden{need: role}
	}
	return c, nil
}

// record writes to the ledger what is about to be done, and returns what to call with
// the outcome: a change that then fails is recorded as such too.
func (d *Desk) record(ctx context.Context, c Caller, verb, subject string, detail map[string]string) (func(error) error, error) {
	if d.sources.Recorder == nil {
		return nil, unavailable("a ledger, without which nothing is changed")
	}
	e := Entry{Actor: c.Actor(), Verb: verb, Subject: subject, Detail: detail}
	if err := d.sources.Recorder.Record(ctx, e); err != nil {
		return nil, fmt.Errorf("write %s to the ledger: %w", verb, err)
	}
	return func(err error) error {
		if err == nil {
			return nil
		}
		// The caller may be gone; that it did not happen must be kept all the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		e.Verb += ".failed"
		if rerr := d.sources.Recorder.Record(ctx, e); rerr != nil {
			return fmt.Errorf("%w (and the ledger did not take that it did not happen: %v)", err, rerr)
		}
		return err
	}, nil
}

// Preview states the blast radius of an order and does nothing. Operators may.
func (d *Desk) Preview(ctx context.Context, o Order) (Preview, error) {
	c, err := d.caller(ctx, RoleOperator)
	if err != nil {
		return Preview{}, err
	}
	if d.sources.Orders == nil {
		return Preview{}, unavailable("responders")
	}
	if err := checkOrder(&o); err != nil {
		return Preview{}, err
	}
	o.Asker = c.Client
	return d.sources.Orders.Preview(ctx, o)
}

// Order has an action done. Operators may.
func (d *Desk) Order(ctx context.Context, o Order) (signal.Action, error) {
	c, err := d.caller(ctx, RoleOperator)
	if err != nil {
		return signal.Action{}, err
	}
	if d.sources.Orders == nil {
		return signal.Action{}, unavailable("responders")
	}
	if err := checkOrder(&o); err != nil {
		return signal.Action{}, err
	}
	o.Asker = c.Client
	if o.Reason == "" {
		o.Reason = "asked for by " + c.Actor()
	}
	a, err := d.sources.Orders.Order(ctx, o, c.Identity)
	if err == nil {
		d.changed(TopicActions)
	}
	return a, err
}

// Undo lifts an action. Operators may.
func (d *Desk) Undo(ctx context.Context, id, reason string) (signal.Action, error) {
	c, err := d.caller(ctx, RoleOperator)
	if err != nil {
		return signal.Action{}, err
	}
	if d.sources.Orders == nil {
		return signal.Action{}, unavailable("responders")
	}
	if err := checkText("reason", reason, maxReason); err != nil {
		return signal.Action{}, err
	}
	a, err := d.sources.Orders.Undo(ctx, id, reason, c.Identity)
	if err == nil {
		d.changed(TopicActions)
	}
	return a, err
}

// SetFindingState opens, resolves or mutes a finding. Operators may.
func (d *Desk) SetFindingState(ctx context.Context, id string, state signal.FindingState, note string) (signal.Finding, error) {
	c, err := d.caller(ctx, RoleOperator)
	if err != nil {
		return signal.Finding{}, err
	}
	if d.sources.Findings == nil {
		return signal.Finding{}, unavailable("findings")
	}
	switch state {
	case signal.FindingOpen, signal.FindingResolved, signal.FindingMuted:
	default:
		return signal.Finding{}, &InputError{Field: "state", Reason: fmt.Sprintf("%q is not open, resolved or muted", state)}
	}
	if err := checkText("note", note, maxReason); err != nil {
		return signal.Finding{}, err
	}
	old, err := d.sources.Findings.Finding(ctx, id)
	if err != nil {
		return signal.Finding{}, err
	}
	detail := map[string]string{"from": string(old.State), "to": string(state)}
	if note != "" {
		detail["note"] = note
	}
	done, err := d.record(ctx, c, "finding.state", old.ID, detail)
	if err != nil {
		return signal.Finding{}, err
	}
	f, err := d.sources.Findings.SetFindingState(ctx, old.ID, state, c.Identity)
	if err := done(err); err != nil {
		return signal.Finding{}, err
	}
	d.changed(TopicFindings)
	return f, nil
}

// CheckRule compiles rule text and runs its tests; it puts nothing in force. Operators may.
func (d *Desk) CheckRule(ctx context.Context, text string) (RuleReport, error) {
	if _, err := d.caller(ctx, RoleOperator); err != nil {
		return RuleReport{}, err
	}
	if d.sources.RuleDesk == nil {
		return RuleReport{}, unavailable("rules")
	}
	if len(text) > maxRuleText {
		return RuleReport{}, &InputError{Field: "text", Reason: fmt.Sprintf("%d bytes, at most %d are read", len(text), maxRuleText)}
	}
	return d.sources.RuleDesk.Check(ctx, text)
}

// TestRules runs the tests of the rules in force, of one where id is not empty. Operators may.
func (d *Desk) TestRules(ctx context.Context, id string) (RuleReport, error) {
	if _, err := d.caller(ctx, RoleOperator); err != nil {
		return RuleReport{}, err
	}
	if d.sources.RuleDesk == nil {
		return RuleReport{}, unavailable("rules")
	}
	return d.sources.RuleDesk.Test(ctx, id)
}

// ReloadRules reads the rules folder anew. Admins may.
func (d *Desk) ReloadRules(ctx context.Context) (RuleSet, error) {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return RuleSet{}, err
	}
	if d.sources.RuleDesk == nil {
		return RuleSet{}, unavailable("rules")
	}
	done, err := d.record(ctx, c, "rules.reload", "", nil)
	if err != nil {
		return RuleSet{}, err
	}
	set, err := d.sources.RuleDesk.Reload(ctx, c.Identity)
	if err := done(err); err != nil {
		return RuleSet{}, err
	}
	d.changed(TopicRules)
	return set, nil
}

// Doctor looks at the machine anew. Operators may.
func (d *Desk) Doctor(ctx context.Context) ([]Check, error) {
	if _, err := d.caller(ctx, RoleOperator); err != nil {
		return nil, err
	}
	if d.sources.System == nil {
		return nil, unavailable("a system view")
	}
	return d.sources.System.Doctor(ctx)
}

func checkOrder(o *Order) error {
	o.Target = strings.TrimSpace(o.Target)
	if o.Kind == "" {
		return &InputError{Field: "kind", Reason: `name the responder, as in "block"`}
	}
	if o.Target == "" {
		return &InputError{Field: "target", Reason: "name what to act on, as in 203.0.113.7 or 203.0.113.0/24"}
	}
	if o.For < 0 {
		return &InputError{Field: "for", Reason: "the time limit is negative"}
	}
	if err := checkText("kind", o.Kind, 64); err != nil {
		return err
	}
	if err := checkText("target", o.Target, maxTarget); err != nil {
		return err
	}
	return checkText("reason", o.Reason, maxReason)
}

// checkText refuses what would lie in a terminal or a table: control characters,
// broken UTF-8, and length without end.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return &InputError{Field: field, Reason: fmt.Sprintf("%d bytes, at most %d are kept", len(s), limit)}
	}
	if !utf8.ValidString(s) {
		return &InputError{Field: field, Reason: "not UTF-8 text"}
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return &InputError{Field: field, Reason: fmt.Sprintf("holds the control character %U", r)}
		}
	}
	return nil
}
