//go:build !linux

package privilege

import (
	"errors"
	"os"
)

// IsRoot reports whether the process has root's identity in any form.
func IsRoot() bool { return os.Getuid() == 0 || os.Geteuid() == 0 }

// Drop is not to be had here: without /proc its result could not be checked.
func Drop(Identity) error {
	return errors.New("dropping root is possible on Linux only: start the shop as an ordinary user")
}
