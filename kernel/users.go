package kernel

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// accounts are the names of the host's users and groups, as its files say. They are read again when the files have changed.
type accounts struct {
	passwd, group string // files
	users, groups map[uint32]string
	stamp         [2]time.Time
	looked        time.Time
}

// Bounds of what is read of an account file.
const (
	maxAccounts     = 1 << 16
	maxAccountBytes = 16 << 20
)

// lookAgain is how old what is known of the files may be.
const lookAgain = 5 * time.Second

// refresh reads the files where they have changed.
func (a *accounts) refresh(now time.Time) (changed bool) {
	if now.Sub(a.looked) < lookAgain && now.After(a.looked) {
		return false
	}
	a.looked = now
	for i, name := range [...]string{a.passwd, a.group} {
		info, err := os.Stat(name)
		if err != nil || info.ModTime().Equal(a.stamp[i]) {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		ids := readAccounts(io.LimitReader(f, maxAccountBytes))
		f.Close()
		a.stamp[i], changed = info.ModTime(), true
		if i == 0 {
			a.users = ids
		} else {
			a.groups = ids
		}
	}
	return changed
}

// readAccounts reads passwd(5) or group(5): names by numbers; of several names of a number the first one, as getpwuid(3) does.
func readAccounts(r io.Reader) map[uint32]string {
	ids := map[uint32]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(ids) < maxAccounts {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		_, rest, more := strings.Cut(rest, ":")
		number, _, _ := strings.Cut(rest, ":")
		id, err := strconv.ParseUint(number, 10, 32)
		if !ok || !more || err != nil || name == "" || name[0] == '#' || len(name) > 256 {
			continue
		}
		if _, taken := ids[uint32(id)]; !taken {
			ids[uint32(id)] = name
		}
	}
	return ids
}
