// Package waf measures the web application firewall.
package waf

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return append([]bar.Bar{{
		Name: "waf-crs-share", Part: "waf", Unit: "%", Bound: bar.AtLeast(97), Limit: 25 * time.Minute,
		What: "share of the Core Rule Set's regression tests that come out as expected through the edge at paranoia level 4 (docs/crs-exceptions.md has the others)",
		Run:  runCRSShare,
	}, falseAlarms()}, engineBars()...)
}

// runCRSShare runs the test that compares each of them, and reads the line in which it says how many.
func runCRSShare(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	if _, err := os.Stat(filepath.Join(env.Corpora, "crs")); err != nil {
		return m, fmt.Errorf("the corpora are missing: %w; name their folder by -corpora", err)
	}
	// The count may not come from the cache of an earlier tree of corpora.
	c, err := proc.Start(ctx, []string{"TESTUDO_CORPORA=" + env.Corpora},
		"go", "-C", env.Module, "test", "./edge/waf", "-run", "^TestCoreRuleSetRegression$", "-v", "-count=1", "-timeout=20m")
	if err != nil {
		return m, err
	}
	defer c.Stop()
	share, last := -1.0, ""
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		if strings.TrimSpace(text) != "" {
			last = text
		}
		if found := tally.FindStringSubmatch(text); found != nil {
			m.Detail = found[0]
			if share, err = percent(found[1], found[2]); err != nil {
				return m, err
			}
		}
	}
	if share < 0 {
		return m, fmt.Errorf("the test did not say how many are as expected: %s", strings.TrimSpace(last))
	}
	m.Value = share
	return m, nil
}

var tally = regexp.MustCompile(`(\d+) of (\d+) tests as expected`)

func percent(part, whole string) (float64, error) {
	a, err := strconv.Atoi(part)
	if err != nil {
		return 0, err
	}
	b, err := strconv.Atoi(whole)
	if err != nil {
		return 0, err
	}
	if b == 0 {
		return 0, fmt.Errorf("no tests were run")
	}
	return 100 * float64(a) / float64(b), nil
}
