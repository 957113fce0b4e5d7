package rerun_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/ftw"
	"github.com/testudo-sec/testudo/edge/waf/rerun"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// recorder keeps the recorded form of the request that comes, and refuses it.
type recorder struct{ last *signal.Event }

func (r *recorder) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	if e.Parent.IsZero() {
		r.last = e.Recorded()
	}
	return signal.Verdict{Decision: signal.Deny}, nil
}

// guarded is an edge with a firewall, of which the record of each request is told.
type guarded struct {
	*edge.Edge
	sink recorder
}

func guard(t testing.TB, cfg waf.Config, paranoia int, parameters ...string) *guarded {
	t.Helper()
	w, err := waf.New(cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{}
	route := edge.DefaultRoute()
	route.Name, route.Paranoia, route.Upstreams = "shop", paranoia, []edge.Upstream{{URL: "http://127.0.0.1:1", Weight: 1}}
	route.Record.Parameters = parameters
	all := edge.Default()
	all.Routes = []edge.Route{route}
	if g.Edge, err = edge.New(all, edge.Deps{Sink: &g.sink, Inspector: w}); err != nil {
		t.Fatal(err)
	}
	return g
}

// record sends a request, and returns its record and the request, nil where none was judged.
func (g *guarded) record(raw string) (*signal.Event, *edge.Received) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		return nil, nil
	}
	r.RemoteAddr = "192.0.2.9:4711"
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	m := &edge.Received{Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, Header: r.Header.Clone(), Coding: slices.Clone(r.TransferEncoding), Body: body, Length: r.ContentLength}
	if r.ContentLength != 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		r.Body = http.NoBody
	}
	g.sink.last = nil
	g.ServeHTTP(httptest.NewRecorder(), r)
	if e := g.sink.last; e != nil && e.Has(signal.FieldWAFScore) {
		return e, m
	}
	return nil, nil
}

func found(e *signal.Event) string {
	rules := slices.Clone(e.Strings(signal.FieldWAFRules))
	slices.Sort(rules)
	return fmt.Sprintf("%d of %d at level %d: %v", e.Int(signal.FieldWAFScore), e.Int(signal.FieldWAFThreshold), e.Int(signal.FieldWAFParanoia), rules)
}

const get = "GET %s HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"

const union = "1%27+UNION+SELECT+password+FROM+users--"

