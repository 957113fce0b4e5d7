package personal

// The checks of European numbers. A c is the number without what separates its parts, in the lengths that its forms give.

// ukNINO is a National Insurance number: HMRC's manual NIM39110 says which letters and prefixes are given.
func ukNINO(c []byte) bool {
	in := func(x byte, set string) bool {
		for i := range len(set) {
			if set[i] == x {
				return true
			}
		}
		return false
	}
	if in(c[0], "DFIQUV") || in(c[1], "DFIOQUV") || c[8] > 'D' {
		return false
	}
	switch string(c[:2]) {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return false
	}
	return !same(c[2:8])
}

// ukNHS is an NHS number: modulus 11 (NHS Data Dictionary).
func ukNHS(c []byte) bool {
	check := 11 - weighted(c, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if check == 11 {
		check = 0
	}
	return check == val(c[9]) && !same(c)
}

// deTax is a Steuer-Identifikationsnummer (§ 139b AO): of its first ten digits one occurs two or three times and the others at most
// once, then ISO 7064 MOD 11,10.
func deTax(c []byte) bool {
	var times [10]int
	for _, d := range c[:10] {
		times[val(d)]++
	}
	repeated := 0
	for _, n := range times {
		if n > 3 {
			return false
		}
		if n > 1 {
			repeated++
		}
	}
	return c[0] != '0' && repeated == 1 && iso11x10(c)
}

// dePension is a Versicherungsnummer (§ 147 SGB VI, VKVV § 4): area, birthday, initial, serial, check digit.
func dePension(c []byte) bool {
	letter := int(c[8]-'A') + 1
	var full [12]int
	for i := range 8 {
		full[i] = val(c[i])
	}
	full[8], full[9] = letter/10, letter%10
	full[10], full[11] = val(c[9]), val(c[10])
	sum := 0
	for i, w := range [12]int{2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1} {
		p := full[i] * w
		sum += p/10 + p%10
	}
	return date(number(c[4:6]), number(c[2:4])) && sum%10 == val(c[11])
}

// frNIR is a numéro de sécurité sociale (INSEE): sex, month, department, then 97 less the remainder.
func frNIR(c []byte) bool {
	if c[0] != '1' && c[0] != '2' {
		return false
	}
	month := number(c[3:5])
	if !(month >= 1 && month <= 12 || month >= 20 && month <= 42 || month >= 50) {
		return false
	}
	var digits [13]byte
	copy(digits[:], c[:13])
	switch c[6] { // Corsica counts as 19 and 18
	case 'A':
		digits[5], digits[6] = '1', '9'
	case 'B':
		digits[5], digits[6] = '1', '8'
	}
	if isUpper(c[6]) && (c[6] > 'B' || c[5] != '2') || number(digits[5:7]) == 0 {
		return false
	}
	r := mod(digits[:], 97)
	return 97-r == number(c[13:15])
}

// esLetter is the letter of DNI and NIE (Real Decreto 1553/2005, article 11).
func esLetter(n int, letter byte) bool {
	return n > 0 && "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] == letter
}

func esDNI(c []byte) bool { return !same(c[:8]) && esLetter(number(c[:8]), c[8]) }

func esNIE(c []byte) bool {
	if c[0] < 'X' || c[0] > 'Z' {
		return false
	}
	return esLetter(int(c[0]-'X')*10000000+number(c[1:8]), c[8])
}

// itFiscal is a codice fiscale (DM 345/1976): letters of the name, year, letter of the month, day (women's plus 40), place, check letter.
func itFiscal(c []byte) bool {
	const months = "ABCDEHLMPRST"
	month := 0
	for i := range len(months) {
		if months[i] == c[8] {
			month = i + 1
		}
	}
	day := number(c[9:11])
	if day > 40 {
		day -= 40
	}
	if !date(month, day) {
		return false
	}
	// What a character counts at an odd place, by its place in the alphabet; digits count as the first ten letters.
	odd := [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i, x := range c[:15] {
		v := 0
		if isDigit(x) {
			v = val(x)
		} else {
			v = int(x - 'A')
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	return byte('A'+sum%26) == c[15]
}

// nlBSN is a burgerservicenummer: the proof by eleven.
func nlBSN(c []byte) bool {
	sum := weighted(c, 9, 8, 7, 6, 5, 4, 3, 2) - val(c[8])
	return sum%11 == 0 && sum != 0 && !same(c)
}

// beNational is a rijksregisternummer (KB 3 April 1984): 97 less the remainder, with a 2 before it for who was born since 2000. Months
// plus 20 or 40 are those of bis numbers.
func beNational(c []byte) bool {
	month := number(c[2:4])
	for month > 20 {
		month -= 20
	}
	day := number(c[4:6])
	if month > 12 || day > 31 || number(c[6:9]) == 0 || number(c[6:9]) == 999 {
		return false
	}
	r, check := mod(c[:9], 97), number(c[9:11])
	return 97-r == check || 97-(r+2*(1000000000%97))%97 == check
}

// plPESEL: the month carries the century (Act of 24 September 2010).
func plPESEL(c []byte) bool {
	month := number(c[2:4])
	if month > 92 {
		return false
	}
	sum := weighted(c, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
	return date(month%20, number(c[4:6])) && (10-sum%10)%10 == val(c[10])
}

// sePersonal is a personnummer (Folkbokföringslag 1991:481 § 18) or samordningsnummer (day plus 60): Luhn over its last ten digits.
func sePersonal(c []byte) bool {
	if len(c) == 12 {
		if century := number(c[:2]); century < 18 || century > 20 {
			return false
		}
		c = c[2:]
	}
	day := number(c[4:6])
	if day > 60 {
		day -= 60
	}
	return date(number(c[2:4]), day) && luhn(c)
}

// fiHETU is a henkilötunnus: date, serial from 2, the remainder by 31. sign is the century's.
func fiHETU(c []byte) bool {
	serial := c[6:9]
	if isUpper(c[6]) { // the century's letter counts as part of the number's characters
		switch c[6] {
		case 'A', 'B', 'C', 'D', 'E', 'F', 'U', 'V', 'W', 'X', 'Y':
		default:
			return false
		}
		serial = c[7:10]
	}
	if !date(number(c[2:4]), number(c[:2])) || number(serial) < 2 {
		return false
	}
	n := number(c[:6])*1000 + number(serial)
	return "0123456789ABCDEFHJKLMNPRSTUVWXY"[n%31] == c[len(c)-1]
}

// noBirth is a fødselsnummer: two check digits. Day plus 40 is a D number, month plus 40 or 80 a synthetic one.
func noBirth(c []byte) bool {
	day, month := number(c[:2]), number(c[2:4])
	if day > 40 {
		day -= 40
	}
	for month > 40 {
		month -= 40
	}
	return date(month, day) &&
		weighted(c, 3, 7, 6, 1, 8, 9, 4, 5, 2, 1)%11 == 0 &&
		weighted(c, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0
}

// dkCPR has no check digit since 2007: a date, and the name before it.
func dkCPR(c []byte) bool {
	day := number(c[:2])
	if day > 60 {
		day -= 60
	}
	return date(number(c[2:4]), day)
}

// chAHV is an AHV number: 756 and the check digit of EAN-13.
func chAHV(c []byte) bool { return string(c[:3]) == "756" && ean13(c) && !same(c[3:]) }

// trIdentity is a T.C. kimlik numarası.
func trIdentity(c []byte) bool {
	odd := val(c[0]) + val(c[2]) + val(c[4]) + val(c[6]) + val(c[8])
	even := val(c[1]) + val(c[3]) + val(c[5]) + val(c[7])
	return c[0] != '0' && (odd*7-even+100)%10 == val(c[9]) && (odd+even+val(c[9]))%10 == val(c[10])
}

// czBirth is a rodné číslo of ten digits, Czech or Slovak: divisible by 11; women's months plus 50, both plus 20 where a day ran out.
func czBirth(c []byte) bool {
	month := number(c[2:4])
	if month > 50 {
		month -= 50
	}
	if month > 20 {
		month -= 20
	}
	return date(month, number(c[4:6])) && mod(c, 11) == 0
}

// roCNP is a cod numeric personal.
func roCNP(c []byte) bool {
	county := number(c[7:9])
	if c[0] == '0' || !date(number(c[3:5]), number(c[5:7])) || county == 0 || county > 52 && county != 70 {
		return false
	}
	r := weighted(c, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9) % 11
	if r == 10 {
		r = 1
	}
	return r == val(c[12])
}

// iePPS is a Personal Public Service number: seven digits and the letter of their remainder by 23.
func iePPS(c []byte) bool {
	sum := weighted(c, 8, 7, 6, 5, 4, 3, 2)
	if len(c) == 9 {
		sum += 9 * (int(c[8]-'A') + 1)
		if c[8] > 'I' && c[8] != 'W' {
			return false
		}
		if c[8] == 'W' {
			sum = weighted(c, 8, 7, 6, 5, 4, 3, 2)
		}
	}
	return "WABCDEFGHIJKLMNOPQRSTUV"[sum%23] == c[7]
}

// hrOIB is an osobni identifikacijski broj: ISO 7064 MOD 11,10.
func hrOIB(c []byte) bool { return iso11x10(c) && !same(c) }
