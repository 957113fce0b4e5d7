package personal

import "github.com/testudo-sec/testudo/detect"

// A numbered is a kind that is written in digits, and how it is told from any other number.
type numbered struct {
	kind  *Kind
	forms []form
	check func(c []byte) bool // of the characters without separators
	words []string            // that stand before it, see beside
	// other are words of numbers that look alike: beside one of them, and none of words, confidence is low.
	other []string
}

// A form is one way to write a number: d is a digit, A an upper-case letter, X either; all else is what separates the parts.
type form struct {
	shape string
	// alone is the confidence without any word before it; 0 where it takes a word.
	alone detect.Confidence
}

// withWord are forms that count beside a word only.
func withWord(shapes ...string) []form {
	var out []form
	for _, s := range shapes {
		out = append(out, form{shape: s})
	}
	return out
}

// forms are such that count at that confidence by themselves.
func forms(alone detect.Confidence, shapes ...string) []form {
	out := withWord(shapes...)
	for i := range out {
		out[i].alone = alone
	}
	return out
}

func join(all ...[]form) []form {
	var out []form
	for _, f := range all {
		out = append(out, f...)
	}
	return out
}

// numbers are the kinds that are written in digits, IBAN excepted, which has a form for every country. Which of two kinds a number is that fits both: the one
// of more confidence, then the earlier.
func numbers() []numbered {
	const low, medium, high = detect.Low, detect.Medium, detect.High
	national := func(id, name, proof string) *Kind { return &Kind{ID: id, Name: name, Group: National, Proof: proof} }
	return []numbered{
		{kind: &Kind{ID: "card", Name: "payment card number", Group: Card, Proof: "Luhn, issuer's range and length"},
			forms: join(forms(high, "dddd dddd dddd dddd", "dddd-dddd-dddd-dddd", "dddd dddddd ddddd", "dddd-dddddd-ddddd", "dddd dddddd dddd", "dddd-dddddd-dddd", "dddd dddd dddd dddd ddd", "dddd-dddd-dddd-dddd-ddd"),
				forms(medium, "ddddddddddddddd", "dddddddddddddddd"),
				forms(low, "ddddddddddddd", "dddddddddddddd", "ddddddddddddddddd", "dddddddddddddddddd", "ddddddddddddddddddd")),
			check: cardNumber, words: cardWords(), other: otherWords()},
		{kind: &Kind{ID: "iban", Name: "IBAN", Group: Bank, Proof: "country's length, modulus 97"}, check: mod97},

		{kind: national("us-ssn", "US Social Security number", "form, area, group and serial that are given, a word before it"),
			forms: withWord("ddd-dd-dddd", "ddd dd dddd", "ddddddddd"), check: usSSN,
			words: []string{"ssn", "ssns", "social security", "socialsecurity", "social security number", "soc sec", "ss number", "tax id", "taxid", "tin", "taxpayer"}},
		{kind: national("us-itin", "US taxpayer number (ITIN)", "form, groups that are given, a word before it"),
			forms: withWord("ddd-dd-dddd", "ddd dd dddd", "ddddddddd"), check: usITIN, words: []string{"itin", "taxpayer", "tax id", "taxid", "tin", "ssn"}},
		{kind: national("gb-nino", "UK National Insurance number", "form, prefixes that are given"),
			forms: join(forms(medium, "AA dd dd dd A"), withWord("AAddddddA", "AA dddddd A", "AA-dd-dd-dd-A")), check: ukNINO,
			words: []string{"nino", "ni number", "ninumber", "national insurance", "nationalinsurance", "nationalinsurancenumber", "insurance number"}},
		{kind: national("gb-nhs", "UK NHS number", "modulus 11, a word before it"),
			forms: withWord("ddd ddd dddd", "ddd-ddd-dddd", "dddddddddd"), check: ukNHS, words: []string{"nhs", "nhs number", "nhsnumber", "nhs no"}},
		{kind: national("de-tax-id", "German tax identification number", "digits as they repeat, MOD 11,10, a word before it"),
			forms: withWord("ddddddddddd", "dd ddd ddd ddd"), check: deTax,
			words: []string{"steuer", "steuerid", "steuer id", "steueridentifikationsnummer", "steuerliche", "identifikationsnummer", "idnr", "id nr", "tin", "tax", "tax id", "taxid", "taxnumber"}},
		{kind: national("de-pension", "German pension insurance number", "birthday, check digit"),
			forms: forms(medium, "ddddddddAddd", "dd dddddd A ddd"), check: dePension,
			words: []string{"rentenversicherung", "rentenversicherungsnummer", "sozialversicherung", "sozialversicherungsnummer", "versicherungsnummer", "rvnr", "svnr", "sv nummer"}},
		{kind: national("fr-nir", "French social security number", "sex, month, department, modulus 97"),
			forms: join(forms(high, "d dd dd dd ddd ddd dd", "d dd dd dA ddd ddd dd"), forms(medium, "ddddddddddddddd", "ddddddAdddddddd", "ddddddddddddd dd", "ddddddAdddddd dd")), check: frNIR,
			words: []string{"nir", "insee", "securite sociale", "sécurité sociale", "secu", "numero de securite sociale", "numsecu", "nss"}},
		{kind: national("es-dni", "Spanish DNI", "letter by modulus 23"),
			forms: forms(medium, "dddddddd-A", "dd.ddd.ddd-A", "ddddddddA"), check: esDNI, words: []string{"dni", "nif", "documento", "documento nacional", "identidad"}, other: otherWords()},
		{kind: national("es-nie", "Spanish NIE", "letter by modulus 23"),
			forms: forms(medium, "A-ddddddd-A", "AdddddddA", "A-dddddddA", "Addddddd-A"), check: esNIE, words: []string{"nie", "nif", "extranjero", "identidad"}, other: otherWords()},
		{kind: national("it-fiscal-code", "Italian codice fiscale", "birthday, check letter"),
			forms: forms(high, "AAAAAAddAddAdddA"), check: itFiscal, words: []string{"codice fiscale", "codicefiscale", "cf", "fiscale"}},
		{kind: national("nl-bsn", "Dutch BSN", "proof by eleven, a word before it"),
			forms: withWord("ddddddddd", "dddd.dd.ddd", "dddd dd ddd"), check: nlBSN, words: []string{"bsn", "burgerservicenummer", "burger service nummer", "sofi", "sofinummer"}},
		{kind: national("be-national-number", "Belgian national number", "birthday, modulus 97"),
			forms: join(forms(high, "dd.dd.dd-ddd.dd"), forms(medium, "dddddd-ddd-dd", "dddddd-ddd.dd", "dd.dd.dd ddd.dd"), withWord("ddddddddddd", "dddddd ddd dd")), check: beNational,
			words: []string{"rijksregister", "rijksregisternummer", "registre national", "national number", "nationalnumber", "niss", "insz", "nrn", "rrn"}},
		{kind: national("pl-pesel", "Polish PESEL", "birthday, check digit, a word before it"),
			forms: withWord("ddddddddddd"), check: plPESEL, words: []string{"pesel"}},
		{kind: national("se-personal-number", "Swedish personal number", "birthday, Luhn"),
			forms: join(forms(medium, "dddddd-dddd", "dddddddd-dddd", "dddddd+dddd"), withWord("dddddddddddd", "dddddddddd")), check: sePersonal,
			words: []string{"personnummer", "personnr", "person nr", "pnr", "samordningsnummer", "ssn", "personal number", "personalnumber"}, other: append(otherWords(), "cpr", "orgnr", "organisationsnummer", "organization", "org")},
		{kind: national("fi-hetu", "Finnish personal identity code", "birthday, modulus 31"),
			forms: forms(medium, "dddddd-dddX", "dddddd+dddX", "ddddddAdddX"), check: fiHETU, words: []string{"hetu", "henkilötunnus", "henkilotunnus", "personbeteckning", "identity code", "sotu"}, other: otherWords()},
		{kind: national("no-national-number", "Norwegian national number", "birthday, two check digits"),
			forms: join(forms(medium, "dddddd ddddd"), withWord("ddddddddddd")), check: noBirth,
			words: []string{"fødselsnummer", "fodselsnummer", "fnr", "personnummer", "d nummer", "dnummer", "national id", "nationalid", "ssn"}},
		{kind: national("dk-cpr", "Danish CPR number", "date, a word before it"),
			forms: withWord("dddddd-dddd", "dddddd dddd", "dddddddddd"), check: dkCPR, words: []string{"cpr", "cprnr", "cpr nr", "cpr nummer", "cprnummer", "cpr number"}},
		{kind: national("ch-ahv", "Swiss AHV number", "prefix 756, check digit"),
			forms: join(forms(high, "ddd.dddd.dddd.dd"), forms(medium, "ddddddddddddd", "ddd dddd dddd dd")), check: chAHV,
			words: []string{"ahv", "ahvn13", "avs", "ahv nummer", "ahvnummer", "navs13", "sozialversicherungsnummer"}, other: otherWords()},
		{kind: national("tr-identity", "Turkish identity number", "two check digits, a word before it"),
			forms: withWord("ddddddddddd"), check: trIdentity, words: []string{"tckn", "tc", "kimlik", "tc kimlik", "tckimlik", "kimlik no", "tc no", "national id", "nationalid"}},
		{kind: national("cz-birth-number", "Czech or Slovak birth number", "date, divisible by 11"),
			forms: join(forms(medium, "dddddd/dddd"), withWord("dddddddddd")), check: czBirth, words: []string{"rodné číslo", "rodne cislo", "rodnecislo", "rč", "rodné"}, other: otherWords()},
		{kind: national("ro-cnp", "Romanian CNP", "date, county, check digit, a word before it"),
			forms: withWord("ddddddddddddd"), check: roCNP, words: []string{"cnp", "cod numeric", "cod numeric personal"}},
		{kind: national("ie-pps", "Irish PPS number", "letter by modulus 23, a word before it"),
			forms: withWord("dddddddA", "dddddddAA"), check: iePPS, words: []string{"pps", "ppsn", "pps number", "pps no", "ppsnumber"}},
		{kind: national("hr-oib", "Croatian OIB", "MOD 11,10, a word before it"),
			forms: withWord("ddddddddddd"), check: hrOIB, words: []string{"oib"}},

		{kind: national("br-cpf", "Brazilian CPF", "two check digits"),
			forms: join(forms(high, "ddd.ddd.ddd-dd"), withWord("ddddddddddd", "ddddddddd-dd")), check: brCPF, words: []string{"cpf", "cpfs", "cadastro", "contribuinte"}},
		{kind: national("br-cnpj", "Brazilian CNPJ", "two check digits"),
			forms: join(forms(high, "dd.ddd.ddd/dddd-dd"), withWord("dddddddddddddd")), check: brCNPJ, words: []string{"cnpj", "cadastro"}},
		{kind: national("mx-curp", "Mexican CURP", "birthday, state, check digit"),
			forms: forms(high, "AAAAddddddAAAAAAXd"), check: mxCURP, words: []string{"curp"}},
		{kind: national("ca-sin", "Canadian Social Insurance Number", "Luhn, a word before it"),
			forms: withWord("ddd-ddd-ddd", "ddd ddd ddd", "ddddddddd"), check: caSIN, words: []string{"sin", "social insurance", "socialinsurance", "socialinsurancenumber", "nas", "assurance sociale"}},
		{kind: national("cn-resident-id", "Chinese resident identity number", "province, birthday, MOD 11-2"),
			forms: forms(high, "dddddddddddddddddd", "dddddddddddddddddA"), check: cnResident, words: []string{"身份证", "身份证号", "idcard", "id card", "shenfenzheng"}},
		{kind: national("kr-rrn", "Korean resident registration number", "birthday, check digit"),
			forms: join(forms(medium, "dddddd-ddddddd"), withWord("ddddddddddddd")), check: krResident, words: krWords(), other: otherWords()},
		{kind: national("kr-rrn", "Korean resident registration number", "birthday, check digit"),
			forms: withWord("dddddd-ddddddd"), check: krDate, words: krWords()},
		{kind: national("jp-my-number", "Japanese My Number", "check digit, a word before it"),
			forms: withWord("dddd dddd dddd", "dddd-dddd-dddd", "dddddddddddd"), check: jpMyNumber, words: []string{"my number", "mynumber", "マイナンバー", "個人番号", "kojin bango"}},
		{kind: national("in-aadhaar", "Indian Aadhaar number", "Verhoeff, a word before it"),
			forms: withWord("dddd dddd dddd", "dddd-dddd-dddd", "dddddddddddd"), check: inAadhaar, words: []string{"aadhaar", "aadhar", "adhaar", "uidai", "आधार", "aadhaar number", "aadhaarnumber"}},
		{kind: national("in-pan", "Indian PAN", "form, kind of holder, a word before it"),
			forms: withWord("AAAAAddddA"), check: inPAN, words: []string{"pan", "pan number", "pan no", "pan card", "pancard", "pannumber", "permanent account", "income tax"}},
		{kind: national("au-tfn", "Australian tax file number", "modulus 11, a word before it"),
			forms: withWord("ddd ddd ddd", "ddd-ddd-ddd", "ddddddddd"), check: auTax, words: []string{"tfn", "tax file", "tax file number", "taxfilenumber", "taxfile"}},
		{kind: national("au-medicare", "Australian Medicare number", "check digit, a word before it"),
			forms: withWord("dddd ddddd d", "dddd-ddddd-d", "dddddddddd"), check: auMedicare, words: []string{"medicare", "medicare number", "medicarenumber", "medicare card"}},
		{kind: national("za-id", "South African identity number", "birthday, citizenship, Luhn, a word before it"),
			forms: withWord("ddddddddddddd", "dddddd dddd ddd"), check: zaIdentity,
			words: []string{"identity number", "id number", "idnumber", "identitynumber", "sa id", "said", "rsa id", "national id", "nationalid", "identity", "id no"}},
		{kind: national("sg-nric", "Singaporean NRIC or FIN", "letter by modulus 11"),
			forms: forms(medium, "AdddddddA"), check: sgNRIC, words: []string{"nric", "fin", "uinfin", "identity card"}, other: otherWords()},
		{kind: national("tw-id", "Taiwanese identity number", "check digit, a word before it"),
			forms: withWord("Addddddddd"), check: twIdentity, words: []string{"身分證", "身分證字號", "national id", "nationalid", "id number", "idnumber", "identity"}},
		{kind: national("th-id", "Thai identity number", "check digit, by its form or a word before it"),
			forms: join(forms(medium, "d-dddd-ddddd-dd-d"), withWord("ddddddddddddd")), check: thIdentity, words: []string{"บัตรประชาชน", "เลขประจำตัวประชาชน", "citizen id", "citizenid", "national id", "nationalid", "thai id"}},
	}
}

func krWords() []string {
	return []string{"주민등록번호", "주민번호", "rrn", "resident registration", "jumin", "juminno"}
}
