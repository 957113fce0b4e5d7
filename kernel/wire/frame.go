package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// version is of the protocol. Both ends are one binary; another version means that one was replaced while the other ran.
const version = 3

// magic begins a hello.
const magic = "testudo-kernel"

type kind uint8

// Frames. The first group goes from the plane to the child, the second back, hello both ways.
const (
	kindHello kind = iota + 1

	kindWatch
	kindGuard
	kindContainer
	kindExecutable
	kindDo
	kindStatus
	kindExamine
	kindCancel // of the request with this number
	kindStop   // end, and undo what was done to the kernel
	kindAnswer // to a question of a gate

	kindReply // to a request
	kindAsk   // a gate's question
	kindLog   // a line for the log
	kindEnd
)

var kindNames = [...]string{"", "hello", "watch", "guard", "container", "executable", "do", "status", "examine", "cancel", "stop", "answer", "reply", "ask", "log"}

func (k kind) String() string {
	if int(k) < len(kindNames) && k != 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// most returns how long a payload may be, in bytes; false where the frame may not come from this end.
func (k kind) most(fromChild bool) (int, bool) {
	switch k {
	case kindHello:
		return 256, true
	case kindExamine:
		return 4 << 20, !fromChild
	case kindWatch, kindGuard:
		return 8 << 20, !fromChild
	case kindContainer, kindExecutable, kindDo:
		return 64 << 10, !fromChild
	case kindStatus:
		return 64, !fromChild
	case kindCancel, kindStop:
		return 0, !fromChild
	case kindAnswer:
		return 1 << 10, !fromChild
	case kindReply:
		return 8 << 20, fromChild
	case kindAsk:
		return 64<<10 + 8, fromChild
	case kindLog:
		return maxLine + 64, fromChild
	}
	return 0, false
}

// Outcomes of a reply.
const (
	outcomeOK     uint8 = iota
	outcomeError        // payload is a text
	outcomeUnable       // as error, of what is not possible here
	outcomeBusy         // too much is asked at once
	outcomeGone         // as error, of what has ended
)

const headerSize = 12

// maxLine is the longest line of a log that is carried, in bytes.
const maxLine = 2 << 10

type frame struct {
	kind    kind
	outcome uint8
	id      uint32
	payload []byte
}

func (f *frame) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.payload)))
	b = append(b, byte(f.kind), f.outcome, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, f.id)
	return append(b, f.payload...)
}

// readFrame reads a frame of the child, or of the plane. Its payload is the caller's.
func readFrame(r io.Reader, fromChild bool) (frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	size := binary.LittleEndian.Uint32(h[:])
	f := frame{kind: kind(h[4]), outcome: h[5], id: binary.LittleEndian.Uint32(h[8:])}
	most, ok := f.kind.most(fromChild)
	switch {
	case !ok:
		return frame{}, fmt.Errorf("wire: a frame of %v does not come from this end", f.kind)
	case int64(size) > int64(most):
		return frame{}, fmt.Errorf("wire: a frame of %v has %d bytes, at most %d are allowed", f.kind, size, most)
	case h[6] != 0 || h[7] != 0 || f.outcome > outcomeGone || f.outcome != outcomeOK && f.kind != kindReply:
		return frame{}, fmt.Errorf("wire: the head of a frame of %v is malformed", f.kind)
	case size == 0:
		return f, nil
	}
	f.payload = make([]byte, size)
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return frame{}, fmt.Errorf("wire: a frame of %v ends early: %w", f.kind, err)
	}
	return f, nil
}

// patience is how long an end waits for the other to take a frame: control frames are small, and who does not read them is broken.
const patience = 10 * time.Second

// writer writes whole frames, one goroutine at a time.
type writer struct {
	mu   sync.Mutex
	conn net.Conn
	buf  []byte
}

func (w *writer) write(f frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = f.append(w.buf[:0])
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := w.conn.Write(w.buf)
	if cap(w.buf) > 64<<10 {
		w.buf = nil // a large guard must not be held for ever
	}
	return err
}

// hello is the first frame of both ends.
type hello struct {
	Magic   string `json:"magic"`
	Version int    `json:"version"`
	Record  int    `json:"record"` // size of a record's header
}

// shake exchanges hellos.
func shake(conn net.Conn, w *writer, mine hello, fromChild bool) error {
	payload, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	if err := w.write(frame{kind: kindHello, payload: payload}); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	f, err := readFrame(conn, fromChild)
	if err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Time{})
	var theirs hello
	if f.kind != kindHello {
		return fmt.Errorf("wire: the first frame is %v, want hello", f.kind)
	}
	if err := decode(f.payload, &theirs); err != nil {
		return err
	}
	if theirs != mine {
		return fmt.Errorf("wire: the other end speaks version %d of %q, this one version %d: they are not of one binary; start testudo anew",
			theirs.Version, theirs.Magic, mine.Version)
	}
	return nil
}

// decode reads one JSON value strictly.
func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("wire: more than one value in a frame")
	}
	return nil
}
