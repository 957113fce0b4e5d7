package personal

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
)

// TestTexts: what each kind of text finds, and what is left of it when it is masked. Shown are the parts that must stay, in their order, and
// those that must not.
func TestTexts(t *testing.T) {
	d := detector(t)
	tested := map[string]bool{}
	for _, c := range []struct {
		kind, text, want string
	}{
		{"jwt", "token " + token + " end", "token ************************************.***************.******************************************* end"},
		{"trace-go", "panic: runtime error: index out of range [3]\n\n" + goTrace + "next\n",
			"*****: ******* *****: ***** *** ** ***** [*]\n\n********* ** [*******]:\n****.(*******).******(************, {***, ***})\n\t/***/***/****.**:** *****\n****.****()\n\t/***/***/****.**:** *****\n\nok\nnext\n"},
		{"trace-go", `{"error":"goroutine 1 [chan receive]:\nmain.main()\n\t/a/b.go:1 +0x1\n","code":500}`, `{"error":"********* * [**** *******]:\n****.****()\n\t/*/*.**:* ****\n","code":500}`},
		{"trace-java", "a.B: no\n\tat com.foo.Bar.baz(Bar.java:12)\n\tat java.base/java.lang.Thread.run(Thread.java:833)\n\tat a.B.<init>(Native Method)\n\t... 3 more\n",
			"a.B: no\n\t** ***.***.***.***(***.****:**)\n\t** ****.****/****.****.******.***(******.****:***)\n\t** *.*.<init>(****** ******)\n\t... 3 more\n"},
		{"trace-java", "Caused by: org.x.PSQLException: no table users\n", "****** **: ***.*.*************: ** ***** *****\n"},
		{"trace-node", `{"stack":"Error: no\n    at Object.<anonymous> (/srv/a.js:10:5)\n    at async f (file:///srv/b.mjs:1:2)\n    at node:internal/m:1:2"}`,
			`{"stack":"Error: no\n    ** ******.<*********> (/***/*.**:**:*)\n    ** ***** * (****:///***/*.***:*:*)\n    ** ****:********/*:*:*"}`},
		{"trace-dotnet", "   at Shop.Home.Index(String id) in /src/Home.cs:line 42\n   at System.Threading.Tasks.Task.Run()\n", "   ** ****.****.*****(****** **) ** /***/****.**:**** **\n   ** ******.*********.*****.****.***()\n"},
		{"trace-python", pyTrace, "********* (**** ****** **** ****):\n  **** \"/***/***/*.**\", **** *, ** <module>\n    ****(\"******\")\n**********: *** ***** '*'\nafter\n"},
		{"trace-python", `{"e":"` + strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(pyTrace) + `","n":1}`, `{"e":"********* (**** ****** **** ****):\n  **** \"/***/***/*.**\", **** *, ** <module>\n    ****(\"******\")\n**********: *** ***** '*'\nafter\n","n":1}`},
		{"trace-php", "Stack trace:\n#0 /var/www/a.php(3): f('x')\n#1 {main}\n  thrown\n", "***** *****:\n#* /***/***/*.***(*): *('*')\n#* {****}\n  thrown\n"},
		{"trace-php", "<b>Warning</b>:  f(): no in <b>/var/www/a.php</b> on line <b>12</b><br />", "<b>*******</b>:  *(): ** ** <b>/***/***/*.***</b> on line <b>12</b><br />"},
		{"trace-php", `{"file":"\/var\/www\/a.php","line":12}`, `{"****":"\/***\/***\/*.***","****":*2}`},
		{"trace-ruby", "app/models/user.rb:12:in `find_by'\nfrom b", "***/******/****.**:**:** `*******'\nfrom b"},
		{"trace-rust", "thread 'main' panicked at src/main.rs:2:5:\nno such file\nnext\n", "****** '****' ******** ** ***/****.**:*:*:\n** **** ****\nnext\n"},
		{"trace-rust", "stack backtrace:\n   0: std::panic\n             at /rustc/lib.rs:1:2\n   1: main\nnote: x\n", "***** *********:\n   *: ***::*****\n             ** /*****/***.**:*:*\n   *: ****\nnote: x\n"},
		{"sql-error", `{"error":"You have an error in your SQL syntax near 'x' at line 1","code":500}`, `{"error":"*** **** ** ***** ** **** *** ****** **** '*' ** **** *","code":500}`},
		{"sql-error", "SQLSTATE[42S02]: no table (SQL: select * from users where id = 7)\nnext", "********[*****]: ** ***** (***: ****** * **** ***** ***** ** * *)\nnext"},
		{"sql-error", "ERROR: syntax error at or near \"users\"\nLINE 1: SELECT * FROM users\n", "ERROR: ****** ***** ** ** **** \"*****\"\n**** *: ****** * **** *****\n"},
		{"sql-error", "<p>ORA-00942: table does not exist</p>", "<p>***-*****: ***** **** *** *****</p>"},
	} {
		tested[c.kind] = true
		if got := string(d.Mask(nil, []byte(c.text))); got != c.want {
			t.Errorf("%s\nis    %q\nwant  %q\nof    %q", c.kind, got, c.want, c.text)
		}
		for _, m := range collect(d, c.text) {
			if m.Kind.ID != c.kind {
				t.Errorf("%q: %s at %d", c.text, m.Kind.ID, m.Start)
			}
		}
	}
	for _, x := range texts() {
		if !tested[x.kind.ID] && x.kind.ID != "private-key" {
			t.Errorf("%s has no example", x.kind.ID)
		}
	}
}

