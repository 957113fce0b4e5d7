package chain_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/kernel/chain"
	"github.com/testudo-sec/testudo/kernel/record"
)

var (
	edgeEnd  = netip.MustParseAddrPort("10.0.0.1:40000")
	shopEnd  = netip.MustParseAddrPort("10.0.0.2:8080")
	shopOut  = netip.MustParseAddrPort("10.0.0.2:50000")
	stockEnd = netip.MustParseAddrPort("10.0.0.3:9090")
)

const here = 4026531840 // network namespace

func serve(token uint64, local, remote netip.AddrPort, from, to, began uint64, head string) *record.Record {
	return &record.Record{Kind: record.KindServe, Token: token, PID: uint32(token), HasNet: true, Net: record.Net{Local: local, Remote: remote, NetNS: here, Began: began},
		HasRange: true, Range: record.Range{From: from, To: to}, Data: []byte(head)}
}

func send(token uint64, local, remote netip.AddrPort, from, to, began uint64) *record.Record {
	r := serve(token, local, remote, from, to, began, "")
	r.Kind = record.KindSend
	return r
}

func request(uid string, from uint64) chain.Forward {
	return chain.Forward{UID: uid, Trace: "0af7651916cd43dd8448eb211c80319c", Span: "b7ad6b716920" + uid[len(uid)-4:], Local: edgeEnd, Remote: shopEnd, Conn: 1, From: from}
}

func expect(t *testing.T, table *chain.Table, token uint64, uid string) {
	t.Helper()
	r, ok := table.Request(token)
	switch {
	case uid == "" && ok && !r.Ambiguous:
		t.Errorf("token %d is said to be of %s", token, r.UID)
	case uid != "" && (!ok || r.Ambiguous || r.UID != uid):
		t.Errorf("token %d: %+v, %t; want %s", token, r, ok, uid)
	}
}

// TestKeepAlive: requests on one connection are told apart by their bytes.
func TestKeepAlive(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	table.Forwarded(request("request-0002", 100))
	table.Apply(serve(2, shopEnd, edgeEnd, 100, 150, 7, ""))
	table.Apply(serve(1, shopEnd, edgeEnd, 0, 100, 7, ""))   // told of late
	table.Apply(serve(3, shopEnd, edgeEnd, 150, 160, 7, "")) // the second's body, after a word in between
	table.Apply(serve(4, shopEnd, edgeEnd, 90, 110, 7, ""))  // of both
	expect(t, table, 1, "request-0001")
	expect(t, table, 2, "request-0002")
	expect(t, table, 3, "request-0002")
	expect(t, table, 4, "")
	expect(t, table, 5, "")
}

// TestLateWriter: who reads may be told of before who wrote.
func TestLateWriter(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	table.Forwarded(request("request-0002", 100))
	table.Apply(serve(1, shopEnd, edgeEnd, 0, 100, 7, ""))
	table.Apply(send(1, shopOut, stockEnd, 0, 50, 8))
	table.Apply(serve(10, stockEnd, shopOut, 0, 50, 9, ""))
	expect(t, table, 10, "request-0001")
	table.Apply(serve(11, stockEnd, shopOut, 50, 90, 9, "")) // on the same connection, written by nobody that is known yet
	expect(t, table, 11, "")
	table.Apply(serve(2, shopEnd, edgeEnd, 100, 150, 7, ""))
	table.Apply(send(2, shopOut, stockEnd, 50, 90, 8))
	expect(t, table, 11, "request-0002")
	if hops := table.Hops("request-0002"); len(hops) != 2 || hops[1].Parent != 2 || hops[1].How != chain.BySocket {
		t.Errorf("%+v", hops)
	}
}

// TestLateRoot: the service in the middle may be told of after both others.
func TestLateRoot(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	r := serve(1, shopEnd, edgeEnd, 5000, 5100, 7, "") // not the edge's bytes so far as is known
	r.Net.Local = netip.MustParseAddrPort("10.0.0.2:81")
	table.Apply(r)
	table.Apply(send(1, shopOut, stockEnd, 0, 50, 8))
	table.Apply(serve(10, stockEnd, shopOut, 0, 50, 9, ""))
	expect(t, table, 10, "")
	late := request("request-0003", 5000)
	late.Remote, late.Conn = r.Net.Local, 3
	table.Forwarded(late)
	table.Apply(r) // another thread goes on reading
	expect(t, table, 1, "request-0003")
	expect(t, table, 10, "request-0003")
	if len(table.Hops("request-0003")) != 2 {
		t.Errorf("%+v", table.Hops("request-0003"))
	}
}

