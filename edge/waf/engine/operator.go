package engine

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/corazawaf/libinjection-go"
	"rsc.io/binaryregexp"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// operator judges one value. It may set captures if the transaction takes them.
type operator interface {
	match(tx *Transaction, value string) bool
}

// simple is an operator that neither captures nor depends on the transaction.
type simple func(value string) bool

func (f simple) match(_ *Transaction, value string) bool { return f(value) }

func (f simple) test(_ *Transaction, value string) bool { return f(value) }

func (e *Engine) operator(from *seclang.Operator) (operator, error) {
	switch from.Name {
	case "rx":
		return newRx(from.Argument)
	case "pm":
		return newPM(strings.Split(strings.ToLower(from.Argument), " "))
	case "pmFromDataset": // whose words Coraza takes as they are: only ASCII letters have no case
		return newPM(from.Words)
	case "pmFromFile", "pmf":
		words := make([]string, len(from.Words))
		for i, w := range from.Words {
			words[i] = strings.ToLower(w)
		}
		return newPM(words)
	case "ipMatch":
		return newIPMatch(strings.Split(from.Argument, ",")), nil
	case "ipMatchFromFile", "ipMatchF", "ipMatchFromDataset":
		return newIPMatch(strings.Split(strings.Join(from.Words, ","), ",")), nil
	case "detectSQLi":
		return detectSQLi{}, nil
	case "detectXSS":
		return simple(detectXSS), nil
	case "unconditionalMatch", "geoLookup":
		return simple(func(string) bool { return true }), nil
	case "noMatch":
		return simple(func(string) bool { return false }), nil
	case "validateByteRange":
		return newByteRange(from.Argument)
	case "validateUrlEncoding":
		return simple(wrongURLEncoding), nil
	case "validateUtf8Encoding":
		return simple(func(s string) bool { return !utf8.ValidString(s) }), nil
	}
	compare, ok := comparisons(from.Name)
	if !ok {
		return nil, errors.New("@" + from.Name)
	}
	if from.Argument == "" {
		return nil, errors.New("@" + from.Name + " without an argument")
	}
	m, err := parseArgument(e, from.Argument)
	if err != nil {
		return nil, err
	}
	c := &comparison{compare: compare, argument: m}
	if len(m.parts) == 0 {
		c.number, _ = strconv.Atoi(m.constant)
	}
	return c, nil
}

func parseArgument(e *Engine, text string) (*macro, error) {
	m, err := seclang.ParseMacro(text)
	if err != nil {
		return nil, err
	}
	return e.macro(m)
}

// comparison compares the value with a text that may depend on the transaction, as text or as number. What is no number is 0.
type comparison struct {
	compare  func(value, argument string, n int) bool
	argument *macro
	number   int // of a constant argument
}

func (c *comparison) match(tx *Transaction, value string) bool {
	if len(c.argument.parts) == 0 {
		return c.compare(value, c.argument.constant, c.number)
	}
	text := c.argument.expand(tx)
	return c.compare(value, text, number(text))
}

func comparisons(name string) (func(value, argument string, n int) bool, bool) {
	switch name {
	case "eq":
		return func(v, _ string, n int) bool { return number(v) == n }, true
	case "ge":
		return func(v, _ string, n int) bool { return number(v) >= n }, true
	case "gt":
		return func(v, _ string, n int) bool { return number(v) > n }, true
	case "le":
		return func(v, _ string, n int) bool { return number(v) <= n }, true
	case "lt":
		return func(v, _ string, n int) bool { return number(v) < n }, true
	case "streq":
		return func(v, a string, _ int) bool { return v == a }, true
	case "contains", "strmatch":
		return func(v, a string, _ int) bool { return strings.Contains(v, a) }, true
	case "beginsWith":
		return func(v, a string, _ int) bool { return strings.HasPrefix(v, a) }, true
	case "endsWith":
		return func(v, a string, _ int) bool { return strings.HasSuffix(v, a) }, true
	case "within":
		return func(v, a string, _ int) bool { return strings.Contains(a, v) }, true
	}
	return nil, false
}

