// Package reflection asks a gRPC server what it serves, by its reflection service
// (https://github.com/grpc/grpc/blob/master/doc/server-reflection.md), in version v1 or, where it has no such, v1alpha.
package reflection

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Bounds of what a server may tell.
const (
	maxServices = 1_000
	maxFiles    = 4_000
	maxBytes    = 32 << 20
)

// Target is a server: http://host:port for one without TLS, https://host:port. Validate says what is wrong with it.
type Target string

// Validate says what is wrong with the address.
func (t Target) Validate() error {
	_, _, err := t.parts()
	return err
}

func (t Target) parts() (address string, secure bool, err error) {
	u, err := url.Parse(string(t))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", false, fmt.Errorf("%q is not an address such as http://127.0.0.1:50051", string(t))
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return "dns:///" + joined(u.Hostname(), port), u.Scheme == "https", nil
}

func joined(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// Fetch returns what the server serves as a FileDescriptorSet with all that it imports, without reflection itself. config is for https, nil for the machine's authorities.
// What a server tells is bounded; it is taken for hostile.
func Fetch(ctx context.Context, t Target, config *tls.Config) ([]byte, error) {
	address, secure, err := t.parts()
	if err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	if secure {
		creds = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds), grpc.WithUserAgent("testudo"), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBytes)), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	defer conn.Close()
	set, err := fetch(ctx, conn, v1.ServerReflection_ServerReflectionInfo_FullMethodName)
	if status.Code(err) == codes.Unimplemented {
		// v1alpha has the same messages under another name.
		set, err = fetch(ctx, conn, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: reflection: %w", t, err)
	}
	return proto.Marshal(set)
}

// asker is one stream of questions.
type asker struct {
	stream grpc.BidiStreamingClient[v1.ServerReflectionRequest, v1.ServerReflectionResponse]
	bytes  int
}

func (a *asker) ask(q *v1.ServerReflectionRequest) (*v1.ServerReflectionResponse, error) {
	if err := a.stream.Send(q); err != nil {
		if _, told := a.stream.Recv(); told != nil { // the reason comes with the answer
			return nil, told
		}
		return nil, err
	}
	r, err := a.stream.Recv()
	if err != nil {
		return nil, err
	}
	if e := r.GetErrorResponse(); e != nil {
		return nil, fmt.Errorf("the server says: %.200q", e.ErrorMessage)
	}
	return r, nil
}

func fetch(ctx context.Context, conn *grpc.ClientConn, method string) (*descriptorpb.FileDescriptorSet, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	desc := &grpc.StreamDesc{StreamName: "ServerReflectionInfo", ServerStreams: true, ClientStreams: true}
	s, err := conn.NewStream(ctx, desc, method)
	if err != nil {
		return nil, err
	}
	a := &asker{stream: &grpc.GenericClientStream[v1.ServerReflectionRequest, v1.ServerReflectionResponse]{ClientStream: s}}
	r, err := a.ask(&v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_ListServices{}})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range r.GetListServicesResponse().GetService() {
		if !strings.HasPrefix(s.Name, "grpc.reflection.") {
			names = append(names, s.Name)
		}
	}
	switch {
	case len(names) == 0:
		return nil, errors.New("the server names no services")
	case len(names) > maxServices:
		return nil, fmt.Errorf("the server names %d services, no more than %d are asked about", len(names), maxServices)
	}
	slices.Sort(names)
	files := map[string]*descriptorpb.FileDescriptorProto{}
	for _, name := range names {
		if err := a.take(files, &v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}}); err != nil {
			return nil, fmt.Errorf("service %.200q: %w", name, err)
		}
	}
	for missing := lacking(files); len(missing) > 0; missing = lacking(files) {
		for _, name := range missing {
			if err := a.take(files, &v1.ServerReflectionRequest{MessageRequest: &v1.ServerReflectionRequest_FileByFilename{FileByFilename: name}}); err != nil {
				return nil, fmt.Errorf("file %.200q: %w", name, err)
			}
			if files[name] == nil {
				return nil, fmt.Errorf("file %.200q: the server answers with others", name)
			}
		}
	}
	_ = a.stream.CloseSend()
	set := &descriptorpb.FileDescriptorSet{}
	var order func(name string, path []string) error
	done := map[string]bool{}
	order = func(name string, path []string) error { // what is imported goes first
		if slices.Contains(path, name) {
			return fmt.Errorf("file %.200q imports itself", name)
		}
		if done[name] {
			return nil
		}
		for _, dep := range files[name].Dependency {
			if err := order(dep, append(path, name)); err != nil {
				return err
			}
		}
		done[name] = true
		set.File = append(set.File, files[name])
		return nil
	}
	all := make([]string, 0, len(files))
	for name := range files {
		all = append(all, name)
	}
	slices.Sort(all)
	for _, name := range all {
		if err := order(name, nil); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// take adds the files that a question is answered with.
func (a *asker) take(files map[string]*descriptorpb.FileDescriptorProto, q *v1.ServerReflectionRequest) error {
	r, err := a.ask(q)
	if err != nil {
		return err
	}
	for _, text := range r.GetFileDescriptorResponse().GetFileDescriptorProto() {
		if a.bytes += len(text); a.bytes > maxBytes {
			return fmt.Errorf("the server tells more than %d bytes", maxBytes)
		}
		f := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(text, f); err != nil {
			return err
		}
		if len(files) >= maxFiles {
			return fmt.Errorf("the server tells of more than %d files", maxFiles)
		}
		if files[f.GetName()] == nil {
			files[f.GetName()] = f
		}
	}
	return nil
}

// lacking lists the files that others import and that are not there.
func lacking(files map[string]*descriptorpb.FileDescriptorProto) []string {
	var all []string
	for _, f := range files {
		for _, name := range f.Dependency {
			if files[name] == nil && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}
