package privilege

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter makes this process a node, as the package comment says. Where it is root and there is somebody to become it does not return but for
// an error: the program begins anew as that user, and Enter then finds what was prepared.
func Enter(o Options) (Entered, error) {
	if text := os.Getenv(keeperVariable); text != "" && os.Geteuid() != 0 {
		return entered(text)
	}
	if os.Geteuid() != 0 {
		return Entered{}, nil
	}
	target := Find(os.Getenv)
	if err := closeOnExec(); err != nil {
		return Entered{}, err
	}
	var end *os.File
	if o.Keep != nil {
		var err error
		if end, err = startKeeper(o); err != nil {
			return Entered{}, fmt.Errorf("the keeper of the sensor: %w", err)
		}
	}
	if target == nil {
		e := Entered{Root: true}
		if end != nil {
			k, err := newKeeper(end)
			if err != nil {
				return Entered{}, err
			}
			e.Keeper = k
		}
		return e, protect()
	}
	if o.Data != "" {
		if err := adopt(o.Data, target); err != nil {
			return Entered{}, err
		}
	}
	env := target.Environ(os.Environ())
	fd := -1
	if end != nil {
		fd = int(end.Fd())
	}
	env = append(env, keeperVariable+"="+strconv.Itoa(fd))
	return Entered{}, onThread(func() error {
		if err := become(target, o.Service); err != nil {
			return err
		}
		if fd >= 0 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
				return fmt.Errorf("the keeper's socket: %w", err)
			}
		}
		if err := syscall.Exec(ourselves, o.Args, env); err != nil {
			path, _ := os.Readlink(ourselves)
			return fmt.Errorf("%v may not execute %s: %w: install it where everybody may, such as /usr/local/bin", target, path, err)
		}
		return nil
	})
}

// entered is Enter after the change of user.
func entered(text string) (Entered, error) {
	_ = os.Unsetenv(keeperVariable)
	rename("testudo")
	if err := protect(); err != nil {
		return Entered{}, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 0 {
		return Entered{Changed: true}, nil
	}
	unix.CloseOnExec(fd)
	k, err := newKeeper(os.NewFile(uintptr(fd), "keeper"))
	return Entered{Keeper: k, Changed: true}, err
}

// protect keeps other programs of the same user from reading the node's memory or acting in its place: the sensor obeys it.
func protect() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("dumpable: %w", err)
	}
	return nil
}

// Settle gives up what the process kept for listening on low ports. Nothing new can be listened on below 1024 after it.
func Settle() error {
	if os.Geteuid() == 0 {
		return nil
	}
	has, err := permitted()
	if err != nil || has == 0 {
		return err
	}
	// capset is a thread's: it is done on all of them. (Not with cgo, as under the race detector.)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if _, _, errno := allThreads(unix.SYS_CAPSET, &hdr, &none); errno != 0 {
		return fmt.Errorf("the capability for low ports is kept: %w", errno)
	}
	return nil
}

func ownedDir(path string, uid uint32) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uid
}

// packetPair returns two ends that carry whole messages and descriptors.
func packetPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "node"), os.NewFile(uintptr(fds[1]), "keeper"), nil
}

// startKeeper starts the keeper and returns the node's end of the socket to it.
func startKeeper(o Options) (*os.File, error) {
	mine, theirs, err := packetPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	raiseLimits()
	err = onThread(func() error {
		has, err := permitted()
		if err != nil {
			return err
		}
		if err := restrict(has&sensorMask(), true); err != nil {
			return err
		}
		cmd := exec.Cmd{Path: ourselves, Args: append([]string{o.Args[0]}, o.Keep...), Env: []string{"GOTRACEBACK=single"}, Dir: "/",
			ExtraFiles: []*os.File{theirs}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
		if err := cmd.Start(); err != nil {
			return err
		}
		return cmd.Process.Release()
	})
	if err != nil {
		_ = mine.Close()
		return nil, err
	}
	return mine, nil
}

// raiseLimits lets the sensor lock the memory of its maps, where the kernel counts that still, and open many files. What may not be
// raised stays.
func raiseLimits() {
	infinite := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &infinite)
}

// newKeeper is the node's end of the socket to the keeper.
func newKeeper(f *os.File) (*Keeper, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("the keeper's socket: %w", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("descriptor %d is not the keeper's socket", f.Fd())
	}
	return &Keeper{conn: conn}, nil
}
