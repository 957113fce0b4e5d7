package process

// Bounds of the texts that are kept of one process; what an event tells of an exec is not cut.
const (
	keepCmdLine = 4096
	keepCwd     = 1024
	keepTight   = 256 // of each, when Config.Texts is used up
)

// size returns the bytes of the texts of p. Texts that processes share count for each.
func (p *Process) size() int64 {
	return int64(len(p.Exe) + len(p.CmdLine) + len(p.argv) + len(p.Given) + len(p.Cwd))
}

// bounded returns p, or a copy of it with shorter texts.
func (t *Table) bounded(p *Process) *Process {
	line, cwd := keepCmdLine, keepCwd
	if n := p.size(); t.size+n > int64(t.cfg.Texts) {
		for t.size+n > int64(t.cfg.Texts) && t.drop() {
		}
		if t.size+n > int64(t.cfg.Texts) {
			line, cwd = keepTight, keepTight
		}
	}
	if len(p.CmdLine) <= line && len(p.argv) <= line && len(p.Cwd) <= cwd {
		return p
	}
	t.stats.Cut++
	q := *p
	q.Cut = p.Cut || len(p.CmdLine) > line || len(p.argv) > line
	q.CmdLine, q.argv, q.Cwd = shorten(p.CmdLine, line), shorten(p.argv, line), shorten(p.Cwd, cwd)
	return &q
}

// remember keeps an ended process.
func (t *Table) remember(p *Process) {
	if t.cfg.Exited == 0 || p.Key == "" {
		return
	}
	for len(t.gone) >= t.cfg.Exited && t.drop() {
	}
	p = t.bounded(p)
	at := idOf(p.PID, p.Start)
	t.mu.Lock()
	old := t.gone[at]
	t.gone[at] = p
	t.mu.Unlock()
	t.size += p.size()
	if old != nil {
		t.size -= old.size() // its place in the queue is passed over
	}
	t.order.push(p)
}

// forget drops those that ended too long ago.
func (t *Table) forget(now uint64) {
	for p := t.order.first(); p != nil && now > p.Exited && now-p.Exited > uint64(t.cfg.Keep); p = t.order.first() {
		t.drop()
	}
}

// drop forgets the process that ended first.
func (t *Table) drop() bool {
	p := t.order.pop()
	if p == nil {
		return false
	}
	at := idOf(p.PID, p.Start)
	if t.gone[at] != p {
		return true
	}
	t.mu.Lock()
	delete(t.gone, at)
	t.mu.Unlock()
	t.size -= p.size()
	t.stats.Forgotten++
	return true
}

// queue is first in, first out.
type queue struct {
	items []*Process
	head  int
}

func (q *queue) push(p *Process) {
	if q.head > 64 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, p)
}

func (q *queue) first() *Process {
	if q.head == len(q.items) {
		return nil
	}
	return q.items[q.head]
}

func (q *queue) pop() *Process {
	p := q.first()
	if p != nil {
		q.items[q.head] = nil
		q.head++
	}
	return p
}
