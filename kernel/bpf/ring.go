//go:build linux

package bpf

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The header of a record in the ring, Documentation/bpf/ringbuf.rst.
const (
	ringBusy    = 1 << 31
	ringDiscard = 1 << 30
	ringHeader  = 8
)

// ring is the memory of a BPF_MAP_TYPE_RINGBUF: positions only grow. The kernel lets the data be mapped twice in a row, so that no record is
// in two pieces; it is mapped once here, as pages count each time that they are mapped, and the one record in a round that comes in two
// pieces is put together. One goroutine reads it.
type ring struct {
	consumer, producer []byte // one page; one page and the data
	data               []byte
	mask               uint64
	joined             []byte // the record that came in two pieces
}

func openRing(m *ebpf.Map) (*ring, error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("the ring's reading position: %w", err)
	}
	producer, err := unix.Mmap(m.FD(), int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(consumer)
		return nil, fmt.Errorf("the ring's data: %w", err)
	}
	return &ring{consumer: consumer, producer: producer, data: producer[page:], mask: uint64(size - 1)}, nil
}

func (r *ring) close() {
	_ = unix.Munmap(r.consumer)
	_ = unix.Munmap(r.producer)
}

func position(page []byte) *uint64 { return (*uint64)(unsafe.Pointer(&page[0])) }

// written returns the position up to which there are records, whole or being written.
func (r *ring) written() uint64 { return atomic.LoadUint64(position(r.producer)) }

// pending returns how many bytes wait.
func (r *ring) pending() uint64 {
	return atomic.LoadUint64(position(r.producer)) - *position(r.consumer)
}

// read calls take with each record that is whole, until it returns false: that record is read again the next time. It returns whether
// there may be more. The slice is the ring's, and holds until take returns.
func (r *ring) read(take func(sample []byte) bool) (more bool) {
	at := *position(r.consumer)
	end := atomic.LoadUint64(position(r.producer))
	given := at
	defer func() { atomic.StoreUint64(position(r.consumer), at) }()
	for at < end {
		size := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at&r.mask])))
		if size&ringBusy != 0 {
			return false
		}
		n := uint64(size &^ (ringBusy | ringDiscard))
		if size&ringDiscard == 0 && !take(r.sample(at+ringHeader, n)) {
			return true
		}
		at += (n + ringHeader + 7) &^ 7
		if at-given > min(r.mask/16, 64<<10) { // room for the kernel while we go on
			atomic.StoreUint64(position(r.consumer), at)
			given = at
		}
	}
	return atomic.LoadUint64(position(r.producer)) != end
}

// peek calls look with the records that wait at a position and behind it, as far as they are whole, until it returns false, and returns the position of the
// first that it was not called with. They are read all the same.
func (r *ring) peek(at uint64, look func(sample []byte) bool) uint64 {
	at = max(at, *position(r.consumer))
	for end := atomic.LoadUint64(position(r.producer)); at < end; {
		size := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at&r.mask])))
		n := uint64(size &^ (ringBusy | ringDiscard))
		if size&ringBusy != 0 || (size&ringDiscard == 0 && !look(r.sample(at+ringHeader, n))) {
			break
		}
		at += (n + ringHeader + 7) &^ 7
	}
	return at
}

// sample returns n bytes of the ring.
func (r *ring) sample(at, n uint64) []byte {
	from := r.data[at&r.mask:]
	if n <= uint64(len(from)) {
		return from[:n]
	}
	r.joined = append(append(r.joined[:0], from...), r.data[:n-uint64(len(from))]...)
	return r.joined
}
