// Package goruntime finds out where a compiled Go program keeps the number of the goroutine that runs: what somebody must know who
// looks into it from outside, without its help.
package goruntime

import (
	"bufio"
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrNotGo says that an executable is not a Go program.
var ErrNotGo = errors.New("not a Go program")

// Layout is where the number of a goroutine is, on 64-bit machines.
type Layout struct {
	Version string // that compiled it: "go1.26.1"
	// TLS is where the pointer to the running g is, from the thread pointer (the base of FS). amd64 only: elsewhere a register has it.
	TLS int32
	// GoID is where goid is in the structure runtime.g.
	GoID uint32
}

// goids are the offsets of runtime.g.goid on 64-bit machines, by the first minor release of Go 1 that has them; from src/runtime/runtime2.go
// of each release. 1.23 added syscallbp to g, 1.25 took ret out of gobuf, which g contains. A test compares the release that
// compiles it. Behind the last line the program's own debug information is asked.
var goids = [...]struct{ minor, offset uint32 }{{10, 152}, {23, 160}, {25, 152}}

// newest is the last minor release that goids is known to hold for.
const newest = 26

// maxDebug bounds the debug information that is read of a program of another release: it is any file that a process may run.
const maxDebug = 512 << 20

// Look reads an executable. The error wraps [ErrNotGo] where it is another; else it is a Go program that this package does not know its way
// in, or cannot be read.
func Look(name string) (Layout, error) {
	f, err := os.Open(name)
	if err != nil {
		return Layout{}, err
	}
	defer f.Close()
	return read(f)
}

func read(f io.ReaderAt) (l Layout, err error) {
	defer func() {
		if problem := recover(); problem != nil { // debug/elf and debug/dwarf are not made for hostile files
			err = fmt.Errorf("the executable's headers make no sense: %v", problem)
		}
	}()
	info, err := buildinfo.Read(f)
	if err != nil {
		var bad *os.PathError
		if errors.As(err, &bad) {
			return Layout{}, err
		}
		return Layout{}, fmt.Errorf("%w: %w", ErrNotGo, err)
	}
	l.Version = info.GoVersion
	exe, err := elf.NewFile(f)
	if err != nil {
		return l, fmt.Errorf("%w: %w", ErrNotGo, err)
	}
	if exe.Class != elf.ELFCLASS64 {
		return l, errors.New("a Go program of a 32-bit machine")
	}
	if l.TLS, err = threadLocal(exe); err != nil {
		return l, err
	}
	minor, ok := minorOf(info.GoVersion)
	if ok && minor <= newest {
		for _, g := range goids {
			if minor >= g.minor {
				l.GoID = g.offset
			}
		}
		if l.GoID != 0 {
			return l, nil
		}
	}
	if l.GoID, err = fromDebug(exe); err != nil {
		return l, fmt.Errorf("a Go program of %q, where goroutines cannot be told apart: %w", info.GoVersion, err)
	}
	return l, nil
}

// minorOf returns 26 of "go1.26.1", "go1.26-custom X:y" and so on.
func minorOf(version string) (uint32, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false // a development build
	}
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(rest[:end], 10, 16)
	return uint32(n), err == nil
}

// threadLocal finds the pointer to g. The linker of Go puts it 8 bytes in front of the thread pointer; another one puts runtime.tlsg
// somewhere among the thread-local variables of the program, which end at the thread pointer (variant II of ELF thread-local storage).
func threadLocal(exe *elf.File) (int32, error) {
	const usual = -8
	if exe.Machine != elf.EM_X86_64 {
		return 0, nil
	}
	var segment *elf.Prog
	for _, p := range exe.Progs {
		if p.Type == elf.PT_TLS {
			segment = p
		}
	}
	if segment == nil {
		return usual, nil
	}
	if exe.Section(".symtab") == nil {
		if segment.Memsz == 8 {
			return usual, nil
		}
		return 0, errors.New("a Go program with other thread-local variables, and without symbols")
	}
	symbols, err := exe.Symbols()
	if err != nil {
		return 0, fmt.Errorf("symbols: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "runtime.tlsg" && elf.ST_TYPE(s.Info) == elf.STT_TLS {
			align := max(segment.Align, 1)
			size := (segment.Memsz + align - 1) / align * align
			at := int64(s.Value) - int64(size)
			if at >= 0 || at < -1<<20 {
				return 0, fmt.Errorf("runtime.tlsg at %d makes no sense", at)
			}
			return int32(at), nil
		}
	}
	return usual, nil
}

