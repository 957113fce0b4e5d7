// Package node puts testudo's real parts together for a measurement: policy with the rules that
// ship, recorder, bus, archiver, lake and state, in one folder, with their default settings.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/rules"
	"github.com/testudo-sec/testudo/store/state"
	"github.com/testudo-sec/testudo/store/storetest"
)

// Node is a running node.
type Node struct {
	*testudo.Node
	Store  *storetest.Node
	Engine *policy.Engine

	state *state.DB
	stop  context.CancelFunc
	done  chan error
}

// Open starts a node in a folder. Warnings go to standard error.
func Open(ctx context.Context, dir string) (*Node, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	loader := policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	set, err := loader.Load(ctx, policy.Embedded("builtin:", rules.Judging()))
	if err != nil {
		return nil, err
	}
	stateDir := filepath.Join(dir, "state")
	if err := os.Mkdir(stateDir, 0o700); err != nil {
		return nil, err
	}
	db, err := state.Open(ctx, state.DefaultConfig(), stateDir, log)
	if err != nil {
		return nil, err
	}
	st, err := storetest.Open(ctx, filepath.Join(dir, "data"), storetest.DefaultConfig(), log)
	if err != nil {
		db.Close()
		return nil, err
	}
	n := &Node{Store: st, Engine: policy.NewEngine(set), state: db, done: make(chan error, 1)}
	n.Node = testudo.NewNode(testudo.Deps{ID: "bench", Engine: n.Engine, Recorder: st.Store, State: db, Now: time.Now, Logger: log})
	ctx, n.stop = context.WithCancel(ctx)
	go func() { n.done <- n.Run(ctx) }()
	return n, nil
}

// Settle waits until everything recorded so far is on disk and has been read by the archiver, so
// that work which follows from an event is not counted for the ones after it.
func (n *Node) Settle(ctx context.Context) error {
	if err := n.Store.Sync(ctx); err != nil {
		return err
	}
	for {
		recorder, archiver := n.Store.Stats()
		if archiver.Done >= recorder.LastSeq {
			return n.Lost()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the archiver is at batch %d of %d: %w", archiver.Done, recorder.LastSeq, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Lost returns an error where an event was dropped or became unreadable.
func (n *Node) Lost() error {
	recorder, archiver := n.Store.Stats()
	if lost := recorder.Dropped() + archiver.Lost + archiver.DeadLetters; lost > 0 {
		return fmt.Errorf("%d events dropped, %d batches lost, %d unreadable", recorder.Dropped(), archiver.Lost, archiver.DeadLetters)
	}
	return nil
}

// Hits returns how often the rules fired.
func (n *Node) Hits() uint64 {
	var hits uint64
	for _, rule := range n.Engine.Infos() {
		hits += rule.Hits
	}
	return hits
}

// Close stops everything; what is in memory goes into the lake before.
func (n *Node) Close() error {
	n.stop()
	err := <-n.done
	n.Store.Close()
	return errors.Join(err, n.state.Close())
}
