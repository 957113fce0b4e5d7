package people

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxName is the longest name of a person or token, in bytes.
const MaxName = 32

// CheckName accepts the names that people and tokens can have: a lower-case
// letter, then lower-case letters, digits and ". _ -", ending in a letter or
// digit. So no two names look alike, and none needs escaping anywhere.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		letter, digit := c >= 'a' && c <= 'z', c >= '0' && c <= '9'
		switch {
		case letter, digit && i > 0:
		case (c == '.' || c == '_' || c == '-') && i > 0 && i < len(name)-1:
		default:
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("%w: %.40q; use 1 to %d lower-case letters, digits and . _ -, beginning with a letter", ErrName, name, MaxName)
	}
	return nil
}

// typed forgives what phones do to a name that is typed in.
func typed(name string) string {
	if len(name) > 4*MaxName {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// Limits of a password.
const (
	MinPassword      = 12  // characters
	MaxPasswordBytes = 512 // after normalisation
)

// normalize makes the same characters typed on different systems the same
// bytes (NIST SP 800-63B, section 3.1.1.2).
func normalize(password string) string { return norm.NFC.String(password) }

// CheckPassword says what is wrong with a new password: length counts, kinds of
// characters do not (NIST SP 800-63B, section 3.1.1.2).
func CheckPassword(name, password string) error {
	if len(password) > 4*MaxPasswordBytes || len(normalize(password)) > MaxPasswordBytes {
		return fmt.Errorf("%w: longer than %d bytes", ErrPassword, MaxPasswordBytes)
	}
	if !utf8.ValidString(password) {
		return fmt.Errorf("%w: it is not text", ErrPassword)
	}
	if n := utf8.RuneCountInString(normalize(password)); n < MinPassword {
		return fmt.Errorf("%w: it has %d characters, at least %d are needed; a few unrelated words make a good one", ErrPassword, n, MinPassword)
	}
	low := strings.ToLower(password)
	distinct := map[rune]bool{}
	rest := low
	for _, obvious := range []string{name, "testudo", "password", "passwort", "letmein", "welcome", "changeme", "qwertyuiop", "qwerty", "asdfghjkl", "1234567890", "0987654321", "12345678", "abcdefgh", "iloveyou", "admin"} {
		if obvious != "" {
			rest = strings.ReplaceAll(rest, obvious, "")
		}
	}
	for _, r := range rest {
		distinct[r] = true
	}
	if len(distinct) < 5 {
		return fmt.Errorf("%w: it is among the first that would be guessed", ErrPassword)
	}
	return nil
}
