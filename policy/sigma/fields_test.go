package sigma

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// eventOf makes an event of "name=value" parts: a field of ours where there is one of that name, else an attribute.
func eventOf(t *testing.T, text string) *signal.Event {
	t.Helper()
	e := &signal.Event{}
	for part := range strings.SplitSeq(text, " ; ") {
		name, value, ok := strings.Cut(part, "=")
		f, known := signal.Lookup(name)
		switch {
		case !ok:
		case !known:
			e.AddUnmapped(name, value)
		case f.Kind() == signal.KindString:
			e.SetString(f, value)
		case f.Kind() == signal.KindStrings:
			e.SetStrings(f, strings.Split(value, ","))
		case f.Kind() == signal.KindIP:
			e.SetIP(f, netip.MustParseAddr(value))
		case f.Kind() == signal.KindInt:
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			e.SetInt(f, n)
		}
	}
	return e
}

// TestMappedFields holds Sigma's names to where parsers put their values: into the field, or under their own name.
func TestMappedFields(t *testing.T) {
	const process = "metadata.log_product=windows ; metadata.log_category=process_creation ; "
	const network = "metadata.log_product=windows ; metadata.log_category=network_connection ; "
	const web = "metadata.log_category=webserver ; "
	const cloud = "metadata.log_product=aws ; metadata.log_name=cloudtrail ; "
	for _, c := range []struct {
		logsource, item string
		event           string
		want            bool
	}{
		{"product: windows, category: process_creation", `Image|endswith: '\cmd.exe'`, process + `process.file.path=C:\Windows\System32\cmd.exe`, true},
		{"product: windows, category: process_creation", `Image|endswith: '\cmd.exe'`, process + `process.file.path=C:\Windows\System32\CMD.EXE`, true},
		{"product: windows, category: process_creation", `Image|endswith: '\cmd.exe'`, process + `process.file.path=C:\Windows\xcmd.exe`, false},
		{"product: windows, category: process_creation", `Image|endswith: '\cmd.exe'`, process + `Image=C:\Windows\cmd.exe`, true},
		{"product: windows, category: process_creation", `Image|endswith: '\cmd.exe'`, process + `actor.process.file.path=C:\Windows\cmd.exe`, false},
		{"product: windows, category: process_creation", `CommandLine|contains: '\\\\host\\C$'`, process + `process.cmd_line=copy \\host\c$\x`, true},
		{"product: windows, category: process_creation", `CommandLine|contains|windash: ' -enc '`, process + `process.cmd_line=powershell /ENC aaaa`, true},
		{"product: windows, category: process_creation", `CommandLine: null`, process + `process.file.path=x`, true},
		{"product: windows, category: process_creation", `CommandLine: null`, process + `process.cmd_line=`, false},
		{"product: windows, category: process_creation", `CommandLine: ''`, process + `process.cmd_line=`, true},
		{"product: windows, category: process_creation", `ParentImage|fieldref: Image`, process + `process.file.path=C:\A ; process.parent_process.file.path=c:\a`, true},
		{"product: windows, category: process_creation", `User|contains: 'AUTHORI'`, process + `process.user.name=NT AUTHORITY\SYSTEM`, true},
		{"product: windows, category: process_creation", `Hashes|contains: 'SHA1=00'`, process + `Hashes=MD5=aa,SHA1=00bb`, true},
		{"product: windows, category: file_event", `Image|endswith: '\cmd.exe'`, "metadata.log_product=windows ; metadata.log_category=file_event ; actor.process.file.path=C:\\cmd.exe", true},
		{"product: windows, category: registry_event", `TargetObject|contains: '\Run\'`, `metadata.log_product=windows ; metadata.log_category=registry_set ; reg_key.path=HKLM\Software\Run\x`, true},
		{"product: windows, service: security", `EventID: 4625`, "metadata.log_product=windows ; metadata.log_name=security ; metadata.event_code=4625", true},
		{"product: windows, service: security", `EventID: [4624, 4625]`, "metadata.log_product=windows ; metadata.log_name=security ; EventID=4625", true},
		{"product: windows, service: security", `EventID: 4625`, "metadata.log_product=windows ; metadata.log_name=security ; metadata.event_code=462", false},
		{"product: windows, category: network_connection", `DestinationPort: 443`, network + "dst_endpoint.port=443", true},
		{"product: windows, category: network_connection", `DestinationPort: '443'`, network + "dst_endpoint.port=443", true},
		{"product: windows, category: network_connection", `DestinationPort: '0x1bb'`, network + "dst_endpoint.port=443", true},
		{"product: windows, category: network_connection", `DestinationPort: [80, 443]`, network + "DestinationPort=443", true},
		{"product: windows, category: network_connection", `DestinationPort|gte: 1024`, network + "dst_endpoint.port=443", false},
		{"product: windows, category: network_connection", `DestinationPort|lt: 1024`, network + "dst_endpoint.port=443", true},
		{"product: windows, category: network_connection", `DestinationIp|cidr: ['10.0.0.0/8', '::1/128']`, network + "dst_endpoint.ip=10.0.0.1", true},
		{"product: windows, category: network_connection", `DestinationIp|cidr: ['10.0.0.0/8', '::1/128']`, network + "DestinationIp=::1", true},
		{"product: windows, category: network_connection", `DestinationIp: '0:0:0:0:0:0:0:1'`, network + "dst_endpoint.ip=::1", true},
		{"product: windows, category: network_connection", `DestinationIp|startswith: '10.'`, network + "dst_endpoint.ip=10.0.0.1", true},
		{"category: webserver", `cs-method: GET`, web + "http_request.http_method=GET", true},
		{"category: webserver", `sc-status: [200, 500]`, web + "http_response.code=500", true},
		{"category: webserver", `cs-uri-query|contains: '/etc/passwd'`, web + "http_request.url.query_string=f=../../etc/passwd", true},
		{"product: aws, service: cloudtrail", `eventName: CreateUser`, cloud + "api.operation=CreateUser", true},
		{"product: aws, service: cloudtrail", `requestParameters.ipPermissions.items.cidr: '0.0.0.0/0'`, cloud + "requestParameters.ipPermissions.items[1].cidr=0.0.0.0/0", true},
	} {
		r := ruleOn(t, c.logsource, "sel:\n    "+c.item+"\ncondition: sel")
		if got := fires(r, eventOf(t, c.event)); got != c.want {
			t.Errorf("%s on %s: fires %v, want %v\n%s", c.item, c.event, got, c.want, match.String(r.Condition))
		}
	}
}

