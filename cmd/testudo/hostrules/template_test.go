package hostrules

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// seeing is a sensor that hands on what the test makes up, in a container.
type seeing struct {
	kernel.Sensor // what it is not asked for
	to            chan kernel.Receiver
}

func (s seeing) Run(ctx context.Context, to kernel.Receiver) error {
	s.to <- to
	<-ctx.Done()
	return nil
}
func (seeing) Watch(context.Context, kernel.Interest) error { return nil }
func (seeing) Guard(context.Context, kernel.Guard) error    { return nil }
func (seeing) Container(context.Context, uint64, uint32) (kernel.Container, bool, error) {
	return kernel.Container{ID: "0123456789abcdef", Name: "shop", Image: "docker.io/shop", Tag: "1", Digest: "sha256:00", Runtime: "docker", Labels: map[string]string{"a": "b"},
		Pod: "shop-1", PodUID: "u", Namespace: "default", Started: time.Unix(1, 0), Known: true, Mounts: []kernel.Mount{{Source: "/etc", Dest: "/host", Mode: "rw"}}}, true, nil
}
func (seeing) Executable(context.Context, kernel.FileRef) (kernel.Executable, error) {
	return kernel.Executable{SHA256: strings.Repeat("0", 64), Package: "bash 5.2", Manager: "dpkg"}, nil
}
func (seeing) Do(context.Context, kernel.Order) (kernel.Done, error) { return kernel.Done{}, nil }
func (seeing) Status(context.Context) (kernel.Status, error)         { return kernel.Status{}, nil }

// keeping keeps events.
type keeping struct {
	mu  sync.Mutex
	all []*signal.Event
}

func (k *keeping) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	own := new(signal.Event)
	e.CopyTo(own)
	k.all = append(k.all, own)
	return signal.Verdict{}, nil
}

func (k *keeping) take() []*signal.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.all
	k.all = nil
	return all
}

// everything returns records of a kind and call with all parts that the sensor may send, in their variants.
func everything(kind record.Kind, call record.Call) (all []record.Record) {
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	base := record.Record{Kind: kind, Call: call, Comm: []byte("bash"), Cgroup: 77, PPID: 90, MntNS: 5, PIDNS: 6, LoginUID: 1000,
		Path: []byte("/tmp/a/file"), Path2: []byte("/tmp/b/file"), Name: []byte("file"), Cwd: []byte("/tmp"), Args: []byte("bash\x00-c\x00x\x00"), Env: []byte("HOME\x00"),
		NumLen: 6, HasInode: true, Inode: record.Inode{Number: 9, Device: 1, Mode: 0o100755, Changed: 5, Modified: 4, UID: 1, FilesystemID: 0x794c7630},
		HasCreds: true, Creds: record.Creds{VPID: 7, VTID: 7, Group: 7, Session: 7, TTY: 136 << 20, Permitted: 1, Effective: 1}, HasStdio: true,
		Flags: record.FlagUpper}
	base.Stdio[0] = record.Descriptor{Type: record.StreamPipe, Inode: 5}
	var query []byte
	query = append(query, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1)
	reply := slices.Clone(query)
	reply[2] = 0x81
	reply[7] = 1
	reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1)
	for _, nums := range [][6]uint64{{}, {1, 1, 1, 1, 1, 1}, {16, 90, 0o101, 0o755, 1, 0}, {^uint64(99), 90, 0o2, 0o644, 0, 0}, {5, 0o1102, 0o2000000, 3, 0, 0}, {7, 4, 0o10000000, 0, 0, 0},
		{7, 4, 0o20200002, 0, 0, 0}, {7, 4, 0o3001, 0, 0, 0}} {
		for _, ret := range []int64{0, 3, -1, -13, -115} {
			for _, network := range []record.Net{{}, {Family: 2, Protocol: 6, FD: 3, Cookie: 8, Local: at("10.0.0.2:4000"), Remote: at("192.0.2.1:53"), BytesIn: 1, BytesOut: 2, PacketsIn: 1, PacketsOut: 1, Began: 5},
				{Family: 10, Protocol: 17, FD: 3, Remote: at("[2001:db8::1]:53")}, {Family: 1, FD: 3}} {
				for _, flags := range []record.Flags{0, record.FlagInbound} {
					r := base
					r.Nums, r.Ret, r.Net, r.HasNet = nums, ret, network, network.Family != 0
					r.Flags |= flags
					r.Data = query
					if ret == 3 {
						r.Data = reply
					}
					all = append(all, r)
				}
			}
		}
	}
	return all
}

