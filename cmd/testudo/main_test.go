package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/testudo-sec/testudo/internal/require"
)

// quickEnd is GORACE for programs that tests start: each would wait a second at its end.
const quickEnd = "atexit_sleep_ms=0"

// TestMain makes this test binary the command too: scripts run it as testudo.
func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", quickEnd)
	testscript.Main(m, map[string]func(){"testudo": main})
}

// TestScript runs the whole command, as testdata/script says.
func TestScript(t *testing.T) { runScripts(t, "testdata/script") }

// TestRootScript runs the scripts that watch this host.
func TestRootScript(t *testing.T) {
	require.Root(t)
	runScripts(t, "testdata/root")
}

func runScripts(t *testing.T, dir string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// Sockets have short paths, and the data directory is nobody else's.
			dir, err := os.MkdirTemp("", "t")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(dir) })
			for name, value := range map[string]string{
				"HOME": filepath.Join(env.WorkDir, "home"), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": "",
				"DATA": filepath.Join(dir, "d"), "TZ": "UTC", "NO_COLOR": "1", "GORACE": quickEnd,
			} {
				env.Setenv(name, value)
			}
			for _, name := range []string{"PORT1", "PORT2", "PORT3"} {
				ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				env.Setenv(name, ln.Addr().String())
				_ = ln.Close()
			}
			return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "waitfor": waitFor, "flip": flip, "cutoff": cutOff, "busy": busy, "lacks": lacks, "secretfile": secretFile, "escape": escape, "gz": gz, "fetch": fetch,
		},
	})
}
