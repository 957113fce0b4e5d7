package assembly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/bus"
	"github.com/testudo-sec/testudo/store/lake"
	"github.com/testudo-sec/testudo/store/state"
	"github.com/testudo-sec/testudo/trust/ledger"
)

// Storage is an open data directory. One process at a time has it open.
type Storage struct {
	Dir   string
	State *state.DB
	Bus   *bus.Bus
	Lake  *lake.Lake
	Store *store.Store

	// Ledger is nil where it is damaged: LedgerFault says how. Everything else works then, but
	// for what has to be recorded.
	Ledger      *ledger.Log
	LedgerFault error

	release func()
}

// Folders and files of the data directory.
const (
	busFolder    = "bus"
	lakeFolder   = "lake"
	ledgerFolder = "ledger"
	wafFolder    = "waf"
	SocketName   = "testudo.sock"
)

// LedgerDir returns the folder of the ledger in a data directory.
func LedgerDir(data string) string { return filepath.Join(data, ledgerFolder) }

// OpenStorage opens the data directory, which it makes if it is missing. Parts that were opened are
// closed again on an error.
func OpenStorage(ctx context.Context, dir string, s *Settings, log *slog.Logger, reg prometheus.Registerer) (st *Storage, err error) {
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	opened := &Storage{Dir: dir} // a return of nil, err takes st away from the deferred call
	st = opened
	if st.release, err = store.Lock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			opened.Close()
		}
	}()
	if st.State, err = state.Open(ctx, s.Store.State, dir, log); err != nil {
		return nil, err
	}
	if st.Lake, err = lake.Open(filepath.Join(dir, lakeFolder), s.Store.Lake, log); err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	st.Bus, err = bus.Open(ctx, s.Store.Bus, bus.Options{Dir: filepath.Join(dir, busFolder), After: st.Lake.LastSequence()}, log)
	if err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	if st.Store, err = store.New(s.Store.Config, dir, st.Bus, st.Lake, log, reg); err != nil {
		return nil, err
	}
	st.Ledger, err = ledger.Open(LedgerDir(dir), ledger.Options{Logger: log, Metrics: reg})
	var damage *ledger.Damage
	if errors.As(err, &damage) {
		st.LedgerFault, err = damage, nil
		log.Error("the ledger is damaged; changes are refused until it is mended", "error", damage)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return st, nil
}

// Close closes what is open, in the order in which nothing is missed.
func (st *Storage) Close() {
	if st.Ledger != nil {
		_ = st.Ledger.Close()
	}
	if st.Bus != nil {
		st.Bus.Close()
	}
	if st.State != nil {
		_ = st.State.Close()
	}
	if st.release != nil {
		st.release()
	}
}

// Record writes to the ledger. It fits the recorders of respond, people and console.
func (st *Storage) Record(ctx context.Context, actor, verb, subject string, detail map[string]string) error {
	if st.Ledger == nil {
		return fmt.Errorf("%w: the ledger is damaged, so that nothing can be changed: run testudo ledger verify --data %s: %w",
			console.ErrUnavailable, st.Dir, st.LedgerFault)
	}
	_, err := st.Ledger.Append(ctx, ledger.Entry{Actor: actor, Verb: verb, Subject: subject, Detail: detail})
	return err
}
