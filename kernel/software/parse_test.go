package software

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"
)

func TestStatusOfDpkg(t *testing.T) {
	var got []string
	parseStatus([]byte("Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nArchitecture: amd64\nDescription: a\n Package: no\n\n"+
		"Package: old\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: libc6\nStatus: install ok installed\nMulti-Arch: same\nArchitecture: amd64\nVersion: 2.36\n"),
		func(name, version, arch string, same bool) {
			got = append(got, fmt.Sprint(name, " ", version, " ", arch, " ", same))
		})
	if diff := cmp.Diff([]string{"bash 5.2-1 amd64 false", "libc6 2.36 amd64 true"}, got); diff != "" {
		t.Error(diff)
	}
}

const apkDatabase = "C:Q1x=\nP:busybox\nV:1.36.1-r2\nF:bin\nR:busybox\na:0:0:755\nZ:Q1qUiLnj8KIQk2KaZe0TeBFvdDt2g=\nR:sh\nF:\nR:top\n\nP:musl\nV:1.2.4\nF:lib\nR:ld-musl-x86_64.so.1\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"

func TestApk(t *testing.T) {
	var got []string
	parseApk([]byte(apkDatabase), func(name, version string) bool { got = append(got, name+" "+version); return true },
		func(path string, sum []byte) bool {
			got = append(got, fmt.Sprintf("%s %d", path, len(sum)))
			return true
		})
	want := []string{"busybox 1.36.1-r2", "bin/busybox 20", "bin/sh 0", "top 0", "musl 1.2.4", "lib/ld-musl-x86_64.so.1 20"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMergedFolders(t *testing.T) {
	x := newIndex("dpkg", []string{"bin"})
	x.begin(pkg{name: "dash 1"})
	x.file("bin/dash")
	x.begin(pkg{name: "coreutils 2"})
	x.file("usr/bin/ls")
	x.file("sbin/x")
	x.done()
	for path, want := range map[string]string{"bin/dash": "dash 1", "usr/bin/dash": "dash 1", "bin/ls": "coreutils 2", "sbin/x": "coreutils 2", "usr/sbin/x": "", "bin": "", "": ""} {
		if p, _ := x.owner(path); p.name != want {
			t.Errorf("%s: %q, want %q", path, p.name, want)
		}
	}
}

// header makes one of rpm.
func header(name, version, release string, files map[string]string) []byte {
	var entries, data []byte
	add := func(tag, kind uint32, count int, b []byte) {
		for _, v := range []uint32{tag, kind, uint32(len(data)), uint32(count)} {
			entries = binary.BigEndian.AppendUint32(entries, v)
		}
		data = append(data, b...)
	}
	add(rpmName, 6, 1, []byte(name+"\x00"))
	add(rpmVersion, 6, 1, []byte(version+"\x00"))
	add(rpmRelease, 6, 1, []byte(release+"\x00"))
	var base, dirs, sums, at []byte
	n := 0
	for path, sum := range files {
		base = append(append(base, filepath.Base(path)...), 0)
		dirs = append(append(dirs, filepath.Dir(path)...), '/', 0)
		sums = append(append(sums, sum...), 0)
		at = binary.BigEndian.AppendUint32(at, uint32(n))
		n++
	}
	add(rpmBase, 8, n, base)
	add(rpmDir, 8, n, dirs)
	add(rpmDirIndex, 4, n, at)
	add(rpmDigests, 8, n, sums)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(entries)/16))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(append(b, entries...), data...)
}

// rpmDatabase makes one with SQLite itself: 300 packages, some of many files, so that the tree has levels and rows go over pages.
func rpmDatabase(t testing.TB, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL); CREATE TABLE 'Name' (key TEXT, hnum INTEGER)"); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		files := map[string]string{fmt.Sprintf("/usr/bin/tool%d", i): strings.Repeat("ab", 32)}
		for j := range i * 2 {
			files[fmt.Sprintf("/usr/share/tool%d/a long name of a file %d", i, j)] = ""
		}
		if _, err := db.Exec("INSERT INTO Packages (blob) VALUES (?)", header(fmt.Sprintf("tool%d", i), "1.0", "2", files)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRPM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	rpmDatabase(t, path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	packages, files := 0, 0
	if err := readRPM(b, func(p rpmPackage) bool {
		if want := fmt.Sprintf("tool%d 1.0-2", packages); p.name != want {
			t.Errorf("%q, want %q", p.name, want)
		}
		p.files(func(path string, sum []byte) bool {
			if strings.HasPrefix(path, "usr/bin/tool") && hex.EncodeToString(sum) != strings.Repeat("ab", 32) {
				t.Errorf("%s: %x", path, sum)
			}
			files++
			return true
		})
		packages++
		return true
	}); err != nil || packages != 300 || files != 300+299*300 {
		t.Errorf("%d packages, %d files, %v", packages, files, err)
	}
	for cut := 0; cut < len(b); cut += len(b)/50 + 1 {
		_ = readRPM(b[:cut], func(p rpmPackage) bool { return p.files(func(string, []byte) bool { return true }) })
	}
	// A tree that leads to itself ends.
	page := int(binary.BigEndian.Uint16(b[16:]))
	if page == 1 {
		page = 65536
	}
	for at := page; at+12 < len(b); at += page {
		if b[at] == interiorTable {
			binary.BigEndian.PutUint32(b[at+8:], uint32(at/page+1))
		}
	}
	_ = readRPM(b, func(rpmPackage) bool { return true })
}

func FuzzDatabases(f *testing.F) {
	f.Add([]byte(apkDatabase))
	f.Add([]byte("Package: bash\nStatus: install ok installed\nVersion: 5\n\n623e332d8ae2db8a2d050dcce9510b47  bin/dash\n"))
	f.Add(header("a", "1", "2", map[string]string{"/bin/a": "ab", "/b": ""}))
	path := filepath.Join(f.TempDir(), "x.sqlite")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA page_size=512; CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)"); err != nil {
		f.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO Packages VALUES (1, ?), (2, ?)", header("a", "1", "2", map[string]string{"/bin/a": "ab"}), bytes.Repeat([]byte("x"), 3000)); err != nil {
		f.Fatal(err)
	}
	_ = db.Close()
	if b, err := os.ReadFile(path); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parseStatus(b, func(name, _, _ string, _ bool) {
			if name == "" {
				t.Error("a package without a name")
			}
		})
		parseSums(b, func(path string, sum []byte) bool {
			if path == "" || len(sum) != 16 {
				t.Errorf("%q %x", path, sum)
			}
			return true
		})
		begun := false
		parseApk(b, func(string, string) bool { begun = true; return true }, func(path string, _ []byte) bool {
			if path == "" || !begun {
				t.Errorf("%q", path)
			}
			return true
		})
		if p, ok := readHeader(b); ok {
			p.files(func(string, []byte) bool { return true })
		}
		_ = readRPM(b, func(p rpmPackage) bool { return p.files(func(string, []byte) bool { return true }) })
	})
}
