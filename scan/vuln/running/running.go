// Package running tells which packages of a running container are in use: whose files its processes execute or have
// mapped at this moment, as /proc/PID/maps says. A library that is on the disk and in no process is not in use now; what a
// command will load tomorrow nobody knows, so that this moves a priority and decides nothing.
//
// What the container says of itself (the file lists of its package manager) is read within its root, up to limits; who
// may write to it can claim anything.
package running

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
)

const (
	maxProcesses = 50_000
	maxMaps      = 16 << 20 // of one process
	maxPaths     = 200_000
	maxLists     = 50_000 // file lists of packages
	maxList      = 32 << 20
)

// Use is what was seen of a container.
type Use struct {
	files    map[string]bool // absolute paths in the container
	packages map[string]bool // names of packages that own one of them
	owners   string          // the ecosystems whose packages could be told: "Debian", "Alpine"; empty for none
}

// Look reads the processes that share the mount namespace of the process, under the given /proc.
func Look(ctx context.Context, proc string, pid int) (*Use, error) {
	own, err := os.Readlink(filepath.Join(proc, strconv.Itoa(pid), "ns", "mnt"))
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	root, err := os.OpenRoot(filepath.Join(proc, strconv.Itoa(pid), "root"))
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer root.Close()
	u := &Use{files: map[string]bool{}, packages: map[string]bool{}}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := strconv.Atoi(e.Name()); err != nil || i > maxProcesses {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		if ns, err := os.Readlink(filepath.Join(dir, "ns", "mnt")); err != nil || ns != own {
			continue // another container's, or gone
		}
		if exe, err := os.Readlink(filepath.Join(dir, "exe")); err == nil {
			u.add(exe)
		}
		if f, err := os.Open(filepath.Join(dir, "maps")); err == nil {
			u.readMaps(io.LimitReader(f, maxMaps))
			f.Close()
		}
	}
	u.own(root)
	return u, ctx.Err()
}

func (u *Use) add(file string) {
	if file = strings.TrimSuffix(file, " (deleted)"); strings.HasPrefix(file, "/") && len(u.files) < maxPaths {
		u.files[path.Clean(file)] = true
	}
}

// readMaps takes the files of a process's maps (proc(5)).
func (u *Use) readMaps(r io.Reader) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		line := s.Bytes()
		// address perms offset dev inode path
		for range 5 {
			at := bytes.IndexByte(line, ' ')
			if at < 0 {
				line = nil
				break
			}
			line = bytes.TrimLeft(line[at:], " ")
		}
		if len(line) > 0 && line[0] == '/' {
			u.add(unescape(string(line)))
		}
	}
}

// unescape undoes \012, the one character that the kernel escapes in there.
func unescape(s string) string { return strings.ReplaceAll(s, `\012`, "\n") }

// own tells the packages of the files by the lists of dpkg or apk.
func (u *Use) own(root *os.Root) {
	if dir, err := root.Open("var/lib/dpkg/info"); err == nil {
		defer dir.Close()
		u.owners = "Debian"
		names, _ := dir.Readdirnames(maxLists)
		for _, name := range names {
			owner, isList := strings.CutSuffix(name, ".list")
			if !isList {
				continue
			}
			owner, _, _ = strings.Cut(owner, ":")
			if data, err := read(root, "var/lib/dpkg/info/"+name); err == nil && u.anyOf(data) {
				u.packages[owner] = true
			}
		}
		return
	}
	if data, err := read(root, "lib/apk/db/installed"); err == nil {
		u.owners = "Alpine"
		u.readAPK(data)
	}
}

// anyOf reports whether one of the listed files is in use. With merged folders the list may say /lib where processes
// say /usr/lib.
func (u *Use) anyOf(list []byte) bool {
	for line := range bytes.Lines(list) {
		file := string(bytes.TrimSuffix(line, []byte("\n")))
		if u.files[file] || u.files["/usr"+file] {
			return true
		}
	}
	return false
}

// readAPK reads apk's database: P is the package, F a folder, R a file in it.
func (u *Use) readAPK(data []byte) {
	name, folder := "", ""
	for line := range bytes.Lines(data) {
		text := strings.TrimSuffix(string(line), "\n")
		switch {
		case strings.HasPrefix(text, "P:"):
			name = text[2:]
		case strings.HasPrefix(text, "F:"):
			folder = text[2:]
		case strings.HasPrefix(text, "R:"):
			if file := "/" + path.Join(folder, text[2:]); u.files[file] || u.files["/usr"+file] {
				u.packages[name] = true
			}
		}
	}
}

var errNoFile = errors.New("not a regular file, or too large")

func read(root *os.Root, name string) ([]byte, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeType != 0 || info.Size() > maxList {
		return nil, errNoFile
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxList))
}

// Of says whether a package is in use: those of the distribution by the files that they own, others by the file that
// they are (a program, a jar), and nothing of what cannot be told.
func (u *Use) Of(p *scan.Package) vuln.Use {
	family, _, _ := strings.Cut(p.Ecosystem, ":")
	if family == "Ubuntu" {
		family = "Debian"
	}
	switch {
	case u.owners != "" && family == u.owners:
		if u.packages[p.Name] {
			return vuln.Used
		}
		return vuln.NotUsed
	case p.Path != "" && u.files["/"+strings.TrimPrefix(p.Path, "/")]:
		return vuln.Used
	}
	return vuln.UseUnknown
}
