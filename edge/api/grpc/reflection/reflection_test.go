package reflection

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	health1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	v1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	guard "github.com/testudo-sec/testudo/edge/api/grpc"
)

// serve starts a gRPC server.
func serve(t *testing.T, register func(*grpc.Server)) Target {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return Target("http://" + ln.Addr().String())
}

// alpha serves what v1 does under the older name.
func alpha(s *grpc.Server, impl v1.ServerReflectionServer) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "grpc.reflection.v1alpha.ServerReflection", HandlerType: (*v1.ServerReflectionServer)(nil), Streams: []grpc.StreamDesc{{
		StreamName: "ServerReflectionInfo", ServerStreams: true, ClientStreams: true,
		Handler: func(srv any, stream grpc.ServerStream) error {
			return srv.(v1.ServerReflectionServer).ServerReflectionInfo(&grpc.GenericServerStream[v1.ServerReflectionRequest, v1.ServerReflectionResponse]{ServerStream: stream})
		}}}}, impl)
}

// TestFetch asks servers of both versions for a service, and what comes is what calls are held to.
func TestFetch(t *testing.T) {
	for name, register := range map[string]func(*grpc.Server){
		"v1":      func(s *grpc.Server) { reflection.RegisterV1(s) },
		"v1alpha": func(s *grpc.Server) { alpha(s, reflection.NewServerV1(reflection.ServerOptions{Services: s})) },
	} {
		t.Run(name, func(t *testing.T) {
			target := serve(t, func(s *grpc.Server) {
				health1.RegisterHealthServer(s, health.NewServer())
				register(s)
			})
			set, err := Fetch(t.Context(), target, nil)
			if err != nil {
				t.Fatal(err)
			}
			d, err := guard.Load(set)
			if err != nil {
				t.Fatal(err)
			}
			if m, v := d.Find("/grpc.health.v1.Health/Check"); m == nil || v != nil {
				t.Errorf("%v %v", m, v)
			}
			if m, _ := d.Find("/" + v1.ServerReflection_ServiceDesc.ServiceName + "/ServerReflectionInfo"); m != nil {
				t.Error("reflection itself is told of")
			}
		})
	}
}

// liar answers as it is told.
type liar struct {
	v1.UnimplementedServerReflectionServer
	services int
	files    func(n int) *descriptorpb.FileDescriptorProto
	asked    int
}

func (l *liar) ServerReflectionInfo(s v1.ServerReflection_ServerReflectionInfoServer) error {
	for {
		q, err := s.Recv()
		if err != nil {
			return nil
		}
		r := &v1.ServerReflectionResponse{}
		switch q.MessageRequest.(type) {
		case *v1.ServerReflectionRequest_ListServices:
			list := &v1.ListServiceResponse{}
			for range l.services {
				list.Service = append(list.Service, &v1.ServiceResponse{Name: "a.B"})
			}
			r.MessageResponse = &v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}
		default:
			l.asked++
			text, _ := proto.Marshal(l.files(l.asked))
			r.MessageResponse = &v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: &v1.FileDescriptorResponse{FileDescriptorProto: [][]byte{text}}}
		}
		if err := s.Send(r); err != nil {
			return nil
		}
	}
}

// TestHostileServer: a server that tells without end, or nonsense, is given up.
func TestHostileServer(t *testing.T) {
	file := func(name string, imports ...string) *descriptorpb.FileDescriptorProto {
		return &descriptorpb.FileDescriptorProto{Name: &name, Dependency: imports}
	}
	for want, l := range map[string]*liar{
		"names no services":   {},
		"names 1001 services": {services: 1001},
		"imports itself":      {services: 1, files: func(int) *descriptorpb.FileDescriptorProto { return file("a", "a") }},
		"answers with others": {services: 1, files: func(int) *descriptorpb.FileDescriptorProto { return file("a", "b") }},
		"of more than 4000 files": {services: 1, files: func(n int) *descriptorpb.FileDescriptorProto {
			return file(strings.Repeat("a", n), strings.Repeat("a", n+1))
		}},
		"more than 33554432": {services: 1, files: func(n int) *descriptorpb.FileDescriptorProto {
			f := file(strings.Repeat("b", n), strings.Repeat("b", n+1))
			f.Package = proto.String(strings.Repeat("p", 1<<20))
			return f
		}},
	} {
		t.Run(want, func(t *testing.T) {
			target := serve(t, func(s *grpc.Server) { v1.RegisterServerReflectionServer(s, l) })
			if _, err := Fetch(t.Context(), target, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.300v", err)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Fetch(ctx, "http://127.0.0.1:1", nil); err == nil {
			t.Error("no error")
		}
	})
}

func TestTarget(t *testing.T) {
	for text, ok := range map[Target]bool{"http://127.0.0.1:50051": true, "https://api.example.org": true, "http://[::1]:50051/": true,
		"127.0.0.1:50051": false, "ftp://x": false, "http://": false, "http://a:b@c:1": false, "http://x/path": false, "unix:///x": false} {
		if err := text.Validate(); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
