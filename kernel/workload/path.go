package workload

import (
	"regexp"
	"slices"
	"strings"
)

// candidate is what the path of a cgroup says.
type candidate struct {
	id      string
	runtime string // "" where the path does not say
	podUID  string
	user    string // id of the user whose slice it is in, "" for the system's
}

// scopes are the names that the systemd drivers give, before the id and ".scope".
var scopes = []struct{ prefix, runtime string }{
	{"docker-", "docker"}, {"cri-containerd-", "containerd"}, {"containerd-", "containerd"}, {"nerdctl-", "containerd"}, {"crio-", "cri-o"}, {"libpod-", "podman"},
}

var (
	hexID   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	podUID  = regexp.MustCompile(`^(?:kubepods-)?(?:besteffort-|burstable-|guaranteed-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})$`)
	userID  = regexp.MustCompile(`^user-([0-9]+)\.slice$`)
	plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$`)
)

// candidates returns the containers that the path of a cgroup names, the outermost first: a container may run containers. Both drivers, systemd
// (docker-ID.scope) and cgroupfs (/docker/ID), are read.
func candidates(path string) []candidate {
	var all []candidate
	var at candidate
	before := ""
	for name := range strings.SplitSeq(path, "/") {
		if m := userID.FindStringSubmatch(name); m != nil {
			at.user = m[1]
		}
		slice := strings.TrimSuffix(name, ".slice")
		if i := strings.LastIndex(slice, "kubepods-"); i > 0 { // of a kubelet within a container: kubelet-kubepods-...
			slice = slice[i:]
		}
		if m := podUID.FindStringSubmatch(slice); m != nil {
			at.podUID = strings.ReplaceAll(m[1], "_", "-")
		}
		if c, ok := named(name, before, at.podUID != ""); ok {
			c.podUID, c.user = at.podUID, at.user
			all = append(all, c)
		}
		before = name
	}
	return all
}

func named(name, before string, inPod bool) (candidate, bool) {
	if scope, ok := strings.CutSuffix(name, ".scope"); ok {
		for _, s := range scopes {
			if id, ok := strings.CutPrefix(scope, s.prefix); ok && (hexID.MatchString(id) || s.runtime == "containerd" && plainID.MatchString(id)) {
				return candidate{id: id, runtime: s.runtime}, true
			}
		}
		return candidate{}, false // conmon and the like: they look after containers
	}
	if i := strings.LastIndex(name, ":"); i >= 0 { // containerd under its own systemd driver: slice:prefix:id
		name = name[i+1:]
	}
	if id, ok := strings.CutPrefix(name, "libpod-"); ok && hexID.MatchString(id) {
		return candidate{id: id, runtime: "podman"}, true
	}
	if id, ok := strings.CutPrefix(name, "crio-"); ok && hexID.MatchString(id) {
		return candidate{id: id, runtime: "cri-o"}, true
	}
	if !hexID.MatchString(name) {
		return candidate{}, false
	}
	runtime := ""
	switch {
	case before == "docker":
		runtime = "docker"
	case before == "libpod_parent" || strings.HasPrefix(before, "libpod"):
		runtime = "podman"
	case !inPod && before == "default" || before == "k8s.io":
		runtime = "containerd"
	}
	return candidate{id: name, runtime: runtime}, true
}

// last returns the last name of a path that may be the id of a container: what runc and containerd call by the names of people.
func last(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	name = strings.TrimSuffix(name, ".scope")
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	if !plainID.MatchString(name) || slices.Contains([]string{".", ".."}, name) {
		return ""
	}
	return name
}
