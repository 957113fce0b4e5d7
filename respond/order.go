package respond

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/signal"
)

// system is who acts where nobody asked: at the end of a time limit, after a restart.
const system = "system"

// Bounds of what a request says, in bytes.
const (
	maxActor  = 256
	maxReason = 1000
	maxTarget = 500
)

// check completes a request, or says what is wrong with it.
func (h *Host) check(r *Request) (p *Part, notes []string, err error) {
	if p, err = h.part(r.Kind); err != nil {
		return nil, nil, err
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("respond: %s %.100q %w: %s", r.Kind, r.Target, ErrRequest, fmt.Sprintf(format, args...))
	}
	who, name, _ := strings.Cut(r.Actor, ":")
	switch who {
	case "rule", "person", "token", "uid":
		if name == "" {
			return nil, nil, wrong("actor %q has no name", r.Actor)
		}
	case system:
	default:
		return nil, nil, wrong("actor %.100q: want rule:ID, person:NAME, token:NAME, uid:N or system", r.Actor)
	}
	switch {
	case len(r.Actor) > maxActor || !utf8.ValidString(r.Actor):
		return nil, nil, wrong("its actor is too long, or no text")
	case r.Target == "" || len(r.Target) > maxTarget || !utf8.ValidString(r.Target):
		return nil, nil, wrong("its target is empty, too long or no text")
	case p.Momentary:
		r.For = p.Default
	case r.For < 0:
		return nil, nil, wrong("for %v: want a time limit ahead", r.For)
	case r.For > p.Max && !r.Automatic():
		return nil, nil, wrong("for %v: at most %v", r.For, p.Max)
	case r.For > p.Max:
		notes = append(notes, fmt.Sprintf("the rule asks for %v; %v is the most", r.For, p.Max))
		r.For = p.Max
	case r.For == 0:
		r.For = p.Default
	}
	if r.Automatic() {
		r.Force = false
	}
	r.Reason = strings.ToValidUTF8(r.Reason, "\uFFFD")
	if len(r.Reason) > maxReason {
		r.Reason = strings.ToValidUTF8(r.Reason[:maxReason], "") + "…"
	}
	return p, notes, nil
}

func (h *Host) plan(ctx context.Context, p *Part, r Request, notes []string) (Plan, error) {
	plan, err := p.Responder.Plan(ctx, r)
	if err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return plan, fmt.Errorf("respond: %s: %w", r.Kind, err)
		}
		return plan, fmt.Errorf("respond: %s %w: %w", r.Kind, ErrRequest, err)
	}
	plan.Radius.Warnings = append(plan.Radius.Warnings, notes...)
	if plan.Refusal != "" && plan.Forceable && r.Force {
		plan.Radius.Warnings = append(plan.Radius.Warnings, "forced by "+r.Actor+" although "+plan.Refusal)
		plan.Refusal = ""
	}
	return plan, nil
}

// Preview is what an order would do.
type Preview struct {
	Target    string        `json:"target"` // in canonical form
	Radius    signal.Radius `json:"radius"`
	Until     time.Time     `json:"until"`
	Refusal   string        `json:"refusal,omitempty"`   // why it would be refused
	Forceable bool          `json:"forceable,omitempty"` // Request.Force would overcome that
	Extends   string        `json:"extends,omitempty"`   // id of the action that it would make last longer
}

// Preview says what an order would do, and changes nothing.
func (h *Host) Preview(ctx context.Context, r Request) (Preview, error) {
	p, notes, err := h.check(&r)
	if err != nil {
		return Preview{}, err
	}
	plan, err := h.plan(ctx, p, r, notes)
	if err != nil {
		return Preview{}, err
	}
	v := Preview{Target: plan.Target, Radius: plan.Radius, Until: h.opts.Now().Add(r.For).UTC(), Refusal: plan.Refusal, Forceable: plan.Forceable}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if e := h.targets[target{r.Kind, plan.Target}]; e != nil {
		v.Extends, v.Refusal, v.Forceable = e.action.ID, "", false
		if e.action.Until.After(v.Until) {
			v.Until = e.action.Until
		}
	}
	return v, nil
}

// Order carries a request out and returns the action.
//
// The order of things: the responder states the radius; limits are checked; the ledger records
// the action; the state commits it; the responder puts it in force; it is published. Where
// the ledger or the state cannot be written, nothing is done and the error says so. Where the responder
// cannot do it, the action is kept as failed. A stop of the process between commit and force
// puts it in force at the next start.
//
// Where the target is acted on already, that action lasts until the later of both
// limits and is returned; a rule makes it last longer only by a tenth or more of what it asks for, so that
// an attacker cannot make it write all the time.
//
// An action that must not be done is returned in the state refused with an error that wraps
// ErrRefused. The same refusal of a rule is recorded once per Config.RefusalEvery.
func (h *Host) Order(ctx context.Context, r Request) (signal.Action, error) {
	a, err := h.order(ctx, r)
	h.metrics.ordered(r.Kind, outcome(err))
	return a, err
}

