package livetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/rules"
)

// TestNoAlarmsWithoutCause does what machines do all day: none of the rules that ship says anything of it.
func TestNoAlarmsWithoutCause(t *testing.T) {
	h := watch(t, load(t, policy.Embedded("builtin:", rules.Judging())))
	gobin, err := exec.LookPath("go")
	must(t, err)
	src := mkdir(t, filepath.Join(h.dir, "src"))
	must(t, os.WriteFile(filepath.Join(src, "go.mod"), []byte("module example.org/live\n\ngo 1.24\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(src, "main.go"), []byte("package main\n\nfunc main() { println(one()) }\n\nfunc one() int { return 1 }\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(src, "main_test.go"), []byte("package main\n\nimport \"testing\"\n\nfunc TestOne(t *testing.T) {\n\tif one() != 1 {\n\t\tt.Error(one())\n\t}\n}\n"), 0o644))
	work := mkdir(t, filepath.Join(h.dir, "work"))
	deb := debianPackage(t, work)
	for _, day := range []struct{ name, where, do string }{
		{"a Go program is built, tested and run", "", fmt.Sprintf("cd %s && export HOME=/root GOCACHE=%s GOFLAGS=-mod=mod GOTOOLCHAIN=local && %[3]s vet . && %[3]s test . && %[3]s run . && %[3]s build -o /root/live . && /root/live", src, h.cache, gobin)},
		{"a package is installed and removed", "", "cd /root && " + deb},
		{"a container works", "plain", "/bin/ls -lR /etc >/dev/null; /bin/ps >/dev/null; echo x >/tmp/file; /bin/sed -i s/x/y/ /tmp/file; /bin/tar cf /tmp/t /data; /bin/wget -q http://127.0.0.1:9; /bin/date; /bin/id"},
		{"somebody looks around", "", "ls -la / /root /etc >/dev/null; ps aux >/dev/null; df >/dev/null; id; uname -a; cat /etc/passwd /etc/hosts /proc/meminfo >/dev/null; find /usr/bin -newer /etc/hostname >/dev/null; grep -r root /etc/passwd"},
		{"files are kept", "", "cd /root && mkdir -p a/b && echo x >a/b/c && tar czf a.tgz a && rm -r a && tar xzf a.tgz && chmod 640 a/b/c && chown daemon a/b/c && gzip -d a.tgz; rm -r a"},
		{"a script runs", "", `cd /root && printf '#!/bin/sh\nfor i in 1 2 3; do echo $i | tr 1-3 a-c; done\n' >s.sh && chmod 755 s.sh && ./s.sh && bash -c 'x=$(date); echo "$x" >>log'`},
	} {
		t.Run(day.name, func(t *testing.T) {
			in := h.here
			if day.where != "" {
				in = h.plain
			}
			_, before := h.firedIn(0)
			if said := in.do(t, "("+day.do+") 2>&1; echo status $?"); testing.Verbose() {
				t.Log(said)
			}
			if !h.seen(t, in) {
				return
			}
			fired, _ := h.firedIn(before)
			for rule, why := range fired {
				t.Errorf("%s fires: %s", rule, why.what)
			}
		})
	}
	// Containers were started, entered and set up before.
	for _, in := range []*shell{h.plain, h.great} {
		h.seen(t, in)
	}
	h.enter(t, "plain", true, "/bin/sh", "-c", "true")
	h.seen(t, h.plain)
	fired, _ := h.firedIn(0)
	for rule, why := range fired {
		t.Errorf("in all, %s fires: %s", rule, why.what)
	}
}

// debianPackage makes a package, and returns what installs and removes it, in folders of its own.
func debianPackage(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		require.Part(t, "dpkg", false, "dpkg-deb is part of Debian")
	}
	control := mkdir(t, filepath.Join(dir, "pkg/DEBIAN"))
	must(t, os.WriteFile(filepath.Join(control, "control"), []byte("Package: live\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a test\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(control, "postinst"), []byte("#!/bin/sh\nset -e\nmkdir -p /etc/cron.d\necho '# live' >/etc/cron.d/live\n"), 0o755))
	files := mkdir(t, filepath.Join(dir, "pkg/etc/cron.d"))
	must(t, os.WriteFile(filepath.Join(files, "live-daily"), []byte("# nothing\n"), 0o644))
	admin := mkdir(t, filepath.Join(dir, "admin"))
	for _, d := range []string{"info", "updates", "triggers"} {
		mkdir(t, filepath.Join(admin, d))
	}
	must(t, os.WriteFile(filepath.Join(admin, "status"), nil, 0o644))
	return fmt.Sprintf("dpkg-deb -b %[1]s/pkg %[1]s/live.deb && dpkg --admindir=%[1]s/admin -i %[1]s/live.deb && dpkg --admindir=%[1]s/admin -P live", dir)
}
