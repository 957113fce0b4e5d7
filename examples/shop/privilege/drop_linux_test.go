package privilege

import (
	"fmt"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

const good = "Name:\tshop\nUid:\t65534\t65534\t65534\t65534\nGid:\t65533\t65533\t65533\t65533\nGroups:\t \n" +
	"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"

func TestOrdinary(t *testing.T) {
	id := Identity{Name: "nobody", UID: 65534, GID: 65533}
	if err := ordinary(good, id); err != nil {
		t.Errorf("a dropped thread: %v", err)
	}
	for _, c := range []struct{ name, old, new, err string }{
		{"saved uid is root", "Uid:\t65534\t65534\t65534\t65534", "Uid:\t65534\t65534\t0\t65534", "Uid"},
		{"real uid is root", "Uid:\t65534", "Uid:\t0", "Uid"},
		{"file system gid is root", "65533\nGroups", "0\nGroups", "Gid"},
		{"root's group is left", "Groups:\t ", "Groups:\t0 ", "Groups"},
		{"capabilities are permitted", "CapPrm:\t0000000000000000", "CapPrm:\t00000000000000c0", "CapPrm"},
		{"capabilities are in effect", "CapEff:\t0000000000000000", "CapEff:\t0000000000000001", "CapEff"},
		{"capabilities are ambient", "CapAmb:\t0000000000000000", "CapAmb:\t0000000000000001", "CapAmb"},
		{"a line is missing", "Uid:", "Pid:", "Uid is not shown"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("%s: the case changes nothing", c.name)
		}
		if err := ordinary(bad, id); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q in it", c.name, err, c.err)
		}
	}
}

func TestLookupRefusesRoot(t *testing.T) {
	for _, name := range []string{"root", "0", "no-such-user-here", "4294000000"} {
		if id, err := Lookup(name); err == nil {
			t.Errorf("Lookup(%q) = %+v, want an error", name, id)
		} else if !strings.Contains(err.Error(), "--user") {
			t.Errorf("Lookup(%q): %v does not say what to do", name, err)
		}
	}
	byName, err := Lookup("nobody")
	require.Part(t, "nobody", err == nil, fmt.Sprint("a user nobody: ", err))
	if byName.UID == 0 || byName.GID == 0 || byName.Name != "nobody" {
		t.Errorf("Lookup(nobody) = %+v", byName)
	}
}
