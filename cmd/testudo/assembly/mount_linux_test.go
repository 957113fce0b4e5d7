package assembly

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// mounted returns a data directory on a file system of its own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	require.Root(t)
	at := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", at, "tmpfs", 0, options+",mode=0700")
	require.Part(t, "mount", err == nil, "run the tests where root may mount a tmpfs")
	t.Cleanup(func() {
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// remount makes the file system read-only, or writable again.
func remount(t *testing.T, at string, readOnly bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("tmpfs", at, "tmpfs", flags, ""); err != nil {
		t.Fatal(err)
	}
}
