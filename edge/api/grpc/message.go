package grpc

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// message holds the bytes of one message to its type.
func (c *check) message(of protoreflect.MessageDescriptor, b []byte, depth int) {
	if depth == 0 {
		c.stop("the message is nested more than 100 levels deep")
		return
	}
	if of.FullName() == "google.protobuf.Any" {
		c.any(b, depth)
		return
	}
	at := len(c.path)
	for len(b) > 0 {
		if c.fields--; c.fields < 0 {
			c.stop("the call has more than 100,000 fields")
		}
		if c.full {
			return
		}
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			c.add(CodeWire, "the bytes are no message")
			return
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 || kind == protowire.EndGroupType {
			c.add(CodeWire, "the bytes are no message")
			return
		}
		value := b[:size]
		b = b[size:]
		field := of.Fields().ByNumber(number)
		if field == nil {
			field = c.d.extensions[extension{of.FullName(), number}]
		}
		if field == nil {
			c.path = append(c.path, strconv.Itoa(int(number)))
			c.add(CodeUnknownField, "the type has no field of this number")
			c.path = c.path[:at]
			continue
		}
		c.path = append(c.path, string(field.Name()))
		c.field(field, kind, value, depth)
		c.path = c.path[:at]
	}
}

func (c *check) stop(message string) {
	if !c.full {
		c.add(CodeNotChecked, message)
	}
	c.full = true
}

// wireTypes of the kinds of fields.
func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}

func (c *check) field(f protoreflect.FieldDescriptor, kind protowire.Type, value []byte, depth int) {
	want := wireType(f.Kind())
	if kind != want {
		// Lists of numbers may be packed, whatever the descriptor says.
		if kind == protowire.BytesType && f.IsList() && want != protowire.StartGroupType {
			c.packed(f, value)
			return
		}
		c.add(CodeWireType, "is written as another type than the field has")
		return
	}
	switch f.Kind() {
	case protoreflect.MessageKind:
		inner, _ := protowire.ConsumeBytes(value)
		c.message(f.Message(), inner, depth-1)
	case protoreflect.GroupKind:
		inner, n := protowire.ConsumeGroup(f.Number(), value)
		if n < 0 {
			c.add(CodeWire, "the bytes are no message")
			return
		}
		c.message(f.Message(), inner, depth-1)
	case protoreflect.StringKind:
		if text, _ := protowire.ConsumeBytes(value); !utf8.Valid(text) {
			c.add(CodeInvalidText, "is text that is not valid UTF-8")
		}
	case protoreflect.EnumKind:
		n, _ := protowire.ConsumeVarint(value)
		c.enum(f, n)
	}
}

func (c *check) enum(f protoreflect.FieldDescriptor, n uint64) {
	if f.Enum().Values().ByNumber(protoreflect.EnumNumber(int32(n))) == nil {
		c.add(CodeUnknownEnum, "is none of the enum's values")
	}
}

// packed reads a list of numbers in one piece.
func (c *check) packed(f protoreflect.FieldDescriptor, value []byte) {
	list, _ := protowire.ConsumeBytes(value)
	want := wireType(f.Kind())
	for len(list) > 0 {
		if c.fields--; c.fields < 0 {
			c.stop("the call has more than 100,000 fields")
			return
		}
		n := protowire.ConsumeFieldValue(f.Number(), want, list)
		if n < 0 {
			c.add(CodeWire, "the bytes are no list of numbers")
			return
		}
		if f.Kind() == protoreflect.EnumKind {
			v, _ := protowire.ConsumeVarint(list)
			c.enum(f, v)
		}
		list = list[n:]
	}
}

// any holds the message within a google.protobuf.Any to the type that it names.
func (c *check) any(b []byte, depth int) {
	url := ""
	var value []byte
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			c.add(CodeWire, "the bytes are no message")
			return
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			c.add(CodeWire, "the bytes are no message")
			return
		}
		if c.fields--; c.fields < 0 {
			c.stop("the call has more than 100,000 fields")
			return
		}
		switch {
		case number == 1 && kind == protowire.BytesType:
			text, _ := protowire.ConsumeBytes(b)
			url = string(text)
		case number == 2 && kind == protowire.BytesType:
			value, _ = protowire.ConsumeBytes(b)
		default:
			c.add(CodeUnknownField, "an Any has the fields 1 and 2 alone")
		}
		b = b[size:]
	}
	if url == "" && len(value) == 0 {
		return
	}
	name := protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:])
	of, err := c.d.files.FindDescriptorByName(name)
	message, ok := of.(protoreflect.MessageDescriptor)
	if err != nil || !ok {
		c.add(CodeUnknownType, "the descriptors do not know the type within")
		return
	}
	c.message(message, value, depth-1)
}
