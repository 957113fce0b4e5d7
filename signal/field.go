package signal

import "strings"

// Field is the compiled id of a field of an event. The zero Field is no field.
type Field uint16

// Kind is the type of a field's values.
type Kind uint8

// The kinds of values. Their numbers are part of the binary frame.
const (
	KindNone    Kind = iota
	KindString       // UTF-8 text, or bytes as received
	KindInt          // int64
	KindBool         //
	KindFloat        // float64
	KindIP           // netip.Addr without zone
	KindTime         // nanoseconds since the Unix epoch
	KindStrings      // a list of strings
)

var kindNames = [...]string{"none", "string", "int", "bool", "float", "ip", "time", "strings"}

// String returns the kind's name as the documentation uses it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

type fieldSpec struct {
	path string // OCSF attribute path; "[]" behind a segment marks a list of objects
	kind Kind
	doc  string
}

// lastHeader is the highest of the fields that live in the Event struct itself.
const lastHeader = FieldMetadataLogProvider

var (
	fieldNames  = nameFields()
	fieldByName = indexFields()
)

func nameFields() [fieldCount + 1]string {
	var names [fieldCount + 1]string
	for i, spec := range fieldTable {
		names[i] = strings.ReplaceAll(spec.path, "[]", "")
	}
	return names
}

func indexFields() map[string]Field {
	m := make(map[string]Field, fieldCount)
	for f := Field(1); f <= fieldCount; f++ {
		m[fieldNames[f]] = f
	}
	return m
}

// Lookup returns the field of that name, or 0 and false.
func Lookup(name string) (Field, bool) {
	f, ok := fieldByName[name]
	return f, ok
}

// Fields returns all fields in the order of their numbers.
func Fields() []Field {
	all := make([]Field, fieldCount)
	for i := range all {
		all[i] = Field(i + 1)
	}
	return all
}

// FieldNames returns the names of all fields in the order of their numbers.
func FieldNames() []string {
	all := make([]string, 0, fieldCount)
	return append(all, fieldNames[1:]...)
}

// Name returns the field's name, as in "http_request.url.path".
func (f Field) Name() string {
	if !f.valid() {
		return ""
	}
	return fieldNames[f]
}

// String returns the field's name.
func (f Field) String() string { return f.Name() }

// Path returns the OCSF attribute path, in which "[]" behind a segment marks a
// list of objects, as in "vulnerabilities[].cve.uid".
func (f Field) Path() string {
	if !f.valid() {
		return ""
	}
	return fieldTable[f].path
}

// Kind returns the type of the field's values, KindNone for no field.
func (f Field) Kind() Kind {
	if !f.valid() {
		return KindNone
	}
	return fieldTable[f].kind
}

// Doc says in half a sentence what the field is.
func (f Field) Doc() string {
	if !f.valid() {
		return ""
	}
	return fieldTable[f].doc
}

// IsHeader reports whether the field is an attribute of every event, held in
// the Event struct, which no setter sets.
func (f Field) IsHeader() bool { return f != 0 && f <= lastHeader }

func (f Field) valid() bool { return f != 0 && f <= fieldCount }
