package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// Of the odd test: what users' own directives may say that nobody would write on purpose, and requests that are made to be read in two ways.
const (
	oddPrograms, oddLong = 60, 20_000
	oddRequests          = 12
)

// TestDifferentialOdd is TestDifferential for small programs of odd directives, without the Core Rule Set, and odd requests: macros without keys and with those of
// names, collections of captures, data sets, arithmetic, flow across phases, exclusions of all kinds at all times, sizes and depths at their limits.
func TestDifferentialOdd(t *testing.T) {
	programs := oddPrograms
	if os.Getenv("TESTUDO_LONG") != "" {
		programs = oddLong / require.Stride(100)
	}
	programs = setting(t, "TESTUDO_DIFF_CASES", programs)
	first := setting(t, "TESTUDO_DIFF_BLOCK", 0)
	seed := uint64(setting(t, "TESTUDO_DIFF_SEED", 11))
	m := &material{seed: seed, attacks: attacks, harmless: harmless}
	var n tally
	var wg sync.WaitGroup
	numbers := make(chan int)
	for range 2 {
		wg.Go(func() {
			for number := range numbers {
				m.odd(t, &n, number)
			}
		})
	}
	for number := first; number < first+programs && n.differences.Load() < reported; number++ {
		numbers <- number
		if first > 0 {
			break
		}
	}
	close(numbers)
	wg.Wait()
	t.Logf("%s", &n)
	if n.uncovered.Load()+n.refused.Load() > int64(programs)/2 {
		t.Errorf("%d programs are not covered, %d are refused: what is made at random is to be judged", n.uncovered.Load(), n.refused.Load())
	}
}

func (m *material) odd(t *testing.T, n *tally, number int) {
	r := rand.New(rand.NewPCG(m.seed, uint64(number)))
	directives := oddProgram(r)
	if number%4 == 3 {
		directives = misspelt(r, directives)
	}
	p := m.programs(t, n, directives, fmt.Sprintf("program %d", number))
	if p == nil {
		return
	}
	before := n.differences.Load()
	for i := range oddRequests {
		if n.differences.Load() > before {
			return
		}
		p.check(t, n, m.oddMessage(rand.New(rand.NewPCG(m.seed+uint64(number), uint64(i)))), directives, fmt.Sprintf("program %d, request %d", number, i))
	}
}

// misspelt changes some characters that mean something to who reads directives. Most of what comes of it is refused, the rest is to be understood alike.
func misspelt(r *rand.Rand, text string) string {
	for range 1 + r.IntN(3) {
		at := r.IntN(len(text))
		if r.IntN(2) == 0 { // where it is likely to matter
			if next := strings.IndexAny(text[at:], "\"'|,:;=!&@%`\n"); next >= 0 {
				at += next
			}
		}
		sign := pick(r, []string{"\"", "'", ",", ":", "|", "!", "&", "@", "\\", "\\\n", " ", "  ", "\t", "\n", "\n#", "#", ";", "=", "/", "%", "%{", "}", "`", "-", ".", "\r\n", "\xff", "id:7,", "t:none,", "chain,", "TX:", "A", "0"})
		switch r.IntN(3) {
		case 0:
			text = text[:at] + sign + text[at:]
		case 1:
			text = text[:at] + text[at+1:]
		case 2:
			text = text[:at] + sign + text[at+1:]
		}
	}
	return text
}

