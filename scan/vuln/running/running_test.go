package running_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/vuln"
	"github.com/testudo-sec/testudo/scan/vuln/running"
)

// host makes a /proc with processes of two mount namespaces, and the root of the first.
func host(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, at); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		write("root/"+name, text)
	}
	link("mnt:[1]", "proc/7/ns/mnt")
	link(filepath.Join(dir, "root"), "proc/7/root")
	link("/usr/bin/node", "proc/7/exe")
	write("proc/7/maps", "55d0-55d1 r-xp 00000000 08:01 42   /usr/bin/node\n7f00-7f01 r--p 0 08:01 43      /usr/lib/x86_64-linux-gnu/libssl.so.3\n7f02-7f03 rw-p 00000000 00:00 0 \n"+
		"7f04-7f05 rw-p 00000000 00:00 0          [heap]\nbroken\n7f06-7f07 r--s 0 08:01 44 /srv/lib/log4j core.jar (deleted)\n")
	link("mnt:[1]", "proc/9/ns/mnt")
	write("proc/9/maps", "7f00-7f01 r-xp 0 08:01 45 /bin/busybox\n")
	link("mnt:[2]", "proc/8/ns/mnt")
	link("/usr/sbin/other", "proc/8/exe")
	write("proc/8/maps", "7f00-7f01 r-xp 0 08:01 46 /usr/lib/libother.so\n")
	write("proc/meminfo", "")
	return filepath.Join(dir, "proc")
}

func TestDebian(t *testing.T) {
	u, err := running.Look(t.Context(), host(t, map[string]string{
		"var/lib/dpkg/info/libssl3:amd64.list": "/.\n/usr\n/usr/lib/x86_64-linux-gnu/libssl.so.3\n",
		"var/lib/dpkg/info/zlib1g:amd64.list":  "/.\n/lib\n/lib/x86_64-linux-gnu/libz.so.1\n",
		"var/lib/dpkg/info/busybox.list":       "/bin/busybox\n",
		"var/lib/dpkg/info/other.list":         "/usr/lib/libother.so\n",
		"var/lib/dpkg/info/libssl3.md5sums":    "x",
	}), 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		p    scan.Package
		want vuln.Use
	}{
		{scan.Package{Ecosystem: "Debian:12", Name: "libssl3"}, vuln.Used},
		{scan.Package{Ecosystem: "Ubuntu:24.04:LTS", Name: "libssl3"}, vuln.Used},
		{scan.Package{Ecosystem: "Debian:12", Name: "busybox"}, vuln.Used},
		{scan.Package{Ecosystem: "Debian:12", Name: "zlib1g"}, vuln.NotUsed},
		{scan.Package{Ecosystem: "Debian:12", Name: "other"}, vuln.NotUsed}, // of another container
		{scan.Package{Ecosystem: "Alpine:v3.18", Name: "libssl3"}, vuln.UseUnknown},
		{scan.Package{Ecosystem: "Go", Name: "stdlib", Path: "usr/bin/node"}, vuln.Used},
		{scan.Package{Ecosystem: "Maven", Name: "log4j", Path: "srv/lib/log4j core.jar"}, vuln.Used},
		{scan.Package{Ecosystem: "npm", Name: "lodash", Path: "srv/node_modules/lodash/package.json"}, vuln.UseUnknown},
	} {
		if got := u.Of(&tc.p); got != tc.want {
			t.Errorf("%s %s: %d, want %d", tc.p.Ecosystem, tc.p.Name, got, tc.want)
		}
	}
}

func TestAlpine(t *testing.T) {
	u, err := running.Look(t.Context(), host(t, map[string]string{
		"lib/apk/db/installed": "P:busybox\nV:1.36.1-r0\nF:bin\nR:busybox\n\nP:zlib\nF:lib\nR:libz.so.1\n",
	}), 7)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Of(&scan.Package{Ecosystem: "Alpine:v3.18", Name: "busybox"}); got != vuln.Used {
		t.Error(got)
	}
	if got := u.Of(&scan.Package{Ecosystem: "Alpine:v3.18", Name: "zlib"}); got != vuln.NotUsed {
		t.Error(got)
	}
}

// TestHostile: lists that are links, and a process that is not there.
func TestHostile(t *testing.T) {
	proc := host(t, map[string]string{"var/lib/dpkg/info/a.md5sums": ""})
	outside := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(outside, []byte("/usr/bin/node\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(filepath.Dir(proc), "root/var/lib/dpkg/info/evil.list")); err != nil {
		t.Fatal(err)
	}
	u, err := running.Look(t.Context(), proc, 7)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Of(&scan.Package{Ecosystem: "Debian:12", Name: "evil"}); got != vuln.NotUsed {
		t.Error("a list outside the container was read")
	}
	if _, err := running.Look(t.Context(), proc, 4711); err == nil || !strings.Contains(err.Error(), "4711") {
		t.Error(err)
	}
}
