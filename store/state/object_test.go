package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/signal"
)

func action(id string, minute int, change ...func(*signal.Action)) *signal.Action {
	a := &signal.Action{
		ID: id, Kind: "block", Target: "203.0.113.7/32", Actor: "rule:edge.waf", Reason: "third attack", State: signal.ActionActive,
		Radius: signal.Radius{Summary: "refuses 1 address", Addresses: "1", Requests: 12, Good: 2, Window: "10m", Warnings: []string{"w"}},
		Event:  eventID(1), Start: at(minute), Until: at(minute + 10), Hits: 3,
	}
	for _, c := range change {
		c(a)
	}
	return a
}

func TestActions(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		var all []*signal.Action
		for i := range 12 {
			all = append(all, action(fmt.Sprintf("a%02d", i), i/2, func(a *signal.Action) {
				if i%3 == 0 {
					a.State, a.End, a.UndoneBy = signal.ActionUndone, at(99), "person:ann"
				}
				if i%4 == 0 {
					a.Target, a.Reason = "198.51.100.0/24", "50% of Ähnliche"
				}
			}))
		}
		if err := db.PutActions(ctx, all...); err != nil {
			t.Fatal(err)
		}
		all[1].State, all[1].Error = signal.ActionFailed, "no\x00thing"
		if err := db.PutActions(ctx, all[1]); err != nil {
			t.Fatal(err)
		}
		_ = db.Close()
		db = open()
		all[1].Error = "no\uFFFDthing"
		for _, want := range all {
			got, ok, err := db.Action(ctx, want.ID)
			if diff := cmp.Diff(*want, got); err != nil || !ok || diff != "" {
				t.Fatal(ok, err, diff)
			}
		}
		active, err := db.ActiveActions(ctx)
		var ids []string
		for _, a := range active {
			ids = append(ids, a.ID)
		}
		if want := []string{"a02", "a04", "a05", "a07", "a08", "a10", "a11"}; err != nil || !slices.Equal(ids, want) {
			t.Errorf("active %v, want %v, %v", ids, want, err)
		}
		for _, c := range []struct {
			q    ActionQuery
			want string
		}{
			{ActionQuery{}, "a11 a10 a09 a08 a07 a06 a05 a04 a03 a02 a01 a00"},
			{ActionQuery{State: signal.ActionUndone}, "a09 a06 a03 a00"},
			{ActionQuery{Target: "198.51.100.0/24"}, "a08 a04 a00"},
			{ActionQuery{Target: "198.51.100"}, ""},
			{ActionQuery{Text: "198.51.100"}, "a08 a04 a00"},
			{ActionQuery{Text: "50% of ä"}, "a08 a04 a00"},
			{ActionQuery{Text: "5% of"}, ""},
			{ActionQuery{Kind: "kill"}, ""},
			{ActionQuery{Actor: "rule:edge.waf", State: signal.ActionFailed}, "a01"},
			{ActionQuery{Actor: "' OR 1=1 --"}, ""},
		} {
			for _, limit := range []int{0, 3} {
				var got []string
				q := c.q
				q.Limit = limit
				for range 10 {
					page, next, err := db.Actions(ctx, q)
					if err != nil {
						t.Fatal(err)
					}
					for _, a := range page {
						got = append(got, a.ID)
					}
					if q.After = next; next == "" {
						break
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("%+v: %v, want %s", c.q, got, c.want)
				}
			}
		}
		if err := db.PutActions(ctx, action("fine", 0), action("", 0)); !errors.Is(err, ErrQuery) {
			t.Errorf("an action without id: %v", err)
		}
		if _, ok, _ := db.Action(ctx, "fine"); ok {
			t.Error("half a batch is stored")
		}
	})
}

func TestActionsMakeRoomButNotTheActive(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		db.actions.most = 3
		ended := func(a *signal.Action) { a.State = signal.ActionExpired }
		for i, err := range []error{
			db.PutActions(ctx, action("active", 0)), db.PutActions(ctx, action("old", 1, ended)),
			db.PutActions(ctx, action("new", 2, ended)), db.PutActions(ctx, action("more", 3)), db.PutActions(ctx, action("most", 4)),
		} {
			if err != nil {
				t.Fatal(i, err)
			}
		}
		if err := db.PutActions(ctx, action("beyond", 5)); !errors.Is(err, ErrFull) {
			t.Errorf("a fourth active action: %v", err)
		}
		if err := db.PutActions(ctx, action("active", 0, ended)); err != nil {
			t.Errorf("an action cannot end in a full table: %v", err)
		}
		page, _, _ := db.Actions(ctx, ActionQuery{})
		if len(page) != 3 || page[2].ID != "active" {
			t.Errorf("%+v", page)
		}
	})
}

