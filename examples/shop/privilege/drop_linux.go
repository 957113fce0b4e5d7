package privilege

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// IsRoot reports whether the process has root's identity in any form.
func IsRoot() bool { return os.Getuid() == 0 || os.Geteuid() == 0 }

// Drop makes the whole process (every thread: Go's set*id calls apply to all)
// the given user, without supplementary groups and capabilities, and then checks
// in /proc that this is so and that there is no way back. After an error the
// process is in an unknown state and must end.
func Drop(id Identity) error {
	if err := syscall.Setgroups([]int{}); err != nil {
		return fmt.Errorf("dropping root: setgroups: %w", err)
	}
	if err := syscall.Setresgid(id.GID, id.GID, id.GID); err != nil {
		return fmt.Errorf("dropping root: setgid to %d: %w", id.GID, err)
	}
	if err := syscall.Setresuid(id.UID, id.UID, id.UID); err != nil {
		return fmt.Errorf("dropping root: setuid to %d: %w", id.UID, err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) == 0 {
		return errors.New("dropping root: no /proc to check the result in; mount it")
	}
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended since
		}
		if err != nil {
			return fmt.Errorf("dropping root: checking the result: %w", err)
		}
		if err := ordinary(string(status), id); err != nil {
			return fmt.Errorf("dropping root did not work: %s: %w", path, err)
		}
	}
	if syscall.Setresuid(0, 0, 0) == nil || syscall.Setresgid(0, 0, 0) == nil {
		return errors.New("dropping root did not work: root could be taken back")
	}
	return nil
}

// ordinary checks one thread's /proc status (proc_pid_status(5)): all four user
// and group ids are the given ones, there are no other groups, and no capability
// is held or can be gained by ambient inheritance.
func ordinary(status string, id Identity) error {
	u, g := fmt.Sprint(id.UID), fmt.Sprint(id.GID)
	want := map[string]string{
		"Uid:":    strings.Join([]string{u, u, u, u}, " "),
		"Gid:":    strings.Join([]string{g, g, g, g}, " "),
		"Groups:": "",
		"CapPrm:": "0000000000000000",
		"CapEff:": "0000000000000000",
		"CapAmb:": "0000000000000000",
	}
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		expect, ok := want[fields[0]]
		if !ok {
			continue
		}
		if got := strings.Join(fields[1:], " "); got != expect {
			return fmt.Errorf("%s is %q, not %q", strings.TrimSuffix(fields[0], ":"), got, expect)
		}
		delete(want, fields[0])
	}
	for missing := range want {
		return fmt.Errorf("%s is not shown", strings.TrimSuffix(missing, ":"))
	}
	return nil
}
