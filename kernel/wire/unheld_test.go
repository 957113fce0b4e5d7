package wire

import (
	"errors"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// TestUnheldIsTold: a sensor that takes another's place and does not take the guard over is no secret.
func TestUnheldIsTold(t *testing.T) {
	f := &fake{}
	told := make(chan error, 1)
	j := join(t, f, &taker{})
	watching := make(chan struct{}, 1)
	j.client.Watching = func() { watching <- struct{}{} }
	j.client.Unheld = func(err error) { told <- err } // before the next session, which is what reads it
	if err := j.client.Guard(t.Context(), kernel.Guard{Closed: true}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.guardFail = errors.New("the maps are full")
	f.mu.Unlock()
	j.plane.Close()
	<-j.served
	j.serve(t, f)
	select {
	case err := <-told:
		if err == nil || err.Error() != "the maps are full" {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	if len(watching) != 0 {
		t.Error("it is said to see what it was not told of")
	}
	if err := j.client.Health(); err != nil {
		t.Errorf("the sensor runs: %v", err)
	}
}
