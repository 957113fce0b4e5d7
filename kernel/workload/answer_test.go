package workload

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/kernel"
)

// serve answers on a socket below root.
func serve(t *testing.T, root, socket string, h http.HandlerFunc) {
	t.Helper()
	path := filepath.Join(root, socket)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &p}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
}

// inside makes a host with one process in that cgroup of v1.
func inside(t *testing.T, path string) (root string) {
	t.Helper()
	root, err := os.MkdirTemp("", "w") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.MkdirAll(filepath.Join(root, "proc/7"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/7/cgroup"), []byte("3:cpu:"+path+"\n0::/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func resolve(t *testing.T, r *Resolver) kernel.Container {
	t.Helper()
	c, ok, err := r.Container(t.Context(), 1, 7)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	return c
}

func TestDocker(t *testing.T) {
	root := inside(t, "/docker/"+idA)
	asked := 0
	serve(t, root, "run/docker.sock", func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/containers/"+idA+"/json" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"Id":%q,"Name":"/shop","Image":"sha256:12ab","State":{"StartedAt":"2026-01-02T03:04:05.5Z"},"Config":{"Image":"registry:5000/shop:1.2","Labels":{"team":"red\u0000","long":%q}},
			"HostConfig":{"Privileged":true},"Mounts":[{"Type":"bind","Source":"/etc","Destination":"/host","Mode":"z","RW":false},{"Source":"/v","Destination":"/v","RW":true}],"Unknown":[1]}`,
			idA, strings.Repeat("x", 100000))
	})
	r := New(Default(), root)
	want := kernel.Container{ID: idA, Name: "shop", Runtime: "docker", Image: "registry:5000/shop", Tag: "1.2", Digest: "sha256:12ab", Known: true, Privileged: true,
		Labels: map[string]string{"team": "red\x00", "long": strings.Repeat("x", maxText)}, Started: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC),
		Mounts: []kernel.Mount{{Source: "/etc", Dest: "/host", Mode: "z,ro"}, {Source: "/v", Dest: "/v", Mode: "rw"}}}
	for range 3 {
		if diff := cmp.Diff(want, resolve(t, r)); diff != "" {
			t.Error(diff)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestAContainerThatNobodyKnows(t *testing.T) {
	root := inside(t, "/docker/"+idA)
	asked := 0
	serve(t, root, "run/docker.sock", func(w http.ResponseWriter, r *http.Request) {
		asked++
		fmt.Fprintf(w, `{"Id":%q,"Name":"another"}`, idB)
	})
	r := New(Default(), root)
	for range 3 {
		if c := resolve(t, r); c.Known || c.ID != idA || c.Name != "" || c.Runtime != "docker" {
			t.Errorf("%+v", c)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if _, ok, err := r.Container(t.Context(), 99, 12345); ok || err == nil {
		t.Errorf("a cgroup and a process that are gone: %v, %v", ok, err)
	}
}

func TestARuntimeThatHangs(t *testing.T) {
	root := inside(t, "/docker/"+idA)
	serve(t, root, "run/docker.sock", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cfg := Default()
	cfg.Timeout = 20 * time.Millisecond
	if c := resolve(t, New(cfg, root)); c.Known || c.ID != idA {
		t.Errorf("%+v", c)
	}
}

func TestARuntimeThatSaysTooMuch(t *testing.T) {
	root := inside(t, "/docker/"+idA)
	serve(t, root, "run/docker.sock", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Id":"`+strings.Repeat("x", maxAnswer)+`"}`)
	})
	if c := resolve(t, New(Default(), root)); c.Known {
		t.Errorf("%+v", c)
	}
}

// field appends one of bytes; number one of a number.
func field(n int, parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return appendText(nil, n, string(all))
}

func number(n int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(n)<<3), v)
}

func text(n int, s string) []byte { return appendText(nil, n, s) }

// grpc answers one method, and "no such thing" to all others.
func grpc(answers map[string][]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		b, ok := answers[r.URL.Path+r.Header.Get("containerd-namespace")]
		if !ok || r.ProtoMajor != 2 {
			w.Header().Set("Grpc-Status", "5")
			return
		}
		_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...))
		w.Header().Set("Grpc-Status", "0")
	}
}

func criAnswer() []byte {
	return field(1, text(1, idA), field(2, text(1, "web")), number(5, uint64(time.Unix(1767322800, 7).UnixNano())),
		field(8, text(1, "quay.io/shop/web:v3")), text(9, "quay.io/shop/web@sha256:77"),
		field(12, text(1, "io.kubernetes.pod.name"), text(2, "web-0")), field(12, text(1, "io.kubernetes.pod.namespace"), text(2, "shop")),
		field(14, text(1, "/data"), text(2, "/var/data"), number(3, 1)))
}

func TestCRI(t *testing.T) {
	root := inside(t, "/kubepods/burstable/pod"+uidDash+"/crio-"+idA)
	serve(t, root, "run/crio/crio.sock", grpc(map[string][]byte{"/runtime.v1.RuntimeService/ContainerStatus": criAnswer()}))
	want := kernel.Container{ID: idA, Name: "web", Runtime: "cri-o", Image: "quay.io/shop/web", Tag: "v3", Digest: "sha256:77", Known: true, Pod: "web-0", PodUID: uidDash, Namespace: "shop",
		Labels: map[string]string{"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop"}, Started: time.Unix(1767322800, 7),
		Mounts: []kernel.Mount{{Source: "/var/data", Dest: "/data", Mode: "ro"}}}
	if diff := cmp.Diff(want, resolve(t, New(Default(), root))); diff != "" {
		t.Error(diff)
	}
}

