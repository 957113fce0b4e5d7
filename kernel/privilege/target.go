package privilege

import (
	"fmt"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// ServiceUser is whom the node becomes where nobody is behind root.
const ServiceUser = "testudo"

// Target is whom the node runs as.
type Target struct {
	UID, GID uint32
	Groups   []uint32
	Name     string // "" where the system does not know the user
	Home     string // "" likewise
	Sudo     bool   // the user behind sudo; else the service's
}

// String returns the name, or the number.
func (t *Target) String() string {
	if t.Name != "" {
		return t.Name
	}
	return fmt.Sprintf("uid %d", t.UID)
}

// Find returns whom a node started by root should run as: the user behind sudo (SUDO_UID, SUDO_GID, sudo(8)), else the user testudo. It
// returns nil where there is neither.
func Find(getenv func(string) string) *Target {
	if uid, err := strconv.ParseUint(getenv("SUDO_UID"), 10, 32); err == nil && uid != 0 && uid != noID {
		t := &Target{UID: uint32(uid), GID: uint32(uid), Sudo: true}
		gid, err := strconv.ParseUint(getenv("SUDO_GID"), 10, 32)
		known := err == nil && gid != 0 && gid != noID
		if known {
			t.GID = uint32(gid)
		}
		if u, err := user.LookupId(strconv.FormatUint(uid, 10)); err == nil {
			t.fill(u, !known)
		}
		t.without0()
		return t
	}
	u, err := user.Lookup(ServiceUser)
	if err != nil {
		return nil
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil || uid == 0 || uid == noID {
		return nil
	}
	t := &Target{UID: uint32(uid)}
	t.fill(u, true)
	t.without0()
	return t
}

// noID is what the kernel takes for "no change".
const noID = 1<<32 - 1

func (t *Target) fill(u *user.User, group bool) {
	t.Name, t.Home = u.Username, u.HomeDir
	if gid, err := strconv.ParseUint(u.Gid, 10, 32); err == nil && group {
		t.GID = uint32(gid)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return // without further groups: less, never more
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil && n != noID {
			t.Groups = append(t.Groups, uint32(n))
		}
	}
}

// without0 leaves root's group out: a user who is in it has its files all the same by being root first.
func (t *Target) without0() {
	kept := t.Groups[:0]
	for _, g := range t.Groups {
		if g != 0 {
			kept = append(kept, g)
		}
	}
	t.Groups = kept
}

// Environ returns the environment of a process of the target, from that of root's: the folders are the user's own.
func (t *Target) Environ(env []string) []string {
	var out []string
	set := map[string]string{"USER": t.Name, "LOGNAME": t.Name, "HOME": t.Home}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		_, replaced := set[name]
		switch {
		case replaced, name == keeperVariable, strings.HasPrefix(name, "SUDO_"), name == "XDG_RUNTIME_DIR":
		case strings.HasPrefix(name, "XDG_") && !t.Sudo: // root's own folders; sudo -E keeps the user's
		default:
			out = append(out, kv)
		}
	}
	for _, name := range []string{"HOME", "LOGNAME", "USER"} {
		if v := set[name]; v != "" {
			out = append(out, name+"="+v)
		}
	}
	if dir := t.RuntimeDir(); dir != "" {
		out = append(out, "XDG_RUNTIME_DIR="+dir)
	}
	return out
}

// RuntimeDir returns the folder that the system made for a user who is signed in, "" where there is none.
func (t *Target) RuntimeDir() string {
	dir := filepath.Join("/run/user", strconv.FormatUint(uint64(t.UID), 10))
	if !ownedDir(dir, t.UID) {
		return ""
	}
	return dir
}

// keeperVariable names the descriptor by which the node finds its keeper.
const keeperVariable = "TESTUDO_KEEPER"
