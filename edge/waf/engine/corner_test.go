package engine_test

import (
	"fmt"
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// TestCorners holds that directives which were once understood in another way than by Coraza are understood alike.
func TestCorners(t *testing.T) {
	form := []header{{"Content-Type", "application/x-www-form-urlencoded"}}
	upload := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"shell.php\"\r\n\r\nx\r\n--b--\r\n"
	for _, tt := range []struct {
		name, directives string
		message          message
	}{
		{"a macro without a key is the value of the empty key", `SecRule REQUEST_METHOD "@rx ." "id:1,phase:2,pass,setvar:'tx.own=%{FILES}',msg:'%{ARGS} %{FILES}'"
			SecRule TX:own "@streq shell.php" "id:2,phase:2,deny"`, message{header: []header{{"Content-Type", "multipart/form-data; boundary=b"}}, body: upload, uri: "/?=empty"}},
		{"a macro of names is the value", `SecRule ARGS_GET "@streq %{ARGS_NAMES.q}" "id:1,phase:1,deny,msg:'%{REQUEST_HEADERS_NAMES.host} %{MATCHED_VARS_NAMES.args_get}'"`, message{uri: "/?q=v", header: []header{{"Host", "a"}}}},
		{"detection alone refuses no long body", `SecRuleEngine DetectionOnly
			SecRequestBodyInMemoryLimit 4
			SecRequestBodyLimit 10
			SecRequestBodyLimitAction Reject
			SecRule ARGS "@streq attack" "id:1,phase:2,deny"`, message{header: form, body: "q=attack&r=more than the limit"}},
		{"nor a long response", `SecRuleEngine DetectionOnly
			SecResponseBodyAccess On
			SecResponseBodyMimeType text/html
			SecResponseBodyLimit 10
			SecResponseBodyLimitAction Reject
			SecRule RESPONSE_BODY "@contains secret" "id:1,phase:4,deny"`, message{status: 200, respHeader: []header{{"Content-Type", "text/html"}}, respBody: "secret, and more than the limit"}},
		{"a network with a zero before its size", `SecRule REMOTE_ADDR "@ipMatch 192.0.2.0/024" "id:1,phase:1,deny"`, message{}},
		{"a data set's words beyond ASCII keep their case", "SecDataset beyondASCII `\nÄ\nK\n`\n" + `SecRule ARGS "@pmFromDataset beyondASCII" "id:1,phase:2,deny"`, message{uri: "/?a=%C3%A4&b=k&c=%C3%84"}},
		{"a number out of range before it is none", `SecRule REQUEST_HEADERS:X "@gt 1000" "id:1,phase:1,deny"`, message{header: []header{{"X", "99999999999999999999x"}}}},
		{"a rule that takes its own target out still looks at it", `SecRule ARGS:a|ARGS:b|ARGS:/b/ "@rx ." "id:1,phase:2,pass,setvar:tx.own=+1,ctl:ruleRemoveTargetById=1;ARGS:b"
			SecRule TX:own "@eq 3" "id:2,phase:2,deny"`, message{uri: "/?a=1&b=2"}},
		{"the rest of a chain without an operator tells of what matched before", `SecRule ARGS "@rx ." "id:1,phase:2,pass,chain"
			SecAction "t:none,msg:'in %{MATCHED_VAR_NAME}'"`, message{uri: "/?q=1"}},
		{"a processor that was changed in the same phase", `SecRule REQBODY_PROCESSOR "@rx ^JSON" "id:1,phase:1,pass"
			SecAction "id:2,phase:1,pass,ctl:requestBodyProcessor=JSON"
			SecRule REQBODY_PROCESSOR "@rx ^JSON" "id:3,phase:1,deny"`, message{}},
		{"a processor of responses that was changed in the same phase", `SecRule RES_BODY_PROCESSOR "@rx ^JSON" "id:1,phase:3,pass"
			SecAction "id:2,phase:3,pass,ctl:responseBodyProcessor=JSON"
			SecRule RES_BODY_PROCESSOR "@rx ^JSON" "id:3,phase:3,deny"`, message{status: 200}},
		{"more lists of transformations than a byte counts", manyChains(300), message{uri: "/?q=" + strings.Repeat("a", 80)}},
		{"a network among addresses that are mapped", `SecRule ARGS "@ipMatch ::ffff:10.0.0.0/104,::ffff:0:0/90" "id:1,phase:2,deny"`, message{uri: "/?q=10.1.2.3&r=11.1.2.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.message
			if m.uri == "" {
				m.uri = "/"
			}
			m.method, m.proto = "POST", "HTTP/1.1"
			newPair(t, "SecRequestBodyAccess On\nSecAuditEngine Off\nSecRuleEngine On\n"+tt.directives+"\n").compare(t, &m)
		})
	}
}

// manyChains has n rules whose lists of transformations make n texts of one value. The last is for one of them alone.
func manyChains(n int) string {
	var b strings.Builder
	for i := range n {
		chain := ""
		for bit := range 9 {
			chain += ",t:" + []string{"md5", "sha1"}[i>>bit&1]
		}
		fmt.Fprintf(&b, "SecRule ARGS \"@rx ^%s\" \"id:%d,phase:2,pass%s,t:hexEncode\"\n", []string{"[0-7]", "[8-f]"}[i%2], i+1, chain)
	}
	return b.String()
}

func TestDataSetTwice(t *testing.T) {
	_, err := seclang.Parse(coreruleset.FS, "SecDataset words `\na\n`\nSecDataset words `\nb\n`\n")
	if err == nil {
		t.Error("two data sets of one name are taken: Coraza takes now the one and now the other")
	}
}
