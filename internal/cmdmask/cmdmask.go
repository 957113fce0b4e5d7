// Package cmdmask makes the forms of command lines that may be recorded: passwords and tokens become "*".
//
// What the name of an option, a variable, a header field or a parameter of an address says to be a secret is one, and what a program is known to take as
// one; inside of scripts of the shell, too. What is one by its looks is left to a function that knows them. A masked line is for people: it
// cannot be told apart from one that had "*" in it.
package cmdmask

import (
	"slices"
	"strings"
)

// masked stands where a secret stood.
const masked = "*"

// MaxLine bounds, in bytes, the recorded form of a command line.
const MaxLine = 8 << 10

// Masker masks command lines. It is not changed after its making, and safe for concurrent use where its redact function is.
type Masker struct {
	extra  []string // further names, without dashes in front, lower case
	redact func(string) string
}

// New returns a Masker. Extra are names of further options and variables whose values are secrets; redact takes out of a line what is a secret by its
// looks, nil nothing.
func New(extra []string, redact func(string) string) *Masker {
	m := &Masker{redact: redact}
	if m.redact == nil {
		m.redact = func(s string) string { return s }
	}
	for _, name := range extra {
		m.extra = append(m.extra, strings.ToLower(strings.TrimLeft(name, "-")))
	}
	return m
}

// Redact returns a text without what is a secret by its looks.
func (m *Masker) Redact(s string) string { return m.redact(s) }

// Line returns the recorded form of a command line, its arguments joined by spaces, of a bounded length. Where it was cut, its last word may be a piece of a secret that
// cannot be told any more, and is left out.
func (m *Masker) Line(args []string, cut bool) string {
	words := maskedWords{m: m}
	for i, a := range args {
		if i > 0 {
			words.b.WriteByte(' ')
		}
		if cut && i == len(args)-1 {
			words.b.WriteString("…")
			break
		}
		words.argument(a)
	}
	s := m.redact(words.b.String())
	if len(s) > MaxLine {
		s = strings.ToValidUTF8(s[:MaxLine], "") + "…"
	}
	return s
}

// maskedWords goes through the words of a command line.
type maskedWords struct {
	m       *Masker
	b       strings.Builder
	options []secretOption // of the program that was named last
	next    secretPart     // what of the next word is a secret
}

func (w *maskedWords) argument(a string) { w.script(w.m.headers(a), 0) }

// maxQuoting bounds how deep quotes are looked into.
const maxQuoting = 8

// script writes the words of a text that a shell may read.
func (w *maskedWords) script(a string, depth int) {
	if !strings.ContainsAny(a, " \t\n") || w.next != 0 && depth == 0 {
		w.word(a, maxQuoting)
		return
	}
	for a != "" {
		end := wordEnd(a)
		if end > 0 {
			w.word(a[:end], depth)
		}
		if end < len(a) {
			w.b.WriteByte(a[end])
			end++
		}
		a = a[end:]
	}
}

// wordEnd returns where the first word ends: at a space or sign of the shell that is not quoted.
func wordEnd(a string) int {
	for i := 0; i < len(a); i++ {
		switch c := a[i]; c {
		case ' ', '\t', '\n', ';', '|', '&', '(', ')':
			return i
		case '"', '\'', '`':
			if close := strings.IndexByte(a[i+1:], c); close >= 0 {
				i += close + 1
			}
		}
	}
	return len(a)
}

func (w *maskedWords) word(word string, depth int) {
	open := len(word) - len(strings.TrimLeft(word, `"'`+"`"))
	end := len(strings.TrimRight(word[open:], `"'`+"`")) + open
	inner := word[open:end]
	w.b.WriteString(word[:open])
	if name, _, ok := strings.Cut(inner, "="); depth < maxQuoting && open > 0 && w.next == 0 && strings.ContainsAny(inner, " \t\n") && !(ok && w.m.secretName(name)) {
		w.script(inner, depth+1)
	} else {
		w.b.WriteString(w.bare(inner))
	}
	w.b.WriteString(word[end:])
}

