package grpc

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	optional = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	repeated = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
)

func field(name string, number int32, label descriptorpb.FieldDescriptorProto_Label, kind descriptorpb.FieldDescriptorProto_Type, of string) *descriptorpb.FieldDescriptorProto {
	f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Label: &label, Type: &kind}
	if of != "" {
		f.TypeName = &of
	}
	return f
}

// shop is the set of descriptors of a small service.
func shop() []byte {
	str, num, msg, enum := descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_INT32, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_ENUM
	method := func(name string, client, server bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".shop.Order"), OutputType: proto.String(".shop.Line"), ClientStreaming: &client, ServerStreaming: &server}
	}
	entry := &descriptorpb.DescriptorProto{Name: proto.String("LabelsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, optional, str, ""), field("value", 2, optional, num, "")}}
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"), Dependency: []string{"google/protobuf/any.proto"},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("State"), Value: []*descriptorpb.EnumValueDescriptorProto{
			{Name: proto.String("OPEN"), Number: proto.Int32(0)}, {Name: proto.String("PAID"), Number: proto.Int32(1)}}}},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Line"), Field: []*descriptorpb.FieldDescriptorProto{field("product", 1, optional, str, ""), field("quantity", 2, optional, num, "")}},
			{Name: proto.String("Order"), NestedType: []*descriptorpb.DescriptorProto{entry}, Field: []*descriptorpb.FieldDescriptorProto{
				field("id", 1, optional, descriptorpb.FieldDescriptorProto_TYPE_FIXED64, ""), field("lines", 2, repeated, msg, ".shop.Line"), field("state", 3, optional, enum, ".shop.State"),
				field("states", 4, repeated, enum, ".shop.State"), field("labels", 5, repeated, msg, ".shop.Order.LabelsEntry"), field("parent", 6, optional, msg, ".shop.Order"),
				field("weights", 7, repeated, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, ""), field("note", 8, optional, descriptorpb.FieldDescriptorProto_TYPE_BYTES, ""), field("extra", 9, optional, msg, ".google.protobuf.Any")}},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Cart"), Method: []*descriptorpb.MethodDescriptorProto{method("Add", false, false), method("Upload", true, false), method("Watch", false, true)}}},
	}
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto), file}}
	b, err := proto.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

func load(t testing.TB) *Descriptors {
	t.Helper()
	d, err := Load(shop())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func frame(flag byte, text []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(text))), text...)
}

func zip(text []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(text)
	z.Close()
	return b.Bytes()
}

func str(number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), text)
}

func num(number protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), n)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func codes(v []Violation) string {
	var out []string
	for _, one := range v {
		out = append(out, one.Where+" "+one.Code)
	}
	return strings.Join(out, ", ")
}

var line = join(str(1, "lamp"), num(2, 3))

