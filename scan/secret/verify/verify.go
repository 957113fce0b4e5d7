// Package verify asks providers whether secrets are in use, by what the rules say of how. It is used only when the user asks for
// it: a secret then goes to the provider that issued it, and nowhere else.
//
// What it promises: hosts are those that the rules name, never one from a file; https with the system's certificates, through the
// proxy of the environment if there is one; no redirect is followed; requests that change nothing; each secret is asked
// about once in a run; a bounded number of questions, a few at a time, few a second to each host, each with a limit of time; of an answer 64 KiB are
// read. A host that cannot be reached, hangs or asks for patience is left alone for the rest of the run. Neither secrets nor answers are kept
// or logged: what is remembered of a secret is a digest by a key that is made for the run.
package verify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan/secret"
)

const (
	// MaxQuestions bounds the secrets that are asked about in a run.
	MaxQuestions = 500
	// atOnce and perHost bound the requests in flight, perSecond those to one host.
	atOnce    = 8
	perHost   = 2
	perSecond = 5
	// patience is how long one request may take.
	patience = 10 * time.Second
	// givenUp is after how many requests without an answer, one after another, a host is left alone.
	givenUp = 3
)

// Verifier asks. It is safe for concurrent use. Make one for each run.
type Verifier struct {
	client  *http.Client
	agent   string
	now     func() time.Time
	redact  func(string) string
	key     [32]byte
	slots   chan struct{}
	timeout time.Duration

	mu      sync.Mutex
	asked   map[[sha256.Size]byte]*asked
	hosts   map[string]*host
	tally   map[secret.Live]int // questions by answer
	without map[string]bool     // rules that say nothing of how to ask
	over    int                 // secrets above MaxQuestions
}

// asked is a question that was asked: verdict may be read when done is closed.
type asked struct {
	done    chan struct{}
	verdict secret.Verdict
}

// host is what is known of a provider's server.
type host struct {
	slots   chan struct{}
	limit   *rate.Limiter
	mu      sync.Mutex
	silent  int
	refused string // why it is left alone
}

// Options is what a Verifier needs to know. The zero value is good.
type Options struct {
	Version string              // of testudo, for the User-Agent
	Redact  func(string) string // takes secrets out of what an answer names
	// Transport, if not nil, carries the requests in place of the network. It is for tests.
	Transport http.RoundTripper
	Now       func() time.Time // time.Now if nil: signatures hold the time
	Timeout   time.Duration    // for one request; 10 seconds if 0
}

// New returns a Verifier. It starts nothing.
func New(o Options) *Verifier {
	v := &Verifier{agent: "testudo", now: o.Now, redact: o.Redact, slots: make(chan struct{}, atOnce), timeout: o.Timeout,
		asked: map[[sha256.Size]byte]*asked{}, hosts: map[string]*host{}, tally: map[secret.Live]int{}, without: map[string]bool{}}
	if o.Version != "" {
		v.agent += "/" + o.Version
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.timeout == 0 {
		v.timeout = patience
	}
	if v.redact == nil {
		v.redact = func(s string) string { return s }
	}
	_, _ = rand.Read(v.key[:]) // never fails
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: v.timeout / 2}).DialContext,
			// What is compressed is not read: no answer grows while it is.
			DisableCompression: true, MaxResponseHeaderBytes: maxAnswer,
			TLSHandshakeTimeout: v.timeout / 2, ResponseHeaderTimeout: v.timeout,
			MaxIdleConnsPerHost: perHost, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		}
	}
	v.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return v
}

// Verify implements [secret.Verifier].
func (v *Verifier) Verify(ctx context.Context, q secret.Question) secret.Verdict {
	how := q.Rule.Verify
	if how == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.without[q.Rule.ID] = true
		return secret.Verdict{Live: secret.NotVerifiable}
	}
	values, problem := valuesOf(how, q)
	if problem != "" {
		return v.count(secret.Verdict{Why: problem})
	}
	if values == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.without[q.Rule.ID] = true
		return secret.Verdict{Live: secret.NotVerifiable}
	}
	a, first := v.enter(q.Rule, values)
	switch {
	case a == nil:
		return secret.Verdict{Why: fmt.Sprintf("more than %d secrets: the rest was not asked about", MaxQuestions)}
	case first:
		a.verdict = v.count(v.inquire(ctx, how, values))
		close(a.done)
	default:
		select {
		case <-a.done:
		case <-ctx.Done():
			return secret.Verdict{Why: "the scan was ended"}
		}
	}
	return a.verdict
}

// enter returns the question of these values, and whether nobody asked it before; nil if there is no room for it.
func (v *Verifier) enter(r *detect.Rule, values map[string]string) (a *asked, first bool) {
	mac := hmac.New(sha256.New, v.key[:])
	fmt.Fprintf(mac, "%q", r.ID)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(mac, "%q%q", name, values[name])
	}
	id := [sha256.Size]byte(mac.Sum(nil))
	v.mu.Lock()
	defer v.mu.Unlock()
	if a = v.asked[id]; a != nil {
		return a, false
	}
	if len(v.asked) >= MaxQuestions {
		v.over++
		return nil, false
	}
	a = &asked{done: make(chan struct{})}
	v.asked[id] = a
	return a, true
}

func (v *Verifier) count(verdict secret.Verdict) secret.Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tally[verdict.Live]++
	return verdict
}

