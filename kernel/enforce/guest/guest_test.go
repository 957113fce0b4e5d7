//go:build linux && amd64

// Package guest has no code: its test runs those of package enforce in a virtual machine, beside them.
package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
	_ "github.com/testudo-sec/testudo/kernel/bpf" // the guest runs these: a result that go test keeps is of the same code
	_ "github.com/testudo-sec/testudo/kernel/enforce"
)

// inGuest are the tests that a kernel with BPF LSM must pass, without their bodies knowing but by the gates that are there.
const inGuest = "^(TestFeatures|TestFileThatWasOpenedIsJudged|TestCallerAndWorkload|TestMemoryAndUpperLayer|TestOpen|TestHostIsWhatIsInNoContainer|TestConnect|TestClosedWhenItDies|" +
	"TestFormsThatAreNotTheBest|TestRefusedProgramNeverRuns)$"

// TestLSM runs the tests of package enforce under Debian's kernel 6.1 with BPF LSM in a virtual machine, as few kernels that tests run on
// allow it: there what is refused fails with EPERM.
func TestLSM(t *testing.T) {
	require.Part(t, "qemu", testing.Short() == false, "not with -short")
	qemu := require.Program(t, "qemu", "qemu-system-x86_64")
	busybox := require.Program(t, "qemu", "busybox")
	cpio := require.Program(t, "qemu", "cpio")
	goTool, err := exec.LookPath("go")
	require.Part(t, "qemu", err == nil, "the go command, to build the tests for the guest")
	kernelDir := guestKernel(t)

	root := t.TempDir()
	for _, dir := range []string{"bin", "proc", "sys", "dev", "tmp", "modules"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tested, err := filepath.Glob("../*_test.go") // read for the same reason
	if err != nil || len(tested) == 0 {
		t.Fatalf("the tests of package enforce: %v, %v", tested, err)
	}
	for _, file := range tested {
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command(goTool, "test", "-c", "-o", filepath.Join(root, "enforce.test"), "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-ldflags=-s")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build for the guest: %v: %s", err, out)
	}
	put := func(from, to string) {
		body, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, to), body, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(busybox, "bin/busybox")
	put("testdata/init", "init")
	for _, applet := range []string{"sh", "mount", "ip", "insmod", "uname", "cat", "poweroff"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	modules, err := filepath.Glob(filepath.Join(kernelDir, "modules", "*.ko"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		put(m, "modules/"+filepath.Base(m))
	}
	tests := inGuest
	if os.Getenv("TESTUDO_LONG") != "" {
		tests = strings.Replace(tests, ")$", "|TestSensorLoads)$", 1)
	}
	if err := os.WriteFile(filepath.Join(root, "run-tests"), []byte(tests), 0o644); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "initramfs")
	pack := exec.Command("sh", "-c", `find . | "$1" -o -H newc --quiet >"$2"`, "sh", cpio, image)
	pack.Dir = root
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	machine := exec.CommandContext(ctx, qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768", "-nographic", "-no-reboot", "-net", "none",
		"-kernel", filepath.Join(kernelDir, "vmlinuz"), "-initrd", image,
		"-append", "console=ttyS0 quiet lsm=landlock,lockdown,yama,bpf panic=-1 mitigations=off")
	var console bytes.Buffer
	machine.Stdout, machine.Stderr = &console, &console
	began := time.Now()
	err = machine.Run()
	text := strings.ReplaceAll(console.String(), "\r", "")
	if err != nil || !strings.Contains(text, "guest: exit 0") {
		t.Fatalf("the guest: %v\n%s", err, text)
	}
	results := regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+)`).FindAllStringSubmatch(text, -1)
	passed := map[string]bool{}
	for _, r := range results {
		passed[r[2]] = r[1] == "PASS"
	}
	for _, name := range strings.Split(strings.Trim(tests, "^()$"), "|") {
		if !passed[name] {
			t.Errorf("%s did not pass in the guest\n%s", name, text)
		}
	}
	if testing.Verbose() {
		t.Log(text)
	}
	t.Logf("%d tests in %v; %s", len(results), time.Since(began).Round(time.Second), regexp.MustCompile(`guest: .*`).FindString(text))
}

// guestKernel returns the folder of the kernel, which is downloaded once.
func guestKernel(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.Part(t, "home", err == nil, fmt.Sprint("a folder for the kernel: ", err))
	dir := filepath.Join(cache, "testudo", "guest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("testdata/guest-kernel.sh", dir).CombinedOutput()
	require.Part(t, "debian-archive", err == nil, fmt.Sprintf("Debian's archive, for linux-image-6.1.0-*-cloud-amd64: %v: %s", err, out))
	return dir
}