// A list of values is one atom, however it is written.
func TestValuesAreOneAtom(t *testing.T) {
	for _, detection := range []string{
		"sel:\n    F|contains: [a, b, c, d]\ncondition: sel",
		"sel:\n    - F|contains: a\n    - F|contains: [b, c]\n    - F: '*d*'\ncondition: sel",
		"a:\n    F|contains: [a, b]\nb:\n    F|contains: [c, d]\ncondition: 1 of them",
		"a:\n    F|contains: [a, b]\nb:\n    F|contains: [c, d]\ncondition:\n    - a\n    - b",
		"sel: {'F|contains|windash': [-a, b]}\ncondition: sel",
	} {
		atoms := 0
		match.Walk(ruleOf(t, detection).Condition, func(x match.Expr) bool {
			if a, ok := x.(*match.Atom); ok && a.On.Attr == "F" {
				atoms++
			}
			return true
		})
		if atoms != 1 {
			t.Errorf("%s: %d atoms", detection, atoms)
		}
	}
}

// Values that are compared with case and without stay apart.
func TestCaseStaysApart(t *testing.T) {
	r := ruleOf(t, "a:\n    F|cased: Ab\nb:\n    F: cd\ncondition: 1 of them")
	for value, want := range map[string]bool{"Ab": true, "ab": false, "AB": false, "CD": true} {
		if got := fires(r, attrs("F="+value)); got != want {
			t.Errorf("%s: fires %v", value, got)
		}
	}
}