// number returns what strconv.Atoi does, without an error: 0 for what is no number, the greatest and the least number for what is
// out of range, whatever follows there.
func number(s string) int {
	digits, n := s, 0
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	for i := 0; i < len(digits); i++ {
		if i == 18 { // it may be out of range before a digit is missed
			n, _ := strconv.Atoi(s)
			return n
		}
		c := digits[i] - '0'
		if c > 9 {
			return 0
		}
		n = 10*n + int(c)
	}
	if digits != s && s[0] == '-' {
		return -n
	}
	return n
}

// maxCaptures is how many groups of an expression are captured, and the whole match among them.
const maxCaptures = 9

type rx struct {
	expression string
	re         *regexp.Regexp
}

// newRx compiles an expression as Coraza does: over bytes if it names one that is not UTF-8, else over characters.
func newRx(expression string) (operator, error) {
	if namesBytes("(?sm)" + expression) {
		re, err := binaryregexp.Compile(expression)
		return &binaryRx{expression, re}, err
	}
	re, err := regexp.Compile("(?sm)" + expression)
	return &rx{expression, re}, err
}

func (o *rx) test(_ *Transaction, value string) bool { return o.re.MatchString(value) }

func (o *binaryRx) test(_ *Transaction, value string) bool { return o.re.MatchString(value) }

func (o *rx) match(tx *Transaction, value string) bool {
	found := o.test(tx, value)
	if found && tx.capture {
		tx.willCapture(o, value)
	}
	return found
}

func (o *rx) groups() int { return min(o.re.NumSubexp()+1, maxCaptures) }

func (o *rx) captures(tx *Transaction, value string) {
	m := o.re.FindStringSubmatchIndex(value)
	for i := 0; i < len(m)/2 && i < maxCaptures; i++ {
		if m[2*i] < 0 {
			tx.setCapture(i, "")
		} else {
			tx.setCapture(i, value[m[2*i]:m[2*i+1]])
		}
	}
}

type binaryRx struct {
	expression string
	re         *binaryregexp.Regexp
}

func (o *binaryRx) match(tx *Transaction, value string) bool {
	found := o.test(tx, value)
	if found && tx.capture {
		tx.willCapture(o, value)
	}
	return found
}

func (o *binaryRx) groups() int { return min(o.re.NumSubexp()+1, maxCaptures) }

func (o *binaryRx) captures(tx *Transaction, value string) {
	for i, text := range o.re.FindStringSubmatch(value) {
		if i < maxCaptures {
			tx.setCapture(i, text)
		}
	}
}

// capturer is an operator that can tell later what it captures of a value that it matches, all its groups of them.
type capturer interface {
	groups() int
	captures(tx *Transaction, value string)
}

// pending is a capture that nobody has asked for.
type pending struct {
	op    capturer
	value string
}

// willCapture notes a capture: most are never read. It covers those before it that have no more groups.
func (tx *Transaction) willCapture(op capturer, value string) {
	n := len(tx.pending)
	for n > 0 && tx.pending[n-1].op.groups() <= op.groups() {
		n--
	}
	tx.pending = append(tx.pending[:n], pending{op, value})
}

// settle does the captures that are noted, before one is read.
func (tx *Transaction) settle() {
	for _, p := range tx.pending {
		p.op.captures(tx, p.value)
	}
	tx.pending = tx.pending[:0]
}

// namesBytes reports whether the escapes \xHH of an expression make bytes that are no UTF-8. A backslash that begins no such escape
// stands for itself, as does what follows.
func namesBytes(expression string) bool {
	var out []byte
	for i := 0; i < len(expression); i++ {
		c := expression[i]
		if c == '\\' && i+3 >= len(expression) {
			out = append(out, expression[i:]...)
			break
		}
		if c != '\\' || expression[i+1] != 'x' {
			out = append(out, c)
			continue
		}
		text, width := expression[i:], 4
		if len(text) >= 6 && text[2] == '{' {
			if end := strings.IndexByte(text, '}'); end >= 0 {
				text, width = `\x`+text[3:end], end+1
			}
		}
		v, wide, _, err := strconv.UnquoteChar(text, 0)
		if err != nil || wide {
			out = append(out, c)
			continue
		}
		out = append(out, byte(v))
		i += width - 1
	}
	return !utf8.Valid(out)
}

