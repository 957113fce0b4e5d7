package detect

import "bytes"

const (
	maxName  = 80
	maxValue = 1024
	maxBlank = 40
)

// assignment is `name = value` as positions in a text.
type assignment struct {
	name, value, nameEnd, valueEnd int
	quoted                         bool
}

func isName(c byte) bool { return isWord(c) || c == '-' || c == '.' }

// nameAround widens a keyword's place to the whole name.
func nameAround(b []byte, start, end int) (int, int) {
	for limit := start - maxName; start > 0 && start > limit && isName(b[start-1]); {
		start--
	}
	for limit := end + maxName; end < len(b) && end < limit && isName(b[end]); {
		end++
	}
	return start, end
}

// readAssignment reads what follows a name. It takes time bounded by the limits above.
func readAssignment(b []byte, name, nameEnd int) (a assignment, ok bool) {
	a.name, a.nameEnd = name, nameEnd
	i := nameEnd
	for n := 0; i < len(b) && n < 3 && (b[i] == '"' || b[i] == '\'' || b[i] == ']' || b[i] == '\\' || b[i] == '`'); n++ {
		i++
	}
	after := i
	i = skipBlank(b, i)
	if i >= len(b) {
		return a, false
	}
	bare := true // may the value stand without quotes?
	switch b[i] {
	case '>':
		return readElement(b, i+1, a)
	case ':':
		i++
		if i < len(b) && b[i] == '=' {
			i, bare = i+1, false
		} else if j := afterType(b, i); j > 0 {
			i, bare = j, false
		}
	case '=':
		i++
		if i < len(b) && b[i] == '>' {
			i, bare = i+1, false
		}
	default:
		if i = apart(b, name, after); i < 0 {
			return a, false
		}
		if i < len(b) && b[i] == '>' {
			return readElement(b, i+1, a)
		}
	}
	if i < len(b) && (b[i] == '=' || b[i] == ':' || b[i] == '~') {
		return a, false
	}
	i = skipBlank(b, i)
	if i+1 < len(b) && (b[i+1] == '"' || b[i+1] == '\'') && (isWord(b[i]) || b[i] == '@' || b[i] == '\\') {
		i++ // b"...", @"...", \"...
	}
	if i >= len(b) {
		return a, false
	}
	if b[i] != '"' && b[i] != '\'' && name > 1 && (b[name-1] == '/' || b[name-1] == ':' && isWord(b[name-2])) {
		return a, false // a path, or one of several things with colons between
	}
	if q := b[i]; q == '"' || q == '\'' || q == '`' {
		a.quoted, a.value = true, i+1
		for j := a.value; j < len(b) && j < a.value+maxValue; j++ {
			switch b[j] {
			case q:
				a.valueEnd = j
				if j > a.value && b[j-1] == '\\' {
					a.valueEnd--
				}
				return a, a.valueEnd > a.value
			case '\n', '\r', 0:
				return a, false
			}
		}
		return a, false
	}
	if !bare {
		return a, false
	}
	return readBare(b, i, a)
}

// afterType returns where the value of a declaration begins whose type stands behind a colon, as in `key: &str = "..."`; 0 if
// there is none: the value is in quotes.
func afterType(b []byte, i int) int {
	const longest = 24
	for j := skipBlank(b, i); j < len(b) && j < i+longest; j++ {
		switch c := b[j]; {
		case c == '=':
			if k := skipBlank(b, j+1); j > i+1 && k < len(b) && (b[k] == '"' || b[k] == '\'') {
				return j + 1
			}
			return 0
		case !isWord(c) && !bytes.ContainsRune([]byte("& ?![]<>."), rune(c)):
			return 0
		}
	}
	return 0
}

