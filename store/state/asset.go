package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// PutAssets stores sightings of assets, all or none. What is known of an asset
// already stays: attributes are joined (the newer value wins), first and last widened. Times that are
// zero mean now.
func (db *DB) PutAssets(ctx context.Context, assets ...*signal.Asset) error {
	now := db.now()
	list := make([]signal.Asset, len(assets))
	for i, a := range assets {
		if err := checkID("the asset", a.ID, maxKey); err != nil {
			return fmt.Errorf("state: put asset: %w", err)
		}
		b := signal.Asset{ID: a.ID, Kind: clean(a.Kind, maxID), Name: clean(a.Name, maxTitle), First: a.First, Last: a.Last}
		if b.Last.IsZero() {
			b.Last = now
		}
		if b.First.IsZero() || b.First.After(b.Last) {
			b.First = b.Last
		}
		b.Attrs = boundedAttrs(nil, a.Attrs)
		list[i] = b
	}
	slices.SortStableFunc(list, func(a, b signal.Asset) int { return compare(a.ID, b.ID) })
	var added int64
	err := db.update(ctx, "put asset", func(t tx) error {
		added = 0
		for _, a := range list {
			isNew, err := db.putAsset(ctx, t, a, added)
			if err != nil {
				return err
			}
			if isNew {
				added++
			}
		}
		return nil
	})
	if err == nil {
		db.assets.add(added)
	}
	return err
}

// boundedAttrs joins attributes; where there are too many, the first by name stay.
func boundedAttrs(was, seen map[string]string) map[string]string {
	all := maps.Clone(was)
	if all == nil {
		all = map[string]string{}
	}
	for k, v := range seen {
		all[clean(k, maxID)] = clean(v, maxValue)
	}
	if len(all) > maxItems {
		for _, k := range slices.Sorted(maps.Keys(all))[maxItems:] {
			delete(all, k)
		}
	}
	return all
}

func (db *DB) putAsset(ctx context.Context, t tx, a signal.Asset, added int64) (isNew bool, err error) {
	var attrs string
	var first, last int64
	err = t.row(ctx, "SELECT attrs, first_seen, last_seen FROM assets WHERE id = ?"+t.d.forUpdate, a.ID).Scan(&attrs, &first, &last)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		isNew = true
		if err := db.assets.room(ctx, t, added); err != nil {
			return false, err
		}
	case err != nil:
		return false, err
	default:
		var was map[string]string
		if err := json.Unmarshal([]byte(attrs), &was); err != nil {
			return false, fmt.Errorf("a stored asset is not readable: %w", err)
		}
		older := nanos(a.Last) < last
		if older {
			a.Attrs = boundedAttrs(a.Attrs, was)
		} else {
			a.Attrs = boundedAttrs(was, a.Attrs)
		}
	}
	body, err := json.Marshal(a.Attrs)
	if err != nil {
		return false, err
	}
	search := []string{a.ID, a.Name}
	for _, k := range slices.Sorted(maps.Keys(a.Attrs)) {
		search = append(search, a.Attrs[k])
	}
	if isNew {
		_, err = t.exec(ctx, "INSERT INTO assets (id, kind, name, attrs, first_seen, last_seen, search) VALUES (?, ?, ?, ?, ?, ?, ?)",
			a.ID, a.Kind, a.Name, string(body), nanos(a.First), nanos(a.Last), searchable(search...))
		return true, err
	}
	_, err = t.exec(ctx, "UPDATE assets SET kind = ?, name = ?, attrs = ?, first_seen = ?, last_seen = ?, search = ? WHERE id = ?",
		a.Kind, a.Name, string(body), min(first, nanos(a.First)), max(last, nanos(a.Last)), searchable(search...), a.ID)
	return false, err
}

// AssetQuery says which assets to list. The zero value lists all, by id.
type AssetQuery struct {
	Kind  string
	Text  string // anywhere in id, name and attributes' values; case does not matter
	Limit int    // rows of a page, 100 by default, at most 1000
	After string // the cursor that the page before returned
}

const assetColumns = "SELECT id, kind, name, attrs, first_seen, last_seen FROM assets"

func scanAsset(r *sql.Rows) (a signal.Asset, err error) {
	var attrs string
	var first, last int64
	if err := r.Scan(&a.ID, &a.Kind, &a.Name, &attrs, &first, &last); err != nil {
		return a, err
	}
	a.First, a.Last = moment(first), moment(last)
	if err := json.Unmarshal([]byte(attrs), &a.Attrs); err != nil {
		return a, fmt.Errorf("a stored asset is not readable: %w", err)
	}
	return a, nil
}

