//go:build !linux

package fim

import (
	"context"
	"fmt"

	"github.com/testudo-sec/testudo/kernel"
)

// Programs read a regular file for its digest and its package.
type Programs interface {
	Executable(ctx context.Context, r kernel.FileRef) (kernel.Executable, error)
}

// Reader needs Linux.
type Reader struct{}

// NewReader makes a reader that can do nothing.
func NewReader(Config, string, Programs) *Reader { return &Reader{} }

// Examine needs Linux.
func (r *Reader) Examine(context.Context, kernel.ExamineRequest) (kernel.Examined, error) {
	return kernel.Examined{}, fmt.Errorf("files: %w", kernel.ErrUnable)
}