func outcome(err error) string {
	for _, o := range []struct {
		err  error
		name string
	}{{ErrRefused, "refused"}, {ErrBudget, "over_budget"}, {ErrRequest, "invalid"}, {ErrUnavailable, "unavailable"}} {
		if errors.Is(err, o.err) {
			return o.name
		}
	}
	if err != nil {
		return "failed"
	}
	return "done"
}

func (h *Host) order(ctx context.Context, r Request) (signal.Action, error) {
	p, notes, err := h.check(&r)
	if err != nil {
		return signal.Action{}, err
	}
	plan, err := h.plan(ctx, p, r, notes)
	if err != nil {
		return signal.Action{}, err
	}
	ctx, end, err := h.changing(ctx)
	if err != nil {
		return signal.Action{}, err
	}
	defer end()
	now := h.opts.Now().UTC().Round(0)
	h.mu.RLock()
	e := h.targets[target{r.Kind, plan.Target}]
	active, automatic := len(h.active), h.automatic
	h.mu.RUnlock()
	if e != nil && now.Before(e.action.Until) {
		return h.extend(ctx, p, e, r, now)
	}
	if e != nil { // its limit has passed, and Run has not ended it yet
		if err := h.end(ctx, e, signal.ActionExpired, system, "its time limit passed"); err != nil && !errors.Is(err, ErrUnrecorded) {
			return signal.Action{}, err
		}
	}
	a := signal.Action{
		ID: signal.NewID(now).String(), Kind: r.Kind, Target: plan.Target, Actor: r.Actor, Reason: r.Reason, Radius: plan.Radius,
		Event: r.Event, State: signal.ActionActive, Start: now, Until: now.Add(r.For),
	}
	if plan.Refusal == "" && active >= h.cfg.MaxActive {
		plan.Refusal = fmt.Sprintf("%d actions are in force, and respond.max_active allows no more: lift some", active)
	}
	if plan.Refusal != "" {
		return h.refuse(ctx, a, plan)
	}
	if r.Automatic() {
		if automatic >= h.cfg.MaxAutomatic {
			h.budget.drop(now, r.Actor, "respond.max_automatic is reached")
			return signal.Action{}, fmt.Errorf("respond: %s %s: %w: rules have %d actions in force", r.Kind, plan.Target, ErrBudget, automatic)
		}
		if err := h.budget.take(now, r.Actor, plan.Group); err != nil {
			return signal.Action{}, fmt.Errorf("respond: %s %s: %w", r.Kind, plan.Target, err)
		}
	}
	return h.begin(ctx, p, a)
}

func (h *Host) begin(ctx context.Context, p *Part, a signal.Action) (signal.Action, error) {
	if err := h.record(ctx, a.Actor, "apply", &a, map[string]string{
		"reason": a.Reason, "until": a.Until.Format(time.RFC3339), "event": a.Event.String(),
		"radius": a.Radius.Summary, "warnings": strings.Join(a.Radius.Warnings, "; "),
	}); err != nil {
		return signal.Action{}, fmt.Errorf("respond: %s %s was not done, since the ledger could not record it: %w", a.Kind, a.Target, err)
	}
	if err := h.put(ctx, &a); err != nil {
		_ = h.recordOrOwe(ctx, system, "fail", &a, "the state could not be written")
		return signal.Action{}, fmt.Errorf("respond: %s %s was not done, since the state could not keep it: %w", a.Kind, a.Target, err)
	}
	if err := p.Responder.Apply(ctx, &a); err != nil {
		if undo := p.Responder.Undo(ctx, &a); undo != nil {
			h.opts.Logger.Error("what was half done is not cleared away", "action", a.ID, "kind", a.Kind, "target", a.Target, "error", undo)
		}
		a.State, a.Error, a.End = signal.ActionFailed, err.Error(), h.opts.Now().UTC().Round(0)
		_ = h.putOrOwe(ctx, a)
		_ = h.recordOrOwe(ctx, system, "fail", &a, a.Error)
		h.opts.Publish(a)
		return a, fmt.Errorf("respond: %s %s: %w", a.Kind, a.Target, err)
	}
	if p.Momentary {
		return h.finish(ctx, a)
	}
	h.mu.Lock()
	h.addActive(a)
	h.mu.Unlock()
	h.nudge()
	h.opts.Publish(a)
	h.opts.Logger.Info("action in force", "action", a.ID, "kind", a.Kind, "target", a.Target, "actor", a.Actor, "until", a.Until)
	return a, nil
}

