package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// maxOwed bounds the records that wait for the ledger or the state to take them. Beyond it
// nothing is lifted any more but by the responders' own clocks.
const maxOwed = 20_000

// retryAfter is how long after an error it is tried again.
const retryAfter = 5 * time.Second

// debt is a write that is still to be done, in order.
type debt struct {
	action      *signal.Action // to the state; nil for a ledger's record
	actor, verb string
	subject     string
	detail      map[string]string
}

func (h *Host) record(ctx context.Context, actor, verb string, a *signal.Action, detail map[string]string) error {
	detail["id"] = a.ID
	for k, v := range detail {
		if v == "" {
			delete(detail, k)
		}
	}
	return h.opts.Ledger.Record(ctx, actor, a.Kind+"."+verb, a.Target, detail)
}

// recordOrOwe records what cannot be taken back: where the ledger does not take it, later.
func (h *Host) recordOrOwe(ctx context.Context, actor, verb string, a *signal.Action, reason string) error {
	detail := map[string]string{"reason": reason}
	err := h.record(ctx, actor, verb, a, detail)
	if err != nil {
		// The time of the entry will be that of its writing; this says when it was.
		detail["at"] = h.opts.Now().UTC().Format(time.RFC3339)
		h.owe(debt{actor: actor, verb: a.Kind + "." + verb, subject: a.Target, detail: detail}, err)
	}
	return err
}

// put writes an action to the state, which settles what was owed of an older form of it.
func (h *Host) put(ctx context.Context, a *signal.Action) error {
	if err := h.opts.Store.PutActions(ctx, a); err != nil {
		return err
	}
	h.settle(a.ID)
	return nil
}

func (h *Host) putOrOwe(ctx context.Context, a signal.Action) error {
	err := h.put(ctx, &a)
	if err != nil {
		h.settle(a.ID)
		h.owe(debt{action: &a}, err)
	}
	return err
}

func (h *Host) settle(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.owed = slices.DeleteFunc(h.owed, func(d debt) bool { return d.action != nil && d.action.ID == id })
}

func (h *Host) owe(d debt, err error) {
	h.opts.Logger.Error("a record is owed", "error", err)
	h.mu.Lock()
	h.owed = append(h.owed, d)
	h.mu.Unlock()
	h.nudge()
}

// end lifts an action that is in force. Hold change. The error wraps ErrUnrecorded where it was
// lifted; else it is still in force.
func (h *Host) end(ctx context.Context, e *entry, state signal.ActionState, actor, reason string) error {
	h.mu.RLock()
	a := h.live(e)
	owed := len(h.owed)
	h.mu.RUnlock()
	if owed >= maxOwed {
		return fmt.Errorf("respond: %s %s: %d records wait for the ledger and the state: mend those first", a.Kind, a.Target, owed)
	}
	p, err := h.part(a.Kind)
	if err != nil {
		return err
	}
	if err := p.Responder.Undo(ctx, &a); err != nil {
		return fmt.Errorf("respond: %s %s is still in force: %w", a.Kind, a.Target, err)
	}
	verb := "undo"
	a.State, a.End = state, h.opts.Now().UTC().Round(0)
	if state == signal.ActionExpired {
		verb = "expire"
	} else {
		a.UndoneBy = actor
	}
	h.mu.Lock()
	h.removeActive(e)
	e.action = a
	h.mu.Unlock()
	err = errors.Join(h.putOrOwe(ctx, a), h.recordOrOwe(ctx, actor, verb, &a, reason))
	h.opts.Publish(a)
	h.opts.Logger.Info("action ended", "action", a.ID, "kind", a.Kind, "target", a.Target, "state", string(state), "by", actor, "hits", a.Hits)
	if err != nil {
		return fmt.Errorf("respond: %s %s: %w: %w", a.Kind, a.Target, ErrUnrecorded, err)
	}
	return nil
}

// pay writes what is owed, in order, until one is not taken. Hold change.
func (h *Host) pay(ctx context.Context) {
	for {
		h.mu.RLock()
		var d debt
		left := len(h.owed)
		if left > 0 {
			d = h.owed[0]
		}
		h.mu.RUnlock()
		if left == 0 {
			return
		}
		var err error
		if d.action != nil {
			err = h.opts.Store.PutActions(ctx, d.action)
		} else {
			err = h.opts.Ledger.Record(ctx, d.actor, d.verb, d.subject, d.detail)
		}
		if err != nil {
			h.opts.Logger.Error("records are owed", "records", left, "error", err)
			return
		}
		h.mu.Lock()
		h.owed = h.owed[1:]
		if len(h.owed) == 0 {
			h.owed = nil
		}
		h.mu.Unlock()
	}
}