// TestSamePorts: a later connection between the same ports is another.
func TestSamePorts(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	table.Apply(serve(1, shopEnd, edgeEnd, 0, 100, 7, ""))
	table.Apply(serve(2, shopEnd, edgeEnd, 0, 100, 8, "")) // a stranger's
	expect(t, table, 1, "request-0001")
	expect(t, table, 2, "")
	again := request("request-0002", 0)
	again.Conn = 2
	table.Forwarded(again)
	table.Apply(serve(3, shopEnd, edgeEnd, 0, 100, 9, ""))
	expect(t, table, 3, "request-0002")
}

// opened is a serve record of a connection that was opened in a network namespace, from one address to another.
func opened(token uint64, netns uint32, from, to netip.AddrPort, began uint64) *record.Record {
	r := serve(token, netip.MustParseAddrPort("172.17.0.2:80"), netip.MustParseAddrPort("172.17.0.1:33333"), 0, 100, 100+token, "")
	r.Net.NetNS = here + 7 // of the container
	r.HasPeer, r.Peer = true, record.Net{Local: from, Remote: to, NetNS: netns, Began: began}
	return r
}

// TestPeer: who reads a connection may call it by other addresses than who opened it, and in another namespace.
func TestPeer(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	table.Apply(opened(1, here, edgeEnd, shopEnd, 5))
	expect(t, table, 1, "request-0001")
	if hops := table.Hops("request-0001"); len(hops) != 1 || hops[0].How != chain.ByTranslated || hops[0].Server.String() != "172.17.0.2:80" {
		t.Errorf("%+v", hops)
	}
	table.Apply(send(1, shopOut, stockEnd, 0, 50, 8))
	table.Apply(opened(2, here, shopOut, stockEnd, 9)) // another connection between the same ports
	expect(t, table, 2, "")
	table.Apply(opened(3, here+1, shopOut, stockEnd, 8)) // in another network
	expect(t, table, 3, "")
	table.Apply(opened(4, here, shopOut, stockEnd, 8))
	expect(t, table, 4, "request-0001")
	if s := table.Stats(); s.Joined != 2 || s.ByTranslated != 2 || s.Served != 4 {
		t.Errorf("%+v", s)
	}
}

// TestSameAddressesApart: the same addresses and ports in another network namespace are another connection, also where the sensor does not know who
// opened it, and whichever is told of first.
func TestSameAddressesApart(t *testing.T) {
	elsewhere := func(token uint64) *record.Record {
		r := serve(token, shopEnd, edgeEnd, 0, 100, 70+token, "")
		r.Net.NetNS = here + 1
		return r
	}
	table := chain.New(chain.Deps{NetNS: here})
	table.Apply(elsewhere(1))
	table.Forwarded(request("request-0001", 0))
	table.Apply(elsewhere(2))
	table.Apply(serve(3, shopEnd, edgeEnd, 0, 100, 7, ""))
	table.Apply(elsewhere(4))
	expect(t, table, 1, "")
	expect(t, table, 2, "")
	expect(t, table, 3, "request-0001")
	expect(t, table, 4, "")
}

