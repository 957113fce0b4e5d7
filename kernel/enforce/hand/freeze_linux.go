package hand

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

const (
	// attribute of a frozen cgroup's folder: the ids of the actions that froze it.
	attribute = "trusted.testudo.frozen"
	// others stands among them for somebody else, who froze it before: a pause of the runtime.
	others     = "others"
	maxActions = 32 // on one cgroup
)

// set freezes or thaws.
func (g *group) set(frozen bool) error {
	switch {
	case g.v2 && frozen:
		return write(g.dir, "cgroup.freeze", "1")
	case g.v2:
		return write(g.dir, "cgroup.freeze", "0")
	case frozen:
		return write(g.dir, "freezer.state", "FROZEN")
	}
	return write(g.dir, "freezer.state", "THAWED")
}

// asked reports whether the cgroup itself, not one above it, is to be frozen.
func (g *group) asked() (bool, error) {
	file := "cgroup.freeze"
	if !g.v2 {
		file = "freezer.self_freezing"
	}
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	return strings.TrimSpace(string(b)) == "1", err
}

// isFrozen reports whether everything in it stands still.
func (g *group) isFrozen() (bool, error) {
	if !g.v2 {
		b, err := os.ReadFile(filepath.Join(g.dir, "freezer.state"))
		return strings.TrimSpace(string(b)) == "FROZEN", err
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.events"))
	return strings.Contains("\n"+string(b), "\nfrozen 1\n"), err
}

// owners are the actions that froze the cgroup.
func (g *group) owners() ([]string, error) {
	b := make([]byte, 4096)
	n, err := unix.Getxattr(g.dir, attribute, b)
	switch {
	case errors.Is(err, unix.ENODATA):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cgroup %s: its attribute %s: %w", g.path, attribute, err)
	}
	return strings.Fields(string(b[:n])), nil
}

func (g *group) setOwners(ids []string) error {
	var err error
	if len(ids) == 0 {
		if err = unix.Removexattr(g.dir, attribute); errors.Is(err, unix.ENODATA) {
			err = nil
		}
	} else {
		err = unix.Setxattr(g.dir, attribute, []byte(strings.Join(ids, " ")), 0)
	}
	if err != nil {
		return fmt.Errorf("cgroup %s: its attribute %s: %w", g.path, attribute, err)
	}
	return nil
}

// freeze makes a cgroup stand still, and again where somebody thawed it meanwhile.
func (h *Hand) freeze(ctx context.Context, o *kernel.Order) (kernel.Done, error) {
	g, err := h.allowed(o)
	if err != nil {
		return kernel.Done{}, fmt.Errorf("freeze: %w", err)
	}
	owners, err := g.owners()
	if err != nil {
		return kernel.Done{}, fmt.Errorf("freeze: %w", err)
	}
	was, err := g.asked()
	if err != nil {
		return kernel.Done{}, fmt.Errorf("freeze: cgroup %s: %w", g.path, err)
	}
	marked := slices.Clone(owners)
	if was && len(owners) == 0 {
		marked = append(marked, others)
	}
	if !slices.Contains(marked, o.ID) {
		marked = append(marked, o.ID)
	}
	if len(marked) > maxActions {
		return kernel.Done{}, fmt.Errorf("freeze: cgroup %s is frozen by %d actions already", g.path, len(owners))
	}
	if err := g.setOwners(marked); err != nil {
		return kernel.Done{}, fmt.Errorf("freeze: %w", err)
	}
	err = g.set(true)
	if err == nil {
		err = wait(ctx, g.isFrozen)
	}
	if err != nil {
		undo := g.setOwners(owners)
		if !was {
			undo = errors.Join(undo, g.set(false))
		}
		return kernel.Done{}, errors.Join(fmt.Errorf("freeze: cgroup %s does not stand still: %w", g.path, err), undo)
	}
	done := g.describe()
	done.Detail = fmt.Sprintf("%d processes of cgroup %s stand still", done.Count, g.path)
	return done, nil
}

// thaw lifts one action's freezing, wherever it is: the process that it named may have ended, and its cgroup still stand still.
func (h *Hand) thaw(ctx context.Context, o *kernel.Order) (kernel.Done, error) {
	groups, err := h.frozenBy(o.ID)
	if err != nil {
		return kernel.Done{}, fmt.Errorf("thaw: %w", err)
	}
	done := kernel.Done{Detail: "nothing is frozen by this action"}
	for _, g := range groups {
		one, err := g.thaw(ctx, o.ID)
		if err != nil {
			return kernel.Done{}, fmt.Errorf("thaw: %w", err)
		}
		done = one
	}
	return done, nil
}

// frozenBy finds what an action froze.
func (h *Hand) frozenBy(id string) (found []group, err error) {
	for _, root := range []struct {
		dir string
		v2  bool
	}{{h.v2, true}, {h.v1, false}} {
		if root.dir == "" {
			continue
		}
		folders := 0
		err := filepath.WalkDir(root.dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil && p == root.dir {
				return err
			}
			if err != nil || !d.IsDir() {
				return nil
			}
			if folders++; folders > maxFolders {
				return fmt.Errorf("%s has more than %d folders", root.dir, maxFolders)
			}
			g := group{dir: p, path: strings.TrimPrefix(p, root.dir), v2: root.v2}
			if owners, err := g.owners(); err == nil && slices.Contains(owners, id) {
				found = append(found, g)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (g *group) thaw(ctx context.Context, id string) (kernel.Done, error) {
	owners, err := g.owners()
	if err != nil {
		return kernel.Done{}, err
	}
	left := slices.DeleteFunc(owners, func(o string) bool { return o == id })
	done := g.describe()
	switch {
	case len(left) == 1 && left[0] == others:
		left = nil
		done.Detail = fmt.Sprintf("cgroup %s stays frozen: it was before", g.path)
	case len(left) > 0:
		done.Detail = fmt.Sprintf("cgroup %s stays frozen by another action", g.path)
	default:
		err := g.set(false)
		if err == nil {
			err = wait(ctx, func() (bool, error) { frozen, err := g.asked(); return !frozen, err })
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone: nothing is in it any more
			return done, fmt.Errorf("cgroup %s: %w", g.path, err)
		}
		done.Detail = fmt.Sprintf("%d processes of cgroup %s run again", done.Count, g.path)
	}
	if err := g.setOwners(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return done, err
	}
	return done, nil
}