var (
	oddTargets = append([]string{"ARGS:/^Q/", "ARGS:Q", "ARGS_GET:a.b", "ARGS_NAMES:Q", "ARGS_GET_NAMES:q", "REQUEST_HEADERS_NAMES:host", "REQUEST_HEADERS_NAMES:/OST/", "REQUEST_COOKIES:/^$/", "TX:1", "TX:/^[0-9]$/", "TX:/own/", "TX:/^OWN_/",
		"MATCHED_VARS:/ARGS/", "MATCHED_VARS_NAMES:/^args:q/", "FILES_SIZES", "FILES_SIZES:a.txt", "MULTIPART_NAME:q", "MULTIPART_FILENAME_CHARSET", "REQUEST_XML", "XML", "XML:/a/b", "RESPONSE_ARGS", "ARGS_PATH", "REMOTE_ADDR", "SERVER_ADDR", "SERVER_PORT",
		"REQBODY_PROCESSOR", "REQBODY_ERROR_MSG", "INBOUND_DATA_ERROR", "OUTBOUND_DATA_ERROR", "URI_PARSE_ERROR", "REMOTE_HOST", "DURATION", "STATUS_LINE", "RES_BODY_PROCESSOR", "MULTIPART_PART_HEADERS:q", "FULL_REQUEST_LENGTH"}, texts...)
	oddCounts = append([]string{"&TX:/^[0-9]+$/", "&ARGS:/^$/", "&MATCHED_VARS", "&MULTIPART_PART_HEADERS", "&REQUEST_XML", "&XML:/*", "&ARGS_NAMES:q", "&REQUEST_HEADERS_NAMES", "&FILES_SIZES", "&RESPONSE_ARGS", "&TX:0", "MULTIPART_DUPLICATE_PART_HEADER", "MULTIPART_INVALID_QUOTING",
		"&ARGS|&ARGS:q|&ARGS:/q/"}, numbers...)
	oddAsked = append([]string{"@rx ^(JSON|XML|RAW|MULTI|URL)", "@rx ^nothing", "@rx (?i)K", "@rx (?i)s{2}", "@rx (?i)ſ", "@rx (?-s:a.b)", "@rx (?-m:^a|b$)", "@rx \\Aa|z\\z", "@rx ^a", "@rx b$", "@rx \\xe4", "@rx (?i)\\xc4", "@rx [\\x80-\\xff]{2}", "@rx \\x{1F600}", "@rx (a)|(b)|(c)", "@rx ()", "@rx (a*)(b*)(c*)(d*)(e*)(f*)(g*)(h*)(i*)(j*)(k*)(.*)",
		"@rx a{0}", "@rx \\Bq\\B", "@rx (?s).{600}", "@rx \\pL\\pN", "@rx [^\\n]\\z", "@within %{tx.1} a b", "@within %{ARGS.q}", "@streq %{tx.0}", "@streq %{MATCHED_VAR}", "@contains %{tx.own2}", "@beginsWith %{FILES}", "@endsWith %{REQUEST_COOKIES.sid}", "@pmFromDataset words", "@pm Ä é",
		"@ipMatch 192.0.2.7,10.0.0.0/8", "@ipMatch ::ffff:192.0.2.0/120", "@ipMatch 192.0.2.0/024", "@ipMatch x,192.0.2.7/33, 198.51.100.1", "@ipMatchFromDataset nets", "!@ipMatch 2001:db8::/32", "@validateByteRange 0-47,58-255", "@validateByteRange 10,13,32-126,128-255", "@pm ' ("}, asked...)
	oddCompared = append([]string{"@eq %{ARGS_COMBINED_SIZE}", "@ge %{tx.own}", "@lt %{REMOTE_PORT}", "@eq +1", "@eq x", "@gt -1", "@le 99999999999999999999", "@eq 1.0", "@eq %{tx.nowhere}"}, compared...)
	oddDone     = append([]string{"setvar:tx.own=+", "setvar:tx.own=-", "setvar:'tx.own=+%{tx.own2}'", "setvar:'tx.own=-%{tx.own}'", "setvar:'tx.own=%{tx.own}%{tx.1}'", "setvar:'tx.Own_%{tx.1}=x'", "setvar:'tx.%{MATCHED_VAR}=+1'", "setvar:'tx.own=+%{ARGS.id}'",
		"setvar:'tx.own2=%{FILES}'", "setvar:'tx.own2=%{ARGS}'", "setvar:'tx.own2=%{ARGS_NAMES.q}'", "setvar:'tx.own2=%{REQUEST_HEADERS_NAMES.host}'", "setvar:'tx.own2=%{REQUEST_HEADERS_NAMES}'", "setvar:'tx.own2=%{ARGS_COMBINED_SIZE} %{MATCHED_VARS_NAMES.request_uri}'", "setvar:'tx.own2=%{MATCHED_VARS.request_method}'",
		"setvar:'tx.own2=%{REQUEST_XML}|%{RESPONSE_HEADERS.content-type}|%{XML}'", "setvar:'tx.own2=%{HIGHEST_SEVERITY}'", "setvar:tx.1=set", "setvar:tx.0=+1", "setvar:'tx.own=99999999999999999999'", "setvar:tx.own=+9223372036854775807", "expirevar:tx.own=1", "initcol:ip=%{REMOTE_ADDR}",
		"ctl:ruleRemoveTargetById=10000-10010;ARGS:/^Q/", "ctl:ruleRemoveTargetById=10000-29999;ARGS", "ctl:ruleRemoveTargetById=10000-29999;TX:/./", "ctl:ruleRemoveTargetById=10000-29999;ARGS_NAMES:Q", "ctl:ruleRemoveTargetById=10000-29999;REQUEST_HEADERS:/^HOST/", "ctl:ruleRemoveTargetByTag=own;ARGS_GET:q",
		"ctl:ruleRemoveTargetByTag=own;MATCHED_VARS:/q/", "ctl:ruleRemoveTargetByMsg=found;REQUEST_URI", "ctl:ruleRemoveTargetById=10000-29999;XML:/*", "ctl:ruleRemoveTargetById=10000-29999;FILES", "ctl:ruleRemoveById=10002-10004", "ctl:ruleRemoveByTag=own",
		"ctl:ruleRemoveByMsg=found", "ctl:ruleRemoveByMsg=%{tx.own}", "ctl:requestBodyLimit=40", "ctl:requestBodyLimit=0", "ctl:responseBodyLimit=10", "ctl:responseBodyProcessor=JSON", "ctl:responseBodyAccess=Off", "ctl:forceResponseBodyVariable=On", "ctl:requestBodyProcessor=MULTIPART", "ctl:requestBodyProcessor=RAW",
		"ctl:requestBodyProcessor=nothing", "skipAfter:OTHER", "skipAfter:NOWHERE", "skip:40", "ctl:ruleEngine=DetectionOnly"}, done...)
	oddTransformations = append([]string{"None", "normalizePath", "normalizePathWin", "hexDecode,t:hexEncode", "md5,t:hexEncode", "length", "none,t:lowercase"}, transformations...)
	oddDecisions       = append([]string{"status:503,deny", "status:0,deny", "redirect:https://example.org/,status:307", "redirect:/x,status:404", "drop,status:500", "block,status:404", "pass,deny", "deny,pass"}, decisions...)
)