func TestNotTexts(t *testing.T) {
	d := detector(t)
	for _, text := range []string{
		"goroutine pools", "a goroutine 1 [running] is", "meet at a.b.c (noon)", "  at 10:30:15 at 5", "  at the office (room 3:4:5)", "  at com.foo.Bar", "Caused by: rain", "Caused by: a.b.Weather report",
		"Traceback (most recent call last): see below", "Stack trace: none", "Warning: low", "<b>Warning</b>: hot", `"file":"a.txt","line":3`, "user.rb:12 is fine", "thread 'main' is busy", "stack backtrace: none",
		"SQLSTATE is a code", "ORA-1", "[SQL: a language]", "LINE 1: hello", "syntax error at or near here",
		"-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", `"-----BEGIN PRIVATE KEY-----"`,
		"eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.", "eyJub25lIjoxfQaaaaaa.eyJzdWIiOiJhIn0.x", "xeyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.x",
	} {
		if got := collect(d, text); len(got) != 0 {
			t.Errorf("%q: found %v", text, describe(got, text))
		}
	}
}

// TestKeys: of a private key nothing is left between its lines BEGIN and END, however it is written; JSON stays JSON.
func TestKeys(t *testing.T) {
	d := detector(t)
	for _, template := range []string{"{{pem EC}}", "{{pem PKCS8}}", "{{pem OPENSSH}}", `{"key":"{{pem-line EC}}","next":1}`} {
		text := expand(t, template)
		got := string(d.Mask(nil, []byte(text)))
		begin, end := strings.Index(text, "KEY-----")+8, strings.Index(text, "-----END")
		if got[:begin] != text[:begin] || got[end:] != text[end:] {
			t.Errorf("%q is masked as %q", text, got)
		}
		if left := strings.Trim(strings.ReplaceAll(got[begin:end], `\n`, ""), "*/\n"); left != "" {
			t.Errorf("of %q is left %q", text, left)
		}
		ms := collect(d, text)
		if len(ms) != 1 || ms[0].Kind.ID != "private-key" || ms[0].End != end {
			t.Errorf("%q: %v", text, describe(ms, text))
		}
	}
}

// TestTokens: a provider's token is found by the secret rule that knows it by its beginning.
func TestTokens(t *testing.T) {
	d := detector(t)
	for rule, template := range map[string]string{
		"github-token": `{"t":"{{github ghp_}}"}`, "gitlab-token": "x {{gitlab glpat-}}\n", "aws-access-key-id": "id={{aws AKIA}}&x", "stripe-secret-key": `<i>sk_live_{{base62 24}}</i>`,
	} {
		text := expand(t, template)
		got := collect(d, text)
		if len(got) != 1 || got[0].Kind.ID != "token" || got[0].Rule != rule {
			t.Errorf("%s: %v", rule, describe(got, text))
			continue
		}
		masked := string(d.Mask(nil, []byte(text)))
		if strings.Trim(masked[got[0].Start:got[0].End], "*_-.") != "" {
			t.Errorf("%s is masked as %s", text, masked)
		}
	}
	if got := collect(detector(t, func(c *Config) { c.Except = []string{"token"} }), expand(t, "{{github ghp_}}")); len(got) != 0 {
		t.Errorf("found %v without tokens", got)
	}
}

func TestContacts(t *testing.T) {
	text := "a@x.org b@x.org A@X.ORG c@x.org, d@y.example. icon@2x.png pkg@1.2.0.Final 10@20 @z.org +44 20 7946 0958, +33 6 12 34 56 78, 212-555-0142 +1 2 +123"
	for limit, want := range map[int]string{0: "a@x.org b@x.org A@X.ORG c@x.org d@y.example 44 20 7946 0958 33 6 12 34 56 78 212-555-0142", 1: "b@x.org c@x.org d@y.example 33 6 12 34 56 78 212-555-0142", 3: "d@y.example", 4: ""} {
		d := detector(t, func(c *Config) { c.Contacts, c.Kinds = limit, []string{"contact"} })
		var have []string
		for _, m := range collect(d, text) {
			have = append(have, text[m.Start:m.End])
		}
		if strings.Join(have, " ") != want {
			t.Errorf("%d: %q, want %q", limit, strings.Join(have, " "), want)
		}
	}
	d := detector(t, func(c *Config) { c.Contacts = 0 })
	if got := string(d.Mask(nil, []byte(`{"m":"bob.jones@mail.example.org"}`))); got != `{"m":"***.*****@****.*******.***"}` {
		t.Error(got)
	}
}

func FuzzFind(f *testing.F) {
	for _, p := range parts(f) {
		f.Add([]byte(p))
	}
	d := detector(f, func(c *Config) { c.Contacts, c.Confidence = 0, detect.Low })
	f.Fuzz(func(t *testing.T, text []byte) {
		checkText(t, d, text)
	})
}
