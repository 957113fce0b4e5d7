package state

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Package is a package that an asset has, at one place.
type Package struct {
	Asset     string
	Key       string // package URL without version and qualifiers; the same for all spellings
	PURL      string
	Ecosystem string
	Name      string
	Version   string
	Path      string
	Line      int
	Relation  string
	Dev       bool
	Licenses  []string
	Layer     string
	Scanned   time.Time
}

// MaxInventory bounds the packages of one asset.
const MaxInventory = 200_000

// packageBatch is how many rows one statement writes.
const packageBatch = 100

// PutInventory replaces the packages of an asset, which must be stored, all or none. What stands in Asset and Scanned of the
// packages does not matter.
func (db *DB) PutInventory(ctx context.Context, asset string, scanned time.Time, packages []Package) error {
	const what = "put inventory"
	if err := checkID("the asset", asset, maxKey); err != nil {
		return fmt.Errorf("state: %s: %w", what, err)
	}
	if len(packages) > MaxInventory {
		return fmt.Errorf("state: %s: %w: %d packages, at most %d of one asset can be stored", what, ErrQuery, len(packages), MaxInventory)
	}
	at := nanos(scanned)
	if scanned.IsZero() {
		at = nanos(db.now())
	}
	var before int64
	err := db.update(ctx, what, func(t tx) error {
		var one int
		// Two scans of one asset wait for each other here.
		if err := t.row(ctx, "SELECT 1 FROM assets WHERE id = ?"+t.d.forUpdate, asset).Scan(&one); err != nil {
			if err == sql.ErrNoRows {
				return fmt.Errorf("%w: the asset %s is not stored", ErrQuery, asset)
			}
			return err
		}
		var err error
		if before, err = t.exec(ctx, "DELETE FROM packages WHERE asset = ?", asset); err != nil {
			return err
		}
		if n := db.packages.n.Load() - before + int64(len(packages)); n > db.cfg.MaxPackages {
			return fmt.Errorf("%w: %d packages with those of %s: raise state.max_packages", ErrFull, n, asset)
		}
		for first := 0; first < len(packages); first += packageBatch {
			if err := putPackages(ctx, t, asset, at, first, packages[first:min(first+packageBatch, len(packages))]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		db.packages.add(int64(len(packages)) - before)
	}
	return err
}

func putPackages(ctx context.Context, t tx, asset string, at int64, first int, batch []Package) error {
	const row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	args := make([]any, 0, 15*len(batch))
	for i := range batch {
		p := &batch[i]
		dev := 0
		if p.Dev {
			dev = 1
		}
		args = append(args, asset, first+i, clean(p.Key, maxKey), strings.ToLower(clean(p.Name, maxKey)), clean(p.PURL, maxTitle), clean(p.Ecosystem, maxID),
			clean(p.Name, maxKey), clean(p.Version, maxID), clean(p.Path, maxValue), max(p.Line, 0), clean(p.Relation, maxID), dev,
			strings.Join(cleanList(p.Licenses, maxItems, maxID), "\n"), clean(p.Layer, maxID), at)
	}
	_, err := t.exec(ctx, "INSERT INTO packages (asset, seq, key, search, purl, ecosystem, name, version, path, line, relation, dev, licenses, layer, scanned) VALUES "+
		strings.TrimSuffix(strings.Repeat(row+",", len(batch)), ","), args...)
	return err
}

// PackageQuery says which packages to list.
type PackageQuery struct {
	Key   string // whole
	Text  string // anywhere in the name; case does not matter
	Asset string
	Limit int    // rows of a page, 100 by default, at most 1000
	After string // the cursor that the page before returned
}

// Packages returns a page of packages by key, and the cursor of the next page, "" after the last.
func (db *DB) Packages(ctx context.Context, q PackageQuery) (page []Package, next string, err error) {
	const what = "list packages"
	var c conditions
	if q.Key != "" {
		c.add("key = ?", clean(q.Key, maxKey))
	}
	if q.Asset != "" {
		c.add("asset = ?", clean(q.Asset, maxKey))
	}
	if err := c.text(q.Text); err != nil {
		return nil, "", db.wrap(what, err)
	}
	if q.After != "" {
		key, asset, seq, err := parsePackageCursor(q.After)
		if err != nil {
			return nil, "", db.wrap(what, err)
		}
		c.add("(key, asset, seq) > (?, ?, ?)", key, asset, seq)
	}
	limit := limited(q.Limit)
	var last int64
	more := false
	err = db.rows(ctx, what, "SELECT asset, seq, key, purl, ecosystem, name, version, path, line, relation, dev, licenses, layer, scanned FROM packages"+
		c.String()+" ORDER BY key, asset, seq LIMIT ?", append(c.args, limit+1), func(r *sql.Rows) error {
		var p Package
		var seq, dev, scanned int64
		var licenses string
		if err := r.Scan(&p.Asset, &seq, &p.Key, &p.PURL, &p.Ecosystem, &p.Name, &p.Version, &p.Path, &p.Line, &p.Relation, &dev, &licenses, &p.Layer, &scanned); err != nil {
			return err
		}
		if more = len(page) == limit; more {
			return nil
		}
		p.Dev, p.Scanned, last = dev != 0, moment(scanned), seq
		if licenses != "" {
			p.Licenses = strings.Split(licenses, "\n")
		}
		page = append(page, p)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if more {
		p := &page[len(page)-1]
		next = packageCursor(p.Key, p.Asset, last)
	}
	return page, next, nil
}

func packageCursor(key, asset string, seq int64) string {
	b, _ := json.Marshal([]any{key, asset, seq}) // two texts and a number
	return base64.RawURLEncoding.EncodeToString(b)
}

func parsePackageCursor(s string) (key, asset string, seq int64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	to := []any{&key, &asset, &seq}
	if err != nil || len(s) > 8*maxKey || json.Unmarshal(b, &to) != nil || len(to) != 3 || clean(key, maxKey) != key || !isID(asset, maxKey) {
		return "", "", 0, fmt.Errorf("%w: it is not one of this list: leave it out to start from the beginning", ErrCursor)
	}
	return key, asset, seq, nil
}
