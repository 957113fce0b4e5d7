package wire

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/kernel"
)

// TestGuardKeepsNothingFromEverything: in a rule of the guard no list is for all, an empty one for none. What is carried must not make one of
// the other.
func TestGuardKeepsNothingFromEverything(t *testing.T) {
	sent := kernel.Guard{Rules: []kernel.GuardRule{
		{Rule: "all", Hook: kernel.HookConnect},
		{Rule: "none", Hook: kernel.HookConnect, Cgroups: []uint64{}, UIDs: []uint32{}, Remote: []netip.Prefix{}, Ports: []uint16{}},
		{Rule: "some", Hook: kernel.HookConnect, Cgroups: []uint64{1 << 60}, UIDs: []uint32{0}, Remote: []netip.Prefix{netip.MustParsePrefix("::/0")}, Ports: []uint16{80}},
	}}
	b, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got kernel.Guard
	if err := decode(b, &got); err != nil {
		t.Fatal(err)
	}
	if err := checkGuard(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sent, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" { // tells nil from empty
		t.Error(diff)
	}
}

// TestGuardOfManyContainers: as many scopes as the rules of a busy host give are taken.
func TestGuardOfManyContainers(t *testing.T) {
	var g kernel.Guard
	for i := range 256 {
		for _, h := range []kernel.Hook{kernel.HookExec, kernel.HookOpen} {
			g.Ask = append(g.Ask, kernel.AskScope{Hook: h, Mount: fmt.Sprintf("/proc/%d/root", i+1), Files: kernel.Paths{Prefix: []string{"/etc/"}}})
		}
	}
	if err := checkGuard(&g); err != nil {
		t.Error(err)
	}
}
