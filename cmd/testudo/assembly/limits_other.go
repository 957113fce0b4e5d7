//go:build !linux

package assembly

import "github.com/testudo-sec/testudo/internal/bytesize"

// openFiles is not known on this system.
func openFiles() (uint64, bool) { return 0, false }

// freeDisk is not known on this system.
func freeDisk(string) (bytesize.Size, bool) { return 0, false }
