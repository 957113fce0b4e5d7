package gate

import (
	"encoding/binary"
	"fmt"
)

// Sizes and kinds of fanotify(7)'s events, in the byte order of the machine.
const (
	metadataSize   = 24
	version        = 3
	infoHeaderSize = 4
	infoPidfd      = 4 // FAN_EVENT_INFO_TYPE_PIDFD
)

// event is one that was read. Descriptors are -1 where there is none.
type event struct {
	mask  uint64
	fd    int32
	pid   int32
	pidfd int32
}

// next takes the first event off b.
func next(b []byte) (e event, rest []byte, err error) {
	if len(b) < metadataSize {
		return e, nil, fmt.Errorf("fanotify: %d bytes are no event", len(b))
	}
	size, head := binary.NativeEndian.Uint32(b), int(binary.NativeEndian.Uint16(b[6:]))
	if b[4] != version {
		return e, nil, fmt.Errorf("fanotify: events of version %d, want %d", b[4], version)
	}
	if int64(size) > int64(len(b)) || head < metadataSize || int64(head) > int64(size) {
		return e, nil, fmt.Errorf("fanotify: an event of %d bytes, %d of them its head, in %d", size, head, len(b))
	}
	e = event{mask: binary.NativeEndian.Uint64(b[8:]), fd: int32(binary.NativeEndian.Uint32(b[16:])),
		pid: int32(binary.NativeEndian.Uint32(b[20:])), pidfd: -1}
	for more := b[head:size]; len(more) >= infoHeaderSize; {
		n := int(binary.NativeEndian.Uint16(more[2:]))
		if n < infoHeaderSize || n > len(more) {
			break
		}
		if more[0] == infoPidfd && n >= infoHeaderSize+4 {
			e.pidfd = max(int32(binary.NativeEndian.Uint32(more[infoHeaderSize:])), -1)
		}
		more = more[n:]
	}
	return e, b[size:], nil
}