// fromDebug reads the offset from the debug information of the program, where that was kept.
func fromDebug(exe *elf.File) (uint32, error) {
	size := uint64(0)
	for _, s := range exe.Sections {
		if strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_") {
			size += s.Size
		}
	}
	if size > maxDebug {
		return 0, fmt.Errorf("%d bytes of debug information are too many to read", size)
	}
	debug, err := exe.DWARF()
	if err != nil {
		return 0, fmt.Errorf("no debug information: %w", err)
	}
	for r := debug.Reader(); ; {
		entry, err := r.Next()
		if err != nil || entry == nil {
			return 0, errors.Join(errors.New("no debug information of runtime.g"), err)
		}
		if entry.Tag == dwarf.TagSubprogram {
			r.SkipChildren()
			continue
		}
		if name, _ := entry.Val(dwarf.AttrName).(string); entry.Tag != dwarf.TagStructType || name != "runtime.g" {
			continue
		}
		t, err := debug.Type(entry.Offset)
		if err != nil {
			return 0, fmt.Errorf("runtime.g: %w", err)
		}
		if s, ok := t.(*dwarf.StructType); ok {
			for _, f := range s.Field {
				if f.Name == "goid" && f.ByteOffset > 0 && f.ByteOffset < 4096 {
					return uint32(f.ByteOffset), nil
				}
			}
		}
		return 0, errors.New("runtime.g has no goid")
	}
}

// Cache remembers what executables are: many processes run one. Its zero value is ready, and safe for concurrent use.
type Cache struct {
	mu     sync.Mutex
	known  map[identity]answer
	busy   [2]int        // files that are being read, by whether their file system is a program's
	within time.Duration // 0 for lookWithin; for tests
}

type answer struct {
	l   Layout
	err error
}

// maxKnown bounds the executables that a Cache remembers.
const maxKnown = 1024

// A file is read by somebody who can be left behind: the program or the server that its file system is may never answer. What waits in
// a program's file system does not keep other files from being read.
const lookWithin = 3 * time.Second

// mostBusy is how many files of either kind are read at a time, those included that were given up.
var mostBusy = [2]int{8, 4}

// ErrBusy says that as many files as may be read at a time are, and do not come to an end.
var ErrBusy = errors.New("too many files are being read, whose file systems do not answer")

// Look is the function of that name, for a file that may have been looked at before, such as /proc/PID/exe. It returns within some seconds,
// whatever file system the file is on.
func (c *Cache) Look(name string) (Layout, error) {
	pool := 0
	if servedByProgram(name) {
		pool = 1
	}
	c.mu.Lock()
	if c.busy[pool] >= mostBusy[pool] {
		c.mu.Unlock()
		return Layout{}, ErrBusy
	}
	c.busy[pool]++
	within := c.within
	c.mu.Unlock()
	if within == 0 {
		within = lookWithin
	}
	done := make(chan answer, 1)
	go func() {
		l, err := c.look(name)
		c.mu.Lock()
		c.busy[pool]--
		c.mu.Unlock()
		done <- answer{l, err}
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.l, a.err
	case <-timer.C:
		return Layout{}, fmt.Errorf("%s: its file system does not answer within %v", name, within)
	}
}

func (c *Cache) look(name string) (Layout, error) {
	f, err := os.Open(name)
	if err != nil {
		return Layout{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Layout{}, err
	}
	id, ok := identityOf(info)
	if ok {
		c.mu.Lock()
		known, found := c.known[id]
		c.mu.Unlock()
		if found {
			return known.l, known.err
		}
	}
	l, err := read(f)
	if ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.known == nil || len(c.known) >= maxKnown {
			c.known = map[identity]answer{}
		}
		c.known[id] = answer{l, err}
	}
	return l, err
}

// filesystemOf returns the type of the file system that is mounted with this number, from a text as /proc/PID/mountinfo has it (proc_pid_mountinfo(5)).
func filesystemOf(mountinfo io.Reader, mount string) (string, bool) {
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		id, rest, _ := strings.Cut(lines.Text(), " ")
		if id != mount {
			continue
		}
		_, behind, ok := strings.Cut(rest, " - ")
		kind, _, _ := strings.Cut(behind, " ")
		return kind, ok
	}
	return "", false
}