// finish records what was done at once. Where the state cannot be written now, it is later.
func (h *Host) finish(ctx context.Context, a signal.Action) (signal.Action, error) {
	a.State, a.End = signal.ActionDone, h.opts.Now().UTC().Round(0)
	_ = h.putOrOwe(ctx, a)
	h.opts.Publish(a)
	h.opts.Logger.Info("action done", "action", a.ID, "kind", a.Kind, "target", a.Target, "actor", a.Actor)
	return a, nil
}

func (h *Host) extend(ctx context.Context, p *Part, e *entry, r Request, now time.Time) (signal.Action, error) {
	until := now.Add(r.For)
	gain := until.Sub(e.action.Until)
	if gain <= 0 || r.Automatic() && gain < r.For/10 {
		h.mu.RLock()
		defer h.mu.RUnlock()
		return h.live(e), nil
	}
	longer := e.action
	longer.Until = until
	if err := h.record(ctx, r.Actor, "extend", &longer, map[string]string{"reason": r.Reason, "until": until.Format(time.RFC3339), "event": r.Event.String()}); err != nil {
		return signal.Action{}, fmt.Errorf("respond: %s %s does not last longer, since the ledger could not record it: %w", longer.Kind, longer.Target, err)
	}
	if err := h.put(ctx, &longer); err != nil {
		_ = h.recordOrOwe(ctx, system, "fail", &e.action, "the state could not be written: the limit stays")
		return signal.Action{}, fmt.Errorf("respond: %s %s does not last longer, since the state could not keep it: %w", longer.Kind, longer.Target, err)
	}
	if err := p.Responder.Apply(ctx, &longer); err != nil {
		_ = h.putOrOwe(ctx, e.action)
		_ = h.recordOrOwe(ctx, system, "fail", &e.action, "the limit stays: "+err.Error())
		return signal.Action{}, fmt.Errorf("respond: %s %s does not last longer: %w", longer.Kind, longer.Target, err)
	}
	h.mu.Lock()
	e.action = longer
	h.deadlines.move(e, until)
	a := h.live(e)
	h.mu.Unlock()
	h.nudge()
	h.opts.Publish(a)
	return a, nil
}

func (h *Host) refuse(ctx context.Context, a signal.Action, plan Plan) (signal.Action, error) {
	a.State, a.End, a.Error = signal.ActionRefused, a.Start, plan.Refusal
	refused := fmt.Errorf("respond: %s %s: %w: %s", a.Kind, a.Target, ErrRefused, plan.Refusal)
	if isAutomatic(&a) {
		if h.budget.refusedLately(a.Start, a.Kind+" "+a.Target+" "+a.Actor) {
			return a, refused
		}
		if h.budget.take(a.Start, a.Actor, plan.Group) != nil {
			return a, refused // dropped and counted there
		}
	}
	if err := h.record(ctx, a.Actor, "refuse", &a, map[string]string{"reason": a.Reason, "refusal": plan.Refusal, "event": a.Event.String()}); err != nil {
		return a, fmt.Errorf("%w; the ledger could not record this: %w", refused, err)
	}
	if err := h.put(ctx, &a); err != nil {
		return a, fmt.Errorf("%w; the state could not keep this: %w", refused, err)
	}
	h.opts.Publish(a)
	return a, refused
}

// Undo lifts an action before its time and returns it as it ended. To undo what has ended is no
// error and changes nothing. The error wraps ErrNotFound where there is no such action, ErrMomentary where it cannot be undone, and
// ErrUnrecorded where it was lifted but not yet recorded; any other error means that it is still
// in force.
func (h *Host) Undo(ctx context.Context, id, actor, reason string) (signal.Action, error) {
	if actor == "" {
		return signal.Action{}, fmt.Errorf("respond: undo of %.100q: %w: it says not who asks", id, ErrRequest)
	}
	ctx, end, err := h.changing(ctx)
	if err != nil {
		return signal.Action{}, err
	}
	defer end()
	h.mu.RLock()
	e := h.active[id]
	h.mu.RUnlock()
	if e == nil {
		a, err := h.Get(ctx, id)
		if err == nil && a.State == signal.ActionDone {
			return a, fmt.Errorf("respond: %s %s %w", a.Kind, a.Target, ErrMomentary)
		}
		if err == nil && a.State == signal.ActionActive {
			return a, fmt.Errorf("respond: %s %s cannot be lifted from here: %w", a.Kind, a.Target, ErrUnavailable)
		}
		return a, err
	}
	err = h.end(ctx, e, signal.ActionUndone, actor, reason)
	h.mu.RLock()
	defer h.mu.RUnlock()
	return e.action, err
}