func oddHead(r *rand.Rand, phase int) (head string, changes bool) {
	var targets, op string
	if r.IntN(4) == 0 {
		targets, op = pick(r, oddCounts), pick(r, oddCompared)
	} else {
		from := [][]string{oddTargets}
		if phase >= 3 {
			from = append(from, replies, replies)
		}
		targets, op = pick(r, from...), pick(r, oddAsked)
		for range r.IntN(4) {
			targets += "|" + pick(r, from...)
		}
		for range r.IntN(3) {
			targets += pick(r, excepted, []string{"|!ARGS:Q", "|!TX:/./", "|!ARGS:/Q/", "|!REQUEST_HEADERS:HOST", "|!MATCHED_VARS:/q/", "|!XML:/*", "|!ARGS_GET", "|!REQUEST_COOKIES:/^$/"})
		}
	}
	if r.IntN(5) == 0 && op[0] != '!' {
		op = "!" + op
	}
	for _, name := range []string{"MATCHED_", "REQBODY_PROCESSOR", "RES_BODY_PROCESSOR", "HIGHEST_SEVERITY", "&"} {
		changes = changes || strings.Contains(targets, name)
	}
	return fmt.Sprintf("SecRule %s \"%s\"", targets, op), changes
}

func oddActions(r *rand.Rand, changes bool) string {
	var b strings.Builder
	for range r.IntN(5) {
		if !changes {
			b.WriteString(",t:" + pick(r, oddTransformations))
		}
	}
	for _, extra := range []string{",capture", ",multiMatch", ",tag:own", ",nolog", ",logdata:'%{MATCHED_VAR}'"} {
		if r.IntN(5) == 0 {
			b.WriteString(extra)
		}
	}
	if r.IntN(2) == 0 {
		b.WriteString(",msg:'" + pick(r, []string{"found", "found in %{MATCHED_VAR_NAME}", "%{TX.0} and %{TX.1} %{tx.9}", "%{tx.own}", "%{FILES}%{ARGS}", "%{ARGS_NAMES.q}=%{MATCHED_VAR}", "%{tx.nowhere}", "%{HIGHEST_SEVERITY}%{REQUEST_COOKIES.sid}"}) + "'")
	}
	for range r.IntN(4) {
		b.WriteString("," + pick(r, oddDone))
	}
	return b.String()
}