// Asset returns one asset. ok is false where there is none.
func (db *DB) Asset(ctx context.Context, id string) (a signal.Asset, ok bool, err error) {
	if !isID(id, maxKey) {
		return a, false, nil
	}
	err = db.rows(ctx, "read asset", assetColumns+" WHERE id = ?", []any{id}, func(r *sql.Rows) (err error) {
		a, err = scanAsset(r)
		ok = err == nil
		return err
	})
	return a, ok, err
}

// Assets returns a page of assets by id, and the cursor of the next page, "" after the last.
func (db *DB) Assets(ctx context.Context, q AssetQuery) (page []signal.Asset, next string, err error) {
	const what = "list assets"
	var c conditions
	if q.Kind != "" {
		c.add("kind = ?", clean(q.Kind, maxID))
	}
	if err := c.text(q.Text); err != nil {
		return nil, "", db.wrap(what, err)
	}
	if q.After != "" {
		id, _, err := parseCursor(q.After, 0)
		if err != nil {
			return nil, "", db.wrap(what, err)
		}
		c.add("id > ?", id)
	}
	limit := limited(q.Limit)
	err = db.rows(ctx, what, assetColumns+c.String()+" ORDER BY id LIMIT ?", append(c.args, limit+1), func(r *sql.Rows) error {
		a, err := scanAsset(r)
		page = append(page, a)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > limit {
		page = page[:limit]
		next = cursor(page[limit-1].ID)
	}
	return page, next, nil
}

// PutRelation stores a sighting of a relation between two assets that are stored.
func (db *DB) PutRelation(ctx context.Context, r *signal.Relation) error {
	for _, id := range []string{r.From, r.To} {
		if err := checkID("the relation's asset", id, maxKey); err != nil {
			return fmt.Errorf("state: put relation: %w", err)
		}
	}
	first, last := r.First, r.Last
	if last.IsZero() {
		last = db.now()
	}
	if first.IsZero() || first.After(last) {
		first = last
	}
	return db.update(ctx, "put relation", func(t tx) error {
		for _, id := range []string{r.From, r.To} {
			var there bool
			if err := t.row(ctx, "SELECT count(*) > 0 FROM assets WHERE id = ?", id).Scan(&there); err != nil {
				return err
			}
			if !there {
				return fmt.Errorf("%w: no asset %q: put it first", ErrQuery, id)
			}
		}
		_, err := t.exec(ctx, "INSERT INTO relations (source, target, kind, event, first_seen, last_seen) VALUES (?, ?, ?, ?, ?, ?) "+
			"ON CONFLICT (source, target, kind) DO UPDATE SET "+
			"event = CASE WHEN excluded.last_seen >= relations.last_seen THEN excluded.event ELSE relations.event END, "+
			"first_seen = CASE WHEN excluded.first_seen < relations.first_seen THEN excluded.first_seen ELSE relations.first_seen END, "+
			"last_seen = CASE WHEN excluded.last_seen > relations.last_seen THEN excluded.last_seen ELSE relations.last_seen END",
			r.From, r.To, clean(r.Kind, maxID), r.Event.String(), nanos(first), nanos(last))
		return err
	})
}

// maxRelations bounds the relations of one asset that are returned.
const maxRelations = 10_000

// Relations returns the relations that an asset has, in either direction, in the order of
// their ends; at most 10,000.
func (db *DB) Relations(ctx context.Context, asset string) (all []signal.Relation, err error) {
	if !isID(asset, maxKey) {
		return nil, nil
	}
	err = db.rows(ctx, "list relations", "SELECT source, target, kind, event, first_seen, last_seen FROM relations "+
		"WHERE source = ? OR target = ? ORDER BY source, target, kind LIMIT ?", []any{asset, asset, maxRelations}, func(rows *sql.Rows) error {
		var r signal.Relation
		var event string
		var first, last int64
		if err := rows.Scan(&r.From, &r.To, &r.Kind, &event, &first, &last); err != nil {
			return err
		}
		r.First, r.Last = moment(first), moment(last)
		if r.Event, err = signal.ParseID(event); err != nil {
			return err
		}
		all = append(all, r)
		return nil
	})
	return all, err
}
