package privilege

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Trim gives back memory that only the start has used: garbage, and pages of the program's file that belong to the other parts of this
// binary. What is needed again is mapped again, from the page cache.
func Trim() {
	debug.FreeOSMemory()
	maps, err := programMaps()
	if err != nil {
		return
	}
	for _, m := range maps {
		// Else one access may map two megabytes of it again.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_NOHUGEPAGE)
		// Of a mapping without pages of its own nothing can be lost.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

type mapping struct{ from, to uintptr }

// programMaps returns where this program's file is mapped, read-only and without a page that was changed: of a position-independent
// program the parts that were relocated are left out.
func programMaps() ([]mapping, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	exe, err := os.Readlink(ourselves)
	if err != nil {
		return nil, err
	}
	var all []mapping
	var at mapping
	ours := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if n, found := strings.CutPrefix(line, "Anonymous:"); found {
			if ours && strings.TrimSpace(n) == "0 kB" {
				all = append(all, at)
			}
			ours = false
			continue
		}
		var from, to uintptr
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n == 3 && len(mode) == 4 {
			at = mapping{from, to}
			ours = mode[1] == '-' && mode[3] == 'p' && strings.HasSuffix(line, " "+exe)
		}
	}
	return all, nil
}