func TestAssetsAndRelations(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		shop := &signal.Asset{ID: "application:shop", Kind: "application", Name: "Shop", Attrs: map[string]string{"url": "http://127.0.0.1:8081"}, First: at(5), Last: at(5)}
		host := &signal.Asset{ID: "host:" + strings.Repeat("h", 400), Kind: "host", Name: "h1", First: at(1), Last: at(1)}
		if err := db.PutAssets(ctx, shop, host); err != nil {
			t.Fatal(err)
		}
		if err := db.PutAssets(ctx, &signal.Asset{ID: shop.ID, Kind: "application", Name: "Shop 2", Attrs: map[string]string{"team": "web"}, First: at(9), Last: at(9)},
			&signal.Asset{ID: shop.ID, Kind: "application", Name: "Shop 2", Attrs: map[string]string{"team": "old", "os": "linux"}, First: at(2), Last: at(2)}); err != nil {
			t.Fatal(err)
		}
		got, ok, err := db.Asset(ctx, shop.ID)
		want := signal.Asset{ID: shop.ID, Kind: "application", Name: "Shop 2", First: at(2), Last: at(9),
			Attrs: map[string]string{"url": "http://127.0.0.1:8081", "team": "web", "os": "linux"}}
		if diff := cmp.Diff(want, got); err != nil || !ok || diff != "" {
			t.Error(ok, err, diff)
		}
		for _, c := range []struct {
			q    AssetQuery
			want []string
		}{
			{AssetQuery{}, []string{shop.ID, host.ID}},
			{AssetQuery{Kind: "host"}, []string{host.ID}},
			{AssetQuery{Text: "LINUX"}, []string{shop.ID}},
			{AssetQuery{Text: "_"}, nil},
		} {
			var ids []string
			c.q.Limit = 1
			for range 5 {
				page, next, err := db.Assets(ctx, c.q)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range page {
					ids = append(ids, a.ID)
				}
				if c.q.After = next; next == "" {
					break
				}
			}
			if !slices.Equal(ids, c.want) {
				t.Errorf("%+v: %v", c.q, ids)
			}
		}
		rel := &signal.Relation{From: host.ID, To: shop.ID, Kind: "runs", Event: eventID(3), First: at(3), Last: at(3)}
		late := &signal.Relation{From: host.ID, To: shop.ID, Kind: "runs", Event: eventID(1), First: at(1), Last: at(1)}
		for _, r := range []*signal.Relation{rel, late} {
			if err := db.PutRelation(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		wantRelation := []signal.Relation{{From: host.ID, To: shop.ID, Kind: "runs", Event: rel.Event, First: at(1), Last: at(3)}}
		for _, id := range []string{host.ID, shop.ID} {
			all, err := db.Relations(ctx, id)
			if diff := cmp.Diff(wantRelation, all); err != nil || diff != "" {
				t.Error(err, diff)
			}
		}
		if err := db.PutRelation(ctx, &signal.Relation{From: host.ID, To: "host:none", Kind: "calls"}); !errors.Is(err, ErrQuery) || !strings.Contains(err.Error(), `no asset "host:none"`) {
			t.Errorf("a relation to nothing: %v", err)
		}
		many := map[string]string{}
		for i := range 500 {
			many[fmt.Sprintf("k%03d", i)] = "v"
		}
		if err := db.PutAssets(ctx, &signal.Asset{ID: "host:many", Attrs: many}); err != nil {
			t.Fatal(err)
		}
		if a, _, _ := db.Asset(ctx, "host:many"); len(a.Attrs) != maxItems {
			t.Errorf("%d attributes", len(a.Attrs))
		}
		// Those not seen for longest make room, and their relations go with them.
		db.assets.most = 3
		if err := db.PutAssets(ctx, &signal.Asset{ID: "host:new", Kind: "host"}); err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := db.Asset(ctx, host.ID); ok {
			t.Error("the oldest asset is still there")
		}
		if all, _ := db.Relations(ctx, shop.ID); len(all) != 0 {
			t.Errorf("relations of a removed asset: %v", all)
		}
	})
}

