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

	putting sync.Mutex // held while a scan that was made elsewhere is stored
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
	plan, err := m.settings.PlanScan(ctx, ScanRequest{Target: abs, DataDir: m.opts.Dir})
	if err != nil {
		return 0, scan.Stats{}, err
	}
	defer plan.Close()
	for _, note := range plan.Notes {
		m.log.Warn("scan", "path", root, "note", note)
	}
	kind := "repository"
	if plan.Kind == ScanImage {
		kind = "image"
	}
	asset := signal.AssetID(kind, abs)
	started := time.Now()
	if err := m.storage.State.PutAssets(ctx, &signal.Asset{ID: asset, Kind: kind, Name: filepath.Base(abs), First: started, Last: started}); err != nil {
		return 0, scan.Stats{}, err
	}
	n := 0
	var failed error
	var inventory *scan.Inventory
	plan.Options.Asset = asset
	plan.Options.Inventory = func(inv *scan.Inventory) { inventory = inv }
	stats, err := scan.Run(ctx, plan.Options,
		func(f signal.Finding) {
			n++
			// Two folders may have one and the same flaw at the same place.
			f.ID = signal.Fingerprint(asset, f.ID)
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
	if inventory != nil {
		if err := m.storage.State.PutInventory(ctx, asset, started, inventoryRows(inventory)); err != nil {
			return n, stats, fmt.Errorf("packages: %w", err)
		}
	}
	looked := []signal.FindingKind{signal.FindingPosture, signal.FindingCompliance}
	if plan.Vuln != nil { // without a database nothing is known of vulnerabilities
		looked = append(looked, signal.FindingVulnerability)
	}
	for _, kind := range looked {
		if _, err := m.storage.State.Sweep(ctx, state.Scan{Plane: signal.PlaneScan, Asset: asset, Kind: kind, Started: started, By: "scan"}); err != nil {
			return n, stats, fmt.Errorf("findings that are gone: %w", err)
		}
	}
	return n, stats, nil
}
