package verify_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/scan/secret/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// provider stands for all of the world's providers: every request goes to it, whatever its host.
type provider struct {
	*httptest.Server
	transport *http.Transport
	requests  atomic.Int64
	seen      func(r *http.Request) // of requests as they are sent
}

func newProvider(t *testing.T, answer http.HandlerFunc) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		answer(w, r)
	}))
	p.transport = &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, p.Listener.Addr().String())
		}}
	t.Cleanup(func() { p.transport.CloseIdleConnections(); p.Close() })
	return p
}

// RoundTrip implements http.RoundTripper.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("not https: " + r.URL.Scheme)
	}
	if p.seen != nil {
		p.seen(r)
	}
	return p.transport.RoundTrip(r)
}

func verifier(p *provider) *verify.Verifier {
	return verify.New(verify.Options{Version: "1.2", Transport: p, Timeout: time.Minute, Now: func() time.Time { return time.Unix(1440938160, 0) }})
}

// rule is a rule that asks with the secret as a bearer.
func rule(t *testing.T, section string) *detect.Rule {
	t.Helper()
	r, err := detect.Parse([]byte(`{id: acme, title: ACME, severity: high, fix: revoke it, detect: [{literals: [acme_], pattern: 'acme_[a-z0-9]{20,}'}],
verify: ` + section + `, tests: {find: ['acme_x']}}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const bearer = `{urls: [https://api.acme.example/me], headers: {Authorization: 'Bearer {{secret}}'},
live: [{status: [200]}], revoked: [{status: [401]}], names: {account: login, scopes: header X-Scopes}}`

const theSecret = "acme_0f9e8d7c6b5a49382716" // testudo:allow acme made up

func ask(t *testing.T, v *verify.Verifier, r *detect.Rule, value string) secret.Verdict {
	t.Helper()
	return v.Verify(t.Context(), secret.Question{Rule: r, Secret: []byte(value), Near: []byte(value)})
}

// render writes an answer that fits what a rule says.
func render(w http.ResponseWriter, a *detect.Answer) {
	var doc any
	if a.Field != "" {
		switch {
		case len(a.Is) > 0 && a.Is[0] == "true":
			doc = true
		case len(a.Is) > 0:
			doc = a.Is[0]
		case len(a.Has) > 0:
			doc = "it says: " + a.Has[0] + " /"
		default:
			doc = map[string]any{}
		}
		names := strings.Split(a.Field, ".")
		for i := len(names) - 1; i >= 0; i-- {
			if names[i] == "0" {
				doc = []any{doc}
			} else {
				doc = map[string]any{names[i]: doc}
			}
		}
	}
	status := http.StatusOK
	if len(a.Status) > 0 {
		status = a.Status[0]
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc)
}

// TestRules asks by every rule that ships: the request holds the secret, but not where it would be logged, goes to a host of the
// rule, and what the rule says of answers is what is made of them.
func TestRules(t *testing.T) {
	rules, err := detect.BuiltinRules()
	if err != nil {
		t.Fatal(err)
	}
	set, err := detect.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Pointer[detect.Answer]
	p := newProvider(t, func(w http.ResponseWriter, r *http.Request) { render(w, next.Load()) })
	asked := 0
	for _, r := range rules {
		if r.Verify == nil {
			continue
		}
		asked++
		q := question(t, set, r)
		if q.Rule == nil {
			continue
		}
		p.seen = func(req *http.Request) { checkRequest(t, r, req, string(q.Secret)) }
		for i := range r.Verify.Live {
			next.Store(&r.Verify.Live[i])
			if got := verifier(p).Verify(t.Context(), q); got.Live != secret.LiveYes {
				t.Errorf("%s: live answer %d is taken for %+v", r.ID, i, got)
			}
		}
		needs := false
		for _, c := range r.Verify.With {
			needs = needs || !c.Optional
		}
		for i := range r.Verify.Revoked {
			next.Store(&r.Verify.Revoked[i])
			if got := verifier(p).Verify(t.Context(), q); needs != (got.Live == secret.LiveUnknown) || !needs && got.Live != secret.LiveNo {
				t.Errorf("%s: revoked answer %d is taken for %+v", r.ID, i, got)
			}
		}
		for _, status := range []int{204, 302, 404, 418, 500, 503} {
			next.Store(&detect.Answer{Status: []int{status}})
			if got := verifier(p).Verify(t.Context(), q); got.Live != secret.LiveUnknown || got.Why == "" {
				t.Errorf("%s: status %d is taken for %+v", r.ID, status, got)
			}
		}
	}
	if asked < 80 {
		t.Errorf("only %d rules say how to ask", asked)
	}
}

// TestDocumented holds the page to the rules: it names all kinds that are sent to their provider.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := detect.BuiltinRules()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "kinds can be verified:")
	list, _, _ = strings.Cut(list, "\n\n")
	n := 0
	for _, r := range rules {
		if named := strings.Contains(list, "`"+r.ID+"`"); named != (r.Verify != nil) {
			t.Errorf("docs/secrets.md: %s can be verified: %t", r.ID, r.Verify != nil)
		}
		if r.Verify != nil {
			n++
		}
	}
	for _, text := range []string{fmt.Sprintf("%d kinds can be verified", n), fmt.Sprintf("finds %d kinds", len(rules))} {
		if !strings.Contains(string(page), text) {
			t.Errorf("docs/secrets.md does not say %q", text)
		}
	}
}

// question is about the first example of a rule that it can ask about.
func question(t *testing.T, set *detect.Set, r *detect.Rule) (q secret.Question) {
	t.Helper()
	// Companions, which examples do not have.
	const beside = " AC0123456789abcdef0123456789abcdef AKIAQ3EGWDNZLM5XKTBV " // testudo:allow aws-access-key-id made up
	for i, e := range r.Tests.Find {
		text, err := detect.Expand(e.Text, fmt.Sprintf("verify %s %d", r.ID, i))
		if err != nil {
			t.Fatal(err)
		}
		set.FindIn(e.Path, []byte(text), func(m detect.Match) bool {
			if _, ok := r.Verify.Applies([]byte(text[m.Start:m.End])); ok && m.Rule == r {
				q = secret.Question{Rule: r, Secret: []byte(text[m.Start:m.End]), Near: []byte(text + beside), At: m.Start}
			}
			return q.Rule == nil
		})
		if q.Rule != nil {
			return q
		}
	}
	t.Errorf("%s: its verify section applies to none of its examples", r.ID)
	return q
}

func checkRequest(t *testing.T, r *detect.Rule, req *http.Request, value string) {
	t.Helper()
	allowed := false
	for _, u := range r.Verify.URLs {
		host, _, _ := strings.Cut(strings.TrimPrefix(u, "https://"), "/")
		_, below, part := strings.Cut(host, "}}.")
		allowed = allowed || req.URL.Host == host || part && strings.HasSuffix(req.URL.Host, "."+below)
	}
	if !allowed {
		t.Errorf("%s: asks %s", r.ID, req.URL.Host)
	}
	if strings.Contains(req.URL.RawQuery, value) || strings.Contains(req.URL.Host, value) {
		t.Errorf("%s: the secret stands in %s", r.ID, req.URL)
	}
	if agent := req.Header.Get("User-Agent"); agent != "testudo/1.2" {
		t.Errorf("%s: user agent %q", r.ID, agent)
	}
	body := ""
	if req.GetBody != nil {
		if b, err := req.GetBody(); err == nil {
			data, _ := io.ReadAll(b)
			body = string(data)
		}
	}
	user, password, _ := req.BasicAuth()
	whole := fmt.Sprint(req.Header, user, password, body, req.URL.Path)
	holds := r.Verify.Sign != ""
	for _, part := range append(strings.Split(value, "/"), value, url.QueryEscape(value)) {
		holds = holds || len(part) > 8 && strings.Contains(whole, part)
	}
	if !holds {
		t.Errorf("%s: the secret is not in the request: %s", r.ID, whole)
	}
	if req.Method != http.MethodGet && r.Verify.Reads == "" {
		t.Errorf("%s: method %s", r.ID, req.Method)
	}
}

func TestVerdicts(t *testing.T) {
	p := newProvider(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+theSecret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Scopes", "repo, gist")
		fmt.Fprint(w, `{"login":"octo\u001b[31mcat"}`)
	})
	v, r := verifier(p), rule(t, bearer)
	if got := ask(t, v, r, theSecret); got.Live != secret.LiveYes || got.Who != "account octo\x1b[31mcat; scopes repo, gist" {
		t.Errorf("%+v", got)
	}
	if got := ask(t, v, r, theSecret+"0"); got.Live != secret.LiveNo {
		t.Errorf("%+v", got)
	}
	if got := ask(t, v, &detect.Rule{ID: "other"}, theSecret); got.Live != secret.NotVerifiable {
		t.Errorf("%+v", got)
	}
	if got := ask(t, v, r, "acme_\r\nX-Evil: 1"); got.Live != secret.LiveUnknown || p.requests.Load() != 2 {
		t.Errorf("%+v after %d requests", got, p.requests.Load())
	}
	notes := strings.Join(v.Notes(), "\n")
	if !strings.Contains(notes, "1 are, 1 are not valid any more, 1 could not be verified") || !strings.Contains(notes, "is known: other.") {
		t.Error(notes)
	}
}

// TestOnce asks about one secret from many goroutines.
func TestOnce(t *testing.T) {
	p := newProvider(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"login":"ada"}`) })
	v, r := verifier(p), rule(t, bearer)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if got := ask(t, v, r, theSecret); got.Live != secret.LiveYes {
				t.Errorf("%+v", got)
			}
		})
	}
	wg.Wait()
	if n := p.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestHostileAnswers: nothing that a server answers is followed, repeated, or waited for.
