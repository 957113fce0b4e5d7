package sigma

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// compileText compiles files that stand for themselves: "name.yml" to text.
func compileText(t testing.TB, cfg Config, texts ...string) ([]*policy.Rule, policy.Problems) {
	t.Helper()
	var files []policy.File
	for i, text := range texts {
		files = append(files, policy.File{Name: string(rune('a'+i)) + ".yml", Text: []byte(text)})
	}
	return New(cfg).Compile(files)
}

// ruleOf returns the one rule of a detection part, on the log source product: x.
func ruleOf(t testing.TB, detection string) *policy.Rule {
	t.Helper()
	return ruleOn(t, "product: x", detection)
}

func ruleOn(t testing.TB, logsource, detection string) *policy.Rule {
	t.Helper()
	detection = "    " + strings.ReplaceAll(strings.TrimSpace(detection), "\n", "\n    ")
	rules, problems := compileText(t, Config{}, "title: T\nid: test\nlogsource: {"+logsource+"}\ndetection:\n"+detection+"\n")
	if len(problems) > 0 || len(rules) != 1 {
		t.Fatalf("%s\n%d rules, %v", detection, len(rules), problems)
	}
	return rules[0]
}

// attrs returns an event of the log source product: x with attributes "name=value"; one without = is not there.
func attrs(list ...string) *signal.Event {
	e := &signal.Event{}
	e.SetString(signal.FieldMetadataLogProduct, "x")
	for _, a := range list {
		if name, value, ok := strings.Cut(a, "="); ok {
			e.AddUnmapped(name, value)
		}
	}
	return e
}

func fires(r *policy.Rule, e *signal.Event) bool { return match.Eval(r.Condition, e) == match.Yes }

