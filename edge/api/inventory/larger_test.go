package inventory

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestManyNames holds that a hundred collections beside each other stay names, from a cold start on.
func TestManyNames(t *testing.T) {
	for _, n := range []int{30, 60, 120, 200} {
		r := rand.New(rand.NewPCG(uint64(n), 2))
		var api []string
		for i := range n {
			name := nameOf(i*7 + 3)
			api = append(api, "GET /v1/"+name, "POST /v1/"+name, "GET /v1/"+name+"/{int}", "DELETE /v1/"+name+"/{int}")
		}
		v := New(Config{})
		feedObserved(v, r, api, 200*n, func(o *Observation) {})
		if d := cmp.Diff(wanted(api), namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
			t.Errorf("%d collections (-want +got):\n%.600s", n, d)
		}
	}
}

// TestForge is an API like that of a code forge: words for owners and repositories, some of them far more popular than others, and names
// beside them.
func TestForge(t *testing.T) {
	api := []string{"GET /users/{}", "GET /users/{}/repos", "GET /users/{}/gists", "GET /repos/{}/{}", "PATCH /repos/{}/{}", "GET /repos/{}/{}/issues", "POST /repos/{}/{}/issues",
		"GET /repos/{}/{}/issues/{int}", "GET /repos/{}/{}/branches/{}", "GET /orgs/{}", "GET /orgs/{}/members", "GET /search/users", "GET /search/code", "GET /users/ranking",
		"POST /users/invite", "GET /feeds", "GET /emojis", "GET /meta"}
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 5))
		words := make([]string, 3000)
		for i := range words {
			words[i] = randomWord(r)
		}
		zipf := rand.NewZipf(r, 1.1, 3, uint64(len(words)-1))
		v := New(Config{})
		for i := range 60_000 {
			line := api[r.IntN(len(api))]
			var method, path string
			if _, err := fmt.Sscan(line, &method, &path); err != nil {
				t.Fatal(err)
			}
			path = fillWords(r, path, func() string { return words[zipf.Uint64()] })
			v.Learn(&Observation{Time: start, Route: "r", Method: method, Path: path, Status: 200, Caller: uint64(i%700) + 1})
		}
		want := wanted(api)
		if d := cmp.Diff(want, namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
			t.Errorf("seed %d (-want +got):\n%s", seed, d)
		}
	}
}

func fillWords(r *rand.Rand, path string, word func() string) string {
	out := ""
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '{' && path[i+1] == '}':
			out += word()
			i++
		case path[i] == '{':
			return out + fill(r, path[i:])
		default:
			out += path[i : i+1]
		}
	}
	return out
}

// TestNames holds what keeps a name from being taken for a value.
func TestNames(t *testing.T) {
	caller := uint64(0)
	learn := func(v *Inventory, n int, method, path, response string) {
		for range n {
			caller++
			o := Observation{Time: start, Route: "r", Method: method, Path: path, Status: 200, Caller: caller}
			if response != "" {
				o.Response = parse(t, response)
			}
			v.Learn(&o)
		}
	}
	const person, list = `{"login": "a", "since": "2026-11-23", "company": null}`, `{"total": 1, "hits": [{"score": 1.5}]}`
	r := rand.New(rand.NewPCG(1, 2))
	check := func(name string, v *Inventory, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, namesOf(v.Endpoints(Filter{Confirmed: true}))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}

	v := New(Config{}) // seldom asked for, but answered otherwise
	for i := range 400 {
		learn(v, 1+i%2, "GET", "/users/"+randomWord(r), person)
		if i == 20 {
			learn(v, 4, "GET", "/users/search", list)
		}
	}
	check("another answer", v, "GET /users/search", "GET /users/{}")

	v = New(Config{}) // known to be a name only after it was taken for a value
	for range 300 {
		learn(v, 1, "GET", "/users/"+randomWord(r), "")
	}
	learn(v, 1, "POST", "/users/invite", "")
	for range 300 {
		learn(v, 1, "GET", "/users/"+randomWord(r), "")
		learn(v, 4, "POST", "/users/invite", "")
	}
	check("another method", v, "GET /users/{}", "POST /users/invite")

	v = New(Config{})
	learn(v, 30, "OPTIONS", "/a", "")
	learn(v, 30, "GET", "/b", "")
	learn(v, 30, "OPTIONS", "/b", "")
	check("what browsers ask first", v, "GET /b")

	c := crowd{size: 50, methods: 1, deep: 0}
	if c.unlike(profile{methods: 2, few: true}) || !c.unlike(profile{methods: 2}) || c.unlike(profile{methods: 3}) {
		t.Error("a few requests tell which methods are not used")
	}
}