// TestMetrics: what was counted is what a registry is told.
func TestMetrics(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	table.Apply(opened(1, here, edgeEnd, shopEnd, 5))
	table.Apply(opened(2, here+1, edgeEnd, shopEnd, 5))
	registry := prometheus.NewRegistry()
	if err := registry.Register(table.Metrics()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
		}
	}
	const prefix = "testudo_kernel_chain_"
	want := map[string]float64{prefix + "served_total": 2, prefix + "joined_total socket": 0, prefix + "joined_total translated socket": 1,
		prefix + "joined_total header": 0, prefix + "ambiguous_total": 0, prefix + "forgotten_total": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestShared: of an HTTP/2 connection with several open requests nobody can say whose the bytes are.
func TestShared(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	table.Forwarded(request("request-0001", 0))
	second := request("request-0002", 100)
	second.Shared = true
	table.Forwarded(second)
	table.Apply(serve(1, shopEnd, edgeEnd, 50, 60, 7, ""))
	table.Apply(serve(2, shopEnd, edgeEnd, 100, 120, 7, ""))
	expect(t, table, 1, "")
	expect(t, table, 2, "")
	table.Forwarded(request("request-0003", 200)) // alone again
	table.Apply(serve(3, shopEnd, edgeEnd, 200, 220, 7, ""))
	expect(t, table, 3, "request-0003")
}

// TestHeader: an identifier joins only while it names one request that is under way, and never against what the sockets say.
func TestHeader(t *testing.T) {
	now := time.Unix(1000, 0)
	table := chain.New(chain.Deps{NetNS: here, Now: func() time.Time { return now }})
	elsewhere := netip.MustParseAddrPort("10.9.9.9:1")
	head := func(uid string) string { return "GET / HTTP/1.1\r\nHost: a\r\nx-request-ID:  " + uid + " \r\n\r\n" }
	first := request("request-0001", 0)
	table.Forwarded(first)
	table.Forwarded(request("request-0002", 100))
	table.Apply(serve(1, stockEnd, elsewhere, 0, 9, 1, head("request-0001")))
	expect(t, table, 1, "request-0001")
	table.Apply(serve(2, stockEnd, elsewhere, 9, 18, 1, head("request-9999")))
	expect(t, table, 2, "")
	table.Apply(serve(3, stockEnd, elsewhere, 18, 27, 1, "POST / HTTP/1.1\r\n\r\nX-Request-Id: request-0001\r\n")) // in the body
	expect(t, table, 3, "")
	table.Apply(serve(4, stockEnd, elsewhere, 27, 36, 1, "GET / HTTP/1.1\r\nX-Request-Id: request-0001\r\nX-Request-Id: request-0002\r\n\r\n"))
	expect(t, table, 4, "")
	table.Apply(serve(5, stockEnd, elsewhere, 36, 45, 1, "GET / HTTP/1.1\r\nTraceparent: 00-"+first.Trace+"-"+first.Span+"-01\r\n\r\n"))
	expect(t, table, 5, "request-0001")
	table.Apply(serve(6, stockEnd, elsewhere, 45, 54, 1, "GET / HTTP/1.1\r\nTraceparent: 00-"+first.Trace+"-ffffffffffffffff-01\r\n\r\n"))
	expect(t, table, 6, "")                                                    // a trace that did not begin at the edge is known to others
	table.Apply(serve(7, shopEnd, edgeEnd, 100, 120, 1, head("request-0001"))) // a lie: these bytes the edge wrote for the second
	expect(t, table, 7, "request-0002")
	table.Ended("request-0001")
	now = now.Add(time.Minute)
	table.Apply(serve(8, stockEnd, elsewhere, 54, 63, 1, head("request-0001")))
	expect(t, table, 8, "")
	if s := table.Stats(); s.ByHeader != 2 {
		t.Errorf("%+v", s)
	}
}

// TestBounds: whatever is told of, the table stays as small as it is.
func TestBounds(t *testing.T) {
	table := chain.New(chain.Deps{NetNS: here})
	for i := range uint64(200_000) {
		table.Apply(serve(i+1, shopEnd, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1), 0, 1, i, ""))
	}
	if s := table.Stats(); s.Forgotten < 100_000 {
		t.Errorf("%+v", s)
	}
	table.Forwarded(request("request-0001", 0))
	table.Apply(serve(1<<40, shopEnd, edgeEnd, 0, 100, 7, ""))
	expect(t, table, 1<<40, "request-0001")
}

// FuzzApply: no order of records makes it panic, or name a request that nobody forwarded.
func FuzzApply(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		table := chain.New(chain.Deps{NetNS: here})
		ends := []netip.AddrPort{edgeEnd, shopEnd, shopOut, stockEnd}
		for ; len(b) >= 5; b = b[5:] {
			token, from := uint64(b[1]%8), uint64(b[2])
			local, remote := ends[b[3]%4], ends[b[3]/4%4]
			switch b[0] % 4 {
			case 3:
				table.Apply(opened(token, here+uint32(b[4]&1), local, remote, uint64(b[4]&2)))
			case 0:
				x := request([]string{"request-0001", "request-0002"}[b[4]&1], from)
				x.Local, x.Remote, x.Shared = local, remote, b[4]&2 != 0
				table.Forwarded(x)
			case 1:
				table.Apply(serve(token, local, remote, from, from+uint64(b[4]), 1, "a\r\nX-Request-Id: request-0002\r\n\r\n"))
			case 2:
				table.Apply(send(token, local, remote, from, from+uint64(b[4]), 1))
			}
		}
		for token := range uint64(8) {
			if r, ok := table.Request(token); ok && r.UID != "request-0001" && r.UID != "request-0002" {
				t.Fatalf("%+v", r)
			}
		}
		table.Hops("request-0001")
	})
}
