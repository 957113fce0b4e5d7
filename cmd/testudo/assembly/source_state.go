package assembly

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/state"
	"github.com/testudo-sec/testudo/trust/ledger"
)

// findings reads and changes findings.
type findings struct{ m *Machine }

func (s findings) Findings(ctx context.Context, q console.FindingQuery) (console.Page[signal.Finding], error) {
	items, next, err := s.m.storage.State.Findings(ctx, state.FindingQuery{State: q.State, MinSeverity: q.Severity, Kind: q.Kind,
		Plane: q.Plane, Rule: q.Rule, Asset: q.Asset, Text: q.Text, WorstFirst: true, Limit: q.Limit, After: q.Cursor})
	if err != nil {
		return console.Page[signal.Finding]{}, stateError(err)
	}
	return console.Page[signal.Finding]{Items: items, Next: next}, nil
}

// stateError gives an error of the state the console's meaning.
func stateError(err error) error {
	switch {
	case errors.Is(err, state.ErrCursor):
		return &console.InputError{Field: "cursor", Reason: err.Error()}
	case errors.Is(err, state.ErrQuery):
		return &console.InputError{Reason: err.Error()}
	}
	return err
}

func (s findings) Finding(ctx context.Context, id string) (signal.Finding, error) {
	f, ok, err := s.m.storage.State.Finding(ctx, id)
	if err == nil && !ok {
		err = fmt.Errorf("finding %s: %w", id, console.ErrNotFound)
	}
	return f, err
}

func (s findings) SetFindingState(ctx context.Context, id string, to signal.FindingState, by console.Identity) (signal.Finding, error) {
	f, ok, err := s.m.storage.State.SetFindingState(ctx, id, to, by.Actor(), "")
	if err == nil && !ok {
		err = fmt.Errorf("finding %s: %w", id, console.ErrNotFound)
	}
	return f, err
}

// actions reads actions.
type actions struct{ m *Machine }

func (s actions) Actions(ctx context.Context, q console.ActionQuery) (console.Page[signal.Action], error) {
	items, next, err := s.m.storage.State.Actions(ctx, state.ActionQuery{State: q.State, Kind: q.Kind, Target: q.Target, Limit: q.Limit,
		After: q.Cursor})
	if err != nil {
		return console.Page[signal.Action]{}, stateError(err)
	}
	// The state knows hits as they were last written; what is in force counts on.
	for _, now := range s.m.host.List() {
		if i := slices.IndexFunc(items, func(a signal.Action) bool { return a.ID == now.ID }); i >= 0 {
			items[i].Hits = now.Hits
		}
	}
	return console.Page[signal.Action]{Items: items, Next: next}, nil
}

func (s actions) Action(ctx context.Context, id string) (signal.Action, error) {
	a, err := s.m.host.Get(ctx, id)
	return a, orderError(err)
}

// orders takes what people ask for.
type orders struct{ m *Machine }

// orderError gives an error of respond the console's meaning.
func orderError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, respond.ErrRequest):
		return &console.InputError{Field: "target", Reason: err.Error()}
	case errors.Is(err, respond.ErrNotFound):
		return fmt.Errorf("%w: %w", console.ErrNotFound, err)
	case errors.Is(err, respond.ErrBudget):
		return fmt.Errorf("%w: %w", console.ErrConflict, err)
	case errors.Is(err, respond.ErrUnavailable):
		return fmt.Errorf("%w: %w", console.ErrUnavailable, err)
	}
	return err
}

func request(o console.Order, by console.Identity) respond.Request {
	return respond.Request{Kind: o.Kind, Target: o.Target, For: o.For, Actor: by.Actor(), Reason: o.Reason, Event: o.Event,
		Force: o.Force, Asker: o.Asker}
}

func (s orders) Preview(ctx context.Context, o console.Order) (console.Preview, error) {
	r := request(o, console.CallerFrom(ctx).Identity)
	if r.Actor == "" {
		r.Actor = localActor()
	}
	p, err := s.m.host.Preview(ctx, r)
	if err != nil {
		return console.Preview{}, orderError(err)
	}
	return console.Preview{Target: p.Target, Radius: p.Radius, Until: p.Until, Refusal: p.Refusal, Forceable: p.Forceable, Extends: p.Extends}, nil
}

