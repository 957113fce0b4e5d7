package personal

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
)

// examples are numbers as their issuers, standards and encyclopaedias publish them, each with the word before it that it takes, if any.
var examples = []struct {
	kind, word, number string
}{
	{"card", "", "4111 1111 1111 1111"}, {"card", "", "4111-1111-1111-1111"}, {"card", "", "4111111111111111"}, {"card", "", "378282246310005"}, {"card", "", "3782 822463 10005"},
	{"card", "", "6011111111111117"}, {"card", "", "5555555555554444"}, {"card", "", "2223003122003222"}, {"card", "", "3530111333300000"}, {"card", "cardNumber", "30569309025904"},
	{"card", "", "6200000000000005"},
	{"iban", "", "DE89370400440532013000"}, {"iban", "", "DE89 3704 0044 0532 0130 00"}, {"iban", "", "GB29NWBK60161331926819"}, {"iban", "", "FR1420041010050500013M02606"},
	{"iban", "", "NL91ABNA0417164300"}, {"iban", "", "BE68 5390 0754 7034"}, {"iban", "", "CH9300762011623852957"}, {"iban", "", "ES9121000418450200051332"},
	{"iban", "", "IT60X0542811101000000123456"}, {"iban", "", "NO9386011117947"}, {"iban", "", "SE4550000000058398257466"}, {"iban", "", "PL61109010140000071219812874"},
	{"iban", "", "MT84MALT011000012345MTLCAST001S"}, {"iban", "", "SA0380000000608010167519"}, {"iban", "", "BR1800360305000010009795493C1"},
	{"us-ssn", "ssn", "536-22-1234"}, {"us-ssn", "social_security_number", "536221234"}, {"us-itin", "itin", "912-90-3456"},
	{"gb-nino", "", "AB 12 34 56 C"}, {"gb-nino", "niNumber", "AB123456C"}, {"gb-nhs", "NHS number", "943 476 5919"}, {"gb-nhs", "nhs", "9434765919"},
	{"de-tax-id", "steuerId", "86095742719"}, {"de-tax-id", "Steuer-ID", "47 036 892 816"}, {"de-tax-id", "idnr", "65929970489"}, {"de-pension", "", "15070649C103"},
	{"fr-nir", "", "1 84 12 76 451 089 46"}, {"fr-nir", "", "184127645108946"},
	{"es-dni", "", "12345678Z"}, {"es-dni", "", "12345678-Z"}, {"es-nie", "", "X1234567L"}, {"es-nie", "", "X-1234567-L"},
	{"it-fiscal-code", "", "RSSMRA85T10A562S"}, {"it-fiscal-code", "", "MRTMTT25D09F205Z"},
	{"nl-bsn", "bsn", "111222333"}, {"nl-bsn", "burgerservicenummer", "123456782"},
	{"be-national-number", "", "85.07.30-033.28"}, {"be-national-number", "niss", "17073003384"},
	{"pl-pesel", "pesel", "44051401359"}, {"se-personal-number", "", "811228-9874"}, {"se-personal-number", "", "670919-9530"}, {"se-personal-number", "personnummer", "198112289874"},
	{"fi-hetu", "", "131052-308T"}, {"no-national-number", "", "151086 95088"}, {"no-national-number", "fnr", "15108695088"}, {"dk-cpr", "cpr", "211062-5629"},
	{"ch-ahv", "", "756.9217.0769.85"}, {"ch-ahv", "", "7569217076985"}, {"tr-identity", "tckn", "17291716060"}, {"cz-birth-number", "", "710319/2745"},
	{"ro-cnp", "cnp", "1630615123457"}, {"ie-pps", "ppsn", "6433435F"}, {"ie-pps", "pps", "6433435OA"}, {"hr-oib", "oib", "33392005961"},
	{"br-cpf", "", "390.533.447-05"}, {"br-cpf", "cpf", "39053344705"}, {"br-cnpj", "", "16.727.230/0001-97"}, {"br-cnpj", "cnpj", "16727230000197"},
	{"mx-curp", "", "BOXW310820HNERXN09"}, {"ca-sin", "sin", "123-456-782"}, {"ca-sin", "socialInsuranceNumber", "130692544"},
	{"cn-resident-id", "", "11010519491231002X"}, {"cn-resident-id", "", "440524188001010014"}, {"kr-rrn", "", "971013-9019902"}, {"kr-rrn", "주민등록번호", "201113-3456789"},
	{"jp-my-number", "マイナンバー", "1234 5678 9018"}, {"jp-my-number", "myNumber", "123456789018"}, {"in-aadhaar", "aadhaar", "2341 2341 2346"}, {"in-aadhaar", "Aadhaar number", "234123412346"},
	{"in-pan", "pan", "ACUPA7085R"}, {"au-tfn", "tfn", "123 456 782"}, {"au-medicare", "medicare", "2123 45670 1"}, {"za-id", "idNumber", "8001015009087"},
	{"sg-nric", "", "S1234567D"}, {"tw-id", "nationalId", "A123456789"}, {"th-id", "", "1-1017-00230-70-8"},
}

