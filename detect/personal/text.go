package personal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/testudo-sec/testudo/detect"
)

// A textual is a kind that is known by its words.
type textual struct {
	kind       *Kind
	confidence detect.Confidence
	literals   []string
	// left says that what stands before the literal belongs to it as far as it is a path.
	left bool
	// begins looks at the literal, which stands at text[at:]; nil where the literal is enough, and the match goes to the line's end. end is how far the beginning goes, and span how the match goes on behind it.
	begins func(text []byte, at int, whole bool) (end int, span span, a answer)
}

// An answer is what a look at a place gives.
type answer uint8

const (
	no answer = iota
	yes
	wait // for more text
)

const (
	maxLine   = 512  // bytes that a beginning may have
	maxHeader = 2048 // bytes of a JSON Web Token's header
)

// texts are the kinds that are known by their words.
func texts() []textual {
	const high, medium = detect.High, detect.Medium
	trace := func(id, name, proof string) *Kind { return &Kind{ID: id, Name: name, Group: Trace, Proof: proof} }
	frames := []string{"\tat ", `\tat `, "  at "}
	const indent = `(?:\t|\\t|  )at `
	const statement = `(?i:select|insert|update|delete|with|create|alter|drop|call|exec)\W`
	sqlError := &Kind{ID: "sql-error", Name: "database error", Group: Trace, Proof: "words of a database or its driver"}
	const newline = `(?:\r?\n|\\n|\\r\\n)`
	return []textual{
		{kind: &Kind{ID: "private-key", Name: "private key", Group: Secret, Proof: "PEM label, 32 characters of base64"}, confidence: high,
			literals: []string{"-----BEGIN "}, begins: pemKey},
		{kind: &Kind{ID: "jwt", Name: "JSON Web Token", Group: Secret, Proof: "header is JSON and names an algorithm"}, confidence: high,
			literals: []string{"eyJh", "eyJ0", "eyJr", "eyJj", "eyJl", "eyJi", "eyJ4", "eyJ6", "eyJ1", "eyJw"}, begins: webToken},
		{kind: trace("trace-go", "Go stack trace", "a goroutine's first line"), confidence: high, literals: []string{"goroutine "},
			begins: line(`goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[[a-z][^\]\n"]*\]:`+newline, spanGo)},
		{kind: trace("trace-go", "Go stack trace", "a goroutine's first line"), confidence: high, literals: []string{"panic: runtime error: "},
			begins: line(`panic: runtime error: `, spanLine)},
		{kind: trace("trace-java", "Java stack trace", "frame with class, method, file and line"), confidence: high, literals: frames,
			begins: line(indent+`(?:[\w.$@-]*/)*(?:[\w$]+\.)+[\w$<>]+\((?:[\w$.-]+\.(?:java|kt|scala|groovy|clj):\d|Native Method\)|Unknown Source\))`, spanLine)},
		{kind: trace("trace-java", "Java stack trace", "frame with class, method, file and line"), confidence: medium, literals: []string{"Caused by: "},
			begins: line(`Caused by: (?:[\w$]+\.)+[\w$]*(?:Exception|Error)[^\w]`, spanLine)},
		{kind: trace("trace-node", "JavaScript stack trace", "frame with file, line and column"), confidence: high, literals: frames,
			begins: line(indent+`(?:async )?(?:new )?(?:[^\s()"]+ (?:\[as [^\]"\n]+\] )?\()?(?:file://|node:|webpack|https?://|/|[A-Z]:\\)[^\s()"]*:\d+:\d`, spanLine)},
		{kind: trace("trace-dotnet", ".NET stack trace", "frame with method and line, or of the system's namespaces"), confidence: high, literals: frames,
			begins: line(indent+"(?:(?:[\\w+<>\\[\\],`|]+\\.)+[\\w<>\\[\\],`|.]+\\([^()\"\\n]*\\) in [^\"\\n]+:line \\d|(?:System|Microsoft)\\.[\\w.+<>\\[\\],`|]+\\([^()\"\\n]*\\))", spanLine)},
		{kind: trace("trace-python", "Python traceback", "the traceback's first line"), confidence: high, literals: []string{"Traceback (most recent call last):"},
			begins: line(`Traceback \(most recent call last\):`+newline, spanPython)},
		{kind: trace("trace-php", "PHP error or stack trace", "error with file and line"), confidence: high, literals: []string{"Stack trace:"},
			begins: line(`Stack trace:`+newline+`#0 `, spanHash)},
		{kind: trace("trace-php", "PHP error or stack trace", "error with file and line"), confidence: high,
			literals: []string{"<b>Fatal error</b>:  ", "<b>Warning</b>:  ", "<b>Notice</b>:  ", "<b>Deprecated</b>:  ", "<b>Parse error</b>:  ",
				"PHP Fatal error:  ", "PHP Warning:  ", "PHP Notice:  ", "PHP Deprecated:  ", "PHP Parse error:  ", "Fatal error: Uncaught "}},
		{kind: trace("trace-php", "PHP error or stack trace", "error with file and line"), confidence: medium, literals: []string{`"file":`},
			begins: line(`"file": ?"[^"\n]+\.php", ?"line": ?\d`, spanNone)},
		{kind: trace("trace-ruby", "Ruby stack trace", "frame with file, line and method"), confidence: high, literals: []string{".rb:"}, left: true,
			begins: line(`\.rb:\d+:in (?:['`+"`"+`]|\\u0060|\\u0027|&#39;)`, spanLine)},
		{kind: trace("trace-rust", "Rust panic", "panic with file, line and column"), confidence: high, literals: []string{"thread '"},
			begins: line(`thread '[^'\n"]+' (?:\(\d+\) )?panicked at (?:[^\n]*', )?[^\s"]+:\d+:\d`, spanPanic)},
		{kind: trace("trace-rust", "Rust panic", "panic with file, line and column"), confidence: high, literals: []string{"stack backtrace:"},
			begins: line(`stack backtrace:`+newline+` +\d+: `, spanIndent)},
		{kind: sqlError, confidence: high,
			literals: []string{"You have an error in your SQL syntax", "Unclosed quotation mark after the character string", "psycopg2.errors.", "sqlite3.OperationalError: ", "org.postgresql.util.PSQLException: ",
				"com.mysql.jdbc.exceptions", "System.Data.SqlClient.SqlException", "Microsoft OLE DB Provider for SQL", "Microsoft OLE DB Provider for ODBC", "[Microsoft][ODBC ",
				"supplied argument is not a valid MySQL", "pg_query(): ", "mysqli_sql_exception: "}},
		{kind: sqlError, confidence: high,
			literals: []string{"SQLSTATE[", "ORA-0", "PG::", "syntax error at or near ", "SQLite3::", "java.sql.SQL", "[SQL: ", "(SQL: ", "Unknown column '", "MySqlException", "LINE 1: "},
			begins: line(`(?:SQLSTATE\[[0-9A-Z]+\]|ORA-0\d\d\d\d: |PG::[A-Z]\w+: |syntax error at or near (?:\\?"|&quot;|\\u0022)|SQLite3::\w*Exception|java\.sql\.SQL\w*Exception: |`+
				`[(\[]SQL: `+statement+`|Unknown column '[^'\n]+' in '|MySqlException(?: \(0x|: )|LINE 1: `+statement+`)`, spanLine)},
	}
}

