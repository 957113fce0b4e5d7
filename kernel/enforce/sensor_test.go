//go:build linux

package enforce_test

import (
	"os"
	"slices"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
)

// TestSensorLoads is for the guest, in the long form: the sensor's programs, built from another kernel's types, load and are attached on 6.1 too.
func TestSensorLoads(t *testing.T) {
	require.Root(t)
	if os.Getenv("TESTUDO_ENFORCE_GUEST") == "" {
		t.Skip("skipped: it is for the guest of TestLSM; here kernel/bpf tests itself")
	}
	l := bpf.New(bpf.Options{})
	if err := l.Load(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Watch(t.Context(), kernel.Interest{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Attach(); err != nil {
		t.Fatal(err)
	}
	// What 6.1's verifier, or its set of helpers, still refuses of the sensor. What is added to the list is lost on Debian 12.
	known := []string{"tracefs", "accept", "accept4", "bind", "listen", "packets sent", "packets received"}
	missing := 0
	for _, f := range l.Features() {
		t.Logf("%s: %v: %s", f.Name, f.OK, f.Detail)
		if !f.OK && !slices.Contains(known, f.Name) {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d features are missing", missing)
	}
}
