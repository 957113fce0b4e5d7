package shell

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const childArg = "become-limited-shell"

// Limits beyond time and output.
const (
	maxCPU       = 5         // seconds, of each process
	maxMemory    = 512 << 20 // bytes of address space, of each process
	maxFile      = 8 << 20   // bytes, of each file written
	maxFiles     = 64        // open descriptors, of each process
	maxProcesses = 32        // beside those that the user has already
)

// Child turns the process into a limited shell if it was started by a Runner,
// and then does not return. A program that uses a Runner calls it first in main.
func Child() {
	if len(os.Args) != 3 || os.Args[1] != childArg {
		return
	}
	fmt.Fprintf(os.Stderr, "no shell: %v\n", become(os.Args[2]))
	os.Exit(126)
}

func become(line string) error {
	runtime.LockOSThread() // no_new_privs belongs to the thread that calls exec
	// No set-user-id program gives root back, not even sudo without a password.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	args, env := []string{"sh", "-c", line}, os.Environ()
	processes := tasksOf(os.Getuid()) + maxProcesses
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"cpu", unix.RLIMIT_CPU, maxCPU},
		{"file size", unix.RLIMIT_FSIZE, maxFile},
		{"open files", unix.RLIMIT_NOFILE, maxFiles},
		{"processes", unix.RLIMIT_NPROC, processes},
		{"address space", unix.RLIMIT_AS, maxMemory}, // last: Go has more than this mapped
	} {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &old); err != nil {
			return fmt.Errorf("limit on %s: %w", l.name, err)
		}
		v := min(l.value, old.Max)
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("limit on %s: %w", l.name, err)
		}
	}
	return syscall.Exec("/bin/sh", args, env)
}

// tasksOf counts the threads of a user, which is what RLIMIT_NPROC counts.
func tasksOf(uid int) (n uint64) {
	own := []byte("\nUid:\t" + strconv.Itoa(uid) + "\t")
	threads := []byte("\nThreads:\t")
	eachProcess(func(_ int, dir string) {
		status, err := os.ReadFile(dir + "/status")
		if err != nil || !bytes.Contains(status, own) {
			return
		}
		_, rest, _ := bytes.Cut(status, threads)
		count, _, _ := bytes.Cut(rest, []byte("\n"))
		k, _ := strconv.ParseUint(string(count), 10, 32)
		n += k
	})
	return n
}
