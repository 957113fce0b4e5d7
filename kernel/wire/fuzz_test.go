package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func helloBytes() []byte {
	p, _ := json.Marshal(ours())
	f := frame{kind: kindHello, payload: p}
	return f.append(nil)
}

func request(k kind, id uint32, question any) []byte {
	p, _ := json.Marshal(question)
	f := frame{kind: k, id: id, payload: append([]byte{100, 0, 0, 0}, p...)}
	return f.append(nil)
}

// Whatever the plane sends, the child neither panics nor does more than it may.
func FuzzServe(f *testing.F) {
	f.Add(request(kindWatch, 1, kernel.Interest{DNS: true}))
	f.Add(request(kindGuard, 2, kernel.Guard{Rules: []kernel.GuardRule{{Rule: "r", Hook: kernel.HookOpen, File: kernel.Paths{Exact: []string{"/x"}}}}}))
	f.Add(request(kindDo, 3, kernel.Order{Verb: kernel.VerbKill, PID: 1, Start: 1}))
	f.Add(request(kindExecutable, 4, kernel.FileRef{PID: 1, Path: "/etc/shadow", Inode: record.Inode{Number: 7}}))
	f.Add(append(request(kindStatus, 5, nil), request(kindContainer, 6, containerOf{1, 1})...))
	f.Add([]byte{255, 255, 255, 255, 1, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, byte(kindStop), 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		child, plane := pipes()
		s := &guardedFake{t: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = Serve(context.Background(), child, func(*slog.Logger) kernel.Sensor { return s })
		}()
		go func() { _, _ = io.Copy(io.Discard, plane.Control) }()
		go func() { _, _ = io.Copy(io.Discard, plane.Records) }()
		_, _ = plane.Control.Write(append(helloBytes(), b...))
		plane.Close()
		<-ended
	})
}

// guardedFake fails the test where an order comes through that must not.
type guardedFake struct {
	fake
	t *testing.T
}

func (g *guardedFake) Do(_ context.Context, o kernel.Order) (kernel.Done, error) {
	if (o.Verb == kernel.VerbKill || o.Verb == kernel.VerbFreeze) && (o.PID == 1 || o.Cgroup == 1) {
		g.t.Errorf("%+v came through", o)
	}
	return kernel.Done{}, nil
}

func (g *guardedFake) Executable(_ context.Context, r kernel.FileRef) (kernel.Executable, error) {
	if r.Inode.Number == 0 {
		g.t.Errorf("%+v came through", r)
	}
	return kernel.Executable{}, nil
}

func pipes() (child, plane Link) {
	c1, p1 := net.Pipe()
	c2, p2 := net.Pipe()
	return Link{c1, c2}, Link{p1, p2}
}

// Whatever the child sends, the plane neither panics nor hands on what is no record.
func FuzzClient(f *testing.F) {
	ask := frame{kind: kindAsk, id: 1, payload: append([]byte{byte(record.GateLSM)}, rec(record.KindExec, 1)...)}
	line := frame{kind: kindLog, payload: []byte("\x00hello\x1b[31m")}
	reply := frame{kind: kindReply, outcome: outcomeUnable, id: 1, payload: []byte("no: not possible here")}
	f.Add(ask.append(line.append(nil)), append(rec(record.KindFork, 1), rec(record.KindExit, 1)...))
	f.Add(reply.append(nil), []byte{104, 0, 0, 0})
	f.Add([]byte("nonsense that is long enough for a head"), []byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, control, records []byte) {
		child, plane := pipes()
		c := NewClient(queue(nil), slog.New(slog.DiscardHandler))
		ended := make(chan struct{})
		k := &wholeTaker{t: t}
		go func() { defer close(ended); _ = c.serve(context.Background(), plane, k) }()
		go func() { _, _ = io.Copy(io.Discard, child.Control) }()
		wrote := make(chan struct{})
		go func() { defer close(wrote); _, _ = child.Records.Write(records) }()
		_, _ = child.Control.Write(append(helloBytes(), control...))
		select {
		case <-wrote:
		case <-ended:
		}
		child.Close()
		<-ended
	})
}

type wholeTaker struct{ t *testing.T }

func (w *wholeTaker) Records(b []byte) {
	for len(b) > 0 {
		n, ok := record.Size(b)
		if !ok {
			w.t.Fatalf("%d bytes hold no whole record", len(b))
		}
		b = b[n:]
	}
}

func (w *wholeTaker) Ask(_ context.Context, b []byte, _ record.Gate) kernel.Answer {
	if n, ok := record.Size(b); !ok || n != len(b) {
		w.t.Fatal("a gate's question holds no whole record")
	}
	return kernel.Answer{}
}

// What the log shows of the child's cannot act on a terminal.
func TestPrintable(t *testing.T) {
	if got := printable([]byte("a\x1b[31m\u009b\xff\nb")); got != "a?[31m??\nb" {
		t.Errorf("%q", got)
	}
}

func TestFramesAreBounded(t *testing.T) {
	for k := kindHello; k < kindEnd; k++ {
		for _, fromChild := range []bool{true, false} {
			most, ok := k.most(fromChild)
			f := frame{kind: k, payload: make([]byte, most+1)}
			if _, err := readFrame(bytes.NewReader(f.append(nil)), fromChild); err == nil {
				t.Errorf("%v of %d bytes is read", k, most+1)
			}
			f.payload = f.payload[:most]
			if _, err := readFrame(bytes.NewReader(f.append(nil)), fromChild); (err == nil) != ok {
				t.Errorf("%v, from the child %v: %v", k, fromChild, err)
			}
		}
	}
	if len(kindNames) != int(kindEnd) {
		t.Errorf("%d names of %d kinds", len(kindNames), kindEnd)
	}
}

// BenchmarkRecords is what an event of some 250 bytes costs in both ends together, in batches as the ring gives them.
func BenchmarkRecords(b *testing.B) {
	r := record.Record{Kind: record.KindCall, Call: record.CallOpenat, PID: 1, Comm: []byte("server"), Path: []byte("/usr/share/zoneinfo/Europe/Zurich"),
		HasInode: true, Inode: record.Inode{Number: 5}}
	one := r.Append(nil)
	const each = 256
	var batch []byte
	for range each {
		batch = append(batch, one...)
	}
	child, plane := pair(b)
	done := make(chan struct{})
	o := newOutbox(outboxLimit, newRanFiles(), bootTime)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = o.write(child.Records, done); child.Close() }()
	count := &counter{}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		s := &session{link: plane, to: count}
		_ = s.take()
	}()
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	for i := 0; i < b.N; i += each {
		for o.full() { // the bench measures what is carried, not what is dropped
			o.nudge()
		}
		o.add(batch)
	}
	close(done)
	<-ended
	<-taken
	if count.n < b.N {
		b.Fatalf("%d of %d came", count.n, b.N)
	}
	plane.Close()
}

type counter struct{ n int }

func (c *counter) Records(b []byte) {
	for len(b) > 0 {
		n, _ := record.Size(b)
		b = b[n:]
		c.n++
	}
}

func (c *counter) Ask(context.Context, []byte, record.Gate) kernel.Answer { return kernel.Answer{} }
