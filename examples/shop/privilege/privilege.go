// Package privilege gives root away for good. The shop starts a shell for whoever
// asks, so a shop that is still root is worse than no shop: Drop either leaves a
// process that cannot become root again, shown for every thread, or it returns
// an error and the caller must stop.
package privilege

import (
	"fmt"
	"os/user"
	"strconv"
)

// Identity is the ordinary user to become.
type Identity struct {
	Name     string
	UID, GID int
}

// Lookup finds an ordinary user by name or number. Root, by name, number or
// group, is refused.
func Lookup(name string) (Identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if _, isNumber := strconv.Atoi(name); isNumber == nil {
			u, err = user.LookupId(name)
		}
	}
	if err != nil {
		return Identity{}, fmt.Errorf("no user %q on this machine to become instead of root: give another with --user", name)
	}
	id := Identity{Name: u.Username}
	if id.UID, err = strconv.Atoi(u.Uid); err != nil {
		return Identity{}, fmt.Errorf("user %q has the id %q, not a number", name, u.Uid)
	}
	if id.GID, err = strconv.Atoi(u.Gid); err != nil {
		return Identity{}, fmt.Errorf("user %q has the group %q, not a number", name, u.Gid)
	}
	if id.UID == 0 || id.GID == 0 {
		return Identity{}, fmt.Errorf("user %q is root or in root's group (%d:%d): give an ordinary user with --user", name, id.UID, id.GID)
	}
	return id, nil
}
