package edge

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// A Recorder keeps requests as they were received, sealed, of routes that ask for it. It is safe for concurrent use, and waits for nothing.
type Recorder interface {
	// Keep takes the request of an event, as AppendBinary of Received writes it, for some time from now on.
	Keep(id signal.ID, keep time.Duration, request []byte)
}

// Received is a request as it was received: its head, and as much of its body as was inspected.
type Received struct {
	Method, URI, Proto, Host string
	Header                   http.Header
	Coding                   []string // Transfer-Encoding
	Length                   int64    // of the body, that the client declared; -1 where it did not
	Body                     []byte   // or its first bytes
	Truncated                bool     // there was more of it
}

// Path returns the path as received: percent-encoded, without the query.
func (m *Received) Path() string { return pathOf(m.URI) }

// receivedForm begins a request that is kept. Another form gets another number.
const receivedForm = 1

// AppendBinary appends the request: a byte for the form, then each text with its length in front.
func (m *Received) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, receivedForm)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, s := range []string{m.Method, m.URI, m.Proto, m.Host} {
		text(s)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Header)))
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		text(name)
		b = binary.AppendUvarint(b, uint64(len(m.Header[name])))
		for _, v := range m.Header[name] {
			text(v)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.Coding)))
	for _, s := range m.Coding {
		text(s)
	}
	b = binary.AppendVarint(b, m.Length)
	cut := byte(0)
	if m.Truncated {
		cut = 1
	}
	b = append(b, cut)
	b = binary.AppendUvarint(b, uint64(len(m.Body)))
	return append(b, m.Body...), nil
}

// errReceived says that bytes are no request that was kept.
var errReceived = errors.New("not a request as it is kept")

// UnmarshalBinary reads what AppendBinary wrote. The body is a part of the bytes.
func (m *Received) UnmarshalBinary(b []byte) error {
	*m = Received{Header: http.Header{}}
	if len(b) == 0 || b[0] != receivedForm {
		return errReceived
	}
	b = b[1:]
	ok := true
	number := func() int { // of things that take a byte each at least
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			ok = false
			return 0
		}
		b = b[size:]
		return int(n)
	}
	text := func() string {
		n := number()
		s := string(b[:n])
		b = b[n:]
		return s
	}
	m.Method, m.URI, m.Proto, m.Host = text(), text(), text(), text()
	for range number() {
		name := text()
		for range number() {
			m.Header[name] = append(m.Header[name], text())
		}
		if !ok {
			return errReceived
		}
	}
	for range number() {
		m.Coding = append(m.Coding, text())
	}
	length, size := binary.Varint(b)
	if !ok || size <= 0 || len(b) < size+1 {
		return errReceived
	}
	m.Length, m.Truncated, b = length, b[size] == 1, b[size+1:]
	n := number()
	if !ok || n != len(b) {
		return errReceived
	}
	m.Body = b
	return nil
}

// keep hands the request to the recorder, where the route asks for it.
func (x *exchange) keep(held []byte, truncated bool) {
	if x.ed.recorder == nil || x.route.cfg.Record.Bodies.For <= 0 || !x.route.waf {
		return
	}
	r := x.r
	m := Received{Method: r.Method, URI: r.RequestURI, Proto: r.Proto, Host: r.Host, Header: r.Header, Coding: r.TransferEncoding, Length: r.ContentLength, Body: held, Truncated: truncated}
	if b, err := m.AppendBinary(make([]byte, 0, len(held)+2<<10)); err == nil {
		x.ed.recorder.Keep(x.id, x.route.cfg.Record.Bodies.For, b)
	}
}
