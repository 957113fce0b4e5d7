// Package wrk has the program wrk make load on loopback.
package wrk

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// Load is what wrk is to do: one thread keeps the connections open and asks again on each as soon as it has its answer.
type Load struct {
	URL         string
	Script      string // a file in Lua that makes the requests; "" for GET of the URL
	Connections int
	Lasts       time.Duration // whole seconds
}

// Done is what it did.
type Done struct {
	Requests float64
	Rate     float64 // requests a second
	CPU      time.Duration
}

// Find returns an error that says what to install where wrk is not.
func Find() error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("%w: install the package wrk", err)
	}
	return nil
}

var (
	requests = regexp.MustCompile(`(\d+) requests in`)
	rate     = regexp.MustCompile(`Requests/sec:\s*([\d.]+)`)
	errors   = regexp.MustCompile(`(?m)^\s*(Non-2xx.*|Socket errors.*)$`)
)

// Run makes a load. An answer that is no success is an error.
func Run(ctx context.Context, l Load) (d Done, err error) {
	// On a busy machine a slow server may take seconds for an answer, which is none the worse for it.
	args := []string{"-t1", "--timeout", "30s", "-c", strconv.Itoa(l.Connections), "-d", strconv.Itoa(max(1, int(l.Lasts.Seconds())))}
	if l.Script != "" {
		args = append(args, "-s", l.Script)
	}
	cmd := exec.CommandContext(ctx, "wrk", append(args, l.URL)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return d, fmt.Errorf("wrk: %w: %s", err, out)
	}
	if bad := errors.Find(out); bad != nil {
		return d, fmt.Errorf("wrk: %s", bytes.TrimSpace(bad))
	}
	all, each := requests.FindSubmatch(out), rate.FindSubmatch(out)
	if all == nil || each == nil {
		return d, fmt.Errorf("wrk says nothing of requests: %s", out)
	}
	if d.Requests, err = strconv.ParseFloat(string(all[1]), 64); err != nil {
		return d, err
	}
	d.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	d.Rate, err = strconv.ParseFloat(string(each[1]), 64)
	return d, err
}
