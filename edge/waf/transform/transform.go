// Package transform has the transformations of SecLang, which rules ask for with t:NAME. Each does what Coraza's does, byte for
// byte, quirks included: a test compares all of them. They are pure and safe for concurrent use, and return the very string
// that they were given where nothing changes.
package transform

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// Transform is one transformation.
type Transform struct {
	Name string // in lower case
	// touched are the bytes without which a value stays as it is.
	touched Bytes
	// apply returns the new value, and whether Coraza counts it as changed, which decides what multiMatch looks at.
	apply func(*Arena, string) (string, bool)
}

// Apply returns the value transformed, in the memory of a.
func (t *Transform) Apply(a *Arena, value string) string {
	out, _ := t.apply(a, value)
	return out
}

// Touches reports whether a value that consists of these bytes may become another.
func (t *Transform) Touches(in *Bytes) bool { return t.touched == anyByte() || t.touched.Meets(in) }

// Lookup returns the transformation of that name, which is not case-sensitive.
func Lookup(name string) (Transform, bool) {
	name = strings.ToLower(name)
	all, high := anyByte(), high()
	space := bytesOf("\t\n\v\f\r ")
	t := Transform{Name: name}
	switch name {
	case "none":
		t.apply = func(_ *Arena, s string) (string, bool) { return s, false }
	case "base64decode":
		t.touched, t.apply = all, func(a *Arena, s string) (string, bool) { return decodeBase64(a, s, false), true }
	case "base64decodeext":
		t.touched, t.apply = all, func(a *Arena, s string) (string, bool) { return decodeBase64(a, s, true), true }
	case "base64encode":
		t.touched, t.apply = all, func(_ *Arena, s string) (string, bool) { return base64.StdEncoding.EncodeToString([]byte(s)), true }
	case "cmdline":
		t.touched, t.apply = bytesOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ\"'\\^ ,;\t\r\n"), cmdLine
	case "compresswhitespace":
		t.touched, t.apply = space.with(bytesOf("\xc2\xa0")), compressWhitespace
	case "cssdecode":
		t.touched, t.apply = bytesOf(`\`), cssDecode
	case "escapeseqdecode":
		t.touched, t.apply = bytesOf(`\`), escapeSeqDecode
	case "hexdecode":
		t.touched, t.apply = all, hexDecode
	case "hexencode":
		t.touched, t.apply = all, func(_ *Arena, s string) (string, bool) { return hex.EncodeToString([]byte(s)), true }
	case "htmlentitydecode":
		t.touched, t.apply = bytesOf("&"), func(_ *Arena, s string) (string, bool) {
			out := html.UnescapeString(s)
			return out, len(out) != len(s)
		}
	case "jsdecode":
		t.touched, t.apply = bytesOf(`\`), jsDecode
	case "length":
		t.touched, t.apply = all, func(_ *Arena, s string) (string, bool) { return strconv.Itoa(len(s)), true }
	case "lowercase":
		t.touched, t.apply = bytesOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ").with(high), lowercase
	case "md5":
		t.touched, t.apply = all, func(_ *Arena, s string) (string, bool) {
			sum := md5.Sum([]byte(s))
			return string(sum[:]), true
		}
	case "normalisepath", "normalizepath":
		t.touched, t.apply = bytesOf("/."), normalisePath
	case "normalisepathwin", "normalizepathwin":
		t.touched, t.apply = bytesOf(`/\. :`), normalisePathWin
	case "removecomments":
		t.touched, t.apply = bytesOf("/<-#"), removeComments
	case "removecommentschar":
		t.touched, t.apply = bytesOf("/*<-#"), removeCommentsChar
	case "removenulls":
		t.touched, t.apply = bytesOf("\x00"), same(func(s string) string { return strings.ReplaceAll(s, "\x00", "") })
	case "removewhitespace":
		t.touched, t.apply = space.with(high), removeWhitespace
	case "replacecomments":
		t.touched, t.apply = bytesOf("/"), replaceComments
	case "replacenulls":
		t.touched, t.apply = bytesOf("\x00"), same(func(s string) string { return strings.ReplaceAll(s, "\x00", " ") })
	case "sha1":
		t.touched, t.apply = all, func(_ *Arena, s string) (string, bool) {
			sum := sha1.Sum([]byte(s))
			return string(sum[:]), true
		}
	case "trim":
		t.touched, t.apply = space, same(func(s string) string { return strings.Trim(s, blank) })
	case "trimleft":
		t.touched, t.apply = space, same(func(s string) string { return strings.TrimLeft(s, blank) })
	case "trimright":
		t.touched, t.apply = space, same(func(s string) string { return strings.TrimRight(s, blank) })
	case "uppercase":
		t.touched, t.apply = bytesOf("abcdefghijklmnopqrstuvwxyz").with(high), same(strings.ToUpper)
	case "urldecode":
		t.touched, t.apply = bytesOf("%+"), urlDecode
	case "urldecodeuni":
		t.touched, t.apply = bytesOf("%+"), urlDecodeUni
	case "urlencode":
		t.touched, t.apply = all, urlEncode
	case "utf8tounicode":
		t.touched, t.apply = high, utf8ToUnicode
	default:
		return Transform{}, false
	}
	return t, true
}

// blank is what the three trims take away.
const blank = " \t\n\r\f\v"

// same counts as changed what is not equal.
func same(f func(string) string) func(*Arena, string) (string, bool) {
	return func(_ *Arena, s string) (string, bool) {
		out := f(s)
		return out, out != s
	}
}

// hexDecode leaves as it is what is not hexadecimal.
func hexDecode(_ *Arena, s string) (string, bool) {
	out, err := hex.DecodeString(s)
	if err != nil {
		return s, false
	}
	return string(out), true
}
