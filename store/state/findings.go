package state

import (
	"context"
	"database/sql"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// FindingQuery says which findings to list. The zero value lists the newest of all.
type FindingQuery struct {
	State       signal.FindingState
	MinSeverity signal.Severity
	Kind        signal.FindingKind
	Plane       signal.Plane
	Rule        string
	Asset       string
	Since       time.Time // last seen then or later
	Text        string    // anywhere in title, rule, path, asset, tags, evidence, description; case does not matter
	WorstFirst  bool      // by severity, then by the last sighting; else by the last sighting alone
	Limit       int       // rows of a page, 100 by default, at most 1000
	After       string    // the cursor that the page before returned
}

const findingColumns = "SELECT state, severity, first_seen, last_seen, count, body FROM findings"

func scanFinding(r interface{ Scan(...any) error }) (row, signal.Finding, error) {
	var v row
	if err := r.Scan(&v.state, &v.severity, &v.first, &v.last, &v.count, &v.body); err != nil {
		return v, signal.Finding{}, err
	}
	f, err := v.finding()
	return v, f, err
}

// Findings returns a page of findings, and the cursor of the next page, "" after the
// last. A finding that is seen again while one turns the pages may show twice.
func (db *DB) Findings(ctx context.Context, q FindingQuery) (page []signal.Finding, next string, err error) {
	const what = "list findings"
	var c conditions
	if q.State != "" {
		c.add("state = ?", clean(string(q.State), maxID))
	}
	if q.MinSeverity > 0 {
		c.add("severity >= ?", int64(q.MinSeverity))
	}
	if q.Kind != "" {
		c.add("kind = ?", clean(string(q.Kind), maxID))
	}
	if q.Plane != signal.PlaneNone {
		c.add("plane = ?", q.Plane.String())
	}
	if q.Rule != "" {
		c.add("rule = ?", clean(q.Rule, maxID))
	}
	if q.Asset != "" {
		c.add("asset = ?", clean(q.Asset, maxKey))
	}
	if !q.Since.IsZero() {
		c.add("last_seen >= ?", nanos(q.Since))
	}
	if err := c.text(q.Text); err != nil {
		return nil, "", db.wrap(what, err)
	}
	order, after, numbers := "last_seen DESC, id DESC", "(last_seen, id) < (?, ?)", 1
	if q.WorstFirst {
		order, after, numbers = "severity DESC, last_seen DESC, id DESC", "(severity, last_seen, id) < (?, ?, ?)", 2
	}
	if q.After != "" {
		id, by, err := parseCursor(q.After, numbers)
		if err != nil {
			return nil, "", db.wrap(what, err)
		}
		var args []any
		for _, n := range by {
			args = append(args, n)
		}
		c.add(after, append(args, id)...)
	}
	limit := limited(q.Limit)
	err = db.rows(ctx, what, findingColumns+c.String()+" ORDER BY "+order+" LIMIT ?", append(c.args, limit+1), func(r *sql.Rows) error {
		v, f, err := scanFinding(r)
		if err != nil {
			return err
		}
		if len(page) == limit {
			next = "more"
			return nil
		}
		page = append(page, f)
		if q.WorstFirst {
			after = cursor(f.ID, v.severity, v.last)
		} else {
			after = cursor(f.ID, v.last)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if next != "" {
		next = after
	}
	return page, next, nil
}

// Finding returns one finding. ok is false where there is none.
func (db *DB) Finding(ctx context.Context, id string) (f signal.Finding, ok bool, err error) {
	if !isID(id, maxID) {
		return f, false, nil
	}
	err = db.rows(ctx, "read finding", findingColumns+" WHERE id = ?", []any{id}, func(r *sql.Rows) error {
		var err error
		_, f, err = scanFinding(r)
		ok = err == nil
		return err
	})
	return f, ok, err
}

// FindingChanges returns the latest changes of a finding's state, at most 100, oldest first.
func (db *DB) FindingChanges(ctx context.Context, id string) (changes []Change, err error) {
	if !isID(id, maxID) {
		return nil, nil
	}
	err = db.rows(ctx, "read changes", "SELECT at, from_state, to_state, actor, reason FROM finding_changes WHERE finding = ? ORDER BY seq",
		[]any{id}, func(r *sql.Rows) error {
			var c Change
			var at int64
			if err := r.Scan(&at, &c.From, &c.To, &c.By, &c.Reason); err != nil {
				return err
			}
			c.At = moment(at)
			changes = append(changes, c)
			return nil
		})
	return changes, err
}

// FindingCounts holds the number of findings by state and severity.
type FindingCounts map[signal.FindingState]map[signal.Severity]int64

// Total returns the number of findings in a state.
func (c FindingCounts) Total(s signal.FindingState) (n int64) {
	for _, v := range c[s] {
		n += v
	}
	return n
}

// FindingCounts counts the findings.
func (db *DB) FindingCounts(ctx context.Context) (FindingCounts, error) {
	counts := FindingCounts{}
	err := db.rows(ctx, "count findings", "SELECT state, severity, count(*) FROM findings GROUP BY state, severity", nil, func(r *sql.Rows) error {
		var state string
		var severity, n int64
		if err := r.Scan(&state, &severity, &n); err != nil {
			return err
		}
		s := signal.FindingState(state)
		if counts[s] == nil {
			counts[s] = map[signal.Severity]int64{}
		}
		counts[s][signal.Severity(severity)] += n
		return nil
	})
	return counts, err
}
