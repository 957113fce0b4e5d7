//go:build !unix

package reach

import "os/exec"

// ownGroup does nothing where there are no process groups: the child alone is ended.
func ownGroup(*exec.Cmd) {}
