package catalogue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "a ?&#.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSearchHonest(t *testing.T) {
	s := open(t)
	for q, want := range map[string]int{"lantern": 1, "LIGHT": 1, "": 8, "submarine": 0} {
		hits, err := s.Search(t.Context(), q)
		if err != nil || len(hits) != want {
			t.Errorf("search %q: %d hits, %v; want %d", q, len(hits), err, want)
		}
	}
}

func TestSearchIsInjectable(t *testing.T) {
	s := open(t)
	hits, err := s.Search(t.Context(), "zzz' UNION SELECT id, name, password, note, role FROM users -- ")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(hits); len(hits) != 4 || !strings.Contains(got, "correct-horse-tortoise") || !strings.Contains(got, "CANARY-7431") {
		t.Errorf("the users table did not come out: %v", got)
	}
	if _, err := s.Search(t.Context(), "hiker's"); err == nil || !strings.Contains(err.Error(), "syntax") {
		t.Errorf("a quote: %v, want the database's own error", err)
	}
}

func TestInjectedWorkIsBounded(t *testing.T) {
	s := open(t)
	endless := "zzz' UNION ALL SELECT * FROM (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT x,x,x,x,x FROM n) -- "
	if hits, err := s.Search(t.Context(), endless); err != nil || len(hits) != maxRows {
		t.Errorf("endless rows: %d hits, %v; want %d", len(hits), err, maxRows)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	busy := "zzz' UNION SELECT 1,1,1,1,(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n) -- "
	if _, err := s.Search(ctx, busy); err == nil {
		t.Error("an endless count returned")
	}
	if _, err := s.Search(t.Context(), "zzz' UNION SELECT 1,1,1,1,hex(zeroblob(500000000)) -- "); err == nil {
		t.Error("a gigabyte was allocated")
	}
	if hits, err := s.Search(t.Context(), "tent"); err != nil || len(hits) != 1 {
		t.Errorf("after it: %v, %v", hits, err)
	}
}

func TestLogin(t *testing.T) {
	s := open(t)
	if u, err := s.Login(t.Context(), "visitor", "tortoise"); err != nil || u.Name != "visitor" || u.Role != "customer" {
		t.Errorf("honest: %+v, %v", u, err)
	}
	if _, err := s.Login(t.Context(), "admin", "guess"); !errors.Is(err, ErrNotFound) {
		t.Errorf("wrong password: %v", err)
	}
	if u, err := s.Login(t.Context(), "admin' -- ", "guess"); err != nil || u.Role != "admin" {
		t.Errorf("injected name: %+v, %v", u, err)
	}
	if u, err := s.Login(t.Context(), "nobody", "x' OR role='admin"); err != nil || u.Role != "admin" {
		t.Errorf("injected password: %+v, %v", u, err)
	}
}

func TestCommentsAreKeptAsTheyAreAndBounded(t *testing.T) {
	s := open(t)
	evil := Comment{"mallory'); --", "<script>document.title='x'</script>"}
	if err := s.AddComment(t.Context(), "tent", evil); err != nil {
		t.Fatal(err)
	}
	got, err := s.Comments(t.Context(), "tent")
	if err != nil || len(got) != 3 || got[2] != evil {
		t.Errorf("comments %v, %v", got, err)
	}
	for i := range maxComments + 5 {
		if err := s.AddComment(t.Context(), "mug", Comment{"a", fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	got, err = s.Comments(t.Context(), "mug")
	if err != nil || len(got) != maxComments || got[maxComments-1].Text != fmt.Sprint(maxComments+4) {
		t.Errorf("%d comments, last %v, %v", len(got), got[len(got)-1], err)
	}
	if err := s.AddComment(t.Context(), "yacht", evil); !errors.Is(err, ErrNotFound) {
		t.Errorf("comment on nothing: %v", err)
	}
}

func TestTwoStartsAreAlike(t *testing.T) {
	a, b := open(t), open(t)
	pa, errA := a.Products(t.Context())
	pb, errB := b.Products(t.Context())
	if errA != nil || errB != nil || len(pa) != 8 || fmt.Sprint(pa) != fmt.Sprint(pb) {
		t.Errorf("%v %v\n%v %v", pa, errA, pb, errB)
	}
}
