package history

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// kind is the type of an object, as in packs.
type kind uint8

const (
	commitObject kind = 1
	treeObject   kind = 2
	blobObject   kind = 3
	tagObject    kind = 4
	offsetDelta  kind = 6
	nameDelta    kind = 7
)

// maxIndex bounds a pack's index, which is held in memory.
const maxIndex = 2 << 30

// pack is a pack file and its index, which names the objects in it.
type pack struct {
	name    string // without .pack
	file    *os.File
	size    int64
	base    id // number of its first object
	count   uint32
	hash    int
	fanout  []byte
	names   []byte // count names, each stride apart
	stride  int
	offsets []byte // 4 bytes each, offsetStride apart
	ostride int
	large   []byte // 8 bytes each, for offsets that do not fit
}

var errCorrupted = errors.New("corrupted")

// openPack opens a pack whose index is name + ".idx".
func openPack(dir *os.Root, name string, hash int) (*pack, error) {
	index, err := readIndex(dir, name+".idx", hash)
	if err != nil {
		return nil, err
	}
	p := &pack{name: name, hash: hash}
	if err := p.parseIndex(index); err != nil {
		return nil, err
	}
	if p.file, err = openRegular(dir, name+".pack"); err != nil {
		return nil, err
	}
	info, err := p.file.Stat()
	if err != nil {
		p.file.Close()
		return nil, err
	}
	var head [12]byte
	p.size = info.Size() - int64(hash)
	if _, err := p.file.ReadAt(head[:], 0); err != nil || string(head[:4]) != "PACK" || p.size < 12 {
		p.file.Close()
		return nil, fmt.Errorf("%w: not a pack", errCorrupted)
	}
	if v := binary.BigEndian.Uint32(head[4:]); v != 2 && v != 3 {
		p.file.Close()
		return nil, fmt.Errorf("pack version %d is not known", v)
	}
	return p, nil
}

// readIndex reads the file of an index into memory, if it has the size that its beginning says.
func readIndex(dir *os.Root, name string, hash int) ([]byte, error) {
	f, err := openRegular(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var head [8 + 1024]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n == len(head) {
		least, most := int64(0), int64(0)
		if bytes.HasPrefix(head[:], []byte("\xfftOc")) {
			count := int64(binary.BigEndian.Uint32(head[len(head)-4:]))
			least = int64(len(head)) + count*int64(hash+8) + 2*int64(hash)
			most = least + 8*count
		} else {
			least = 1024 + int64(binary.BigEndian.Uint32(head[1020:]))*int64(4+hash) + 2*int64(hash)
			most = least
		}
		if size := info.Size(); size < least || size > most {
			return nil, fmt.Errorf("%w: the index has the wrong size", errCorrupted)
		}
	}
	return readFile(dir, name, maxIndex)
}

// parseIndex reads an index of version 1 or 2, as gitformat-pack(5) has them.
func (p *pack) parseIndex(b []byte) error {
	version := 1
	if bytes.HasPrefix(b, []byte("\xfftOc")) {
		if len(b) < 8 || binary.BigEndian.Uint32(b[4:]) != 2 {
			return errors.New("the version of the pack's index is not known")
		}
		version, b = 2, b[8:]
	}
	if len(b) < 1024+2*p.hash {
		return fmt.Errorf("%w: the index is too short", errCorrupted)
	}
	p.fanout, b = b[:1024], b[1024:len(b)-2*p.hash]
	last := uint32(0)
	for i := range 256 {
		n := binary.BigEndian.Uint32(p.fanout[4*i:])
		if n < last {
			return fmt.Errorf("%w: the index's table does not ascend", errCorrupted)
		}
		last = n
	}
	p.count = last
	n := int64(last)
	if version == 1 {
		if int64(len(b)) != n*int64(4+p.hash) {
			return fmt.Errorf("%w: the index has the wrong size", errCorrupted)
		}
		p.stride, p.ostride = 4+p.hash, 4+p.hash
		p.offsets = b
		p.names = b[min(4, len(b)):]
		return nil
	}
	if int64(len(b)) < n*int64(p.hash+8) || (int64(len(b))-n*int64(p.hash+8))%8 != 0 {
		return fmt.Errorf("%w: the index has the wrong size", errCorrupted)
	}
	p.stride, p.ostride = p.hash, 4
	p.names, b = b[:n*int64(p.hash)], b[n*int64(p.hash+4):]
	p.offsets, p.large = b[:4*n], b[4*n:]
	return nil
}

func (p *pack) nameAt(i uint32) []byte {
	at := int(i) * p.stride
	return p.names[at : at+p.hash]
}

// offsetAt returns where the object is in the pack; beyond it if the index lies.
func (p *pack) offsetAt(i uint32) int64 {
	n := binary.BigEndian.Uint32(p.offsets[int(i)*p.ostride:])
	if n>>31 == 0 || p.ostride != 4 {
		return int64(n)
	}
	at := int64(n&^(1<<31)) * 8
	if at+8 > int64(len(p.large)) {
		return p.size
	}
	return int64(binary.BigEndian.Uint64(p.large[at:]) & (1<<63 - 1))
}

// find returns the place in the index of a name, which may be cut short.
func (p *pack) find(name []byte) (uint32, bool) {
	lo, hi := uint32(0), binary.BigEndian.Uint32(p.fanout[4*int(name[0]):])
	if name[0] > 0 {
		lo = binary.BigEndian.Uint32(p.fanout[4*int(name[0])-4:])
	}
	for lo < hi {
		mid := lo + (hi-lo)/2
		at := int(mid) * p.stride
		switch bytes.Compare(p.names[at:at+len(name)], name) {
		case 0:
			return mid, true
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// openPacks opens every pack in a folder of objects. Those that cannot be read are told.
func openPacks(objects *os.Root, hash int, bad func(name string, err error)) []*pack {
	dir, err := objects.OpenRoot("pack")
	if err != nil {
		return nil
	}
	defer dir.Close()
	f, err := dir.Open(".")
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(maxPacks)
	if err != nil && !errors.Is(err, io.EOF) {
		bad("objects/pack", err)
	}
	sort.Strings(names)
	var out []*pack
	for _, n := range names {
		n, ok := strings.CutSuffix(n, ".idx")
		if !ok {
			continue
		}
		p, err := openPack(dir, n, hash)
		if err != nil {
			bad("objects/pack/"+n, err)
			continue
		}
		out = append(out, p)
	}
	return out
}

const maxPacks = 100_000
