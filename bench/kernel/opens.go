package kernel

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/bench/proc"
)

// makeOpens is the role of a program that opens a file again and again. Its arguments are the file, a number of threads, and, where calls that cost who
// makes them less are to be mixed in, one of how many is an open. It says its process id; for a line "RATE SECONDS" it makes that many calls a second, as
// many as it can where RATE is 0, and answers with how many it made, and how long that took.
func makeOpens(_ context.Context, talk *proc.Talk, args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return fmt.Errorf("kernel-opens wants a file, a number of threads and maybe one of how many is an open, got %q", args)
	}
	threads, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	each := 1
	if len(args) == 3 {
		if each, err = strconv.Atoi(args[2]); err != nil || each < 1 {
			return fmt.Errorf("one of %q is no share: %w", args[2], err)
		}
	}
	if err := talk.Say("%d", syscall.Getpid()); err != nil {
		return err
	}
	for {
		line, ok := talk.Hear()
		if !ok {
			return nil
		}
		var rate, seconds float64
		if _, err := fmt.Sscan(line, &rate, &seconds); err != nil {
			return err
		}
		made, took, err := opens(args[0], each, threads, rate/float64(threads), time.Duration(seconds*float64(time.Second)))
		if err == nil {
			err = talk.Say("%d %s", made, took)
		} else {
			err = talk.Fail(err)
		}
		if err != nil {
			return err
		}
	}
}

// opens opens a file by so many threads, each at a rate, for a while.
func opens(file string, each, threads int, rate float64, lasts time.Duration) (made int64, took time.Duration, err error) {
	name, err := syscall.BytePtrFromString(file)
	if err != nil {
		return 0, 0, err
	}
	var wait sync.WaitGroup
	var total atomic.Int64
	failed := make(chan error, threads)
	began := time.Now()
	for range threads {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := openOften(name, each, rate, began, lasts, &total); err != nil {
				failed <- err
			}
		})
	}
	wait.Wait()
	close(failed)
	return total.Load(), time.Since(began), <-failed
}

func openOften(name *byte, each int, rate float64, began time.Time, lasts time.Duration, total *atomic.Int64) error {
	const burst = 100 // opens between two looks at the clock
	n := 0
	defer func() { total.Add(int64(n)) }()
	for {
		elapsed := time.Since(began)
		if elapsed >= lasts {
			return nil
		}
		if ahead := time.Duration(float64(n)/max(rate, 1)*1e9) - elapsed; rate > 0 && ahead > 0 {
			time.Sleep(max(ahead, 500*time.Microsecond))
			continue
		}
		for range burst {
			var err error
			if n%each == 0 {
				err = openOnce(name)
			} else {
				err = tryOnce(n%2 == 0)
			}
			if err != nil {
				return err
			}
			n++
		}
	}
}

// tryOnce makes a call that a shipped rule asks for whatever becomes of it, and that fails at its first look: to enter the namespace of no descriptor, or to
// make an io_uring without parameters. So most of what an event costs is telling of it.
func tryOnce(namespace bool) error {
	call, first, want := uintptr(unix.SYS_IO_URING_SETUP), uintptr(0), syscall.EFAULT
	if namespace {
		call, first, want = unix.SYS_SETNS, ^uintptr(0), syscall.EBADF
	}
	if _, _, errno := syscall.RawSyscall(call, first, 0, 0); errno != want {
		return fmt.Errorf("call %d: %w, want %w", call, errno, want)
	}
	return nil
}

// openOnce opens a file for reading and closes it, without the work that package os does.
func openOnce(name *byte) error {
	const atFDCWD = -100
	at := atFDCWD
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(name)), syscall.O_RDONLY|syscall.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	return nil
}