// TestTemplatesAreWhatThePlaneMakes holds what rules are compiled for to the events that the plane makes: a field, an attribute or an activity that a template
// rules out, and the plane's events have, would make rules blind.
func TestTemplatesAreWhatThePlaneMakes(t *testing.T) {
	cfg := kernel.DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	s, sink := seeing{to: make(chan kernel.Receiver, 1)}, new(keeping)
	p, err := kernel.New(cfg, kernel.Deps{Sensor: s, Sink: sink, Host: "n", Boot: "abc"})
	if err != nil {
		t.Fatal(err)
	}
	p.SetReads(kernel.Reads{Executable: true}) // every attribute
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	to := <-s.to
	now := uint64(1e12)
	send := func(r record.Record) {
		now += 1e8 // beyond what is one refusal
		r.Time = now
		if r.PID == 0 {
			r.PID = 100
		}
		r.TID, r.Start = r.PID, uint64(r.PID)*1e9
		to.Records(r.Append(nil))
	}
	for _, pid := range []uint32{90, 100} {
		send(record.Record{Kind: record.KindExec, Call: record.CallExecve, PID: pid, PPID: pid - 10, Path: []byte("/bin/bash"), Args: []byte("bash\x00-i\x00"), Comm: []byte("bash"), Cgroup: 77})
	}
	type key struct {
		kind record.Kind
		call record.Call
	}
	byKey := map[key][]*template{}
	all := templates()
	for i := range all {
		byKey[key{all[i].kind, all[i].call}] = append(byKey[key{all[i].kind, all[i].call}], &all[i])
	}
	sent := map[key]int{}
	for k := range byKey {
		for _, r := range everything(k.kind, k.call) {
			if k.kind == record.KindExit || k.kind == record.KindExec {
				r.PID = 1000 + uint32(sent[k])
			}
			send(r)
			sent[k]++
		}
	}
	cancel() // all that was received is judged before it returns
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	type group struct {
		class signal.Class
		name  string
	}
	byEvent := map[group][]*template{}
	for _, ts := range byKey {
		for _, of := range ts {
			name, _ := of.known.Examples[0].Unmapped("evt.type")
			byEvent[group{of.class, name}] = append(byEvent[group{of.class, name}], of)
		}
	}
	told, met := map[string]bool{}, map[*template]bool{}
	for _, e := range sink.take() {
		name, _ := e.Unmapped("evt.type")
		candidates := byEvent[group{e.Class, name}]
		if len(candidates) == 0 {
			candidates = byEvent[group{e.Class, ""}] // of no call
		}
		var why []string
		for _, of := range candidates {
			w := of.denies(e)
			if w == "" {
				why = nil
				met[of] = true
				break
			}
			why = append(why, w)
		}
		if len(candidates) == 0 {
			why = []string{"no template"}
		}
		for _, w := range why {
			if text := fmt.Sprintf("class %v, %s: %s", e.Class, name, w); !told[text] {
				told[text] = true
				t.Error(text)
			}
		}
	}
	for _, ts := range byKey {
		for _, of := range ts {
			if !met[of] {
				name, _ := of.known.Examples[0].Unmapped("evt.type")
				t.Errorf("no event was made for the template %v %s, for writing %v: the test is blind to it", of.kind, name, of.write)
			}
		}
	}
}

// denies says what of an event the template holds to be impossible, "" for nothing.
func (t *template) denies(e *signal.Event) string {
	var like []*signal.Event
	for _, x := range t.known.Examples {
		if x.Activity == e.Activity {
			like = append(like, x)
		}
	}
	if len(like) == 0 {
		return fmt.Sprintf("activity %d", e.Activity)
	}
	for f := range e.Each {
		if !t.known.Fields[f] || f == signal.FieldActivityID || f == signal.FieldClassUID {
			continue
		}
		if f == signal.FieldOpenFlags {
			flags := map[string]bool{}
			for _, x := range like {
				for _, v := range x.Strings(f) {
					flags[v] = true
				}
			}
			for _, v := range e.Strings(f) {
				if !flags[v] {
					return "opened with " + v
				}
			}
			continue
		}
		if !slices.ContainsFunc(like, func(x *signal.Event) bool { return x.Str(f) == e.Str(f) }) {
			return fmt.Sprintf("%s is %q", f.Name(), e.Str(f))
		}
	}
	for _, a := range e.UnmappedAttrs() {
		if !t.known.Attrs[a.Name] && !t.known.AttrKnown(a.Name) {
			continue
		}
		if !slices.ContainsFunc(like, func(x *signal.Event) bool { v, _ := x.Unmapped(a.Name); return v == a.Value }) {
			return fmt.Sprintf("the attribute %s is %q", a.Name, a.Value)
		}
	}
	return ""
}
