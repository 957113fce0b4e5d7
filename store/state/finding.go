package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// seenAgain is who reopens a finding that was resolved and is seen again.
const seenAgain = "testudo"

// maxChanges bounds the changes that are kept of one finding.
const maxChanges = 100

// Change is one step of a finding from one state to another.
type Change struct {
	At     time.Time           `json:"at"`
	From   signal.FindingState `json:"from"` // "" when the finding was first seen
	To     signal.FindingState `json:"to"`
	By     string              `json:"by"` // "person:ann", "scan:ID", "testudo"
	Reason string              `json:"reason"`
}

// PutFinding stores a sighting of a finding and returns the finding as it stands then.
//
// The first sighting of an id makes the finding, open unless f says otherwise. A later
// one adds its count (at least 1), widens first and last, replaces what describes the
// finding, and joins the events to the newest [signal.MaxFindingEvents]. A finding
// that was resolved is open again if the sighting is later than the resolution; a muted one
// stays muted. Times that are zero mean now.
func (db *DB) PutFinding(ctx context.Context, f *signal.Finding) (isNew bool, stored signal.Finding, err error) {
	news, all, err := db.PutFindings(ctx, []*signal.Finding{f})
	if err != nil {
		return false, signal.Finding{}, err
	}
	return news[0], all[0], nil
}

