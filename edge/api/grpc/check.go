package grpc

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
)

// A Violation is one way in which a call breaks its descriptor. It holds names and numbers of fields, never a value.
type Violation struct {
	Code    string // one of the Code constants
	Where   string // the message's number in the stream and the field, as in 0.items.name
	Message string
}

// The codes.
const (
	CodeUnknownService = "unknown-service"
	CodeUnknownMethod  = "unknown-method"
	CodeContentType    = "content-type"
	CodeFrame          = "frame"         // a frame that is none, or more of them than the method takes
	CodeSize           = "size"          // a message larger than is allowed
	CodeWire           = "wire"          // bytes that are no message
	CodeWireType       = "wire-type"     // a field written as another type
	CodeUnknownField   = "unknown-field" // a number that the type does not have
	CodeUnknownEnum    = "unknown-enum"
	CodeUnknownType    = "unknown-type" // in an Any
	CodeInvalidText    = "invalid-text"
	CodeNotChecked     = "not-checked"
)

func (v Violation) String() string { return v.Where + ": " + v.Code + ": " + v.Message }

// Limits bound a call.
type Limits struct {
	Message  int // bytes of one message, decompressed; 0 means 4 MiB, as servers have it
	Messages int // in one stream, as far as it is here; 0 means 1,000
}

// Request is a call as it came, or its response.
type Request struct {
	Method      *Method
	ContentType string
	Encoding    string // the header Grpc-Encoding
	Body        []byte
	Truncated   bool // Body is the beginning only: a stream goes on
	Response    bool // it is the server's message, of the method's output type
}

const (
	maxViolations = 32
	maxFields     = 100_000  // of all messages of a call
	maxNesting    = 100      // messages within each other, as servers have it
	maxUnzipped   = 16 << 20 // bytes of all messages of a call, decompressed
)

// Check says in what ways the messages of a call break the method's types.
func (d *Descriptors) Check(r *Request, l Limits) []Violation {
	if l.Message <= 0 {
		l.Message = 4 << 20
	}
	if l.Messages <= 0 {
		l.Messages = 1000
	}
	c := &check{d: d, limits: l, fields: maxFields, unzip: maxUnzipped}
	body, ok := c.plain(r)
	if !ok {
		return c.found
	}
	c.frames(r, body)
	return c.found
}

type check struct {
	d      *Descriptors
	limits Limits
	fields int // left
	unzip  int // bytes that may yet be decompressed
	path   []string
	found  []Violation
	full   bool // no more is looked at
	first  int  // number of the first frame
	broken bool // where the next frame begins is not known
}

func (c *check) add(code, message string) {
	if len(c.found) < maxViolations {
		path := c.path
		if len(path) > 12 {
			path = append(append(append([]string{}, path[:6]...), "…"), path[len(path)-5:]...)
		}
		c.found = append(c.found, Violation{code, strings.Join(path, "."), message})
	}
}

// plain returns the frames as bytes.
func (c *check) plain(r *Request) ([]byte, bool) {
	kind, _, _ := strings.Cut(r.ContentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch kind {
	case "application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc-web+proto":
		return r.Body, true
	case "application/grpc-web-text", "application/grpc-web-text+proto":
		return c.text(r)
	}
	if strings.HasPrefix(kind, "application/grpc+") || strings.HasPrefix(kind, "application/grpc-web") {
		c.add(CodeNotChecked, "messages of this encoding are not held to the descriptors")
		return nil, false
	}
	c.add(CodeContentType, "no content type of gRPC")
	return nil, false
}

// text decodes the base64 of gRPC-Web: pieces that each may end with padding.
func (c *check) text(r *Request) ([]byte, bool) {
	out := make([]byte, 0, len(r.Body)*3/4)
	for rest := r.Body; len(rest) > 0; {
		piece := rest
		if i := bytes.IndexByte(rest, '='); i >= 0 {
			end := i + 1
			if end < len(rest) && rest[end] == '=' {
				end++
			}
			piece = rest[:end]
		} else if r.Truncated {
			piece = rest[:len(rest)/4*4]
			rest = piece
			if len(piece) == 0 {
				break
			}
		}
		decoded, err := base64.StdEncoding.AppendDecode(out, piece)
		if err != nil {
			c.add(CodeFrame, "the body is no base64")
			return nil, false
		}
		out, rest = decoded, rest[len(piece):]
	}
	return out, true
}

func (c *check) frames(r *Request, body []byte) {
	streams := r.Method.ClientStreams
	if r.Response {
		streams = r.Method.ServerStreams
	}
	n := 0
	for ; len(body) > 0; n++ {
		c.path = append(c.path[:0], strconv.Itoa(c.first+n))
		if len(body) < 5 {
			c.cut(r)
			return
		}
		flag, size := body[0], binary.BigEndian.Uint32(body[1:5])
		switch {
		case int64(size) > int64(c.limits.Message):
			c.add(CodeSize, "the message is larger than "+strconv.Itoa(c.limits.Message)+" bytes")
			return
		case len(body)-5 < int(size):
			c.cut(r)
			return
		case n >= c.limits.Messages:
			c.add(CodeNotChecked, "there are more than "+strconv.Itoa(c.limits.Messages)+" messages")
			return
		case c.first+n == 1 && !streams && flag&0x80 == 0:
			c.add(CodeFrame, "the method takes one message")
		}
		text := body[5 : 5+size]
		body = body[5+size:]
		if flag == 0x80 && r.Response && len(body) == 0 && strings.Contains(strings.ToLower(r.ContentType), "grpc-web") {
			return // the trailers of gRPC-Web
		}
		switch flag {
		case 0:
		case 1:
			var ok bool
			if text, ok = c.decompress(r.Encoding, text); !ok {
				if c.full {
					return
				}
				continue
			}
		default:
			c.broken = true
			c.add(CodeFrame, "the frame's flag is neither 0 nor 1")
			return
		}
		if r.Response {
			c.message(r.Method.output, text, maxNesting)
		} else {
			c.message(r.Method.input, text, maxNesting)
		}
		if c.full {
			return
		}
	}
	if n == 0 && !streams && !r.Truncated && !r.Response {
		c.path = c.path[:0]
		c.add(CodeFrame, "there is no message")
	}
}

// cut tells of a frame whose end is not here.
func (c *check) cut(r *Request) {
	if r.Truncated {
		c.add(CodeNotChecked, "only the beginning of the message is here")
		return
	}
	c.add(CodeFrame, "the frame is not complete")
}

func (c *check) decompress(encoding string, text []byte) ([]byte, bool) {
	switch strings.ToLower(encoding) {
	case "gzip":
	case "", "identity":
		c.add(CodeFrame, "the message says that it is compressed, the call does not say how")
		return nil, false
	default:
		c.add(CodeNotChecked, "the message is compressed in a way that is not read here")
		return nil, false
	}
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		c.add(CodeFrame, "the message is no gzip")
		return nil, false
	}
	most := min(c.limits.Message, c.unzip)
	out, err := io.ReadAll(io.LimitReader(z, int64(most)+1))
	c.unzip -= len(out)
	switch {
	case len(out) > most && most < c.limits.Message:
		c.stop("the call's messages are too large together when decompressed")
		return nil, false
	case len(out) > c.limits.Message:
		c.add(CodeSize, "the message is larger than "+strconv.Itoa(c.limits.Message)+" bytes when decompressed")
		return nil, false
	case err != nil:
		c.add(CodeFrame, "the message is no complete gzip")
		return nil, false
	}
	return out, true
}