// apart returns where the value of a name begins that stands apart from it, -1 if it does not: in a pair of name and value
// (key="NAME" value="...", "name": "NAME", "value": "...", and the same in YAML), in a property list, behind ENV in a
// Dockerfile or an option of a command line, in a call that names what it sets, or what to take where nothing is set.
func apart(b []byte, name, i int) int {
	quoted := i > 0 && (b[i-1] == '"' || b[i-1] == '\'')
	before := bytes.TrimRight(b[max(0, name-maxBlank):name], " \t\"'")
	switch {
	case bytes.HasPrefix(b[i:], []byte("</key>")):
		if j := skipSpace(b, i+len("</key>")); bytes.HasPrefix(b[j:], []byte("<string>")) {
			return j + len("<string>") - 1
		}
		return -1
	case quoted && hasCall(before):
		if j := skipSpace(b, i); j < len(b) && b[j] == ',' {
			return skipSpace(b, j+1)
		}
		return -1
	case !quoted && i < len(b) && b[i] == ' ' && b[name] == '-' && name+1 < i && b[name+1] == '-':
		return i
	case !quoted && (bytes.HasSuffix(before, []byte("ENV")) || bytes.HasSuffix(before, []byte("ARG"))) && i < len(b) && b[i] == ' ':
		return i
	}
	if !bytes.HasSuffix(before, []byte("key=")) && !bytes.HasSuffix(before, []byte("name=")) && !bytes.HasSuffix(before, []byte(":")) {
		return -1
	}
	j := skipSpace(b, i)
	if j < len(b) && b[j] == ',' {
		j = skipSpace(b, j+1)
	}
	if j < len(b) && (b[j] == '"' || b[j] == '\'') {
		j++
	}
	const word = "value"
	if j == i || len(b)-j < len(word) || !bytes.EqualFold(b[j:j+len(word)], []byte(word)) {
		return -1
	}
	j += len(word)
	if j < len(b) && (b[j] == '"' || b[j] == '\'') {
		j++
	}
	if j = skipBlank(b, j); j < len(b) && (b[j] == ':' || b[j] == '=') {
		return j + 1
	}
	return -1
}

// readElement reads the text of an XML element.
func readElement(b []byte, i int, a assignment) (assignment, bool) {
	a.value, a.quoted = i, true
	for j := i; j < len(b) && j < i+maxValue; j++ {
		if b[j] == '<' {
			a.valueEnd = j
			return a, j > i && j+1 < len(b) && b[j+1] == '/'
		}
		if b[j] < ' ' {
			return a, false
		}
	}
	return a, false
}

// readBare reads a value without quotes, as in environment files and YAML. One that a
// bracket follows is a call or an index.
func readBare(b []byte, i int, a assignment) (assignment, bool) {
	a.value = i
	j := i
	query := a.name > 0 && (b[a.name-1] == '?' || b[a.name-1] == '&')
	for ; j < len(b) && j < i+maxValue; j++ {
		switch b[j] {
		case '(', '[', '{':
			return a, false
		case '&':
			if query {
				a.valueEnd = j
				return a, j > i
			}
		case ' ', '\t', '\n', '\r', ',', ';', '"', '\'', '`', ')', ']', '}', '<', '>', '|', 0:
			a.valueEnd = j
			return a, j > i
		}
	}
	a.valueEnd = j
	return a, j > i && j == len(b)
}

func skipBlank(b []byte, i int) int {
	for limit := i + maxBlank; i < len(b) && i < limit && (b[i] == ' ' || b[i] == '\t'); {
		i++
	}
	return i
}

// calls are the ends of names, in lower case, of functions that take a name and a value.
var calls = []string{"define", "env", "get", "getordefault", "override", "property", "set", "setdefault", "put", "header", "add", "config", "option", "param"}

// hasCall reports whether text ends in the beginning of such a call.
func hasCall(before []byte) bool {
	head, ok := bytes.CutSuffix(before, []byte("("))
	if !ok {
		return false
	}
	start := len(head)
	for start > 0 && isWord(head[start-1]) {
		start--
	}
	name := bytes.ToLower(head[start:])
	for _, c := range calls {
		if bytes.HasSuffix(name, []byte(c)) {
			return true
		}
	}
	return false
}

// skipSpace is skipBlank over lines.
func skipSpace(b []byte, i int) int {
	for limit := i + maxBlank; i < len(b) && i < limit && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r'); {
		i++
	}
	return i
}
