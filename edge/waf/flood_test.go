package waf_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/edge/waf"
)

// Arguments beyond Coraza's limit are seen by no rule: a request that has them is not clean.
func TestArgumentFlood(t *testing.T) {
	w := newWAF(t, nil)
	const attack = "q=zzz'+UNION+SELECT+password+FROM+users--"
	flood := strings.Repeat("a=&", 1001)
	for name, r := range map[string]struct{ target, media, body string }{
		"query": {"/search?" + flood + attack, "", ""},
		"form":  {"/search", "application/x-www-form-urlencoded", flood + attack},
		"json":  {"/search", "application/json", "[" + strings.Repeat("1,", 1001) + `"zzz' UNION SELECT password FROM users--"]`},
		"parts": {"/search", "multipart/form-data; boundary=b", strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n", 2000) +
			"--b\r\nContent-Disposition: form-data; name=\"z\"\r\n\r\nzzz' UNION SELECT password FROM users--\r\n--b--\r\n"},
	} {
		method := "POST"
		if r.body == "" {
			method = "GET"
		}
		if got := inspect(w, request(method, r.target, r.media, r.body), r.body, 0); got.Score < 5 || len(got.Messages) == 0 {
			t.Errorf("%s: score %d, rules %v", name, got.Score, got.Rules)
		}
	}
}

// A large upload that is cut for inspection is not held against its sender.
func TestLargeUploadIsNoFlood(t *testing.T) {
	w := newWAF(t, nil)
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: text/plain\r\n\r\n" +
		strings.Repeat("some text ", 40_000) + "\r\n--b--\r\n"
	got := inspect(w, request("POST", "/upload", "multipart/form-data; boundary=b", body), body, 0)
	if got.Score >= 5 || !slices.Contains(got.Categories, "truncated-body") {
		t.Errorf("%+v", got)
	}
}

func TestArgumentLimitCanBeRaised(t *testing.T) {
	w := newWAF(t, func(c *waf.Config) { c.Before = "SecArgumentsLimit 5000" })
	target := "/search?" + strings.Repeat("a=1&", 1500) + "b=2"
	if got := inspect(w, request("GET", target, "", ""), "", 0); got.Score != 0 {
		t.Errorf("%+v", got)
	}
}
