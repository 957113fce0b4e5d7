package shell

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"unsafe"

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

// become prepares all that takes memory or may wait, then lays the limits upon the process and makes it the shell. Go has more mapped than the
// limit on the address space: once that holds, it gets no page more, neither for a buffer nor for the stack of a thread.
func become(line string) error {
	path, err := syscall.BytePtrFromString("/bin/sh")
	if err != nil {
		return err
	}
	args, err := syscall.SlicePtrFromStrings([]string{"sh", "-c", line})
	if err != nil {
		return fmt.Errorf("the command: %w", err)
	}
	env, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return fmt.Errorf("the environment: %w", err)
	}
	limits, err := lowered(tasksOf(os.Getuid()) + maxProcesses)
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(1)  // and a raw system call does not give the one away: from the first limit to exec no other goroutine runs
	runtime.LockOSThread() // no_new_privs belongs to the thread that calls exec
	// No set-user-id program gives root back, not even sudo without a password.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	for i := range limits {
		l := &limits[i]
		if _, _, errno := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(l.resource), uintptr(unsafe.Pointer(&l.value)), 0, 0, 0); errno != 0 {
			return fmt.Errorf("limit on %s: %w", l.name, errno)
		}
	}
	// Not syscall.Exec, which takes memory.
	_, _, errno := syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])))
	return errno
}

// limit is what becomes of one.
type limit struct {
	name     string
	resource int
	value    unix.Rlimit
}

// lowered returns the limits of a shell, none of them above what this process may have.
func lowered(processes uint64) ([]limit, error) {
	var all []limit
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
		{"address space", unix.RLIMIT_AS, maxMemory}, // last: see become
	} {
		var old unix.Rlimit
		if err := unix.Getrlimit(l.resource, &old); err != nil {
			return nil, fmt.Errorf("limit on %s: %w", l.name, err)
		}
		v := min(l.value, old.Max)
		all = append(all, limit{l.name, l.resource, unix.Rlimit{Cur: v, Max: v}})
	}
	return all, nil
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
