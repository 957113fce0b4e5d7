package personal

import "github.com/testudo-sec/testudo/detect"

// Addresses of people are no secret one by one: a text may hold a number of them, and each new one behind those is a match.

const (
	maxLocal  = 64 // RFC 5321 section 4.5.3.1.1
	maxDomain = 255
)

func emailAddress() *Kind {
	return &Kind{ID: "email", Name: "e-mail addresses", Group: Contact, Proof: "form, more of them than may be"}
}

func phoneNumber() *Kind {
	return &Kind{ID: "phone", Name: "telephone numbers", Group: Contact, Proof: "form, more of them than may be"}
}

// addPhones adds North American numbers as they are written there. Those with a plus are read by tryPhone.
func (x *index) addPhones(k *Kind) {
	n := numbered{kind: k, forms: forms(detect.High, "ddd-ddd-dddd", "ddd.ddd.dddd", "ddd ddd dddd"), check: northAmerican}
	for _, f := range n.forms {
		x.add(&entry{numbered: &n, form: f})
	}
}

// northAmerican: area and exchange begin with 2 to 9 (NANP).
func northAmerican(c []byte) bool { return c[0] >= '2' && c[3] >= '2' && !same(c) }

// tryPhone reads an international number (ITU-T E.164) behind its plus: 8 to 15 digits.
func (s *scanner) tryPhone(v *view) (m Match, ok, wait bool) {
	digits, end := 0, 0
	for i := range v.n {
		switch c := v.c[i]; {
		case isDigit(c):
			digits++
			end = i + 1
		case isWord(c):
			return m, false, false
		case c == ' ' && digits >= 8 && i+1 < v.n && !isDigit(v.c[i+1]), !isSeparator(c):
			return s.phone(v, digits, end)
		}
	}
	if v.open && digits <= 15 {
		return m, false, true
	}
	return s.phone(v, digits, end)
}

func (s *scanner) phone(v *view, digits, end int) (m Match, ok, wait bool) {
	return Match{Kind: s.d.phone, Start: v.from[0], End: v.from[end], Confidence: detect.High, Proof: s.d.phone.Proof}, digits >= 8 && digits <= 15 && v.c[0] != '0', false
}

// isLocal reports whether c can be part of an address before the @.
func isLocal(c byte) bool { return isWord(c) || c == '.' || c == '%' || c == '+' || c == '-' }

// isPath reports whether c can be part of a file's path.
func isPath(c byte) bool { return isLocal(c) || c == '/' || c == '~' || c == '@' || c == ':' }

// emailAt looks at the address whose @ is text[at] and which begins at text[start:].
func (s *scanner) emailAt(text []byte, start, at int, whole bool) (m Match, a answer) {
	end, dot := at+1, -1
	for end < len(text) && end-at <= maxDomain && (isWord(text[end]) || text[end] == '.' || text[end] == '-') {
		if text[end] == '.' {
			dot = end
		}
		end++
	}
	if end == len(text) && end-at <= maxDomain && !whole {
		return m, wait
	}
	// A sentence may end behind it.
	if dot == end-1 {
		end--
		for dot = end - 1; dot > at && text[dot] != '.'; dot-- {
		}
	}
	if start == at || at-start > maxLocal || text[start] == '.' || text[at-1] == '.' || dot <= at+1 || end-dot < 3 || !isWord(text[at+1]) {
		return m, no
	}
	for _, c := range text[dot+1 : end] {
		if !isUpper(c) && !isLower(c) {
			return m, no
		}
	}
	// pkg@1.2.0.Final
	first := at + 1
	for isDigit(text[first]) {
		first++
	}
	if text[first] == '.' && first < dot && first > at+1 {
		return m, no
	}
	switch string(text[dot+1 : end]) {
	case "png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "js", "mjs", "css", "json", "map", "html": // icon@2x.png
		return m, no
	}
	return Match{Kind: s.d.email, Start: start, End: end, Confidence: detect.High, Proof: s.d.email.Proof}, yes
}

// contacts counts what is different.
type contacts struct {
	seen map[uint64]struct{}
}

// over reports whether value is one more than may be. Those that differ by case alone are the same.
func (c *contacts) over(value []byte, limit int) bool {
	h := uint64(14695981039346656037) // FNV-1a
	for _, x := range value {
		if isUpper(x) {
			x |= 0x20
		}
		h = (h ^ uint64(x)) * 1099511628211
	}
	if _, known := c.seen[h]; known {
		return false
	}
	if len(c.seen) >= limit {
		return true
	}
	if c.seen == nil {
		c.seen = map[uint64]struct{}{}
	}
	c.seen[h] = struct{}{}
	return false
}
