package chain

import (
	"context"
	"errors"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// ask is a question to the translator.
type ask struct {
	d   direction
	pid uint32
}

// patience bounds one question.
const patience = 2 * time.Second

// ask has the translator asked how the receiver sees a connection; the lock is held.
func (t *Table) ask(a ask) {
	if t.deps.Translator == nil || a.d.to.Addr().IsLoopback() && a.d.from.Addr().IsLoopback() {
		return
	}
	if _, ok := t.asked.get(a.d); ok {
		return
	}
	select {
	case t.asks <- a:
		t.asked.put(a.d, struct{}{})
	default:
		t.stats.Unasked++
	}
}

// Run asks the translator until ctx ends. It returns early, and without an error, where nothing can be translated here.
func (t *Table) Run(ctx context.Context) error {
	if t.deps.Translator == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-t.asks:
			asking, cancel := context.WithTimeout(ctx, patience)
			from, to, ok, err := t.deps.Translator.Translate(asking, a.pid, a.d.from, a.d.to)
			cancel()
			if errors.Is(err, kernel.ErrUnable) {
				return nil
			}
			if err == nil && ok {
				seen := directionOf(from, to, a.d.netns)
				t.alias(seen, a.d)
			}
		}
	}
}

// alias notes that the receiver sees a connection by another name than its sender.
func (t *Table) alias(seen, d direction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Translated++
	t.aliases.put(seen, d)
	c := t.conn(d, 0)
	if late, ok := t.conns.get(seen); ok && !late.edge && len(late.spans) == 0 { // readers that came before the answer
		c.waiting = append(c.waiting, late.waiting...)
		late.waiting = nil
		if extra := len(c.waiting) - maxWaiting; extra > 0 {
			c.waiting = append(c.waiting[:0], c.waiting[extra:]...)
		}
	}
	t.wake(c)
}