// bare returns the recorded form of a word without its quotes.
func (w *maskedWords) bare(s string) string {
	if s == "" {
		return s
	}
	if part := w.next; part != 0 {
		w.next = 0
		return part.mask(s)
	}
	if options, ok := secretOptions[s[strings.LastIndexByte(s, '/')+1:]]; ok {
		w.options = options
	}
	for _, o := range w.options {
		rest, ok := strings.CutPrefix(s, o.name)
		switch {
		case !ok:
		case rest == "" && o.form != attached:
			w.next = o.part
			return s
		case rest != "" && o.form != separate && !strings.HasPrefix(rest, "="):
			return o.name + o.part.mask(rest)
		}
	}
	if name, value, ok := strings.Cut(s, "="); ok && w.m.secretName(name) {
		if value == "" {
			return s
		}
		return name + "=" + masked
	}
	if strings.HasPrefix(s, "-") && w.m.secretName(s) {
		w.next = wholePart
		return s
	}
	if scheme, secret, ok := strings.Cut(s, "pass:"); ok && scheme == "" && secret != "" {
		return "pass:" + masked
	}
	if strings.Contains(s, "://") {
		return w.m.address(s)
	}
	return s
}

// secretName reports whether what has this name is a secret: the value of an option, a variable, a parameter, a header.
func (m *Masker) secretName(name string) bool {
	name = strings.ToLower(strings.TrimLeft(name, "-"))
	if len(name) < 2 || len(name) > 64 || strings.ContainsAny(name, "/ \t\"'") {
		return false
	}
	if slices.Contains(m.extra, name) {
		return true
	}
	for _, end := range []string{"file", "path", "dir", "name", "stdin", "prompt", "ttl", "type", "length", "expires", "expiry", "url", "uri", "endpoint", "audience", "id"} {
		if strings.HasSuffix(name, end) && name != "passphrase-fd" {
			return false
		}
	}
	for _, word := range []string{"passw", "passphrase", "passcode", "secret", "token", "apikey", "api-key", "api_key", "accesskey", "access-key", "access_key",
		"privatekey", "private-key", "private_key", "credential", "authorization", "cookie", "bearer", "signature", "sharedkey", "shared_key", "encryption_key", "connectionstring", "connection_string"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	for _, word := range []string{"pass", "pwd", "mysql_pwd", "auth", "x-auth", "sig", "sas", "pin", "psk", "pat", "dsn", "key"} {
		if name == word {
			return true
		}
	}
	return strings.HasSuffix(name, "_pass") || strings.HasSuffix(name, "-pass") || strings.HasSuffix(name, "_pwd") || strings.HasSuffix(name, "_key") ||
		strings.HasSuffix(name, "_auth") || strings.HasSuffix(name, "_dsn")
}

// headers masks the values of header fields that are secrets: up to the quote, or to the end.
func (m *Masker) headers(a string) string {
	for from := 0; ; {
		colon := strings.IndexByte(a[from:], ':')
		if colon < 0 {
			return a
		}
		colon += from
		from = colon + 1
		begin := colon
		for begin > 0 && (a[begin-1] == '-' || a[begin-1] == '_' || 'a' <= a[begin-1]|0x20 && a[begin-1]|0x20 <= 'z') {
			begin--
		}
		name := strings.ToLower(a[begin:colon])
		if strings.HasPrefix(a[colon:], "://") || !m.secretName(strings.TrimPrefix(name, "-h")) || name == "pass" {
			continue
		}
		end := strings.IndexAny(a[from:], "\"'`\n")
		if end < 0 {
			end = len(a)
		} else {
			end += from
		}
		if strings.TrimSpace(a[from:end]) == "" {
			continue
		}
		space := ""
		if a[from] == ' ' {
			space = " "
		}
		a = a[:from] + space + masked + a[end:]
		from += len(space) + len(masked)
	}
}

// address masks the password and the secret parameters of an address.
func (m *Masker) address(s string) string {
	at := strings.Index(s, "://") + 3
	host := strings.IndexAny(s[at:], "/?#")
	if host < 0 {
		host = len(s)
	} else {
		host += at
	}
	if sign := strings.LastIndexByte(s[at:host], '@'); sign >= 0 {
		user, _, ok := strings.Cut(s[at:at+sign], ":")
		if ok {
			user += ":" + masked
		} else if len(user) > 16 {
			user = masked // a token
		}
		s = s[:at] + user + s[at+sign:]
	}
	path, query, ok := strings.Cut(s, "?")
	if !ok {
		return s
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if name, value, ok := strings.Cut(pair, "="); ok && value != "" && m.secretName(name) {
			pairs[i] = name + "=" + masked
		}
	}
	return path + "?" + strings.Join(pairs, "&")
}

// secretPart is what of a word is a secret.
type secretPart byte

const (
	wholePart   secretPart = '.'
	behindColon secretPart = ':'
	behindShare secretPart = '%'
	behindComma secretPart = ','
)

func (p secretPart) mask(s string) string {
	if p == wholePart {
		return masked
	}
	if i := strings.IndexByte(s, byte(p)); i >= 0 {
		return s[:i+1] + masked
	}
	return s
}

type optionForm uint8

const (
	either optionForm = iota
	attached
	separate
)

type secretOption struct {
	name string
	form optionForm
	part secretPart
}

// secretOptions are options of programs that pass secrets and whose names do not say so.
var secretOptions = func() map[string][]secretOption {
	all := map[string][]secretOption{
		"curl":    {{"-u", either, behindColon}, {"--user", separate, behindColon}, {"-U", either, behindColon}, {"--proxy-user", separate, behindColon}, {"-b", either, wholePart}, {"--oauth2-bearer", separate, wholePart}},
		"sshpass": {{"-p", either, wholePart}}, "redis-cli": {{"-a", either, wholePart}}, "ldapsearch": {{"-w", either, wholePart}}, "ldapmodify": {{"-w", either, wholePart}},
		"ldapadd": {{"-w", either, wholePart}}, "ldapwhoami": {{"-w", either, wholePart}}, "ipmitool": {{"-P", either, wholePart}},
		"openssl":   {{"-k", separate, wholePart}, {"-K", separate, wholePart}, {"-passin", separate, wholePart}, {"-passout", separate, wholePart}},
		"smbclient": {{"-U", either, behindShare}, {"--user", separate, behindShare}}, "rpcclient": {{"-U", either, behindShare}},
		"lftp": {{"-u", either, behindComma}}, "zip": {{"-P", either, wholePart}}, "unzip": {{"-P", either, wholePart}},
		"7z": {{"-p", attached, wholePart}}, "7za": {{"-p", attached, wholePart}}, "rar": {{"-p", attached, wholePart}, {"-hp", attached, wholePart}}, "unrar": {{"-p", attached, wholePart}},
		"useradd": {{"-p", separate, wholePart}}, "usermod": {{"-p", separate, wholePart}}, "xfreerdp": {{"/p:", attached, wholePart}}, "rdesktop": {{"-p", either, wholePart}},
		"az": {{"-p", separate, wholePart}}, "login": {{"-p", either, wholePart}}, "mosquitto_pub": {{"-P", either, wholePart}}, "mosquitto_sub": {{"-P", either, wholePart}},
		"snmpwalk": {{"-c", either, wholePart}, {"-A", either, wholePart}, {"-X", either, wholePart}}, "snmpget": {{"-c", either, wholePart}, {"-A", either, wholePart}, {"-X", either, wholePart}},
		"bcp": {{"-P", either, wholePart}}, "sqlcmd": {{"-P", either, wholePart}}, "nxc": {{"-p", separate, wholePart}}, "crackmapexec": {{"-p", separate, wholePart}},
	}
	for _, name := range strings.Fields("mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlslap mariadb mariadb-dump mariadb-admin mycli") {
		all[name] = []secretOption{{"-p", attached, wholePart}}
	}
	for _, name := range strings.Fields("mongo mongosh mongodump mongorestore mongoexport mongoimport") {
		all[name] = []secretOption{{"-p", either, wholePart}}
	}
	return all
}()
