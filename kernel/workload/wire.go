package workload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// maxAnswer bounds what a runtime may answer.
const maxAnswer = 4 << 20

// errAbsent: the runtime answered that it knows no such thing.
var errAbsent = errors.New("the runtime knows no such container")

// over returns a client that talks HTTP over a unix socket.
func over(socket string, http2 bool) *http.Client {
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return &http.Client{Transport: &http.Transport{
		Protocols: &p, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// call makes a unary call of gRPC over HTTP/2 (the protocol is doc/PROTOCOL-HTTP2.md of github.com/grpc/grpc): a message is a byte for
// its compression, four for its length, and itself; the status comes behind it.
func call(ctx context.Context, socket, method string, message []byte, header map[string]string) ([]byte, error) {
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	client := over(socket, true)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status")
	}
	switch {
	case status == "5": // NOT_FOUND
		return nil, errAbsent
	case res.StatusCode != http.StatusOK || status != "0":
		text, _ := url.PathUnescape(res.Trailer.Get("Grpc-Message") + res.Header.Get("Grpc-Message"))
		return nil, fmt.Errorf("%s: %s: status %q %.200q", socket, method, status, text)
	case len(b) < 5 || len(b) > maxAnswer || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-5:
		return nil, fmt.Errorf("%s: %s: the answer of %d bytes is not one whole message", socket, method, len(b))
	}
	return b[5:], nil
}

// get asks over HTTP.
func get(ctx context.Context, socket, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	client := over(socket, false)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, errAbsent
	default:
		return nil, fmt.Errorf("%s: status %d", socket, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	return b, nil
}

// message reads the binary form of protocol buffers (protobuf.dev/programming-guides/encoding): each is called with every field, a number or
// bytes. It reports whether b was well-formed.
func message(b []byte, each func(field int, number uint64, bytes []byte)) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return false
		}
		b = b[n:]
		field := int(tag >> 3)
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return false
			}
			each(field, v, nil)
			b = b[n:]
		case 1, 5:
			size := 8
			if tag&7 == 5 {
				size = 4
			}
			if len(b) < size {
				return false
			}
			b = b[size:] // no field of ours
		case 2:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return false
			}
			each(field, 0, b[n:n+int(size)])
			b = b[n+int(size):]
		default:
			return false
		}
	}
	return true
}

// appendText appends a field of a message that is a text.
func appendText(b []byte, field int, s string) []byte {
	b = binary.AppendUvarint(b, uint64(field)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// pair reads an entry of a map of texts.
func pair(b []byte) (key, value string) {
	message(b, func(field int, _ uint64, v []byte) {
		switch field {
		case 1:
			key = string(v)
		case 2:
			value = string(v)
		}
	})
	return key, value
}
