//go:build !linux

package software

import (
	"context"
	"fmt"

	"github.com/testudo-sec/testudo/kernel"
)

// Reader needs Linux.
type Reader struct{}

// New makes a reader that can do nothing.
func New(Config, string) *Reader { return &Reader{} }

// Executable needs Linux.
func (r *Reader) Executable(context.Context, kernel.FileRef) (kernel.Executable, error) {
	return kernel.Executable{}, fmt.Errorf("executables of processes: %w", kernel.ErrUnable)
}
