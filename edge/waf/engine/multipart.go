package engine

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// multipart reads the parts of a form. Unlike Coraza it keeps no files: rules see their names and sizes.
func (tx *Transaction) multipart() error {
	strict := func() { tx.singles[variables.MultipartStrictError] = "1" }
	contentType, _ := tx.first(variables.RequestHeaders, "content-type")
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		strict()
		return err
	}
	if !strings.HasPrefix(media, "multipart/") {
		return errors.New("not a multipart body")
	}
	cut := tx.singles[variables.InboundDataError] == "1"
	r := multipart.NewReader(strings.NewReader(string(tx.requestBody)), params["boundary"])
	total := 0
	for {
		part, err := r.NextPart()
		if err == io.EOF || errors.Is(err, io.EOF) && cut {
			return nil
		}
		if err != nil {
			strict()
			return err
		}
		name, file := tx.partHeader(part)
		content, err := io.ReadAll(part)
		ended := errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			strict()
			return err
		}
		if ended && !cut {
			strict()
		}
		total += len(content)
		size := strconv.Itoa(len(content))
		if main := cmpOr(file.name, file.other); main != "" {
			tx.add(variables.Files, "", main)
			tx.set(variables.FilesSizes, main, size)
			if file.other != "" && file.other != main {
				tx.add(variables.Files, "", file.other)
				tx.set(variables.FilesSizes, file.other, size)
			}
			tx.add(variables.FilesNames, "", name)
		} else {
			tx.add(variables.ArgsPost, name, string(content))
		}
		tx.singles[variables.FilesCombinedSize] = strconv.Itoa(total)
		if ended {
			return nil
		}
	}
}

// partHeader takes what the header of a part tells.
func (tx *Transaction) partHeader(part *multipart.Part) (name string, file fileName) {
	name = part.FormName()
	repeated := false
	for key, values := range part.Header {
		repeated = repeated || len(values) > 1
		for _, value := range values {
			tx.add(variables.MultipartPartHeaders, name, key+": "+value)
		}
	}
	file = readFileName(part.Header.Get("Content-Disposition"))
	if repeated || file.repeated {
		tx.singles[variables.MultipartDuplicatePartHeader] = "1"
	}
	if file.misquoted {
		tx.singles[variables.MultipartInvalidQuoting] = "1"
	}
	if repeated || file.repeated || file.malformed || file.misquoted {
		tx.singles[variables.MultipartStrictError] = "1"
	}
	tx.add(variables.MultipartName, name, name)
	for _, f := range []string{file.name, file.other} {
		if f != "" {
			tx.add(variables.MultipartFilename, name, f)
		}
	}
	if file.extended {
		tx.add(variables.MultipartFilenameCharset, name, file.charset)
		tx.add(variables.MultipartFilenameLanguage, name, file.language)
	}
	return name, file
}

// fileName is what a Content-Disposition says of a file, and how else a server may understand it: see RFC 6266 and RFC 8187.
type fileName struct {
	name, other                    string
	charset, language              string
	extended                       bool // filename* says so
	malformed, repeated, misquoted bool
}

func readFileName(disposition string) (f fileName) {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil {
		if disposition != "" {
			f.malformed = true
			f.repeated = repeatsParameter(disposition)
		}
		return f
	}
	f.name = params["filename"]
	raw, extended := parameter(disposition, "filename*")
	f.malformed = continued(disposition)
	if !extended {
		if f.malformed {
			if plain, ok := parameter(disposition, "filename"); ok {
				plain, _ = unquoted(plain)
				if f.name != "" && f.name != plain {
					f.other = f.name
				}
				f.name = plain
			}
		}
		return f
	}
	raw, f.misquoted = unquoted(raw)
	fields := strings.SplitN(raw, "'", 3)
	if len(fields) != 3 {
		f.malformed = true
		return f
	}
	var wrong bool
	f.charset, f.language, f.extended = fields[0], fields[1], true
	f.name, wrong = percentDecoded(fields[2])
	f.malformed = f.malformed || wrong
	if plain, ok := parameter(disposition, "filename"); ok {
		if plain, _ = unquoted(plain); plain != "" && plain != f.name {
			f.other = plain
		}
	}
	return f
}

// parameters calls yield with what stands between the semicolons that are not quoted, until it returns false.
func parameters(s string, yield func(string) bool) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			if !yield(s[from:i]) {
				return
			}
			from = i + 1
		}
	}
	yield(s[from:])
}

// parameter returns the first value of a parameter as it is written.
func parameter(s, name string) (value string, ok bool) {
	for p := range func(yield func(string) bool) { parameters(s, yield) } {
		if key, rest, found := strings.Cut(p, "="); found && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

func repeatsParameter(s string) bool {
	seen := map[string]bool{}
	for p := range func(yield func(string) bool) { parameters(s, yield) } {
		if key, _, found := strings.Cut(p, "="); found {
			key = strings.ToLower(strings.TrimSpace(key))
			if seen[key] {
				return true
			}
			seen[key] = true
		}
	}
	return false
}

// continued reports whether a file's name is written in pieces, as in filename*0="a"; filename*1="b".
func continued(s string) bool {
	for p := range func(yield func(string) bool) { parameters(s, yield) } {
		key, _, found := strings.Cut(p, "=")
		if !found {
			continue
		}
		digits, ok := strings.CutPrefix(strings.ToLower(strings.TrimSuffix(strings.TrimSpace(key), "*")), "filename*")
		if ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}

func unquoted(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s, false
	}
	s = s[1 : len(s)-1]
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out), true
}

func percentDecoded(s string) (text string, wrong bool) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
				out = append(out, nibble(s[i+1])<<4|nibble(s[i+2]))
				i += 2
				continue
			}
			wrong = true
		}
		out = append(out, s[i])
	}
	return string(out), wrong
}
