package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	health1 "google.golang.org/grpc/health/grpc_health_v1"
	reflection1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/testudo-sec/testudo/edge/waf"
)

// callsRig holds calls to the descriptors of the health and reflection services.
func callsRig(t testing.TB) *rig {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(health1.File_grpc_health_v1_health_proto), protodesc.ToFileDescriptorProto(reflection1.File_grpc_reflection_v1_reflection_proto)}}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return newRig(t, "      grpc: {mode: block, descriptors: shop.pb, message: 64}\n", map[string]string{"shop.pb": string(b)})
}

func framed(text string) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))) + text
}

// TestCalls: gRPC and gRPC-Web are held to descriptors, and so is what comes to a method's address in another form.
func TestCalls(t *testing.T) {
	r := callsRig(t)
	const check = "/grpc.health.v1.Health/Check"
	const grpc, web, text = "Content-Type: application/grpc", "Content-Type: application/grpc-web+proto", "Content-Type: application/grpc-web-text"
	for _, c := range []struct {
		name, method, path, header, body string
		codes                            []string
	}{
		{"honest", "POST", check, grpc, framed("\x0a\x01a"), nil},
		{"unknown field", "POST", check, grpc, framed("\x10\x01"), []string{"grpc/unknown-field!"}},
		{"unknown method", "POST", check + "s", grpc, framed(""), []string{"grpc/unknown-method!"}},
		{"unknown service", "POST", "/bank.Bank/Pay", grpc, framed(""), []string{"grpc/unknown-service!"}},
		{"too large", "POST", check, grpc, framed(strings.Repeat("a", 65)), []string{"grpc/size!"}},
		{"not whole", "POST", check, grpc, framed("\x0a\x01a")[:6], []string{"grpc/frame!"}},
		{"two messages", "POST", check, grpc, framed("") + framed(""), []string{"grpc/frame!"}},
		{"no message", "POST", check, grpc, "", []string{"grpc/frame!"}},
		{"web", "POST", check, web, framed("\x0a\x01a"), nil},
		{"web, wrong", "POST", check, web, framed("\x10\x01"), []string{"grpc/unknown-field!"}},
		{"web in base64", "POST", check, text, base64.StdEncoding.EncodeToString([]byte(framed("\x0a\x01a"))), nil},
		{"web in base64, wrong", "POST", check, text, base64.StdEncoding.EncodeToString([]byte(framed("\x10\x01"))), []string{"grpc/unknown-field!"}},
		{"JSON to a method", "POST", check, jsonType, `{"service": "a"}`, []string{"grpc/content-type!"}},
		{"bytes to a method", "POST", check, "Content-Type: application/proto", "\x10\x01", []string{"grpc/content-type!"}},
		{"a page beside it", "POST", "/pages", jsonType, `{}`, nil},
		{"a browser asks first", "OPTIONS", check, "", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if x := r.do(t, c.method, c.path, c.header, c.body, 200, grpc, ""); !slices.Equal(x.codes(), c.codes) {
				t.Errorf("%q, want %q", x.codes(), c.codes)
			}
		})
	}
}

// TestCallsThatTalk: a call in which both sides speak in turn passes message by message, though its messages are not looked at.
func TestCallsThatTalk(t *testing.T) {
	r := callsRig(t)
	cfg := waf.DefaultConfig()
	cfg.After = "SecRuleRemoveById 920350 920420" // the Core Rule Set takes no gRPC
	firewall, err := waf.New(cfg, filepath.Join(os.TempDir(), "testudo-waf-test"))
	if err != nil {
		t.Fatal(err)
	}
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		buf := make([]byte, 100)
		for {
			n, err := q.Body.Read(buf)
			w.Write(bytes.ToUpper(buf[:n]))
			w.(http.Flusher).Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
	}, func(o *stageOptions) { o.h2, o.route.WAF, o.deps.Inspector = true, true, firewall })
	in, out := io.Pipe()
	defer out.Close()
	req, err := http.NewRequest("POST", st.url+"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", in)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	answers := make(chan *http.Response, 1)
	go func() {
		if resp, err := http2(t).Do(req); err == nil {
			answers <- resp
		}
		close(answers)
	}()
	io.WriteString(out, "first")
	var resp *http.Response
	select {
	case resp = <-answers:
	case <-time.After(2 * time.Minute):
	}
	if resp == nil {
		t.Fatal("the first message waits for the last one")
	}
	defer resp.Body.Close()
	for _, word := range []string{"FIRST", "SECOND"} {
		b := make([]byte, len(word))
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != word {
			t.Fatalf("%q %v", b, err)
		}
		if word == "FIRST" {
			io.WriteString(out, "second")
		}
	}
	out.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v %v", rest, err, resp.Trailer)
	}
	// A call of one message is refused before the server sees it.
	req, _ = http.NewRequest("POST", st.url+"/grpc.health.v1.Health/Check", strings.NewReader(framed("\x10\x01")))
	req.Header.Set("Content-Type", "application/grpc")
	if resp, _ := st.send(t, http2(t), req); resp.StatusCode != 403 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestGraphQL: operations are held to bounds however they are sent, and wherever servers take them.
