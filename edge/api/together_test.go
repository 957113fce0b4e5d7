package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTogether has many ask at once while what is learned is saved and compared: each gets his own answer.
func TestTogether(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      leaks: {mode: mask}\n      undocumented: off\n", map[string]string{"orders.yaml": document})
	r.g.stores[0].store = &memory{}
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"path": %q, "got": %q, "card": "4111 1111 1111 1111"}`, q.URL.Path, b)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var aside sync.WaitGroup
	aside.Go(func() {
		if err := r.g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	aside.Go(func() {
		for ctx.Err() == nil {
			r.g.Inventory().Refresh()
			r.g.Compare()
			if _, err := r.g.Inventory().Snapshot(); err != nil {
				t.Error(err)
			}
		}
	})
	var all sync.WaitGroup
	h2 := http2(t)
	for who := range 8 {
		all.Go(func() {
			client := st.client
			if who%2 == 0 {
				client = h2
			}
			for i := range 40 {
				path, body := fmt.Sprintf("/%s/%d", strings.Repeat("x", who+1), i), fmt.Sprintf("%d-%d", who, i)
				req, err := http.NewRequest("POST", st.url+path, strings.NewReader(`["`+body+`"]`))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header = headers(jsonType + "\nCookie: session=" + fmt.Sprint(who))
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := fmt.Sprintf(`{"path": %q, "got": "[\"%s\"]", "card": "**** **** **** 1111"}`, path, body); err != nil || string(got) != want {
					t.Errorf("%d %q %v, want %q", resp.StatusCode, got, err, want)
				}
			}
		})
	}
	all.Wait()
	cancel()
	aside.Wait()
}
