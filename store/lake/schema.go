package lake

import (
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	zstdcodec "github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/testudo-sec/testudo/signal"
)

// Columns that no field of the table stands for. docs/lake-format.md describes them.
const (
	colCategory = "category_uid"
	colType     = "type_uid"
	colVersion  = "metadata.version"
	colProduct  = "metadata.product.name"
	colMasked   = "metadata.masked"
	colMapKey   = "unmapped.key_value.key"
	colMapValue = "unmapped.key_value.value"
	colNanos    = "testudo.time_ns"
	colExact    = "testudo.exact_ns"
	colFrame    = "testudo.frame"
)

// shape is the physical form of a column.
type shape uint8

const (
	shapeText   shape = iota // STRING
	shapeUnique              // STRING whose values hardly repeat: no dictionary
	shapeInt                 // INT64
	shapeSerial              // INT64 that rises from row to row: delta encoding
	shapeInt32               // INT32
	shapeBool                // BOOLEAN
	shapeFloat               // DOUBLE
	shapeTime                // INT64 TIMESTAMP(MICROS, UTC)
	shapeBinary              // BYTE_ARRAY
)

// columnSpec is one leaf column of the widest schema.
type columnSpec struct {
	field    signal.Field // 0: one of the col constants
	name     string       // path with dots, lists without their inner steps
	leaf     []string     // path in the file, inner steps of lists included
	group    int          // index in layout.groups
	list     int          // index in layout.lists, -1 for a scalar
	shape    shape
	required bool
	maxDef   int
	maxRep   int
}

// layout is what every file's schema is cut from. It does not change after newLayout.
//
// The outermost attributes ("groups": http_request, src_endpoint, message ...) are
// the unit of a file's schema: a file has a group with all its columns or not at all, so
// that a struct has the same type in every file and readers can join them by name.
type layout struct {
	columns []columnSpec
	byField []int // column of a field, by the field's number; -1 for none
	byName  map[string]int
	groups  []string
	always  []bool    // groups that every file has
	lists   []listSet // arrays: the columns that share one
	at      fixedColumns
	codec   *zstdcodec.Codec // keeps the encoders, of a megabyte each, from file to file
}

// fixedColumns are the indices of columns that every row is asked for.
type fixedColumns struct {
	time, class, activity, severity, uid, sequence, parent, plane int
	category, typ, version, product, masked, key, value           int
	nanos, exact, frame                                           int
}

// listSet is an array: one column for a list of strings, or the columns of a list of objects.
type listSet struct {
	columns []int
	group   int
}

func newLayout() *layout {
	l := &layout{byName: make(map[string]int), codec: &zstdcodec.Codec{Level: zstd.SpeedFastest, Concurrency: 1}}
	groupIndex := make(map[string]int)
	listIndex := make(map[string]int)
	add := func(c columnSpec, path string) {
		segs := strings.Split(path, ".")
		top := strings.TrimSuffix(segs[0], "[]")
		g, ok := groupIndex[top]
		if !ok {
			g = len(l.groups)
			groupIndex[top] = g
			l.groups = append(l.groups, top)
			l.always = append(l.always, top == "metadata" || top == "testudo" || c.field.IsHeader() || c.field == 0 && top != "unmapped")
		}
		c.group, c.list = g, -1
		var array string
		for i, s := range segs {
			name, isList := strings.CutSuffix(s, "[]")
			c.leaf = append(c.leaf, name)
			if isList {
				c.leaf = append(c.leaf, "list", "element")
				array = strings.Join(segs[:i+1], ".")
			}
		}
		switch {
		case top == "unmapped":
			c.maxRep, c.maxDef, array = 1, 2, top
			if c.name == colMapValue {
				c.maxDef = 3
			}
		case array != "":
			c.maxRep, c.maxDef = 1, 3
		case c.field.Kind() == signal.KindStrings || c.name == colMasked:
			c.leaf = append(c.leaf, "list", "element")
			c.maxRep, c.maxDef, array = 1, 2, path
		case !c.required:
			c.maxDef = 1
		}
		if array != "" {
			n, ok := listIndex[array]
			if !ok {
				n = len(l.lists)
				listIndex[array] = n
				l.lists = append(l.lists, listSet{group: g})
			}
			c.list = n
			l.lists[n].columns = append(l.lists[n].columns, len(l.columns))
		}
		l.byName[c.name] = len(l.columns)
		l.columns = append(l.columns, c)
	}
	fields := signal.Fields()
	l.byField = make([]int, len(fields)+1)
	for _, f := range fields {
		l.byField[f] = len(l.columns)
		add(columnSpec{field: f, name: f.Name(), shape: shapeOf(f), required: f.IsHeader() && !optionalHeader(f)}, f.Path())
	}
	for _, c := range []columnSpec{
		{name: colCategory, shape: shapeInt, required: true},
		{name: colType, shape: shapeInt, required: true},
		{name: colVersion, shape: shapeText, required: true},
		{name: colProduct, shape: shapeText, required: true},
		{name: colMasked, shape: shapeText},
		{name: colMapKey, shape: shapeText},
		{name: colMapValue, shape: shapeText},
		{name: colNanos, shape: shapeInt32, required: true},
		{name: colExact, shape: shapeText},
		{name: colFrame, shape: shapeBinary},
	} {
		add(c, c.name)
	}
	field := func(f signal.Field) int { return l.byField[f] }
	l.at = fixedColumns{
		time: field(signal.FieldTime), class: field(signal.FieldClassUID), activity: field(signal.FieldActivityID),
		severity: field(signal.FieldSeverityID), uid: field(signal.FieldMetadataUID), sequence: field(signal.FieldMetadataSequence),
		parent: field(signal.FieldMetadataCorrelationUID), plane: field(signal.FieldMetadataLogProvider),
		category: l.byName[colCategory], typ: l.byName[colType], version: l.byName[colVersion], product: l.byName[colProduct],
		masked: l.byName[colMasked], key: l.byName[colMapKey], value: l.byName[colMapValue],
		nanos: l.byName[colNanos], exact: l.byName[colExact], frame: l.byName[colFrame],
	}
	return l
}

