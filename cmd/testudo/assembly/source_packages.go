package assembly

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/sbom"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store/state"
)

// packages reads the packages of what was scanned, and takes scans that were made elsewhere.
type packages struct{ m *Machine }

const (
	maxPackageReads = 50 // pages of the state that are read for one page of an answer
	packageReads    = 1000
	maxFlaws        = 20 // shown of one package
)

func (s packages) Packages(ctx context.Context, q console.PackageQuery) (console.Page[console.Package], error) {
	var out console.Page[console.Package]
	var asked sbom.Query
	if q.PURL != "" {
		var err error
		if asked, err = sbom.ParseQuery(q.PURL); err != nil || asked.Key == "" {
			if err == nil {
				err = fmt.Errorf("%q is no package URL: want one as in pkg:npm/lodash@<4.17.21", scan.Printable(q.PURL))
			}
			return out, &console.InputError{Field: "purl", Reason: err.Error()}
		}
	}
	sq := state.PackageQuery{Key: asked.Key, Text: q.Text, Asset: q.Asset, After: q.Cursor, Limit: q.Limit}
	for range maxPackageReads {
		// Versions are compared here, so that more may be read than is shown; never so much that the page would overflow.
		sq.Limit = max(1, q.Limit-len(out.Items))
		if asked.Versions() {
			sq.Limit = min(packageReads, sq.Limit)
		}
		rows, next, err := s.m.storage.State.Packages(ctx, sq)
		if err != nil {
			return out, stateError(err)
		}
		for i := range rows {
			p := &rows[i]
			if match, _ := asked.MatchVersion(p.Ecosystem, p.Version); match {
				out.Items = append(out.Items, console.Package{Asset: p.Asset, PURL: p.PURL, Ecosystem: p.Ecosystem, Name: p.Name, Version: p.Version, Path: p.Path,
					Line: p.Line, Relation: p.Relation, Dev: p.Dev, Licenses: p.Licenses, Layer: p.Layer, Scanned: p.Scanned})
			}
		}
		sq.After, out.Next = next, next
		if next == "" || len(out.Items) >= q.Limit {
			break
		}
	}
	return out, s.addFlaws(ctx, out.Items)
}

// addFlaws adds the open vulnerabilities of packages.
func (s packages) addFlaws(ctx context.Context, items []console.Package) error {
	type place struct{ asset, name string }
	known := map[place][]signal.Finding{}
	for i := range items {
		p := &items[i]
		at := place{p.Asset, p.Name}
		found, ok := known[at]
		if !ok {
			var err error
			// A vulnerability's title names the package.
			found, _, err = s.m.storage.State.Findings(ctx, state.FindingQuery{Kind: signal.FindingVulnerability, State: signal.FindingOpen, Asset: p.Asset,
				Text: p.Name[:min(len(p.Name), 100)], WorstFirst: true, Limit: 200})
			if err != nil {
				return stateError(err)
			}
			known[at] = found
		}
		key := sbom.Key(p.PURL)
		for j := range found {
			of := evidenceOf(&found[j])
			if key == "" || sbom.Key(of["package"]) != key || of["installed"] != p.Version || len(p.Flaws) == maxFlaws {
				continue
			}
			p.Flaws = append(p.Flaws, console.PackageFlaw{Finding: found[j].ID, ID: found[j].Rule, Severity: found[j].Severity, Fixed: of["fixed in"]})
		}
	}
	return nil
}

func evidenceOf(f *signal.Finding) map[string]string {
	out := make(map[string]string, len(f.Evidence))
	for _, e := range f.Evidence {
		out[e.Name] = e.Value
	}
	return out
}

// pushedBy is the attribute of an asset that names who may push scans of it.
const pushedBy = "pushed_by"

func (s packages) PutScan(ctx context.Context, r console.ScanReport, by console.Identity) (console.ScanReceipt, error) {
	s.m.scans.putting.Lock()
	defer s.m.scans.putting.Unlock()
	st, id, now := s.m.storage.State, r.Asset.ID(), time.Now()
	before, ok, err := st.Asset(ctx, id)
	if err != nil {
		return console.ScanReceipt{}, err
	}
	owner := before.Attrs[pushedBy]
	if ok && owner != by.Actor() && !by.May(console.RoleAdmin) {
		return console.ScanReceipt{}, fmt.Errorf("%w: scans of %s %s come from %s; give this one another name, or have an admin push it once to take it over",
			console.ErrConflict, r.Asset.Kind, r.Asset.Name, scan.Printable(owner))
	}
	asset := signal.Asset{ID: id, Kind: r.Asset.Kind, Name: r.Asset.Name, First: now, Last: now, Attrs: map[string]string{pushedBy: by.Actor()}}
	if r.Asset.Revision != "" {
		asset.Attrs["revision"] = r.Asset.Revision
	}
	if err := st.PutAssets(ctx, &asset); err != nil {
		return console.ScanReceipt{}, err
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		f.First, f.Last = now, now
		if err := s.m.node.Finding(ctx, f); err != nil {
			return console.ScanReceipt{}, err
		}
	}
	if err := s.m.node.Flush(ctx); err != nil {
		return console.ScanReceipt{}, err
	}
	receipt := console.ScanReceipt{Asset: id, Findings: len(r.Findings), Packages: len(r.Packages)}
	if !r.Complete {
		// What was not looked at may still be there.
		receipt.Packages = 0
		return receipt, nil
	}
	rows := make([]state.Package, len(r.Packages))
	for i, p := range r.Packages {
		rows[i] = state.Package{Key: sbom.Key(p.PURL), PURL: p.PURL, Ecosystem: p.Ecosystem, Name: p.Name, Version: p.Version, Path: p.Path, Line: p.Line,
			Relation: p.Relation, Dev: p.Dev, Licenses: p.Licenses, Layer: p.Layer}
	}
	if err := st.PutInventory(ctx, id, now, rows); err != nil {
		return console.ScanReceipt{}, stateError(err)
	}
	gone, err := st.Sweep(ctx, state.Scan{Plane: signal.PlaneScan, Asset: id, Started: now, By: by.Actor()})
	receipt.Resolved = len(gone)
	return receipt, err
}

// inventoryRows are an inventory as the state keeps it.
func inventoryRows(inv *scan.Inventory) []state.Package {
	rows := make([]state.Package, min(len(inv.Packages), state.MaxInventory))
	for i := range rows {
		p := &inv.Packages[i]
		rows[i] = state.Package{Key: sbom.Key(p.PURL), PURL: scan.Printable(p.PURL), Ecosystem: scan.Printable(p.Ecosystem), Name: scan.Printable(p.Name), Version: scan.Printable(p.Version),
			Path: scan.Printable(p.Path), Line: p.Line, Relation: string(p.Relation), Dev: p.Dev, Layer: p.Layer}
		for _, l := range p.Licenses {
			rows[i].Licenses = append(rows[i].Licenses, scan.Printable(l))
		}
	}
	return rows
}