// PutFindings is PutFinding for several in one transaction: all are stored, or none. It costs one
// write to the disk.
func (db *DB) PutFindings(ctx context.Context, findings []*signal.Finding) (isNew []bool, stored []signal.Finding, err error) {
	now := db.now()
	sightings := make([]signal.Finding, len(findings))
	order := make([]int, len(findings))
	for i, f := range findings {
		if err := checkID("the finding", f.ID, maxID); err != nil {
			return nil, nil, fmt.Errorf("state: put finding: %w", err)
		}
		sightings[i], order[i] = bounded(f, now), i
	}
	// In the order of their ids, so that two batches never wait for each other.
	slices.SortStableFunc(order, func(a, b int) int { return compare(findings[a].ID, findings[b].ID) })
	var added int64
	err = db.update(ctx, "put finding", func(t tx) error {
		added = 0
		isNew, stored = make([]bool, len(findings)), make([]signal.Finding, len(findings))
		for _, i := range order {
			var err error
			if isNew[i], stored[i], err = db.putFinding(ctx, t, sightings[i], now, added); err != nil {
				return err
			}
			if isNew[i] {
				added++
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	db.findings.add(added)
	return isNew, stored, nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (db *DB) putFinding(ctx context.Context, t tx, f signal.Finding, now time.Time, added int64) (bool, signal.Finding, error) {
	var old row
	err := t.row(ctx, "SELECT state, first_seen, last_seen, count, changed, body FROM findings WHERE id = ?"+t.d.forUpdate, f.ID).
		Scan(&old.state, &old.first, &old.last, &old.count, &old.changed, &old.body)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if err := db.findings.room(ctx, t, added); err != nil {
			return false, f, err
		}
		return true, f, insertFinding(ctx, t, f)
	case err != nil:
		return false, f, err
	}
	was, err := old.finding()
	if err != nil {
		return false, f, err
	}
	merged := merge(was, f)
	changed := old.changed
	if was.State == signal.FindingResolved && f.Last.After(moment(old.changed)) {
		merged.State, changed = signal.FindingOpen, nanos(now)
		if err := recordChange(ctx, t, f.ID, was.State, merged.State, now, seenAgain, "seen again"); err != nil {
			return false, f, err
		}
	}
	body, err := json.Marshal(&merged)
	if err != nil {
		return false, f, err
	}
	_, err = t.exec(ctx, "UPDATE findings SET kind = ?, rule = ?, severity = ?, state = ?, plane = ?, asset = ?, "+
		"first_seen = ?, last_seen = ?, count = ?, changed = ?, search = ?, body = ? WHERE id = ?",
		string(merged.Kind), merged.Rule, int64(merged.Severity), string(merged.State), merged.Plane.String(), merged.Asset,
		nanos(merged.First), nanos(merged.Last), counted(merged.Count), changed, searchOf(&merged), string(body), f.ID)
	return false, merged, err
}

func insertFinding(ctx context.Context, t tx, f signal.Finding) error {
	body, err := json.Marshal(&f)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO findings (id, kind, rule, severity, state, plane, asset, "+
		"first_seen, last_seen, count, changed, search, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		f.ID, string(f.Kind), f.Rule, int64(f.Severity), string(f.State), f.Plane.String(), f.Asset,
		nanos(f.First), nanos(f.Last), counted(f.Count), nanos(f.Last), searchOf(&f), string(body))
	return err
}

// merge joins a new sighting to what is known. A sighting that arrives late describes
// nothing anew.
func merge(was, seen signal.Finding) signal.Finding {
	m := seen
	if seen.Last.Before(was.Last) {
		m = was
	}
	m.State = was.State
	m.First, m.Last = was.First, was.Last
	if seen.First.Before(m.First) {
		m.First = seen.First
	}
	if seen.Last.After(m.Last) {
		m.Last = seen.Last
	}
	if m.Count = was.Count + seen.Count; m.Count < was.Count {
		m.Count = was.Count
	}
	m.Events = newest(was.Events, seen.Events)
	return m
}

// newest joins two lists of event ids, which sort by time.
func newest(a, b []signal.ID) []signal.ID {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y signal.ID) int { return slices.Compare(x[:], y[:]) })
	all = slices.Compact(all)
	return slices.Clip(all[max(0, len(all)-signal.MaxFindingEvents):])
}

// bounded returns a copy of a finding that fits into the store.
func bounded(f *signal.Finding, now time.Time) signal.Finding {
	b := *f
	b.Kind = signal.FindingKind(clean(string(f.Kind), maxID))
	if b.Kind == "" {
		b.Kind = signal.FindingDetection
	}
	b.Rule, b.Asset = clean(f.Rule, maxID), clean(f.Asset, maxKey)
	b.Title, b.Desc, b.Fix = clean(f.Title, maxTitle), clean(f.Desc, maxText), clean(f.Fix, maxText)
	b.Location.Path, b.Location.Snippet = clean(f.Location.Path, maxValue), clean(f.Location.Snippet, maxValue)
	b.Location.Commit = clean(f.Location.Commit, maxID)
	b.References, b.Tags = cleanList(f.References, maxItems, maxValue), cleanList(f.Tags, maxItems, maxID)
	b.Evidence = slices.Clone(f.Evidence[:min(len(f.Evidence), maxItems)])
	for i := range b.Evidence {
		e := &b.Evidence[i]
		e.Name, e.Value = clean(e.Name, maxID), clean(e.Value, maxValue)
	}
	b.Events = newest(nil, f.Events)
	switch b.State {
	case signal.FindingOpen, signal.FindingResolved, signal.FindingMuted:
	default:
		b.State = signal.FindingOpen
	}
	if b.Last.IsZero() {
		b.Last = now
	}
	if b.First.IsZero() || b.First.After(b.Last) {
		b.First = b.Last
	}
	b.First, b.Last = moment(nanos(b.First)), moment(nanos(b.Last))
	b.Count = max(b.Count, 1)
	return b
}

func searchOf(f *signal.Finding) string {
	parts := []string{f.Title, f.Rule, f.Location.Path, f.Asset, f.ID}
	parts = append(parts, f.Tags...)
	for _, e := range f.Evidence {
		parts = append(parts, e.Value)
	}
	return searchable(append(parts, f.Desc)...)
}

// row is what is stored of a finding.
type row struct {
	state                       string
	severity                    int64
	first, last, count, changed int64
	body                        string
}

func (r *row) finding() (signal.Finding, error) {
	var f signal.Finding
	if err := json.Unmarshal([]byte(r.body), &f); err != nil {
		return f, fmt.Errorf("a stored finding is not readable: %w", err)
	}
	f.State, f.First, f.Last, f.Count = signal.FindingState(r.state), moment(r.first), moment(r.last), uint64(r.count)
	return f, nil
}

func recordChange(ctx context.Context, t tx, id string, from, to signal.FindingState, at time.Time, by, reason string) error {
	if _, err := t.exec(ctx, "INSERT INTO finding_changes (finding, at, from_state, to_state, actor, reason) VALUES (?, ?, ?, ?, ?, ?)",
		id, nanos(at), string(from), string(to), clean(by, maxID), clean(reason, maxValue)); err != nil {
		return err
	}
	// A finding that comes and goes must not grow without end.
	_, err := t.exec(ctx, "DELETE FROM finding_changes WHERE finding = ? AND seq <= "+
		"(SELECT seq FROM finding_changes WHERE finding = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)", id, id, maxChanges)
	return err
}

// SetFindingState moves a finding to a state and records who did it and why. Moving it to
// where it is changes nothing. ok is false where there is no such finding.
func (db *DB) SetFindingState(ctx context.Context, id string, to signal.FindingState, by, reason string) (stored signal.Finding, ok bool, err error) {
	switch to {
	case signal.FindingOpen, signal.FindingResolved, signal.FindingMuted:
	default:
		return stored, false, fmt.Errorf("state: set finding state: %w: %q is no state: want open, resolved or muted", ErrQuery, to)
	}
	if !isID(id, maxID) {
		return stored, false, nil
	}
	now := db.now()
	err = db.update(ctx, "set finding state", func(t tx) error {
		ok = false
		var r row
		err := t.row(ctx, "SELECT state, first_seen, last_seen, count, body FROM findings WHERE id = ?"+t.d.forUpdate, id).
			Scan(&r.state, &r.first, &r.last, &r.count, &r.body)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if stored, err = r.finding(); err != nil {
			return err
		}
		ok = true
		from := stored.State
		if from == to {
			return nil
		}
		stored.State = to
		if err := recordChange(ctx, t, id, from, to, now, by, reason); err != nil {
			return err
		}
		_, err = t.exec(ctx, "UPDATE findings SET state = ?, changed = ? WHERE id = ?", string(to), nanos(now), id)
		return err
	})
	if err != nil {
		return signal.Finding{}, false, err
	}
	return stored, ok, nil
}

// Scan names the findings that a finished scan could have seen.
type Scan struct {
	Plane      signal.Plane
	Asset      string             // of what was scanned; a finding of another asset is not touched
	RulePrefix string             // where only some scanners ran: how their rules begin; "" for all
	Kind       signal.FindingKind // where only some were looked for; "" for all
	Started    time.Time          // findings last seen before it were not seen by this scan
	By         string             // who resolves them, as in "scan:ID"
}

// Sweep resolves the open findings that a finished scan no longer saw, and returns their
// ids. It must not be called for a scan that was cut short. Muted ones stay muted.
func (db *DB) Sweep(ctx context.Context, s Scan) (resolved []string, err error) {
	now := db.now()
	var c conditions
	c.add("state = ?", string(signal.FindingOpen))
	c.add("plane = ?", s.Plane.String())
	c.add("asset = ?", clean(s.Asset, maxKey))
	c.add("last_seen < ?", nanos(s.Started))
	if s.Kind != "" {
		c.add("kind = ?", clean(string(s.Kind), maxID))
	}
	if prefix := clean(s.RulePrefix, maxID); prefix != "" {
		// By bytes in both databases; LIKE would not tell upper case from lower in one of them.
		c.add("substr(rule, 1, ?) = ?", len([]rune(prefix)), prefix)
	}
	err = db.update(ctx, "sweep findings", func(t tx) error {
		resolved = nil
		args := append([]any{string(signal.FindingResolved), nanos(now)}, c.args...)
		rows, err := t.QueryContext(ctx, t.d.sql("UPDATE findings SET state = ?, changed = ?"+c.String()+" RETURNING id"), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			resolved = append(resolved, id)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		slices.Sort(resolved)
		for _, id := range resolved {
			if err := recordChange(ctx, t, id, signal.FindingOpen, signal.FindingResolved, now, s.By, "no longer seen"); err != nil {
				return err
			}
		}
		return nil
	})
	return resolved, err
}
