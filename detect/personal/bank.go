package personal

// ibanLengths are the countries of the IBAN registry (SWIFT, ISO 13616-2) and how many characters theirs have: two letters, two digits each.
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28" +
	"IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"

// ibanLength returns the length of a country's IBAN, 0 if it has none.
func ibanLength(a, b byte) int {
	for i := 0; i < len(ibanLengths); i += 4 {
		if ibanLengths[i] == a && ibanLengths[i+1] == b {
			return 10*val(ibanLengths[i+2]) + val(ibanLengths[i+3])
		}
	}
	return 0
}

// mod97 is ISO 13616-1 with ISO/IEC 7064: the first four characters moved to the end, letters as 10 to 35, the
// remainder by 97 is 1.
func mod97(c []byte) bool {
	r := 0
	for i := range c {
		x := c[(i+4)%len(c)]
		switch {
		case isDigit(x):
			r = (r*10 + val(x)) % 97
		case isUpper(x):
			r = (r*100 + int(x-'A') + 10) % 97
		default:
			return false
		}
	}
	// Check digits 00, 01 and 99 are never given.
	n := number(c[2:4])
	return r == 1 && n >= 2 && n <= 98
}
