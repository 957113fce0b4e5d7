package waf_test

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/waftest"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// crsBefore is the set-up that the regression tests are written for.
const crsBefore = `SecAction "id:900005,phase:1,nolog,pass,ctl:ruleRemoveById=910000,` +
	`setvar:tx.crs_validate_utf8_encoding=1,setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,` +
	`setvar:tx.total_arg_length=64000,setvar:tx.max_num_args=255,setvar:tx.max_file_size=64100,setvar:tx.combined_file_size=65535"`

// crsShare is the share of the regression tests that must go as expected.
const crsShare = 0.97

// byPort gathers what the edge saw, by the port that the request came from.
type byPort struct {
	mu   sync.Mutex
	seen map[int]*outcome
	port map[signal.ID]int // of requests whose response is awaited
}

type outcome struct {
	rules             map[int]bool
	log               string
	inbound, outbound int64
}

func (b *byPort) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	port := int(e.Int(signal.FieldSrcEndpointPort))
	if e.Parent.IsZero() {
		b.port[e.ID] = port
	} else {
		port = b.port[e.Parent]
		delete(b.port, e.Parent)
	}
	o := b.seen[port]
	if o == nil {
		o = &outcome{rules: map[int]bool{}}
		b.seen[port] = o
	}
	messages := e.Strings(signal.FieldWAFMessages)
	for i, rule := range e.Strings(signal.FieldWAFRules) {
		id, err := strconv.Atoi(rule)
		if err != nil || i >= len(messages) {
			continue
		}
		o.rules[id] = true
		o.log += fmt.Sprintf("[id %q] [msg %q]\n", rule, messages[i])
	}
	o.inbound = max(o.inbound, e.Int(signal.FieldWAFScore))
	o.outbound = max(o.outbound, e.Int(signal.FieldWAFOutboundScore))
	// The evaluation rules say that a score is at its threshold; the event says so in
	// fields of its own.
	if o.inbound >= 5 {
		o.rules[949110] = true
	}
	if o.outbound >= 4 {
		o.rules[959100] = true
	}
	return signal.Verdict{}, nil
}

// take waits a moment for the events of an exchange, which may come after its answer.
func (b *byPort) take(port int, enough func(*outcome) bool) *outcome {
	for try := 0; ; try++ {
		b.mu.Lock()
		o := b.seen[port]
		if (o != nil && enough(o)) || try == 100 {
			delete(b.seen, port)
			b.mu.Unlock()
			if o == nil {
				return &outcome{rules: map[int]bool{}}
			}
			return o
		}
		b.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// TestCoreRuleSetRegression runs the Core Rule Set's own regression tests through the edge, at
// paranoia level 4, in front of a backend that echoes. The race detector makes it ten
// times as slow, so that under it every twelfth test is run.
func TestCoreRuleSetRegression(t *testing.T) {
	dir := require.Corpora(t)
	cfg := waf.DefaultConfig()
	cfg.Before = crsBefore
	inspector, err := waf.New(cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	backend := httptest.NewServer(echo())
	defer backend.Close()

	route := edge.DefaultRoute()
	route.Name, route.Mode, route.Paranoia = "echo", edge.ModeDetect, 4
	route.WebSocket = false
	route.Upstreams = []edge.Upstream{{URL: backend.URL, Weight: 1}}
	ec := edge.Default()
	ec.Listen = []edge.Listener{{Address: "127.0.0.1:0"}}
	ec.Routes = []edge.Route{route}
	sink := &byPort{seen: map[int]*outcome{}, port: map[signal.ID]int{}}
	ed, err := edge.New(ec, edge.Deps{Sink: sink, Inspector: inspector})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := ed.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- ed.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}()

	tests := waftest.Read(t, dir)
	if require.Race {
		var some []waftest.Test
		for i := 0; i < len(tests); i += require.Stride(30) {
			some = append(some, tests[i])
		}
		tests = some
	}
	failures := runFTW(t, ed.Addrs()[0], sink, tests)

	exceptions := readExceptions(t)
	for _, test := range tests {
		why, failed := failures[test.Name]
		_, excepted := exceptions[test.Name]
		switch {
		case failed && !excepted:
			t.Errorf("%s: %s", test.Name, why)
		case !failed && excepted:
			t.Errorf("%s goes as expected: take it off docs/crs-exceptions.md", test.Name)
		}
	}
	share := 1 - float64(len(failures))/float64(len(tests))
	t.Logf("%d of %d tests as expected, %.2f%%", len(tests)-len(failures), len(tests), 100*share)
	if !require.Race && share < crsShare {
		t.Errorf("%.2f%% as expected, want at least %.0f%%", 100*share, 100*crsShare)
	}
}

func runFTW(t *testing.T, addr net.Addr, sink *byPort, tests []waftest.Test) map[string]string {
	t.Helper()
	var mu sync.Mutex
	failures := map[string]string{}
	jobs := make(chan waftest.Test)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for test := range jobs {
				if why := runStages(addr.String(), sink, test.Stages); why != "" {
					mu.Lock()
					failures[test.Name] = why
					mu.Unlock()
				}
			}
		})
	}
	for _, test := range tests {
		jobs <- test
	}
	close(jobs)
	wg.Wait()
	return failures
}

func runStages(addr string, sink *byPort, stages []waftest.Stage) string {
	var why []string
	for i := range stages {
		s := &stages[i]
		status, port, err := exchange(addr, s.Bytes())
		if err != nil {
			return err.Error()
		}
		want := s.Output
		o := sink.take(port, func(o *outcome) bool {
			return !slices.ContainsFunc(want.Log.Expect, func(id int) bool { return !o.rules[id] })
		})
		for _, id := range want.Log.Expect {
			if !o.rules[id] {
				why = append(why, fmt.Sprintf("rule %d did not match (status %d)", id, status))
			}
		}
		for _, id := range want.Log.NoExpect {
			if o.rules[id] {
				why = append(why, fmt.Sprintf("rule %d matched", id))
			}
		}
		if want.Status != 0 && want.Status != status {
			why = append(why, fmt.Sprintf("status %d, want %d", status, want.Status))
		}
		if want.ExpectError && status != 0 && status != 400 {
			why = append(why, fmt.Sprintf("status %d, want an error", status))
		}
		if re := want.Log.MatchRegex; re != "" && !regexp.MustCompile(re).MatchString(o.log) {
			why = append(why, "the log does not match "+re)
		}
		if re := want.Log.NoMatch; re != "" && regexp.MustCompile(re).MatchString(o.log) {
			why = append(why, "the log matches "+re)
		}
	}
	return strings.Join(why, "; ")
}

// readExceptions reads the table of docs/crs-exceptions.md: "| tests | reason |", the tests
// joined by spaces.
func readExceptions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "crs-exceptions.md"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^\d{6}-\d+$`)
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, test := range strings.Fields(cells[2]) {
			if name.MatchString(test) {
				all[test] = strings.TrimSpace(cells[1])
			}
		}
	}
	return all
}
