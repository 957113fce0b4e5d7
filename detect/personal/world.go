package personal

// The checks of numbers from elsewhere. A c is the number without what separates its parts, in the lengths that its forms give.

// usSSN is a Social Security number: it has no check digit; some areas, groups and serials are never given (SSA, "Social Security Number
// Randomization").
func usSSN(c []byte) bool {
	area := number(c[:3])
	return area != 0 && area != 666 && area < 900 && number(c[3:5]) != 0 && number(c[5:]) != 0 && !same(c) && string(c) != "123456789" && string(c) != "078051120"
}

// usITIN is an Individual Taxpayer Identification Number (IRS Publication 1915).
func usITIN(c []byte) bool {
	group := number(c[3:5])
	return c[0] == '9' && (group >= 50 && group <= 65 || group >= 70 && group <= 88 || group >= 90 && group <= 92 || group >= 94) && !same(c)
}

// brCPF is a Cadastro de Pessoas Físicas: two check digits by 11.
func brCPF(c []byte) bool {
	return !same(c) && by11(c[:9], 10) == val(c[9]) && by11(c[:10], 11) == val(c[10])
}

// by11 is the check digit of digits weighted from first downwards, 0 where the remainder is less than 2.
func by11(c []byte, first int) int {
	sum := 0
	for i, d := range c {
		sum += (first - i) * val(d)
	}
	if r := sum % 11; r >= 2 {
		return 11 - r
	}
	return 0
}

// brCNPJ is a Cadastro Nacional da Pessoa Jurídica, of digits alone.
func brCNPJ(c []byte) bool {
	check := func(c []byte) int {
		sum := 0
		for i := range c {
			sum += val(c[len(c)-1-i]) * (2 + i%8)
		}
		if r := sum % 11; r >= 2 {
			return 11 - r
		}
		return 0
	}
	return !same(c) && check(c[:12]) == val(c[12]) && check(c[:13]) == val(c[13])
}

// inAadhaar begins with 2 to 9 and ends with Verhoeff's digit (UIDAI).
func inAadhaar(c []byte) bool { return c[0] >= '2' && verhoeff(c) && !same(c[:11]) }

// inPAN is a Permanent Account Number: its fourth letter says what its holder is.
func inPAN(c []byte) bool {
	switch c[3] {
	case 'A', 'B', 'C', 'E', 'F', 'G', 'H', 'J', 'L', 'P', 'T':
		return string(c[5:9]) != "0000"
	}
	return false
}

// cnResident is GB 11643-1999: province, birthday, serial, ISO 7064 MOD 11-2.
func cnResident(c []byte) bool {
	province, year := number(c[:2]), number(c[6:10])
	switch province {
	case 11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83:
	default:
		return false
	}
	if year < 1880 || year > 2099 || !date(number(c[10:12]), number(c[12:14])) {
		return false
	}
	sum := weighted(c, 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
	return "10X98765432"[sum%11] == c[17]
}

// krDate is what every resident registration number has: a date, and the digit of sex and century. Those given since October 2020 have no
// check digit.
func krDate(c []byte) bool {
	return date(number(c[2:4]), number(c[4:6])) && c[6] != '0' && !same(c[6:])
}

func krResident(c []byte) bool {
	check := (11 - weighted(c, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11) % 10
	if c[6] >= '5' && c[6] <= '8' { // foreigners' are two more
		check = (check + 2) % 10
	}
	return krDate(c) && check == val(c[12])
}

// jpMyNumber is the individual number (Ministry of Internal Affairs ordinance 85 of 2014, article 5).
func jpMyNumber(c []byte) bool {
	r := weighted(c, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2) % 11
	check := 0
	if r > 1 {
		check = 11 - r
	}
	return check == val(c[11]) && !same(c)
}

// caSIN is a Social Insurance Number: Luhn; 0 and 8 are not given.
func caSIN(c []byte) bool { return c[0] != '0' && c[0] != '8' && luhn(c) && !same(c) }

// auTax is a Tax File Number.
func auTax(c []byte) bool { return weighted(c, 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0 && !same(c) }

// auMedicare is a Medicare card number and the number of the issue.
func auMedicare(c []byte) bool {
	return c[0] >= '2' && c[0] <= '6' && weighted(c, 1, 3, 7, 9, 1, 3, 7, 9)%10 == val(c[8]) && c[9] != '0'
}

// zaIdentity: birthday, sex, citizenship, Luhn.
func zaIdentity(c []byte) bool {
	return date(number(c[2:4]), number(c[4:6])) && c[10] <= '2' && luhn(c)
}

// mxCURP: letters of the name, birthday, sex, state, letters, check digit (RENAPO, Instructivo Normativo).
func mxCURP(c []byte) bool {
	switch c[10] {
	case 'H', 'M', 'X':
	default:
		return false
	}
	const states = "ASBCBSCCCLCMCSCHDFDGGTGRHGJCMCMNMSNTNLOCPLQTQRSPSLSRTCTSTLVZYNZSNE"
	state := false
	for i := 0; i < len(states); i += 2 {
		state = state || states[i] == c[11] && states[i+1] == c[12]
	}
	if !state || !date(number(c[6:8]), number(c[8:10])) {
		return false
	}
	sum := 0
	for i, x := range c[:17] {
		v := 0
		switch {
		case isDigit(x):
			v = val(x)
		case x <= 'N':
			v = int(x-'A') + 10
		default: // Ñ stands between N and O
			v = int(x-'A') + 11
		}
		sum += v * (18 - i)
	}
	return (10-sum%10)%10 == val(c[17])
}

// sgNRIC is an NRIC or FIN: weights and a letter that depends on the first.
func sgNRIC(c []byte) bool {
	sum := weighted(c[1:], 2, 7, 6, 5, 4, 3, 2)
	switch c[0] {
	case 'S':
		return "JZIHGFEDCBA"[sum%11] == c[8]
	case 'T':
		return "JZIHGFEDCBA"[(sum+4)%11] == c[8]
	case 'F':
		return "XWUTRQPNMLK"[sum%11] == c[8]
	case 'G':
		return "XWUTRQPNMLK"[(sum+4)%11] == c[8]
	}
	return false
}

// twIdentity: the letter of a county counts as two digits.
func twIdentity(c []byte) bool {
	codes := [26]int{10, 11, 12, 13, 14, 15, 16, 17, 34, 18, 19, 20, 21, 22, 35, 23, 24, 25, 26, 27, 28, 29, 32, 30, 31, 33}
	if c[1] != '1' && c[1] != '2' && c[1] != '8' && c[1] != '9' {
		return false
	}
	n := codes[c[0]-'A']
	return (n/10+n%10*9+weighted(c[1:], 8, 7, 6, 5, 4, 3, 2, 1, 1))%10 == 0
}

// thIdentity: thirteen digits, by 11.
func thIdentity(c []byte) bool {
	return c[0] != '0' && c[0] != '9' && (11-weighted(c, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)%11)%10 == val(c[12])
}
