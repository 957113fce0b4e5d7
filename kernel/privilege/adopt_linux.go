package privilege

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxAdopted bounds the files of a data directory that change their owner.
const maxAdopted = 5_000_000

// adopt gives a data directory that an earlier run made as root to the user whom the node becomes, and makes a missing one where only
// root may. It follows no symbolic link, crosses into no other file system, and touches nothing where one file within is not root's, or
// has a second name: a folder that somebody else could have prepared is not given away.
func adopt(dir string, t *Target) error {
	fd, err := openDir(unix.AT_FDCWD, dir)
	switch {
	case errors.Is(err, unix.ENOENT):
		return makeFor(dir, t)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOSYS):
		return nil // the node says what is wrong with it, as the user
	case err != nil:
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Uid != 0 || st.Mode&0o077 != 0 || !isData(fd) {
		return nil
	}
	a := adoption{target: t, device: uint64(st.Dev)}
	if err := a.walk(fd, 0, false); err != nil {
		return fmt.Errorf("the data directory %s belongs to root and is not given to %v: %w: look at it, then run chown -R %d:%d %s",
			dir, t, err, t.UID, t.GID, dir)
	}
	a.count = 0
	if err := a.walk(fd, 0, true); err != nil {
		return fmt.Errorf("the data directory %s is given to %v in part only: %w: run chown -R %d:%d %s", dir, t, err, t.UID, t.GID, dir)
	}
	return nil
}

// openDir opens a folder by a path without symbolic links.
func openDir(at int, path string) (int, error) {
	return unix.Openat2(at, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
}

// isData reports whether a folder is one that testudo made: it has a lock and a ledger.
func isData(fd int) bool {
	var lock, ledger unix.Stat_t
	return unix.Fstatat(fd, "lock", &lock, unix.AT_SYMLINK_NOFOLLOW) == nil && lock.Mode&unix.S_IFMT == unix.S_IFREG &&
		unix.Fstatat(fd, "ledger", &ledger, unix.AT_SYMLINK_NOFOLLOW) == nil && ledger.Mode&unix.S_IFMT == unix.S_IFDIR
}

type adoption struct {
	target *Target
	device uint64
	count  int
}

// walk looks at what is in a folder and, the second time, changes its owner; the folder itself last, so that until then nobody but root
// can put anything into it.
func (a *adoption) walk(fd, depth int, change bool) error {
	if depth > 16 {
		return errors.New("nested too deeply")
	}
	names, err := entries(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		if a.count++; a.count > maxAdopted {
			return fmt.Errorf("more than %d files", maxAdopted)
		}
		var st unix.Stat_t
		if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		kind := st.Mode & unix.S_IFMT
		switch {
		case uint64(st.Dev) != a.device:
			return fmt.Errorf("%s is on another file system", name)
		case st.Uid != 0 && !change:
			return fmt.Errorf("%s belongs to uid %d", name, st.Uid)
		case kind == unix.S_IFREG && st.Nlink != 1:
			return fmt.Errorf("%s has %d names", name, st.Nlink)
		case kind == unix.S_IFDIR:
			sub, err := openDir(fd, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			err = a.walk(sub, depth+1, change)
			_ = unix.Close(sub)
			if err != nil {
				return fmt.Errorf("%s/%w", name, err)
			}
			continue
		case kind != unix.S_IFREG && kind != unix.S_IFSOCK:
			return fmt.Errorf("%s is neither file nor folder", name)
		}
		if change {
			if err := unix.Fchownat(fd, name, int(a.target.UID), int(a.target.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if change {
		return unix.Fchown(fd, int(a.target.UID), int(a.target.GID))
	}
	return nil
}

// entries lists a folder.
func entries(fd int) ([]string, error) {
	again, err := openDir(fd, ".")
	if err != nil {
		return nil, err
	}
	defer unix.Close(again)
	var names []string
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.ReadDirent(again, buf)
		if err != nil || n <= 0 {
			return names, err
		}
		for rest := buf[:n]; len(rest) > 0; {
			var used int
			used, _, names = unix.ParseDirent(rest, -1, names)
			rest = rest[used:]
		}
	}
}

// makeFor makes a folder for the user where only root may make one, as in /var/lib. Elsewhere the user makes it.
func makeFor(dir string, t *Target) error {
	parent, err := openDir(unix.AT_FDCWD, filepath.Dir(dir))
	if err != nil {
		return nil
	}
	defer unix.Close(parent)
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil || st.Uid != 0 || st.Mode&0o022 != 0 {
		return nil
	}
	name := filepath.Base(dir)
	if err := unix.Mkdirat(parent, name, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err := unix.Fchownat(parent, name, int(t.UID), int(t.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	return nil
}
