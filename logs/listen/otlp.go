package listen

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Request is one export of log records (opentelemetry-proto, ExportLogsServiceRequest).
type Request struct {
	Body []byte // decompressed
	JSON bool   // Body is the JSON encoding, else protobuf
	From netip.AddrPort
}

// Result is what became of a request.
type Result struct {
	Accepted int64  // records
	Rejected int64  // records that were not taken; sending them again would not help
	Reason   string // why, for the sender
}

// An Exporter takes requests. It keeps nothing of the body. ErrMalformed says that the body is no request at all; any other error
// that the sender shall try again. It is safe for concurrent use.
type Exporter interface {
	Export(ctx context.Context, r Request) (Result, error)
}

// ErrMalformed says that a body is no export request.
var ErrMalformed = errors.New("not an ExportLogsServiceRequest")

// The addresses of the service.
const (
	httpPath = "/v1/logs"
	grpcPath = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
)

// NewOTLP binds the address. It speaks OTLP/HTTP over HTTP/1.1 and HTTP/2, with protobuf and JSON bodies, and
// OTLP/gRPC over HTTP/2.
//
// The gRPC protocol over HTTP/2 is specified in the grpc repository, doc/PROTOCOL-HTTP2.md; of it only what
// one unary method needs is here.
func NewOTLP(ctx context.Context, cfg OTLP, limits Limits, exporter Exporter, log *slog.Logger) (Listener, error) {
	if err := errors.Join(cfg.Validate(), limits.Validate()); err != nil {
		return nil, err
	}
	o := &otlp{counters: newCounters(), cfg: cfg, limits: limits, exporter: exporter, log: log}
	if cfg.TokenFile != "" {
		text, err := os.ReadFile(cfg.TokenFile)
		if err != nil {
			return nil, err
		}
		token := strings.TrimSpace(string(text))
		if len(token) < 16 {
			return nil, fmt.Errorf("%s: a token of less than 16 characters can be guessed", cfg.TokenFile)
		}
		sum := sha256.Sum256([]byte(token))
		o.token = sum[:]
	}
	var secure *tls.Config
	if cfg.TLS.on() {
		var err error
		if secure, err = cfg.TLS.config("h2", "http/1.1"); err != nil {
			return nil, err
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	o.ln = ln
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(secure == nil)
	o.server = &http.Server{
		Handler: o, Protocols: &protocols, TLSConfig: secure, MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: limits.MessageTimeout, ReadTimeout: limits.MessageTimeout, WriteTimeout: 2 * limits.MessageTimeout, IdleTimeout: limits.IdleTimeout,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 100, MaxReadFrameSize: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 256 << 10},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return o, nil
}

// otlp takes requests.
type otlp struct {
	*counters
	cfg      OTLP
	limits   Limits
	exporter Exporter
	log      *slog.Logger
	ln       net.Listener
	server   *http.Server
	token    []byte // SHA-256, nil where none is asked for
	held     atomic.Int64
}

func (o *otlp) Addr() net.Addr { return o.ln.Addr() }
func (o *otlp) Close() error   { return o.ln.Close() }

func (o *otlp) Stats() Stats {
	transport := "otlp"
	if o.cfg.TLS.on() {
		transport = "otlp+tls"
	}
	return o.stats(o.ln.Addr().String(), transport)
}

// Run serves until ctx ends, and then lets requests under way end.
func (o *otlp) Run(ctx context.Context) error {
	done := make(chan error, 1)
	ln := &limited{Listener: o.ln, counters: o.counters, limits: &o.limits, log: o.log}
	go func() {
		if o.server.TLSConfig != nil {
			done <- o.server.ServeTLS(ln, "", "")
		} else {
			done <- o.server.Serve(ln)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if o.server.Shutdown(limit) != nil {
		_ = o.server.Close()
	}
	<-done
	return nil
}

// failure is why a request is not taken, in the words of both protocols.
type failure struct {
	http   int
	grpc   int // google.rpc.Code
	reason string
	text   string
}

func (f *failure) Error() string { return f.text }

// Codes of google.rpc.Code.
const (
	codeInvalid       = 3
	codeExhausted     = 8
	codeUnimplemented = 12
	codeUnavailable   = 14
	codeUnauthorized  = 16
)

func (o *otlp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	grpc := kind == "application/grpc" || kind == "application/grpc+proto"
	var result Result
	fail := o.welcome(r, kind, grpc)
	if fail == nil {
		result, fail = o.export(w, r, kind, grpc)
	}
	if fail != nil {
		o.refuse(fail.reason, 1)
		if fail.http == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
	} else if result.Rejected > 0 {
		o.refuse(RefusedRecords, uint64(result.Rejected))
	}
	if grpc {
		answerGRPC(w, result, fail)
	} else {
		answerHTTP(w, kind == "application/json", result, fail)
	}
}

// welcome checks everything about a request but its body.
func (o *otlp) welcome(r *http.Request, kind string, grpc bool) *failure {
	if o.token != nil {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(given))
		if !ok || subtle.ConstantTimeCompare(sum[:], o.token) != 1 {
			return &failure{http.StatusUnauthorized, codeUnauthorized, RefusedUnwelcome, "the token is missing or not the right one: send Authorization: Bearer TOKEN"}
		}
	}
	switch {
	case grpc && r.ProtoMajor < 2:
		return &failure{http.StatusHTTPVersionNotSupported, codeUnimplemented, RefusedMalformed, "gRPC needs HTTP/2"}
	case grpc && r.URL.Path != grpcPath:
		return &failure{http.StatusNotFound, codeUnimplemented, RefusedMalformed, "testudo takes logs only: " + grpcPath}
	case grpc:
		return nil
	case r.URL.Path != httpPath:
		return &failure{http.StatusNotFound, codeUnimplemented, RefusedMalformed, "testudo takes logs only: POST " + httpPath}
	case r.Method != http.MethodPost:
		return &failure{http.StatusMethodNotAllowed, codeUnimplemented, RefusedMalformed, "want POST"}
	case kind != "application/x-protobuf" && kind != "application/json":
		return &failure{http.StatusUnsupportedMediaType, codeInvalid, RefusedMalformed, "want Content-Type application/x-protobuf or application/json"}
	}
	return nil
}

// export reads the body and hands it on.
func (o *otlp) export(w http.ResponseWriter, r *http.Request, kind string, grpc bool) (Result, *failure) {
	var held int64
	defer func() { o.held.Add(-held) }()
	limit := int64(o.limits.Body)
	if grpc {
		limit += 5 // the frame's head
	}
	body, fail := o.read(http.MaxBytesReader(w, r.Body, limit), limit, &held)
	if fail != nil {
		return Result{}, fail
	}
	encoding := r.Header.Get("Content-Encoding")
	if grpc {
		var compressed bool
		if body, compressed, fail = message(body, int64(o.limits.Body)); fail != nil {
			return Result{}, fail
		}
		if encoding = ""; compressed {
			encoding = r.Header.Get("Grpc-Encoding")
		}
	}
	switch strings.ToLower(encoding) {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return Result{}, &failure{http.StatusBadRequest, codeInvalid, RefusedMalformed, "not gzip"}
		}
		if body, fail = o.read(z, int64(o.limits.Body), &held); fail != nil {
			return Result{}, fail
		}
	default:
		return Result{}, &failure{http.StatusUnsupportedMediaType, codeUnimplemented, RefusedMalformed, "want Content-Encoding gzip or none"}
	}
	from := netip.AddrPort{}
	if p, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		from = netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	result, err := o.exporter.Export(r.Context(), Request{Body: body, JSON: kind == "application/json", From: from})
	switch {
	case errors.Is(err, ErrMalformed):
		return result, &failure{http.StatusBadRequest, codeInvalid, RefusedMalformed, err.Error()}
	case err != nil:
		o.log.Error("records could not be handed on", "from", from, "error", err)
		return result, &failure{http.StatusServiceUnavailable, codeUnavailable, RefusedNotTaken, "the records could not be handed on: try again"}
	}
	o.took(from.Addr(), len(body))
	return result, nil
}

// read reads a body to its end, within what one and all of them may hold. What it holds is added to held.
func (o *otlp) read(src io.Reader, limit int64, held *int64) ([]byte, *failure) {
	large := &failure{http.StatusRequestEntityTooLarge, codeExhausted, RefusedOversize, fmt.Sprintf("larger than %v: send smaller batches", o.limits.Body)}
	var body []byte
	for {
		if len(body) == cap(body) {
			// Twice as much: what is sent decides what is held, not what is announced.
			more := max(32<<10, int64(cap(body)))
			if o.held.Add(more) > int64(o.limits.Memory) {
				o.held.Add(-more)
				return nil, &failure{http.StatusServiceUnavailable, codeUnavailable, RefusedMemory, "too much under way: try again"}
			}
			*held += more
			grown := make([]byte, len(body), int64(cap(body))+more)
			copy(grown, body)
			body = grown
		}
		n, err := src.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		var tooLarge *http.MaxBytesError
		switch {
		case int64(len(body)) > limit, errors.As(err, &tooLarge):
			return nil, large
		case errors.Is(err, io.EOF):
			return body, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &failure{http.StatusRequestTimeout, codeUnavailable, RefusedSlow, "the request took too long"}
		case err != nil:
			return nil, &failure{http.StatusBadRequest, codeInvalid, RefusedMalformed, "the body could not be read"}
		}
	}
}

// message returns the one message of a gRPC request: a flag, its length in four bytes, and the message.
func message(body []byte, limit int64) (text []byte, compressed bool, fail *failure) {
	malformed := &failure{http.StatusBadRequest, codeInvalid, RefusedMalformed, "want one message"}
	if len(body) < 5 || body[0] > 1 {
		return nil, false, malformed
	}
	n := int64(binary.BigEndian.Uint32(body[1:5]))
	switch {
	case n > limit:
		return nil, false, &failure{http.StatusRequestEntityTooLarge, codeExhausted, RefusedOversize, "message too large: send smaller batches"}
	case n != int64(len(body)-5):
		return nil, false, malformed
	}
	return body[5:], body[0] == 1, nil
}

// response returns an ExportLogsServiceResponse: nothing, or partial_success (1) with rejected_log_records (1) and
// error_message (2).
func response(r Result) []byte {
	if r.Rejected == 0 && r.Reason == "" {
		return nil
	}
	var partial []byte
	if r.Rejected > 0 {
		partial = binary.AppendUvarint(append(partial, 1<<3), uint64(r.Rejected))
	}
	partial = field(partial, 2, r.Reason)
	return field(nil, 1, string(partial))
}

// status returns a google.rpc.Status: code (1) and message (2).
func status(f *failure) []byte {
	return field(binary.AppendUvarint([]byte{1 << 3}, uint64(f.grpc)), 2, f.text)
}

// field appends a length-delimited protobuf field.
func field(b []byte, number byte, text string) []byte {
	b = binary.AppendUvarint(append(b, number<<3|2), uint64(len(text)))
	return append(b, text...)
}

func answerHTTP(w http.ResponseWriter, asJSON bool, r Result, fail *failure) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	code := http.StatusOK
	var body []byte
	switch {
	case asJSON && fail != nil:
		body, _ = json.Marshal(map[string]any{"code": fail.grpc, "message": fail.text})
	case asJSON && (r.Rejected > 0 || r.Reason != ""):
		body, _ = json.Marshal(map[string]any{"partialSuccess": map[string]any{
			"rejectedLogRecords": strconv.FormatInt(r.Rejected, 10), "errorMessage": r.Reason}})
	case asJSON:
		body = []byte("{}")
	case fail != nil:
		body = status(fail)
	default:
		body = response(r)
	}
	h.Set("Content-Type", "application/x-protobuf")
	if asJSON {
		h.Set("Content-Type", "application/json")
	}
	if fail != nil {
		code = fail.http
		if code == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", "Bearer")
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

func answerGRPC(w http.ResponseWriter, r Result, fail *failure) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	if fail != nil { // trailers only: they stand in the one block of headers
		h.Set("Grpc-Status", strconv.Itoa(fail.grpc))
		h.Set("Grpc-Message", percent(fail.text))
		w.WriteHeader(http.StatusOK)
		return
	}
	body := response(r)
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	_, _ = w.Write(append(frame, body...))
	h.Set(http.TrailerPrefix+"Grpc-Status", "0")
}

// percent encodes a grpc-message.
func percent(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