// detectSQLi and detectXSS ask libinjection. What it never takes for an attack, as a test holds, does not get there: one word
// cannot be SQL, and markup needs a bracket or an attribute's value.
type detectSQLi struct{}

func (detectSQLi) test(tx *Transaction, value string) bool {
	found, _ := isSQLi(tx, value)
	return found
}

// isSQLi asks about the value in capitals, which libinjection otherwise makes of each word by itself, where that is the same to it: not where there are quotes, names in
// brackets or a backslash, nor in what is not ASCII.
func isSQLi(tx *Transaction, value string) (found bool, fingerprint string) {
	if isWord(value) {
		return false, ""
	}
	lower := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case '\'', '"', '`', '\\', '$', '@', '#', '[', ']', '{', '}':
			return libinjection.IsSQLi(value)
		default:
			if c >= utf8.RuneSelf {
				return libinjection.IsSQLi(value)
			}
			lower = lower || c >= 'a' && c <= 'z'
		}
	}
	if !lower || strings.Contains(value, "sp_password") {
		return libinjection.IsSQLi(value)
	}
	return libinjection.IsSQLi(tx.arena.Upper(value))
}

func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_') {
			return false
		}
	}
	return true
}

func detectXSS(value string) bool {
	return strings.ContainsAny(value, "<=") && libinjection.IsXSS(value)
}

func (d detectSQLi) match(tx *Transaction, value string) bool {
	found, fingerprint := isSQLi(tx, value)
	if found && tx.capture {
		tx.captured(0, fingerprint)
	}
	return found
}

// newIPMatch leaves out what is no address and no network, as Coraza does.
func newIPMatch(list []string) operator {
	var nets []netip.Prefix
	for _, text := range list {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "/") {
			if a, err := netip.ParseAddr(text); err == nil {
				text += "/" + strconv.Itoa(a.BitLen())
			}
		}
		_, n, err := net.ParseCIDR(text) // which takes /08 for /8, unlike netip
		if err != nil {
			continue
		}
		ones, size := n.Mask.Size()
		a, _ := netip.AddrFromSlice(n.IP)
		if ip4 := n.IP.To4(); ip4 != nil && size == 128 && ones >= 96 {
			a, ones = netip.AddrFrom4([4]byte(ip4)), ones-96
		}
		nets = append(nets, netip.PrefixFrom(a, ones))
	}
	return simple(func(value string) bool {
		a, err := netip.ParseAddr(value)
		if err != nil || a.Zone() != "" {
			return false
		}
		a = a.Unmap()
		for _, n := range nets {
			if n.Contains(a) {
				return true
			}
		}
		return false
	})
}

// newByteRange matches a value that has a byte out of the ranges.
func newByteRange(text string) (operator, error) {
	if text == "" {
		return simple(func(string) bool { return true }), nil
	}
	var valid [256]bool
	for item := range strings.SplitSeq(text, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(item), "-")
		if !ok {
			last = first
		}
		from, err1 := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || from < 0 || from > 255 || to < 0 || to > 255 {
			return nil, errors.New("@validateByteRange " + text)
		}
		for b := from; b <= to; b++ {
			valid[b] = true
		}
	}
	return simple(func(value string) bool {
		for i := 0; i < len(value); i++ {
			if !valid[value[i]] {
				return true
			}
		}
		return false
	}), nil
}

// wrongURLEncoding reports whether a percent sign is not followed by two digits.
func wrongURLEncoding(value string) bool {
	for i := 0; i < len(value); i++ {
		if value[i] != '%' {
			continue
		}
		if i+2 >= len(value) || !isHex(value[i+1]) || !isHex(value[i+2]) {
			return true
		}
		i += 2
	}
	return false
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
