package engine

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
	"github.com/tidwall/gjson"
)

// parse reads the request's body into variables, as its processor does.
func (tx *Transaction) parse(processor string) error {
	switch processor {
	case "":
		return nil
	case "urlencoded":
		text := string(tx.requestBody)
		tx.form(variables.ArgsPost, text)
		tx.singles[variables.RequestBody], tx.singles[variables.RequestBodyLength] = text, strconv.Itoa(len(text))
		return nil
	case "raw":
		text := string(tx.requestBody)
		tx.singles[variables.RequestBody], tx.singles[variables.RequestBodyLength] = text, strconv.Itoa(len(text))
		return nil
	case "json":
		text := string(tx.requestBody)
		if err := tx.json(variables.ArgsPost, text, tx.engine.settings.RequestJSONDepth); err != nil {
			return err
		}
		tx.setTX("json_request_body", text)
		return nil
	case "xml":
		return tx.xml(strings.NewReader(string(tx.requestBody)))
	case "multipart":
		return tx.multipart()
	}
	return errors.New("invalid body processor")
}

// parseResponse reads the response's body into variables.
func (tx *Transaction) parseResponse() {
	text := string(tx.responseBody)
	switch processor := tx.singles[variables.ResBodyProcessor]; strings.ToLower(processor) {
	case "":
		tx.singles[variables.ResponseContentLength], tx.singles[variables.ResponseBody] = strconv.Itoa(len(text)), text
	case "json":
		if tx.json(variables.ResponseArgs, text, tx.engine.settings.ResponseJSONDepth) == nil {
			tx.setTX("json_response_body", text)
		}
	}
}

// Of a flattened body: how much longer it may be than the body.
const (
	flattenFactor = 8
	flattenLeast  = 4096
)

// json flattens JSON to arguments: "json.a.0.b" for what it holds, and an array's name for its length. What comes before an error
// is kept.
func (tx *Transaction) json(v variables.RuleVariable, text string, depth int) error {
	f := flattener{tx: tx, to: v, room: max(flattenFactor*len(text), flattenLeast), limit: tx.engine.settings.ArgumentsLimit}
	budget := f.room
	f.name = append(tx.name[:0], "json"...)
	truncated, err := f.walk(gjson.Parse(text), len(f.name), depth)
	tx.name = f.name
	if truncated {
		tx.singles[variables.ArgumentsLimitReached] = "1"
	}
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("flattened form exceeds the %d byte budget for a %d byte body", budget, len(text))
	case err != nil:
		return err
	case deeper(text, depth):
		return errTooDeep
	case !gjson.Valid(text):
		return errors.New("invalid JSON")
	}
	return nil
}

var (
	errTooLong = errors.New("the flattened body is too long")
	errTooDeep = errors.New("max recursion reached while reading json object")
)

type flattener struct {
	tx              *Transaction
	to              variables.RuleVariable
	room            int // bytes
	limit           int
	values, lengths int
	name            []byte // of what is walked through
}

func (f *flattener) put(name []byte, value string) bool {
	if len(name)+len(value) > f.room {
		return false
	}
	f.room -= len(name) + len(value)
	f.tx.add(f.to, f.tx.arena.Copy(name), value)
	return true
}

// walk goes through what has the name, as long as base, that stands in f.name.
func (f *flattener) walk(j gjson.Result, base, depth int) (truncated bool, err error) {
	if f.values >= f.limit {
		return true, nil
	}
	if depth <= 0 {
		return false, errTooDeep
	}
	items := 0
	j.ForEach(func(key, value gjson.Result) bool {
		if f.values >= f.limit {
			truncated = true
			return false
		}
		f.name = append(f.name[:base], '.')
		if key.Type == gjson.String {
			f.name = append(f.name, key.Str...)
		} else {
			f.name = strconv.AppendInt(f.name, int64(key.Num), 10)
			items++
		}
		if value.Type == gjson.JSON {
			var cut bool
			cut, err = f.walk(value, len(f.name), depth-1)
			truncated = truncated || cut
			return err == nil
		}
		text := value.Raw
		switch value.Type {
		case gjson.String:
			text = value.Str
		case gjson.Null:
			text = ""
		}
		if !f.put(f.name, text) {
			err = errTooLong
			return false
		}
		f.values++
		return true
	})
	if items > 0 && !truncated && err == nil {
		if f.lengths >= f.limit {
			return true, nil
		}
		if !f.put(f.name[:base], strconv.Itoa(items)) {
			return false, errTooLong
		}
		f.lengths++
	}
	return truncated, err
}

// deeper reports whether brackets nest deeper than the limit, wherever they stand.
func deeper(text string, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// xml gathers the texts and the attributes of a document.
func (tx *Transaction) xml(r io.Reader) error {
	d := xml.NewDecoder(r)
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var attributes, texts []string
	for {
		token, err := d.Token()
		var syntax *xml.SyntaxError
		if err != nil && err != io.EOF && !(errors.As(err, &syntax) && syntax.Msg == "unexpected EOF") {
			return err
		}
		if token == nil {
			break
		}
		switch t := token.(type) {
		case xml.StartElement:
			for _, a := range t.Attr {
				attributes = append(attributes, a.Value)
			}
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" {
				texts = append(texts, text)
			}
		}
	}
	for _, a := range attributes {
		tx.add(variables.RequestXML, "//@*", a)
	}
	for _, text := range texts {
		tx.add(variables.RequestXML, "/*", text)
	}
	return nil
}