func TestMessages(t *testing.T) {
	d := load(t)
	m, _ := d.Find("/shop.Cart/Add")
	id := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), 7)
	deep := []byte{}
	for range 200 {
		deep = protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), deep)
	}
	tests := []struct {
		name string
		text []byte
		want string
	}{
		{"empty", nil, ""},
		{"good", join(id, str(2, string(line)), num(3, 1), str(5, string(join(str(1, "a"), num(2, 1)))), str(6, string(id)), str(8, "\xff")), ""},
		{"packed", str(4, "\x00\x01\x01"), ""},
		{"not packed", join(num(4, 0), num(4, 1)), ""},
		{"doubles", str(7, strings.Repeat("x", 16)), ""},
		{"half a double", str(7, strings.Repeat("x", 12)), "0.weights wire"},
		{"unknown field", join(num(99, 1), str(2, string(join(line, num(3, 1))))), "0.99 unknown-field, 0.lines.3 unknown-field"},
		{"unknown enum", join(num(3, 7), str(4, "\x09")), "0.state unknown-enum, 0.states unknown-enum"},
		{"wire type", join(num(1, 7), num(2, 7)), "0.id wire-type, 0.lines wire-type"},
		{"text", str(2, string(str(1, "\xff"))), "0.lines.product invalid-text"},
		{"cut", str(2, "abc")[:3], "0 wire"},
		{"field 0", []byte{0}, "0 wire"},
		{"end of a group", []byte{0x0c}, "0 wire"},
		{"varint without end", bytes.Repeat([]byte{0xff}, 20), "0 wire"},
		{"deep", deep, ""},
		{"any", str(9, string(join(str(1, "type.googleapis.com/shop.Line"), str(2, string(line))))), ""},
		{"wrong any", str(9, string(join(str(1, "type.googleapis.com/shop.Line"), str(2, string(num(9, 1)))))), "0.extra.9 unknown-field"},
		{"unknown any", str(9, string(join(str(1, "type.googleapis.com/evil.Type"), str(2, "x")))), "0.extra unknown-type"},
		{"many", bytes.Repeat(str(2, ""), 200_000), "0 not-checked"},
	}
	for _, test := range tests {
		got := d.Check(&Request{Method: m, ContentType: "application/grpc", Body: frame(0, test.text)}, Limits{})
		if test.name == "deep" {
			if len(got) != 1 || got[0].Code != CodeNotChecked || len(got[0].Where) > 200 {
				t.Errorf("deep: %v", got)
			}
			continue
		}
		if codes(got) != test.want {
			t.Errorf("%s: %v, want %q", test.name, got, test.want)
		}
	}
}

func TestFrames(t *testing.T) {
	d := load(t)
	small := Limits{Message: 100, Messages: 3}
	tests := []struct {
		name, path string
		r          Request
		want       string
	}{
		{"one", "/shop.Cart/Add", Request{Body: frame(0, nil)}, ""},
		{"none", "/shop.Cart/Add", Request{}, " frame"},
		{"two", "/shop.Cart/Add", Request{Body: join(frame(0, nil), frame(0, nil))}, "1 frame"},
		{"a stream", "/shop.Cart/Upload", Request{Body: join(frame(0, nil), frame(0, nil))}, ""},
		{"an empty stream", "/shop.Cart/Upload", Request{}, ""},
		{"a long stream", "/shop.Cart/Upload", Request{Body: bytes.Repeat(frame(0, nil), 5)}, "3 not-checked"},
		{"a stream that goes on", "/shop.Cart/Upload", Request{Body: append(frame(0, nil), 0, 0), Truncated: true}, "1 not-checked"},
		{"cut", "/shop.Cart/Add", Request{Body: frame(0, line)[:8]}, "0 frame"},
		{"cut in the head", "/shop.Cart/Add", Request{Body: []byte{0, 0}}, "0 frame"},
		{"large", "/shop.Cart/Add", Request{Body: []byte{0, 0xff, 0xff, 0xff, 0xff}}, "0 size"},
		{"flag", "/shop.Cart/Add", Request{Body: frame(2, nil)}, "0 frame"},
		{"compressed", "/shop.Cart/Add", Request{Body: frame(1, zip(str(2, string(line)))), Encoding: "gzip"}, ""},
		{"compressed, not said", "/shop.Cart/Add", Request{Body: frame(1, zip(nil))}, "0 frame"},
		{"compressed otherwise", "/shop.Cart/Add", Request{Body: frame(1, []byte("x")), Encoding: "zstd"}, "0 not-checked"},
		{"no gzip", "/shop.Cart/Add", Request{Body: frame(1, []byte("x")), Encoding: "gzip"}, "0 frame"},
		{"half a gzip", "/shop.Cart/Add", Request{Body: frame(1, zip(line)[:15]), Encoding: "gzip"}, "0 frame"},
		{"a bomb", "/shop.Cart/Add", Request{Body: frame(1, zip(make([]byte, 20_000))), Encoding: "gzip"}, "0 size"},
		{"web", "/shop.Cart/Add", Request{ContentType: "application/grpc-web+proto", Body: frame(0, nil)}, ""},
		{"web, text", "/shop.Cart/Add", Request{ContentType: "application/grpc-web-text", Body: []byte(base64.StdEncoding.EncodeToString(frame(0, str(2, string(line)))))}, ""},
		{"web, no text", "/shop.Cart/Add", Request{ContentType: "application/grpc-web-text", Body: []byte("*")}, " frame"},
		{"web, text in pieces", "/shop.Cart/Watch", Request{ContentType: "application/grpc-web-text", Response: true,
			Body: []byte(base64.StdEncoding.EncodeToString(frame(0, line)) + base64.StdEncoding.EncodeToString(frame(0x80, []byte("grpc-status: 0\r\n"))))}, ""},
		{"a response", "/shop.Cart/Add", Request{Response: true, Body: frame(0, line)}, ""},
		{"a wrong response", "/shop.Cart/Add", Request{Response: true, Body: frame(0, num(9, 1))}, "0.9 unknown-field"},
		{"trailers from a client", "/shop.Cart/Upload", Request{ContentType: "application/grpc-web", Body: frame(0x80, nil)}, "0 frame"},
		{"JSON", "/shop.Cart/Add", Request{ContentType: "application/grpc+json", Body: frame(0, nil)}, " not-checked"},
		{"plain JSON", "/shop.Cart/Add", Request{ContentType: "application/json", Body: frame(0, nil)}, " content-type"},
	}
	for _, test := range tests {
		if test.r.ContentType == "" {
			test.r.ContentType = "application/grpc"
		}
		test.r.Method, _ = d.Find(test.path)
		if got := codes(d.Check(&test.r, small)); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestManyBombs sends messages that are each allowed and are gigabytes together.
func TestManyBombs(t *testing.T) {
	d := load(t)
	m, _ := d.Find("/shop.Cart/Upload")
	one := frame(1, zip(protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), make([]byte, 3<<20))))
	got := d.Check(&Request{Method: m, ContentType: "application/grpc", Encoding: "gzip", Body: bytes.Repeat(one, 900)}, Limits{})
	if codes(got) != "5 not-checked" {
		t.Errorf("%v", got)
	}
}

