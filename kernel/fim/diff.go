package fim

import (
	"strings"

	"github.com/testudo-sec/testudo/kernel"
)

// Kinds of what is different, as Change.What and the attribute fim.change have them.
const (
	Created = "created"
	Removed = "removed"
	Type    = "type"    // a file became a link, or the like
	Content = "content" // digest; of what is not read, size or time of change
	Mode    = "mode"    // permissions
	Owner   = "owner"   // user or group
	Target  = "target"  // of a symbolic link
)

// Change is how a path differs.
type Change struct {
	Path   kernel.FilePath
	What   []string // at least one of the kinds
	Before kernel.File
	After  kernel.File
}

// String names what is different: "content, mode".
func (c *Change) String() string { return strings.Join(c.What, ", ") }

const (
	typeMask = 0o170000
	permMask = 0o7777
	typeFile = 0o100000
	typeLink = 0o120000
)

// compare returns how a file differs from what it was.
func compare(before, after *kernel.File) (what []string) {
	switch {
	case !before.Exists && !after.Exists:
		return nil
	case !before.Exists:
		return []string{Created}
	case !after.Exists:
		return []string{Removed}
	}
	if before.Mode&typeMask != after.Mode&typeMask {
		return []string{Type}
	}
	switch after.Mode & typeMask {
	case typeFile:
		if before.SHA256 != "" && after.SHA256 != "" {
			if before.SHA256 != after.SHA256 {
				what = append(what, Content)
			}
		} else if before.Size != after.Size || before.Modified != after.Modified {
			what = append(what, Content)
		}
	case typeLink:
		if before.Target != after.Target {
			what = append(what, Target)
		}
		return what // a link's own mode means nothing
	}
	if before.Mode&permMask != after.Mode&permMask {
		what = append(what, Mode)
	}
	if before.UID != after.UID || before.GID != after.GID {
		what = append(what, Owner)
	}
	return what
}

// Diff returns how files differ from a baseline, in the order of a walk. Both lists are in that order.
func Diff(before, after []kernel.File) []Change {
	var out []Change
	add := func(b, a kernel.File) {
		if what := compare(&b, &a); len(what) > 0 {
			path := a.Path
			if path == "" {
				path = b.Path
			}
			out = append(out, Change{Path: path, What: what, Before: b, After: a})
		}
	}
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = comparePaths(string(before[0].Path), string(after[0].Path))
		}
		switch {
		case order < 0:
			add(before[0], kernel.File{Path: before[0].Path})
			before = before[1:]
		case order > 0:
			add(kernel.File{Path: after[0].Path}, after[0])
			after = after[1:]
		default:
			add(before[0], after[0])
			before, after = before[1:], after[1:]
		}
	}
	return out
}
