package detect

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func builtin(t testing.TB) *Set {
	t.Helper()
	s, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func expand(t testing.TB, text, seed string) string {
	t.Helper()
	out, err := Expand(text, seed)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func find(t testing.TB, s *Set, path, text string) []Match {
	t.Helper()
	var out []Match
	if !s.FindIn(path, []byte(text), func(m Match) bool {
		out = append(out, m)
		return true
	}) {
		t.Errorf("the search of %d bytes was cut short", len(text))
	}
	return out
}

// TestRuleExamples runs the examples in the rule files.
func TestRuleExamples(t *testing.T) {
	for _, err := range builtin(t).Test() {
		t.Error(err)
	}
}

// TestRuleTestNotices holds the test language itself: a rule that lies about itself is told.
func TestRuleTestNotices(t *testing.T) {
	r, err := Parse([]byte("id: a\ntitle: A\nseverity: low\nfix: x\ndetect: [{literals: [tok_], pattern: 'tok_[0-9a-f]{8}'}]\ntests:\n  find: ['tok_{{upper 8}}', 'tok_{{hex 8}} tok_{{hex 8}}', '{{nonsense 3}}']\n  pass: ['x tok_{{hex 8}}']\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile([]*Rule{r})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Test(); len(got) != 4 {
		t.Errorf("%d of 4 false examples were noticed: %v", len(got), got)
	}
}

// TestContent holds every shipped rule to what the documentation promises.
func TestContent(t *testing.T) {
	rules, err := BuiltinRules()
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) < 100 {
		t.Errorf("%d rules ship", len(rules))
	}
	for _, r := range rules {
		if len(r.References) == 0 || r.Why == "" || len(r.Tags) == 0 {
			t.Errorf("%s lacks references, why or tags", r.ID)
		}
		if len(r.Tests.Pass) == 0 {
			t.Errorf("%s has no example that must pass", r.ID)
		}
		for _, w := range r.Detect {
			for _, l := range slices.Concat(w.Literals, w.Keywords) {
				if len(l) < 4 {
					t.Errorf("%s: literal %q is shorter than four bytes and slows every scan", r.ID, l)
				}
			}
		}
	}
}

// TestGuessable holds that no rule whose matches may be short lets a hash of them be kept.
func TestGuessable(t *testing.T) {
	s := builtin(t)
	for _, r := range s.Rules() {
		for i, e := range r.Tests.Find {
			text := expand(t, e.Text, fmt.Sprintf("%s find %d", r.ID, i))
			for _, m := range find(t, s, e.Path, text) {
				if !m.Rule.Guessable && m.End-m.Start < 14 {
					t.Errorf("%s matches %d characters and is not marked guessable", r.ID, m.End-m.Start)
				}
			}
		}
	}
}

func TestFindPlaces(t *testing.T) {
	s := builtin(t)
	token, key := expand(t, "{{github ghp_}}", "1"), expand(t, "{{aws AKIA}}", "2")
	text := "a\n  token: " + token + "\nkey=" + key + " " + token
	got := find(t, s, "", text)
	want := []struct {
		rule, value, proof, note string
		confidence               Confidence
	}{{"github-token", token, "checksum", "", High}, {"aws-access-key-id", key, "", "account", Medium}, {"github-token", token, "checksum", "", High}}
	if len(got) != len(want) {
		t.Fatalf("%d matches: %+v", len(got), got)
	}
	for i, w := range want {
		m := got[i]
		if m.Rule.ID != w.rule || text[m.Start:m.End] != w.value || m.Proof != w.proof || !strings.HasPrefix(m.Note, w.note) || m.Confidence != w.confidence {
			t.Errorf("match %d: %s %q proof %q confidence %v", i, m.Rule.ID, text[m.Start:m.End], m.Proof, m.Confidence)
		}
	}
}

func TestConfidenceByPath(t *testing.T) {
	s := builtin(t)
	hook := expand(t, "https://hooks.slack.com/services/T0{{digits 9}}/B0{{digits 9}}/{{base62 24}}", "1")
	token, pem := expand(t, "{{github ghp_}}", "1"), expand(t, "{{pem EC}}", "1")
	for _, tc := range []struct {
		path, text string
		want       Confidence
	}{
		{"", hook, Medium}, {"deploy/a.yaml", hook, Medium}, {"docs/a.md", hook, Low}, {"pkg/a_test.go", hook, Low},
		{"main.go", token, High}, {"testdata/a.txt", token, Medium},
		{"tls/server.key", pem, High}, {"internal/testdata/server.key", pem, Low}, {"src/__tests__/k.pem", pem, Low}, {"README.md", pem, Low},
	} {
		got := find(t, s, tc.path, tc.text)
		if len(got) != 1 || got[0].Confidence != tc.want {
			t.Errorf("%s: %+v, want one of confidence %v", tc.path, got, tc.want)
		}
	}
}

// TestChecksums holds the proofs against values that others published or that are computed here the
// long way round.
func TestChecksums(t *testing.T) {
	// The parts of a token that circulates as the example of GitHub's format.
	body, sum := "zQWBuTSOoRi4A9spHcVY5n"+"cnsDkxkJ", "0mLq17"
	if got := crc62([]byte(body)); got != sum {
		t.Errorf("checksum %s, want %s", got, sum)
	}
	for id, account := range map[string]string{"ASIA" + "Y34FZKBOKMUTVV7A": "609629065308", "AKIA" + "SP2TPHJSQH3FJRUX": "171436882533"} {
		if got := checkAWS([]byte(id), 0, len(id)); got.note != "account "+account || got.proof != "" {
			t.Errorf("%s: %+v", id, got)
		}
	}
	// BIP 173's own example of a valid string, with an empty data part.
	if bech32Polymod(append(bech32Expand("a"), 10, 24, 12, 22, 11, 19)) == 1 {
		t.Error("a wrong Bech32 checksum passes")
	}
	key := expand(t, "{{age}}", "1")
	if !checkAge([]byte(key), 0, len(key)).ok {
		t.Error("the template's age key is not valid")
	}
	for i := len("AGE-SECRET-KEY-1"); i < len(key); i++ {
		broken := []byte(key)
		broken[i] = "QP"[btoi(broken[i] == 'Q')]
		if checkAge(broken, 0, len(broken)).ok {
			t.Errorf("a change at %d goes unnoticed", i)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestBech32Vectors are from BIP 173, "Test vectors": A12UEL5L and split1...
func TestBech32Vectors(t *testing.T) {
	for s, want := range map[string]bool{"a12uel5l": true, "a12uel5m": false,
		"split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w": true, "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3q": false} {
		if got := checkAge([]byte(s), 0, len(s)).ok; got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestPrivateKeyForms(t *testing.T) {
	s := builtin(t)
	pem := expand(t, "{{pem EC}}", "1")
	for name, text := range map[string]string{
		"plain":            pem,
		"crlf":             strings.ReplaceAll(pem, "\n", "\r\n"),
		"indented yaml":    "key: |\n    " + strings.ReplaceAll(pem, "\n", "\n    "),
		"json":             `{"k": "` + strings.ReplaceAll(pem, "\n", `\n`) + `"}`,
		"go concatenation": `k := "` + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\\n\" +\n\t\t\"") + `"`,
		"comment":          "// " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n// "),
	} {
		got := find(t, s, "", text)
		if len(got) != 1 || got[0].Rule.ID != "private-key" || got[0].Proof == "" {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		if !strings.HasSuffix(text[got[0].Start:got[0].End], "-----END EC PRIVATE KEY-----") {
			t.Errorf("%s: the match ends before the key does", name)
		}
	}
}

func TestAssignmentForms(t *testing.T) {
	s := builtin(t)
	v := expand(t, "{{base62 32}}", "6")
	for _, tc := range []struct {
		path, text string
		want       bool
	}{
		{"", `api_key = "` + v + `"`, true},
		{"", `api_key: '` + v + `'`, true},
		{"", `"api_key" : "` + v + `",`, true},
		{"", `{\"api_key\":\"` + v + `\"}`, true},
		{"", `:api_key => "` + v + `"`, true},
		{"", `apiKey := "` + v + `"`, true},
		{"", `export MY_API_KEY=` + v, true},
		{"", `--api-key=` + v, true},
		{"", `<apiKey>` + v + `</apiKey>`, true},
		{"", `config["api_key"] = "` + v + `"`, true},
		{"a.yaml", `api_key: ` + v, true},
		{"a.go", `api_key: ` + v, false}, // an identifier
		{"", `if api_key == "` + v + `"`, false},
		{"", `api_key != "` + v + `"`, false},
		{"", `api_key ` + v, false},
		{"", "api_key = \"" + v + "\n\"", false},
		{"", `api_key = load(` + v + `)`, false},
		{"", `api_key = ` + v + `(x)`, false},
	} {
		if got := len(find(t, s, tc.path, tc.text)) == 1; got != tc.want {
			t.Errorf("%s %s: found %v", tc.path, tc.text, got)
		}
	}
}

func TestRedact(t *testing.T) {
	s := builtin(t)
	token, password := expand(t, "{{github ghp_}}", "1"), expand(t, "{{base62 16}}", "2")
	for in, want := range map[string]string{
		"nothing here":         "nothing here",
		"":                     "",
		"t=" + token + " end":  "t=[redacted github-token] end",
		token + "," + token:    "[redacted github-token],[redacted github-token]",
		"password=" + password: "password=[redacted generic-password]",
		"db postgres://shop:" + password + "@db.corp.net/x": "db postgres://shop:[redacted database-url-password]@db.corp.net/x",
	} {
		if d := cmp.Diff(want, s.Redact(in)); d != "" {
			t.Error(d)
		}
	}
	if got := string(s.AppendRedacted([]byte("log: "), []byte(token))); got != "log: [redacted github-token]" {
		t.Error(got)
	}
}

// TestRedactExamples holds that of no shipped positive example anything secret is left.
func TestRedactExamples(t *testing.T) {
	s := builtin(t)
	for _, r := range s.Rules() {
		if slices.ContainsFunc(r.Detect, func(w Way) bool { return w.File }) {
			continue // it is known by its file alone, and a line of a log has none
		}
		for i, e := range r.Tests.Find {
			text := expand(t, e.Text, fmt.Sprintf("%s find %d", r.ID, i))
			redacted := s.Redact(text)
			for _, m := range find(t, s, e.Path, text) {
				if strings.Contains(redacted, text[m.Start:m.End]) {
					t.Errorf("%s: %q is left in %q", r.ID, text[m.Start:m.End], redacted)
				}
			}
		}
	}
}

// TestRedactOverlaps: where the better of two matches ends before the other, the rest of that one must go too.
func TestRedactOverlaps(t *testing.T) {
	var rules []*Rule
	for _, text := range []string{
		"id: long\ntitle: A\nseverity: low\nfix: x\ngeneric: true\ndetect: [{literals: [long_], pattern: 'long_[0-9a-z-]{20}'}]\ntests: {find: ['x']}\n",
		"id: head\ntitle: B\nseverity: low\nfix: x\ndetect: [{literals: [long_], pattern: 'long_[0-9a-z]{6}'}]\ntests: {find: ['x']}\n",
	} {
		r, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	}
	s, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Redact("a=long_ab12cd-e5f6a-9k8j7h6 b"); got != "a=[redacted head] b" {
		t.Errorf("redacted to %q", got)
	}
}

// TestHostileText holds that texts made to cost time end soon, and say that they were cut short or
// were looked at in full.
func TestHostileText(t *testing.T) {
	s := builtin(t)
	var all []string
	for _, r := range s.Rules() {
		for _, w := range r.Detect {
			all = append(all, slices.Concat(w.Literals, w.Keywords)...)
		}
	}
	const size = 1 << 18
	for name, part := range map[string]string{
		"pem":      "-----BEGIN RSA PRIVATE KEY-----",
		"jwt":      "eyJhbGciOi.eyJ",
		"github":   "ghp_",
		"url":      "https://a:b",
		"assign":   "password=",
		"name":     "api_key_",
		"every":    strings.Join(all, " "),
		"every2":   strings.Join(all, "=\"a1b2"),
		"fly":      "fm2_lJ",
		"atat":     "ATATT3",
		"conn":     "server=a;password=",
		"netrc":    "machine a login b password ",
		"notfound": "mailgun twilio notion ",
	} {
		text := []byte(strings.Repeat(part, size/len(part)+1))[:size]
		started := time.Now()
		complete := s.Find(text, func(Match) bool { return true })
		if name == "conn" && complete {
			t.Errorf("%s: the work on candidates is not bounded", name)
		}
		if took := time.Since(started); took > time.Minute {
			t.Errorf("%s: %v", name, took)
		}
	}
	// Headers that share one end: each would have the lines up to it read again.
	for name, text := range map[string]string{
		"no end":   strings.Repeat("-----BEGIN RSA PRIVATE KEY-----\n", size/32),
		"one end":  strings.Repeat("-----BEGIN RSA PRIVATE KEY-----\n", 500) + "-----END RSA PRIVATE KEY-----\n",
		"no lines": strings.Repeat("-----BEGIN RSA PRIVATE KEY-----\n\n\n", 400) + "-----END RSA PRIVATE KEY-----\n",
	} {
		if s.Find([]byte(strings.Repeat(text, 1+size/len(text))), func(Match) bool { return true }) {
			t.Errorf("%s: the work on key blocks is not bounded", name)
		}
	}
	// More secrets than a search keeps.
	many := strings.Repeat(expand(t, "{{github ghp_}}", "1")+"\n", maxMatches+10)
	if s.Find([]byte(many), func(Match) bool { return true }) {
		t.Error("a text with too many secrets counts as looked at")
	}
	if got := s.Redact(many); strings.Contains(got, "ghp_") {
		t.Error("a text that was given up is not redacted as a whole")
	}
}

func TestParseErrors(t *testing.T) {
	const good = "id: a\ntitle: A\nseverity: low\nfix: x\ndetect: [{literals: [tok_], pattern: 'tok_[0-9a-f]{8}'}]\ntests: {find: ['tok_{{hex 8}}']}\n"
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ from, to, want string }{
		{"id: a", "id: A b", `id "A b": want lower-case`},
		{"title: A", "titel: A", `unknown field "titel"`},
		{"severity: low", "severity: huge", "huge"},
		{"severity: low\n", "", "has no severity"},
		{"fix: x\n", "", "has no fix"},
		{"literals: [tok_]", "literals: [t_]", "shorter than 3 bytes"},
		{"literals: [tok_], ", "", "neither literals nor keywords"},
		{"literals: [tok_]", "literals: [tok_], keywords: [abcd]", "make them two ways"},
		{"pattern: 'tok_[0-9a-f]{8}'", "check: age", "exactly one of pattern and assign"},
		{"{8}'", "{8}', check: nope", `check "nope" is unknown`},
		{"{8}'", "{8}', needs: [digits]", `needs "digits"`},
		{"{8}'", "{8}', reach: 100000", "reach 100000"},
		{"{8}'", "{8}', entropy: 9", "entropy 9"},
		{"tests: {find: ['tok_{{hex 8}}']}", "tests: {pass: [x]}", "no example under tests.find"},
		{"fix: x", "fix: x\nconfidence: sure", "unknown confidence"},
		{"fix: x", "fix: x\npaths: ['a/b']", `path "a/b"`},
		{"fix: x", "fix: x\nallow: ['(']", "allow: error parsing regexp"},
	} {
		_, err := Parse([]byte(strings.Replace(good, tc.from, tc.to, 1)))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s -> %s: %v, want %q", tc.from, tc.to, err, tc.want)
		}
	}
	r, err := Parse([]byte(strings.Replace(good, "{8}'", "{8'", 1)))
	if err == nil {
		if _, err = Compile([]*Rule{r}); err != nil {
			t.Error("a brace that repeats nothing is a literal in RE2:", err)
		}
	}
	r, _ = Parse([]byte(strings.Replace(good, "[0-9a-f]{8}", "[0-9a-f", 1)))
	if _, err := Compile([]*Rule{r}); err == nil || !strings.Contains(err.Error(), "rule a, detect 1") {
		t.Errorf("a broken pattern: %v", err)
	}
	r, _ = Parse([]byte(good))
	if _, err := Compile([]*Rule{r, r}); err == nil {
		t.Error("two rules with one id were taken")
	}
}

func TestLoad(t *testing.T) {
	const good = "id: a\ntitle: A\nseverity: low\nfix: x\ndetect: [{literals: [tok_], pattern: 'tok_[0-9a-f]{8}'}]\ntests: {find: ['tok_{{hex 8}}']}\n"
	rules, err := Load(fstest.MapFS{"r/x/a.yaml": {Data: []byte(good)}, "r/README.md": {Data: []byte("x")}}, "r")
	if err != nil || len(rules) != 1 {
		t.Errorf("%v, %v", rules, err)
	}
	for name, tree := range map[string]fstest.MapFS{
		"name the file after the rule": {"r/b.yaml": {Data: []byte(good)}},
		"r/a.yaml":                     {"r/a.yaml": {Data: []byte("id: [")}},
		"a rule file has at most":      {"r/a.yaml": {Data: bytes.Repeat([]byte("#"), maxRuleFile+1)}},
	} {
		if _, err := Load(tree, "r"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	s := builtin(t)
	text := expand(t, "a {{github ghp_}} password = \"{{base62 16}}\"", "1")
	done := make(chan int)
	for range 4 {
		go func() {
			n := 0
			for range 50 {
				s.FindIn("a.env", []byte(text), func(Match) bool { n++; return true })
			}
			done <- n
		}()
	}
	for range 4 {
		if n := <-done; n != 100 {
			t.Errorf("%d of 100 matches", n)
		}
	}
}

// FuzzFind holds that matches are in range, in order and apart, and that redaction leaves nothing that
// is found again at the same confidence.
func FuzzFind(f *testing.F) {
	s := builtin(f)
	for _, r := range s.Rules() {
		for i, e := range r.Tests.Find {
			f.Add(expand(f, e.Text, fmt.Sprintf("%s find %d", r.ID, i)))
		}
	}
	f.Add("-----BEGIN RSA PRIVATE KEY----- -----END RSA PRIVATE KEY-----")
	f.Add("password=\"\\\"")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		var found []string
		s.Find([]byte(text), func(m Match) bool {
			if m.Start < last || m.End <= m.Start || m.End > len(text) {
				t.Fatalf("match %d to %d after %d in %d bytes", m.Start, m.End, last, len(text))
			}
			last = m.End
			found = append(found, text[m.Start:m.End])
			return true
		})
		redacted := s.Redact(text)
		if len(found) == 0 && redacted != text {
			t.Error("a text without secrets was changed")
		}
		for _, secret := range found {
			if len(secret) > 20 && strings.Count(redacted, secret) >= strings.Count(text, secret) {
				t.Errorf("%q is left", secret)
			}
		}
	})
}

// FuzzParse holds that a rule that parses either compiles or says why, and can be used.
func FuzzParse(f *testing.F) {
	f.Add([]byte("id: a\ntitle: A\nseverity: low\nfix: x\ndetect: [{literals: [tok_], pattern: 'tok_[0-9a-f]{8}'}]\ntests: {find: ['tok_{{hex 8}}']}\n"))
	f.Add([]byte("id: a\ntitle: A\nseverity: low\nfix: x\ndetect: [{keywords: [abc], assign: {value: '.*'}, check: random}]\ntests: {find: [{path: x, text: y}]}\n"))
	f.Add([]byte("detect: [{check: [}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4000 {
			return
		}
		r, err := Parse(data)
		if err != nil {
			return
		}
		s, err := Compile([]*Rule{r})
		if err != nil {
			return
		}
		s.Test()
		s.Redact("tok_0123456789abcdef abc = \"x\"")
	})
}

func BenchmarkFind(b *testing.B) {
	s := builtin(b)
	text := bytes.Repeat([]byte("func (s *Server) handle(w http.ResponseWriter, r *http.Request) error {\n\tif token := r.Header.Get(\"Authorization\"); token == \"\" {\n\t\treturn fmt.Errorf(\"request %s: %w\", r.URL.Path, errNoPassword)\n\t}\n"), 2000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s.Find(text, func(Match) bool { return true })
	}
}

func BenchmarkRedactLine(b *testing.B) {
	s := builtin(b)
	const line = "GET /catalogue?q=lamp&page=3 HTTP/1.1 200 1532 0.004 Mozilla/5.0 (X11; Linux x86_64)"
	b.ReportAllocs()
	for b.Loop() {
		s.Redact(line)
	}
}

func BenchmarkBuiltin(b *testing.B) {
	for b.Loop() {
		if _, err := Builtin(); err != nil {
			b.Fatal(err)
		}
	}
}
