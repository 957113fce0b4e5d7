package assembly

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/state"
)

// scanJobs are the scans that this machine ran.
type scanJobs struct {
	mu   sync.Mutex
	done []ScanResult
}

// ScanResult is how a scan ended.
type ScanResult struct {
	Root     string
	Findings int
	Stats    scan.Stats
	Err      error
}

// ScanResults returns the scans that have ended.
func (m *Machine) ScanResults() []ScanResult {
	m.scans.mu.Lock()
	defer m.scans.mu.Unlock()
	return append([]ScanResult(nil), m.scans.done...)
}

// scan scans a folder, has what it finds stored, and resolves what is not there any more.
func (m *Machine) scan(ctx context.Context, root string) {
	r := ScanResult{Root: root}
	r.Findings, r.Stats, r.Err = m.runScan(ctx, root)
	m.scans.mu.Lock()
	m.scans.done = append(m.scans.done, r)
	m.scans.mu.Unlock()
	if r.Err != nil && ctx.Err() == nil {
		m.log.Error("scan", "path", root, "error", r.Err)
		return
	}
	m.log.Info("scan ended", "path", root, "files", r.Stats.Files, "findings", r.Findings, "elapsed", r.Stats.Elapsed.Round(time.Millisecond))
}

func (m *Machine) runScan(ctx context.Context, root string) (int, scan.Stats, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return 0, scan.Stats{}, err
	}
	scanners, err := Scanners()
	if err != nil {
		return 0, scan.Stats{}, err
	}
	asset := signal.AssetID("repository", abs)
	started := time.Now()
	if err := m.storage.State.PutAssets(ctx, &signal.Asset{ID: asset, Kind: "repository", Name: filepath.Base(abs), First: started, Last: started}); err != nil {
		return 0, scan.Stats{}, err
	}
	n := 0
	var failed error
	stats, err := scan.Run(ctx, scan.Options{Root: abs, Scanners: scanners, Config: m.settings.Scan.Config, Asset: asset},
		func(f signal.Finding) {
			n++
			if f.First.IsZero() {
				f.First, f.Last = started, started
			}
			if err := m.node.Finding(ctx, &f); err != nil && failed == nil {
				failed = err
			}
		})
	if err != nil {
		return n, stats, err
	}
	if failed != nil {
		return n, stats, failed
	}
	if err := m.node.Flush(ctx); err != nil {
		return n, stats, err
	}
	if stats.Incomplete() || stats.Dropped > 0 {
		// What was left out may still hold what was found before.
		return n, stats, nil
	}
	if _, err := m.storage.State.Sweep(ctx, state.Scan{Plane: signal.PlaneScan, Asset: asset, Started: started, By: "scan"}); err != nil {
		return n, stats, fmt.Errorf("findings that are gone: %w", err)
	}
	return n, stats, nil
}