func TestContainerd(t *testing.T) {
	root := inside(t, "/kubepods/pod"+uidDash+"/"+idA)
	spec := `{"process":{"capabilities":{"bounding":["CAP_CHOWN"]}},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/etc/hosts","type":"bind","source":"/var/hosts","options":["rbind","rw"]}],
		"annotations":{"io.kubernetes.cri.sandbox-name":"web-0"},"linux":{"maskedPaths":["/proc/kcore"]}}`
	serve(t, root, "run/containerd/containerd.sock", grpc(map[string][]byte{
		"/containerd.services.namespaces.v1.Namespaces/List": append(field(1, text(1, "default")), field(1, text(1, "k8s.io"))...),
		"/containerd.services.containers.v1.Containers/Getk8s.io": field(1, text(1, idA), field(2, text(1, "io.kubernetes.pod.namespace"), text(2, "shop")), text(3, "docker.io/library/nginx:1.27"),
			field(4, text(1, "io.containerd.runc.v2")), field(5, text(1, "types.containerd.io/opencontainers/runtime-spec/1/Spec"), text(2, spec)), field(8, number(1, 1767322800))),
		"/containerd.services.images.v1.Images/Getk8s.io": field(1, text(1, "docker.io/library/nginx:1.27"), field(3, text(1, "application/x"), text(2, "sha256:99"), number(3, 5))),
	}))
	want := kernel.Container{ID: idA, Runtime: "containerd", Image: "docker.io/library/nginx", Tag: "1.27", Digest: "sha256:99", Known: true, Pod: "web-0", PodUID: uidDash, Namespace: "shop",
		Labels: map[string]string{"io.kubernetes.pod.namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0"}, Started: time.Unix(1767322800, 0),
		Mounts: []kernel.Mount{{Source: "/var/hosts", Dest: "/etc/hosts", Mode: "rbind,rw"}}}
	if diff := cmp.Diff(want, resolve(t, New(Default(), root))); diff != "" {
		t.Error(diff)
	}
}

func TestRunningOutOfPlaces(t *testing.T) {
	cfg := Default()
	cfg.Remember = 16
	r := New(cfg, t.TempDir())
	for i := range uint64(100) {
		r.remember(i, place{})
		r.details(context.Background(), candidate{id: fmt.Sprint(i)})
	}
	if len(r.byCgroup) != 16 || len(r.containers) != 16 {
		t.Errorf("%d cgroups, %d containers", len(r.byCgroup), len(r.containers))
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(criAnswer())
	f.Add([]byte(`{"Id":"x","Mounts":[{}],"mounts":[{"source":"/a"}],"process":{},"id":"x"}`))
	f.Add([]byte{10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func(*kernel.Container) error{
			func(c *kernel.Container) error { return readDocker(b, c) },
			func(c *kernel.Container) error { return readCRI(b, c) },
			func(c *kernel.Container) error { _, err := readContainerd(b, c); return err },
			func(c *kernel.Container) error { return readSpec(b, c) },
			func(c *kernel.Container) error { _, err := readState(b, c); return err },
		} {
			c := kernel.Container{ID: "x"}
			_ = read(&c)
			if c.ID != "x" || len(c.Labels) > maxLabels || len(c.Mounts) > maxMounts || len(c.Name) > 4*maxText {
				t.Errorf("%+v", c)
			}
		}
		digestOf(b)
	})
}

// Within a user's slice a folder can be made of any name, and the user's own runtime says what the user likes: neither becomes the container
// of the system that has the id.
func TestAUserCannotTakeAContainersPlace(t *testing.T) {
	user := "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope"
	root := inside(t, user)
	says := func(image string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"Id":"`+idA+`","Name":"/x","Config":{"Image":"`+image+`"}}`)
		}
	}
	serve(t, root, "run/docker.sock", says("registry/system:1"))
	serve(t, root, "run/user/1000/docker.sock", says("registry/forged:1"))
	serve(t, root, "run/containerd/containerd.sock", grpc(map[string][]byte{
		"/containerd.services.namespaces.v1.Namespaces/List":      field(1, text(1, "k8s.io")),
		"/containerd.services.containers.v1.Containers/Getk8s.io": field(1, text(1, idA), text(3, "registry/system:1")),
	}))
	r := New(Default(), root)
	if c := resolve(t, r); c.Image != "registry/forged" {
		t.Errorf("of the user: %+v", c)
	}
	in := func(path string) {
		if err := os.WriteFile(filepath.Join(root, "proc/7/cgroup"), []byte("3:cpu:"+path+"\n0::/\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in("/system.slice/docker-" + idA + ".scope")
	if c := resolve(t, r); c.Image != "registry/system" {
		t.Errorf("of the system, after a user said something about its id: %+v", c)
	}
	in("/user.slice/user-1000.slice/user@1000.service/cri-containerd-" + idA + ".scope")
	if c := resolve(t, r); c.Known {
		t.Errorf("containerd was asked about a user's folder: %+v", c)
	}
}

func TestTheNameOfAFolderIsNoState(t *testing.T) {
	root := inside(t, "/user.slice/user-1000.slice/user@1000.service/shop")
	state := filepath.Join(root, "run/runc/shop")
	if err := os.MkdirAll(state, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "state.json"), []byte(`{"id":"shop","cgroup_paths":{"cpu":"/sys/fs/cgroup/cpu/shop"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := New(Default(), root)
	if c, ok, err := r.Container(t.Context(), 1, 7); ok || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/7/cgroup"), []byte("3:cpu:/shop\n0::/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := resolve(t, r); c.ID != "shop" || c.Runtime != "runc" {
		t.Errorf("%+v", c)
	}
}
