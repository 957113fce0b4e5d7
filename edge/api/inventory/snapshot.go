package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// snapshot is the form of what Snapshot writes. Fields may be added; anything else is a new version.
type snapshot struct {
	Version int              `json:"version"`
	Routes  map[string]*node `json:"routes"`
}

const (
	snapshotVersion = 1
	maxSnapshot     = 256 << 20
)

// Snapshot writes all that was learned as one JSON text, with 5 KB or so for an endpoint. It holds names of paths and fields, and the few
// words that some fields take, but no other values.
func (v *Inventory) Snapshot() ([]byte, error) {
	b, err := json.Marshal(snapshot{snapshotVersion, v.copies()})
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	if len(b) > maxSnapshot {
		return nil, fmt.Errorf("inventory: a snapshot of %d MiB is too large to be read again: lower inventory.endpoints", len(b)>>20)
	}
	return b, nil
}

// Restore replaces what was learned by what a snapshot holds. On an error nothing changes. What is beyond the limits of the
// Config is left out, and counted as Evicted.
func (v *Inventory) Restore(b []byte) error {
	if len(b) > maxSnapshot {
		return errors.New("inventory: the snapshot is larger than any that is written: remove it to begin anew")
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("inventory: the snapshot is damaged, remove it to begin anew: %w", err)
	}
	if s.Version != snapshotVersion {
		return fmt.Errorf("inventory: the snapshot has version %d, this program reads %d: remove it to begin anew", s.Version, snapshotVersion)
	}
	trees := map[string]*tree{}
	ends := 0
	for _, route := range slices.Sorted(maps.Keys(s.Routes)) {
		root := s.Routes[route]
		if root == nil || len(trees) == maxRoutes {
			continue
		}
		t := v.newTree()
		t.root = root
		t.admit(root, 0, v.config.Endpoints-ends)
		t.counted = t.ends
		ends += t.ends
		v.evicted.Add(t.evicted)
		t.evicted = 0
		trees[route] = t
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trees = trees
	v.ends.Store(int64(ends))
	return nil
}

// admit counts what a place read from a snapshot holds, and drops what no place of ours could hold.
func (t *tree) admit(n *node, deep, room int) {
	n.Values.admit()
	n.Loud = n.Loud[:min(len(n.Loud), maxLoud)]
	n.Refused = n.Refused[:min(len(n.Refused), maxRefused)]
	if n.Next != 0 {
		n.Next = min(max(n.Next, firstJudgement), lastJudgement)
	}
	n.Ends = slices.DeleteFunc(n.Ends, func(e *end) bool {
		if e == nil || !isMethod(e.Method) || t.ends >= room {
			t.evicted++
			return true
		}
		t.ends++
		e.Callers.admit()
		e.Asked, e.Told = t.admitField(e.Asked, 0), t.admitField(e.Told, 0)
		e.Query = slices.DeleteFunc(e.Query, func(q *query) bool { return q == nil })
		slices.SortFunc(e.Query, func(a, b *query) int { return strings.Compare(a.Name, b.Name) })
		for _, q := range e.Query {
			q.Name = t.names.intern(q.Name)
		}
		return false
	})
	tooDeep := deep >= t.inv.config.Depth
	for _, name := range slices.Sorted(maps.Keys(n.Words)) {
		w := n.Words[name]
		if w == nil || tooDeep || t.nodes >= 4*t.inv.config.Endpoints {
			delete(n.Words, name)
			t.evicted++
			continue
		}
		w.Name = t.names.intern(name)
		t.nodes++
		t.admit(w, deep+1, room)
	}
	switch {
	case n.Param == nil:
		n.Open = false
	case tooDeep:
		n.Param, n.Open = nil, false
		t.evicted++
	default:
		n.Param.Name = ""
		t.nodes++
		t.admit(n.Param, deep+1, room)
	}
}

func (t *tree) admitField(f *field, deep int) *field {
	if f == nil || deep > maxFieldDeep+1 {
		return nil
	}
	f.Name = t.names.intern(f.Name)
	f.Item, f.Rest = t.admitField(f.Item, deep+1), t.admitField(f.Rest, deep+1)
	kept := f.Kids[:0]
	for _, k := range f.Kids {
		if k = t.admitField(k, deep+1); k != nil {
			kept = append(kept, k)
		}
	}
	slices.SortFunc(kept, func(a, b *field) int { return strings.Compare(a.Name, b.Name) })
	f.Kids = kept
	return f
}

func (d *distinct) admit() {
	if d.Many != nil && len(d.Many) != 256 || len(d.Few) > fewMost {
		*d = distinct{}
	}
}

// MarshalJSON leaves out the zeros at the end.
func (s sizes) MarshalJSON() ([]byte, error) {
	n := len(s)
	for n > 0 && s[n-1] == 0 {
		n--
	}
	return json.Marshal(s[:n])
}
