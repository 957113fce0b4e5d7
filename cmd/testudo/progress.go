package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress shows on a terminal how far long work is, after a second of it.
type progress struct {
	out   io.Writer
	width int
	began time.Time
	last  time.Time
	shown bool
}

// newProgress returns a bar that is silent where out is no terminal.
func newProgress(out io.Writer) *progress {
	width, _, ok := isTerminal(out)
	if !ok {
		out = nil
	}
	return &progress{out: out, width: width, began: time.Now()}
}

// show draws the bar; done is the share that is done.
func (p *progress) show(done float64) {
	now := time.Now()
	if p.out == nil || now.Sub(p.began) < time.Second || now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	size := max(10, min(40, p.width-30))
	full := int(min(1, max(0, done)) * float64(size))
	left := ""
	if done > 0.02 {
		left = "about " + time.Duration(float64(now.Sub(p.began))*(1-done)/done).Round(time.Second).String() + " left"
	}
	fmt.Fprintf(p.out, "\r[%s%s] %3.0f%% %-18s", strings.Repeat("=", full), strings.Repeat(" ", size-full), done*100, left)
}

// label is show with a text in the place of the time that is left, which here nobody can know.
func (p *progress) label(done float64, text string) {
	now := time.Now()
	if p.out == nil || now.Sub(p.began) < time.Second || now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	size := max(5, min(20, p.width-60))
	full := int(min(1, max(0, done)) * float64(size))
	room := max(0, min(p.width, 80)-size-10)
	fmt.Fprintf(p.out, "\r[%s%s] %3.0f%% %-*.*s", strings.Repeat("=", full), strings.Repeat(" ", size-full), done*100, room, room, text)
}

// count says how much was done, where nobody knows how much there is.
func (p *progress) count(n int, what string) {
	now := time.Now()
	if p.out == nil || now.Sub(p.began) < time.Second || now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	fmt.Fprintf(p.out, "\r%d %s", n, what)
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", max(0, min(p.width-1, 80))))
	}
}
