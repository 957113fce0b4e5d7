package assembly

import (
	"context"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/trust/ledger"
)

// History reads what the data directory holds, for subcommands that run while no node does.
func (st *Storage) History() *store.History { return store.ReadOnly(st.Bus, st.Lake) }

// Close closes the data directory of a machine that was not run.
func (m *Machine) Close() { m.storage.Close() }

// Desk takes orders of whoever runs the command, for a machine that is not run: they are
// in force when a node starts.
func (m *Machine) Desk() *Desk { return &Desk{m} }

// Desk takes orders in the name of the user who runs the command.
type Desk struct{ m *Machine }

func (d *Desk) by() console.Identity {
	return console.Identity{Name: localActor(), Role: console.RoleAdmin, Kind: console.KindLocal}
}

// Preview states the blast radius and does nothing.
func (d *Desk) Preview(ctx context.Context, o console.Order) (console.Preview, error) {
	return orders{d.m}.Preview(ctx, o)
}

// Order has an action recorded, to be in force when a node starts.
func (d *Desk) Order(ctx context.Context, o console.Order) (signal.Action, error) {
	return orders{d.m}.Order(ctx, o, d.by())
}

// Undo lifts an action.
func (d *Desk) Undo(ctx context.Context, id, reason string) (signal.Action, error) {
	return orders{d.m}.Undo(ctx, id, reason, d.by())
}

// Actions lists a page of actions, newest first.
func (d *Desk) Actions(ctx context.Context, q console.ActionQuery) (console.Page[signal.Action], error) {
	return actions{d.m}.Actions(ctx, q)
}

// LedgerEntries lists a page of the ledger of a data directory that no node has open.
func LedgerEntries(ctx context.Context, dir string, q console.LedgerQuery) (console.Page[console.LedgerEntry], error) {
	if q.Limit <= 0 || q.Limit > console.MaxLimit {
		q.Limit = console.MaxLimit
	}
	release, err := store.Lock(dir)
	if err != nil {
		return console.Page[console.LedgerEntry]{}, err
	}
	defer release()
	log, err := ledger.Open(LedgerDir(dir), ledger.Options{})
	if err != nil {
		return console.Page[console.LedgerEntry]{}, err
	}
	defer log.Close()
	return ledgerBook{&Machine{storage: &Storage{Dir: dir, Ledger: log}}}.Entries(ctx, q)
}