func TestDocs(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		put := func(value string, version int64, want bool) int64 {
			t.Helper()
			ok, err := db.Put(ctx, "people", "ann", []byte(value), version)
			if err != nil || ok != want {
				t.Fatalf("put %s at %d: %v %v", value, version, ok, err)
			}
			_, v, err := db.Get(ctx, "people", "ann")
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if v, version, err := db.Get(ctx, "people", "ann"); v != nil || version != 0 || err != nil {
			t.Fatalf("%s %d %v", v, version, err)
		}
		put(`{"a":1}`, 7, false)
		first := put(`{"a":1}`, 0, true)
		put(`{"a":2}`, 0, false)
		second := put(`{"a":2}`, first, true)
		if second <= first {
			t.Errorf("version %d after %d", second, first)
		}
		put(`{"a":3}`, first, false)
		third := put(`{"a":4}`, -1, true)
		if v, _, _ := db.Get(ctx, "people", "ann"); string(v) != `{"a":4}` {
			t.Errorf("%s", v)
		}
		if existed, err := db.Delete(ctx, "people", "ann"); !existed || err != nil {
			t.Fatal(existed, err)
		}
		if existed, err := db.Delete(ctx, "people", "ann"); existed || err != nil {
			t.Fatal(existed, err)
		}
		// A writer that knows the deleted document must not hit the new one.
		again := put(`{"a":5}`, 0, true)
		if again <= third {
			t.Errorf("version %d was used before: %d", again, third)
		}
		put(`{"a":6}`, first, false)
		for _, c := range []struct {
			collection, key, value string
			version                int64
		}{{"", "k", "1", 0}, {"c", "", "1", 0}, {"c", "k", "{", 0}, {"c", "k", "", 0}, {"c", "k", "1", -2}, {"c", "a\x00", "1", 0},
			{"c", "k", `"` + strings.Repeat("x", maxDocument) + `"`, 0}} {
			if ok, err := db.Put(ctx, c.collection, c.key, []byte(c.value), c.version); ok || !errors.Is(err, ErrQuery) {
				t.Errorf("%q %q at %d: %v %v", c.collection, c.key, c.version, ok, err)
			}
		}
		if ok, err := db.Put(ctx, "p' OR '1'='1", "'; DROP TABLE docs; --", []byte("1"), 0); !ok || err != nil {
			t.Errorf("odd names: %v %v", ok, err)
		}
		if v, _, err := db.Get(ctx, "nobody", "' OR '1'='1"); v != nil || err != nil {
			t.Errorf("injection: %s %v", v, err)
		}
	})
}

