package console

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// operation is what the OpenAPI document says about a route.
type operation struct {
	id, summary, tag string
	status           int
	in, out          reflect.Type
	media            string // of the answer
}

// says describes a route of the API.
type says struct {
	id, summary, tag string
	status           int // of success; 0 is 200
}

// nothing is the input of routes that take none and the output of those that
// answer 204.
type nothing struct{}

// call makes a route of the API from a function. In is a struct whose fields say where
// they come from: `path:"name"`, `query:"name"`, or one field `body:"json"`. A query
// field may have `default:"…"`, `min:"…"` and `max:"…"`; every field has `doc:"…"`.
// What is not named is refused, so that a mistyped filter is not taken for none.
func call[In, Out any](method, path string, role Role, d says, fn func(r *http.Request, w http.ResponseWriter, in In) (Out, error)) Route {
	op := operation{id: d.id, summary: d.summary, tag: d.tag, status: d.status,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](), media: "application/json"}
	if op.status == 0 {
		op.status = http.StatusOK
	}
	if op.out == reflect.TypeFor[nothing]() {
		op.status = http.StatusNoContent
	}
	return Route{Method: method, Path: path, Role: role, api: &op, Handler: func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := bind(r, &in); err != nil {
			return err
		}
		out, err := fn(r, w, in)
		if err != nil {
			return err
		}
		if op.status == http.StatusNoContent {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return writeJSON(w, op.status, listed(out))
	}}
}

// stream makes a route of the API whose answer has no end that is known beforehand. Out
// is one item of it.
func stream[In, Out any](path, media string, role Role, d says, fn func(w http.ResponseWriter, r *http.Request, in In) error) Route {
	op := operation{id: d.id, summary: d.summary, tag: d.tag, status: http.StatusOK,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](), media: media}
	return Route{Method: http.MethodGet, Path: path, Role: role, Stream: true, api: &op, Handler: func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := bind(r, &in); err != nil {
			return err
		}
		return fn(w, r, in)
	}}
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // an error here is the client's going
	return nil
}

// bind reads a request into the struct that in points to.
func bind(r *http.Request, in any) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &refused{http.StatusBadRequest, "input", "the query is not well formed", ""}
	}
	v := reflect.ValueOf(in).Elem()
	body := false
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		if name, ok := f.Tag.Lookup("path"); ok {
			if err := setText(field, r.PathValue(name)); err != nil {
				return &InputError{Field: name, Reason: err.Error()}
			}
			continue
		}
		if _, ok := f.Tag.Lookup("body"); ok {
			body = true
			if err := bindBody(r, field.Addr().Interface()); err != nil {
				return err
			}
			continue
		}
		name := f.Tag.Get("query")
		values := query[name]
		delete(query, name)
		if len(values) > 1 {
			return &InputError{Field: name, Reason: "given more than once"}
		}
		text := f.Tag.Get("default")
		if len(values) == 1 && values[0] != "" {
			text = values[0]
		}
		if text == "" {
			continue
		}
		if err := setText(field, text); err != nil {
			return &InputError{Field: name, Reason: err.Error()}
		}
		if err := inBounds(f, field); err != nil {
			return &InputError{Field: name, Reason: err.Error()}
		}
	}
	for name := range query {
		return &InputError{Field: name, Reason: "no such parameter"}
	}
	if !body && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return noBody(r)
	}
	return nil
}

func noBody(r *http.Request) error {
	var one [1]byte
	n, err := r.Body.Read(one[:])
	if n > 0 {
		return &refused{http.StatusBadRequest, "input", "no body is read here", ""}
	}
	if err != nil && err != io.EOF {
		return &refused{http.StatusBadRequest, "input", "the body could not be read", ""}
	}
	return nil
}

// bindBody reads one JSON value, strictly. Content types other than JSON are refused:
// forms of other sites could send those without asking.
func bindBody(r *http.Request, to any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &refused{http.StatusUnsupportedMediaType, "media", "send Content-Type: application/json", ""}
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return bodyError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return err
		}
		return &refused{http.StatusBadRequest, "input", "more than one JSON value in the body", ""}
	}
	return nil
}