// valuesOf returns the secret, its parts and its companions by their names; nil if the rule cannot ask about such a secret.
func valuesOf(how *detect.Verify, q secret.Question) (values map[string]string, problem string) {
	values, ok := how.Applies(q.Secret)
	if !ok {
		return nil, ""
	}
	for i := range how.With {
		c := &how.With[i]
		value := c.Find(q.Near, q.At)
		if value == "" && !c.Optional {
			return nil, "no " + c.Name + " stands beside it"
		}
		values[c.Name] = value
	}
	for name, value := range values {
		if strings.ContainsFunc(value, func(r rune) bool { return r < '!' || r > '~' }) {
			return nil, "its " + name + " holds characters that no request may hold"
		}
	}
	return values, ""
}

// inquire asks one address after another until one knows the secret.
func (v *Verifier) inquire(ctx context.Context, how *detect.Verify, values map[string]string) secret.Verdict {
	out := secret.Verdict{Live: secret.LiveNo}
	for _, address := range how.URLs {
		verdict := v.askOne(ctx, how, address, values)
		switch verdict.Live {
		case secret.LiveYes:
			return verdict
		case secret.LiveUnknown:
			if out.Live != secret.LiveUnknown {
				out = verdict
			}
		}
	}
	return out
}

// askOne makes one request.
func (v *Verifier) askOne(ctx context.Context, how *detect.Verify, address string, values map[string]string) secret.Verdict {
	r, err := v.build(ctx, how, address, values)
	if err != nil {
		return secret.Verdict{Why: err.Error()}
	}
	h := v.host(r.URL.Host)
	leave, why := v.wait(ctx, h)
	if why != "" {
		return secret.Verdict{Why: why}
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	reply, err := v.client.Do(r.WithContext(ctx))
	if err != nil {
		return secret.Verdict{Why: h.failed(r.URL.Host, err)}
	}
	defer reply.Body.Close()
	a, err := readAnswer(reply)
	if err != nil {
		return secret.Verdict{Why: h.failed(r.URL.Host, err)}
	}
	h.answered(r.URL.Host, reply.StatusCode)
	return v.judge(how, r.URL.Host, a, values)
}

func (v *Verifier) host(name string) *host {
	v.mu.Lock()
	defer v.mu.Unlock()
	h := v.hosts[name]
	if h == nil {
		h = &host{slots: make(chan struct{}, perHost), limit: rate.NewLimiter(perSecond, perHost)}
		v.hosts[name] = h
	}
	return h
}

// wait waits for its turn at a host. It says why not, if the host is left alone.
func (v *Verifier) wait(ctx context.Context, h *host) (leave func(), why string) {
	ended := "the scan was ended"
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ended
	}
	out := func() { <-h.slots }
	if why = h.out(); why == "" && h.limit.Wait(ctx) != nil {
		why = ended
	}
	if why != "" {
		out()
		return nil, why
	}
	select {
	case v.slots <- struct{}{}:
		return func() { <-v.slots; out() }, ""
	case <-ctx.Done():
		out()
		return nil, ended
	}
}

func (h *host) out() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.refused
}

// failed notes a request without an answer, and says what was wrong: never what the transport says, which may hold the address.
func (h *host) failed(name string, err error) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent++
	why := name + " did not answer as it should"
	var dns *net.DNSError
	var op *net.OpError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return "the scan was ended"
	case errors.As(err, &dns), errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"):
		why = name + " cannot be reached"
		h.refused = why // nothing will change that soon: an offline machine is not kept waiting
	case errors.As(err, &certificate):
		why = name + " shows a certificate that this machine does not trust"
		h.refused = why
	case errors.As(err, &timeout) && timeout.Timeout():
		why = name + " did not answer in time"
	}
	if h.silent >= givenUp && h.refused == "" {
		h.refused = why + ": left alone"
	}
	return why
}

// answered notes an answer. Whoever asks for patience is left alone for the run.
func (h *host) answered(name string, status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = 0
	if status == http.StatusTooManyRequests {
		h.refused = name + " asks for patience"
	}
}

// Notes say what was asked and what was not, for people.
func (v *Verifier) Notes() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	if len(v.tally) > 0 {
		out = append(out, fmt.Sprintf("Asked providers whether secrets are in use: %d are, %d are not valid any more, %d could not be verified.",
			v.tally[secret.LiveYes], v.tally[secret.LiveNo], v.tally[secret.LiveUnknown]))
	}
	if v.over > 0 {
		out = append(out, fmt.Sprintf("Not verified: %d findings beyond the first %d secrets.", v.over, MaxQuestions))
	}
	if len(v.without) > 0 {
		out = append(out, "Not verifiable, because no harmless question is known: "+strings.Join(slices.Sorted(maps.Keys(v.without)), ", ")+".")
	}
	return out
}

// holds reports whether text gives a part of the secret away: eight characters in a row of it, in either case.
func holds(text string, values map[string]string) bool {
	low := bytes.ToLower([]byte(text))
	for name, value := range values {
		if name != "secret" && len(value) < 8 {
			continue
		}
		value := bytes.ToLower([]byte(value))
		for i := 0; i+8 <= len(value); i++ {
			if bytes.Contains(low, value[i:i+8]) {
				return true
			}
		}
		if len(value) < 8 && bytes.Contains(low, value) {
			return true
		}
	}
	return false
}
