package secret_test

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect/gitleaks"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/scantest"
	"github.com/testudo-sec/testudo/scan/secret"
)

func TestGitleaks(t *testing.T) {
	c, _, err := gitleaks.Parse([]byte(`
[[rules]]
id = "acme-token"
description = "Acme token"
regex = '''acme_[0-9a-z]{16}'''
keywords = ["acme_"]
[[rules]]
id = "anything-acme"
regex = '''acme_[a-z0-9]+'''
[[rules]]
id = "key-file"
path = '''\.p12$'''
`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.Compile()
	if err != nil {
		t.Fatal(err)
	}
	s := secret.NewGitleaks(set)
	token := "acme_" + "7f3kq09zxw41mnb2"
	scantest.Check(t, s, []scantest.Sample{{Path: "conf/app.ini", Data: "# x\ntoken = " + token + "\n", Hidden: []string{token}}})
	found := scantest.Findings(t, s, "conf/app.ini", []byte("# x\ntoken = "+token+"\nagain "+token))
	if len(found) != 2 || found[0].Rule != "acme-token" || found[0].Location.Line != 2 || found[0].Title != "Acme token" {
		t.Errorf("%+v", found)
	}
	file := scantest.Findings(t, s, "certs/site.p12", []byte("\x00\x01\x02"))
	if len(file) != 1 || file[0].Rule != "key-file" || strings.Contains(file[0].Location.Snippet, "\x01") {
		t.Errorf("%+v", file)
	}
	var _ scan.RuleLister = s
}