func detector(t testing.TB, change ...func(*Config)) *Detector {
	t.Helper()
	c := Default()
	for _, f := range change {
		f(&c)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func collect(d *Detector, text string) []Match {
	var out []Match
	d.Find([]byte(text), func(m Match) bool {
		out = append(out, m)
		return true
	})
	return out
}

// notations are ways a number stands in a body; %s is the word, %s the number.
var notations = []string{`{"id":7,"%s":"%s"}`, "%s: %s\n", "<td>%s</td><td>%s</td>", "%s=%s&next=1", "the %s %s."}

func TestNumbers(t *testing.T) {
	d := detector(t)
	tested := map[string]bool{}
	for _, e := range examples {
		tested[e.kind] = true
		word := e.word
		if word == "" {
			word = "value"
		}
		for _, n := range notations {
			text := fmt.Sprintf(n, word, e.number)
			got := collect(d, text)
			if len(got) != 1 || got[0].Kind.ID != e.kind || text[got[0].Start:got[0].End] != e.number {
				t.Errorf("%q: want one %s, have %v", text, e.kind, describe(got, text))
			}
		}
		if e.word == "" {
			continue
		}
		if got := collect(d, `{"value":"`+e.number+`"}`); slices.ContainsFunc(got, func(m Match) bool { return m.Kind.ID == e.kind }) {
			t.Errorf("%s %s is found without %q", e.kind, e.number, e.word)
		}
		// The word is another member's.
		if got := collect(d, `{"`+e.word+`":null,"value":"`+e.number+`"}`); slices.ContainsFunc(got, func(m Match) bool { return m.Kind.ID == e.kind }) {
			t.Errorf("%s %s is found beside another's %q", e.kind, e.number, e.word)
		}
	}
	for _, n := range numbers() {
		if !tested[n.kind.ID] {
			t.Errorf("%s has no example", n.kind.ID)
		}
	}
}

func describe(ms []Match, text string) []string {
	var out []string
	for _, m := range ms {
		out = append(out, fmt.Sprintf("%s %s %q %s %s", m.Kind.ID, m.Confidence, text[m.Start:m.End], m.Word, m.Rule))
	}
	return out
}

// TestNearMisses: a number of which one digit is another is no longer of its kind. Whose check digit cannot tell all of them is listed, with the
// share of ten thousand that slips through.
func TestNearMisses(t *testing.T) {
	slips := map[string]int{
		"us-ssn": 10000, "us-itin": 10000, "gb-nino": 10000, "in-pan": 10000, "dk-cpr": 10000, // no check digit
		"kr-rrn":  10000,                            // those since 2020 have none, beside a word
		"mx-curp": 1200,                             // even weights by ten
		"tw-id":   900, "th-id": 800, "ro-cnp": 400, // 10 and 11 fold to a digit that others have
		"jp-my-number": 1000, "br-cpf": 600, "br-cnpj": 600, "za-id": 300,
		"be-national-number": 300,  // with and without the 2 of who was born since 2000
		"au-medicare":        1100, // the issue is not checked
		"ie-pps":             600,
		"se-personal-number": 100, // the century is not checked
	}
	d := detector(t)
	tried, slipped := map[string]int{}, map[string]int{}
	for _, e := range examples {
		word := e.word
		if word == "" {
			word = "value"
		}
		for i := range len(e.number) {
			if !isDigit(e.number[i]) {
				continue
			}
			for c := byte('0'); c <= '9'; c++ {
				if c == e.number[i] {
					continue
				}
				text := fmt.Sprintf(`{"%s":"%s"}`, word, e.number[:i]+string(c)+e.number[i+1:])
				tried[e.kind]++
				for _, m := range collect(d, text) {
					if m.Kind.ID == e.kind {
						slipped[e.kind]++
					}
				}
			}
		}
	}
	for kind, n := range tried {
		if share := slipped[kind] * 10000 / n; share > slips[kind] {
			t.Errorf("%s: of %d numbers with a wrong digit %d pass", kind, n, slipped[kind])
		}
	}
}

func TestNotNumbers(t *testing.T) {
	d := detector(t)
	for _, text := range []string{
		`{"ts":1700000000000,"ns":1700000000000000000}`,
		`{"id":"550e8400-e29b-41d4-a716-446655440000"}`,
		`{"lat":4.111111111111111,"lon":-0.4111111111111111}`,
		`{"trace_id":4111111111111111}`, // beside the name of another number: low
		`sha1 4111111111111111a`, `a4111111111111111`, `x-4111111111111111`, `4111111111111111-2`, `4111111111111111.jpg`,
		`4111 1111 1111 1111 2222`, `1234 4111 1111 1111 1111`, `$4111111111111111`, `4111  1111 1111 1111`, "4111\n1111 1111 1111",
		`41111111111111111111111`, `user@4111111111111111@x`, `4111_1111_1111_1111`,
		`XX29NWBK60161331926819`, `gb29nwbk60161331926819`, `DE89 37040 044 0532 0130 00`, `DE8937040044053201300`,
		`{"ssn":"000-22-1234"}`, `{"ssn":"666-22-1234"}`, `{"ssn":"936-00-1234"}`, `{"ssn":"536-22-0000"}`, `{"session":"536-22-1234"}`, `{"cost":"536-22-1234"}`,
		`{"using":"123-456-782"}`, `{"single":"123456782"}`, `{"expand":"ACUPA7085R"}`,
	} {
		if got := collect(d, text); len(got) != 0 {
			t.Errorf("%q: found %v", text, describe(got, text))
		}
	}
}

// TestEscapes: digits, letters and spaces are read as they are written in JSON, HTML and forms, and the mask keeps the notation.
func TestEscapes(t *testing.T) {
	d := detector(t)
	for _, c := range []struct{ text, want string }{
		{`{"n":"\u0034111111111111111"}`, `{"n":"\u002a***********1111"}`},
		{`{"n":"4111\u00201111\u00201111\u00201111"}`, `{"n":"****\u0020****\u0020****\u00201111"}`},
		{`{"n":"\u0034\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031\u0031"}`,
			`{"n":"\u002a\u002a\u002a\u002a\u002a\u002a\u002a\u002a\u002a\u002a\u002a\u002a\u0031\u0031\u0031\u0031"}`},
		{`{"n":"line\n4111111111111111\nnext"}`, `{"n":"line\n************1111\nnext"}`},
		{`{"n":"line\nGB29NWBK60161331926819\t"}`, `{"n":"line\n**********************\t"}`},
		{`{"n":"\u0022RSSMRA85T10A562S\u0022"}`, `{"n":"\u0022****************\u0022"}`},
		{`<b>4111&nbsp;1111&nbsp;1111&nbsp;1111</b>`, `<b>****&nbsp;****&nbsp;****&nbsp;1111</b>`},
		{`<b>&#52;111&#32;1111&#x20;1111&#160;1111</b>`, `<b>&#42;***&#32;****&#x20;****&#160;1111</b>`},
		{`<b>&#x34;111111111111111</b>`, `<b>&#x2a;***********1111</b>`},
		{"4111\u00a01111\u00a01111\u00a01111", "****\u00a0****\u00a0****\u00a01111"},
		{`n=%34111%201111%201111%201111&x`, `n=%2A***%20****%20****%201111&x`},
		{`n=%204111111111111111%0A`, `n=%20************1111%0A`},
		{`n=4111+1111+1111+1111`, `n=4111+1111+1111+1111`}, // a plus is a plus: in a form's text it may stand for anything
		{`{"card":4111111111111111}`, `{"card":9999999999991111}`},
		{`[4111111111111111, 5555555555554444]`, `[9999999999991111, 9999999999994444]`},
		{`C:\Users\4111111111111111`, `C:\Users\************1111`},
	} {
		if got := string(d.Mask(nil, []byte(c.text))); got != c.want {
			t.Errorf("%s\nis masked as %s\nwant         %s", c.text, got, c.want)
		}
	}
}

// TestWords: which words are said of a number.
func TestWords(t *testing.T) {
	d := detector(t)
	for _, c := range []struct {
		text string
		want bool
	}{
		{`{"ssn":"536-22-1234"}`, true}, {`{"user":{"SSN" : "536-22-1234"}}`, true}, {`{"ssn":{"value":"536-22-1234"}}`, true}, {`{"userSsn":536221234}`, true},
		{`<th>SSN</th>\n<td>536-22-1234</td>`, true}, {`his social security number is 536-22-1234`, true}, {`ssn=536-22-1234`, true}, {`a=1&ssn=536221234&b=2`, true},
		{`{"ssn":null,"order":"536-22-1234"}`, false}, {"ssn: none\norder: 536-22-1234", false}, {`ssn=&order=536-22-1234`, false}, {`{"ssnx":"536-22-1234"}`, false},
		{`{"ssn":"` + strings.Repeat("x", 100) + ` 536-22-1234"}`, false},
	} {
		if got := len(collect(d, c.text)) == 1; got != c.want {
			t.Errorf("%s: found is %v", c.text, got)
		}
	}
}

func TestConfidence(t *testing.T) {
	text := `{"trace_id":"4111111111111111","value":"4111111111111111","card":"4111111111111111"}`
	for least, want := range map[detect.Confidence]int{detect.Low: 3, detect.Medium: 2, detect.High: 1} {
		if got := collect(detector(t, func(c *Config) { c.Confidence = least }), text); len(got) != want {
			t.Errorf("%s finds %v", least, describe(got, text))
		}
	}
	got := collect(detector(t), `{"card":"4111111111111111"}`)
	if len(got) != 1 || got[0].Word != "card" || got[0].Proof == "" || got[0].Kind.Group != Card {
		t.Errorf("%+v", got)
	}
}

func TestConfig(t *testing.T) {
	text := "4111111111111111 DE89370400440532013000 RSSMRA85T10A562S"
	for _, c := range []struct {
		kinds, except []string
		want          string
	}{
		{nil, nil, "card iban it-fiscal-code"},
		{[]string{"card"}, nil, "card"},
		{[]string{"bank", "national"}, nil, "iban it-fiscal-code"},
		{nil, []string{"national"}, "card iban"},
		{[]string{"secret", "trace", "contact"}, nil, ""},
	} {
		var have []string
		for _, m := range collect(detector(t, func(x *Config) { x.Kinds, x.Except = c.kinds, c.except }), text) {
			have = append(have, m.Kind.ID)
		}
		if strings.Join(have, " ") != c.want {
			t.Errorf("%v except %v finds %v", c.kinds, c.except, have)
		}
	}
	for _, bad := range []Config{{Kinds: []string{"cards"}, Confidence: detect.Low}, {KeepLast: 5, Confidence: detect.Low}, {Contacts: -1, Confidence: detect.Low}, {}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	for _, last := range []int{0, 2} {
		got := string(detector(t, func(c *Config) { c.KeepLast = last }).Mask(nil, []byte("4111111111111111")))
		if n := len(strings.TrimLeft(got, "9")); n != last || len(got) != 16 {
			t.Errorf("keep %d: %s", last, got)
		}
	}
}
