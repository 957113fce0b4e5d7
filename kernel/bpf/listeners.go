//go:build linux

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// maxDescriptors bounds what is looked at of one process.
const maxDescriptors = 65536

// lookAtListeners finds the processes that wait for connections already, so that their first request is followed. Those that
// begin to later are told of by the kernel.
func (l *Loader) lookAtListeners(served []uint16) error {
	for range maxPasses {
		if found, err := l.lookForListeners(served); err != nil || found == 0 {
			return err
		}
	}
	return nil
}

// maxPasses bounds how often all processes are looked at: again while there are new ones, as a server may be about to start others.
const maxPasses = 4

func (l *Loader) lookForListeners(served []uint16) (found int, err error) {
	processes := l.maps["serving_pids"]
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("processes: %w", err)
	}
	listening := map[string]map[string]uint16{} // by network namespace: sockets and their ports
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
		port := heldPort(filepath.Join(dir, "fd"), sockets, served)
		if port == 0 {
			continue
		}
		// The kernel puts in the exact start as it sees the process first: /proc rounds it.
		err = processes.Update(uint32(pid), &servingProcess{Asked: 1, Port: port}, ebpf.UpdateNoExist)
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

// listeningSockets returns the ports of the sockets of a process's network namespace that take connections, by the names of their descriptors.
func listeningSockets(proc string) map[string]uint16 {
	const listen = "0A" // TCP_LISTEN
	all := map[string]uint16{}
	for _, name := range []string{"net/tcp", "net/tcp6"} {
		f, err := os.Open(filepath.Join(proc, name))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || fields[3] != listen {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":") // address:port
			if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
				all["socket:["+fields[9]+"]"] = uint16(port)
			}
		}
		f.Close()
	}
	return all
}

// heldPort returns the port of one of the sockets that a process holds, of a served one where it does; 0 where it holds none.
func heldPort(dir string, sockets map[string]uint16, served []uint16) (port uint16) {
	if len(sockets) == 0 {
		return 0
	}
	d, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer d.Close()
	for looked := 0; looked < maxDescriptors; {
		some, err := d.ReadDir(256)
		looked += len(some)
		for _, e := range some {
			if e.Type()&fs.ModeSymlink == 0 {
				continue
			}
			to, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil || sockets[to] == 0 {
				continue
			}
			if port = sockets[to]; slices.Contains(served, port) {
				return port
			}
		}
		if err != nil {
			return port
		}
	}
	return port
}
