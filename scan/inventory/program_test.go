package inventory

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
)

// inProgram returns what a program names, as "kind name version".
func inProgram(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at := "usr/local/bin/" + filepath.Base(path)
	got, err := newExtractor(t).Extract(context.Background(), &scan.File{Path: at, Name: at, Info: executable{info}, Content: f})
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	var out []string
	for _, p := range got {
		out = append(out, fmt.Sprintf("%s %s %s %s", p.FoundBy, p.Name, p.Version, p.Relation))
	}
	slices.Sort(out)
	return out
}

// executable gives a file of the module cache, which has none, the permission.
type executable struct{ os.FileInfo }

func (executable) Mode() os.FileMode { return 0o755 }

// TestGoPrograms: programs of Go for each system, from scalibr's test data, name the modules that `go version -m` reads in them.
func TestGoPrograms(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/language/golang/gobinary/testdata")
	files, err := filepath.Glob(filepath.Join(dir, "binary_*"))
	if err != nil || len(files) < 14 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		sameAsGo(t, file, inProgram(t, file))
	}
}

// sameAsGo holds an inventory to what the go command says.
func sameAsGo(t *testing.T, file string, got []string) {
	t.Helper()
	out, err := exec.Command("go", "version", "-m", file).Output()
	if err != nil {
		t.Fatal(file, err)
	}
	var want []string
	last := -1
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, file+":"):
			want = append(want, "go/binary stdlib "+strings.TrimPrefix(words[1], "go")+" ")
		case len(words) >= 3 && words[0] == "dep":
			want = append(want, "go/binary "+words[1]+" "+strings.TrimPrefix(words[2], "v")+" ")
			last = len(want) - 1
		case len(words) >= 3 && words[0] == "=>":
			want[last] = "go/binary " + words[1] + " " + strings.TrimPrefix(words[2], "v") + " "
		case len(words) >= 2 && words[0] == "mod":
			version := ""
			if len(words) > 2 {
				version = strings.TrimPrefix(words[2], "v")
			}
			want = append(want, "go/binary "+words[1]+" "+version+" root")
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", filepath.Base(file), diff)
	}
}

// TestStrippedPrograms: a program names the same modules without its symbols, without its paths and without its table of sections.
func TestStrippedPrograms(t *testing.T) {
	objcopy := require.Program(t, "gcc", "objcopy")
	self := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/language/golang/gobinary/testdata/binary_with_modules-linux-"+runtime.GOARCH)
	want := inProgram(t, self)
	if len(want) < 5 {
		t.Fatalf("%q", want)
	}
	stripped := filepath.Join(t.TempDir(), "stripped")
	if out, err := exec.Command(objcopy, "--strip-all", self, stripped).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(want, inProgram(t, stripped)); diff != "" {
		t.Errorf("stripped: %s", diff)
	}
	data, err := os.ReadFile(stripped)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(data[0x28:], 0) // where the table of sections is
	binary.LittleEndian.PutUint32(data[0x3c:], 0) // how many, and which has the names
	bare := filepath.Join(t.TempDir(), "bare")
	if err := os.WriteFile(bare, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, inProgram(t, bare)); diff != "" {
		t.Errorf("without sections: %s", diff)
	}
}

// TestRustPrograms: what cargo-auditable wrote into a program, of scalibr's test data, and of one made here.
func TestRustPrograms(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "github.com/google/osv-scalibr"), "extractor/filesystem/language/rust/cargoauditable/testdata")
	got := inProgram(t, filepath.Join(dir, "uses_serde_json/uses_serde_json"))
	want := []string{
		"rust/auditable itoa 1.0.14 transitive",
		"rust/auditable memchr 2.7.4 transitive",
		"rust/auditable proc-macro2 1.0.92 transitive",
		"rust/auditable quote 1.0.38 transitive",
		"rust/auditable ryu 1.0.18 transitive",
		"rust/auditable serde 1.0.217 direct",
		"rust/auditable serde_derive 1.0.217 transitive",
		"rust/auditable serde_json 1.0.135 direct",
		"rust/auditable syn 2.0.95 transitive",
		"rust/auditable unicode-ident 1.0.14 transitive",
		"rust/auditable uses_json 0.1.0 root",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	objcopy, gcc := require.Program(t, "gcc", "objcopy"), require.Program(t, "gcc", "gcc")
	work := t.TempDir()
	write(t, work, "a.c", "int main(void) { return 0; }\n")
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	fmt.Fprint(z, `{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1]},{"name":"openssl","version":"0.10.2","source":"crates.io"},{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"}]}`)
	z.Close()
	write(t, work, "deps", packed.String())
	for _, args := range [][]string{{gcc, "-o", work + "/a", work + "/a.c"}, {objcopy, "--add-section", ".dep-v0=" + work + "/deps", work + "/a", work + "/app"}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	want = []string{"rust/auditable app 0.1.0 root", "rust/auditable openssl 0.10.2 direct"}
	if diff := cmp.Diff(want, inProgram(t, work+"/app")); diff != "" {
		t.Error(diff)
	}
	// A list that is a bomb ends at its bound.
	packed.Reset()
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write(bytes.Repeat([]byte(" "), maxAuditOpened+1))
	z.Close()
	write(t, work, "deps", packed.String())
	if out, err := exec.Command(objcopy, "--add-section", ".dep-v0="+work+"/deps", work+"/a", work+"/bomb").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bomb, err := os.ReadFile(work + "/bomb")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := extract(t, newExtractor(t), nil, "bin/bomb", bomb); err == nil || !strings.Contains(err.Error(), "unpacks to more than") {
		t.Errorf("a bomb: %v", err)
	}
	if got := inProgram(t, work+"/a"); len(got) > 0 {
		t.Errorf("a program without names packages: %q", got)
	}
}
