//go:build linux

package bpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// memoryRing is a ring without a kernel: a writer puts records where the kernel would.
func memoryRing(size int) *ring {
	data := make([]byte, size)
	return &ring{consumer: make([]byte, 8), producer: make([]byte, 8), data: data, mask: uint64(size - 1)}
}

func (r *ring) put(flags uint32, sample []byte) {
	at := binary.NativeEndian.Uint64(r.producer)
	size := int(r.mask + 1)
	whole := make([]byte, (len(sample)+ringHeader+7)&^7)
	binary.NativeEndian.PutUint32(whole, uint32(len(sample))|flags)
	copy(whole[ringHeader:], sample)
	for i, b := range whole {
		r.data[(int(at)+i)%size] = b
	}
	binary.NativeEndian.PutUint64(r.producer, at+uint64(len(whole)))
}

func TestRingWrapsAround(t *testing.T) {
	r := memoryRing(4096)
	var want, got []string
	for i := range 1000 {
		s := strings.Repeat(string(rune('a'+i%26)), i%300)
		flags := uint32(0)
		if i%7 == 3 {
			flags = ringDiscard
		} else {
			want = append(want, s)
		}
		r.put(flags, []byte(s))
		if i%5 == 0 {
			r.read(func(b []byte) bool { got = append(got, string(b)); return true })
		}
	}
	r.read(func(b []byte) bool { got = append(got, string(b)); return true })
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

func TestRingStopsAtWhatIsBeingWritten(t *testing.T) {
	r := memoryRing(4096)
	r.put(0, []byte("whole"))
	r.put(ringBusy, []byte("half"))
	r.put(0, []byte("behind"))
	var got []string
	take := func(b []byte) bool { got = append(got, string(b)); return true }
	if r.read(take) || len(got) != 1 || r.pending() == 0 {
		t.Errorf("read %q", got)
	}
	binary.NativeEndian.PutUint32(r.data[16:], 4) // the header of the second record, as the kernel commits it
	r.read(take)
	if fmt.Sprint(got) != "[whole half behind]" || r.pending() != 0 {
		t.Errorf("read %q", got)
	}
	refused := 0
	r.put(0, []byte("again"))
	if !r.read(func([]byte) bool { refused++; return false }) || r.pending() == 0 {
		t.Error("a record that was not taken is gone")
	}
}

func TestEnvironmentKeepsNamesOnly(t *testing.T) {
	for in, want := range map[string]string{
		"A=secret\x00B=x=y\x00":      "A\x00B\x00",
		"A=cut of":                   "A\x00",
		"tail of a value\x00C=1\x00": "C\x00",
		"":                           "",
		"\x00\x00=\x00":              "\x00",
	} {
		if got := string(appendNames(nil, []byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// Whatever is in the ring, what is handed on is no longer than it, and keeps no value of an environment.
func FuzzAppendRecord(f *testing.F) {
	r := record.Record{Kind: record.KindExec, Path: []byte("/bin/sh"), Args: []byte("sh\x00")}
	whole := r.Append(nil)
	env := []byte("A=secret\x00")
	with := binary.NativeEndian.AppendUint16(append([]byte(nil), whole...), tagEnviron)
	with = append(binary.NativeEndian.AppendUint16(with, uint16(len(env))), env...)
	binary.NativeEndian.PutUint32(with, uint32(len(with)))
	f.Add(with)
	f.Add(whole[:50])
	f.Add(append(whole, 0xff, 0x7f, 0xff))
	unclean := append([]byte(nil), whole...)
	binary.NativeEndian.PutUint32(unclean[offFlags:], flagUnclean)
	f.Add(unclean)
	f.Fuzz(func(t *testing.T, sample []byte) {
		before := []byte("before")
		out := appendRecord(bytes.Clone(before), sample)
		if !bytes.HasPrefix(out, before) {
			t.Fatal("what was there is changed")
		}
		var got record.Record
		if _, err := record.Decode(out[len(before):], &got); err == nil && bytes.Contains(got.Env, []byte("=secret")) {
			t.Fatalf("environment %q", got.Env)
		}
	})
}

// Loading and unloading leaves nothing behind: no descriptor, no map, no program.
func TestReload(t *testing.T) {
	require.Root(t)
	require.Part(t, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	times := 2
	if os.Getenv("TESTUDO_LONG") != "" {
		times = 1000
	}
	once := func() {
		l := New(Options{Ring: 1 << 16})
		if err := l.Load(); err != nil {
			t.Fatal(err)
		}
		if err := l.Watch(t.Context(), everything()); err != nil {
			t.Fatal(err)
		}
		if err := l.Attach(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx, func([]byte) { cancel() }) }()
		if err := exec.Command("/bin/true").Run(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	once()
	descriptors, maps := openOf(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range times {
		once()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	d, m := openOf(t)
	if d > descriptors || m > maps {
		t.Errorf("%d descriptors and %d maps of memory, before %d and %d", d, m, descriptors, maps)
	}
	if after.HeapInuse > before.HeapInuse+16<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before.HeapInuse, after.HeapInuse)
	}
}

// openOf counts the descriptors of this process, and what of its memory is mapped from eBPF.
func openOf(t *testing.T) (descriptors, mapped int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(all), strings.Count(string(maps), "bpf")
}

// A second sensor on the host sees the same.
func TestTwoAtOnce(t *testing.T) {
	_, one := start(t, Options{}, kernel.Interest{})
	_, two := start(t, Options{}, kernel.Interest{})
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	for _, s := range []*seen{one, two} {
		s.wait(t, "exec", func(r *record.Record) bool { return r.Kind == record.KindExec && r.PID == pid })
	}
}

func TestTooMuchToExclude(t *testing.T) {
	l := New(Options{Exclude: make([]uint32, 5)})
	if err := l.Load(); err == nil {
		t.Error("five processes are excluded, there is room for four")
	}
	if err := l.Run(t.Context(), nil); err == nil {
		t.Error("a loader that has loaded nothing runs")
	}
}

func TestReasons(t *testing.T) {
	if f := feature("x", "use", unix.EPERM, "cost", "mend"); f.OK || f.Cost != "cost" || !strings.Contains(f.Detail, "not permitted") {
		t.Errorf("%+v", f)
	}
	if f := feature("x", "use", nil, "cost", "mend"); !f.OK || f.Cost != "" || f.Detail != "use" {
		t.Errorf("%+v", f)
	}
	if got := mend(ebpf.ErrNotSupported); got != "a newer kernel" {
		t.Error(got)
	}
}

// A buffer of another size than the usual changes nothing else: every program that loads loads with it.
func TestEverySizeOfRing(t *testing.T) {
	require.Root(t)
	require.Part(t, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	names := func(size bytesize.Size) string {
		l := New(Options{Ring: size})
		if err := l.Load(); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return strings.Join(l.order, " ")
	}
	if usual, small := names(0), names(64<<10); usual != small {
		t.Errorf("programs of a small ring: %s\nof the usual one: %s", small, usual)
	}
}
