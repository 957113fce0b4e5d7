package waf

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func falseAlarms() bar.Bar {
	return bar.Bar{
		Name: "waf-false-alarms", Part: "waf", Unit: "%", Bound: bar.AtLeast(90), Limit: 30 * time.Minute,
		What: "share of the false alarms, about harmless prose, Markdown, code, SQL manuals and JSON of this machine, that the proposed exceptions take away, at the paranoia level where it is least; " +
			"0 if more than 1% of the attacks of the Core Rule Set's regression tests are lost at any level",
		Run: runFalseAlarms,
	}
}

var (
	alarmRate = regexp.MustCompile(`level (\d): of harmless requests are alarms:.* all (\S+%) \((\d+) of (\d+)\)`)
	alarmsOff = regexp.MustCompile(`level (\d): (\d+) exclusions for (\d+) alarms leave (\d+); .*; lost are (\d+) of (\d+) attacks as they are, (\d+) of (\d+) in the parameters`)
)

// runFalseAlarms runs the long form of the test that counts them, and reads what it says of each level.
func runFalseAlarms(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	c, err := proc.Start(ctx, []string{"TESTUDO_LONG=1", "TESTUDO_CORPORA=" + env.Corpora}, "go", "-C", env.Module, "test", "./edge/waf/coverage", "-run", "^TestFalseAlarms$", "-v", "-count=1", "-timeout=30m")
	if err != nil {
		return m, err
	}
	defer c.Stop()
	var told []string
	levels, last := 0, ""
	m.Value = 100
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text != "" {
			last = text
		}
		if rate := alarmRate.FindStringSubmatch(text); rate != nil {
			told = append(told, fmt.Sprintf("level %s: %s of %s requests are alarms", rate[1], rate[2], rate[4]))
			env.Progress("%s", told[len(told)-1])
		}
		if off := alarmsOff.FindStringSubmatch(text); off != nil {
			var n [9]int
			for i := 2; i < len(off); i++ {
				if n[i], err = strconv.Atoi(off[i]); err != nil {
					return m, err
				}
			}
			if n[3] == 0 || n[6] == 0 {
				return m, fmt.Errorf("level %s: %d alarms and %d attacks show nothing", off[1], n[3], n[6])
			}
			levels++
			m.Value = min(m.Value, 100*(1-float64(n[4])/float64(n[3])))
			if n[5]*100 > n[6] {
				m.Value = 0
			}
			told = append(told, fmt.Sprintf("%d exceptions for %d of them leave %d and lose %d of %d attacks, %d of %d where each is sent in the parameters that exceptions are about", n[2], n[3], n[4], n[5], n[6], n[7], n[8]))
		}
	}
	if levels != 4 {
		return m, fmt.Errorf("the test told of %d levels, not 4: %s", levels, last)
	}
	m.Detail = strings.Join(told, "; ")
	return m, nil
}
