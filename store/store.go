package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Bus is both ends of the bus.
type Bus interface {
	Publisher
	Log
}

// Store is the recorder, the archiver, the history and the live view of one data directory.
type Store struct {
	*Recorder
	*History
	archiver *Archiver
	live     *Live
	letters  *deadLetters
}

// New joins a bus and a lake. It starts nothing: without Run the history can be read, and what
// is recorded waits in memory. Dir is the data directory, which must be locked (see Lock);
// dead letters go into a folder of it. The registerer may be nil.
func New(cfg Config, dir string, bus Bus, lake Lake, log *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{live: newLive(cfg.Recent), letters: &deadLetters{dir: filepath.Join(dir, "deadletter"), limit: int64(cfg.DeadLetters)}}
	s.Recorder = newRecorder(cfg, bus, s.live, log)
	s.History = newHistory(bus, lake, s.Recorder)
	s.archiver = newArchiver(cfg, bus, lake, s.letters, s.History.trim, log)
	if reg != nil {
		if err := s.register(reg); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	return s, nil
}

// ReadOnly returns the history of a bus and a lake in a process that records nothing.
func ReadOnly(bus Log, lake Lake) *History { return newHistory(bus, lake, nil) }

// Run records and archives until ctx is done. It then sends what is in memory to the bus and
// brings the lake up to date, for a few seconds each, and returns when its goroutines are gone.
func (s *Store) Run(ctx context.Context) error {
	archiving, stopArchiving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopArchiving()
	var wg sync.WaitGroup
	wg.Go(func() { s.archiver.run(archiving, s.published) })
	wg.Go(func() { s.archiver.maintain(archiving) })
	wg.Go(func() { s.live.run(ctx) })
	s.Recorder.run(ctx)
	stopArchiving()
	wg.Wait()
	return nil
}

// Live returns the live view.
func (s *Store) Live() *Live { return s.live }

// Health returns nil, or what is wrong: events not reaching the disk or the lake.
func (s *Store) Health() error { return errors.Join(s.Recorder.Health(), s.archiver.Health()) }

// Stats returns the counters of recording and archiving.
func (s *Store) Stats() (RecorderStats, ArchiverStats) { return s.Recorder.Stats(), s.archiver.Stats() }
