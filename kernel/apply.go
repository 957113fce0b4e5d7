package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How long a sensor is left alone that did not take what is to be seen and enforced. One that says that it cannot is asked now and then all
// the same: a sensor that takes its place may.
const (
	applyFirst  = 100 * time.Millisecond
	applyMost   = 5 * time.Second
	unableMost  = 30 * time.Second
	applyWithin = 30 * time.Second
)

// standing is what the sensor is to see and enforce, and whether it does.
type standing struct {
	again chan struct{} // something is to be told again

	telling sync.Mutex // held while the sensor is told, so that no older order comes after a newer one

	mu          sync.Mutex // guards all below
	interest    *Interest
	guard       *Guard
	interestErr error // why the sensor does not see it, nil where it does
	guardErr    error
}

func newStanding() standing { return standing{again: make(chan struct{}, 1)} }

// SetInterest has the sensor see what the loaded rules need, in the place of what it saw before, now and after every start of the sensor. What the
// plane needs itself (processes that start, fork and end) is seen whatever it says. After an error it is tried again while Run runs, and
// [Plane.Health] says so until it holds.
func (p *Plane) SetInterest(ctx context.Context, i Interest) error {
	h := &p.held
	h.telling.Lock()
	defer h.telling.Unlock()
	h.mu.Lock()
	h.interest = &i
	h.mu.Unlock()
	if err := p.tellInterest(ctx, &i); err != nil {
		p.applyAgain()
		return fmt.Errorf("kernel: what is to be seen: %w", err)
	}
	return nil
}

// SetGuard has the sensor enforce this, in the place of what it enforced before, now and after every start of the sensor. After an error it is
// tried again, as with SetInterest; meanwhile what was enforced before is.
func (p *Plane) SetGuard(ctx context.Context, g Guard) error {
	h := &p.held
	h.telling.Lock()
	defer h.telling.Unlock()
	h.mu.Lock()
	h.guard = &g
	h.mu.Unlock()
	if err := p.tellGuard(ctx, &g); err != nil {
		p.applyAgain()
		return fmt.Errorf("kernel: what is to be enforced: %w", err)
	}
	return nil
}

// Unheld says that a sensor which took another's place did not take over what is to be seen and enforced: it is told again until it does.
func (p *Plane) Unheld(err error) {
	p.held.all(err)
	p.applyAgain()
}

// all says of everything that it does not hold.
func (h *standing) all(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.interest != nil {
		h.interestErr = err
	}
	if h.guard != nil {
		h.guardErr = err
	}
}

func (p *Plane) tellInterest(ctx context.Context, i *Interest) error {
	err := p.d.Sensor.Watch(ctx, *i)
	p.held.mu.Lock()
	p.held.interestErr = err
	p.held.mu.Unlock()
	if err == nil && p.d.Watching != nil {
		p.d.Watching()
	}
	return err
}

func (p *Plane) tellGuard(ctx context.Context, g *Guard) error {
	err := p.d.Sensor.Guard(ctx, *g)
	p.held.mu.Lock()
	p.held.guardErr = err
	p.held.mu.Unlock()
	return err
}

// closed reports whether what cannot be judged is to be refused.
func (h *standing) closed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.guard != nil && h.guard.Closed
}

func (p *Plane) applyAgain() {
	select {
	case p.held.again <- struct{}{}:
	default:
	}
}

// health says what does not hold, nil where all does.
func (h *standing) health() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	if h.guardErr != nil {
		errs = append(errs, fmt.Errorf("rules that refuse are not enforced as they should be, which is tried again: %w", h.guardErr))
	}
	if h.interestErr != nil {
		errs = append(errs, fmt.Errorf("not all that the rules need is seen, which is tried again: %w", h.interestErr))
	}
	return errors.Join(errs...)
}

// errNotTold stands for a sensor that begins and was told nothing yet.
var errNotTold = errors.New("the sensor has just begun")

// apply tells the sensor what is to be seen and enforced, again and again until it takes it.
func (p *Plane) apply(ctx context.Context) {
	pause, last := applyFirst, ""
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.held.again:
			pause = applyFirst
			if last != "" { // it is being tried again already; what is new goes with that
				timer.Reset(pause)
				continue
			}
		case <-timer.C:
		}
		err := p.tellWhatDoesNotHold(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if last != "" {
				p.log.Info("what is to be seen and enforced on this host holds again")
			}
			pause, last = applyFirst, ""
			continue
		}
		if text := err.Error(); text != last {
			p.log.Warn("the sensor does not take what is to be seen and enforced; it is told again", "error", err, "in", pause)
			last = text
		}
		timer.Reset(pause)
		most := applyMost
		if errors.Is(err, ErrUnable) {
			most = unableMost
		}
		pause = min(2*pause, most)
	}
}

// tellWhatDoesNotHold tells the sensor once.
func (p *Plane) tellWhatDoesNotHold(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	h := &p.held
	h.telling.Lock()
	defer h.telling.Unlock()
	h.mu.Lock()
	interest, guard := h.interest, h.guard
	if h.interestErr == nil {
		interest = nil
	}
	if h.guardErr == nil {
		guard = nil
	}
	h.mu.Unlock()
	var errs []error
	if guard != nil {
		errs = append(errs, p.tellGuard(ctx, guard))
	}
	if interest != nil {
		errs = append(errs, p.tellInterest(ctx, interest))
	}
	return errors.Join(errs...)
}
