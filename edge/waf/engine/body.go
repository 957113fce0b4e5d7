package engine

import (
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
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
