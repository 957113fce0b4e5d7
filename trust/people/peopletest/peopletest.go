// Package peopletest holds an in-memory store and a recorder for tests of
// trust/people and of what uses it, and the test that every store has to pass.
package peopletest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
)

// Store keeps documents in memory. Fail, if set, is asked before every
// operation ("get", "put", "delete", "each") and its error returned.
type Store struct {
	Fail func(op, collection string) error

	mu   sync.Mutex
	last int64
	docs map[[2]string]doc
	gets int
}

type doc struct {
	value   []byte
	version int64
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{docs: map[[2]string]doc{}} }

func (s *Store) fail(op, collection string) error {
	if s.Fail == nil {
		return nil
	}
	return s.Fail(op, collection)
}

// Get implements people.Store.
func (s *Store) Get(ctx context.Context, collection, key string) ([]byte, int64, error) {
	if err := errors.Join(ctx.Err(), s.fail("get", collection)); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	d := s.docs[[2]string{collection, key}]
	return bytes.Clone(d.value), d.version, nil
}

// Put implements people.Store.
func (s *Store) Put(ctx context.Context, collection, key string, value []byte, version int64) (bool, error) {
	if err := errors.Join(ctx.Err(), s.fail("put", collection)); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]string{collection, key}
	if version >= 0 && s.docs[k].version != version {
		return false, nil
	}
	s.last++
	s.docs[k] = doc{bytes.Clone(value), s.last}
	return true, nil
}

// Delete implements people.Store.
func (s *Store) Delete(ctx context.Context, collection, key string) (bool, error) {
	if err := errors.Join(ctx.Err(), s.fail("delete", collection)); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]string{collection, key}
	_, ok := s.docs[k]
	delete(s.docs, k)
	return ok, nil
}

// Each implements people.Store.
func (s *Store) Each(ctx context.Context, collection string, yield func(string, []byte) error) error {
	if err := errors.Join(ctx.Err(), s.fail("each", collection)); err != nil {
		return err
	}
	s.mu.Lock()
	docs := maps.Clone(s.docs)
	s.mu.Unlock()
	for k, d := range docs {
		if k[0] == collection {
			if err := yield(k[1], bytes.Clone(d.value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Gets counts the calls of Get so far.
func (s *Store) Gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

// Len counts a collection's documents.
func (s *Store) Len(collection string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.docs {
		if k[0] == collection {
			n++
		}
	}
	return n
}

// Contains reports whether any key or value holds the text.
func (s *Store) Contains(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, d := range s.docs {
		if bytes.Contains(d.value, []byte(text)) || bytes.Contains([]byte(k[1]), []byte(text)) {
			return true
		}
	}
	return false
}

// Recorder keeps records in memory, as "actor verb subject map[...]". Fail, if
// set, is asked before each.
type Recorder struct {
	Fail func(verb string) error

	mu      sync.Mutex
	records []string
}

// Record implements people.Recorder.
func (r *Recorder) Record(_ context.Context, actor, verb, subject string, detail map[string]string) error {
	if r.Fail != nil {
		if err := r.Fail(verb); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, fmt.Sprintf("%s %s %s %v", actor, verb, subject, detail))
	return nil
}

// Records returns what was recorded so far.
func (r *Recorder) Records() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.records)
}

// TestStore checks what trust/people relies on in a store. fresh returns an
// empty one.
func TestStore(t *testing.T, fresh func(t *testing.T) interface {
	Get(ctx context.Context, collection, key string) ([]byte, int64, error)
	Put(ctx context.Context, collection, key string, value []byte, version int64) (bool, error)
	Delete(ctx context.Context, collection, key string) (bool, error)
	Each(ctx context.Context, collection string, yield func(string, []byte) error) error
}) {
	ctx := t.Context()
	s := fresh(t)
	if _, v, err := s.Get(ctx, "a", "k"); v != 0 || err != nil {
		t.Fatalf("get of nothing: version %d, %v", v, err)
	}
	if ok, err := s.Put(ctx, "a", "k", []byte("one"), 7); ok || err != nil {
		t.Fatalf("put over a version that is not there: %v, %v", ok, err)
	}
	if ok, err := s.Put(ctx, "a", "k", []byte("one"), 0); !ok || err != nil {
		t.Fatalf("first put: %v, %v", ok, err)
	}
	if ok, err := s.Put(ctx, "a", "k", []byte("two"), 0); ok || err != nil {
		t.Fatalf("put where nothing must be: %v, %v", ok, err)
	}
	b, v1, err := s.Get(ctx, "a", "k")
	if string(b) != "one" || v1 <= 0 || err != nil {
		t.Fatalf("get: %q, version %d, %v", b, v1, err)
	}
	if ok, err := s.Put(ctx, "a", "k", []byte("two"), v1); !ok || err != nil {
		t.Fatalf("put over the version read: %v, %v", ok, err)
	}
	if ok, err := s.Put(ctx, "a", "k", []byte("three"), v1); ok || err != nil {
		t.Fatalf("put over an old version: %v, %v", ok, err)
	}
	if ok, err := s.Put(ctx, "a", "k", []byte("four"), -1); !ok || err != nil {
		t.Fatalf("put over whatever: %v, %v", ok, err)
	}
	if b, v, _ := s.Get(ctx, "a", "k"); string(b) != "four" || v == v1 {
		t.Fatalf("get: %q, version %d after %d", b, v, v1)
	}
	if ok, err := s.Put(ctx, "b", "k", []byte("other"), 0); !ok || err != nil {
		t.Fatalf("the same key in another collection: %v, %v", ok, err)
	}
	seen := map[string]string{}
	if err := s.Each(ctx, "a", func(k string, v []byte) error { seen[k] = string(v); return nil }); err != nil || len(seen) != 1 || seen["k"] != "four" {
		t.Fatalf("each: %v, %v", seen, err)
	}
	stop := errors.New("stop")
	if err := s.Each(ctx, "a", func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("each that is stopped: %v", err)
	}
	if existed, err := s.Delete(ctx, "a", "k"); !existed || err != nil {
		t.Fatalf("delete: %v, %v", existed, err)
	}
	if existed, err := s.Delete(ctx, "a", "k"); existed || err != nil {
		t.Fatalf("second delete: %v, %v", existed, err)
	}
	_, v2, _ := s.Get(ctx, "b", "k")
	if ok, err := s.Put(ctx, "a", "k", []byte("x"), v1); ok || err != nil {
		t.Fatalf("put over a deleted version: %v, %v", ok, err)
	}

	var wg sync.WaitGroup
	var mu sync.Mutex
	won, deleted := 0, 0
	for i := range 8 {
		wg.Go(func() {
			if ok, _ := s.Put(ctx, "b", "k", fmt.Append(nil, i), v2); ok {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			if ok, _ := s.Delete(ctx, "b", "k"); ok {
				mu.Lock()
				deleted++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 || deleted != 1 {
		t.Fatalf("of eight at once %d put and %d deleted; one each may", won, deleted)
	}
}
