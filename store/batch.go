package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"

	"github.com/testudo-sec/testudo/signal"
)

// A batch is what travels on the bus. All numbers are little endian.
//
//	magic      4 bytes "TSB1"
//	count      uint32, events
//	firstSeq, lastSeq     uint64, least and greatest sequence of the events
//	firstTime, lastTime   int64, least and greatest time in nanoseconds
//	raw        uint32, bytes of the body before compression
//	gaps       uint32, number of gaps; for each 41 bytes:
//	    plane 1 byte, count uint64, firstSeq, lastSeq uint64, firstTime, lastTime int64
//	body       s2 block (github.com/klauspost/compress/s2) of signal frames
//	crc        uint32, CRC-32C of everything before
const (
	batchMagic = "TSB1"
	batchFixed = 4 + 4 + 16 + 16 + 4 + 4
	gapSize    = 1 + 8 + 16 + 16
	maxGaps    = 256
	maxRaw     = 32 << 20
)

// Gap says that records are missing: events were judged that did not fit into the store.
type Gap struct {
	Plane     signal.Plane `json:"plane"`
	Count     uint64       `json:"count"`
	FirstSeq  uint64       `json:"first_seq"` // least and greatest sequence of the missing events
	LastSeq   uint64       `json:"last_seq"`
	FirstTime int64        `json:"first_time"` // least and greatest time of them, nanoseconds
	LastTime  int64        `json:"last_time"`
}

// batchHead is what can be known of a batch without decompressing it.
type batchHead struct {
	count               int
	firstSeq, lastSeq   uint64
	firstTime, lastTime int64
	gaps                []Gap
}

// lost is the gap that n events of a batch leave which cannot be read.
func (h *batchHead) lost(n int) Gap {
	return Gap{Count: uint64(max(n, 0)), FirstSeq: h.firstSeq, LastSeq: h.lastSeq, FirstTime: h.firstTime, LastTime: h.lastTime}
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// appendBatch appends the batch of frames with that head to dst.
func appendBatch(dst []byte, h *batchHead, frames []byte) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, batchMagic...)
	dst = le.AppendUint32(dst, uint32(h.count))
	dst = le.AppendUint64(le.AppendUint64(dst, h.firstSeq), h.lastSeq)
	dst = le.AppendUint64(le.AppendUint64(dst, uint64(h.firstTime)), uint64(h.lastTime))
	dst = le.AppendUint32(dst, uint32(len(frames)))
	dst = le.AppendUint32(dst, uint32(len(h.gaps)))
	for _, g := range h.gaps {
		dst = append(dst, byte(g.Plane))
		dst = le.AppendUint64(dst, g.Count)
		dst = le.AppendUint64(le.AppendUint64(dst, g.FirstSeq), g.LastSeq)
		dst = le.AppendUint64(le.AppendUint64(dst, uint64(g.FirstTime)), uint64(g.LastTime))
	}
	n := len(dst)
	if need := s2.MaxEncodedLen(len(frames)) + 4; cap(dst)-n < need {
		grown := make([]byte, n, n+need)
		copy(grown, dst)
		dst = grown
	}
	body := s2.Encode(dst[n:cap(dst)], frames)
	dst = dst[:n+len(body)]
	return le.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli()))
}

// parseBatch checks a batch and returns its head and its compressed body.
func parseBatch(b []byte) (h batchHead, body []byte, err error) {
	le := binary.LittleEndian
	if len(b) < batchFixed+4 {
		return h, nil, fmt.Errorf("batch of %d bytes is too short", len(b))
	}
	if string(b[:4]) != batchMagic {
		return h, nil, fmt.Errorf("batch begins with %q, want %q: another program or version wrote it", b[:4], batchMagic)
	}
	if sum := le.Uint32(b[len(b)-4:]); sum != crc32.Checksum(b[:len(b)-4], castagnoli()) {
		return h, nil, errors.New("the batch's checksum does not match: it is damaged")
	}
	h.count = int(le.Uint32(b[4:]))
	h.firstSeq, h.lastSeq = le.Uint64(b[8:]), le.Uint64(b[16:])
	h.firstTime, h.lastTime = int64(le.Uint64(b[24:])), int64(le.Uint64(b[32:]))
	raw, gaps := le.Uint32(b[40:]), le.Uint32(b[44:])
	rest := b[batchFixed : len(b)-4]
	if raw > maxRaw || gaps > maxGaps || int(gaps)*gapSize > len(rest) {
		return h, nil, errors.New("the batch states sizes that it cannot have")
	}
	for range gaps {
		h.gaps = append(h.gaps, Gap{
			Plane: signal.Plane(rest[0]), Count: le.Uint64(rest[1:]),
			FirstSeq: le.Uint64(rest[9:]), LastSeq: le.Uint64(rest[17:]),
			FirstTime: int64(le.Uint64(rest[25:])), LastTime: int64(le.Uint64(rest[33:])),
		})
		rest = rest[gapSize:]
	}
	if n, err := s2.DecodedLen(rest); err != nil || n != int(raw) {
		return h, nil, errors.New("the batch's body is not as long as its head says")
	}
	return h, rest, nil
}

// frames decompresses the body of a batch into buf.
func (h *batchHead) frames(buf, body []byte) ([]byte, error) {
	raw, err := s2.Decode(buf[:cap(buf)], body)
	if err != nil {
		return nil, fmt.Errorf("batch body: %w", err)
	}
	return raw, nil
}
