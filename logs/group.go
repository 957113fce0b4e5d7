package logs

import (
	"bytes"
	"errors"
	"io"
)

// groups gathers lines that make one record. A record is closed by its last line, by Settle, or because too many are
// open or it grew too long: then the oldest goes first. Closed records are handed out in the order of their first lines.
type groups struct {
	limit int // open records
	max   int // bytes of a record, and of all open ones
	open  []group
	ready [][]byte // to hand out
	free  [][]byte
	bytes int
	all   bool // settle
}

type group struct {
	key    []byte
	lines  []byte
	offset int64
	line   int64 // on which it begins
	closed bool
}

func (g *groups) oldest() (int64, bool) {
	if len(g.open) == 0 {
		return 0, false
	}
	return g.open[0].offset, true
}

func (g *groups) settle() { g.all = true }

// nextGroup returns the next record of many lines.
func (r *Reader) nextGroup() ([]byte, error) {
	g := &r.groups
	for {
		if record, line, ok := g.take(&r.stats); ok {
			r.line = line
			return record, nil
		}
		offset := r.base + int64(r.at)
		line, err := r.next()
		if err != nil {
			if r.finished && errors.Is(err, io.EOF) && len(g.open) > 0 {
				g.settle()
				continue
			}
			return nil, err
		}
		r.stats.Records-- // counted when its record is handed out
		key, part := r.format.Group(line)
		g.add(key, line, part, offset, r.line, &r.stats)
	}
}

func (g *groups) add(key, line []byte, part Part, offset, number int64, stats *Stats) {
	at := -1
	for i := len(g.open) - 1; part != Alone && i >= 0; i-- {
		if !g.open[i].closed && bytes.Equal(g.open[i].key, key) {
			at = i
			break
		}
	}
	if part == Closer {
		if at >= 0 {
			g.open[at].closed = true
		}
		return
	}
	if at >= 0 && len(g.open[at].lines)+1+len(line) > g.max {
		g.open[at].closed = true
		stats.Unclosed++
		at = -1
	}
	if at < 0 {
		g.open = append(g.open, group{key: bytes.Clone(key), lines: g.memory(), offset: offset, line: number})
		at = len(g.open) - 1
	} else {
		g.open[at].lines = append(g.open[at].lines, '\n')
		g.bytes++
	}
	e := &g.open[at]
	e.lines = append(e.lines, line...)
	e.closed = part == Alone || part == Last
	g.bytes += len(line)
}

// take returns the oldest record, if it is closed or there are too many.
func (g *groups) take(stats *Stats) (record []byte, line int64, ok bool) {
	if len(g.ready) > 0 { // the one handed out last
		g.free = append(g.free, g.ready[0][:0])
		g.ready = g.ready[:0]
	}
	if len(g.open) == 0 {
		g.all = false
		return nil, 0, false
	}
	first := &g.open[0]
	if !first.closed {
		if !g.all && len(g.open) <= g.limit && g.bytes <= g.max {
			return nil, 0, false
		}
		stats.Unclosed++
	}
	record, line = first.lines, first.line
	g.bytes -= len(record)
	g.ready = append(g.ready, record)
	g.open = append(g.open[:0], g.open[1:]...)
	stats.Records++
	return record, line, true
}

// memory returns an empty buffer, a used one where there is one.
func (g *groups) memory() []byte {
	if n := len(g.free); n > 0 {
		b := g.free[n-1]
		g.free = g.free[:n-1]
		if cap(b) <= 64<<10 {
			return b
		}
	}
	return nil
}