func bodyError(err error) error {
	var big *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &big):
		return err
	case errors.As(err, &kind):
		return &InputError{Field: kind.Field, Reason: "a " + kind.Value + " does not fit here"}
	case errors.As(err, &syntax):
		return &refused{http.StatusBadRequest, "input", fmt.Sprintf("not JSON at byte %d", syntax.Offset), ""}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &refused{http.StatusBadRequest, "input", "the JSON body ends too early", ""}
	}
	// What is left is from this package's and signal's own text forms, and unknown keys.
	if text, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, uerr := strconv.Unquote(text)
		if uerr != nil {
			name = text
		}
		return &InputError{Field: clip(name), Reason: "no such key"}
	}
	if netFault(err) {
		return &refused{http.StatusBadRequest, "input", "the body could not be read", ""}
	}
	return &InputError{Reason: clip(err.Error())}
}

func netFault(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) || errors.Is(err, context.Canceled)
}

func clip(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(s, "�")
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	textOutType  = reflect.TypeFor[encoding.TextMarshaler]()
	durationType = reflect.TypeFor[Duration]()
)

// setText sets a field from a path or query value.
func setText(field reflect.Value, text string) error {
	if field.Kind() == reflect.Pointer {
		v := reflect.New(field.Type().Elem())
		if err := setText(v.Elem(), text); err != nil {
			return err
		}
		field.Set(v)
		return nil
	}
	switch field.Type() {
	case timeType:
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return errors.New("not a time as in 2006-01-02T15:04:05Z (RFC 3339)")
		}
		field.Set(reflect.ValueOf(t))
		return nil
	case prefixType:
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return errors.New("not an address or prefix, as in 203.0.113.7 or 203.0.113.0/24")
			}
			a = a.Unmap().WithZone("")
			p = netip.PrefixFrom(a, a.BitLen())
		}
		field.Set(reflect.ValueOf(p.Masked()))
		return nil
	}
	if field.CanAddr() && reflect.PointerTo(field.Type()).Implements(textType) {
		return field.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch field.Kind() {
	case reflect.String:
		if err := checkText("", text, 8<<10); err != nil {
			return err
		}
		field.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("not a whole number")
		}
		field.SetInt(int64(n))
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("neither true nor false")
		}
		field.SetBool(b)
	default:
		return fmt.Errorf("a %s cannot be read from text", field.Type()) // a mistake in the table; a test reads every field
	}
	return nil
}

func inBounds(f reflect.StructField, v reflect.Value) error {
	if v.Kind() != reflect.Int {
		return nil
	}
	lo, hi, ok := bounds(f)
	if ok && (v.Int() < lo || v.Int() > hi) {
		return fmt.Errorf("%d is not from %d to %d", v.Int(), lo, hi)
	}
	return nil
}

func bounds(f reflect.StructField) (lo, hi int64, ok bool) {
	lo, err := strconv.ParseInt(f.Tag.Get("min"), 10, 64)
	hi, err2 := strconv.ParseInt(f.Tag.Get("max"), 10, 64)
	return lo, hi, err == nil && err2 == nil
}

// listed returns v with lists that are nil made empty, so that they are [] and not null. It
// copies what it changes: sources may share what they hand out.
func listed[T any](v T) T {
	rv := reflect.New(reflect.TypeFor[T]()).Elem()
	rv.Set(reflect.ValueOf(&v).Elem())
	fillLists(rv)
	return rv.Interface().(T)
}

func fillLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == timeType {
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fillLists(f)
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
			return
		}
		if v.Type().Elem().Kind() != reflect.Struct {
			return
		}
		c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(c, v)
		for i := range c.Len() {
			fillLists(c.Index(i))
		}
		v.Set(c)
	}
}

// Duration is a time span as text, as in "10m" or "1h30m".
type Duration time.Duration

// MarshalText writes the form of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of time.ParseDuration, and days as in "7d".
func (d *Duration) UnmarshalText(b []byte) error {
	text := string(b)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return errors.New(`not a time span, as in "10m", "36h" or "7d"`)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return errors.New(`not a time span, as in "10m", "36h" or "7d"`)
	}
	*d = Duration(v)
	return nil
}
