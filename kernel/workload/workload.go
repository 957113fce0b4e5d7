package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/process"
)

// Config says where runtimes are, and what may be spent on asking them. Sockets that are not there are passed over.
type Config struct {
	// Docker are sockets of Docker, and of Podman, which speaks its language. {uid} stands for the user in whose slice the
	// container is.
	Docker []string `yaml:"docker"`
	// Containerd are sockets of containerd.
	Containerd []string `yaml:"containerd"`
	// CRI are sockets of the container runtime interface: cri-o.
	CRI []string `yaml:"cri"`
	// State are folders in which runc keeps the state of containers, a folder each. A star stands for any name.
	State []string `yaml:"state"`
	// Timeout is how long a runtime may take to answer.
	Timeout time.Duration `yaml:"timeout"`
	// Remember is how many cgroups and containers are remembered.
	Remember int `yaml:"remember"`
	// Retry is when a container that no runtime knew is asked about again.
	Retry time.Duration `yaml:"retry"`
}

// Default returns the places of today's distributions.
func Default() Config {
	return Config{
		Docker:     []string{"/run/docker.sock", "/run/podman/podman.sock", "/run/user/{uid}/podman/podman.sock", "/run/user/{uid}/docker.sock"},
		Containerd: []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock"},
		CRI:        []string{"/run/crio/crio.sock"},
		State:      []string{"/run/runc", "/run/containerd/runc/*", "/run/docker/runtime-runc/moby"},
		Timeout:    2 * time.Second, Remember: 8192, Retry: 5 * time.Second,
	}
}

// Validate says what is wrong.
func (c Config) Validate() error {
	for name, list := range map[string][]string{"docker": c.Docker, "containerd": c.Containerd, "cri": c.CRI, "state": c.State} {
		for _, p := range list {
			if !filepath.IsAbs(p) {
				return fmt.Errorf("%s: %q is not an absolute path", name, p)
			}
		}
	}
	if c.Timeout <= 0 || c.Retry <= 0 {
		return errors.New("timeout and retry: want durations above 0")
	}
	if c.Remember < 16 {
		return errors.New("remember: want at least 16")
	}
	return nil
}

// Resolver finds containers. It is safe for concurrent use.
type Resolver struct {
	cfg     Config
	root    string
	cgroups string // where cgroup v2 is mounted
	slots   chan struct{}

	mu         sync.Mutex
	byCgroup   map[uint64]place
	containers map[candidate]known // by all that decides who is asked: a user's runtime says nothing about what is not the user's
}

// place is what a cgroup is.
type place struct {
	path string
	all  []candidate // none: of the host
}

// known is what is remembered of a container.
type known struct {
	c     kernel.Container
	until time.Time // zero: for good
}

// maxAsking is how many questions are on their way at once.
const maxAsking = 4

// New makes a resolver of the host whose file system is at root, "/" as a rule.
func New(cfg Config, root string) *Resolver {
	return &Resolver{cfg: cfg, root: root, cgroups: process.CgroupMount(root), slots: make(chan struct{}, maxAsking), byCgroup: map[uint64]place{}, containers: map[candidate]known{}}
}

// Container says what a cgroup is the container of; ok is false where it is none. The process is one that is in it, 0 for none: where cgroups
// v1 are used it alone can tell. The folder of a cgroup vanishes with its container; one that was asked about before is remembered. An error says
// that nothing could be found out, as neither cgroup nor process is there any more.
//
// A runtime writes down what a container is only after its first process is in the cgroup: of a cgroup that was made just now
// an answer is waited for, up to 1.3 s. Where there is none by then, an error says so: it is to be asked about again.
func (r *Resolver) Container(ctx context.Context, cgroup uint64, pid uint32) (kernel.Container, bool, error) {
	at, c, err := r.find(ctx, cgroup, pid)
	for pause := 10 * time.Millisecond; pause <= 640*time.Millisecond && err == nil && !c.Known && r.beingMade(at); pause *= 2 {
		select {
		case <-ctx.Done():
			return c, c.ID != "", nil
		case <-time.After(pause):
		}
		r.forget(cgroup, at.all)
		at, c, err = r.find(ctx, cgroup, pid)
	}
	return c, c.ID != "", err
}

func (r *Resolver) find(ctx context.Context, cgroup uint64, pid uint32) (place, kernel.Container, error) {
	at, err := r.place(cgroup, pid)
	if err != nil || len(at.all) == 0 {
		return at, kernel.Container{}, err
	}
	// The innermost one that a runtime knows; else the innermost.
	first := kernel.Container{}
	for i := len(at.all) - 1; i >= 0; i-- {
		c := r.details(ctx, at.all[i])
		if c.Known {
			return at, c, nil
		}
		if first.ID == "" {
			first = c
		}
	}
	return at, first, nil
}

// making is how old the folder of a cgroup is at most whose container may still be written down.
const making = 2 * time.Second

