//go:build linux

package bpf

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a walk.
const (
	maxLinks = 40 // as the kernel's
	maxEnds  = 8  // where a name may have led
	maxParts = 256
)

// walk finds out where a name led when a call ended: as the kernel walks, but with what the account says of each part before what it is now.
type walk struct {
	n     *names
	space uint32
	pid   uint32
	root  string // of the process, "" for that of its mount namespace
	at    uint64
	clock int64 // of the wall when the call ended

	parts  int
	links  int
	ends   []string
	unsure bool // it may have led elsewhere
}

// name is one that a program passed.
type name struct {
	base   string // the folder that it was taken from, without links; "" for the root
	rest   string // "" or from a slash on
	follow bool   // a link at the end, too
}

func (w *walk) name(n name) {
	text := n.base + n.rest
	if !strings.Contains(n.rest, "/..") {
		clean := path.Clean("/" + text)
		folder := clean // that must be without links
		if !n.follow {
			folder = path.Dir(clean)
		}
		if len(folder) <= len(n.base) || (!w.n.blind && !w.n.changes.touched(w.space, folder, len(n.base)) && w.n.spaces.isPlain(w.space, w.pid, folder) == nil) {
			w.ends = append(w.ends, clean)
			return
		}
	}
	w.walk(n.base, n.rest, n.follow)
}

func (w *walk) walk(cur, rest string, follow bool) {
	var places [maxChanges]place
	for rest != "" {
		var part string
		if part, rest, _ = strings.Cut(rest, "/"); part == "" || part == "." {
			continue
		}
		if w.parts++; w.parts > maxParts {
			w.unsure = true
			return
		}
		if part == ".." {
			if cur != w.root {
				cur = cur[:max(strings.LastIndexByte(cur, '/'), 0)]
			}
			continue
		}
		here := cur + "/" + part
		if rest == "" && !follow {
			cur = here
			break
		}
		if to, left, ok := w.ofSelf(cur, part, rest); ok {
			if cur, rest = to, left; to == "?" {
				w.unsure = true
				return
			}
			continue
		}
		all, known, last := w.n.changes.at(places[:0], placeKey{w.space, here}, w.at)
		if !known {
			one, exact := w.now(here)
			if exact {
				cur = one.target
				continue
			}
			all = append(all, one)
		} else if last { // but for a call that has not ended yet, whose change is made
			if l := w.n.spaces.at(w.space, w.pid, here); l.err == nil && l.kind != placeNone && !slices.Contains(all, l.place) {
				all = append(all, l.place)
			}
		}
		for _, p := range all[1:] {
			if to, left, ok := w.step(p, here, rest); ok && len(w.ends) < maxEnds {
				w.walk(to, left, follow)
			}
		}
		var ok bool
		if cur, rest, ok = w.step(all[0], here, rest); !ok {
			return
		}
	}
	if len(w.ends) == maxEnds {
		w.unsure = true
		return
	}
	if cur == "" {
		cur = "/"
	}
	w.ends = append(w.ends, cur)
}

// step goes on from a name to where it leads.
func (w *walk) step(p place, here, rest string) (cur, left string, ok bool) {
	switch p.kind {
	case placeItself:
		return here, rest, true
	case placeLink:
		if w.links++; w.links <= maxLinks && p.target != "" {
			cur = w.root
			if p.target[0] != '/' {
				cur = here[:strings.LastIndexByte(here, '/')]
			}
			return cur, p.target + "/" + rest, true
		}
	}
	w.unsure = true
	return "", "", false
}

// now returns what a name leads to by now, where that can have been so when the call ended. exact: the target is where a link of procfs leads, as
// the kernel has it.
func (w *walk) now(here string) (p place, exact bool) {
	l := w.n.spaces.at(w.space, w.pid, here)
	switch {
	case l.err != nil || l.kind == placeNone || w.n.blind:
		return place{}, false
	case l.kind == placeLink && l.proc && strings.HasSuffix(l.target, " (deleted)"):
		return place{}, false
	case l.kind == placeLink && l.proc && l.target[0] == '/':
		return l.place, true
	case l.kind == placeLink && !l.proc && l.changed >= w.clock:
		return place{}, false // another link since
	}
	return l.place, false
}

// ofSelf follows what is the process's own in procfs: there "self" is whoever asks, and when we ask the process may be gone. "?" says that it
// cannot be told.
func (w *walk) ofSelf(cur, part, rest string) (to, left string, ok bool) {
	self := part == "self" || part == "thread-self"
	if self {
		if l := w.n.spaces.at(w.space, w.pid, cur+"/"+part); cur != "/proc" && !l.proc {
			return "", "", false
		}
	} else if cur != "/proc" || part != strconv.FormatUint(uint64(w.pid), 10) {
		return "", "", false
	}
	next, left := nextPart(rest)
	if next == "task" {
		_, left = nextPart(left)
		next, left = nextPart(left)
	}
	link := ""
	switch next {
	case "root":
		return w.root, left, true
	case "cwd":
		link = "cwd"
	case "fd":
		next, left = nextPart(left)
		link = "fd/" + next
	default:
		return cur + "/" + part, rest, true // nothing that leads out of there
	}
	of := strconv.FormatUint(uint64(w.pid), 10)
	to, err := os.Readlink("/proc/" + of + "/" + link)
	if in, again := spaceOf(of); err != nil || again != nil || in != w.space || to == "" || to[0] != '/' {
		return "?", "", true
	}
	return strings.TrimSuffix(to, "/"), left, true
}

func nextPart(rest string) (part, left string) {
	for rest != "" {
		if part, rest, _ = strings.Cut(rest, "/"); part != "" && part != "." {
			return part, rest
		}
	}
	return "", ""
}

// wallClock returns what the wall's clock was at a time since the boot, unless it was set since.
func wallClock(at uint64) int64 {
	var boot, wall unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_REALTIME, &wall) != nil {
		return 0
	}
	return wall.Nano() - (boot.Nano() - int64(at))
}
