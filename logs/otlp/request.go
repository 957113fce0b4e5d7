package otlp

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// ErrMalformed says that a body is no ExportLogsServiceRequest.
var ErrMalformed = errors.New("not an ExportLogsServiceRequest")

// Bounds of a request.
const (
	maxDepth    = 16      // of values within each other
	maxResource = 8 << 10 // bytes of a resource's attributes, which every one of its records carries
)

// Request is an export request that is taken apart.
type Request struct {
	resources []resourceLogs
	resource  []byte // attributes of the first of resources, as members of a JSON object
	scope     []byte
	buf       []byte
	fresh     bool
}

// The types are those of the protobuf messages of the same names. The JSON encoding has 64-bit numbers as strings and ids
// in hexadecimal (OTLP specification, "JSON Protobuf Encoding").
type (
	exportRequest struct {
		ResourceLogs []resourceLogs `json:"resourceLogs"`
	}
	resourceLogs struct {
		Resource struct {
			Attributes []keyValue `json:"attributes"`
		} `json:"resource"`
		ScopeLogs []scopeLogs `json:"scopeLogs"`
	}
	scopeLogs struct {
		Scope struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"scope"`
		LogRecords []logRecord `json:"logRecords"`
	}
	logRecord struct {
		Time       number     `json:"timeUnixNano"`
		Observed   number     `json:"observedTimeUnixNano"`
		Severity   number     `json:"severityNumber"`
		Text       string     `json:"severityText"`
		Body       *anyValue  `json:"body"`
		Attributes []keyValue `json:"attributes"`
		Trace      string     `json:"traceId"`
		Span       string     `json:"spanId"`
		Event      string     `json:"eventName"`
	}
	keyValue struct {
		Key   string    `json:"key"`
		Value *anyValue `json:"value"`
	}
	anyValue struct {
		String *string     `json:"stringValue"`
		Bool   *bool       `json:"boolValue"`
		Int    number      `json:"intValue"`
		Double *float64    `json:"doubleValue"`
		Bytes  *string     `json:"bytesValue"`
		Array  *arrayValue `json:"arrayValue"`
		List   *listValue  `json:"kvlistValue"`
	}
	arrayValue struct {
		Values []anyValue `json:"values"`
	}
	listValue struct {
		Values []keyValue `json:"values"`
	}
)

// number is a number that may stand in quotes.
type number string

func (n *number) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(s) >= 2 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c != '-' || i > 0) {
			*n = "" // names of severities, null
			return nil
		}
	}
	*n = number(s)
	return nil
}

// Open reads a request, in its JSON or its protobuf encoding. It keeps nothing of body. The error is [ErrMalformed].
func Open(body []byte, isJSON bool) (*Request, error) {
	r := &Request{fresh: true}
	if isJSON {
		var req exportRequest
		if json.Unmarshal(body, &req) != nil || req.ResourceLogs == nil {
			return nil, ErrMalformed
		}
		r.resources = req.ResourceLogs
		return r, nil
	}
	resources, err := readRequest(body)
	if err != nil {
		return nil, ErrMalformed
	}
	r.resources = resources
	return r, nil
}

// Len returns how many records are left.
func (r *Request) Len() int {
	n := 0
	for i := range r.resources {
		for j := range r.resources[i].ScopeLogs {
			n += len(r.resources[i].ScopeLogs[j].LogRecords)
		}
	}
	return n
}

// Next returns the next record, for a parser of [New]; ok is false where there is none. The record is valid until the
// next call.
func (r *Request) Next() (record []byte, ok bool) {
	for len(r.resources) > 0 {
		res := &r.resources[0]
		if len(res.ScopeLogs) == 0 {
			r.resources, r.fresh = r.resources[1:], true
			continue
		}
		sc := &res.ScopeLogs[0]
		if r.fresh {
			r.fresh = false
			r.resource = bounded(res.Resource.Attributes)
			r.scope = r.scope[:0]
			if sc.Scope.Name != "" && len(sc.Scope.Name) < 1024 {
				r.scope = appendString(append(r.scope, `,"scope":{"name":`...), sc.Scope.Name)
				r.scope = append(r.scope, '}')
			}
		}
		if len(sc.LogRecords) == 0 {
			res.ScopeLogs, r.fresh = res.ScopeLogs[1:], true
			continue
		}
		rec := &sc.LogRecords[0]
		sc.LogRecords = sc.LogRecords[1:]
		r.write(rec)
		return r.buf, true
	}
	return nil, false
}

// bounded writes the attributes of a resource, as many as fit.
func bounded(attrs []keyValue) []byte {
	var b []byte
	for i := range attrs {
		before := len(b)
		if b = appendMember(b, &attrs[i], 0); len(b) > maxResource {
			b = b[:before]
			b = append(appendComma(b), `"testudo.truncated":true`...)
			break
		}
	}
	return b
}

// write makes the record: what OTLP defines stands in the object otlp, so that no attribute of a sender passes for it.
func (r *Request) write(rec *logRecord) {
	b := append(r.buf[:0], `{"otlp":{"mark":1`...)
	num := func(name string, n number) {
		if n != "" && n != "0" {
			b = append(append(append(append(b, `,"`...), name...), `":"`...), n...)
			b = append(b, '"')
		}
	}
	text := func(name, v string) {
		if v != "" {
			b = appendString(append(append(append(b, `,"`...), name...), `":`...), v)
		}
	}
	num("time", rec.Time)
	num("observed", rec.Observed)
	num("severity", rec.Severity)
	text("severityText", rec.Text)
	text("trace", rec.Trace)
	text("span", rec.Span)
	text("event", rec.Event)
	b = append(b, '}')
	if rec.Body != nil {
		b = appendAny(append(b, `,"body":`...), rec.Body, 0)
	}
	if len(rec.Attributes) > 0 {
		b = append(b, `,"attributes":{`...)
		for i := range rec.Attributes {
			b = appendMember(b, &rec.Attributes[i], 0)
		}
		b = append(b, '}')
	}
	if len(r.resource) > 0 {
		b = append(append(append(b, `,"resource":{`...), r.resource...), '}')
	}
	b = append(b, r.scope...)
	r.buf = append(b, '}')
}

func appendComma(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] != '{' && b[n-1] != '[' {
		b = append(b, ',')
	}
	return b
}

func appendMember(b []byte, kv *keyValue, depth int) []byte {
	b = append(appendString(appendComma(b), kv.Key), ':')
	if kv.Value == nil {
		return append(b, "null"...)
	}
	return appendAny(b, kv.Value, depth)
}

func appendAny(b []byte, v *anyValue, depth int) []byte {
	switch {
	case depth > maxDepth:
		return append(b, "null"...)
	case v.String != nil:
		return appendString(b, *v.String)
	case v.Int != "" && v.Int != "-":
		return append(append(append(b, '"'), v.Int...), '"')
	case v.Bool != nil:
		return strconv.AppendBool(b, *v.Bool)
	case v.Double != nil && !math.IsNaN(*v.Double) && !math.IsInf(*v.Double, 0):
		return strconv.AppendFloat(b, *v.Double, 'g', -1, 64)
	case v.Bytes != nil:
		return appendString(b, *v.Bytes)
	case v.Array != nil:
		b = append(b, '[')
		for i := range v.Array.Values {
			b = appendAny(appendComma(b), &v.Array.Values[i], depth+1)
		}
		return append(b, ']')
	case v.List != nil:
		b = append(b, '{')
		for i := range v.List.Values {
			b = appendMember(b, &v.List.Values[i], depth+1)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

var errWire = errors.New("no protobuf message")

// wire reads the fields of a protobuf message (protobuf.dev, "Encoding"): of length-delimited ones data, of others value.
func wire(b []byte, field func(num int, value uint64, data []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
			return errWire
		}
		b = b[n:]
		var value uint64
		var data []byte
		switch tag & 7 {
		case 0:
			if value, n = binary.Uvarint(b); n <= 0 {
				return errWire
			}
			b = b[n:]
		case 1:
			if len(b) < 8 {
				return errWire
			}
			value, b = binary.LittleEndian.Uint64(b), b[8:]
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errWire
			}
			data, b = b[n:n+int(size):n+int(size)], b[n+int(size):]
		case 5:
			if len(b) < 4 {
				return errWire
			}
			value, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
		default:
			return errWire
		}
		if err := field(int(tag>>3), value, data); err != nil {
			return err
		}
	}
	return nil
}

func readRequest(b []byte) (all []resourceLogs, err error) {
	err = wire(b, func(num int, _ uint64, data []byte) error {
		if num != 1 {
			return nil
		}
		var res resourceLogs
		err := wire(data, func(num int, _ uint64, data []byte) error {
			switch num {
			case 1:
				return wire(data, func(num int, _ uint64, data []byte) error {
					if num == 1 {
						return readPair(&res.Resource.Attributes, data, 0)
					}
					return nil
				})
			case 2:
				sc, err := readScope(data)
				res.ScopeLogs = append(res.ScopeLogs, sc)
				return err
			}
			return nil
		})
		all = append(all, res)
		return err
	})
	return all, err
}

func readScope(b []byte) (sc scopeLogs, err error) {
	err = wire(b, func(num int, _ uint64, data []byte) error {
		switch num {
		case 1:
			return wire(data, func(num int, _ uint64, data []byte) error {
				switch num {
				case 1:
					sc.Scope.Name = text(data)
				case 2:
					sc.Scope.Version = text(data)
				}
				return nil
			})
		case 2:
			rec, err := readRecord(data)
			sc.LogRecords = append(sc.LogRecords, rec)
			return err
		}
		return nil
	})
	return sc, err
}

func readRecord(b []byte) (rec logRecord, err error) {
	const hexDigits = "0123456789abcdef"
	hex := func(data []byte) string {
		if len(data) > 32 {
			return ""
		}
		var out []byte
		for _, c := range data {
			out = append(out, hexDigits[c>>4], hexDigits[c&15])
		}
		return string(out)
	}
	err = wire(b, func(num int, value uint64, data []byte) error {
		switch num {
		case 1:
			rec.Time = number(strconv.FormatUint(value, 10))
		case 2:
			rec.Severity = number(strconv.FormatUint(value, 10))
		case 3:
			rec.Text = text(data)
		case 5:
			v, err := readAny(data, 0)
			rec.Body = &v
			return err
		case 6:
			return readPair(&rec.Attributes, data, 0)
		case 9:
			rec.Trace = hex(data)
		case 10:
			rec.Span = hex(data)
		case 11:
			rec.Observed = number(strconv.FormatUint(value, 10))
		case 12:
			rec.Event = text(data)
		}
		return nil
	})
	return rec, err
}

func readPair(to *[]keyValue, b []byte, depth int) error {
	var kv keyValue
	err := wire(b, func(num int, _ uint64, data []byte) error {
		switch num {
		case 1:
			kv.Key = text(data)
		case 2:
			v, err := readAny(data, depth+1)
			kv.Value = &v
			return err
		}
		return nil
	})
	*to = append(*to, kv)
	return err
}

func readAny(b []byte, depth int) (v anyValue, err error) {
	if depth > maxDepth {
		return v, nil // written as null
	}
	err = wire(b, func(num int, value uint64, data []byte) error {
		v = anyValue{} // the last of a oneof counts
		switch num {
		case 1:
			s := text(data)
			v.String = &s
		case 2:
			t := value != 0
			v.Bool = &t
		case 3:
			v.Int = number(strconv.FormatInt(int64(value), 10))
		case 4:
			f := math.Float64frombits(value)
			v.Double = &f
		case 5:
			v.Array = &arrayValue{}
			return wire(data, func(num int, _ uint64, data []byte) error {
				if num != 1 {
					return nil
				}
				e, err := readAny(data, depth+1)
				v.Array.Values = append(v.Array.Values, e)
				return err
			})
		case 6:
			v.List = &listValue{}
			return wire(data, func(num int, _ uint64, data []byte) error {
				if num == 1 {
					return readPair(&v.List.Values, data, depth)
				}
				return nil
			})
		case 7:
			s := base64.StdEncoding.EncodeToString(data)
			v.Bytes = &s
		}
		return nil
	})
	return v, err
}

// text returns a string of protobuf, which is UTF-8.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string([]rune(string(b)))
}
