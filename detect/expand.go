package detect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
)

var template = regexp.MustCompile(`\{\{([a-z0-9-]+)((?: (?:[^{}]|\{[^{}]*\})*)?)\}\}`)

const (
	lowerLetters = "abcdefghijklmnopqrstuvwxyz"
	upperLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits       = "0123456789"
)

// Expand fills the templates in an example's text, so that rule files and tests hold no
// token that another tool would take for real. The same text and seed give the same
// result. Templates are
//
//	{{hex 40}} {{digits 12}} {{lower 8}} {{upper 8}} {{alnum 20}} {{base62 36}} {{base64 88}} {{base64url 43}} {{base32 16}}
//
// for so many random characters of that alphabet ({{alnum}}: lower case and digits; {{base32}}: upper case
// and 2 to 7), and
//
//	{{uuid}}            a random UUID
//	{{join AB cd}}      its words without the spaces between them
//	{{github ghp_}}     a token with GitHub's checksum behind that prefix
//	{{gitlab glpat-}}   a routable GitLab token behind that prefix
//	{{grafana}}         a Grafana service account token
//	{{aws AKIA}}        an AWS access key id that holds an account number
//	{{age}}             an age identity
//	{{jwt}}             a signed JSON Web Token
//	{{pem EC}}          a private key: EC, PKCS8 or OPENSSH
//	{{pem-line PKCS8}}  the same with \n for line ends
//	{{b64 TEXT}}        the base64 of TEXT, in which {hex 20} and the like are filled
//	{{b64-pem EC}}      the base64 of such a private key
//	{{pypi}}            a PyPI token
//	{{azure}}           an Azure storage key
func Expand(text string, seed string) (string, error) {
	h := fnv.New64a()
	h.Write([]byte(seed))
	r := rand.New(rand.NewPCG(h.Sum64(), uint64(len(text))))
	var failed error
	out := template.ReplaceAllStringFunc(text, func(t string) string {
		m := template.FindStringSubmatch(t)
		s, err := fill(r, m[1], strings.TrimSpace(m[2]))
		if err != nil && failed == nil {
			failed = fmt.Errorf("template %s: %w", t, err)
		}
		return s
	})
	return out, failed
}

func alphabet(name string) (string, bool) {
	switch name {
	case "hex":
		return "0123456789abcdef", true
	case "digits":
		return digits, true
	case "lower":
		return lowerLetters, true
	case "upper":
		return upperLetters, true
	case "alnum":
		return lowerLetters + digits, true
	case "base62":
		return base62, true
	case "base64":
		return base62 + "+/", true
	case "base64url":
		return base62 + "-_", true
	case "base32":
		return upperLetters + "234567", true
	}
	return "", false
}

func random(r *rand.Rand, from string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}

var inner = regexp.MustCompile(`\{([a-z0-9]+) (\d+)\}`)

func fill(r *rand.Rand, name, arg string) (string, error) {
	if from, ok := alphabet(name); ok {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || n > 4096 {
			return "", fmt.Errorf("want a number of characters from 1 to 4096")
		}
		return random(r, from, n), nil
	}
	switch name {
	case "uuid":
		h := random(r, "0123456789abcdef", 31)
		return h[:8] + "-" + h[8:12] + "-4" + h[12:15] + "-a" + h[15:18] + "-" + h[19:31], nil
	case "join":
		return strings.Join(strings.Fields(arg), ""), nil
	case "github":
		body := random(r, base62, 30)
		return arg + body + crc62([]byte(body)), nil
	case "gitlab":
		const length = "14" // 40 in base 36
		body := arg + random(r, base62, 40) + ".01." + length
		return body + gitLabSum([]byte(body)), nil
	case "grafana":
		body := "glsa_" + random(r, base62, 32)
		return body + "_" + grafanaSum([]byte(body)), nil
	case "aws":
		return arg + random(r, "RSTUVWXYZ", 1) + random(r, upperLetters+"234567", 15), nil
	case "age":
		return ageKey(r), nil
	case "jwt":
		enc := base64.RawURLEncoding.EncodeToString
		return enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(`{"sub":"`+random(r, digits, 6)+`","role":"service"}`)) + "." + random(r, base62+"-_", 43), nil
	case "pem", "pem-line", "b64-pem":
		block, err := privateKey(r, arg)
		switch {
		case err != nil:
			return "", err
		case name == "pem-line":
			return strings.ReplaceAll(block, "\n", `\n`), nil
		case name == "b64-pem":
			return base64.StdEncoding.EncodeToString([]byte(block)), nil
		}
		return block, nil
	case "b64":
		text := inner.ReplaceAllStringFunc(arg, func(t string) string {
			m := inner.FindStringSubmatch(t)
			s, _ := fill(r, m[1], m[2])
			return s
		})
		return base64.StdEncoding.EncodeToString([]byte(text)), nil
	case "pypi":
		return "pypi-" + base64.RawURLEncoding.EncodeToString([]byte("\x02\x01\x08pypi.org\x02\x24"+random(r, base62, 120))), nil
	case "azure":
		b := make([]byte, 64)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return base64.StdEncoding.EncodeToString(b), nil
	}
	return "", fmt.Errorf("unknown")
}

func ageKey(r *rand.Rand) string {
	const hrp = "age-secret-key-"
	data := make([]byte, 52)
	for i := range data {
		data[i] = byte(r.IntN(32))
	}
	sum := bech32Polymod(append(append(bech32Expand(hrp), data...), 0, 0, 0, 0, 0, 0)) ^ 1
	var out strings.Builder
	out.WriteString(hrp + "1")
	for _, v := range data {
		out.WriteByte(bech32[v])
	}
	for i := range 6 {
		out.WriteByte(bech32[sum>>(5*(5-i))&31])
	}
	return strings.ToUpper(out.String())
}

// privateKey makes a key that parses. It is for examples: the seed is no secret.
func privateKey(r *rand.Rand, kind string) (string, error) {
	scalar := make([]byte, 32)
	for i := range scalar {
		scalar[i] = byte(r.Uint32())
	}
	scalar[0] &= 0x7f
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return "", err
	}
	var der []byte
	label := kind + " PRIVATE KEY"
	switch kind {
	case "EC":
		der, err = x509.MarshalECPrivateKey(key)
	case "PKCS8":
		label = "PRIVATE KEY"
		der, err = x509.MarshalPKCS8PrivateKey(key)
	case "OPENSSH":
		raw, _ := hex.DecodeString("0000000000")
		der = append([]byte("openssh-key-v1\x00\x00\x00\x00\x04none\x00\x00\x00\x04none"), raw...)
		for range 200 {
			der = append(der, byte(r.Uint32()))
		}
	default:
		return "", fmt.Errorf("want EC, PKCS8 or OPENSSH")
	}
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})), nil
}
