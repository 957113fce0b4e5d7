//go:build !linux

package privilege

import (
	"context"
	"errors"
	"os"
)

// Enter changes nothing on this system.
func Enter(Options) (Entered, error) { return Entered{}, nil }

// Settle changes nothing on this system.
func Settle() error { return nil }

// Keep is Linux's alone.
func Keep([]string) error { return errors.ErrUnsupported }

// BeSensor is Linux's alone.
func BeSensor(string) (control, records *os.File, err error) { return nil, nil, errors.ErrUnsupported }

// Gone waits for ctx: there is no keeper.
func (k *Keeper) Gone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func filesOf([]byte) []*os.File { return nil }

func ownedDir(string, uint32) bool { return false }

// Trim changes nothing on this system.
func Trim() {}
