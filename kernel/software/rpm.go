package software

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// rpmPackage is a package of rpm's database.
type rpmPackage struct {
	name     string // "bash 5.2.26-3.fc40"
	base     [][]byte
	dirs     [][]byte
	dirIndex []byte // four bytes each
	sums     [][]byte
}

// files calls each with every file, until it says false.
func (p rpmPackage) files(each func(path string, sum []byte) bool) bool {
	for i, base := range p.base {
		if 4*i+4 > len(p.dirIndex) {
			return true
		}
		d := binary.BigEndian.Uint32(p.dirIndex[4*i:])
		if uint64(d) >= uint64(len(p.dirs)) {
			continue
		}
		var sum []byte
		if i < len(p.sums) {
			sum, _ = hex.DecodeString(string(p.sums[i]))
		}
		if n := len(p.dirs[d]) + len(base); n < 2 || n > 4096 {
			continue
		}
		if path := bytes.TrimPrefix(append(bytes.Clone(p.dirs[d]), base...), []byte("/")); len(path) > 0 && !each(string(path), sum) {
			return false
		}
	}
	return true
}

// readRPM reads rpmdb.sqlite: each row of the table Packages has the header of a package (rpm.org, "Package format", header structure). Each
// says false to stop.
func readRPM(db []byte, each func(rpmPackage) bool) error {
	return readTable(db, "Packages", func(columns [][]byte) bool {
		if len(columns) < 2 {
			return true
		}
		p, ok := readHeader(columns[1])
		return !ok || each(p)
	})
}

// tags of a header.
const (
	rpmName, rpmVersion, rpmRelease          = 1000, 1001, 1002
	rpmDigests, rpmDirIndex, rpmBase, rpmDir = 1035, 1116, 1117, 1118
)

func readHeader(b []byte) (rpmPackage, bool) {
	if len(b) < 8 {
		return rpmPackage{}, false
	}
	n, size := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if n > 1<<16 || uint64(len(b)) < 8+16*uint64(n)+uint64(size) {
		return rpmPackage{}, false
	}
	data := b[8+16*n:][:size]
	var p rpmPackage
	var name, version, release string
	seen := map[uint32]bool{}
	for i := range n {
		e := b[8+16*i:]
		tag, offset, count := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:])
		if uint64(offset) > uint64(len(data)) || seen[tag] {
			continue
		}
		if tag >= rpmName && tag <= rpmDir {
			seen[tag] = true // a tag that comes again costs nothing
		}
		at := data[offset:]
		switch tag {
		case rpmName:
			name = one(at)
		case rpmVersion:
			version = one(at)
		case rpmRelease:
			release = one(at)
		case rpmDigests:
			p.sums = texts(at, count)
		case rpmBase:
			p.base = texts(at, count)
		case rpmDir:
			p.dirs = texts(at, count)
		case rpmDirIndex:
			p.dirIndex = at[:min(uint64(len(at)), 4*uint64(count))]
		}
	}
	p.name = name + " " + version + "-" + release
	return p, name != ""
}

func one(b []byte) string {
	if t := texts(b, 1); len(t) == 1 {
		return string(t[0])
	}
	return ""
}

// texts reads up to n texts, each ended by a zero byte.
func texts(b []byte, n uint32) [][]byte {
	all := make([][]byte, 0, min(uint64(n), uint64(len(b))))
	for range n {
		t, rest, ok := bytes.Cut(b, []byte{0})
		if !ok {
			break
		}
		all = append(all, t)
		b = rest
	}
	return all
}

var errSQLite = errors.New("malformed SQLite database")

// pages reads the b-trees of an SQLite database (sqlite.org/fileformat2.html) that is in memory whole. It knows tables and nothing else: the
// database is a container's to forge, so that the less there is the better. What is in a write-ahead log only is not seen.
type pages struct {
	b      []byte
	size   int
	usable int
	left   int // how many pages may still be visited: trees that loop end
	work   int // how many bytes of rows may still be read: many cells may point to one row
}

