//go:build linux

package bpf

import (
	"bytes"
	"encoding/binary"
	"path"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Private between programs and reader (common.h).
const (
	tagEnviron  = 0x7f00
	tagEnv      = 6
	flagUnclean = 1 << 31
)

// Offsets in the header of a record.
const (
	offKind  = 4
	offCall  = 6
	offTime  = 8
	offFlags = 80
)

// appendRecord copies a record as the programs write it, and finishes what is easier done here: of the environment only the names of
// variables stay, and paths of which the kernel sees only what the caller passed are simplified.
func appendRecord(batch, sample []byte) []byte {
	if len(sample) < record.HeaderSize {
		return batch
	}
	native := binary.NativeEndian
	at := len(batch)
	if record.Kind(native.Uint16(sample[offKind:])) == record.KindExec {
		batch = appendExec(batch, sample)
	} else {
		batch = append(batch, sample...)
	}
	flags := native.Uint32(batch[at+offFlags:])
	if flags&flagUnclean == 0 || flags&flagText != 0 { // names has more to do with those
		return batch
	}
	native.PutUint32(batch[at+offFlags:], flags&^flagUnclean)
	var r record.Record
	if _, err := record.Decode(batch[at:], &r); err != nil {
		return batch
	}
	r.Path, r.Path2 = clean(r.Path), clean(r.Path2)
	tidy := r.Append(nil)
	return append(batch[:at], tidy...)
}

func clean(p []byte) []byte {
	if len(p) == 0 || p[0] != '/' {
		return p
	}
	return []byte(path.Clean(string(p)))
}

// appendExec copies the record of an exec without the values of the environment, which is its last part.
func appendExec(batch, sample []byte) []byte {
	native := binary.NativeEndian
	at := len(batch)
	for p := record.HeaderSize; p+4 <= len(sample); {
		size := int(native.Uint16(sample[p+2:]))
		end := p + 4 + size
		if end > len(sample) {
			break
		}
		if native.Uint16(sample[p:]) != tagEnviron {
			p = end
			continue
		}
		batch = append(batch, sample[:p+4]...)
		from := len(batch)
		batch = appendNames(batch, sample[p+4:end])
		native.PutUint16(batch[from-4:], tagEnv)
		native.PutUint16(batch[from-2:], uint16(len(batch)-from))
		native.PutUint32(batch[at:], uint32(len(batch)-at))
		return batch
	}
	return append(batch, sample...)
}

// appendNames appends the names of variables in an environment, each ended by a zero byte. Of text without "=" nothing is taken: it
// may be a piece of a value.
func appendNames(b, environ []byte) []byte {
	for len(environ) > 0 {
		one := environ
		if end := bytes.IndexByte(environ, 0); end >= 0 {
			one, environ = environ[:end], environ[end+1:]
		} else {
			environ = nil
		}
		if name, _, ok := bytes.Cut(one, []byte{'='}); ok {
			b = append(append(b, name...), 0)
		}
	}
	return b
}
