package privilege

import (
	"os/user"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestFind(t *testing.T) {
	_, err := user.Lookup(ServiceUser)
	service := err == nil
	for _, c := range []struct {
		name string
		env  func(string) string
		want *Target // nil: the service's user, or nobody
	}{
		{"sudo", env("SUDO_UID", "61234", "SUDO_GID", "61235"), &Target{UID: 61234, GID: 61235, Sudo: true}},
		{"sudo of root", env("SUDO_UID", "0", "SUDO_GID", "0"), nil},
		{"the number that changes nothing", env("SUDO_UID", "4294967295"), nil},
		{"no number", env("SUDO_UID", "1000x"), nil},
		{"a negative one", env("SUDO_UID", "-1"), nil},
		{"root's group", env("SUDO_UID", "61234", "SUDO_GID", "0"), &Target{UID: 61234, GID: 61234, Sudo: true}},
		{"nobody behind it", env(), nil},
	} {
		got := Find(c.env)
		if c.want == nil {
			if (got != nil) != service || got != nil && (got.Sudo || got.UID == 0) {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestEnviron(t *testing.T) {
	root := []string{"PATH=/bin", "HOME=/root", "USER=root", "SUDO_UID=61234", "SUDO_COMMAND=x", "XDG_STATE_HOME=/x", "XDG_RUNTIME_DIR=/run/user/0", "TESTUDO_KEEPER=9"}
	behind := &Target{UID: 61234, Name: "eve", Home: "/home/eve", Sudo: true}
	if d := cmp.Diff([]string{"PATH=/bin", "XDG_STATE_HOME=/x", "HOME=/home/eve", "LOGNAME=eve", "USER=eve"}, behind.Environ(root)); d != "" {
		t.Error(d)
	}
	service := &Target{UID: 61234, Name: "testudo", Home: "/var/lib/testudo"}
	if got := service.Environ(root); slices.Contains(got, "XDG_STATE_HOME=/x") {
		t.Errorf("root's own folders stay: %v", got)
	}
	unknown := &Target{UID: 61234, Sudo: true}
	if d := cmp.Diff([]string{"PATH=/bin", "XDG_STATE_HOME=/x"}, unknown.Environ(root)); d != "" {
		t.Error(d)
	}
}
