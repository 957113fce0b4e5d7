package kernel

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
)

const joinLoad = "behind the edge: 200 requests/s over keep-alive connections, one in twenty of which runs a command in each service, while commands run that no request caused; " +
	"one service and three in turn, by threads, pools, forked processes, Go and an event loop, for a minute each"

func join() bar.Bar {
	return bar.Bar{
		Name: "kernel-join", Part: "kernel", Unit: "share", Bound: bar.AtLeast(0.99), Limit: 30 * time.Minute,
		What: "least share, over services that serve a request on one thread or goroutine, of the commands that are joined to the request which caused them, 0 if any command is joined to a wrong one, " + joinLoad,
		Run:  runJoin,
	}
}

// joined is what came out of one service in one load.
type joined struct {
	name              string
	precision, recall float64
	caused            int
}

var (
	joinTest  = regexp.MustCompile(`=== (?:RUN|NAME)\s+(\S+)`)
	joinScore = regexp.MustCompile(`(\w+): precision ([\d.]+), recall ([\d.]+): \{Caused:(\d+)`)
)

// runJoin runs the tests that make the load, and reads their scores.
func runJoin(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	if err := needRoot(); err != nil {
		return m, err
	}
	long := "TESTUDO_LONG=1"
	if env.Short {
		long = "TESTUDO_LONG="
	}
	out, testErr := goTest(ctx, env, "./kernel/chain", "^Test(Load|Hops|Nat|NAT).*$", long)
	var all []joined
	test := ""
	for line := range strings.Lines(out) {
		if at := joinTest.FindStringSubmatch(line); at != nil {
			test = at[1]
		}
		found := joinScore.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		s := joined{name: test + "/" + found[1]}
		var errs [3]error
		s.precision, errs[0] = strconv.ParseFloat(found[2], 64)
		s.recall, errs[1] = strconv.ParseFloat(found[3], 64)
		s.caused, errs[2] = strconv.Atoi(found[4])
		if err := errors.Join(errs[:]...); err != nil {
			return m, err
		}
		all = append(all, s)
	}
	if len(all) == 0 || testErr != nil && !strings.Contains(out, "--- FAIL") {
		return m, errors.Join(testErr, fmt.Errorf("the tests give no score: %s", lastLine(out)))
	}
	m.Value = 1
	commands := 0
	var parts []string
	for _, s := range all {
		commands += s.caused
		loop := strings.HasSuffix(s.name, "/epoll") // nothing is promised but that what is said is right
		if !loop {
			m.Value = min(m.Value, s.recall)
		}
		if s.precision < 1 {
			m.Value = 0
		}
		parts = append(parts, fmt.Sprintf("%s %.4f %.4f", strings.TrimPrefix(s.name, "Test"), s.precision, s.recall))
	}
	m.Detail = fmt.Sprintf("%d commands of requests; precision and recall: %s", commands, strings.Join(parts, ", "))
	return m, nil
}
