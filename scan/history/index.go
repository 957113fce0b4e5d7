package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const maxIndexFile = 1 << 30

// staged is an entry of the index.
type staged struct {
	path   string
	object oid
	mode   uint32
	stage  int // 0, or a side of a conflict
	intent bool
}

// parseIndexFile calls yield with every entry of the index, as gitformat-index(5) has it in versions 2 to 4.
func parseIndexFile(b []byte, hash int, yield func(staged)) error {
	if len(b) < 12+hash || string(b[:4]) != "DIRC" {
		return fmt.Errorf("the index is %w", errCorrupted)
	}
	version, count := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if version < 2 || version > 4 {
		return fmt.Errorf("the index has version %d, which is not known", version)
	}
	b = b[12 : len(b)-hash]
	cut := fmt.Errorf("the index is %w: it is cut short", errCorrupted)
	var last []byte
	fixed := 40 + hash + 2
	for range count {
		if len(b) < fixed {
			return cut
		}
		e := staged{mode: binary.BigEndian.Uint32(b[24:])}
		copy(e.object[:], b[40:40+hash])
		flags := binary.BigEndian.Uint16(b[40+hash:])
		e.stage = int(flags >> 12 & 3)
		n := fixed
		if flags&0x4000 != 0 && version >= 3 {
			if len(b) < n+2 {
				return cut
			}
			e.intent = binary.BigEndian.Uint16(b[n:])&0x2000 != 0
			n += 2
		}
		if version == 4 {
			strip, m := baseOffset(b[n:])
			if m == 0 || strip > int64(len(last)) {
				return cut
			}
			n += m
			end := bytes.IndexByte(b[n:], 0)
			if end < 0 || end > 1<<16 || len(last) > 1<<20 {
				return cut
			}
			last = append(last[:len(last)-int(strip)], b[n:n+end]...)
			n += end + 1
			e.path = string(last)
		} else {
			end := bytes.IndexByte(b[n:], 0)
			if end < 0 {
				return cut
			}
			e.path = string(b[n : n+end])
			n = (n + end + 8) &^ 7
			if n > len(b) {
				return cut
			}
		}
		b = b[n:]
		yield(e)
	}
	for len(b) >= 8 {
		size := int64(binary.BigEndian.Uint32(b[4:]))
		if string(b[:4]) == "link" {
			return errors.New("the index is split: git update-index --no-split-index")
		}
		if 8+size > int64(len(b)) {
			return cut
		}
		b = b[8+size:]
	}
	return nil
}
