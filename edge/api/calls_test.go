package api

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	health1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

// TestReflection: until the server has said what it serves a call cannot be checked, which the route's fail mode decides; then calls are held to that.
func TestReflection(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	health1.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	r := newRig(t, fmt.Sprintf("      grpc: {mode: block, reflection: \"http://%s\"}\n", ln.Addr()), nil)
	call := func(method, message string) *exchanged {
		frame := append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
		return r.do(t, "POST", "/grpc.health.v1.Health/"+method, "Content-Type: application/grpc", string(frame), 200, "Content-Type: application/grpc", "")
	}
	if x := call("Check", ""); x.Err == nil || len(x.Violations) > 0 {
		t.Errorf("before the server answers: %v %v", x.Err, x.Violations)
	}
	go func() { _ = s.Serve(ln) }()
	defer s.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.g.Run(ctx) }()
	for end := time.Now().Add(time.Minute); r.g.routes["shop"].grpc.known.Load() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was never asked")
		}
	}
	for message, want := range map[string][]string{"\x0a\x01a": nil, "\x0a\x01\xff": {"grpc/invalid-text!"}, "\x10\x01": {"grpc/unknown-field!"}} {
		if x := call("Check", message); x.Err != nil || !slices.Equal(x.codes(), want) {
			t.Errorf("%q: %v %v, want %v", message, x.Err, x.codes(), want)
		}
	}
	if x := call("Chekc", ""); !slices.Equal(x.codes(), []string{"grpc/unknown-method!"}) {
		t.Errorf("%v", x.codes())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
