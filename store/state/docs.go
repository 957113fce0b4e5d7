package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// The documents are small JSON values of other rooms, such as people and sessions, under
// a collection and a key. Each has a version, which is how writers find out that another one
// was faster: versions grow, and none is used twice, not even after a deletion.

// Get returns a document and its version; version 0 where there is none.
func (db *DB) Get(ctx context.Context, collection, key string) (value []byte, version int64, err error) {
	if !isID(collection, maxKey) || !isID(key, maxKey) {
		return nil, 0, nil
	}
	_, err = db.row(ctx, "read "+collection, "SELECT value, version FROM docs WHERE collection = ? AND key = ?",
		[]any{collection, key}, &value, &version)
	return value, version, err
}

// Put stores a document if the stored version equals version, where 0 says that there
// must be none and -1 that it does not matter. ok is false where it was not stored for that reason.
// The value must be JSON of at most 1 MiB.
func (db *DB) Put(ctx context.Context, collection, key string, value []byte, version int64) (ok bool, err error) {
	what := "put into " + collection
	err = errors.Join(checkID("the collection", collection, maxKey), checkID("the document", key, maxKey))
	switch {
	case err != nil:
	case version < -1:
		err = fmt.Errorf("%w: version %d", ErrQuery, version)
	case len(value) > maxDocument:
		err = fmt.Errorf("%w: the document has %d bytes, at most %d can be stored", ErrQuery, len(value), maxDocument)
	case !json.Valid(value):
		err = fmt.Errorf("%w: the document is not JSON", ErrQuery)
	}
	if err != nil {
		return false, db.wrap(what, err)
	}
	err = db.update(ctx, what, func(t tx) error {
		ok = false
		// Taking the number first makes writers wait for each other: the check below holds until the commit.
		var next, current int64
		if err := t.row(ctx, "UPDATE sequences SET docs = docs + 1 WHERE one = 1 RETURNING docs").Scan(&next); err != nil {
			return err
		}
		err := t.row(ctx, "SELECT version FROM docs WHERE collection = ? AND key = ?", collection, key).Scan(&current)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if version != -1 && version != current {
			return nil
		}
		ok = true
		_, err = t.exec(ctx, "INSERT INTO docs (collection, key, version, value) VALUES (?, ?, ?, ?) "+
			"ON CONFLICT (collection, key) DO UPDATE SET version = excluded.version, value = excluded.value",
			collection, key, next, value)
		return err
	})
	return ok && err == nil, err
}

// Delete removes a document, and reports whether there was one.
func (db *DB) Delete(ctx context.Context, collection, key string) (existed bool, err error) {
	if !isID(collection, maxKey) || !isID(key, maxKey) {
		return false, nil
	}
	err = db.update(ctx, "delete from "+collection, func(t tx) error {
		n, err := t.exec(ctx, "DELETE FROM docs WHERE collection = ? AND key = ?", collection, key)
		existed = n > 0
		return err
	})
	return existed && err == nil, err
}

// eachPage is how many documents are read at a time.
const eachPage = 200

// Each calls yield for every document of a collection in the order of the keys, until
// yield returns an error, which Each then returns as it is. yield may change documents: what
// is changed meanwhile may or may not be seen.
func (db *DB) Each(ctx context.Context, collection string, yield func(key string, value []byte) error) error {
	if !isID(collection, maxKey) {
		return nil
	}
	type document struct {
		key   string
		value []byte
	}
	after := ""
	for {
		var page []document
		err := db.rows(ctx, "read "+collection, "SELECT key, value FROM docs WHERE collection = ? AND key > ? ORDER BY key LIMIT ?",
			[]any{collection, after, eachPage}, func(r *sql.Rows) error {
				var d document
				err := r.Scan(&d.key, &d.value)
				page = append(page, d)
				return err
			})
		if err != nil {
			return err
		}
		for _, d := range page {
			if err := yield(d.key, d.value); err != nil {
				return err
			}
		}
		if len(page) < eachPage {
			return nil
		}
		after = page[len(page)-1].key
	}
}
