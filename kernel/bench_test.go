package kernel

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

type nobody struct{}

func (nobody) Event(context.Context, *signal.Event) (signal.Verdict, error) {
	return signal.Verdict{}, nil
}

// falcoReads are the attributes that the rules of Falco's three files ask for.
func falcoReads() Reads {
	all := map[string]bool{}
	for name := range strings.FieldsSeq(`container.mounts container.privileged evt.arg.cmd evt.arg.domain evt.arg.filename evt.arg.flags evt.arg.mode evt.arg.name
		evt.arg.newpath evt.arg.oldpath evt.arg.path evt.arg.request evt.arg.target evt.arg.uid evt.buffer evt.is_open_exec evt.rawres fd.connected fd.name_changed
		fd.nameraw fd.num proc.aexe.2 proc.env proc.is_exe_from_memfd proc.is_exe_upper_layer proc.is_vpgid_leader proc.vpid thread.cap_effective
		thread.cap_permitted proc.cwd proc.tty`) {
		all[name] = true
	}
	return Reads{Attrs: all}
}

// BenchmarkPlane is what the plane does with one record, but for judging.
func BenchmarkPlane(b *testing.B) {
	open := callOf(91, record.CallOpenat, 3, "/etc/ld.so.cache", ^uint64(99), 0x7fff0000, 0o2000000, 0)
	open.HasInode, open.Inode = true, record.Inode{Mode: 0o100644, Number: 5, Device: 8<<32 | 1}
	open.Comm = []byte("cat")
	connect := callOf(91, record.CallConnect, 0, "")
	connect.Comm = []byte("cat")
	connect.Kind, connect.HasNet = record.KindConnect, true
	connect.Net = record.Net{Local: netip.MustParseAddrPort("10.0.0.2:40000"), Remote: netip.MustParseAddrPort("93.184.216.34:443"), Protocol: 6, Family: 2, FD: 5, Cookie: 900000}
	exec := execOf(91, 90, "/usr/bin/cat", "cat", "/etc/passwd")
	for _, bench := range []struct {
		name  string
		reads Reads
		rec   record.Record
	}{{"open", falcoReads(), open}, {"open all attributes", Reads{}, open}, {"connect", falcoReads(), connect}, {"exec", falcoReads(), exec}} {
		b.Run(bench.name, func(b *testing.B) {
			p, err := New(DefaultConfig(), Deps{Sensor: newTestSensor(), Sink: nobody{}, Host: "node1", Boot: "3f2a91c4"})
			if err != nil {
				b.Fatal(err)
			}
			p.SetReads(bench.reads)
			bash := execOf(90, 1, "/usr/bin/bash", "-bash")
			first := execOf(91, 90, "/usr/bin/cat", "cat", "/etc/passwd")
			p.batch(context.Background(), first.Append(bash.Append(nil)))
			raw := bench.rec.Append(nil)
			b.ReportAllocs()
			for b.Loop() {
				p.batch(context.Background(), raw)
			}
		})
	}
}

// BenchmarkBuild is the making of an event alone, of a process that is known.
func BenchmarkBuild(b *testing.B) {
	p, err := New(DefaultConfig(), Deps{Sensor: newTestSensor(), Sink: nobody{}, Host: "node1", Boot: "3f2a91c4"})
	if err != nil {
		b.Fatal(err)
	}
	p.SetReads(falcoReads())
	exec := execOf(91, 90, "/usr/bin/cat", "cat", "/etc/passwd")
	open := callOf(91, record.CallOpenat, 3, "/etc/ld.so.cache", ^uint64(99), 0x7fff0000, 0o2000000, 0)
	proc := p.table.Apply(&exec)
	b.ReportAllocs()
	for b.Loop() {
		p.build(&p.event, &open, proc, nil, nil)
	}
}

// BenchmarkNewPaths is what a file costs that was not seen before: its path is looked through for secrets.
func BenchmarkNewPaths(b *testing.B) {
	set, err := detect.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	p, err := New(DefaultConfig(), Deps{Sensor: newTestSensor(), Sink: nobody{}, Host: "node1", Boot: "3f2a91c4", Redact: set.Redact})
	if err != nil {
		b.Fatal(err)
	}
	p.SetReads(falcoReads())
	exec := execOf(91, 90, "/usr/bin/cat", "cat", "/etc/passwd")
	p.batch(context.Background(), exec.Append(nil))
	open := callOf(91, record.CallOpenat, 3, "/home/alice/go/src/example.org/project/internal/xxxxxxxxxx.go", ^uint64(99), 0x7fff0000, 0o2000000, 0)
	open.Comm = []byte("cat")
	raw := open.Append(nil)
	at := bytes.Index(raw, []byte("xxxxxxxxxx"))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		copy(raw[at:], fmt.Sprintf("%010d", i))
		p.batch(context.Background(), raw)
	}
}

// BenchmarkRecords is the way from the sensor to the judge, through the queue: an operation is one record.
func BenchmarkRecords(b *testing.B) {
	sensor := newTestSensor()
	p, err := New(DefaultConfig(), Deps{Sensor: sensor, Sink: nobody{}, Host: "node1", Boot: "3f2a91c4"})
	if err != nil {
		b.Fatal(err)
	}
	p.SetReads(falcoReads())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-sensor.started
	var batch []byte
	exec := execOf(91, 90, "/usr/bin/cat", "cat", "/etc/passwd")
	p.Records(exec.Append(nil))
	const size = 256
	for i := range size {
		open := callOf(91, record.CallOpenat, 3, fmt.Sprintf("/etc/file%d", i), ^uint64(99), 0x7fff0000, 0o2000000, 0)
		open.Comm = []byte("cat")
		batch = open.Append(batch)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += size {
		p.Records(batch)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
