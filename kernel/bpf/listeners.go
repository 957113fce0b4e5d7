//go:build linux

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// maxDescriptors bounds what is looked at of one process.
const maxDescriptors = 65536

// lookAtListeners finds the processes that wait for connections already, so that their first request is followed. Those that
// begin to later are told of by the kernel.
func (l *Loader) lookAtListeners() error {
	for range maxPasses {
		if found, err := l.lookForListeners(); err != nil || found == 0 {
			return err
		}
	}
	return nil
}

// maxPasses bounds how often all processes are looked at: again while there are new ones, as a server may be about to start others.
const maxPasses = 4

func (l *Loader) lookForListeners() (found int, err error) {
	processes := l.maps["serving_pids"]
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("processes: %w", err)
	}
	listening := map[string]map[string]bool{} // by network namespace: sockets
	for _, e := range all {
		pid, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		ns, err := os.Readlink(filepath.Join(dir, "ns/net"))
		if err != nil {
			continue // it has ended
		}
		sockets, ok := listening[ns]
		if !ok {
			sockets = listeningSockets(dir)
			listening[ns] = sockets
		}
		if len(sockets) == 0 || !holdsOne(filepath.Join(dir, "fd"), sockets) {
			continue
		}
		// The kernel puts in the exact start as it sees the process first: /proc rounds it.
		err = processes.Update(uint32(pid), &servingProcess{Asked: 1}, ebpf.UpdateNoExist)
		if errors.Is(err, ebpf.ErrKeyExist) {
			continue // the kernel has told of it
		}
		if err != nil {
			return found, fmt.Errorf("processes that serve: %w", err)
		}
		found++
		if err := l.lookAt(uint32(pid), 0); err != nil {
			l.log.Debug("a process that serves", "pid", pid, "error", err)
		}
	}
	return found, nil
}

// listeningSockets returns the inodes of the sockets of a process's network namespace that take connections, as names of descriptors.
func listeningSockets(proc string) map[string]bool {
	const listen = "0A" // TCP_LISTEN
	all := map[string]bool{}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(filepath.Join(proc, name))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 9 && fields[3] == listen {
				all["socket:["+fields[9]+"]"] = true
			}
		}
		f.Close()
	}
	return all
}

func holdsOne(dir string, sockets map[string]bool) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	for looked := 0; looked < maxDescriptors; {
		some, err := d.ReadDir(256)
		looked += len(some)
		for _, e := range some {
			if e.Type()&fs.ModeSymlink == 0 {
				continue
			}
			if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && sockets[to] {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
	return false
}