// TestStreamsAreChecks cuts what TestFrames sends at every byte: the stream must say what the whole says.
func TestStreamsAreChecks(t *testing.T) {
	d := load(t)
	tests := []struct {
		path string
		body []byte
	}{
		{"/shop.Cart/Upload", join(frame(0, nil), frame(0, num(99, 1)), frame(1, zip(str(2, string(line)))), frame(0, str(2, string(str(1, "\xff")))))},
		{"/shop.Cart/Upload", join(frame(0, nil), frame(7, nil), frame(0, num(99, 1)))},
		{"/shop.Cart/Upload", join(frame(0, nil), []byte{0, 0xff, 0, 0, 0, 1})},
		{"/shop.Cart/Upload", frame(0, line)[:7]},
		{"/shop.Cart/Upload", frame(0, line)[:3]},
		{"/shop.Cart/Add", join(frame(0, nil), frame(0, nil))},
	}
	for _, test := range tests {
		m, _ := d.Find(test.path)
		r := Request{Method: m, ContentType: "application/grpc", Encoding: "gzip", Body: test.body}
		want := codes(d.Check(&r, Limits{}))
		for _, step := range []int{1, 2, 3, 5, 7, 1000} {
			s := d.Stream(r, Limits{})
			var got []Violation
			for rest := test.body; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				got = append(got, s.Write(rest[:min(step, len(rest))])...)
			}
			if got = append(got, s.Close()...); codes(got) != want {
				t.Errorf("%x in steps of %d: %q, want %q", test.body, step, codes(got), want)
			}
		}
	}
	m, _ := d.Find("/shop.Cart/Upload")
	bomb := frame(1, zip(protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), make([]byte, 3<<20))))
	s := d.Stream(Request{Method: m, ContentType: "application/grpc", Encoding: "gzip"}, Limits{})
	checked := 0
	for range 100 {
		if s.Write(bomb) == nil {
			checked++
		}
	}
	if checked > 15 {
		t.Errorf("%d messages of three megabytes each were decompressed", checked)
	}
	text := d.Stream(Request{Method: m, ContentType: "application/grpc-web-text"}, Limits{})
	if got := codes(text.Write([]byte("AAAA"))); got != " not-checked" {
		t.Errorf("base64: %q", got)
	}
}

