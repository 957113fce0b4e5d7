package grpc

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxDescriptor bounds a set of descriptors.
const maxDescriptor = 32 << 20 // bytes

// Descriptors are the services that are known.
type Descriptors struct {
	methods    map[string]*Method // by path
	services   map[string]bool
	files      *protoregistry.Files
	extensions map[extension]protoreflect.FieldDescriptor
}

type extension struct {
	of     protoreflect.FullName
	number protoreflect.FieldNumber
}

// Method is one method of a service.
type Method struct {
	Path                         string // as in a request: /shop.v1.Cart/Add
	ClientStreams, ServerStreams bool
	input, output                protoreflect.MessageDescriptor
}

// Load reads a FileDescriptorSet (google/protobuf/descriptor.proto) with all that it imports.
func Load(descriptor []byte) (*Descriptors, error) {
	if len(descriptor) > maxDescriptor {
		return nil, fmt.Errorf("the descriptors have %d bytes, more than %d MiB", len(descriptor), maxDescriptor>>20)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(descriptor, &set); err != nil {
		return nil, fmt.Errorf("no descriptor set, which protoc --include_imports --descriptor_set_out makes: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("the descriptors are not complete, was --include_imports left out? %w", err)
	}
	d := &Descriptors{methods: map[string]*Method{}, services: map[string]bool{}, files: files, extensions: map[extension]protoreflect.FieldDescriptor{}}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			d.services[string(s.FullName())] = true
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				path := "/" + string(s.FullName()) + "/" + string(m.Name())
				d.methods[path] = &Method{path, m.IsStreamingClient(), m.IsStreamingServer(), m.Input(), m.Output()}
			}
		}
		d.extend(f.Extensions())
		d.nested(f.Messages())
		return true
	})
	if len(d.methods) == 0 {
		return nil, fmt.Errorf("the descriptors know no service")
	}
	return d, nil
}

func (d *Descriptors) extend(list protoreflect.ExtensionDescriptors) {
	for i := range list.Len() {
		x := list.Get(i)
		d.extensions[extension{x.ContainingMessage().FullName(), x.Number()}] = x
	}
}

func (d *Descriptors) nested(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		d.extend(list.Get(i).Extensions())
		d.nested(list.Get(i).Messages())
	}
}

// Methods lists what is known, sorted by path.
func (d *Descriptors) Methods() []*Method {
	out := make([]*Method, 0, len(d.methods))
	for _, m := range d.methods {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Method) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Find returns the method of a path; nil and the violation where there is none.
func (d *Descriptors) Find(path string) (*Method, *Violation) {
	if m := d.methods[path]; m != nil {
		return m, nil
	}
	if service, _, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/"); ok && d.services[service] {
		return nil, &Violation{CodeUnknownMethod, "", "the service has no such method"}
	}
	return nil, &Violation{CodeUnknownService, "", "the descriptors know no such service"}
}
