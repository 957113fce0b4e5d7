//go:build linux

package enforce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pins is a folder in bpffs that keeps links in place when the process is gone. Its owner holds a lock on it: a folder without a
// living owner is of one that died, or that left what it enforced in force.
type pins struct {
	dir   string
	lock  *os.File
	names map[string]bool
}

const pinPrefix = "guard-"

func pinRoot(bpffs string) string { return filepath.Join(bpffs, "testudo") }

// newPins makes a folder, and mounts bpffs where it is not.
func newPins(bpffs string) (*pins, error) {
	if err := mountBPF(bpffs); err != nil {
		return nil, err
	}
	root := pinRoot(bpffs)
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if info, err := os.Lstat(root); err != nil {
		return nil, err
	} else if sys, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(sys.Uid) != os.Geteuid() || info.Mode()&0o022 != 0 {
		return nil, fmt.Errorf("%s is not a folder that only this user may write: remove it", root)
	}
	p := &pins{dir: filepath.Join(root, fmt.Sprintf("%s%d-%d", pinPrefix, os.Getpid(), time.Now().UnixNano())), names: map[string]bool{}}
	// A folder that another start finds before it is locked would be taken for left: so it is made under the root's lock.
	held, err := lockDir(root, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	if p.lock, err = lockDir(p.dir, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, os.Remove(p.dir))
	}
	return p, nil
}

func mountBPF(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("%w: %s, where what is enforced is kept when testudo ends: %w", errNoPins, dir, err)
	}
	if fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("%w: mount bpffs at %s: %w", errNoPins, dir, err)
	}
	return nil
}

var errNoPins = errors.New("rules cannot be kept in force when testudo ends (fail-closed)")

func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

func (p *pins) has(name string) bool { return p.names[name] }

func (p *pins) pin(l namedLink) error {
	if err := l.Pin(filepath.Join(p.dir, l.name)); err != nil {
		return fmt.Errorf("%w: pin %s: %w", errNoPins, l.name, err)
	}
	p.names[l.name] = true
	return nil
}

func (p *pins) unpin(names []string) error {
	var all []error
	for _, name := range names {
		if p != nil && p.names[name] {
			all = append(all, os.Remove(filepath.Join(p.dir, name)))
			delete(p.names, name)
		}
	}
	return errors.Join(all...)
}

// close takes the pins away; the links hold while the process does.
func (p *pins) close() error {
	if p == nil {
		return nil
	}
	err := os.RemoveAll(p.dir)
	return errors.Join(err, p.lock.Close())
}

// leave lets the pins stand without an owner.
func (p *pins) leave() error {
	if p == nil {
		return nil
	}
	return p.lock.Close()
}

// Pinned returns the folders of what is in force without a process behind it.
func Pinned(bpffs string) ([]string, error) {
	var left []string
	err := stale(bpffs, func(dir string) error {
		left = append(left, dir)
		return nil
	})
	return left, err
}

// Release takes away what earlier processes left in force. What a living one enforces stays.
func Release(bpffs string) error { return stale(bpffs, os.RemoveAll) }

func releaseStale(bpffs string) error { return Release(bpffs) }

// stale calls f for each folder of pins that has no living owner, whatever version made it.
func stale(bpffs string, f func(dir string) error) error {
	root := pinRoot(bpffs)
	held, err := lockDir(root, unix.LOCK_EX)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer held.Close()
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	var all []error
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), pinPrefix) {
			continue
		}
		dir := filepath.Join(root, entry.Name())
		lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			all = append(all, err)
			continue
		}
		all = append(all, f(dir), lock.Close())
	}
	return errors.Join(all...)
}
