package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// PutActions stores actions as they are now, new or known, all or none.
func (db *DB) PutActions(ctx context.Context, actions ...*signal.Action) error {
	bodies := make([]signal.Action, len(actions))
	for i, a := range actions {
		if err := checkID("the action", a.ID, maxID); err != nil {
			return fmt.Errorf("state: put action: %w", err)
		}
		if err := checkID("the action's target", a.Target, maxKey); err != nil {
			return fmt.Errorf("state: put action: %w", err)
		}
		b := *a
		b.Kind, b.Actor, b.UndoneBy = clean(a.Kind, maxID), clean(a.Actor, maxID), clean(a.UndoneBy, maxID)
		b.Reason, b.Error = clean(a.Reason, maxValue), clean(a.Error, maxValue)
		b.Radius.Summary, b.Radius.Warnings = clean(a.Radius.Summary, maxValue), cleanList(a.Radius.Warnings, maxItems, maxValue)
		b.Start, b.Until, b.End = moment(nanos(a.Start)), moment(nanos(a.Until)), moment(nanos(a.End))
		bodies[i] = b
	}
	slices.SortStableFunc(bodies, func(a, b signal.Action) int { return compare(a.ID, b.ID) })
	var added int64
	err := db.update(ctx, "put action", func(t tx) error {
		added = 0
		for i := range bodies {
			a := &bodies[i]
			body, err := json.Marshal(a)
			if err != nil {
				return err
			}
			var known bool
			if err := t.row(ctx, "SELECT count(*) > 0 FROM actions WHERE id = ?", a.ID).Scan(&known); err != nil {
				return err
			}
			if !known {
				if err := db.actions.room(ctx, t, added); err != nil {
					return err
				}
				added++
			}
			if _, err := t.exec(ctx, "INSERT INTO actions (id, kind, target, actor, state, started, until, search, body) "+
				"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, target = excluded.target, "+
				"actor = excluded.actor, state = excluded.state, started = excluded.started, until = excluded.until, "+
				"search = excluded.search, body = excluded.body",
				a.ID, a.Kind, a.Target, a.Actor, clean(string(a.State), maxID), nanos(a.Start), nanos(a.Until),
				searchable(a.Target, a.Actor, a.Reason, a.ID), string(body)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		db.actions.add(added)
	}
	return err
}

// Action returns one action. ok is false where there is none.
func (db *DB) Action(ctx context.Context, id string) (a signal.Action, ok bool, err error) {
	if !isID(id, maxID) {
		return a, false, nil
	}
	var body string
	ok, err = db.row(ctx, "read action", "SELECT body FROM actions WHERE id = ?", []any{id}, &body)
	if ok {
		err = db.wrap("read action", json.Unmarshal([]byte(body), &a))
	}
	return a, ok && err == nil, err
}

// ActiveActions returns every action that is in force, oldest first.
func (db *DB) ActiveActions(ctx context.Context) (active []signal.Action, err error) {
	err = db.rows(ctx, "list active actions", "SELECT body FROM actions WHERE state = ? ORDER BY started, id",
		[]any{string(signal.ActionActive)}, func(r *sql.Rows) error {
			a, err := scanAction(r)
			active = append(active, a)
			return err
		})
	if err != nil {
		return nil, err
	}
	return active, nil
}

func scanAction(r *sql.Rows) (a signal.Action, err error) {
	var body string
	if err := r.Scan(&body); err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		return a, fmt.Errorf("a stored action is not readable: %w", err)
	}
	return a, nil
}

// ActionQuery says which actions to list. The zero value lists the newest of all.
type ActionQuery struct {
	State  signal.ActionState
	Kind   string
	Target string // exactly
	Actor  string // exactly
	Text   string // anywhere in target, actor, reason; case does not matter
	Limit  int    // rows of a page, 100 by default, at most 1000
	After  string // the cursor that the page before returned
}

// Actions returns a page of actions, newest first, and the cursor of the next page, "" after the last.
func (db *DB) Actions(ctx context.Context, q ActionQuery) (page []signal.Action, next string, err error) {
	const what = "list actions"
	var c conditions
	for _, f := range []struct{ column, value string }{
		{"state", string(q.State)}, {"kind", q.Kind}, {"target", q.Target}, {"actor", q.Actor},
	} {
		if f.value != "" {
			c.add(f.column+" = ?", clean(f.value, maxKey))
		}
	}
	if err := c.text(q.Text); err != nil {
		return nil, "", db.wrap(what, err)
	}
	if q.After != "" {
		id, by, err := parseCursor(q.After, 1)
		if err != nil {
			return nil, "", db.wrap(what, err)
		}
		c.add("(started, id) < (?, ?)", by[0], id)
	}
	limit := limited(q.Limit)
	err = db.rows(ctx, what, "SELECT body FROM actions"+c.String()+" ORDER BY started DESC, id DESC LIMIT ?", append(c.args, limit+1), func(r *sql.Rows) error {
		a, err := scanAction(r)
		page = append(page, a)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = cursor(last.ID, nanos(last.Start))
	}
	return page, next, nil
}
