package livetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shell is a place where things are done: a shell that reads what to do.
type shell struct {
	name string
	in   io.WriteCloser
	out  chan string
	n    int
}

// open starts a shell. It ends with the test.
func open(t *testing.T, name string, attr *syscall.SysProcAttr, env []string, args ...string) *shell {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr, cmd.Env = attr, env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, into, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = into, into
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = into.Close()
	s := &shell{name: name, in: in, out: make(chan string, 4096)}
	go func() {
		defer close(s.out)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.out <- lines.Text()
		}
		_ = out.Close()
	}()
	t.Cleanup(func() {
		_ = in.Close()
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	return s
}

// do has the shell do something, and waits until it did. It returns what was printed.
func (s *shell) do(t *testing.T, script string) string {
	t.Helper()
	s.n++
	end := fmt.Sprintf("-- end of %d", s.n)
	if _, err := fmt.Fprintf(s.in, "%s\necho; echo '%s'\n", script, end); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	var said []string
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-s.out:
			if !ok {
				t.Fatalf("%s ended at %q: %s", s.name, script, strings.Join(said, "\n"))
			}
			if line == end {
				return strings.Join(said, "\n")
			}
			said = append(said, line)
		case <-limit:
			t.Fatalf("%s takes too long over %q: %s", s.name, script, strings.Join(said, "\n"))
		}
	}
}

// names are the programs that things are done by: each is the program deed, under that name.
var names = strings.Fields(`deed nginx postgres sshd ssh nc debugfs curl wget apk scp useradd date ncat python3 java xmrig mysqld redis-server
	nmap tcpdump apt-get rsync crontab apache2 php-fpm node chisel kubectl gdb tar socat linpeas insmod tor npm sudoedit pkexec docker`)

// build makes the places.
func (h *host) build(t *testing.T, busybox string) {
	t.Helper()
	bin := filepath.Join(h.dir, "bin")
	must(t, os.MkdirAll(bin, 0o755))
	must(t, os.Chmod(h.dir, 0o755))
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "deed"), "./testdata/deed")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root := filepath.Join(h.dir, "rootfs")
	for _, d := range []string{"bin", "opt/deed", "etc/pam.d", "etc/cron.d", "root/.ssh", "root/.aws", "home/ann/.ssh", "var/log", "var/www/html/uploads", "tmp", "proc", "sys", "dev", "data", "lib", "mnt", "host"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	program, err := os.ReadFile(busybox)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755))
	applets, err := exec.Command(busybox, "--list").Output()
	must(t, err)
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			must(t, os.Symlink("busybox", filepath.Join(root, "bin", name)))
		}
	}
	for _, name := range names {
		if name != "deed" {
			must(t, os.Link(filepath.Join(bin, "deed"), filepath.Join(bin, name)))
		}
		must(t, os.Link(filepath.Join(bin, "deed"), filepath.Join(root, "opt/deed", name)))
	}
	for path, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nwww-data:x:33:33::/:/bin/false\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:1::::::\n",
		"root/.ssh/id_rsa": "x", "root/.bash_history": "ls\n", "root/.bashrc": "", "root/.aws/credentials": "x", "home/ann/.ssh/id_rsa": "x",
		"var/log/auth.log": "x\n", "data/records": "x", "lib/liblzma.so.5.6.1": "x", "tmp/none.ko": "no module", "etc/crontab": "", "etc/profile": ""} {
		must(t, os.WriteFile(filepath.Join(root, path), []byte(text), 0o644))
	}

	// The host's own files are not touched: what is changed lies on mounts of the shell's own.
	h.here = open(t, "host", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}, environment, "/bin/sh")
	h.cache = mkdir(t, filepath.Join(h.dir, "gocache")) // the compiler's, which lies in a home that is hidden below
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	must(t, err)
	h.here.do(t, fmt.Sprintf(`mount --make-rprivate / && mount --bind %[2]s %[3]s; for d in /root /home /opt /var/log /etc/cron.d; do [ -d $d ] && mount -t tmpfs none $d; done
mkdir -p /opt/deed /root/.ssh /home/ann/.ssh; cp -l %[1]s/* /opt/deed 2>/dev/null || mount --bind %[1]s /opt/deed
echo x >/root/.ssh/id_rsa; echo x >/home/ann/.ssh/id_rsa; ip link set lo up; cd /root`, bin, strings.TrimSpace(string(cache)), h.cache))
	h.plain = h.container(t, "plain", func(map[string]any) {}, "")
	h.great = h.container(t, "great", privileged, fmt.Sprintf("mount -t tmpfs none %[1]s && mkdir %[1]s/up %[1]s/work && mount -t overlay -o lowerdir=%[2]s,upperdir=%[1]s/up,workdir=%[1]s/work none %[2]s && ",
		mkdir(t, filepath.Join(h.dir, "layers")), root))
	h.great.do(t, "ip link set lo up; for a in 10.96.0.1 93.184.216.34 169.254.169.254; do ip addr add $a/32 dev lo; done")
}

