package listen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// framer cuts a stream into syslog messages (RFC 6587). Each message is either counted, "LEN SP MSG" (section
// 3.4.1), or ended by a line feed or a zero byte (section 3.4.2), as its first bytes say: senders mix
// both, and those that count never begin a message with anything else than a digit.
type framer struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// maxDigits bounds the digits of a count.
const maxDigits = 8

var (
	errOversize = errors.New("message too long")
	errFraming  = errors.New("neither a count nor a message")
)

func newFramer(r io.Reader, longest int) *framer {
	return &framer{r: bufio.NewReaderSize(r, 16<<10), max: longest}
}

// next returns the next message, valid until the next call; empty ones are passed over. After errOversize the
// message was passed over and the stream goes on; after any other error it does not.
func (f *framer) next() ([]byte, error) {
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if c == '\n' || c == '\r' || c == 0 || c == ' ' {
			continue // what stands between messages
		}
		if err := f.r.UnreadByte(); err != nil {
			return nil, err
		}
		if c >= '1' && c <= '9' {
			if n, skip := f.count(); skip > 0 {
				if _, err := f.r.Discard(skip); err != nil {
					return nil, err
				}
				return f.counted(n)
			}
		}
		return f.ended()
	}
}

// count returns the number that the stream goes on with, and how many bytes it and the space after it take; 0
// where there is none.
func (f *framer) count() (n, skip int) {
	for i := 1; i <= maxDigits+1; i++ {
		b, err := f.r.Peek(i)
		if err != nil {
			return 0, 0
		}
		switch c := b[i-1]; {
		case c >= '0' && c <= '9' && i <= maxDigits:
			n = 10*n + int(c-'0')
		case c == ' ':
			return n, i
		default:
			return 0, 0
		}
	}
	return 0, 0
}

func (f *framer) counted(n int) ([]byte, error) {
	if n > f.max {
		if _, err := f.r.Discard(n); err != nil {
			return nil, whole(err)
		}
		return nil, errOversize
	}
	f.buf = grow(f.buf, n)
	if _, err := io.ReadFull(f.r, f.buf); err != nil {
		return nil, whole(err)
	}
	message := bytes.TrimRight(f.buf, "\r\n\x00")
	if len(message) == 0 {
		return nil, fmt.Errorf("%w: %d bytes of nothing", errFraming, n)
	}
	return message, nil
}

// grow returns a slice of that length; what it holds is of no interest.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ended reads up to a line feed or a zero byte. The last message of a connection may have no end.
func (f *framer) ended() ([]byte, error) {
	f.buf = f.buf[:0]
	over := false
	for {
		if _, err := f.r.Peek(1); err != nil {
			switch {
			case over && errors.Is(err, io.EOF):
				return nil, errOversize
			case len(f.buf) > 0 && errors.Is(err, io.EOF):
				return bytes.TrimRight(f.buf, "\r"), nil
			}
			return nil, err
		}
		part, _ := f.r.Peek(f.r.Buffered())
		end := bytes.IndexAny(part, "\n\x00")
		take := part
		if end >= 0 {
			take = part[:end]
		}
		if !over && len(f.buf)+len(take) > f.max {
			over = true
		}
		if !over {
			f.buf = append(f.buf, take...)
		}
		skip := len(take)
		if end >= 0 {
			skip++
		}
		if _, err := f.r.Discard(skip); err != nil {
			return nil, err
		}
		if end >= 0 {
			if over {
				return nil, errOversize
			}
			return bytes.TrimRight(f.buf, "\r"), nil
		}
	}
}
