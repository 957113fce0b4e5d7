//go:build !linux

package procwatch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

// Options says how a host is watched.
type Options struct {
	Root        string
	Poll        time.Duration
	Watches     int
	NoConnector bool
	Log         *slog.Logger
}

// Watcher needs Linux.
type Watcher struct{}

// New returns a watcher that cannot be opened.
func New(Options) *Watcher { return &Watcher{} }

// Open needs Linux.
func (w *Watcher) Open(context.Context) error { return fmt.Errorf("processes: %w", kernel.ErrUnable) }