// Expire ends every action whose time limit has passed and returns how many those were. Run
// does this by itself; it is for those who do not run the host.
func (h *Host) Expire(ctx context.Context) (int, error) {
	ctx, end, err := h.changing(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	h.pay(ctx)
	return h.expire(ctx)
}

func (h *Host) expire(ctx context.Context) (ended int, err error) {
	for {
		now := h.opts.Now()
		h.mu.RLock()
		e := h.deadlines.first()
		due := e != nil && !now.Before(e.due)
		h.mu.RUnlock()
		if !due {
			return ended, err
		}
		failed := h.end(ctx, e, signal.ActionExpired, system, "its time limit passed")
		if failed != nil {
			err = failed
			h.opts.Logger.Error("the end of an action", "error", failed)
		}
		if failed == nil || errors.Is(failed, ErrUnrecorded) {
			ended++
			continue
		}
		h.mu.Lock()
		h.deadlines.move(e, now.Add(retryAfter))
		h.mu.Unlock()
	}
}

// restore puts the actions that the state holds in force again, once. Hold change.
func (h *Host) restore(ctx context.Context) error {
	if h.restored {
		return nil
	}
	stored, err := h.opts.Store.ActiveActions(ctx)
	h.mu.Lock()
	h.unread = err
	h.mu.Unlock()
	if err != nil {
		return fmt.Errorf("respond: the actions in force are not known yet: %w", err)
	}
	now := h.opts.Now()
	for _, a := range stored {
		p, err := h.part(a.Kind)
		if err != nil {
			// Left as it is: its responder may be there again after the next start, and then it can be undone.
			h.mu.Lock()
			h.unmanaged = append(h.unmanaged, a.ID)
			h.mu.Unlock()
			h.opts.Logger.Warn("an action is left as it is", "action", a.ID, "kind", a.Kind, "target", a.Target, "error", err)
			continue
		}
		h.restoreOne(ctx, p, a, now)
	}
	h.restored = true
	h.nudge()
	return nil
}

func (h *Host) restoreOne(ctx context.Context, p *Part, a signal.Action, now time.Time) {
	finish := func(state signal.ActionState, end time.Time, verb, reason string) {
		if err := p.Responder.Undo(ctx, &a); err != nil {
			h.opts.Logger.Error("an ended action is not cleared away", "action", a.ID, "error", err)
		}
		a.State, a.End = state, end.UTC().Round(0)
		_ = h.putOrOwe(ctx, a)
		_ = h.recordOrOwe(ctx, system, verb, &a, reason)
		h.opts.Publish(a)
	}
	if p.Momentary {
		// It may be done or not: to do it again could hit what began since.
		a.Error = "testudo ended while it was done: whether it was is not known"
		finish(signal.ActionFailed, now, "fail", a.Error)
		return
	}
	if !now.Before(a.Until) {
		finish(signal.ActionExpired, a.Until, "expire", "its time limit passed while testudo did not run")
		return
	}
	// What the configuration forbids since then, nobody may insist on.
	keep := func() {
		h.mu.Lock()
		h.addActive(a)
		h.mu.Unlock()
	}
	plan, err := p.Responder.Plan(ctx, Request{Kind: a.Kind, Target: a.Target, Actor: a.Actor, For: a.Until.Sub(now), Event: a.Event})
	if err == nil && plan.Refusal != "" && !plan.Forceable {
		a.UndoneBy = system
		finish(signal.ActionUndone, now, "undo", plan.Refusal)
		return
	}
	if err := p.Responder.Apply(ctx, &a); errors.Is(err, ErrUnavailable) {
		// Its hand does not answer now. What was in force may still be, and must be lifted at its limit.
		h.opts.Logger.Error("an action may be in force or not", "action", a.ID, "kind", a.Kind, "target", a.Target, "error", err)
		keep()
		return
	} else if err != nil {
		a.Error = err.Error()
		finish(signal.ActionFailed, now, "fail", "after a restart: "+a.Error)
		return
	}
	keep()
}
