package confine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// tasksOf counts the tasks whose environment says that they are of this test.
func tasksOf(t *testing.T) int {
	t.Helper()
	_, n := below(os.Getpid())
	return n
}

// TestForkBomb: a program that forks without end, and leaves its children behind, has no more tasks than it may; the supervisor goes on to answer; and when it is
// stopped nothing of it is left.
func TestForkBomb(t *testing.T) {
	const limit = 48
	for name, script := range map[string]string{
		"children that fork":   `bomb() { bomb | bomb & }; bomb; sleep 60`,
		"orphans that sleep":   `while :; do ( sleep 60 & ) ; done`,
		"in their own session": `while :; do setsid sleep 60 >/dev/null 2>&1 & done`,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "TESTUDO_STAGE=1")
			var crowded atomic.Int64
			p := New(Options{Stage: cmd, Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Tasks: limit, Crowded: func(n int) { crowded.Add(int64(n)) }})
			ran := make(chan error, 1)
			go func() { ran <- p.Run(ctx, &judge{}) }()
			most := 0
			for end := time.Now().Add(30 * time.Second); crowded.Load() == 0; time.Sleep(2 * time.Millisecond) {
				most = max(most, tasksOf(t))
				if time.Now().After(end) {
					t.Fatalf("it was never refused anything, with %d tasks", most)
				}
			}
			for range 50 { // it goes on trying
				most = max(most, tasksOf(t))
				time.Sleep(2 * time.Millisecond)
			}
			if most > limit+maxAsking {
				t.Errorf("it had %d tasks, %d are allowed", most, limit)
			}
			if n := crowded.Load(); n != limit {
				t.Errorf("it was told of %d", n)
			}
			if st, err := p.Status(ctx); err != nil || !strings.Contains(fmt.Sprint(st.Features), "more were not made") {
				t.Errorf("%v %v", st.Features, err)
			}
			cancel()
			select {
			case <-ran:
			case <-time.After(30 * time.Second):
				t.Fatal("it does not stop")
			}
			if n := tasksOf(t); n != 0 {
				t.Errorf("%d of its tasks are left", n)
			}
		})
	}
}

// TestManyForksAreNoBomb: what ends makes room.
func TestManyForksAreNoBomb(t *testing.T) {
	out, err := run(t, &judge{}, Options{Tasks: 12}, `i=0; while [ $i -lt 200 ]; do /bin/true || exit 9; i=$((i+1)); done; echo $i`)
	if err != nil || strings.TrimSpace(out) != "200" {
		t.Errorf("%q %v", out, err)
	}
}
