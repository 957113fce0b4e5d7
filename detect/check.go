package detect

import (
	"bytes"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// outcome is what a check says of a candidate.
type outcome struct {
	ok    bool   // it may be a secret
	proof string // what shows that it is one, "" if nothing does
	note  string // what the value says of itself, without proving anything
	end   int    // where it really ends, if not 0
	cost  int    // bytes that it looked at beyond the candidate, accepted or not
}

var reject = outcome{}

// plausible is the outcome of a candidate that is right in form and not proved.
var plausible = outcome{ok: true}

// A check looks at text[start:end] without any help from outside.
type check func(text []byte, start, end int) outcome

// CheckNames lists the offline proofs that a rule may ask for.
func CheckNames() []string {
	return []string{
		"age", "aws-key-id", "azure-storage", "basic-auth", "crc62", "crc62-strict", "discord", "gitlab-routable", "grafana", "json-web-token",
		"kubernetes-key", "macaroon", "password", "private-key", "random", "url-password",
	}
}

func checks(name string) (check, bool) {
	switch name {
	case "age":
		return checkAge, true
	case "aws-key-id":
		return checkAWS, true
	case "azure-storage":
		return checkAzureStorage, true
	case "basic-auth":
		return checkBasicAuth, true
	case "crc62":
		return checkCRC62, true
	case "crc62-strict":
		return func(text []byte, start, end int) outcome {
			if o := checkCRC62(text, start, end); o.proof != "" {
				return o
			}
			return reject
		}, true
	case "discord":
		return checkDiscord, true
	case "gitlab-routable":
		return checkGitLab, true
	case "grafana":
		return checkGrafana, true
	case "json-web-token":
		return checkJWT, true
	case "kubernetes-key":
		return checkEncodedKey, true
	case "macaroon":
		return checkMacaroon, true
	case "password":
		return checkPassword, true
	case "url-password":
		return checkURLPassword, true
	case "private-key":
		return checkPrivateKey, true
	case "random":
		return checkRandom, true
	}
	return nil, false
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// crc62 is the checksum at the end of GitHub's and npm's tokens: CRC-32 (IEEE) of the random
// part, in base62, six digits. Described in "Behind GitHub's new authentication token
// formats", github.blog, April 2021.
func crc62(body []byte) string {
	var out [6]byte
	sum := crc32.ChecksumIEEE(body)
	for i := 5; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return string(out[:])
}

func checkCRC62(text []byte, start, end int) outcome {
	token := text[start:end]
	body := token[bytes.LastIndexByte(token, '_')+1:]
	if len(body) > 6 && crc62(body[:len(body)-6]) == string(body[len(body)-6:]) {
		return outcome{ok: true, proof: "checksum"}
	}
	return plausible
}

// checkAWS reads the account number out of an access key id: from its fifth character on it
// is base32, and 39 bits after the first one are the account. Key ids from before 2019 hold none. Almost
// any value of the right form decodes to some account, so this helps people and proves nothing.
func checkAWS(text []byte, start, end int) outcome {
	raw, err := base32.StdEncoding.DecodeString(string(text[start+4 : end]))
	if err != nil || len(raw) < 8 {
		return reject
	}
	account := binary.BigEndian.Uint64(raw) >> 16 & 0x7fffffffff80 >> 7
	if text[start+4] >= 'Q' || text[start+4] >= '2' && text[start+4] <= '7' {
		if account > 0 && account < 1e12 {
			return outcome{ok: true, note: fmt.Sprintf("account %012d", account)}
		}
	}
	return plausible
}

// checkAzureStorage: an account key is 64 random bytes.
func checkAzureStorage(text []byte, start, end int) outcome {
	raw, err := base64.StdEncoding.DecodeString(string(text[start:end]))
	if err != nil || len(raw) != 64 || entropy(raw) < 5 {
		return reject
	}
	return outcome{ok: true, proof: "decodes to a key of 64 bytes"}
}

// checkBasicAuth: the base64 of user:password, printable.
func checkBasicAuth(text []byte, start, end int) outcome {
	raw, err := decodeBase64(text[start:end])
	if err != nil {
		return reject
	}
	user, password, ok := bytes.Cut(raw, []byte(":"))
	if !ok || len(user) == 0 || len(password) < 4 || isPlaceholder(password) || isCommonPassword(string(password)) {
		return reject
	}
	for _, c := range raw {
		if c < ' ' || c > '~' {
			return reject
		}
	}
	return outcome{ok: true, proof: "decodes to a user and a password"}
}

func decodeBase64(b []byte) ([]byte, error) {
	s := strings.TrimRight(string(b), "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// checkDiscord: a bot token begins with the base64 of the bot's numeric id.
func checkDiscord(text []byte, start, end int) outcome {
	first, _, _ := bytes.Cut(text[start:end], []byte("."))
	raw, err := decodeBase64(first)
	if err != nil || len(raw) < 17 || len(raw) > 20 || strings.Trim(string(raw), "0123456789") != "" {
		return reject
	}
	return outcome{ok: true, proof: "names bot " + string(raw)}
}

// checkGitLab: routable tokens end in the length of their payload (two digits of base 36) and the CRC-32 of all before it (seven).
// Other tokens prove nothing.
func checkGitLab(text []byte, start, end int) outcome {
	token := text[start:end]
	if n := len(token) - 7; n > 20 && bytes.IndexByte(token, '.') > 0 && gitLabSum(token[:n]) == string(token[n:]) {
		return outcome{ok: true, proof: "checksum"}
	}
	return plausible
}

func gitLabSum(body []byte) string {
	sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 36)
	return strings.Repeat("0", 7-len(sum)) + sum // 32 bits have at most seven digits
}

// checkGrafana: service account tokens end in the CRC-32 of what is before the last
// underscore, as little-endian hex.
func checkGrafana(text []byte, start, end int) outcome {
	token := text[start:end]
	cut := bytes.LastIndexByte(token, '_')
	if cut < 0 {
		return reject
	}
	if grafanaSum(token[:cut]) == string(token[cut+1:]) {
		return outcome{ok: true, proof: "checksum"}
	}
	return plausible
}

func grafanaSum(body []byte) string {
	return hex.EncodeToString(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}

// checkMacaroon: PyPI tokens are macaroons (version 2, binary) that name their place.
func checkMacaroon(text []byte, start, end int) outcome {
	body := text[start:end]
	if i := bytes.IndexByte(body, '-'); i >= 0 {
		body = body[i+1:]
	}
	raw, err := decodeBase64(body)
	if err != nil || len(raw) < 40 || raw[0] != 2 {
		return reject
	}
	return outcome{ok: true, proof: "decodes to a macaroon"}
}

// checkJWT: a signed token's header and payload are JSON, and the header names a real
// algorithm (RFC 7515 section 4.1.1).
func checkJWT(text []byte, start, end int) outcome {
	parts := strings.Split(string(text[start:end]), ".")
	if len(parts) != 3 {
		return reject
	}
	var header struct {
		Alg string `json:"alg"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || json.Unmarshal(raw, &header) != nil || header.Alg == "" || strings.EqualFold(header.Alg, "none") {
		return reject
	}
	var payload map[string]any
	raw, err = base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(raw, &payload) != nil {
		return reject
	}
	// The tokens of tutorials.
	if payload["name"] == "John Doe" || payload["sub"] == "1234567890" || isPlaceholder([]byte(parts[2])) {
		return reject
	}
	if len(parts[2]) < 22 {
		return plausible
	}
	return outcome{ok: true, proof: "signed with " + printable(header.Alg, 16)}
}

// printable shortens a value from outside to letters, digits and dashes.
func printable(s string, limit int) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (isWord(byte(r)) || r == '-') {
			return r
		}
		return '?'
	}, s[:min(len(s), limit)])
}

const (
	maxKeyBlock  = 16 << 10
	keyBlockCost = 10 // reading a block's lines takes so many times what passing over them does
)

// checkPrivateKey widens the header line of a PEM block to the whole block and parses
// it. Line ends may be written as \n, as they are inside JSON, and lines indented.
func checkPrivateKey(text []byte, start, end int) (o outcome) {
	head := text[start:end]
	tail := text[end:min(len(text), end+maxKeyBlock)]
	label := string(bytes.TrimSuffix(bytes.TrimPrefix(head, []byte("-----BEGIN ")), []byte("-----")))
	stop := bytes.Index(tail, []byte("-----END "+label+"-----"))
	if stop < 0 {
		return outcome{cost: len(tail) / 4}
	}
	body := tail[:stop]
	defer func() { o.cost = keyBlockCost * stop }()
	o = outcome{ok: true, end: end + stop + len("-----END "+label+"-----")}
	if bytes.Contains(body, []byte("ENCRYPTED")) || strings.Contains(label, "ENCRYPTED") {
		return reject // worth nothing without its passphrase
	}
	var clean []byte
	body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte(`\n`), []byte("\n")), []byte(`\r`), nil)
	for line := range bytes.Lines(body) {
		line = bytes.Trim(line, " \t\r\n\"'`,\\#*|;")
		line = bytes.TrimPrefix(line, []byte("// "))
		switch {
		case len(line) == 1, string(line) == "//": // what joins strings, or an empty comment
		case bytes.Contains(line, []byte(": ")): // armour headers
		case len(line) == 5 && line[0] == '=': // the checksum of OpenPGP armour
		default:
			clean = append(clean, line...)
		}
	}
	der, err := decodeBase64(clean)
	if err != nil || len(der) < 32 || entropy(der) < 4 {
		return reject
	}
	o.proof = provePrivateKey(label, der)
	if o.proof == "" && len(der) < 64 {
		return reject
	}
	return o
}

// provePrivateKey says what kind of key der is, or "".
func provePrivateKey(label string, der []byte) string {
	if bytes.HasPrefix(der, []byte("openssh-key-v1\x00")) {
		if !bytes.HasPrefix(der[15:], []byte("\x00\x00\x00\x04none")) {
			return ""
		}
		return "parses as an OpenSSH key"
	}
	if strings.HasPrefix(label, "PGP ") {
		if der[0]&0x80 != 0 { // RFC 9580 section 4.2: every packet's first bit
			return "parses as OpenPGP"
		}
		return ""
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return "parses as a PKCS #8 key"
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return "parses as an RSA key"
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return "parses as an elliptic curve key"
	}
	return ""
}

// checkEncodedKey: the base64 of a PEM private key, as in a kubeconfig.
func checkEncodedKey(text []byte, start, end int) outcome {
	raw, err := decodeBase64(text[start:end])
	if err != nil {
		return reject
	}
	block, _ := pem.Decode(raw)
	if block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") || strings.Contains(block.Type, "ENCRYPTED") {
		return reject
	}
	if proof := provePrivateKey(block.Type, block.Bytes); proof != "" {
		return outcome{ok: true, proof: proof}
	}
	return plausible
}

const bech32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// bech32Polymod is the checksum of BIP 173.
func bech32Polymod(values []byte) uint32 {
	generator := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range generator {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}

// bech32Expand is the checksum's view of the human-readable part.
func bech32Expand(hrp string) []byte {
	var out []byte
	for i := range len(hrp) {
		out = append(out, hrp[i]>>5)
	}
	out = append(out, 0)
	for i := range len(hrp) {
		out = append(out, hrp[i]&31)
	}
	return out
}

// checkAge: an age identity is Bech32 with a checksum.
func checkAge(text []byte, start, end int) outcome {
	s := strings.ToLower(string(text[start:end]))
	cut := strings.LastIndexByte(s, '1')
	if cut < 1 {
		return reject
	}
	values := bech32Expand(s[:cut])
	for _, c := range s[cut+1:] {
		i := strings.IndexRune(bech32, c)
		if i < 0 {
			return reject
		}
		values = append(values, byte(i))
	}
	if bech32Polymod(values) != 1 {
		return reject
	}
	return outcome{ok: true, proof: "checksum"}
}

// checkRandom tells a machine-made value from words, names, paths, versions and identifiers, for
// rules that know no provider. It prefers silence.
func checkRandom(text []byte, start, end int) outcome {
	v := text[start:end]
	digits, letters, changes, vowels := 0, 0, 0, 0
	lowerRun, runVowels, sameKind, longestKind := 0, 0, 0, 0
	wordy := false // a run of small letters that reads like words
	var last need
	for _, c := range v {
		k := has([]byte{c}) &^ needLetter
		if k == needLower {
			lowerRun++
			if strings.IndexByte("aeiou", c) >= 0 {
				runVowels++
			}
			wordy = wordy || lowerRun >= 8 && runVowels*10 >= lowerRun*3 || lowerRun >= 20
		} else {
			lowerRun, runVowels = 0, 0
		}
		if k == last {
			sameKind++
		} else {
			changes++
			sameKind = 1
		}
		longestKind = max(longestKind, sameKind)
		last = k
		switch {
		case k == needDigit:
			digits++
		case k == needLower || k == needUpper:
			letters++
			if strings.IndexByte("aeiouAEIOU", c) >= 0 {
				vowels++
			}
		}
	}
	n := len(v)
	switch {
	case n < 16 || digits < 1 || letters < 4 || digits < 2 && (n < 28 || changes*5 < n*2):
		return reject
	case entropy(v) < 3.4 || n >= 28 && entropy(v) < 3.55 && !isHex(v):
		return reject
	case wordy || longestKind > n/2:
		return reject
	case changes*4 < n: // words and numbers change seldom
		return reject
	case vowels*5 > letters*2 && !isHex(v): // two in five, as in words; by chance it is one in five
		return reject
	case looksLikeUUID(v) || bytes.ContainsAny(v, " \t,;:()[]{}<>|&\\'\"`"):
		return reject
	case bytes.Count(v, []byte(".")) > 2 || !dense(v) && (bytes.Count(v, []byte("/")) > 2 || bytes.Count(v, []byte("-")) > 2 || bytes.Count(v, []byte("_")) > 2):
		return reject
	case ascending(v) || isSelector(v):
		return reject
	}
	return plausible
}

// dense tells base64 from paths and names with dashes: all kinds of letters, digits, and no order among them.
func dense(v []byte) bool {
	const all = needDigit | needLower | needUpper
	return len(v) >= 32 && has(v)&all == all && entropy(v) >= 4.3 && v[0] != '/'
}

// isSelector tells of an expression in a program: cfg.Section.Field.
func isSelector(b []byte) bool {
	head, _, ok := bytes.Cut(b, []byte("."))
	return ok && len(head) > 0 && has(head)&^(needLetter|needLower|needUpper) == 0
}

// madeUp are parts of passwords that nobody means.
var madeUp = []string{"test", "demo", "1234", "abcd", "qwert", "string", "chang", "enter", "asdf", "todo"}

// checkPassword tells a password that was set from words, paths, and references to where it is kept.
func checkPassword(text []byte, start, end int) outcome {
	v := text[start:end]
	word, wordVowels, changes, vowels, letters := 0, 0, 0, 0, 0
	wordy := false // a run of small letters that reads like a word
	var last need
	for _, c := range v {
		k := has([]byte{c}) &^ needLetter
		vowel := strings.IndexByte("aeiouAEIOU", c) >= 0
		if k == needLower {
			word++
			if vowel {
				wordVowels++
			}
			wordy = wordy || word >= 8 && wordVowels*4 >= word
		} else {
			word, wordVowels = 0, 0
		}
		if k == needLower || k == needUpper {
			letters++
			if vowel {
				vowels++
			}
		}
		if k != last {
			changes++
		}
		last = k
	}
	kinds := has(v)
	low := strings.ToLower(string(v))
	switch {
	case isCommonPassword(low) || strings.Contains(low, "pass") || strings.Contains(low, "secret") || strings.Contains(low, "pwd"):
		return reject
	case v[0] == '/' || v[0] == '.' || v[0] == '$' || v[0] == '%' || v[0] == '@' || strings.Contains(low, "://") || strings.ContainsAny(low, "\\"):
		return reject
	case len(v) < 16 && slices.ContainsFunc(madeUp, func(w string) bool { return strings.Contains(low, w) }):
		return reject
	case wordy || changes*(3+len(v)/14) < len(v) || looksLikeUUID(v) || ascending(v):
		return reject
	case kinds&needDigit == 0 && (vowels*10 > letters*3 || kinds&needSymbol != 0 && len(v) < 12): // words, joined
		return reject
	case len(v) < 12 && kinds&needDigit == 0:
		return reject
	}
	return plausible
}

// checkURLPassword: the password of an address or connection string, unless its host is this machine
// or a name that documentation uses (RFC 2606), or the password a word.
func checkURLPassword(text []byte, start, end int) outcome {
	v := string(text[start:end])
	if isCommonPassword(v) || strings.ContainsAny(v, "$%{}<>") && !strings.Contains(v, "%2") && !strings.Contains(v, "%4") {
		return reject
	}
	low := strings.ToLower(v)
	if strings.Contains(low, "pass") || strings.Contains(low, "secret") || strings.Trim(low, "x*.-_") == "" {
		return reject
	}
	host := text[end:min(len(text), end+130)]
	if at := bytes.IndexByte(host, '@'); at == 0 {
		host = host[1:]
		if stop := bytes.IndexAny(host, ":/?# \t\r\n\"'`,;)>\\"); stop >= 0 {
			host = host[:stop]
		}
	} else { // a connection string: its beginning names the host
		host = text[max(0, start-250):start]
		if i := bytes.LastIndexAny(host, "\"'\n"); i >= 0 {
			host = host[i:]
		}
	}
	h := strings.ToLower(string(host))
	for _, local := range []string{"localhost", "127.0.0.1", "0.0.0.0", "example.", "host.docker.internal", ".invalid", ".test", "(local)"} {
		if strings.Contains(h, local) {
			return reject
		}
	}
	const all = needDigit | needLower | needUpper
	if random := len(v) >= 10 && has([]byte(v))&all == all; !random && (h == "host" || h == "hostname" || h == "server" || h == "db" || h == "proxy" || h == "foo.com" || h == "test.com" || h == "foo" || h == "bar") {
		return reject
	}
	return plausible
}

func isHex(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

func looksLikeUUID(b []byte) bool {
	return len(b) == 36 && b[8] == '-' && b[13] == '-' && b[18] == '-' && b[23] == '-'
}

// ascending tells of alphabets and counters: more than a third of the steps are by one.
func ascending(b []byte) bool {
	steps := 0
	for i := 1; i < len(b); i++ {
		if b[i] == b[i-1]+1 {
			steps++
		}
	}
	return steps*3 > len(b)
}

// isCommonPassword knows the words that stand for a password in documentation.
func isCommonPassword(s string) bool {
	s = strings.ToLower(strings.Trim(s, "[]<>{}*$%"))
	return slices.Contains([]string{
		"password", "passwd", "pass", "pwd", "secret", "mysecret", "test", "testing", "test123", "root", "admin", "user", "guest", "postgres", "mysql",
		"changeme", "changeit", "hunter2", "foo", "bar", "baz", "foobar", "qwerty", "letmein", "token", "pw", "mypassword", "my-password", "my_password",
		"mypass", "passw0rd", "p4ssw0rd", "p@ssw0rd", "p@ssword", "pass123", "pass1234", "password1", "password123", "userpass", "username", "credentials", "redis",
		"rabbitmq", "mongo", "mongodb", "default", "abc123", "123456", "1234", "12345", "supersecret", "topsecret", "s3cr3t", "s3cret", "secr3t", "none", "null", "true", "false",
		"undefined", "pswd", "access_token", "yourpassword", "your-password", "dbpass", "dbpassword", "db_password", "apikey", "auth", "host", "p",
	}, s)
}
