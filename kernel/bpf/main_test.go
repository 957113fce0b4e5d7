//go:build linux

package bpf

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" { // a helper's goroutines end with it
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}
