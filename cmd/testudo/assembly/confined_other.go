//go:build !linux

package assembly

import (
	"context"
	"errors"

	"github.com/testudo-sec/testudo/kernel"
)

var errNoConfine = errors.New("to confine a program takes Linux")

// Stage needs Linux.
func Stage() error { return errNoConfine }

func newConfinedProgram(*ConfinedOptions) (confinedProgram, error) { return nil, errNoConfine }

func seedOwn(context.Context, kernel.Receiver) {}

// Foreground is of Linux.
func Foreground() bool { return false }