// readTable calls each with the columns of every row.
func readTable(db []byte, table string, each func(columns [][]byte) bool) error {
	if len(db) < 512 || string(db[:16]) != "SQLite format 3\x00" {
		return errSQLite
	}
	p := &pages{b: db, size: int(binary.BigEndian.Uint16(db[16:]))}
	if p.size == 1 {
		p.size = 65536
	}
	if p.usable = p.size - int(db[20]); p.size < 512 || p.size&(p.size-1) != 0 || p.usable < 480 {
		return errSQLite
	}
	p.left, p.work = 2*(len(db)/p.size)+2, 2*len(db)
	root := uint32(0)
	_, err := p.walk(1, 0, func(c [][]byte) bool {
		if len(c) >= 4 && string(c[0]) == "table" && string(c[1]) == table && len(c[3]) <= 4 {
			for _, v := range c[3] {
				root = root<<8 | uint32(v)
			}
			return false
		}
		return true
	})
	if err == nil && root == 0 {
		err = fmt.Errorf("no table %s", table)
	}
	if err != nil {
		return err
	}
	_, err = p.walk(root, 0, each)
	return err
}

func (p *pages) page(n uint32) []byte {
	from := (int(n) - 1) * p.size
	if n == 0 || from < 0 || from+p.size > len(p.b) || p.left <= 0 {
		return nil
	}
	p.left--
	return p.b[from : from+p.size]
}

// kinds of pages.
const (
	interiorTable = 5
	leafTable     = 13
)

func (p *pages) walk(n uint32, depth int, each func([][]byte) bool) (more bool, err error) {
	page := p.page(n)
	if page == nil || depth > 20 {
		return false, errSQLite
	}
	head := page
	if n == 1 {
		head = page[100:]
	}
	cells := int(binary.BigEndian.Uint16(head[3:]))
	kind, first := head[0], 8
	if kind == interiorTable {
		first = 12
	}
	if kind != interiorTable && kind != leafTable || first+2*cells > len(head) {
		return false, errSQLite
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(head[first+2*i:]))
		if at+4 > p.usable {
			return false, errSQLite
		}
		if kind == interiorTable {
			if more, err = p.walk(binary.BigEndian.Uint32(page[at:]), depth+1, each); !more || err != nil {
				return more, err
			}
			continue
		}
		payload, ok := p.payload(page[:p.usable], at)
		if !ok {
			return false, errSQLite
		}
		if columns, ok := split(payload); ok && !each(columns) {
			return false, nil
		}
	}
	if kind == interiorTable {
		return p.walk(binary.BigEndian.Uint32(head[8:]), depth+1, each)
	}
	return true, nil
}

// payload returns that of a leaf's cell, with what is on other pages.
func (p *pages) payload(page []byte, at int) ([]byte, bool) {
	size, n := varint(page[at:])
	if n == 0 || size > uint64(len(p.b)) {
		return nil, false
	}
	at += n
	if _, n = varint(page[at:]); n == 0 { // the number of the row
		return nil, false
	}
	if p.work -= int(size); p.work < 0 {
		return nil, false
	}
	at += n
	total, local := int(size), int(size)
	if limit := p.usable - 35; total > limit {
		least := (p.usable-12)*32/255 - 23
		if local = least + (total-least)%(p.usable-4); local > limit {
			local = least
		}
	}
	if at+local > len(page) {
		return nil, false
	}
	if local == total {
		return page[at : at+local], true
	}
	if at+local+4 > len(page) {
		return nil, false
	}
	all := append(make([]byte, 0, total), page[at:at+local]...)
	for next := binary.BigEndian.Uint32(page[at+local:]); len(all) < total; {
		over := p.page(next)
		if over == nil {
			return nil, false
		}
		all = append(all, over[4:min(p.usable, 4+total-len(all))]...)
		next = binary.BigEndian.Uint32(over)
	}
	return all, true
}

// split cuts a row into its columns: integers as their bytes, the highest first.
func split(b []byte) ([][]byte, bool) {
	size, n := varint(b)
	if n == 0 || size > uint64(len(b)) || int(size) < n {
		return nil, false
	}
	head, body := b[n:size], b[size:]
	var all [][]byte
	for len(head) > 0 {
		kind, n := varint(head)
		if n == 0 || len(all) > 64 {
			return nil, false
		}
		head = head[n:]
		var length uint64
		switch {
		case kind <= 4:
			length = kind
		case kind == 5:
			length = 6
		case kind == 6, kind == 7:
			length = 8
		case kind >= 12:
			length = (kind - 12) / 2
		}
		if length > uint64(len(body)) {
			return nil, false
		}
		all = append(all, body[:length])
		body = body[length:]
	}
	return all, true
}

// varint reads a number of up to nine bytes, the highest first; 0 bytes for none.
func varint(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 9; i++ {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
