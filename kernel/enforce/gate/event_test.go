package gate

import (
	"encoding/binary"
	"testing"
)

func eventBytes(mask uint64, fd, pid int32, more ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(metadataSize+len(more)))
	b = append(b, version, 0)
	b = binary.NativeEndian.AppendUint16(b, metadataSize)
	b = binary.NativeEndian.AppendUint64(b, mask)
	b = binary.NativeEndian.AppendUint32(b, uint32(fd))
	b = binary.NativeEndian.AppendUint32(b, uint32(pid))
	return append(b, more...)
}

func TestNext(t *testing.T) {
	b := append(eventBytes(0x10000, 7, 99), eventBytes(0x40000, 8, 100, infoPidfd, 0, 8, 0, 9, 0, 0, 0)...)
	one, rest, err := next(b)
	if err != nil || one != (event{0x10000, 7, 99, -1}) {
		t.Fatalf("%+v %v", one, err)
	}
	two, rest, err := next(rest)
	if err != nil || two != (event{0x40000, 8, 100, 9}) || len(rest) != 0 {
		t.Fatalf("%+v %v", two, err)
	}
	none, _, err := next(eventBytes(1, 8, 100, infoPidfd, 0, 8, 0, 0xfe, 0xff, 0xff, 0xff)) // FAN_EPIDFD
	if err != nil || none.pidfd != -1 {
		t.Fatalf("%+v %v", none, err)
	}
}

func FuzzNext(f *testing.F) {
	f.Add(eventBytes(0x10000, 7, 99))
	f.Add(eventBytes(0x40000, 8, 100, infoPidfd, 0, 8, 0, 9, 0, 0, 0))
	f.Add(eventBytes(0x40000, 8, 100, infoPidfd, 0, 200, 0, 9, 0, 0, 0))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			e, after, err := next(rest)
			if err != nil {
				return
			}
			if len(after) >= len(rest) || e.pidfd < -1 {
				t.Fatalf("%+v, %d of %d bytes are left", e, len(after), len(rest))
			}
			rest = after
		}
	})
}
