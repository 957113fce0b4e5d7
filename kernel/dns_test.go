package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

func query(name string) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, _ := m.Pack()
	return b
}

func answer(name string, addrs ...string) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
			Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()}})
	}
	m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET},
		Body: &dnsmessage.TXTResource{TXT: []string{"a\xff\x00b"}}})
	b, _ := m.Pack()
	return b
}

func TestDNS(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	ask := callOf(91, record.CallNone, 0, "")
	ask.Kind, ask.HasNet = record.KindDNS, true
	ask.Net = record.Net{Local: netip.MustParseAddrPort("10.0.0.2:5000"), Remote: netip.MustParseAddrPort("10.0.0.1:53"), Protocol: 17, Family: 2}
	ask.Data = query("pool.example.org")
	told := ask
	told.Data = answer("pool.example.org", "93.184.216.34")
	connect := callOf(91, record.CallConnect, 0, "")
	connect.Kind, connect.HasNet = record.KindConnect, true
	connect.Net = record.Net{Local: netip.MustParseAddrPort("10.0.0.2:40000"), Remote: netip.MustParseAddrPort("93.184.216.34:443"), Protocol: 6, Family: 2, FD: 5}
	elsewhere := connect
	elsewhere.Cgroup = 55
	broken := ask
	broken.Data = told.Data[:20]
	h.send(execOf(91, 90, "/usr/bin/xmr", "xmr"), ask, told, connect, elsewhere, broken)
	all := h.ended()
	if len(all) != 6 {
		t.Fatalf("%d events", len(all))
	}
	by := map[uint8]*signal.Event{}
	for _, e := range all {
		if e.Class == signal.ClassDNSActivity && e.Str(signal.FieldQueryHostname) != "" {
			by[e.Activity] = e
		}
	}
	q, a := by[1], by[2]
	if q == nil || q.Str(signal.FieldQueryHostname) != "pool.example.org" || q.Str(signal.FieldQueryType) != "A" || q.Str(signal.FieldQueryClass) != "INET" ||
		q.Int(signal.FieldDstEndpointPort) != 53 || q.Str(signal.FieldActorProcessFilePath) != "/usr/bin/xmr" {
		t.Errorf("%s", mustJSON(t, q))
	}
	if a == nil || a.Strings(signal.FieldAnswersRData)[0] != "93.184.216.34" || a.Strings(signal.FieldAnswersRData)[1] != "a\\xff\\x00b" ||
		a.Str(signal.FieldRcode) != "NOERROR" || a.Strings(signal.FieldAnswersType)[1] != "TXT" {
		t.Errorf("%s", mustJSON(t, a))
	}
	for _, e := range all {
		if e.Class == signal.ClassNetworkActivity {
			want := "pool.example.org"
			if e.Int(signal.FieldActorProcessPID) == 91 && e.Str(signal.FieldDstEndpointHostname) != want && e.Str(signal.FieldDstEndpointHostname) != "" {
				t.Errorf("%s", mustJSON(t, e))
			}
		}
	}
	if all[3].Str(signal.FieldDstEndpointHostname) != "pool.example.org" {
		t.Errorf("the connection does not carry the name that it was asked for: %s", mustJSON(t, all[3]))
	}
	for _, e := range all[4:] {
		if e.Str(signal.FieldDstEndpointHostname) != "" {
			t.Errorf("a name of one workload on a connection of another: %s", mustJSON(t, e))
		}
	}
}
