// Package grpc holds gRPC and gRPC-Web calls to descriptors: known service and method, whole frames, messages that are what
// their type says, field by field.
//
// Load reads a set of descriptors, as made by
//
//	protoc --include_imports --descriptor_set_out=api.binpb api.proto
//	buf build -o api.binpb
//	grpcurl -protoset-out api.binpb localhost:50051 describe    (from a server with reflection)
//
// Check reads the wire format beside the descriptors without building messages: two bytes of an empty message would become hundreds in
// memory, and the library's dynamic messages can be made to panic (see the tests, where they are the judge). What the descriptors do not know is a violation, since a guard that skips it judges less than the server reads: unknown fields and
// enum values, a wire type that is not the field's, text that is not UTF-8, a type in an Any that is not in the set.
//
// Work is bounded: 100,000 fields in a request, 100 levels, compressed messages up to the size that plain ones may have. What was not
// looked at is the violation "not-checked". Descriptors never change and are safe for concurrent use.
//
// Framing: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and PROTOCOL-WEB.md. Wire format: https://protobuf.dev/programming-guides/encoding/.
package grpc