func TestEachDoc(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		const n = eachPage + 3
		if err := db.update(ctx, "fill", func(tx tx) error {
			for i := range n {
				if _, err := tx.exec(ctx, "INSERT INTO docs (collection, key, version, value) VALUES (?, ?, ?, ?)",
					"c", fmt.Sprintf("k%04d", i), i+1, fmt.Appendf(nil, "%d", i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Put(ctx, "d", "k", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		seen := 0
		err := db.Each(ctx, "c", func(key string, value []byte) error {
			if key != fmt.Sprintf("k%04d", seen) || string(value) != fmt.Sprint(seen) {
				t.Fatalf("%s %s after %d", key, value, seen)
			}
			seen++
			_, err := db.Delete(ctx, "c", key) // a yield may change the collection
			return err
		})
		if err != nil || seen != n {
			t.Errorf("%d of %d: %v", seen, n, err)
		}
		stop := errors.New("enough")
		if err := db.Each(ctx, "d", func(string, []byte) error { return stop }); err != stop {
			t.Errorf("the yield's error came back as %v", err)
		}
	})
}

func TestDocVersionsUnderRaces(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		dbs := []*DB{open(), open()}
		var wg sync.WaitGroup
		const workers, rounds = 4, 10
		for w := range workers {
			wg.Go(func() {
				db := dbs[w%2]
				for done := 0; done < rounds; {
					value, version, err := db.Get(ctx, "c", "n")
					if err != nil {
						t.Error(err)
						return
					}
					n := 0
					if version > 0 {
						fmt.Sscan(string(value), &n)
					}
					ok, err := db.Put(ctx, "c", "n", fmt.Append(nil, n+1), version)
					if err != nil {
						t.Error(err)
						return
					}
					if ok {
						done++
					}
				}
			})
		}
		wg.Wait()
		if v, _, _ := dbs[0].Get(ctx, "c", "n"); string(v) != fmt.Sprint(workers*rounds) {
			t.Errorf("%s increments of %d were kept", v, workers*rounds)
		}
	})
}

func TestCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open()
		minute := epoch.Truncate(time.Minute)
		for _, at := range []time.Time{minute.Add(59 * time.Second), minute, minute.Add(time.Minute), minute.Add(-time.Hour)} {
			if err := db.AddCounts(ctx, at, map[string]uint64{"edge.requests": 3, "edge.blocked": 1}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := db.Counts(ctx, minute, "edge.requests", "none")
		want := map[string][]Point{"edge.requests": {{minute, 6}, {minute.Add(time.Minute), 3}}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Error(err, diff)
		}
		for i := range 3 {
			if err := db.AddRuleHits(ctx, at(30*i), map[string]uint64{"r1": 2, "r2": 1}); err != nil {
				t.Fatal(err)
			}
		}
		hits, err := db.RuleHits(ctx, at(60)) // 13:00, so without the first two
		if diff := cmp.Diff(map[string]RuleHits{"r1": {2, at(60)}, "r2": {1, at(60)}}, hits); err != nil || diff != "" {
			t.Error(err, diff)
		}
		hits, _ = db.RuleHits(ctx, epoch)
		if hits["r1"].Count != 6 {
			t.Errorf("%+v", hits)
		}
		if err := db.AddCounts(ctx, epoch, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestPrune(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open(func(c *Config) {
			c.KeepResolved, c.KeepActions, c.KeepAssets = 24*time.Hour, 24*time.Hour, 24*time.Hour
		})
		now := at(0)
		db.now = func() time.Time { return now }
		const old, young = -25 * 60, -60
		mustPut(t, db, finding("old-open", old))
		mustPut(t, db, finding("old-resolved", old))
		mustPut(t, db, finding("young-resolved", young))
		for _, id := range []string{"old-resolved", "young-resolved"} {
			if _, _, err := db.SetFindingState(ctx, id, signal.FindingResolved, "x", ""); err != nil {
				t.Fatal(err)
			}
		}
		undone := func(a *signal.Action) { a.State = signal.ActionUndone }
		err := errors.Join(db.PutActions(ctx, action("old-active", old), action("old-undone", old, undone), action("young-undone", young, undone)),
			db.PutAssets(ctx, &signal.Asset{ID: "host:old", Last: at(old)}, &signal.Asset{ID: "host:young", Last: at(young)}),
			db.AddCounts(ctx, now.Add(-49*time.Hour), map[string]uint64{"s": 1}), db.AddCounts(ctx, now.Add(-47*time.Hour), map[string]uint64{"s": 1}),
			db.AddRuleHits(ctx, now.Add(-32*24*time.Hour), map[string]uint64{"r": 1}), db.AddRuleHits(ctx, now, map[string]uint64{"r": 1}),
			db.Prune(ctx))
		if err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]int64{
			"SELECT count(*) FROM findings": 2, "SELECT count(*) FROM findings WHERE id = 'old-resolved'": 0,
			"SELECT count(*) FROM finding_changes": 1,
			"SELECT count(*) FROM actions":         2, "SELECT count(*) FROM actions WHERE id = 'old-undone'": 0,
			"SELECT count(*) FROM assets": 1, "SELECT count(*) FROM minute_counts": 1, "SELECT count(*) FROM rule_hits": 1,
		} {
			if n := db.count(t, query); n != want {
				t.Errorf("%s: %d, want %d", query, n, want)
			}
		}
		if db.findings.n.Load() != 2 || db.actions.n.Load() != 2 {
			t.Error("the counts are not taken anew")
		}
	})
}
