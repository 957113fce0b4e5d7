package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

func TestPackages(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(...func(*Config)) *DB) {
		db := open(func(c *Config) { c.MaxPackages = 1000 })
		pkg := func(key, version, path string) Package {
			return Package{Key: key, PURL: "pkg:" + key + "@" + version, Ecosystem: "npm", Name: key[strings.IndexByte(key, '/')+1:], Version: version, Path: path, Line: 3,
				Relation: "direct", Dev: true, Licenses: []string{"MIT", "Apache-2.0"}, Layer: "sha256:aa"}
		}
		if err := db.PutInventory(ctx, "repository:a", at(1), []Package{pkg("npm/x", "1", "p")}); !errors.Is(err, ErrQuery) {
			t.Errorf("an inventory of nobody's: %v", err)
		}
		for _, id := range []string{"repository:a", "repository:b"} {
			if err := db.PutAssets(ctx, &signal.Asset{ID: id, Kind: "repository", Name: id, Last: at(1)}); err != nil {
				t.Fatal(err)
			}
		}
		var many []Package
		for i := range 250 {
			many = append(many, pkg(fmt.Sprintf("npm/Lib_%03d", i), "1.0.0", "package-lock.json"))
		}
		many = append(many, pkg("npm/x", "2", "no\x00thing"))
		if err := db.PutInventory(ctx, "repository:a", at(1), many); err != nil {
			t.Fatal(err)
		}
		if err := db.PutInventory(ctx, "repository:b", at(2), []Package{pkg("npm/x", "1", "p"), pkg("npm/y", "1", "p")}); err != nil {
			t.Fatal(err)
		}
		_ = db.Close()
		db = open(func(c *Config) { c.MaxPackages = 1000 })
		all := func(q PackageQuery) (out []Package) {
			t.Helper()
			for range 100 {
				page, next, err := db.Packages(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, page...)
				if q.After = next; next == "" {
					return out
				}
			}
			t.Fatal("the pages have no end")
			return nil
		}
		for _, limit := range []int{0, 7, 1000} {
			got := all(PackageQuery{Limit: limit})
			if len(got) != 253 {
				t.Errorf("pages of %d: %d packages, want 253", limit, len(got))
			}
		}
		want := pkg("npm/x", "2", "no\uFFFDthing")
		want.Asset, want.Scanned = "repository:a", at(1)
		other := pkg("npm/x", "1", "p")
		other.Asset, other.Scanned = "repository:b", at(2)
		if diff := cmp.Diff([]Package{want, other}, all(PackageQuery{Key: "npm/x", Limit: 1})); diff != "" {
			t.Error(diff)
		}
		for _, c := range []struct {
			q    PackageQuery
			want int
		}{
			{PackageQuery{Text: "LIB_00"}, 10}, {PackageQuery{Text: "LIBx00"}, 0}, {PackageQuery{Asset: "repository:b"}, 2},
			{PackageQuery{Key: "npm/X"}, 0}, {PackageQuery{Key: "npm/x", Asset: "repository:b"}, 1}, {PackageQuery{Text: "' OR 1=1 --"}, 0},
		} {
			if got := all(c.q); len(got) != c.want {
				t.Errorf("%+v: %d packages, want %d", c.q, len(got), c.want)
			}
		}
		for _, cursor := range []string{"x", "!", packageCursor("a", "", 1), packageCursor(strings.Repeat("k", 600), "a", 1)} {
			if _, _, err := db.Packages(ctx, PackageQuery{After: cursor}); !errors.Is(err, ErrCursor) {
				t.Errorf("cursor %q: %v", cursor, err)
			}
		}
		// What is too much leaves what was there.
		if err := db.PutInventory(ctx, "repository:b", at(3), make([]Package, 900)); !errors.Is(err, ErrFull) {
			t.Errorf("too many packages: %v", err)
		}
		if err := db.PutInventory(ctx, "repository:b", at(3), make([]Package, MaxInventory+1)); !errors.Is(err, ErrQuery) {
			t.Errorf("too many packages of one asset: %v", err)
		}
		if got := all(PackageQuery{Asset: "repository:b"}); len(got) != 2 {
			t.Errorf("after refusals: %d packages, want 2", len(got))
		}
		// A scan replaces, and there is room for it.
		if err := db.PutInventory(ctx, "repository:a", at(4), many[:1]); err != nil {
			t.Fatal(err)
		}
		if err := db.PutInventory(ctx, "repository:b", at(4), make([]Package, 900)); err != nil {
			t.Errorf("there is room again: %v", err)
		}
		// Packages go with their asset.
		if _, err := db.write.Exec(db.dialect.sql("DELETE FROM assets WHERE id = ?"), "repository:b"); err != nil {
			t.Fatal(err)
		}
		if got := all(PackageQuery{}); len(got) != 1 {
			t.Errorf("without the asset: %d packages, want 1", len(got))
		}
	})
}
