//go:build !unix

package feed

import "os"

// lock has no way to notice another update here; the database is replaced whole all the same.
func lock(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }
