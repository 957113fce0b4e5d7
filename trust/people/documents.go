package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// put stores a document. Two secrets never have one digest, so a version that
// does not fit is an error.
func (p *People) put(ctx context.Context, collection, key string, v any, version int64) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("people: %w", err)
	}
	ok, err := p.store.Put(ctx, collection, key, b, version)
	if err != nil {
		return fmt.Errorf("people: %w", err)
	}
	if !ok {
		return fmt.Errorf("people: %s: stored by another process meanwhile", collection)
	}
	return nil
}

// fetch reads a document through its cache.
func fetch[V any](ctx context.Context, p *People, c *cache[V], collection, key string, now time.Time) (cached[V], error) {
	v, ok, mark := c.get(key)
	if ok && now.Sub(v.read) < p.opts.CacheFor && !now.Before(v.read) {
		return v, nil
	}
	b, version, err := p.store.Get(ctx, collection, key)
	if err != nil {
		return cached[V]{}, fmt.Errorf("people: %w", err)
	}
	v = cached[V]{version: version, read: now}
	if version == 0 {
		c.forget(key)
		return cached[V]{}, ErrDenied
	}
	if json.Unmarshal(b, &v.value) != nil {
		return cached[V]{}, errors.New("people: a damaged document in " + collection)
	}
	c.put(key, v, mark)
	return v, nil
}

// touch stores a last use. It writes over the version that was read only, so
// it cannot bring back what was revoked; and a use that is not stored harms
// nobody.
func touch[V any](ctx context.Context, p *People, c *cache[V], collection, key string, was cached[V], v V) {
	b, err := json.Marshal(v)
	if err != nil {
		return
	}
	if _, err := p.store.Put(ctx, collection, key, b, was.version); err != nil {
		p.opts.Logger.Warn("a last use could not be stored", "collection", collection, "error", err)
	}
	// The new version is the store's to know: read it next time.
	c.forget(key)
}

func each[V any](ctx context.Context, p *People, collection string, yield func(string, V)) error {
	err := p.store.Each(ctx, collection, func(key string, b []byte) error {
		var v V
		if json.Unmarshal(b, &v) == nil && len(key) == 64 {
			yield(key, v)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("people: %w", err)
	}
	return nil
}

func (p *People) eachLink(ctx context.Context, yield func(string, link)) error {
	return each(ctx, p, linksCollection, yield)
}

func (p *People) eachSession(ctx context.Context, yield func(string, session)) error {
	return each(ctx, p, sessionsCollection, yield)
}

func (p *People) eachToken(ctx context.Context, yield func(string, token)) error {
	return each(ctx, p, tokensCollection, yield)
}

// drop deletes the documents that match, at most limit.
func drop[V any](ctx context.Context, p *People, collection string, c *cache[V], limit int, match func(V) bool) (int, error) {
	var keys []string
	err := each(ctx, p, collection, func(key string, v V) {
		if len(keys) < limit && match(v) {
			keys = append(keys, key)
		}
	})
	for _, key := range keys {
		if _, e := p.store.Delete(ctx, collection, key); e != nil {
			err = errors.Join(err, fmt.Errorf("people: %w", e))
		}
		if c != nil {
			c.drop(key)
		}
	}
	if err != nil {
		p.opts.Logger.Warn("not everything could be cleared away", "collection", collection, "error", err)
	}
	return len(keys), err
}

const noLimit = 1 << 30

func (p *People) dropLinks(ctx context.Context, match func(link) bool) error {
	_, err := drop(ctx, p, linksCollection, nil, noLimit, match)
	return err
}

func (p *People) dropSessions(ctx context.Context, match func(session) bool) error {
	_, err := drop(ctx, p, sessionsCollection, &p.sessions, noLimit, match)
	return err
}

func (p *People) dropTokens(ctx context.Context, match func(token) bool) error {
	_, err := drop(ctx, p, tokensCollection, &p.tokens, noLimit, match)
	return err
}

// An expired token is listed for a while, so that its owner sees why it stopped.
const keepExpiredTokens = 30 * 24 * time.Hour

// sweepAtOnce bounds what one Sweep deletes from a collection.
const sweepAtOnce = 1000

// Sweep deletes what has expired or belongs to nobody, at most 1000 documents
// of each kind, and says how many.
func (p *People) Sweep(ctx context.Context) (int, error) {
	// Read afresh: what belongs to nobody on an old roster may be somebody's.
	p.changes.Lock()
	defer p.changes.Unlock()
	r, _, err := p.readRoster(ctx)
	if err != nil {
		return 0, err
	}
	now := p.opts.Now()
	links, err1 := drop(ctx, p, linksCollection, nil, sweepAtOnce, func(l link) bool { return !now.Before(l.Expires) })
	sessions, err2 := drop(ctx, p, sessionsCollection, &p.sessions, sweepAtOnce, func(s session) bool {
		_, ok := s.belongs(r)
		// A session of another process may be newer than this roster.
		return p.over(s, now) || !ok && now.Sub(s.Created) > time.Minute
	})
	tokens, err3 := drop(ctx, p, tokensCollection, &p.tokens, sweepAtOnce, func(t token) bool {
		_, ok := t.role(r)
		return now.Sub(t.Expires) > keepExpiredTokens || !ok && now.Sub(t.Created) > time.Minute
	})
	return links + sessions + tokens, errors.Join(err1, err2, err3)
}

// sweepEvery is how often Run sweeps.
const sweepEvery = 10 * time.Minute

// Run sweeps from time to time until ctx ends, and returns nil then.
func (p *People) Run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if _, err := p.Sweep(ctx); err != nil && ctx.Err() == nil {
			p.opts.Logger.Warn("expired sessions could not be swept", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