func optionalHeader(f signal.Field) bool {
	return f == signal.FieldMetadataCorrelationUID || f == signal.FieldMetadataLogProvider || f == signal.FieldMetadataSequence
}

func shapeOf(f signal.Field) shape {
	switch f {
	case signal.FieldMetadataSequence:
		return shapeSerial
	case signal.FieldMetadataUID, signal.FieldMetadataCorrelationUID, signal.FieldMessage, signal.FieldRawData,
		signal.FieldTraceUID, signal.FieldTraceSpanUID, signal.FieldHTTPRequestUID, signal.FieldConnectionInfoUID,
		signal.FieldAPIRequestUID, signal.FieldAPIRequestData, signal.FieldScriptContent, signal.FieldMetadataOriginalTime:
		return shapeUnique
	}
	switch f.Kind() {
	case signal.KindInt:
		return shapeInt
	case signal.KindBool:
		return shapeBool
	case signal.KindFloat:
		return shapeFloat
	case signal.KindTime:
		return shapeTime
	}
	return shapeText
}

func (s shape) node() parquet.Node {
	switch s {
	case shapeText:
		return parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	case shapeUnique:
		return parquet.Encoded(parquet.String(), &parquet.Plain)
	case shapeInt:
		return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.RLEDictionary)
	case shapeSerial:
		return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.DeltaBinaryPacked)
	case shapeInt32:
		return parquet.Encoded(parquet.Leaf(parquet.Int32Type), &parquet.Plain)
	case shapeBool:
		return parquet.Leaf(parquet.BooleanType)
	case shapeFloat:
		return parquet.Leaf(parquet.DoubleType)
	case shapeTime:
		return parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.DeltaBinaryPacked)
	}
	return parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.Plain)
}

func (s shape) kind() parquet.Kind {
	switch s {
	case shapeInt, shapeSerial, shapeTime:
		return parquet.Int64
	case shapeInt32:
		return parquet.Int32
	case shapeBool:
		return parquet.Boolean
	case shapeFloat:
		return parquet.Double
	}
	return parquet.ByteArray
}

// schema returns the Parquet schema of the groups that the set names.
func (l *layout) schema(groups groupSet) *parquet.Schema {
	root := parquet.Group{}
	for g, name := range l.groups {
		if groups.has(g) {
			root[name] = l.groupNode(g, name)
		}
	}
	return parquet.NewSchema("event", root)
}

func (l *layout) groupNode(g int, name string) parquet.Node {
	if name == "unmapped" {
		return parquet.Optional(parquet.Map(shapeText.node(), parquet.Optional(shapeText.node())))
	}
	tree := &tree{}
	for i := range l.columns {
		if c := &l.columns[i]; c.group == g {
			tree.add(c.leaf, c)
		}
	}
	return tree.children[name].node()
}

// tree gathers the columns of a group into nested nodes.
type tree struct {
	children map[string]*tree
	column   *columnSpec
}

func (t *tree) add(path []string, c *columnSpec) {
	if len(path) == 0 {
		t.column = c
		return
	}
	if t.children == nil {
		t.children = make(map[string]*tree)
	}
	child := t.children[path[0]]
	if child == nil {
		child = &tree{}
		t.children[path[0]] = child
	}
	child.add(path[1:], c)
}

func (t *tree) node() parquet.Node {
	if c := t.column; c != nil {
		if c.required || c.maxRep == 1 && c.maxDef == 2 {
			return c.shape.node()
		}
		return parquet.Optional(c.shape.node())
	}
	if list := t.children["list"]; list != nil && list.children["element"] != nil {
		return parquet.Optional(parquet.List(list.children["element"].node()))
	}
	group := parquet.Group{}
	for name, child := range t.children {
		group[name] = child.node()
	}
	return group
}

// groupSet is a set of groups.
type groupSet [4]uint64

func (s *groupSet) has(g int) bool { return s[g>>6]&(1<<(g&63)) != 0 }
func (s *groupSet) add(g int)      { s[g>>6] |= 1 << (g & 63) }

func (s *groupSet) union(t *groupSet) {
	for i := range s {
		s[i] |= t[i]
	}
}

// holds reports whether every group of t is in s.
func (s *groupSet) holds(t *groupSet) bool {
	for i := range s {
		if t[i]&^s[i] != 0 {
			return false
		}
	}
	return true
}

func (l *layout) alwaysSet() (s groupSet) {
	for g, is := range l.always {
		if is {
			s.add(g)
		}
	}
	return s
}

// position is where a column of the layout stands in a file; leaf -1 where it does not.
type position struct{ leaf int }

// locate finds the layout's columns in a file's schema. A column of another type than the
// layout's means that another program wrote the file.
func (l *layout) locate(s *parquet.Schema) ([]position, error) {
	at := make([]position, len(l.columns))
	for i := range l.columns {
		c := &l.columns[i]
		leaf, ok := s.Lookup(c.leaf...)
		if !ok {
			at[i].leaf = -1
			continue
		}
		if leaf.Node.Type().Kind() != c.shape.kind() || leaf.MaxDefinitionLevel != c.maxDef || leaf.MaxRepetitionLevel != c.maxRep {
			return nil, fmt.Errorf("column %s has another type than testudo writes", c.name)
		}
		at[i].leaf = leaf.ColumnIndex
	}
	return at, nil
}