func TestMetadata(t *testing.T) {
	rules, problems := compileText(t, Config{}, `title: A  Title
  of two lines
id: 929A690E-BEF0-4204-A928-EF5E620D6FCC
name: a_title
status: experimental
description: |
    It detects
    a thing.
references:
    - https://example.org/a
    - Internal research
author: Somebody
date: 2023-05-01
tags:
    - attack.persistence
    - attack.T1053.005
logsource:
    product: windows
    category: process_creation
    definition: 'Requirements: auditing'
detection:
    selection:
        Image: x   # kept
    condition: selection
fields: [Image, User]
falsepositives:
    - Administrators
    - Unlikely
level: critical
custom: [1, 2]
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := rules[0]
	if r.ID != "929a690e-bef0-4204-a928-ef5e620d6fcc" || r.Name != "a_title" || r.Title != "A Title of two lines" || r.Severity != signal.SeverityCritical ||
		r.Then != signal.Alert || r.Why != "It detects a thing." || strings.Join(r.Tags, " ") != "attack.persistence attack.t1053.005" ||
		strings.Join(r.References, " ") != "https://example.org/a" || r.Disabled || r.Line != 1 {
		t.Errorf("%+v", r)
	}
	if want := "status: experimental\nreference: Internal research\nauthor: Somebody\ndate: 2023-05-01\nfields: Image, User\nfalse positives: Administrators; Unlikely\nlogsource: product windows, category process_creation"; notesOf(r) != want {
		t.Errorf("notes:\n%s\nwant\n%s", notesOf(r), want)
	}
	if want := "logsource:\n    product: windows\n    category: process_creation\n    definition: 'Requirements: auditing'\ndetection:\n    selection:\n        Image: x   # kept\n    condition: selection"; r.When != want {
		t.Errorf("when:\n%s\nwant\n%s", r.When, want)
	}
	for level, want := range map[string]signal.Severity{"informational": signal.SeverityInfo, "low": signal.SeverityLow, "medium": signal.SeverityMedium, "high": signal.SeverityHigh} {
		rules, _ := compileText(t, Config{}, "title: T\nlevel: "+level+"\nlogsource: {product: x}\ndetection: {s: {A: 1}, condition: s}\n")
		if rules[0].Severity != want || rules[0].ID != "sigma-t" {
			t.Errorf("%s: %v, id %q", level, rules[0].Severity, rules[0].ID)
		}
	}
	for status, off := range map[string]bool{"stable": false, "test": false, "deprecated": true, "unsupported": true} {
		rules, _ := compileText(t, Config{}, "title: T\nstatus: "+status+"\nlogsource: {product: x}\ndetection: {s: {A: 1}, condition: s}\n")
		if rules[0].Disabled != off {
			t.Errorf("%s: disabled %v", status, rules[0].Disabled)
		}
	}
}

func TestDetect(t *testing.T) {
	for text, want := range map[string]bool{
		"title: T\ndetection:\n  x: 1\n": true, "title: T\r\ncorrelation:\r\n": true, "\ufeffdetection:\n": true, "filter:\n": true, "'detection': {}\n": true,
		"{title: T, detection: {s: {A: 1}}}": true, "{\n \"detection\": {}}": true,
		"id: x\non: http_activity\nwhen: \"detection: x\"\n": false, "- rule: x\n  desc: detection\n": false, "why: |\n  detection: x\n": false, "": false,
	} {
		if got := New(Config{}).Detect(policy.File{Name: "a.yml", Text: []byte(text)}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if New(Config{}).Detect(policy.File{Name: "a.rego", Text: []byte("detection:\n")}) {
		t.Error("a file that is not YAML is taken")
	}
}

// Files are bounded: aliases by what they stand for, and structure by what the parser would make of it.
func TestBounds(t *testing.T) {
	head := "title: T\nlogsource: {product: x}\n"
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		name, last := string(rune('b'+i)), string(rune('a'+i))
		bomb += name + ": &" + name + " [" + strings.Repeat("*"+last+", ", 9) + "*" + last + "]\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"aliases are followed":   {head + "x: &v [a, b]\ndetection: {s: {A: *v}, condition: s}\n", ""},
		"an alias of itself":     {head + "detection: &d {s: *d, condition: s}\n", "a value of s is a map"},
		"a bomb that is read":    {head + bomb + "detection: {s: {A: *i}, condition: s}\n", "is a list"},
		"a bomb that is not":     {head + bomb + "detection: {s: {A: 1}, condition: s}\n", ""},
		"selections by the bomb": {head + "m: &m {A: 1, B: 2, C: 3}\n" + "l: &l [" + strings.Repeat("*m, ", 1000) + "*m]\ndetection:\n" + numbered(200, "  s%d: *l\n") + "  condition: 1 of s*\n", "the file stands for more than 200000 values"},
		"brackets":               {strings.Repeat("[", 100_000), "YAML"},
		"many lines":             {strings.Repeat("a\n", 300_000), "more than 200000 lines"},
		"deep condition":         {head + "detection: {s: {A: 1}, condition: '" + strings.Repeat("(", 100) + "s" + strings.Repeat(")", 100) + "'}\n", "nested too deeply"},
		"many forms":             {head + "detection: {s: {A|contains|windash: [" + strings.Repeat("'-a-b', ", 20_000) + "x]}, condition: s}\n", "stand for more than 250000 texts"},
		"repeated values":        {head + "detection: {s: {A|contains: [" + strings.Repeat("x, ", 5_000) + "x]}, condition: 's" + strings.Repeat(" or s", 2000) + "'}\n", "stand for more than 500000 values"},
		"many of":                {head + "detection:\n" + numbered(300, "  s%d: {A: 1}\n") + "  condition: '1 of s*" + strings.Repeat(" or 1 of s*", 300) + "'\n", "names more than 20000 selections"},
		"many conditions":        {head + "detection: {s: {A: 1}, condition: [" + strings.Repeat("s, ", 200) + "s]}\n", "more than 100 conditions"},
		"long condition":         {head + "detection: {s: {A: 1}, condition: 's" + strings.Repeat(" or s", 5000) + "'}\n", "more than 5000 words"},
		"large value list":       {head + "detection: {s: {A|contains: [" + strings.Repeat("x, ", 50_000) + "x]}, condition: s}\n", ""},
		"long dashes":            {head + "detection: {s: {A|contains|windash: '" + strings.Repeat("-", 3000) + "'}, condition: s}\n", "windash"},
		"a control character":    {head + "x: \x01\n", "YAML"},
	} {
		rules, problems := compileText(t, Config{}, c.text)
		switch {
		case c.want == "" && (len(problems) > 0 || len(rules) != 1):
			t.Errorf("%s: %v", name, problems)
		case c.want != "" && (len(problems) == 0 || len(problems) > 3 || !strings.Contains(problems[0].Message, c.want)):
			t.Errorf("%s: %d problems, %.300v", name, len(problems), problems)
		}
	}
}

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Replace(format, "%d", strconv.Itoa(i), 1))
	}
	return b.String()
}
