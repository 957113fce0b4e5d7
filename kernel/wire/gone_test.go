package wire

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
)

// goner is a sensor that is asked to act on what has ended.
type goner struct{ fake }

func (*goner) Do(context.Context, kernel.Order) (kernel.Done, error) {
	return kernel.Done{}, fmt.Errorf("kill: process 7: %w", kernel.ErrGone)
}

func TestWhatHasEndedIsToldApart(t *testing.T) {
	g := &goner{}
	j := join(t, g, &taker{})
	_, err := j.client.Do(t.Context(), kernel.Order{Verb: kernel.VerbRadius, For: kernel.VerbKill, PID: 7, Start: 1})
	if !errors.Is(err, kernel.ErrGone) || err.Error() != "kill: process 7: it has ended" || errors.Is(err, kernel.ErrUnable) {
		t.Errorf("%v", err)
	}
}
