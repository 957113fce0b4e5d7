package personal

// cardNumber checks a payment card: Luhn, and the lengths in an issuer's range (ISO/IEC 7812 and what the schemes publish).
func cardNumber(c []byte) bool {
	return issued(c) && luhn(c)
}

// issued reports whether a scheme gives numbers of that length in that range.
func issued(c []byte) bool {
	n, six := len(c), number(c[:6])
	two, three, four := six/10000, six/1000, six/100
	switch {
	case c[0] == '4': // Visa
		return n == 16 || n == 13 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		return n == 16
	case two == 34, two == 37: // American Express
		return n == 15
	case two == 36: // Diners Club International
		return n >= 14 && n <= 19
	case three >= 300 && three <= 305, four == 3095, two == 38, two == 39:
		return n == 14 || n == 16
	case four == 6011, three >= 644 && three <= 649, two == 65: // Discover
		return n == 16 || n == 19
	case two == 62, two == 81: // UnionPay
		return n >= 16 && n <= 19
	case four >= 3528 && four <= 3589: // JCB
		return n >= 16 && n <= 19
	case four >= 2200 && four <= 2204: // Mir
		return n >= 16 && n <= 19
	case three == 508, four == 6521, four == 6522: // RuPay
		return n == 16
	case six >= 979200 && six <= 979289: // Troy
		return n == 16
	case four == 5018, four == 5020, four == 5038, four == 5893, four == 6304, four == 6759, four >= 6761 && four <= 6763: // Maestro
		return n >= 13 && n <= 19
	case six >= 506099 && six <= 506198, six >= 650002 && six <= 650027: // Verve
		return n == 16 || n == 18 || n == 19
	case four == 5019: // Dankort
		return n == 16
	}
	return false
}

// filler reports whether a number that is no string is the same few digits again and again: 2345234523452345 in a program.
func filler(text []byte, at int, c []byte) bool {
	if at > 0 && (text[at-1] == '"' || text[at-1] == '\'') {
		return false
	}
	for period := 1; period <= 4; period++ {
		if len(c)%period == 0 && string(c[period:]) == string(c[:len(c)-period]) {
			return true
		}
	}
	return false
}

// cardWords stand before card numbers; otherWords before numbers that are none.
func cardWords() []string {
	return []string{"card", "cards", "card number", "cardnumber", "card no", "cardno", "pan", "ccn", "cc", "cc number", "ccnumber", "credit", "debit", "creditcard", "visa", "mastercard", "amex",
		"karte", "kartennummer", "kreditkarte", "carte", "tarjeta", "carta", "kort", "kortnummer", "cartao", "卡号", "카드", "カード"}
}

func otherWords() []string {
	return []string{"id", "ids", "uid", "uuid", "guid", "hash", "sha", "md5", "digest", "etag", "time", "timestamp", "ts", "date", "nonce", "seed", "offset", "size", "length", "bytes",
		"count", "version", "build", "revision", "imei", "isbn", "ean", "gtin", "upc", "sku", "tracking", "order", "invoice", "serial", "trace", "span", "request", "session",
		"duration", "nanos", "ns", "lat", "lon", "lng", "latitude", "longitude", "phone", "mid", "tweet", "status", "snowflake", "cursor", "seq", "sequence", "tick", "ticks", "random", "index"}
}