func oddRules(r *rand.Rand, id, n int) string {
	var b strings.Builder
	for range n {
		phase := pick(r, []string{"1", "2", "2", "3", "4", "5", "request", "response", "logging"})
		number := strings.Index("12345", phase) + 1
		if number == 0 {
			number = map[string]int{"request": 2, "response": 4, "logging": 5}[phase]
		}
		actions := fmt.Sprintf("id:%d,phase:%s,%s", id, phase, pick(r, oddDecisions))
		if number == 5 {
			actions = fmt.Sprintf("id:%d,phase:%s,pass", id, phase)
		}
		if r.IntN(12) == 0 && number == 2 {
			actions = fmt.Sprintf("id:%d", id) // all by default
		}
		id++
		if r.IntN(8) == 0 {
			fmt.Fprintf(&b, "SecAction \"%s%s\"\n", actions, oddActions(r, true))
			continue
		}
		head, changes := oddHead(r, number)
		b.WriteString(head + " \"" + actions + oddActions(r, changes))
		if r.IntN(3) == 0 {
			b.WriteString(",severity:" + pick(r, []string{"CRITICAL", "WARNING", "NOTICE", "0", "7"}))
		}
		for links := r.IntN(5) - 2; links > 0; links-- {
			b.WriteString(",chain\"\n")
			switch r.IntN(8) {
			case 0:
				b.WriteString("SecAction \"t:none" + oddActions(r, true))
			default:
				head, changes := oddHead(r, number)
				first := pick(r, []string{"t:none", "t:lowercase", "tag:own"})
				if changes {
					first = "t:none"
				}
				b.WriteString(head + " \"" + first + oddActions(r, changes))
			}
		}
		b.WriteString("\"\n")
		switch r.IntN(10) {
		case 0:
			b.WriteString("SecMarker END-OWN\n")
		case 1:
			b.WriteString("SecMarker OTHER\n")
		}
	}
	return b.String()
}

func oddExclusions(r *rand.Rand, ids string) string {
	var b strings.Builder
	for range r.IntN(4) {
		one := pick(r, strings.Fields(ids))
		switch r.IntN(6) {
		case 0:
			b.WriteString("SecRuleRemoveById " + pick(r, []string{"10002", "10004-10005", "20003", "10003 20001-20002"}) + "\n")
		case 1:
			b.WriteString("SecRuleRemoveByTag " + pick(r, []string{"other", "other", "own"}) + "\n")
		case 2:
			b.WriteString("SecRuleUpdateTargetById " + one + " \"" + pick(r, []string{"!ARGS:q", "!ARGS:/^Q/", "!TX:own", "ARGS:added", "!REQUEST_HEADERS:User-Agent|REQUEST_URI", "!REQUEST_URI", "REQUEST_HEADERS|!REQUEST_HEADERS:Host"}) + "\"\n")
		case 3:
			b.WriteString("SecRuleUpdateTargetByTag own \"" + pick(r, []string{"!ARGS:q", "!ARGS", "!ARGS_NAMES:/q/", "REQUEST_METHOD"}) + "\"\n")
		case 4:
			b.WriteString("SecRuleUpdateActionById " + one + " \"" + pick(r, []string{"pass", "deny,status:418", "nolog", "severity:1", "setvar:tx.own=+5", "redirect:https://example.org/", "msg:'found',pass"}) + "\"\n")
		}
	}
	return b.String()
}