// line makes a look by an expression, at the first place where it has matched; mode tells how the match goes on there.
func line(expression string, mode spanMode) func(text []byte, at int, whole bool) (int, span, answer) {
	p := newPattern(expression)
	return func(text []byte, at int, whole bool) (int, span, answer) {
		n, a := p.match(text[at:], whole)
		if a != yes {
			return 0, span{}, a
		}
		return at + n, newSpan(mode, text, at, at+n), yes
	}
}

// pemKey: the label of a private key (RFC 7468 section 10 and 11, RFC 9580 section 6.2), and base64.
func pemKey(text []byte, at int, whole bool) (int, span, answer) {
	const begin = "-----BEGIN "
	i := at + len(begin)
	label := i
	for i < len(text) && i-label < 60 && (isUpper(text[i]) || isDigit(text[i]) || text[i] == ' ') {
		i++
	}
	if rest := text[i:]; len(rest) < 5 && !whole && bytes.HasPrefix([]byte("-----"), rest) {
		return 0, span{}, wait
	}
	if !bytes.HasPrefix(text[i:], []byte("-----")) {
		return 0, span{}, no
	}
	if name := text[label:i]; !bytes.HasSuffix(name, []byte("PRIVATE KEY")) && !bytes.HasSuffix(name, []byte("PRIVATE KEY BLOCK")) {
		return 0, span{}, no
	}
	i += 5
	body, run := i, 0
	for ; i < len(text) && i-body < maxLine; i++ {
		switch c := text[i]; {
		case c == '\\':
			if i+1 < len(text) && text[i+1] != '/' {
				run = 0
			}
			i++
		case isDigit(c) || isUpper(c) || isLower(c) || c == '+' || c == '/' || c == '=':
			if run++; run == 32 {
				return body, newSpan(spanPEM, text, at, body), yes
			}
		case c == '"', c == '<', c == '-' && i > body && text[i-1] == '-':
			return 0, span{}, no
		default:
			run = 0
		}
	}
	if i >= len(text) && i-body < maxLine && !whole {
		return 0, span{}, wait
	}
	return 0, span{}, no
}

// webToken: a header that is JSON and names an algorithm (RFC 7515, RFC 7516), and a second part.
func webToken(text []byte, at int, whole bool) (int, span, answer) {
	if at > 0 && text[at-1] == '-' {
		return 0, span{}, no
	}
	i := at
	for i < len(text) && i-at < maxHeader && (isWord(text[i]) || text[i] == '-') {
		i++
	}
	if i == len(text) && i-at < maxHeader && !whole {
		return 0, span{}, wait
	}
	if i == len(text) || text[i] != '.' || i-at < 16 {
		return 0, span{}, no
	}
	// The second part may be empty where the payload is detached; then nothing tells it from other text.
	if i+1 == len(text) && !whole {
		return 0, span{}, wait
	}
	if i+1 >= len(text) || !isWord(text[i+1]) && text[i+1] != '-' {
		return 0, span{}, no
	}
	var header [maxHeader]byte
	n, err := base64.RawURLEncoding.Decode(header[:], text[at:i])
	if err != nil || !bytes.Contains(header[:n], []byte(`"alg"`)) || !json.Valid(header[:n]) {
		return 0, span{}, no
	}
	return i, newSpan(spanToken, text, at, i), yes
}