func TestGraphQL(t *testing.T) {
	r := newRig(t, "      bodies: 512\n      graphql: {mode: block, depth: 3, aliases: 2, batch: 2, cost: 50, list_size: 10}\n", nil)
	const deep, flat, intro = `{a{b{c{d}}}}`, `{a{b}}`, `{__schema{types{name}}}`
	body := func(q string) string { return `{"query":"` + q + `"}` }
	const form = "Content-Type: application/x-www-form-urlencoded"
	const multi = "Content-Type: multipart/form-data; boundary=b"
	parts := func(q string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n" + body(q) + "\r\n--b\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{}\r\n--b--\r\n"
	}
	for _, c := range []struct {
		name, method, target, header, body string
		codes                              []string
	}{
		{"honest", "POST", "/graphql", jsonType, body(flat), nil},
		{"deep", "POST", "/graphql", jsonType, body(deep), []string{"graphql/depth!"}},
		{"deep by GET", "GET", "/graphql?query=" + deep, "", "", []string{"graphql/depth!"}},
		{"by GET", "GET", "/graphql?query=" + flat, "", "", nil},
		{"deep in a form", "POST", "/graphql", form, "query=" + deep, []string{"graphql/depth!"}},
		{"deep in parts", "POST", "/graphql", multi, parts(deep), []string{"graphql/depth!"}},
		{"in parts", "POST", "/graphql", multi, parts(flat), nil},
		{"deep as text", "POST", "/graphql", "Content-Type: application/graphql", deep, []string{"graphql/depth!"}},
		{"introspection", "POST", "/graphql", jsonType, body(intro), []string{"graphql/introspection!"}},
		{"aliases", "POST", "/graphql", jsonType, body(`{a:x b:x c:x}`), []string{"graphql/aliases!"}},
		{"a batch", "POST", "/graphql", jsonType, "[" + body(flat) + "," + body(flat) + "," + body(flat) + "]", []string{"graphql/batch!"}},
		{"the beginning only", "POST", "/graphql", jsonType, body(strings.Repeat(" ", 600) + deep), []string{"graphql/not-checked!"}},
		{"in a coding that nobody reads", "POST", "/graphql", jsonType + "\nContent-Encoding: lzma", "]\x00\x01", []string{"graphql/syntax!"}},
		{"behind a slash", "POST", "/graphql/", jsonType, body(deep), []string{"graphql/depth!"}},
		{"below", "POST", "/graphql/x", jsonType, body(deep), []string{"graphql/depth!"}},
		{"below by GET", "GET", "/graphql/x?query=" + deep, "", "", []string{"graphql/depth!"}},
		{"in large letters", "POST", "/GraphQL", jsonType, body(deep), []string{"graphql/depth!"}},
		{"encoded", "POST", "/%67raphql", jsonType, body(deep), []string{"bypass/path-trick", "graphql/depth!"}},
		{"with a parameter of the path", "POST", "/graphql;a=b", jsonType, body(deep), []string{"graphql/depth!"}},
		{"with two slashes", "POST", "//graphql", jsonType, body(deep), []string{"graphql/depth!"}},
		{"a file below", "GET", "/graphql/app.css", "", "", nil},
		{"beside it", "POST", "/graphqls", jsonType, body(deep), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := r.do(t, c.method, strings.ReplaceAll(c.target, "{", "%7B"), c.header, c.body, 200, jsonType, `{"data": null}`)
			codes := slices.DeleteFunc(x.codes(), func(s string) bool { return strings.HasPrefix(s, "bypass/") })
			want := slices.DeleteFunc(slices.Clone(c.codes), func(s string) bool { return strings.HasPrefix(s, "bypass/") })
			if !slices.Equal(codes, want) && !(len(codes) == 0 && len(want) == 0) {
				t.Errorf("%q, want %q: %v", codes, want, x.Violations)
			}
		})
	}
}
