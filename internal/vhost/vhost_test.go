package vhost

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	rt := func(name, path string, hosts ...string) Entry[string] {
		return Entry[string]{Hosts: hosts, Path: path, Value: name}
	}
	r := New([]Entry[string]{rt("any", "/"), rt("any-api", "/api/"), rt("shop", "/", "shop.example"), rt("shop-admin", "/admin", "Shop.Example"),
		rt("wild", "/", "*.example"), rt("deep", "/", "*.eu.example"), rt("half", "/only", "half.example")})
	for _, c := range []struct{ host, path, want string }{
		{"other", "/", "any"}, {"other", "/api", "any-api"}, {"other", "/api/x", "any-api"}, {"other", "/apis", "any"},
		{"shop.example", "/", "shop"}, {"shop.example", "/admin/x", "shop-admin"}, {"shop.example", "/administrator", "shop"},
		{"x.example", "/", "wild"}, {"a.b.example", "/", "wild"}, {"a.eu.example", "/", "deep"}, {"example", "/", "any"},
		{"half.example", "/only", "half"}, {"half.example", "/else", "wild"},
		{"shop.example", "/admin/../x", ""}, {"shop.example", "/%61dmin", ""}, {"shop.example", "/x/..%2fadmin", ""}, {"shop.example", "//admin", ""},
		{"shop.example", `/x/..\admin`, ""}, {"shop.example", "/x/..;/admin", ""}, {"shop.example", "/admin;x=1/y", ""}, {"shop.example", "/./admin", ""},
		{"shop.example", "/a%20b", "shop"}, {"shop.example", "/a;b=1", "shop"}, {"shop.example", "/a/../b", "shop"}, {"shop.example", "/%zz", "shop"},
		{"shop.example", "/admin/%41", "shop-admin"},
	} {
		got, ambiguous := r.Find(c.host, c.path)
		if got != c.want || ambiguous != (c.want == "") {
			t.Errorf("%s%s: %q, ambiguous %v, want %q", c.host, c.path, got, ambiguous, c.want)
		}
	}
}

func TestFindNothing(t *testing.T) {
	r := New([]Entry[string]{{Hosts: []string{"shop"}, Path: "/only", Value: "only"}})
	for _, c := range []struct {
		host, path string
		ambiguous  bool
	}{{"other", "/only", false}, {"shop", "/", false}, {"shop", "/onlyx", false}, {"shop", "/x/%2e%2e/only", true}, {"other", "/x/../only", false}} {
		if got, ambiguous := r.Find(c.host, c.path); got != "" || ambiguous != c.ambiguous {
			t.Errorf("%s%s: %q, ambiguous %v", c.host, c.path, got, ambiguous)
		}
	}
}

// FuzzFind holds that a path that is let through leads to the same entry after what servers
// usually do to it.
func FuzzFind(f *testing.F) {
	for _, p := range []string{"/admin/../x", "/%61dmin", `/x\..\admin`, "/x/..;/admin", "//admin", "/./admin/", "/a%2f..%2fadmin"} {
		f.Add(p)
	}
	r := New([]Entry[string]{{Path: "/", Value: "shop"}, {Path: "/admin", Value: "admin"}, {Path: "/admin/open", Value: "open"}})
	f.Fuzz(func(t *testing.T, tail string) {
		raw := "/" + tail
		got, ambiguous := r.Find("h", raw)
		if ambiguous {
			return
		}
		served := []string{path.Clean(raw)}
		if decoded, err := url.PathUnescape(raw); err == nil {
			served = append(served, path.Clean(decoded), path.Clean(strings.ReplaceAll(decoded, `\`, "/")))
		}
		for _, reading := range served {
			if other, _ := r.Find("h", reading); !odd(reading) && other != got {
				t.Fatalf("%q leads to %q, read as %q to %q", raw, got, reading, other)
			}
		}
	})
}
