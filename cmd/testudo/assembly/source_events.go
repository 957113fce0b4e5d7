package assembly

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// events reads recorded events for the console.
type events struct{ m *Machine }

// lookBack is how far lists of events go back where nobody says otherwise.
const lookBack = 7 * 24 * time.Hour

func (s events) Events(ctx context.Context, q console.EventQuery) (console.Page[*signal.Event], error) {
	match := q.Match
	if q.Condition != "" {
		c, err := s.Condition(q.Condition)
		if err != nil {
			return console.Page[*signal.Event]{}, err
		}
		match = func(e *signal.Event) bool { return q.Match(e) && c(e) }
	}
	before, err := parseCursor(q.Cursor)
	if err != nil {
		return console.Page[*signal.Event]{}, err
	}
	if before.time == 0 {
		// What has just passed is at hand, and is mostly what people look at.
		if got := s.m.storage.Store.Live().Recent(q.Limit, match); len(got) == q.Limit {
			return eventPage(got, q.Limit), nil
		}
	}
	query := store.Query{Since: q.Since, Until: q.Until, Newest: true, Limit: q.Limit,
		Where: func(e *signal.Event) bool { return before.after(e) && match(e) }}
	if query.Since.IsZero() {
		query.Since = time.Now().Add(-lookBack)
	}
	if before.time != 0 {
		query.Until = time.Unix(0, before.time+1)
	}
	if q.Class != 0 {
		query.Classes = []signal.Class{q.Class}
	}
	var got []*signal.Event
	_, err = s.m.storage.Store.Scan(ctx, query, func(e *signal.Event) bool {
		got = append(got, e.Recorded())
		return true
	})
	if err != nil {
		return console.Page[*signal.Event]{}, err
	}
	return eventPage(got, q.Limit), nil
}

func eventPage(got []*signal.Event, limit int) console.Page[*signal.Event] {
	page := console.Page[*signal.Event]{Items: got}
	if len(got) == limit && limit > 0 {
		page.Next = cursorOf(got[len(got)-1])
	}
	return page
}

// cursor is the place of an event in a list that is newest first.
type cursor struct {
	time int64
	id   signal.ID
}

func cursorOf(e *signal.Event) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(e.Time))
	return base64.RawURLEncoding.EncodeToString(append(b, e.ID[:]...))
}

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 24 {
		return cursor{}, &console.InputError{Field: "cursor", Reason: "not the next of a page"}
	}
	c := cursor{time: int64(binary.BigEndian.Uint64(b))}
	copy(c.id[:], b[8:])
	return c, nil
}

// after reports whether the event comes after the cursor's in the list.
func (c cursor) after(e *signal.Event) bool {
	return c.time == 0 || e.Time < c.time || e.Time == c.time && slices.Compare(e.ID[:], c.id[:]) < 0
}

func (s events) Event(ctx context.Context, id signal.ID) (*signal.Event, error) {
	for _, e := range s.m.storage.Store.Live().Recent(1, func(e *signal.Event) bool { return e.ID == id }) {
		return e, nil
	}
	e, err := s.m.storage.Store.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("event %s is not kept (any more): %w", id, console.ErrNotFound)
	}
	return e, err
}

// relatedWithin is how far apart in time related events are looked for.
const relatedWithin = time.Hour

// maxRelated bounds the events that are shown beside one.
const maxRelated = 50

func (s events) Related(ctx context.Context, id signal.ID) ([]*signal.Event, error) {
	e, err := s.Event(ctx, id)
	if err != nil {
		return nil, err
	}
	related := func(o *signal.Event) bool {
		return o.ID != e.ID && (o.Parent == e.ID || o.ID == e.Parent && !e.Parent.IsZero() || o.Parent == e.Parent && !e.Parent.IsZero())
	}
	got := map[signal.ID]*signal.Event{}
	for _, o := range s.m.storage.Store.Live().Recent(maxRelated, related) {
		got[o.ID] = o
	}
	at := time.Unix(0, e.Time)
	query := store.Query{Since: at.Add(-relatedWithin), Until: at.Add(relatedWithin), Newest: true, Limit: maxRelated, Where: related}
	if _, err := s.m.storage.Store.Scan(ctx, query, func(o *signal.Event) bool {
		got[o.ID] = o.Recorded()
		return true
	}); err != nil {
		return nil, err
	}
	all := make([]*signal.Event, 0, len(got))
	for _, o := range got {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *signal.Event) int {
		if a.Time != b.Time {
			return int(max(-1, min(1, a.Time-b.Time)))
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return all[:min(len(all), maxRelated)], nil
}

// Condition compiles a condition for filters.
func (s events) Condition(text string) (func(*signal.Event) bool, error) {
	c, err := Condition(text)
	if err != nil {
		return nil, &console.InputError{Field: "condition", Reason: err.Error()}
	}
	return func(e *signal.Event) bool {
		ok, _ := c.Eval(e) // what cannot be worked out is no match
		return ok
	}, nil
}

// Watch hands events on as they are recorded, in batches.
func (s events) Watch(ctx context.Context, fn func([]*signal.Event, uint64)) error {
	sub := s.m.storage.Store.Live().Subscribe(4096, nil)
	if sub == nil {
		return fmt.Errorf("too many listeners: %w", console.ErrUnavailable)
	}
	defer sub.Close()
	batch, told := make([]*signal.Event, 0, 256), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-sub.Events():
			if !ok {
				return nil
			}
			batch = append(batch[:0], e)
		}
		for len(batch) < cap(batch) {
			select {
			case e, ok := <-sub.Events():
				if ok {
					batch = append(batch, e)
					continue
				}
			default:
			}
			break
		}
		dropped := sub.Dropped()
		fn(batch, dropped-told)
		told = dropped
	}
}

// recentTraffic tells what came from where lately.
type recentTraffic struct{ m *Machine }

func (t recentTraffic) Recent(_ context.Context, prefix netip.Prefix, window time.Duration) (total, good uint64, err error) {
	if t.m.opts.Offline {
		return 0, 0, errors.New("they are counted where a node runs")
	}
	return t.m.node.Senders().Recent(time.Now(), prefix, window)
}
