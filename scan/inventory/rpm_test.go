package inventory

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
)

// moduleDir is the folder of a module, whose own test data is real.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	dir := strings.TrimSpace(string(out))
	require.Part(t, "modules", err == nil && dir != "", "run `go mod download` for "+module)
	return dir
}

// put copies a file to a place below root, and gives root a release of its own.
func put(t *testing.T, root, at, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, root, at, string(data))
}

func write(t *testing.T, root, at, text string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(at))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// asked is what rpm itself says of a database: name, version with epoch, architecture, source.
func askedRPM(t *testing.T, db, backend string) []string {
	t.Helper()
	cmd := exec.Command(require.Program(t, "rpm", "rpm"), "--dbpath", db, "--define", "_db_backend "+backend, "-qa", "--qf",
		`%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH} %|SOURCERPM?{%{SOURCERPM}}:{}|\n`)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err, complaints.String())
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "gpg-pubkey ") { // a key, no package
			all = append(all, strings.TrimSpace(strings.Replace(line, " 0:", " ", 1)))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// found is what we say.
func foundRPM(t *testing.T, root string) []string {
	t.Helper()
	got, stats := of(t, root)
	for _, s := range stats.Skipped {
		t.Errorf("%s: %s", s.Path, s.Reason)
	}
	var all []string
	for _, p := range got {
		arch, source := "", ""
		if _, after, ok := strings.Cut(p.PURL, "arch="); ok {
			arch, _, _ = strings.Cut(after, "&")
		}
		if p.Source != "" {
			version := p.SourceVersion
			if _, after, ok := strings.Cut(version, ":"); ok {
				version = after
			}
			source = p.Source + "-" + version + ".src.rpm"
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", p.Name, p.Version, arch, source)))
		if p.Ecosystem != "Rocky Linux:9" || p.FoundBy != "os/rpm" {
			t.Errorf("%+v", p)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

const rocky = "ID=rocky\nVERSION_ID=\"9.3\"\n"

// TestRPMDatabases: of databases of CentOS 7 (Berkeley DB), of CentOS Stream 9 (SQLite) and of openSUSE (ndb) we say what rpm says.
func TestRPMDatabases(t *testing.T) {
	data := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/os/rpm/testdata")
	for backend, c := range map[string]struct {
		file, at string
		least    int
	}{
		"bdb_ro": {"Packages", "var/lib/rpm/Packages", 140},
		"sqlite": {"rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", 140},
		"ndb":    {"Packages.db", "usr/lib/sysimage/rpm/Packages.db", 30},
	} {
		t.Run(backend, func(t *testing.T) {
			root := t.TempDir()
			put(t, root, c.at, filepath.Join(data, c.file))
			write(t, root, "etc/os-release", rocky)
			got := foundRPM(t, root)
			if len(got) < c.least {
				t.Errorf("%d packages", len(got))
			}
			copied := t.TempDir() // rpm writes beside what it reads
			put(t, copied, c.file, filepath.Join(data, c.file))
			if want := askedRPM(t, copied, backend); len(want) > 0 || backend != "ndb" { // Debian's rpm has no ndb
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestRPMInstalled builds packages, installs them into a database of SQLite, and holds the inventory to it: with epoch, of a source of
// another name, of several versions side by side, and gone again.
func TestRPMInstalled(t *testing.T) {
	rpm, build := require.Program(t, "rpm", "rpm"), require.Program(t, "rpm", "rpmbuild")
	work, root := t.TempDir(), t.TempDir()
	db := filepath.Join(root, "var/lib/rpm")
	if err := os.MkdirAll(db, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "HOME="+work, "SOURCE_DATE_EPOCH=1700000000")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	make := func(name, epoch, version, release string) {
		t.Helper()
		spec := fmt.Sprintf("Name: %s\nVersion: %s\nRelease: %s\n%sSummary: s\nLicense: GPLv2+ and MIT\nBuildArch: noarch\n%%description\nd\n%%package libs\nSummary: l\n%%description libs\nl\n%%files\n%%files libs\n", name, version, release, epoch)
		write(t, work, name+".spec", spec)
		run(build, "-bb", "--quiet", "--define", "_topdir "+work, filepath.Join(work, name+".spec"))
	}
	make("plain", "", "1.2.3", "4.el9")
	make("epochal", "Epoch: 2\n", "8.0~rc1^git5", "1.el9_3.2")
	make("kernel", "", "5.14.0", "1.el9")
	make("kernel", "", "5.14.0", "2.el9")
	files, err := filepath.Glob(filepath.Join(work, "RPMS/noarch/*.rpm"))
	if err != nil || len(files) != 8 {
		t.Fatal(files, err)
	}
	args := []string{"--dbpath", db, "--define", "_db_backend sqlite"}
	for _, f := range files {
		run(rpm, append(args, "-i", "--justdb", "--nodeps", "--noscripts", "--ignoreos", "--ignorearch", f)...)
	}
	run(rpm, append(args, "-e", "--justdb", "--nodeps", "--noscripts", "plain-libs")...)
	write(t, root, "etc/os-release", rocky)
	got, want := foundRPM(t, root), askedRPM(t, db, "sqlite")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(got) != 7 || !slices.Contains(got, "epochal-libs 2:8.0~rc1^git5-1.el9_3.2 noarch epochal-8.0~rc1^git5-1.el9_3.2.src.rpm") {
		t.Errorf("%q", got)
	}
	all, _ := of(t, root)
	for _, p := range all {
		if diff := cmp.Diff([]string{"GPL-2.0-or-later AND MIT"}, p.Licenses); diff != "" {
			t.Errorf("%s: %s", p.Name, diff)
		}
		if p.Name == "epochal" && p.PURL != "pkg:rpm/rocky/epochal@8.0~rc1%5Egit5-1.el9_3.2?arch=noarch&distro=rocky-9.3&epoch=2" {
			t.Error(p.PURL)
		}
	}
}