func TestFind(t *testing.T) {
	d := load(t)
	if len(d.Methods()) != 3 || d.Methods()[2].Path != "/shop.Cart/Watch" || !d.Methods()[2].ServerStreams {
		t.Errorf("%+v", d.Methods())
	}
	for path, want := range map[string]string{
		"/shop.Cart/Add": "", "/shop.Cart/add": CodeUnknownMethod, "/shop.Cart/Add/": CodeUnknownMethod, "/shop.cart/Add": CodeUnknownService, "shop": CodeUnknownService, "": CodeUnknownService,
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": CodeUnknownService,
	} {
		m, v := d.Find(path)
		if (m != nil) != (want == "") || v != nil && v.Code != want {
			t.Errorf("%s: %v %v", path, m, v)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	bad := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{Name: proto.String("a.proto"), Dependency: []string{"b.proto"}}}}
	text, err := proto.Marshal(bad)
	if err != nil {
		t.Fatal(err)
	}
	for want, b := range map[string][]byte{"--include_imports": text, "no descriptor set": []byte("text"), "know no service": nil, "32 MiB": make([]byte, maxDescriptor+1)} {
		if _, err := Load(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// clean tells whether the library reads the whole message and knows all of it.
func clean(m protoreflect.Message) bool {
	ok := len(m.GetUnknown()) == 0
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				ok = ok && cleanValue(f, v.List().Get(i))
			}
		default:
			ok = ok && cleanValue(f, v)
		}
		return ok
	})
	return ok
}

func cleanValue(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return clean(v.Message())
	case protoreflect.EnumKind:
		return f.Enum().Values().ByNumber(v.Enum()) != nil
	}
	return true
}

// FuzzAgainstTheLibrary holds that what has no violation is read by the library whole.
func FuzzAgainstTheLibrary(f *testing.F) {
	d := load(f)
	m, _ := d.Find("/shop.Cart/Add")
	for _, seed := range [][]byte{nil, str(2, string(line)), str(4, "\x00\x01"), num(3, 1), str(5, string(str(1, "a"))), str(6, string(num(3, 0))), num(99, 1), {0x13, 0x14}, str(7, "12345678"), str(5, string(join(str(1, "a"), num(1, 48))))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := d.Check(&Request{Method: m, ContentType: "application/grpc", Body: frame(0, b)}, Limits{})
		message, err := library(m, b)
		whole := err == nil && clean(message)
		if len(got) == 0 && !whole {
			t.Fatalf("%x: no violation, the library says %v, %v", b, err, message)
		}
		// What stands twice, the library's result does not show, nor what it leaves out of maps; and it does not look into an Any.
		same := whole && proto.Size(message) >= len(b)
		if len(got) > 0 && same && !strings.Contains(codes(got), "extra") && !strings.Contains(codes(got), "labels") && !strings.Contains(codes(got), "not-checked") {
			t.Fatalf("%x: %v, the library knows all of it", b, got)
		}
	})
}

// library reads a message as protobuf's dynamicpb does. It panics where the key of a map stands twice, the second time as
// another type (1.36.12): no guard must give it what strangers send.
func library(m *Method, b []byte) (message *dynamicpb.Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	message = dynamicpb.NewMessage(m.input)
	return message, proto.UnmarshalOptions{RecursionLimit: maxNesting + 1}.Unmarshal(b, message)
}

func BenchmarkCheck(b *testing.B) {
	d := load(b)
	m, _ := d.Find("/shop.Cart/Add")
	text := bytes.Repeat(str(2, string(line)), 80)
	r := &Request{Method: m, ContentType: "application/grpc", Body: frame(0, text)}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if v := d.Check(r, Limits{}); v != nil {
			b.Fatal(v)
		}
	}
}
