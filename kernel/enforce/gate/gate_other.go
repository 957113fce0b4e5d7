//go:build !linux

package gate

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/testudo-sec/testudo/kernel"
)

// Gate can ask nobody here.
type Gate struct{}

// New returns a gate.
func New(Config, *slog.Logger, ...int) (*Gate, error) { return &Gate{}, nil }

// Close does nothing.
func (*Gate) Close() {}

// Guard takes no scopes here.
func (*Gate) Guard(_ context.Context, scopes []kernel.AskScope, _ bool) error {
	if len(scopes) > 0 {
		return fmt.Errorf("gate: only Linux asks before files are opened: %w", kernel.ErrUnable)
	}
	return nil
}

// Run waits until ctx ends.
func (*Gate) Run(ctx context.Context, _ kernel.Receiver) error { <-ctx.Done(); return nil }

// Counts are zero here.
func (*Gate) Counts() Counts { return Counts{} }

// Features says why.
func (*Gate) Features() []kernel.Feature {
	return []kernel.Feature{{Name: "fanotify", Detail: "this is not Linux", Cost: "no gate can ask the judge before a file is opened or run"}}
}
