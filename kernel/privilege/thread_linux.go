package privilege

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Credentials belong to threads. What is done here is done to the thread of a goroutine that does not come back: the thread then
// starts another program, which has what is left, and nothing else of this process has changed.

// onThread runs fn on a thread of its own, which ends with it.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		result <- fn()
	}()
	return <-result
}

// permitted returns the capabilities of the calling thread.
func permitted() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32, nil
}

// restrict leaves the calling thread, and what it executes, no more than these capabilities, for ever.
func restrict(mask uint64, inherit bool) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	for c := uint(0); c <= lastCapability; c++ {
		if mask&(1<<c) != 0 {
			continue
		}
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil || has == 0 {
			continue // beyond the kernel's last, or gone already
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("capability %d stays in the bounding set: %w", c, err)
		}
	}
	return setCaps(mask, inherit)
}

// setCaps sets what the calling thread has. It is restrict's last step, or comes after a change of user.
func setCaps(mask uint64, inherit bool) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	lo, hi := uint32(mask), uint32(mask>>32)
	data := [2]unix.CapUserData{{Effective: lo, Permitted: lo}, {Effective: hi, Permitted: hi}}
	if inherit {
		data[0].Inheritable, data[1].Inheritable = lo, hi
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// become changes the calling thread to the user, with at most the capability for low ports, and lets none of it come back.
func become(t *Target, low bool) error {
	has, err := permitted()
	if err != nil {
		return err
	}
	var mask uint64
	if low {
		mask = has & (1 << capNetBindService)
	}
	// The bounding set is cut while CAP_SETPCAP is there, the rest after the change of user.
	if err := restrict(has|mask, false); err != nil {
		return err
	}
	for c := uint(0); c <= lastCapability; c++ {
		if mask&(1<<c) == 0 {
			if on, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err == nil && on == 1 {
				if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
					return fmt.Errorf("capability %d stays in the bounding set: %w", c, err)
				}
			}
		}
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("keepcaps: %w", err)
	}
	groups := t.Groups
	if len(groups) == 0 {
		groups = []uint32{t.GID}
	}
	// unix.Setgroups and its like change every thread of the process; these change this one.
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return fmt.Errorf("groups of %v: %w", t, errno)
	}
	gid, uid := uintptr(t.GID), uintptr(t.UID)
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("group of %v: %w", t, errno)
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("becoming %v: %w", t, errno)
	}
	if err := setCaps(mask, true); err != nil {
		return err
	}
	if mask != 0 {
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, capNetBindService, 0, 0); err != nil {
			return fmt.Errorf("low ports: %w", err)
		}
	}
	// It must not be possible to go back; that it is not is cheap to see.
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0); errno == 0 {
		return fmt.Errorf("root comes back after becoming %v", t)
	}
	return nil
}

// ourselves is this program, whatever its path names by now.
const ourselves = "/proc/self/exe"

// closeOnExec has no descriptor but the first three, and those that are handed over, reach another program.
func closeOnExec() error {
	err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	names, err := os.ReadDir("/proc/self/fd") // Linux before 5.11
	if err != nil {
		return fmt.Errorf("descriptors that are open: %w", err)
	}
	for _, n := range names {
		var fd int
		if _, err := fmt.Sscan(n.Name(), &fd); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// rename gives the process the name that ps shows.
func rename(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // for people only
}
