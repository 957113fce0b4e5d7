package assembly

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/logs/follow"
	"github.com/testudo-sec/testudo/logs/intake"
	"github.com/testudo-sec/testudo/logs/listen"
	"github.com/testudo-sec/testudo/signal"
)

// accessLine is a line as nginx writes it in its combined format.
func accessLine(n int, from, target string) string {
	return fmt.Sprintf(`%s - - [%s] "GET %s HTTP/1.1" 200 %d "-" "curl/8.5.0"`+"\n", from, time.Now().UTC().Format("02/Jan/2006:15:04:05 -0700"), target, n)
}

// logSettings follows a file and listens on every transport.
func logSettings(t *testing.T, path string) Settings {
	s := testSettings("")
	s.Logs.Follow = follow.Config{Poll: 10 * time.Millisecond, Rescan: 20 * time.Millisecond, Quiet: 50 * time.Millisecond, MaxFiles: 10}
	s.Logs.Files = []LogFiles{{Files: follow.Files{Paths: []string{path}}, Spec: intake.Spec{Name: "shop", Product: "nginx"}}}
	s.Logs.Syslog = []LogSyslog{{Syslog: listen.Syslog{Address: "127.0.0.1:0", Transport: "udp"}}, {Syslog: listen.Syslog{Address: "127.0.0.1:0", Transport: "tcp"}}}
	s.Logs.OTLP = []LogOTLP{{OTLP: listen.OTLP{Address: "127.0.0.1:0"}}}
	if err := s.Logs.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sinkFunc is a sink that judges nothing.
type sinkFunc func()

func (f sinkFunc) Event(context.Context, *signal.Event) (signal.Verdict, error) {
	f()
	return signal.Verdict{}, nil
}

// records lists the events of the logs plane, without the findings about them.
func (s *system) records() []*signal.Event {
	s.t.Helper()
	return slices.DeleteFunc(s.events("plane=logs"), func(e *signal.Event) bool { return e.Class.Category() == 2 })
}

// TestLogsPlane has what others wrote go through the whole machine: a followed access log with an attack in it, syslog,
// OpenTelemetry; a restart in the middle, across a rotation, with each line once.
func TestLogsPlane(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	write(t, path, accessLine(1, "203.0.113.9", "/search?q=lantern")+accessLine(2, "203.0.113.9", "/download?file=../../../../../../etc/passwd")+"no line of an access log\n")
	dir := dataDir(t)
	settings := logSettings(t, path)
	s := start(t, settings, dir)
	s.signIn()

	logs := func() []*signal.Event { return s.records() }
	eventually(t, "the lines that lay there are events", func() bool { return len(logs()) == 2 })
	var attack *signal.Event
	for _, e := range logs() {
		if strings.Contains(e.Str(signal.FieldHTTPRequestURLPath), "download") {
			attack = e
		}
	}
	if attack == nil || len(attack.Strings(signal.FieldVerdictRules)) == 0 || attack.IP(signal.FieldSrcEndpointIP).String() != "203.0.113.9" {
		t.Fatalf("the attack is %v", attack)
	}
	if from, _ := attack.Unmapped(intake.SourceAttr); from != path+":2" {
		t.Errorf("it came from %q, want %s:2", from, path)
	}
	if h, err := Hunt(t.Context(), s.m.storage.History(), console.HuntQuery{Condition: `metadata.log_product == "nginx" && src_endpoint.ip == "203.0.113.9"`, Since: time.Now().Add(-time.Hour)},
		func(*signal.Event) error { return nil }); err != nil || h.Matched != 2 {
		t.Errorf("the hunt finds %+v, %v", h, err)
	}
	eventually(t, "the attack is a finding", func() bool { return len(s.findings("")) > 0 })
	if got := s.actions("state=active"); len(got) != 0 {
		t.Errorf("a line of a log had somebody blocked: %v", got)
	}

	// Syslog and OpenTelemetry.
	listeners := s.m.logs.listeners
	udp, err := net.Dial("udp", listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	fmt.Fprint(udp, "<34>1 2026-11-22T10:00:00Z web1 sshd 4711 - - Failed password for root from 198.51.100.7 port 4022 ssh2")
	tcp, err := net.Dial("tcp", listeners[1].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tcp, "<34>1 2026-11-22T10:00:00Z web2 sshd 4711 - - Accepted publickey for ann from 198.51.100.8 port 4022 ssh2\n")
	_ = tcp.Close()
	body := `{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"web3"}}]},"scopeLogs":[{"logRecords":[
		{"timeUnixNano":"1795341600000000000","body":{"stringValue":"from a collector"},"attributes":[
			{"key":"metadata.reporter.uid","value":{"stringValue":"forged"}},{"key":"verdict.rules","value":{"stringValue":"forged"}},{"key":"edge.error","value":{"stringValue":"blocklist"}}]}]}]}]}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+listeners[2].Addr().String()+"/v1/logs", bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if a := ask(t, from(t, ""), r); a.status != http.StatusOK || a.body != "{}" {
		t.Fatalf("the collector is answered %d %s", a.status, a.body)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("feeds: %+v", s.m.logs.intake.Stats())
			for _, l := range s.m.logs.listeners {
				t.Logf("listener: %+v", l.Stats())
			}
		}
	})
	eventually(t, "three more events", func() bool { return len(logs()) == 5 })
	hosts := map[string]*signal.Event{}
	for _, e := range logs() {
		hosts[e.Str(signal.FieldDeviceHostname)] = e
	}
	for _, host := range []string{"web1", "web2", "web3"} {
		if hosts[host] == nil {
			t.Errorf("nothing from %s: %v", host, logs())
		}
	}
	if e := hosts["web3"]; e != nil && (e.Str(signal.FieldMetadataReporterUID) == "forged" || len(e.Strings(signal.FieldVerdictRules)) != 0 || e.Has(signal.FieldEdgeError)) {
		t.Errorf("the record says of itself what testudo says: %v", e)
	}

	// What does not parse is kept, and is nobody else's to read.
	rejected := filepath.Join(dir, logDeadLetter)
	text, err := os.ReadFile(rejected)
	if err != nil || !strings.Contains(string(text), `"record":"no line of an access log"`) || !strings.Contains(string(text), path+":3") {
		t.Errorf("dead letters: %s %v", text, err)
	}
	if info, err := os.Stat(rejected); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dead letters: %v %v", info, err)
	}

	// A restart, and a rotation meanwhile.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	write(t, path, accessLine(3, "203.0.113.10", "/before"))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, accessLine(4, "203.0.113.10", "/after"))
	s = start(t, settings, dir)
	s.signIn()
	eventually(t, "the two lines of meanwhile", func() bool { return len(logs()) >= 7 })
	time.Sleep(200 * time.Millisecond)
	count := map[string]int{}
	for _, e := range logs() {
		count[e.Str(signal.FieldHTTPRequestURLPath)]++
	}
	if len(logs()) != 7 || count["/before"] != 1 || count["/after"] != 1 || count["/search"] != 1 {
		t.Errorf("%d events: %v", len(logs()), count)
	}
}

// TestLogsBusyPort notes an address that is taken; the rest runs.
func TestLogsBusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	path := filepath.Join(t.TempDir(), "access.log")
	settings := logSettings(t, path)
	settings.Logs.Syslog[1].Address = ln.Addr().String()
	s := start(t, settings, dataDir(t))
	if len(s.m.logs.listeners) != 2 {
		t.Errorf("%d listeners", len(s.m.logs.listeners))
	}
	eventually(t, "it is up", func() bool { return s.m.ready.Load() })
	if h := s.m.Health(); len(h.Reasons) != 1 || !strings.Contains(h.Reasons[0], "address already in use") {
		t.Errorf("health is %+v", h)
	}
	s.signIn()
	write(t, path, accessLine(1, "203.0.113.9", "/x"))
	eventually(t, "the file is read all the same", func() bool { return len(s.records()) == 1 })
}

// TestLogsAreReadNoFaster has the store full: files wait, and listeners do not wait for ever.
func TestLogsAreReadNoFaster(t *testing.T) {
	full := true
	events := 0
	sink := &logSink{node: sinkFunc(func() { events++ }), pending: func() bytesize.Size {
		if full {
			return 100
		}
		return 0
	}, room: 50}
	e := &signal.Event{}
	for range lookEvery - 1 {
		if err := sink.take(t.Context(), e, intake.Place{Path: "f", Line: 1}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := sink.take(ctx, e, intake.Place{Path: "f", Line: 1}); err == nil || events != lookEvery-1 {
		t.Errorf("a record of a file was taken though there is no room: %v, %d events", err, events)
	}
	full = false
	for range lookEvery {
		if err := sink.take(t.Context(), e, intake.Place{Path: "f", Line: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if events != 2*lookEvery-1 {
		t.Errorf("%d events", events)
	}
}
