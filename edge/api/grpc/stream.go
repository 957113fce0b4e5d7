package grpc

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// Stream holds the messages of one direction of a call to their type as they pass, however the bytes are cut. It keeps at most one
// message that is not whole yet. It is not safe for concurrent use.
type Stream struct {
	d      *Descriptors
	r      Request
	limits Limits
	held   []byte // the message that is not whole
	n      int    // its number
	unzip  int    // bytes that may yet be decompressed
	began  bool
	over   bool // nothing more is looked at
}

// unzipFactor is how many bytes of decompressed text each byte of a stream earns it.
const unzipFactor = 64

// Stream begins to follow a call. Of the request Method, ContentType, Encoding and Response count; Limits.Messages does not. Base64
// (grpc-web-text) is not followed, which the first Write says.
func (d *Descriptors) Stream(r Request, l Limits) *Stream {
	if l.Message <= 0 {
		l.Message = 4 << 20
	}
	l.Messages = 1
	return &Stream{d: d, r: Request{Method: r.Method, ContentType: r.ContentType, Encoding: r.Encoding, Response: r.Response}, limits: l, unzip: maxUnzipped}
}

// Write takes the next bytes and says what is wrong with the messages that they complete. It keeps none of p.
func (s *Stream) Write(p []byte) []Violation {
	var found []Violation
	if !s.began {
		s.began = true
		found = s.begin()
	}
	for !s.over && len(p) > 0 {
		if p = s.take(p, 5); len(s.held) < 5 {
			break
		}
		size := binary.BigEndian.Uint32(s.held[1:5])
		if int64(size) > int64(s.limits.Message) {
			s.end()
			return append(found, Violation{CodeSize, strconv.Itoa(s.n), "the message is larger than " + strconv.Itoa(s.limits.Message) + " bytes"})
		}
		if p = s.take(p, 5+int(size)); len(s.held) < 5+int(size) {
			break
		}
		found = append(found, s.message()...)
	}
	return found
}

func (s *Stream) begin() []Violation {
	c := &check{}
	if strings.Contains(strings.ToLower(s.r.ContentType), "-text") {
		c.add(CodeNotChecked, "streams in base64 are not followed")
	} else if _, ok := c.plain(&s.r); ok {
		return nil
	}
	s.end()
	return c.found
}

// take moves bytes to what is held, until that has size of them, and returns the rest.
func (s *Stream) take(p []byte, size int) []byte {
	n := min(max(size-len(s.held), 0), len(p))
	s.held = append(s.held, p[:n]...)
	return p[n:]
}

// message checks the frame that is held.
func (s *Stream) message() []Violation {
	s.unzip = min(s.unzip+unzipFactor*len(s.held), maxUnzipped+unzipFactor*s.limits.Message)
	c := &check{d: s.d, limits: s.limits, fields: maxFields, unzip: s.unzip, first: s.n}
	c.frames(&s.r, s.held)
	s.unzip = max(c.unzip, 0)
	s.n++
	s.held = s.held[:0]
	if c.broken {
		s.end()
	}
	return c.found
}

func (s *Stream) end() { s.over, s.held = true, nil }

// Close says whether the stream ended within a message. Who broke it off himself need not ask.
func (s *Stream) Close() []Violation {
	if s.over || len(s.held) == 0 {
		return nil
	}
	return []Violation{{CodeFrame, strconv.Itoa(s.n), "the frame is not complete"}}
}