// beingMade reports whether the container at a place may become known in a moment. Units of systemd are none.
func (r *Resolver) beingMade(at place) bool {
	if r.cgroups == "" || len(at.all) == 0 && (last(at.path) == "" || unit.MatchString(at.path)) {
		return false
	}
	info, err := os.Stat(filepath.Join(r.cgroups, at.path))
	return err == nil && time.Since(info.ModTime()) < making
}

var unit = regexp.MustCompile(`\.(service|slice|scope|socket|mount|swap)$`)

// forget has a cgroup and its containers looked up again.
func (r *Resolver) forget(cgroup uint64, all []candidate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byCgroup, cgroup)
	for _, c := range all {
		delete(r.containers, c)
	}
}

// rootCgroup is the id of the root of cgroup v2, in which all processes are where v1 is used.
const rootCgroup = 1

func (r *Resolver) place(cgroup uint64, pid uint32) (place, error) {
	r.mu.Lock()
	at, ok := r.byCgroup[cgroup]
	r.mu.Unlock()
	if ok {
		return at, nil
	}
	var lines []process.CgroupLine
	if pid != 0 {
		if b, err := os.ReadFile(filepath.Join(r.root, "proc", strconv.FormatUint(uint64(pid), 10), "cgroup")); err == nil {
			lines = process.ParseCgroups(b)
		}
	}
	if cgroup > rootCgroup {
		path, ok := r.pathOf(cgroup, lines)
		if !ok && len(lines) == 0 {
			return place{}, fmt.Errorf("cgroup %d is gone, and so is process %d", cgroup, pid)
		}
		if ok {
			at = r.read(path)
			if len(at.all) > 0 || !mixed(lines) {
				r.remember(cgroup, at)
				return at, nil
			}
		}
	}
	for _, l := range lines { // v1: every container is in a folder of its own in each hierarchy
		if l.Hierarchy == 0 {
			continue
		}
		if in := r.read(l.Path); len(in.all) > 0 {
			return in, nil
		}
	}
	return at, nil
}

// mixed reports whether there are hierarchies of v1 with controllers.
func mixed(lines []process.CgroupLine) bool {
	for _, l := range lines {
		if l.Hierarchy != 0 && l.Controllers != "name=systemd" {
			return true
		}
	}
	return false
}

// read says what the path of a cgroup is of.
func (r *Resolver) read(path string) place {
	at := place{path: path, all: candidates(path)}
	if len(at.all) == 0 {
		if id := last(path); id != "" && holds(r.stateOf(id), path) {
			at.all = []candidate{{id: id, runtime: "runc"}}
		}
	}
	return at
}

func (r *Resolver) remember(cgroup uint64, at place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byCgroup) >= r.cfg.Remember {
		for k := range r.byCgroup { // any
			delete(r.byCgroup, k)
			break
		}
	}
	r.byCgroup[cgroup] = at
}

// details asks the runtimes, once.
func (r *Resolver) details(ctx context.Context, at candidate) kernel.Container {
	r.mu.Lock()
	k, ok := r.containers[at]
	r.mu.Unlock()
	if ok && (k.until.IsZero() || time.Now().Before(k.until)) {
		return k.c
	}
	c := r.ask(ctx, at)
	if ctx.Err() != nil && !c.Known {
		return c
	}
	k = known{c: c}
	if !c.Known {
		k.until = time.Now().Add(r.cfg.Retry)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.containers) >= r.cfg.Remember {
		for other := range r.containers {
			delete(r.containers, other)
			break
		}
	}
	r.containers[at] = k
	return c
}

var numeric = regexp.MustCompile(`^[0-9]+$`)

// ask asks those runtimes that may know, and takes the first answer that is about this container.
func (r *Resolver) ask(ctx context.Context, at candidate) kernel.Container {
	empty := kernel.Container{ID: at.id, Runtime: at.runtime, PodUID: at.podUID}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return empty
	}
	try := func(read func(context.Context, *kernel.Container) error) (kernel.Container, bool) {
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
		defer cancel()
		c := empty
		if read(ctx, &c) != nil {
			return empty, false
		}
		c.Known = true
		return c, true
	}
	if at.runtime == "docker" || at.runtime == "podman" || at.runtime == "" {
		for _, socket := range r.sockets(r.cfg.Docker, at.user) {
			if c, ok := try(func(ctx context.Context, c *kernel.Container) error { return askDocker(ctx, socket, c) }); ok {
				return c
			}
		}
	}
	if at.user != "" {
		return empty // within what is the user's, a folder of any name can be made: the system's runtimes are not asked whose it is
	}
	if at.runtime != "podman" && at.runtime != "cri-o" {
		for _, socket := range r.sockets(r.cfg.Containerd, "") {
			if c, ok := try(func(ctx context.Context, c *kernel.Container) error { return askContainerd(ctx, socket, c) }); ok {
				return c
			}
		}
	}
	if at.runtime == "cri-o" || at.runtime == "" {
		for _, socket := range r.sockets(r.cfg.CRI, "") {
			if c, ok := try(func(ctx context.Context, c *kernel.Container) error { return askCRI(ctx, socket, c) }); ok {
				return c
			}
		}
	}
	if c, ok := try(func(_ context.Context, c *kernel.Container) error { return r.readRunc(c) }); ok {
		return c
	}
	return empty
}

