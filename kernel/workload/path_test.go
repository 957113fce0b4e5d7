package workload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
)

const (
	uidDash  = "8f2b7a34-1111-2222-3333-0123456789ab"
	uidUnder = "8f2b7a34_1111_2222_3333_0123456789ab"
)

func TestPathsOfRuntimes(t *testing.T) {
	one := func(runtime, pod, user string) []candidate {
		return []candidate{{id: idA, runtime: runtime, podUID: pod, user: user}}
	}
	for path, want := range map[string][]candidate{
		"/":                          nil,
		"/init.scope":                nil,
		"/system.slice/cron.service": nil,
		"/user.slice/user-1000.slice/session-3.scope": nil,
		"/docker/" + idA:                         one("docker", "", ""),
		"/system.slice/docker-" + idA + ".scope": one("docker", "", ""),
		"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope":                                      one("docker", "", "1000"),
		"/machine.slice/libpod-" + idA + ".scope":                                                                                one("podman", "", ""),
		"/machine.slice/libpod-" + idA + ".scope/container":                                                                      one("podman", "", ""),
		"/machine.slice/libpod-conmon-" + idA + ".scope":                                                                         nil,
		"/libpod_parent/libpod-" + idA:                                                                                           one("podman", "", ""),
		"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope":                                      one("podman", "", "1000"),
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidUnder + ".slice/cri-containerd-" + idA + ".scope": one("containerd", uidDash, ""),
		"/kubepods.slice/kubepods-pod" + uidUnder + ".slice/crio-" + idA + ".scope":                                              one("cri-o", uidDash, ""),
		"/kubepods.slice/kubepods-pod" + uidUnder + ".slice/crio-conmon-" + idA + ".scope":                                       nil,
		"/kubepods/besteffort/pod" + uidDash + "/" + idA:                                                                         one("", uidDash, ""),
		"/kubepods/burstable/pod" + uidDash + "/crio-" + idA:                                                                     one("cri-o", uidDash, ""),
		"/system.slice/containerd.service/kubepods-burstable-pod" + uidUnder + ".slice:cri-containerd:" + idA:                    one("", "", ""),
		"/default/" + idA:                         one("containerd", "", ""),
		"/system.slice/nerdctl-" + idA + ".scope": one("containerd", "", ""),
		"/docker/" + idA + "/init.scope":          one("docker", "", ""),
		"/docker/" + strings.ToUpper(idA):         nil,
		"/docker/" + idA[:63]:                     nil,
		"/docker/" + idB + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uidUnder + ".slice/cri-containerd-" + idA + ".scope": {
			{id: idB, runtime: "docker"}, {id: idA, runtime: "containerd", podUID: uidDash}},
	} {
		if diff := cmp.Diff(want, candidates(path), cmp.AllowUnexported(candidate{})); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

func TestSocketsOfUsers(t *testing.T) {
	for _, c := range []struct{ s, user, want string }{
		{"/run/docker.sock", "", "/run/docker.sock"},
		{"/run/docker.sock", "1000", ""},
		{"/run/user/{uid}/x", "1000", "/run/user/1000/x"},
		{"/run/user/{uid}/x", "", ""},
		{"/run/user/{uid}/x", "../0", ""},
	} {
		if got := expand(c.s, c.user); got != c.want {
			t.Errorf("%s for %q: %q", c.s, c.user, got)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/docker/" + idA)
	f.Add("/kubepods.slice/kubepods-pod" + uidUnder + ".slice/crio-" + idA + ".scope")
	f.Add("/a:b:../c")
	f.Fuzz(func(t *testing.T, path string) {
		for _, c := range candidates(path) {
			if !plainID.MatchString(c.id) || strings.ContainsAny(c.id+c.podUID, "/*[?") || c.user != "" && !numeric.MatchString(c.user) {
				t.Errorf("%+v", c)
			}
		}
		if id := last(path); strings.ContainsAny(id, "/*[?\\") || id == ".." {
			t.Errorf("%q", id)
		}
	})
}