func oddProgram(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(2) == 0 {
		b.WriteString("Include @coraza.conf-recommended\n")
	} else {
		b.WriteString("SecRequestBodyAccess On\n")
	}
	b.WriteString("SecAuditEngine Off\nSecRuleEngine " + pick(r, []string{"DetectionOnly", "On", "On"}) + "\nSecDataset words `\nSelect\nÄ\nunion\n`\nSecDataset nets `\n10.0.0.0/8\n192.0.2.0/24\n`\n")
	if r.IntN(2) == 0 {
		b.WriteString("SecResponseBodyAccess On\nSecResponseBodyMimeType text/html text/plain application/json\n")
	}
	for _, one := range []string{"SecDefaultAction \"phase:1,log,auditlog,deny,status:406\"\n", "SecDefaultAction \"phase:2,nolog,pass,setvar:tx.own=+1\"\n", "SecDefaultAction \"phase:4,log,capture,block\"\n", "SecArgumentsLimit 2\n", "SecRequestBodyJsonDepthLimit 3\n",
		"SecRequestBodyInMemoryLimit 10\nSecRequestBodyLimit 90\nSecRequestBodyLimitAction ProcessPartial\n", "SecRequestBodyInMemoryLimit 10\nSecRequestBodyLimit 120\nSecRequestBodyLimitAction Reject\n", "SecResponseBodyLimit 30\nSecResponseBodyLimitAction ProcessPartial\n", "SecResponseBodyLimit 30\nSecResponseBodyLimitAction Reject\n"} {
		if r.IntN(8) == 0 {
			b.WriteString(one)
		}
	}
	b.WriteString(oddRules(r, 10_000, 1+r.IntN(8)))
	b.WriteString(oddExclusions(r, "10000 10000-10005"))
	b.WriteString(oddRules(r, 20_000, 1+r.IntN(8)))
	b.WriteString(oddExclusions(r, "10000 20000 10000-20005"))
	b.WriteString("SecMarker END-OWN\n")
	if r.IntN(2) == 0 {
		b.WriteString(oddRules(r, 25_000, 1+r.IntN(3)))
	}
	return b.String()
}

