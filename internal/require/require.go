// Package require says what a test needs beyond Go: a server, a browser, a corpus, a
// privilege. A test that lacks its part is skipped by name with the reason; where the
// environment variable TESTUDO_REQUIRE lists the part, as it does in CI, the lack is a
// failure. It holds names joined by commas; "all" is every part but those that are listed
// with a minus, as in "all,-qemu". Where TESTUDO_SKIPPED names a file, a line is added to it
// for every test that is skipped.
package require

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Part skips the test, or fails it where TESTUDO_REQUIRE lists name, unless present.
// The hint says how to get the part.
func Part(t testing.TB, name string, present bool, hint string) {
	t.Helper()
	if present {
		return
	}
	if demanded(os.Getenv("TESTUDO_REQUIRE"), name) {
		t.Fatalf("%s is missing and TESTUDO_REQUIRE demands it: %s", name, hint)
	}
	if path := os.Getenv("TESTUDO_SKIPPED"); path != "" {
		if err := note(path, fmt.Sprintf("%s: without %s: %s", t.Name(), name, hint)); err != nil {
			t.Log("TESTUDO_SKIPPED: ", err) // as of a test that goes on as another user
		}
	}
	t.Skipf("skipped without %s: %s", name, hint)
}

// demanded tells whether a list of parts holds a name.
func demanded(list, name string) bool {
	parts := strings.Split(list, ",")
	return slices.Contains(parts, name) || slices.Contains(parts, "all") && !slices.Contains(parts, "-"+name)
}

// note adds a line to a file, to which other tests add theirs.
func note(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.ReplaceAll(line, "\n", " ") + "\n")
	return errors.Join(err, f.Close())
}

// Program returns the path of a program of that part, found on PATH or as one
// of the given absolute patterns (the last match wins).
func Program(t testing.TB, part, program string, patterns ...string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	Part(t, part, false, "install the program "+program+", as root on Debian by `make test`")
	return ""
}

// Root skips the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	Part(t, "root", os.Geteuid() == 0, "run the tests as root")
}

// firstPIDs is the machine's first PID namespace: PROC_PID_INIT_INO of linux/proc_ns.h.
const firstPIDs = "pid:[4026531836]"

// HostPIDs skips the test unless it runs in the machine's first PID namespace: the kernel's own words of
// processes have the numbers of that one, in which the test's processes must know themselves.
func HostPIDs(t testing.TB) {
	t.Helper()
	space, err := os.Readlink("/proc/self/ns/pid")
	Part(t, "host-pids", err == nil && space == firstPIDs, fmt.Sprintf("run the tests in no PID namespace of their own: %s, %v", space, err))
}

// Corpora returns the folder of public test corpora named by TESTUDO_CORPORA, by
// default the folder shared/corpora beside the repository's root.
func Corpora(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("TESTUDO_CORPORA"); dir != "" {
		_, err := os.Stat(dir)
		Part(t, "corpora", err == nil, "TESTUDO_CORPORA names "+dir+", which is not there")
		return dir
	}
	if root := repositoryRoot(); root != "" {
		dir := filepath.Join(root, "..", "shared", "corpora")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	Part(t, "corpora", false, "set TESTUDO_CORPORA to the folder of test corpora")
	return ""
}

func repositoryRoot() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, statErr := os.Stat(filepath.Join(dir, "layout_test.go")); statErr == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// Stride is how far a loop over all cases of one goroutine goes at a step: under the race detector, which finds nothing
// there, every nth case will do. `make test` goes through all of them without it.
func Stride(n int) int {
	if Race {
		return n
	}
	return 1
}
