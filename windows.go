package testudo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/testudo-sec/testudo/internal/atomicfile"
)

// WindowsFile is the name in the data directory of the file that keeps windows over a restart.
const WindowsFile = "windows"

// SavedWindows is what a judge keeps over a restart: the state of its engine, and where in the record that
// state stands. On disk, numbers little-endian:
//
//	magic   "TSTW" and a byte, version 1
//	judge   2 bytes of length, bytes
//	batch   uint64: every batch of the bus up to this one holds events up to seq alone
//	seq     uint64: the number of the last event that the state folds
//	state   uint32 of length, bytes: see policy.Engine.AppendState
//	crc     uint32, CRC-32C of everything before
type SavedWindows struct {
	Judge string
	Batch uint64
	Seq   uint64
	State []byte
}

const (
	windowsMagic = "TSTW\x01"
	maxWindows   = 1 << 30 // bytes of the file
)

// ReadWindows reads the file of that name. Where there is none the error is fs.ErrNotExist.
func ReadWindows(path string) (*SavedWindows, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxWindows {
		return nil, fmt.Errorf("%s is no file of windows: it has %d bytes and mode %v", path, info.Size(), info.Mode())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	w, err := parseWindows(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}

func parseWindows(b []byte) (*SavedWindows, error) {
	damaged := errors.New("the file is damaged")
	if len(b) < len(windowsMagic)+4 {
		return nil, damaged
	}
	if string(b[:len(windowsMagic)]) != windowsMagic {
		return nil, errors.New("another program or version wrote the file")
	}
	le := binary.LittleEndian
	body := b[:len(b)-4]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != le.Uint32(b[len(body):]) {
		return nil, damaged
	}
	r := body[len(windowsMagic):]
	if len(r) < 2 || len(r) < 2+int(le.Uint16(r))+20 {
		return nil, damaged
	}
	judge := string(r[2 : 2+le.Uint16(r)])
	r = r[2+len(judge):]
	w := &SavedWindows{Judge: judge, Batch: le.Uint64(r), Seq: le.Uint64(r[8:]), State: r[20:]}
	if len(w.State) != int(le.Uint32(r[16:])) {
		return nil, damaged
	}
	return w, nil
}

func (w *SavedWindows) append(b []byte) []byte {
	le := binary.LittleEndian
	start := len(b)
	b = append(b, windowsMagic...)
	b = append(le.AppendUint16(b, uint16(len(w.Judge))), w.Judge...)
	b = le.AppendUint64(le.AppendUint64(b, w.Batch), w.Seq)
	b = append(le.AppendUint32(b, uint32(len(w.State))), w.State...)
	return le.AppendUint32(b, crc32.Checksum(b[start:], crc32.MakeTable(crc32.Castagnoli)))
}

// write puts the file in place durably: a crash leaves the old one or the new one.
func (w *SavedWindows) write(path string) error {
	b := w.append(make([]byte, 0, len(w.State)+len(w.Judge)+64))
	if len(b) > maxWindows {
		return fmt.Errorf("they take %d bytes, and no more than %d are read again: have fewer rules with windows, or group by what has fewer values", len(b), maxWindows)
	}
	return atomicfile.Write(path, b)
}
