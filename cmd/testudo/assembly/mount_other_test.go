//go:build !linux

package assembly

import (
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

func mounted(t *testing.T, _ string) string {
	t.Helper()
	require.Part(t, "mount", false, "run the tests on Linux as root")
	return ""
}

func remount(*testing.T, string, bool) {}