var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	return path
}

// privileged makes of a specification one that forbids nothing.
func privileged(spec map[string]any) {
	var all []string
	for _, c := range strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN
		NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
		AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`) {
		all = append(all, "CAP_"+c)
	}
	caps := spec["process"].(map[string]any)["capabilities"].(map[string]any)
	for _, set := range []string{"bounding", "effective", "permitted"} {
		caps[set] = all
	}
	spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/host", "type": "bind", "source": "/etc", "options": []string{"bind", "ro"}})
	linux := spec["linux"].(map[string]any)
	linux["resources"] = map[string]any{"devices": []any{map[string]any{"allow": true, "access": "rwm"}}}
	delete(linux, "maskedPaths")
	delete(linux, "readonlyPaths")
	spec["annotations"] = map[string]string{"io.kubernetes.pod.namespace": "live", "io.kubernetes.pod.name": "great-0"}
}

// container starts a shell in a container of runc, whose root is the one folder for all; before is done first, with mounts of
// its own.
func (h *host) container(t *testing.T, name string, change func(spec map[string]any), before string) *shell {
	t.Helper()
	bundle := mkdir(t, filepath.Join(h.dir, name))
	if out, err := exec.Command(h.runc, "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	path := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(path)
	must(t, err)
	var spec map[string]any
	must(t, json.Unmarshal(b, &spec))
	process := spec["process"].(map[string]any)
	process["args"], process["terminal"], process["noNewPrivileges"] = []string{"/bin/sh"}, false, false
	process["env"] = []string{"PATH=/bin", "HOME=/root", "SECRET=hunter2"}
	spec["root"] = map[string]any{"path": filepath.Join(h.dir, "rootfs"), "readonly": false}
	change(spec)
	b, err = json.Marshal(spec)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o644))
	id := h.prefix + name
	t.Cleanup(func() { _ = exec.Command(h.runc, "--root", h.state, "delete", "--force", id).Run() })
	return open(t, name, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}, environment, "/bin/sh", "-c",
		fmt.Sprintf("mount --make-rprivate / && %s exec %s --root %s run --bundle %s %s", before, h.runc, h.state, bundle, id))
}

// enter runs a program in a container as whoever administers it does.
func (h *host) enter(t *testing.T, name string, terminal bool, args ...string) {
	t.Helper()
	all := []string{"--root", h.state, "exec"}
	if terminal {
		all = append(all, "--tty")
	}
	cmd := exec.Command(h.runc, append(append(all, h.prefix+name), args...)...)
	if !terminal {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("runc exec %v: %v\n%s", args, err, out)
		}
		return
	}
	pty, tty := terminals(t)
	defer pty.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go func() { _, _ = io.Copy(io.Discard, pty) }()
	err := cmd.Run()
	_ = tty.Close()
	if err != nil {
		t.Errorf("runc exec --tty %v: %v", args, err)
	}
}

// terminals opens a terminal: the end of the one who types, and the other.
func terminals(t *testing.T) (pty, tty *os.File) {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	must(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	return pty, tty
}
