package detect

import (
	"strings"
	"testing"
)

// TestVerifySections: a rule file cannot send a secret anywhere but to the hosts that it names, nor change anything there.
func TestVerifySections(t *testing.T) {
	const good = `{urls: [https://api.acme.example/me], headers: {Key: '{{secret}}'}, live: [{status: [200]}]}`
	for _, c := range []struct{ section, wrong string }{
		{good, ""},
		{`{urls: ['https://api.acme.example/bot{{secret}}/me'], live: [{status: [200]}]}`, ""},
		{`{urls: ['https://{{dc}}.api.acme.example/'], parts: '-(?P<dc>us[0-9])$', basic: 'x:{{secret}}', live: [{status: [200]}]}`, ""},
		{`{urls: ['https://{{secret}}.api.acme.example/'], live: [{status: [200]}]}`, "only a part"},
		{`{urls: ['https://{{dc}}.example/'], parts: '(?P<dc>x)', live: [{status: [200]}]}`, "only a part"},
		{`{urls: ['https://{{dc}}{{dc}}.api.acme.example/'], parts: '(?P<dc>x)', live: [{status: [200]}]}`, "only a part"},
		{`{urls: ['https://{{host}}.api.acme.example/'], with: [{name: host, pattern: x}], live: [{status: [200]}]}`, "only a part"},
		{`{urls: ['https://api.acme.example/?key={{secret}}'], live: [{status: [200]}]}`, "query"},
		{strings.Replace(good, "https:", "http:", 1), "want https"},
		{strings.Replace(good, "https://api.acme.example/me", "'https://api.acme.example:8443/me'", 1), "want https"},
		{strings.Replace(good, "api.", "user@api.", 1), "want https"},
		{strings.Replace(good, "api.acme.example", "127.0.0.1", 1), "want https"},
		{strings.Replace(good, "api.acme.example", "localhost", 1), "want https"},
		{strings.Replace(good, "{{secret}}", "secret", 1), "does not use"},
		{strings.Replace(good, "{{secret}}", "{{token}}", 1), "{{token}} is neither"},
		{strings.Replace(good, "live", "method: DELETE, live", 1), "nothing may be changed"},
		{strings.Replace(good, "live", "method: POST, live", 1), "say why"},
		{strings.Replace(good, "live", "body: x, live", 1), "goes with method POST"},
		{strings.Replace(good, "[200]", "[]", 1), "every answer would fit"},
		{strings.Replace(good, "Key:", "'Key: x':", 1), "no header's name"},
		{`{urls: [], headers: {Key: '{{secret}}'}, live: [{status: [200]}]}`, "0 urls"},
		{`{urls: [https://api.acme.example/me], headers: {Key: '{{secret}}'}}`, "nothing under live"},
	} {
		_, err := Parse([]byte(`{id: acme, title: ACME, severity: high, fix: revoke it, detect: [{literals: [acme_], pattern: 'acme_x'}],
verify: ` + c.section + `, tests: {find: ['acme_x']}}`))
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s: %v, want %q", c.section, err, c.wrong)
		}
	}
}

func TestCompanion(t *testing.T) {
	v := Verify{URLs: []string{"https://api.acme.example/me"}, Basic: "{{sid}}:{{secret}}", With: []Companion{{Name: "sid", Pattern: "AC[0-9]{4}"}}, Live: []Answer{{Status: []int{200}}}}
	if err := v.validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		at   int
		want string
	}{
		{"AC0001 secret AC0002", 7, "AC0001"},
		{"AC0001 .......... secret AC0002", 18, "AC0002"},
		{"xAC0001 secret AC00023", 8, ""},
		{"", 0, ""},
	} {
		if got := v.With[0].Find([]byte(c.text), c.at); got != c.want {
			t.Errorf("beside %d in %q: %q, want %q", c.at, c.text, got, c.want)
		}
	}
}