// sockets returns those that are there. A user's own is asked only about containers in the user's own slice: who serves it may say what he
// likes.
func (r *Resolver) sockets(all []string, user string) []string {
	var there []string
	for _, s := range all {
		if of := expand(s, user); of != "" {
			path := filepath.Join(r.root, of)
			if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
				there = append(there, path)
			}
		}
	}
	return there
}

func expand(s, user string) string {
	const hole = "{uid}"
	before, after, ok := strings.Cut(s, hole)
	switch {
	case !ok && user == "":
		return s
	case !ok || !numeric.MatchString(user):
		return ""
	}
	return before + user + after
}

func askDocker(ctx context.Context, socket string, c *kernel.Container) error {
	b, err := get(ctx, socket, "/containers/"+c.ID+"/json")
	if err != nil {
		return err
	}
	if c.Runtime == "" {
		c.Runtime = "docker"
	}
	return readDocker(b, c)
}

func askCRI(ctx context.Context, socket string, c *kernel.Container) error {
	b, err := call(ctx, socket, "/runtime.v1.RuntimeService/ContainerStatus", appendText(nil, 1, c.ID), nil)
	if err != nil {
		return err
	}
	if c.Runtime == "" {
		c.Runtime = "cri-o"
	}
	return readCRI(b, c)
}

// maxNamespaces bounds how many namespaces of a containerd are asked.
const maxNamespaces = 16

func askContainerd(ctx context.Context, socket string, c *kernel.Container) error {
	b, err := call(ctx, socket, "/containerd.services.namespaces.v1.Namespaces/List", nil, nil)
	if err != nil {
		return err
	}
	var names []string
	message(b, func(field int, _ uint64, v []byte) {
		if name, _ := pair(v); field == 1 && name != "" && len(names) < maxNamespaces {
			names = append(names, name)
		}
	})
	for _, name := range names {
		in := map[string]string{"containerd-namespace": name}
		b, err := call(ctx, socket, "/containerd.services.containers.v1.Containers/Get", appendText(nil, 1, c.ID), in)
		if err != nil {
			if errors.Is(err, errAbsent) {
				continue
			}
			return err
		}
		ref, err := readContainerd(b, c)
		if err != nil {
			return err
		}
		if c.Runtime == "" || c.Runtime == "runc" {
			c.Runtime = "containerd"
		}
		if ref == "" || c.Digest != "" {
			return nil
		}
		if b, err = call(ctx, socket, "/containerd.services.images.v1.Images/Get", appendText(nil, 1, ref), in); err == nil {
			c.Digest = cut(digestOf(b))
		}
		return nil
	}
	return errAbsent
}

// digestOf reads GetImageResponse of containerd.services.images.v1: the digest of the image's target.
func digestOf(b []byte) (digest string) {
	message(b, func(field int, _ uint64, it []byte) {
		if field != 1 {
			return
		}
		message(it, func(field int, _ uint64, target []byte) {
			if field != 3 {
				return
			}
			_, digest = pair(target)
		})
	})
	return digest
}

// maxState bounds the files that runc leaves.
const maxState = 1 << 20

// stateOf returns the path of a container's state.json, "" where there is none.
func (r *Resolver) stateOf(id string) string {
	for _, dir := range r.cfg.State {
		found, _ := filepath.Glob(filepath.Join(r.root, dir, id))
		for _, f := range found {
			path := filepath.Join(f, "state.json")
			if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
				return path
			}
		}
	}
	return ""
}

// holds reports whether the state of a container says that it is in this cgroup: that a folder has its name says nothing, where users may
// make some of their own.
func holds(state, cgroup string) bool {
	if state == "" {
		return false
	}
	b, err := readSome(state)
	if err != nil {
		return false
	}
	var a struct {
		Paths map[string]string `json:"cgroup_paths"`
	}
	if json.Unmarshal(b, &a) != nil {
		return false
	}
	for _, p := range a.Paths { // by hierarchy
		if strings.HasSuffix(p, cgroup) {
			return true
		}
	}
	return false
}

func (r *Resolver) readRunc(c *kernel.Container) error {
	path := r.stateOf(c.ID)
	if path == "" {
		return errAbsent
	}
	b, err := readSome(path)
	if err != nil {
		return err
	}
	bundle, err := readState(b, c)
	if err != nil {
		return err
	}
	if c.Runtime == "" {
		c.Runtime = "runc"
	}
	if filepath.IsAbs(bundle) {
		if b, err := readSome(filepath.Join(r.root, bundle, "config.json")); err == nil {
			_ = readSpec(b, c) // what the state told stands
		}
	}
	return nil
}

func readSome(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s: not a regular file", path)) // a bundle may be in a user's folder
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err == nil && len(b) > maxState {
		err = fmt.Errorf("%s has more than %d bytes", path, maxState)
	}
	return b, err
}