// TestExact: what is called exact is what the changed firewall finds in the request itself, over known attacks and all kinds of changes. Where the request is kept, all is.
func TestExact(t *testing.T) {
	all, err := ftw.Read(tests.FS, "*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	step := 12
	if require.Race {
		step = 200
	}
	changes := []struct {
		from   int
		change rerun.Change
		least  int // of a hundred records, those whose finding is exact
	}{
		{1, rerun.Change{Threshold: 10}, 100},
		{3, rerun.Change{Paranoia: 1}, 80},
		{1, rerun.Change{Paranoia: 3}, 0},
		{1, rerun.Change{After: "SecRuleRemoveById 942100 932160 920100-920180"}, 60},
		{2, rerun.Change{After: "SecRuleRemoveByTag attack-sqli\nSecRuleUpdateTargetById 941100 \"!ARGS:var\""}, 60},
		{1, rerun.Change{Before: `SecRule REQUEST_FILENAME "@rx ^/(?:get|post)" "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=attack-sqli;ARGS:var,ctl:ruleRemoveById=932100-932999"`, Threshold: 4}, 60},
		{1, rerun.Change{After: `SecRule REQUEST_METHOD "@streq GET" "id:2,phase:1,pass,log,msg:'a GET',severity:CRITICAL,setvar:'tx.inbound_anomaly_score_pl1=+5'"` + "\nSecRuleRemoveById 942100"}, 60},
		{1, rerun.Change{After: `SecRule ARGS "@rx [0-9]" "id:3,phase:2,pass,log,msg:'a number',severity:WARNING,setvar:'tx.inbound_anomaly_score_pl1=+3'"`}, 0},
		{1, rerun.Change{Before: `SecAction "id:900200,phase:1,pass,nolog,setvar:'tx.allowed_methods=GET HEAD'"`}, 60},
	}
	if require.Race {
		changes = changes[4:5]
	}
	edges := map[int]*guarded{}
	for _, c := range changes {
		was := edges[c.from]
		if was == nil {
			was = guard(t, waf.DefaultConfig(), c.from, "q", "var")
			edges[c.from] = was
		}
		cfg := waf.DefaultConfig()
		cfg.Before, cfg.After = c.change.Before, c.change.After
		is := guard(t, cfg, max(c.from, c.change.Paranoia), "q", "var")
		if c.change.Paranoia > 0 {
			is = guard(t, cfg, c.change.Paranoia)
		}
		r, err := rerun.New(waf.DefaultConfig(), c.change)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		tried, exact, agree := 0, 0, 0
		for i := 0; i < len(all); i += step {
			for _, stage := range all[i].Stages {
				raw := string(stage.Bytes())
				e, m := was.record(raw)
				want, _ := is.record(raw)
				if e == nil || want == nil {
					continue
				}
				if c.change.Threshold > 0 {
					want.SetInt(signal.FieldWAFThreshold, int64(c.change.Threshold))
				}
				tried++
				kept := e.Recorded()
				f, err := r.Find(t.Context(), e, nil)
				if err != nil {
					t.Fatal(err)
				}
				attack := func(e *signal.Event) bool { return e.Int(signal.FieldWAFScore) >= e.Int(signal.FieldWAFThreshold) }
				if attack(e) == attack(want) {
					agree++
				}
				if f.How == rerun.Exact {
					exact++
					if attack(e) != attack(want) || !slices.Equal(sorted(e), sorted(want)) {
						t.Errorf("%+v on %s (%s):\nfound %s\nwant  %s\n%s", c.change, all[i].Name, found(kept), found(e), found(want), raw)
					}
				}
				if f, err = r.Find(t.Context(), kept, m); err != nil || f.How != rerun.Exact || found(kept) != found(want) {
					t.Errorf("%+v on %s, kept: %v %v\nfound %s\nwant  %s", c.change, all[i].Name, f, err, found(kept), found(want))
				}
			}
		}
		t.Logf("level %d, %+v: %d requests, %d exact, %d decided alike", c.from, c.change, tried, exact, agree)
		if tried == 0 || exact*100 < tried*c.least || agree*100 < tried*60 {
			t.Errorf("%+v: of %d requests %d are exact, %d decided alike", c.change, tried, exact, agree)
		}
	}
}

func sorted(e *signal.Event) []string {
	out := slices.Clone(e.Strings(signal.FieldWAFRules))
	slices.Sort(out)
	return out
}

// TestFind: what each kind of change makes of a record, and how sure that is.
func TestFind(t *testing.T) {
	g := guard(t, waf.DefaultConfig(), 1, "q")
	numbers := `SecRule ARGS "@rx [0-9]" "id:3,phase:2,pass,log,msg:'a number',tag:'attack-numbers',severity:CRITICAL,setvar:'tx.inbound_anomaly_score_pl1=+5'"`
	shaped := `SecRule REQUEST_FILENAME "@streq /find" "id:4,phase:2,pass,nolog,chain"
  SecRule ARGS:p "@rx ^[a-z ]+$" "t:none,ctl:ruleRemoveTargetById=942100;ARGS:p"`
	for i, c := range []struct {
		name, uri string
		change    rerun.Change
		how       rerun.How
		flipped   bool
		gone, new string
	}{
		{"a higher threshold", "/?p=" + union, rerun.Change{Threshold: 1000}, rerun.Exact, true, "", ""},
		{"a lower one", "/?p=" + union, rerun.Change{Threshold: 1}, rerun.Exact, false, "", ""},
		{"another route", "/?p=" + union, rerun.Change{Threshold: 1000, Routes: []string{"other"}}, rerun.Exact, false, "", ""},
		{"nothing found, something removed", "/?p=1", rerun.Change{After: "SecRuleRemoveById 942100"}, rerun.Exact, false, "", ""},
		{"the target is left out", "/?p=" + union, rerun.Change{After: `SecRuleUpdateTargetByTag attack-sqli "!ARGS:p"`}, rerun.Exact, true, "942100 942190 942270 942360", ""},
		{"the target of another", "/?p=" + union, rerun.Change{After: `SecRuleUpdateTargetByTag attack-sqli "!ARGS:z"`}, rerun.Exact, false, "", ""},
		{"a rule about a value in clear", "/?q=7", rerun.Change{After: numbers}, rerun.Exact, true, "", "3"},
		{"the same, masked", "/?p=7", rerun.Change{After: numbers}, rerun.Masked, false, "", ""},
		{"the same, no value", "/", rerun.Change{After: numbers}, rerun.Exact, false, "", ""},
		{"an exclusion by the value, masked", "/find?p=" + union, rerun.Change{Before: shaped}, rerun.Masked, false, "", ""},
		{"on another path", "/other", rerun.Change{Before: shaped}, rerun.Exact, false, "", ""},
	} {
		if require.Race && c.flipped {
			continue // making the rules ready takes seconds then
		}
		if require.Race && i%5 != 4 {
			continue // compiling rules is what takes its time
		}
		e, m := g.record(fmt.Sprintf(get, c.uri))
		if e == nil {
			t.Fatal(c.name)
		}
		r, err := rerun.New(waf.DefaultConfig(), c.change)
		if err != nil {
			t.Fatal(err)
		}
		was := found(e)
		kept := e.Recorded()
		f, err := r.Find(t.Context(), e, nil)
		if err != nil || f.How != c.how || f.Flipped != c.flipped || strings.Join(slices.Sorted(slices.Values(f.Gone)), " ") != c.gone || strings.Join(f.New, " ") != c.new {
			t.Errorf("%s: %+v, %v\nwas %s\nis  %s", c.name, f, err, was, found(e))
		}
		if f, err = r.Find(t.Context(), kept, m); err != nil || f.How != rerun.Exact {
			t.Errorf("%s, kept: %+v, %v", c.name, f, err)
		}
		if strings.Contains(c.name, "number") && f.New != nil && !slices.Contains(kept.Strings(signal.FieldWAFCategories), "attack-numbers") {
			t.Errorf("%s: %v", c.name, kept.Strings(signal.FieldWAFCategories))
		}
		r.Close()
	}
}

// TestRefused: what may not be tried, and what makes no sense.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"SecDebugLog /tmp/x", `"secdebuglog" cannot be tried`},
		{"Include /etc/passwd", `"include" cannot be tried`},
		{"SecAuditLog /tmp/x", "cannot be tried"},
		{"\n\nSecRuleEngine Off", "line 3: "},
		{`SecRule ARGS "@inspectFile /bin/true" "id:1,phase:2,pass"`, "not tried"},
		{`SecRule ARGS "@rbl example.com" "id:1,phase:2,pass"`, "not tried"},
		{"SecRule ARGS", "do not compile"},
		{`SecRule ARGS "@pmFromFile /etc/passwd" "id:1,phase:2,pass"`, "includes are read from the built-in Core Rule Set only"},
		{`SecRule ARGS "@rx x" "id:1,phase:2,pass,setenv:PATH=/tmp"`, ""},
		{`SecRule ARGS "@rx x" "id:1,phase:2,pass,exec:/bin/true"`, ""},
		{`SecRule ENV:HOME "@rx x" "id:1,phase:2,pass"`, ""},
		{"SecRemoteRules key https://example.com", "cannot be tried"},
		{"SecRuleRemoveById \\\n", "not tried"},
		{strings.Repeat("# long\n", 50_000), "at most"},
	} {
		r, err := rerun.New(waf.DefaultConfig(), rerun.Change{After: c.text})
		if err == nil {
			r.Close()
			t.Errorf("%.60q was taken", c.text)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v", c.text, err)
		}
	}
	for _, c := range []rerun.Change{{Paranoia: 5}, {Paranoia: -1}, {Threshold: -1}, {Threshold: 1 << 20}} {
		if _, err := rerun.New(waf.DefaultConfig(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := rerun.New(waf.DefaultConfig(), rerun.Change{Paranoia: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	g := guard(t, waf.DefaultConfig(), 1)
	e, _ := g.record(fmt.Sprintf(get, "/"))
	if _, err := r.Find(cancelled, e, nil); err == nil {
		t.Error("it went on after it was cancelled")
	}
}

func TestSplit(t *testing.T) {
	ahead := `# an exclusion
SecRule REQUEST_FILENAME "@streq /a" \
  "id:10,phase:1,pass,nolog,ctl:ruleRemoveById=942100"
SecRule REQUEST_FILENAME "@streq /b" "id:11,phase:2,pass,nolog,chain"
  SecRule ARGS:q "@rx chain" "t:none,ctl:ruleRemoveById=942100"
SecAction "id:900200,phase:1,pass,nolog,setvar:'tx.allowed_methods=GET'"
`
	behind := `SecRule ARGS "@rx a,chain" "id:12,phase:2,pass,log,msg:'x',chain"
SecRule ARGS_NAMES "@rx b" "t:none"
SecRuleRemoveById 942100
SecRule ARGS "@rx c" "id:9002001,phase:2,pass"
`
	before, after := rerun.Split(behind[:strings.Index(behind, "SecRuleRemove")] + ahead + behind[strings.Index(behind, "SecRuleRemove"):])
	if want := strings.TrimPrefix(ahead, "# an exclusion\n"); before != want || after != behind {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if b, a := rerun.Split("# nothing\n\n"); b+a != "" {
		t.Errorf("%q %q", b, a)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("SecRule ARGS \"@rx x\" \\\n \"id:1,chain\"\nSecRule ARGS \"@rx y\" \"ctl:ruleRemoveById=1\"\n")
	f.Add("SecRuleUpdateTargetById 1 `\n x\n`\n\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		before, after := rerun.Split(text)
		if len(before)+len(after) > len(text)+2+strings.Count(text, "\n") {
			t.Errorf("%d bytes of %d", len(before)+len(after), len(text))
		}
		c := rerun.Change{Before: before, After: after}
		_ = c.Validate()
	})
}

// TestRestore: rules see of a kept request what they saw then; what is written of it stays masked.
func TestRestore(t *testing.T) {
	for uri, path := range map[string]string{"/a;sid=1/b?q=secret": "/a;sid=1/b", "http://shop.example/a;sid=1?q=secret": "/a;sid=1"} {
		e := new(signal.Event)
		e.SetMasked(signal.FieldHTTPRequestURLPath, path, "/a;sid=*")
		e.SetMasked(signal.FieldHTTPRequestURLQueryString, "q=secret", "q=*")
		e.SetString(signal.FieldHTTPRequestUserAgent, "Mozilla/5.0")
		e = e.Recorded()
		rerun.Restore(e, &edge.Received{URI: uri, Header: http.Header{"User-Agent": {"another"}}})
		if e.Str(signal.FieldHTTPRequestURLPath) != path || e.Str(signal.FieldHTTPRequestURLQueryString) != "q=secret" || e.Str(signal.FieldHTTPRequestUserAgent) != "Mozilla/5.0" {
			t.Errorf("%s: %s ? %s", uri, e.Str(signal.FieldHTTPRequestURLPath), e.Str(signal.FieldHTTPRequestURLQueryString))
		}
		if text, err := e.MarshalJSON(); err != nil || bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte("sid=1")) {
			t.Errorf("%s is written: %s", uri, text)
		}
	}
}