func TestHostileAnswers(t *testing.T) {
	followed := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer elsewhere.Close()
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		live   secret.Live
		who    string
	}{
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, secret.LiveUnknown, ""},
		{"redirect that keeps the method", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, secret.LiveUnknown, ""},
		{"repeats the secret", func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"login": "you sent " + strings.ToUpper(r.Header.Get("Authorization"))})
		}, secret.LiveYes, ""},
		{"repeats a part of it", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"login":"…%s"}`, theSecret[len(theSecret)-8:])
		}, secret.LiveYes, ""},
		{"a page", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<html><title>Sign in to the hotel's network</title>")
		}, secret.LiveUnknown, ""},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}, secret.LiveYes, ""},
		{"deep", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("[", 60<<10)) }, secret.LiveYes, ""},
		{"long names", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"login":%q}`, strings.Repeat("ä", 5000))
		}, secret.LiveYes, "account " + strings.Repeat("ä", 100) + "…"},
		{"other kinds", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"login":[1,true,{"a":1},"x"]}`) }, secret.LiveYes, "account 1, true, x"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, secret.LiveUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProvider(t, c.answer)
			got := ask(t, verifier(p), rule(t, bearer), theSecret)
			if got.Live != c.live || got.Who != c.who || strings.Contains(got.Why, theSecret[5:]) {
				t.Errorf("%+v", got)
			}
		})
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

// TestLeavesAlone: who cannot be reached, hangs or asks for patience is not asked again and again.
func TestLeavesAlone(t *testing.T) {
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		timeout time.Duration
		asked   int64
		why     string
	}{
		{"asks for patience", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, time.Minute, 1, "asks for patience"},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // or it would answer 200 after all
		}, 100 * time.Millisecond, 3, "left alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProvider(t, c.answer)
			v, r := verify.New(verify.Options{Transport: p, Timeout: c.timeout}), rule(t, bearer)
			var last secret.Verdict
			for i := range 6 {
				last = ask(t, v, r, theSecret+fmt.Sprint(i))
			}
			if n := p.requests.Load(); last.Live != secret.LiveUnknown || !strings.Contains(last.Why, c.why) || n > c.asked {
				t.Errorf("%+v after %d requests", last, n)
			}
		})
	}
	dials := 0
	p := newProvider(t, nil)
	p.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		dials++
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "api.acme.example", IsNotFound: true}}
	}
	v, r := verifier(p), rule(t, bearer)
	for i := range 3 {
		if got := ask(t, v, r, theSecret+fmt.Sprint(i)); got.Why != "api.acme.example cannot be reached" {
			t.Errorf("%+v", got)
		}
	}
	if dials != 1 {
		t.Errorf("%d dials", dials)
	}
}

// TestEnds: a question ends with its scan.
func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := newProvider(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	got := verifier(p).Verify(ctx, secret.Question{Rule: rule(t, bearer), Secret: []byte(theSecret)})
	if got.Live != secret.LiveUnknown || got.Why != "the scan was ended" {
		t.Errorf("%+v", got)
	}
}

// TestRegions asks one after another; a region that does not answer leaves it open whether the secret is valid.
func TestRegions(t *testing.T) {
	const section = `{urls: [https://api.acme.example/me, https://api.eu.acme.example/me], headers: {Key: '{{secret}}'}, live: [{status: [200]}], revoked: [{status: [401]}]}`
	statuses := map[string]int{}
	p := newProvider(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(statuses[r.Host]) })
	for _, c := range []struct {
		first, second int
		live          secret.Live
		requests      int64
	}{
		{200, 401, secret.LiveYes, 1}, {401, 200, secret.LiveYes, 2}, {401, 401, secret.LiveNo, 2}, {500, 401, secret.LiveUnknown, 2}, {401, 500, secret.LiveUnknown, 2},
	} {
		statuses["api.acme.example"], statuses["api.eu.acme.example"] = c.first, c.second
		p.requests.Store(0)
		if got := ask(t, verifier(p), rule(t, section), theSecret); got.Live != c.live || p.requests.Load() != c.requests {
			t.Errorf("%d, %d: %+v after %d requests", c.first, c.second, got, p.requests.Load())
		}
	}
}

// TestBound: a target full of tokens does not make testudo ask without end.
func TestBound(t *testing.T) {
	p := newProvider(t, nil)
	p.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	v, r := verifier(p), rule(t, bearer)
	for i := range verify.MaxQuestions + 3 {
		ask(t, v, r, theSecret+fmt.Sprint(i))
	}
	if notes := strings.Join(v.Notes(), "\n"); !strings.Contains(notes, "3 findings beyond the first 500 secrets") {
		t.Error(notes)
	}
}
