//go:build !linux

package process

import (
	"context"
	"errors"

	"github.com/testudo-sec/testudo/kernel/record"
)

var errNoProc = errors.New("processes: only Linux has a /proc to read")

// Seed needs Linux.
func Seed(context.Context, string, func(*record.Record)) error { return errNoProc }

// CgroupMount needs Linux: there is none.
func CgroupMount(string) string { return "" }

// Alive needs Linux: all are taken to live.
func Alive(string) func(pid uint32, start uint64) bool {
	return func(uint32, uint64) bool { return true }
}

// BootID needs Linux.
func BootID(string) (string, error) { return "", errNoProc }
