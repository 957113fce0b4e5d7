package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

// TestReplays: who may, what is refused, and how the answer ends.
func TestReplays(t *testing.T) {
	b := newBench(t, nil)
	const path = "/api/v1/whatif"
	w := b.send(b.request("POST", path, `{"files":[{"name":"rule.yaml","text":"id: a"}]}`, consoletest.OperatorName))
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if last := lines[len(lines)-1]; w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/x-ndjson" || !strings.Contains(last, `"no_longer_blocked":1`) || !strings.Contains(last, `"inexact":[]`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = b.send(b.request("POST", path, `{"files":[{"name":"rule.yaml","text":"error"}]}`, consoletest.OperatorName))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"message":"an error"`) {
		t.Errorf("rules that do not compile: %d %s", w.Code, w.Body)
	}
	if w = b.send(b.request("POST", path, `{"fils":[]}`, consoletest.OperatorName)); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("a misspelled key: %d %s", w.Code, w.Body)
	}
	if w = b.send(b.request("POST", path, `{}`, consoletest.ViewerName)); w.Code != http.StatusForbidden {
		t.Errorf("a viewer: %d %s", w.Code, w.Body)
	}
	r := b.request("POST", path, `{}`, consoletest.OperatorName)
	r.Header.Del(console.CSRFHeader)
	if w = b.send(r); w.Code != http.StatusForbidden {
		t.Errorf("without the token of the page: %d %s", w.Code, w.Body)
	}
	missing := "/api/v1/events/019b7700-0000-7000-8000-000000000001/exceptions"
	if w = b.send(b.request("POST", missing, `{}`, consoletest.OperatorName)); w.Code != http.StatusNotFound {
		t.Errorf("exceptions for an event that is not there: %d %s", w.Code, w.Body)
	}
	none := newBench(t, nil, func(s *console.Sources) { s.Replay = nil })
	if w = none.send(none.request("POST", path, `{}`, consoletest.OperatorName)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without a lake: %d %s", w.Code, w.Body)
	}
}

// slowReplay waits until it is told to go on.
type slowReplay struct {
	console.ReplaySource
	began, goOn chan struct{}
}

func (s slowReplay) WhatIf(context.Context, console.WhatIfQuery, func(float64)) (console.WhatIfReport, error) {
	s.began <- struct{}{}
	<-s.goOn
	return console.WhatIfReport{Counts: map[string]int64{}}, nil
}

// TestReplaysAreBounded: a replay reads all that is kept, so that only two run at a time.
func TestReplaysAreBounded(t *testing.T) {
	slow := slowReplay{began: make(chan struct{}), goOn: make(chan struct{})}
	b := newBench(t, nil, func(s *console.Sources) { s.Replay = slow })
	ask := func() *httptest.ResponseRecorder {
		return b.send(b.request("POST", "/api/v1/whatif", `{}`, consoletest.OperatorName))
	}
	done := make(chan int)
	for range 2 {
		go func() { done <- ask().Code }()
		<-slow.began
	}
	if w := ask(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("a third: %d %s", w.Code, w.Body)
	}
	close(slow.goOn)
	for range 2 {
		if code := <-done; code != http.StatusOK {
			t.Errorf("one of two: %d", code)
		}
	}
}