func (s orders) Order(ctx context.Context, o console.Order, by console.Identity) (signal.Action, error) {
	a, err := s.m.host.Order(ctx, request(o, by))
	if errors.Is(err, respond.ErrRefused) {
		return a, nil // the action says that it was refused, and why
	}
	return a, orderError(err)
}

func (s orders) Undo(ctx context.Context, id, reason string, by console.Identity) (signal.Action, error) {
	before, err := s.m.host.Get(ctx, id)
	if err != nil {
		return before, orderError(err)
	}
	if before.State != signal.ActionActive {
		return before, fmt.Errorf("the action is %s: %w", before.State, console.ErrConflict)
	}
	a, err := s.m.host.Undo(ctx, id, by.Actor(), reason)
	if errors.Is(err, respond.ErrUnrecorded) {
		s.m.log.Warn("an action was lifted and is not recorded yet", "action", id, "error", err)
		err = nil
	}
	return a, orderError(err)
}

// ledgerBook reads the ledger.
type ledgerBook struct{ m *Machine }

func (s ledgerBook) log() (*ledger.Log, error) {
	if s.m.storage.Ledger == nil {
		return nil, fmt.Errorf("%w: the ledger is damaged: %w", console.ErrUnavailable, s.m.storage.LedgerFault)
	}
	return s.m.storage.Ledger, nil
}

func (s ledgerBook) Entries(ctx context.Context, q console.LedgerQuery) (console.Page[console.LedgerEntry], error) {
	var page console.Page[console.LedgerEntry]
	log, err := s.log()
	if err != nil {
		return page, err
	}
	end := log.Head().Size
	if q.Cursor != "" {
		if end, err = strconv.ParseUint(q.Cursor, 10, 63); err != nil {
			return page, &console.InputError{Field: "cursor", Reason: "not the next of a page"}
		}
	}
	for end > 0 && len(page.Items) < q.Limit {
		start := end - min(end, ledger.MaxEntries)
		records, err := log.Entries(ctx, start, int(end-start))
		if err != nil {
			return page, err
		}
		for _, r := range slices.Backward(records) {
			if len(page.Items) == q.Limit {
				break
			}
			end = r.Index
			if !ledgerMatch(q, &r.Entry) {
				continue
			}
			page.Items = append(page.Items, console.LedgerEntry{Index: r.Index, Time: r.Entry.Time, Actor: r.Entry.Actor, Verb: r.Entry.Verb,
				Subject: r.Entry.Subject, Detail: r.Entry.Detail, Hash: r.Hash.String()})
		}
	}
	if end > 0 {
		page.Next = strconv.FormatUint(end, 10)
	}
	return page, nil
}

func ledgerMatch(q console.LedgerQuery, e *ledger.Entry) bool {
	verb := q.Verb == "" || e.Verb == q.Verb || len(e.Verb) > len(q.Verb) && e.Verb[:len(q.Verb)] == q.Verb && e.Verb[len(q.Verb)] == '.'
	return verb && (q.Actor == "" || e.Actor == q.Actor) && (q.Subject == "" || e.Subject == q.Subject)
}

func (s ledgerBook) Head(context.Context) (console.LedgerHead, error) {
	log, err := s.log()
	if err != nil {
		return console.LedgerHead{}, err
	}
	h := log.Head()
	return console.LedgerHead{Size: h.Size, Root: h.Hash.String(), Checkpoint: string(h.Checkpoint), PublicKey: log.PublicKey()}, nil
}

func (s ledgerBook) Verify(context.Context) (console.LedgerReport, error) {
	r, err := ledger.Verify(LedgerDir(s.m.opts.Dir), ledger.VerifyOptions{Live: true})
	var damage *ledger.Damage
	if errors.As(err, &damage) {
		return console.LedgerReport{Problems: []string{damage.Error()}}, nil
	}
	if err != nil {
		return console.LedgerReport{}, err
	}
	return console.LedgerReport{OK: true, Entries: r.Head.Size, Root: r.Head.Hash.String()}, nil
}

// consoleRecorder writes to the ledger what is done through the console.
type consoleRecorder struct{ m *Machine }

func (r consoleRecorder) Record(ctx context.Context, e console.Entry) error {
	return r.m.storage.Record(ctx, e.Actor, e.Verb, e.Subject, e.Detail)
}