var oddValues = []string{"", "a", "abc", "q", "K", "ſs", "straße", "Ä", "\xe4", "\xc4\xe4", "\xff\xfe", "a\nb", "a\x00b", "\n", "select\tUNION", "1", "+1", "-1", "9223372036854775808", "00000000000000000001", "%", "%2", "%zz", "%u0041%u00e4", "&#x41;&#65&lt", "\\x41\\u0041\\101", "../../a/./b//c", "C:\\a\\..\\b",
	"/* a */ b -- c # d", "<!-- a --> b", "QUJD", "QUJD*x", "414243", "😀", "\ufffd", "\xed\xa0\x80", "\xc0\xaf", "cat /e\"t\"c/pa^ss", "' or 1=1 --", "<script>", "10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "\u00a0a\u0085", "a=b", "a;b", "{}", "[1]", "true", "null", "İ", "ǅ"}

func (m *material) oddValue(r *rand.Rand) string {
	v := pick(r, oddValues, oddValues, attacks, harmless)
	switch r.IntN(12) {
	case 0:
		v += pick(r, oddValues)
	case 1:
		v = strings.Repeat(v+"a", 1+r.IntN(130))
		for _, n := range []int{511, 512, 513, 600} {
			if len(v) > n && r.IntN(3) == 0 {
				v = v[:n]
			}
		}
	case 2:
		v = m.bytes(r, v)
	}
	return v
}

func (m *material) oddMessage(r *rand.Rand) *message {
	name := func() string {
		return pick(r, []string{"q", "Q", "id", "a.b", "", "q[]", "ſ", "É", "added", "\xff", "f\x00", "own", "/", "x-a"})
	}
	raw := func(s string) string {
		if r.IntN(4) == 0 {
			return strings.NewReplacer(" ", "+", "&", "%26", "#", "%23", "\n", "%0a", "\r", "%0D").Replace(s)
		}
		return query(s)
	}
	pairs := func() string {
		var b strings.Builder
		seen := map[string]bool{} // Coraza keeps one of those that differ in case
		for range r.IntN(5) {
			k := name()
			if lower := strings.ToLower(k); !seen[lower] {
				seen[lower] = true
				b.WriteString(raw(k) + pick(r, []string{"=", "=", "=", "", "=="}) + raw(m.oddValue(r)) + pick(r, []string{"&", "&", "&&", ";"}))
			}
		}
		return b.String()
	}
	out := &message{method: pick(r, []string{"GET", "POST", "PUT", "get", "", "P\x00T"}), proto: pick(r, []string{"HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""})}
	out.uri = pick(r, []string{"/", "/q/a.php", "/a\\b", "//x/y?", "http://example.org/q", "*", "", "/%00%zz", "/a%2fb/../c", "/ä", "/x;p=1", "/x#frag", "example.org:443"})
	if r.IntN(2) == 0 {
		out.uri += "?" + pairs()
	}
	out.header = []header{{"Host", pick(r, []string{"example.org", "", "EXAMPLE.org:80"})}}
	for range r.IntN(4) {
		out.header = append(out.header, header{pick(r, []string{"User-Agent", "X-A", "x-a", "X-B", "Cookie", "Cookie", "Accept", "Host", "", "Content-Length", "\xff"}), m.oddValue(r)})
	}
	if r.IntN(3) == 0 {
		out.header = append(out.header, header{"Cookie", pick(r, []string{"sid=1; Sid=2", "=x; ;a", "sid", "sid=\x01v\x7f; b = c ", ";;;", "sid=a=b", "sid=\"x;y\""})})
	}
	kind := ""
	switch r.IntN(8) {
	case 0, 1:
		kind, out.body = pick(r, []string{"application/x-www-form-urlencoded", "APPLICATION/x-www-form-urlencoded;charset=utf-7", "\u00a0application/x-www-form-urlencoded", "application/x-www-form-urlencodedX"}), pairs()
	case 2, 3:
		kind, out.body = pick(r, []string{"application/json", "application/json;charset=utf-16", "text/json"}), m.oddJSON(r, 5)
		if r.IntN(4) == 0 {
			out.body = m.bytes(r, out.body)
		}
	case 4, 5:
		kind, out.body = m.oddMultipart(r)
	case 6:
		kind, out.body = "text/xml", pick(r, []string{"<a q='" + m.oddValue(r) + "'>" + m.oddValue(r) + "</a>", "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;&lt;&eacute;</a>", "<a><![CDATA[" + m.oddValue(r) + "]]><b/>t</a>", "<?xml version='1.0' encoding='utf-16'?><a/>", "<a", "<a></b>", "</a>", "<a b=c d/>" + m.oddValue(r), "<?xml version=\"1.1\"?><a>x</a>", "\ufeff<a>x</a>"})
	case 7:
		kind, out.body = pick(r, []string{"", "text/plain", "multipart/form-data", "multipart/form-data; boundary", "application/octet-stream"}), m.oddValue(r)
	}
	if kind != "" {
		out.header = append(out.header, header{"Content-Type", kind})
	}
	if r.IntN(10) == 0 {
		out.header = append(out.header, header{"content-type", "application/x-www-form-urlencoded"})
	}
	if r.IntN(2) == 0 {
		out.status = []int{200, 404, 0, 999, -1}[r.IntN(5)]
		out.respHeader = []header{{"Content-Type", pick(r, []string{"text/html", "text/html ; charset=x", "TEXT/HTML", "application/json", ""})}, {"Server", m.oddValue(r)}}
		out.respBody = pick(r, []string{m.oddValue(r), m.oddJSON(r, 4), strings.Repeat("a", 30), strings.Repeat("ab", 20)})
	}
	return out
}

func (m *material) oddJSON(r *rand.Rand, depth int) string {
	if depth == 0 {
		return pick(r, []string{"1", "-0", "1e999", "01", "tru", "null", "\"\"", "{}", "[]", "\"\\ud800\"", "\"\\u0000\"", "NaN", "'x'", ""})
	}
	switch r.IntN(6) {
	case 0:
		var b strings.Builder
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteString(pick(r, []string{",", ",", ",", ",,", " "}))
			}
			fmt.Fprintf(&b, "%q:%s", pick(r, []string{"q", "Q", "a.b", "", "0", "é", "json", "\\u0071"})+fmt.Sprint(i), m.oddJSON(r, depth-1))
		}
		return "{" + b.String() + "}"
	case 1:
		var list []string
		for range r.IntN(4) {
			list = append(list, m.oddJSON(r, depth-1))
		}
		return "[" + strings.Join(list, ",") + "]"
	case 2:
		return fmt.Sprintf("%q", m.oddValue(r))
	case 3:
		return pick(r, []string{"\"" + m.oddValue(r) + "\"", "[[[[1]]]]", `{"a":{"a":{"a":{"a":1}}}}`, `{"a":"[[[["}`, "  [1]  ", "[1]x", strings.Repeat("9", 300)})
	}
	return m.oddJSON(r, depth-1)
}

func (m *material) oddMultipart(r *rand.Rand) (kind, body string) {
	kind = pick(r, []string{"multipart/form-data; boundary=b", "multipart/form-data; boundary=b", "multipart/form-data; boundary=\"b\"", "multipart/form-data; boundary=b; boundary=c", "multipart/form-data;boundary=b;charset=x", "multipart/form-data; boundary=", "multipart/form-data; boundary=b c"})
	end := pick(r, []string{"\r\n", "\r\n", "\r\n", "\n"})
	var b strings.Builder
	if r.IntN(6) == 0 {
		b.WriteString("before" + end)
	}
	for range r.IntN(4) {
		b.WriteString("--b" + pick(r, []string{"", "", "", " ", "\t"}) + end)
		b.WriteString(pick(r, []string{"Content-Disposition: form-data; name=\"q\"", "content-disposition: form-data; name=q", "Content-Disposition: form-data; name=\"q\"; name=\"p\"", "Content-Disposition: form-data", "Content-Disposition: attachment; name=\"q\"", "Content-Disposition: form-data; name=\"\"", "X: y",
			"Content-Disposition: form-data; name=\"f\"; filename=\"a.txt\"", "Content-Disposition: form-data; name=\"f\"; filename=\"\"", "Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''b%2ephp", "Content-Disposition: form-data; name=\"f\"; filename=\"A.TXT\"; filename*=UTF-8'en'%zz",
			"Content-Disposition: form-data; name=\"f\"; filename*=\"UTF-8''x\"", "Content-Disposition: form-data; name=\"f\"; filename*0=\"a\"; filename*1=\".php\"", "Content-Disposition: form-data; name=\"f\"; filename=\"a\"; filename=\"b\"", "Content-Disposition: form-data; name=\"f\"; filename=\"a\\\"b.txt\"", "Content-Disposition: form-data; name=\"q"}) + end)
		if r.IntN(3) == 0 {
			b.WriteString(pick(r, []string{"Content-Type: text/plain", "Content-Type: multipart/mixed; boundary=c", "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "Content-Disposition: form-data; name=\"z\"", " folded", "nothing", "A: \xff"}) + end)
		}
		b.WriteString(end + pick(r, []string{m.oddValue(r), "--c\r\nContent-Disposition: form-data; name=\"in\"\r\n\r\nx\r\n--c--", "=41=zz", "--b"}) + end)
	}
	b.WriteString(pick(r, []string{"--b--\r\n", "--b--", "--b--\r\nafter", "--b", "--c--\r\n", ""}))
	return kind, b.String()
}