// TestSpecification holds the semantics to a table written from the specification, version 2.1: section is the heading
// of the rules specification, or of the modifiers appendix behind "mod:". In detection F is the field; yes and no are
// events as attributes separated by " ; ".
func TestSpecification(t *testing.T) {
	one := func(item string) string { return "sel:\n    " + item + "\ncondition: sel" }
	for _, c := range []struct {
		section   string
		detection string
		yes, no   []string
	}{
		// Texts.
		{"General", one(`F: value`), []string{"F=value", "F=VALUE", "F=Value"}, []string{"F=values", "F=avalue", "F=", "G=value", ""}},
		{"General", one(`F: Straße`), []string{"F=straße", "F=STRAßE"}, []string{"F=strasse"}},
		{"General", one(`F: ÄÖÜ`), []string{"F=äöü", "F=ÄÖÜ"}, []string{"F=aou"}},
		{"General", one(`F: 'it''s "quoted"'`), []string{`F=it's "quoted"`}, []string{`F=it''s "quoted"`}},
		{"General", one(`F: "a\tb"`), []string{"F=a\tb"}, []string{`F=a\tb`}},
		// Wildcards.
		{"String Wildcard", one(`F: prog?.exe`), []string{"F=progA.exe", "F=PROGB.EXE", "F=progß.exe"}, []string{"F=prog.exe", "F=progAB.exe"}},
		{"String Wildcard", one(`F: antivirus_V*.exe`), []string{"F=antivirus_V1.exe", "F=antivirus_V21.2.1.exe", "F=antivirus_V.exe"}, []string{"F=antivirus_1.exe", "F=xantivirus_V1.exe"}},
		{"String Wildcard", one(`F: '*something'`), []string{"F=something", "F=a something"}, []string{"F=somethings"}},
		{"String Wildcard", one(`F: 'something*'`), []string{"F=something", "F=something b"}, []string{"F=a something"}},
		{"String Wildcard", one(`F: '*something*'`), []string{"F=a something b"}, []string{"F=some thing"}},
		{"String Wildcard", one(`F: '*'`), []string{"F=x", "F="}, []string{"G=x"}},
		{"String Wildcard", one(`F: '?*'`), []string{"F=x", "F=xy"}, []string{"F=", "G=x"}},
		{"String Wildcard", one(`F: '*a*b*'`), []string{"F=xaxbx", "F=ab"}, []string{"F=ba", "F=a"}},
		{"String Wildcard", one(`F: 'a**b'`), []string{"F=ab", "F=axxb"}, []string{"F=a"}},
		// Escapes.
		{"Escape Character", one(`F: 'C:\Windows\System32\whoami.exe'`), []string{`F=C:\Windows\System32\whoami.exe`}, []string{`F=C:WindowsSystem32whoami.exe`}},
		{"Escape Character", one(`F: 'a\b'`), []string{`F=a\b`}, []string{`F=a\\b`, `F=ab`}},
		{"Escape Character", one(`F: 'a\\b'`), []string{`F=a\b`}, []string{`F=a\\b`}},
		{"Escape Character", one(`F: 'a\*b'`), []string{`F=a*b`}, []string{`F=a\*b`, `F=axb`}},
		{"Escape Character", one(`F: 'a\?b'`), []string{`F=a?b`}, []string{`F=a\?b`, `F=axb`}},
		{"Escape Character", one(`F: 'a\\*b'`), []string{`F=a\b`, `F=a\xyb`}, []string{`F=a*b`, `F=axb`}},
		{"Escape Character", one(`F: 'a\\?b'`), []string{`F=a\xb`}, []string{`F=a?b`, `F=a\b`}},
		{"Escape Character", one(`F: 'a\\\*b'`), []string{`F=a\*b`}, []string{`F=a\\*b`, `F=a\xb`}},
		{"Escape Character", one(`F: 'a\\\b'`), []string{`F=a\\b`}, []string{`F=a\b`, `F=a\\\b`}},
		{"Escape Character", one(`F: 'a\\\\b'`), []string{`F=a\\b`}, []string{`F=a\b`, `F=a\\\\b`}},
		{"Escape Character", one(`F: 'a\\\\*'`), []string{`F=a\\`, `F=a\\x`}, []string{`F=a\x`}},
		{"Escape Character", one(`F: '*\cmd.exe'`), []string{`F=C:\Windows\cmd.exe`, `F=\CMD.EXE`}, []string{`F=cmd.exe`, `F=C:/cmd.exe`}},
		{"Escape Character", one(`F: 'C:\Temp\'`), []string{`F=C:\Temp\`}, []string{`F=C:\Temp`, `F=C:\Temp\\`}},
		{"Escape Character", one(`F: '\\\\\*\\IPC$'`), []string{`F=\\*\IPC$`}, []string{`F=\\host\IPC$`}},
		{"Escape Character", one(`F: '\\\\*\\IPC$'`), []string{`F=\\host\IPC$`}, []string{`F=\\*IPC$`, `F=\host\IPC$`}},
		{"Escape Character", one(`F: '%TEMP%\\*.exe'`), []string{`F=%temp%\a.exe`}, []string{`F=%temp%a.exe`}},
		{"Escape Character", one(`F|endswith: '\\example.exe'`), []string{`F=C:\example.exe`}, []string{`F=example.exe`, `F=C:\\xexample.exe`}},
		{"Escape Character", one(`F|contains: ' \\\\*\\*$'`), []string{`F=use \\host\c$`}, []string{`F=use \host\c$`}},
		{"Escape Character", one(`F|contains: '\\?\GLOBALROOT'`), []string{`F=x \a\GLOBALROOT`}, []string{`F=x \\GLOBALROOT`}},
		{"Escape Character", one(`F|contains: '\\\\\?\\GLOBALROOT'`), []string{`F=copy \\?\GLOBALROOT\Device`}, []string{`F=copy \?\GLOBALROOT`}},
		// Lists and maps.
		{"Lists", "sel:\n    - EVILSERVICE\n    - svchost.exe -n evil\ncondition: sel", []string{"A=the evilservice runs", "B=x ; C=svchost.exe -n EVIL"}, []string{"A=evil service", ""}},
		{"Lists", "sel:\n    - F|endswith: '\\\\example.exe'\n    - D|contains: Test executable\ncondition: sel", []string{`F=C:\example.exe`, "D=a test executable"}, []string{"F=example.exe ; D=test", ""}},
		{"Lists", "sel:\n    - F: a\n      G: b\n    - F: c\ncondition: sel", []string{"F=a ; G=b", "F=c"}, []string{"F=a", "G=b", "F=a ; G=c"}},
		{"Lists", "sel:\n    - word\n    - F: b\ncondition: sel", []string{"X=a word", "F=b"}, []string{"X=wor", "F=bb"}},
		{"Maps", "sel:\n    L: Security\n    F:\n        - 517\n        - 1102\ncondition: sel", []string{"L=security ; F=517", "L=Security ; F=1102"}, []string{"F=517", "L=Security", "L=Security ; F=51"}},
		{"Maps", "sel:\n    F: 4769\n    T: '0x40810000'\n    E: '0x17'\ncondition: sel", []string{"F=4769 ; T=0x40810000 ; E=0x17"}, []string{"F=4769 ; T=0x40810000", "F=4769 ; T=1082195968 ; E=0x17"}},
		{"Maps", one(`F: [a, b*, '*c']`), []string{"F=a", "F=bx", "F=xc"}, []string{"F=ax", "F=xb"}},
		{"Maps", one(`F: 10`), []string{"F=10"}, []string{"F=100", "F=1", "F=ten"}},
		{"Maps", one(`F: 0x10`), []string{"F=16", "F=0x10"}, []string{"F=10"}},
		{"Maps", one(`F: 010`), []string{"F=10", "F=010"}, []string{"F=8"}},
		{"Maps", one(`F: 1.5`), []string{"F=1.5", "F=1.50"}, []string{"F=1x5", "F=1.51", "F=15", ""}},
		{"Maps", one(`F: [1e3, a]`), []string{"F=1000", "F=1E3", "F=a"}, []string{"F=1001", "F=1e4"}},
		{"Maps", one(`F: '1.50'`), []string{"F=1.50"}, []string{"F=1.5"}},
		{"Special Field Values", one(`F: [a, null]`), []string{"F=a", "", "G=a"}, []string{"F=b", "F=", "F=null"}},
		{"Special Field Values", one(`F: ['', null]`), []string{"F=", "G=a"}, []string{"F=b"}},
		{"Special Field Values", one(`F|neq: [a, null]`), []string{"F=b", "F="}, []string{"F=a", ""}},
		{"Maps", one(`F: true`), []string{"F=true", "F=True"}, []string{"F=1", "F=false"}},
		{"Maps", one(`F: 2023-01-01`), []string{"F=2023-01-01"}, []string{"F=2023-01-01T00:00:00Z"}},
		{"Maps", one(`F: no`), []string{"F=no"}, []string{"F=false"}},
		{"Maps", one(`'F': [1, x, true]`), []string{"F=1", "F=X", "F=TRUE"}, []string{"F=2"}},
		{"Field Usage", one(`a.b.c: v`), []string{"a.b.c=v", "a.b[3].c=v", "a[0].b.c=x ; a[1].b.c=v"}, []string{"a.b=v", "c=v"}},
		// Special values.
		{"Special Field Values", one(`F: ''`), []string{"F="}, []string{"F=x", ""}},
		{"Special Field Values", one(`F: null`), []string{"", "G=x"}, []string{"F=", "F=x", "F=null"}},
		{"Special Field Values", one(`F:`), []string{""}, []string{"F="}},
		{"Special Field Values", one(`F: 'null'`), []string{"F=null"}, []string{""}},
		{"Special Field Values", "sel:\n    G: 1\nfilter:\n    F: null\ncondition: sel and not filter", []string{"G=1 ; F=x", "G=1 ; F="}, []string{"G=1", "F=x"}},
		{"Special Field Values", one(`F: ['', a]`), []string{"F=", "F=A"}, []string{"", "F=b"}},
		{"Field Existence", one(`F|exists: true`), []string{"F=x", "F="}, []string{"", "G=x"}},
		{"Field Existence", one(`F|exists: false`), []string{"", "G=x"}, []string{"F=x", "F="}},
		// Keywords.
		{"Keywords search", "sel:\n    - 'event::clear'\n    - 'event::drop'\ncondition: sel", []string{"A=x event::clear y", "A=Event::Drop"}, []string{"A=event:clear"}},
		{"Keywords search", "sel:\n    '|all':\n        - 'OabVirtualDirectory'\n        - ' -ExternalUrl '\ncondition: sel", []string{"A=Set-OabVirtualDirectory -ExternalUrl x", "A=oabvirtualdirectory ; B=x -externalurl y"}, []string{"A=OabVirtualDirectory", "A= -ExternalUrl "}},
		{"Keywords search", "sel: 'a*b'\ncondition: sel", []string{"A=xa...bx"}, []string{"A=ba"}},
		{"Keywords search", "sel: 'a\\*b'\ncondition: sel", []string{"A=xa*bx"}, []string{"A=xa.bx"}},
		{"Keywords search", "sel:\n    - 1102\ncondition: sel", []string{"A=id 1102"}, []string{"A=110"}},
		{"Keywords search", "sel:\n    '|re': '^ab+$'\ncondition: sel", []string{"A=x ; B=abb"}, []string{"A=xab", "A=AB"}},
		{"Keywords search", "sel:\n    '|cased':\n        - Ab\ncondition: sel", []string{"A=xAbx"}, []string{"A=ab"}},
		{"Keywords search", "sel:\n    '|startswith': ab\ncondition: sel", []string{"A=abx"}, []string{"A=xab"}},
		// Generic modifiers.
		{"mod:all", one(`F|contains|all: [-a, -b, -c]`), []string{"F=x -c -b -a"}, []string{"F=-a -b", "F=-c"}},
		{"mod:all", one(`F|all: ['*a*', '*b*']`), []string{"F=xbxa"}, []string{"F=a", "F=b"}},
		{"mod:startswith", one(`F|startswith: adm`), []string{"F=administrator", "F=ADM"}, []string{"F=xadm", "F=ad"}},
		{"mod:startswith", one(`F|startswith: 'a*c'`), []string{"F=abbcx"}, []string{"F=xabc", "F=ab"}},
		{"mod:endswith", one(`F|endswith: '\cmd.exe'`), []string{`F=C:\cmd.exe`, `F=\CMD.EXE`}, []string{`F=cmd.exe`, `F=\cmd.exe `}},
		{"mod:endswith", one(`F|endswith: ['\a.exe', '\b?.exe']`), []string{`F=C:\a.exe`, `F=C:\b1.exe`}, []string{`F=C:\b.exe`}},
		{"mod:contains", one(`F|contains: mid`), []string{"F=amidst", "F=MID", "F=xmid"}, []string{"F=mi d"}},
		{"mod:contains", one(`F|contains: ''`), []string{"F=", "F=x"}, []string{""}},
		{"mod:contains", one(`F|contains: 5`), []string{"F=1 5 9", "F=15"}, []string{"F=1"}},
		{"mod:contains", one(`F|contains: '\*'`), []string{"F=a*b"}, []string{"F=ab"}},
		{"mod:contains", one(`F|contains: '*x*'`), []string{"F=axb"}, []string{"F=ab"}},
		{"mod:cased", one(`F|cased: AbC`), []string{"F=AbC"}, []string{"F=abc", "F=ABC"}},
		{"mod:cased", one(`F|contains|cased: AbC`), []string{"F=xAbCx"}, []string{"F=xabcx"}},
		{"mod:cased", one(`F|cased|endswith: AbC`), []string{"F=xAbC"}, []string{"F=xabc"}},
		{"mod:cased", one(`F|cased: 'A*c'`), []string{"F=Axxc"}, []string{"F=axxc", "F=AxxC"}},
		{"mod:neq", one(`F|neq: a`), []string{"F=b", ""}, []string{"F=a", "F=A"}},
		{"mod:neq", one(`F|neq: [a, b]`), []string{"F=c"}, []string{"F=a", "F=b"}},
		{"mod:neq", one(`F|neq: 5`), []string{"F=6"}, []string{"F=5"}},
		{"mod:neq", one(`F|endswith|neq: .exe`), []string{"F=a.dll"}, []string{"F=a.exe"}},
		{"mod:neq", one(`F|re|neq: ^a`), []string{"F=b"}, []string{"F=a"}},
		// String modifiers.
		{"mod:windash", one(`F|contains|windash: ' -f '`), []string{"F=x -f y", "F=x /F y", "F=x –f y", "F=x —f y", "F=x ―f y"}, []string{"F=x f y", "F=x _f y"}},
		{"mod:windash", one(`F|windash|contains: ' /f'`), []string{"F=x -f", "F=x /f", "F=x —f"}, []string{"F=x f"}},
		{"mod:windash", one(`F|contains|windash: ' -a -b -c'`), []string{"F=x -A /b —c", "F= /a /b /c"}, []string{"F= -a -b c", "F= -a.-b -c"}},
		{"mod:windash", one(`F|windash: '-a/b-c*d'`), []string{"F=/a-b—cXd", "F=-a/b-cd"}, []string{"F=x-a/b-cd", "F=-a/b-cdx"}},
		{"mod:windash", one(`F|contains|all|windash: [' -a', ' -b']`), []string{"F=x /b /a"}, []string{"F=x /b"}},
		{"mod:windash", one(`F|endswith|windash|cased: ' -F'`), []string{"F=x /F"}, []string{"F=x /f"}},
		{"mod:re", one(`F|re: 'a[0-9]{2,3}b$'`), []string{"F=a12b", "F=xa123b"}, []string{"F=a1b", "F=A12b", "F=a12bx"}},
		{"mod:re", one(`F|re: '^(foo|bar)\.exe'`), []string{"F=foo.exe", "F=bar.exe x"}, []string{"F=fooxexe", "F=xfoo.exe"}},
		{"mod:re", one(`F|re: 'a.b'`), []string{"F=axb"}, []string{"F=a\nb"}},
		{"mod:re", one(`F|re: ['^a', '^b']`), []string{"F=ax", "F=bx"}, []string{"F=cx"}},
		{"mod:re", one(`F|re|all: ['^a', 'b$']`), []string{"F=a b"}, []string{"F=a", "F=b"}},
		{"mod:i", one(`F|re|i: '^abc$'`), []string{"F=ABC", "F=abc"}, []string{"F=abcd"}},
		{"mod:m", one(`F|re|m: '^abc$'`), []string{"F=x\nabc\ny"}, []string{"F=x abc"}},
		{"mod:s", one(`F|re|s: 'a.b'`), []string{"F=a\nb"}, []string{"F=ab"}},
		{"mod:i m s", one(`F|re|i|m|s: '^a.b$'`), []string{"F=x\nA\nB\ny"}, []string{"F=xab"}},
		{"mod:base64", one(`F|base64: 'ping'`), []string{"F=cGluZw=="}, []string{"F=ping", "F=cGluZw"}},
		{"mod:base64", one(`F|base64|contains: 'foobar'`), []string{"F=x Zm9vYmFy y"}, []string{"F=foobar"}},
		{"mod:base64offset", one(`F|base64offset|contains: '/bin/bash'`), []string{"F=L2Jpbi9iYXNo", "F=xx9iaW4vYmFzaxx", "F=xxvYmluL2Jhc2xx"}, []string{"F=/bin/bash"}},
		{"mod:base64offset", one(`F|base64offset|contains: 'foobar'`), []string{"F=Zm9vYmFy", "F=eGZvb2Jhcg==", "F=eHhmb29iYXI=", "F=eHh4Zm9vYmFyeHg="}, []string{"F=foobar"}},
		{"mod:wide", one(`F|wide|base64offset|contains: 'ping'`), []string{"F=cABpAG4AZw", "F=YQBwAGkAbgBnAA=="}, []string{"F=cGluZw=="}},
		{"mod:utf16le", one(`F|utf16le|base64: 'cmd'`), []string{"F=YwBtAGQA"}, []string{"F=AGMAbQBk"}},
		{"mod:utf16be", one(`F|utf16be|base64: 'cmd'`), []string{"F=AGMAbQBk"}, []string{"F=YwBtAGQA"}},
		{"mod:utf16", one(`F|utf16|base64: 'cmd'`), []string{"F=//5jAG0AZAA="}, []string{"F=YwBtAGQA"}},
		{"mod:wide", one(`F|wide|contains: 'ab'`), []string{"F=xa\x00b\x00y"}, []string{"F=ab"}},
		{"mod:windash", one(`F|windash|base64: ' -e'`), []string{"F=IC1l", "F=IC9l"}, []string{"F= -e"}},
		// Numbers.
		{"mod:gt", one(`F|gt: 5`), []string{"F=6", "F=5.5"}, []string{"F=5", "F=4", "F=x", ""}},
		{"mod:gte", one(`F|gte: 5`), []string{"F=5", "F=1e3"}, []string{"F=4.9"}},
		{"mod:lt", one(`F|lt: 5`), []string{"F=4", "F=-10"}, []string{"F=5"}},
		{"mod:lte", one(`F|lte: 2.5`), []string{"F=2.5"}, []string{"F=2.6"}},
		// Networks.
		{"mod:cidr", one(`F|cidr: 10.0.0.0/8`), []string{"F=10.1.2.3", "F=::ffff:10.0.0.1"}, []string{"F=11.0.0.1", "F=10.x", ""}},
		{"mod:cidr", one(`F|cidr: ['127.0.0.0/8', 'fe80::/10', '::1/128']`), []string{"F=127.0.0.1", "F=fe80::1", "F=::1"}, []string{"F=::2", "F=128.0.0.1"}},
		// Times.
		{"mod:minute", one(`F|minute: 5`), []string{"F=2023-01-02T03:05:00Z"}, []string{"F=2023-01-02T03:04:05Z"}},
		{"mod:hour", one(`F|hour: [3, 4]`), []string{"F=2023-01-02T03:05:00+02:00", "F=2023-01-02 04:00:00"}, []string{"F=2023-01-02T01:05:00Z", "F=x", ""}},
		{"mod:day", one(`F|day: 2`), []string{"F=2023-01-02"}, []string{"F=2023-02-01"}},
		{"mod:week", one(`F|week: 1`), []string{"F=2023-01-02"}, []string{"F=2023-01-09"}},
		{"mod:month", one(`F|month: 12`), []string{"F=2022-12-31T00:00:00.123Z"}, []string{"F=2023-01-01"}},
		{"mod:year", one(`F|year|gte: 2023`), []string{"F=2024-12-31", "F=1700000000", "F=1700000000000"}, []string{"F=2022-12-31", "F=1600000000"}},
		// Fields compared.
		{"mod:fieldref", one(`F|fieldref: G`), []string{"F=a ; G=A", "F= ; G="}, []string{"F=a ; G=b", "F=a", "G=a", ""}},
		{"mod:fieldref", one(`F|fieldref|endswith: G`), []string{"F=xab ; G=AB"}, []string{"F=abx ; G=ab"}},
		{"mod:fieldref", one(`F|startswith|fieldref: G`), []string{"F=abx ; G=ab"}, []string{"F=xab ; G=ab"}},
		{"mod:fieldref", one(`F|fieldref|contains|cased: G`), []string{"F=xabx ; G=ab"}, []string{"F=xabx ; G=AB"}},
		{"mod:fieldref", one(`F|fieldref|neq: G`), []string{"F=a ; G=b"}, []string{"F=a ; G=a"}},
		// Placeholders.
		{"Placeholders", one(`F: '%name%'`), []string{"F=%name%"}, []string{"F=name"}},
		{"Placeholders", one(`F|expand: 'a%b'`), []string{"F=a%b"}, []string{"F=ab"}},
		{"Placeholders", one(`F|expand: '\%a%b'`), []string{"F=%a%b"}, []string{`F=\%a%b`}},
		// Conditions.
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\nc:\n    C: 1\ncondition: a or b and c", []string{"A=1", "B=1 ; C=1"}, []string{"B=1", "C=1"}},
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\nc:\n    C: 1\ncondition: (a or b) and c", []string{"A=1 ; C=1", "B=1 ; C=1"}, []string{"A=1", "C=1"}},
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\ncondition: not a and b", []string{"B=1"}, []string{"A=1 ; B=1", ""}},
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\ncondition: not (a and b)", []string{"B=1", "A=1", ""}, []string{"A=1 ; B=1"}},
		{"Condition", "a:\n    A: 1\ncondition: not not a", []string{"A=1"}, []string{""}},
		{"Condition", "a1:\n    A: 1\na2:\n    B: 1\n_a3:\n    C: 1\ncondition: 1 of them", []string{"A=1", "B=1"}, []string{"C=1", ""}},
		{"Condition", "a1:\n    A: 1\na2:\n    B: 1\n_a3:\n    C: 1\ncondition: all of them", []string{"A=1 ; B=1"}, []string{"A=1", "B=1 ; C=1"}},
		{"Condition", "a1:\n    A: 1\na2:\n    B: 1\nb:\n    C: 1\ncondition: all of a* and not b", []string{"A=1 ; B=1"}, []string{"A=1", "A=1 ; B=1 ; C=1"}},
		{"Condition", "sel_x:\n    A: 1\nsel_y:\n    B: 1\nf_1:\n    C: 1\nf_2:\n    D: 1\ncondition: 1 of sel_* and not 1 of f_*", []string{"A=1", "B=1"}, []string{"A=1 ; C=1", "B=1 ; D=1", "C=1"}},
		{"Condition", "a_x_1:\n    A: 1\na_y_1:\n    B: 1\na_x_2:\n    C: 1\ncondition: any of a_*_1", []string{"A=1", "B=1"}, []string{"C=1"}},
		{"Condition", "_a:\n    A: 1\n_b:\n    B: 1\ncondition: 1 of _*", []string{"A=1"}, []string{""}},
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\ncondition:\n    - a\n    - b", []string{"A=1", "B=1"}, []string{""}},
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\ncondition: NOT a AND b", []string{"B=1"}, []string{"A=1 ; B=1"}},
		{"Condition", "a:\n    A: 1\nb:\n    B: 1\ncondition: |\n    a\n    and b", []string{"A=1 ; B=1"}, []string{"A=1"}},
		{"Condition", "sel:\n    A: 1\nfilter:\n    B: [x, y]\n    C: z\ncondition: sel and not filter", []string{"A=1", "A=1 ; B=x", "A=1 ; B=x ; C=y"}, []string{"A=1 ; B=x ; C=z"}},
	} {
		r := ruleOf(t, c.detection)
		check := func(events []string, want bool) {
			for _, text := range events {
				if got := fires(r, attrs(strings.Split(text, " ; ")...)); got != want {
					t.Errorf("%s:\n%s\non %q: fires %v, want %v\n%s", c.section, c.detection, text, got, want, match.String(r.Condition))
				}
			}
		}
		check(c.yes, true)
		check(c.no, false)
		if fires(r, &signal.Event{}) {
			t.Errorf("%s: fires on an event of another log source", c.section)
		}
	}
}

// A rule of another log source never fires: held by TestSpecification above for product; here for each part.
func TestLogSource(t *testing.T) {
	event := func(class signal.Class, activity uint8, list ...string) *signal.Event {
		e := &signal.Event{Class: class, Activity: activity}
		for _, a := range list {
			name, value, _ := strings.Cut(a, "=")
			f, _ := signal.Lookup("metadata.log_" + name)
			if name == "os" {
				f = signal.FieldDeviceOSType
			}
			e.SetString(f, value)
		}
		e.AddUnmapped("F", "x")
		return e
	}
	for _, c := range []struct {
		logsource string
		yes, no   []*signal.Event
	}{
		{"product: windows", []*signal.Event{event(0, 0, "product=windows"), event(signal.ClassProcessActivity, 1, "os=windows")}, []*signal.Event{event(0, 0, "product=linux"), event(0, 0)}},
		{"product: windows, service: security", []*signal.Event{event(0, 0, "product=windows", "name=security")}, []*signal.Event{event(0, 0, "product=windows"), event(0, 0, "name=security")}},
		{"product: Windows, category: process_creation, definition: x", []*signal.Event{
			event(0, 0, "product=windows", "category=process_creation", "name=sysmon"), event(signal.ClassProcessActivity, 1, "os=windows")},
			[]*signal.Event{event(signal.ClassProcessActivity, 2, "os=windows"), event(signal.ClassProcessActivity, 1, "os=linux"), event(0, 0, "product=windows", "category=process_access")}},
		{"category: registry_event", []*signal.Event{event(0, 0, "category=registry_set"), event(0, 0, "category=registry_add"), event(0, 0, "category=registry_event")}, []*signal.Event{event(0, 0, "category=file_event")}},
		{"category: registry_set", []*signal.Event{event(0, 0, "category=registry_set")}, []*signal.Event{event(0, 0, "category=registry_add")}},
		{"category: webserver", []*signal.Event{event(0, 0, "category=webserver"), event(signal.ClassHTTPActivity, 3)}, []*signal.Event{event(signal.ClassHTTPActivity, 3, "category=proxy")}},
		{"product: aws, service: cloudtrail", []*signal.Event{event(0, 0, "product=aws", "name=cloudtrail"), event(signal.ClassAPIActivity, 1, "product=aws")}, []*signal.Event{event(signal.ClassAPIActivity, 1, "product=gcp")}},
		{"product: acme, service: Anvil.Drop, category: gravity", []*signal.Event{event(0, 0, "product=acme", "name=anvil.drop", "category=gravity")}, []*signal.Event{event(0, 0, "product=acme", "name=anvil.drop")}},
	} {
		r := ruleOn(t, c.logsource, "sel:\n    F: x\ncondition: sel")
		for i, e := range c.yes {
			e.Plane = signal.PlaneEdge
			if !fires(r, e) {
				t.Errorf("%s: event %d of yes is not of the log source: %s", c.logsource, i, match.String(r.Condition))
			}
		}
		for i, e := range c.no {
			if fires(r, e) {
				t.Errorf("%s: event %d of no is of the log source", c.logsource, i)
			}
		}
	}
}
