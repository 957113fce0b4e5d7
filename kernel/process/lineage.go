package process

// parent returns the slot of the process that started one of that start, nil where it is not known. A process that began
// later than its child is another that has the process id now.
func (t *Table) parent(pid uint32, start uint64) *slot {
	s := t.live[pid]
	if s == nil {
		return nil
	}
	if p := s.p.Load(); p.Start > start+Tick && start != 0 {
		return nil
	}
	return s
}

// lineage returns that of the children of a process.
func (t *Table) lineage(ppid uint32, start uint64) *Lineage {
	if ppid == 0 {
		return &Lineage{Whole: true}
	}
	s := t.parent(ppid, start)
	if s == nil {
		a := &Ancestor{PID: ppid}
		return &Lineage{Ancestors: []*Ancestor{a}, Paths: []string{""}, Names: []string{""}}
	}
	return t.family(s, 0)
}

// family returns the lineage of the children that a process has now.
func (t *Table) family(s *slot, depth int) *Lineage {
	p := s.p.Load()
	if s.turn != t.turn {
		p = t.relink(s, p, depth)
	}
	if s.family != nil {
		return s.family
	}
	n := min(len(p.Lineage.Ancestors)+1, MaxLineage)
	texts := make([]string, 2*n)
	l := &Lineage{Ancestors: make([]*Ancestor, n), Paths: texts[:n:n], Names: texts[n:], Whole: p.Lineage.Whole && p.State != Unknown}
	l.Ancestors[0], l.Paths[0], l.Names[0] = p.ancestor(), p.Exe, p.Name
	copy(l.Ancestors[1:], p.Lineage.Ancestors)
	copy(l.Paths[1:], p.Lineage.Paths)
	copy(l.Names[1:], p.Lineage.Names)
	s.family = l
	return l
}

// relink makes a lineage anew that was not whole, because something has become known since.
func (t *Table) relink(s *slot, p *Process, depth int) *Process {
	s.turn = t.turn
	if p.Lineage.Whole || p.PPID == 0 || p.PPID == p.PID || depth >= MaxLineage {
		return p
	}
	parent := t.parent(p.PPID, p.Start)
	if parent == nil || parent == s {
		return p
	}
	if first := p.Lineage.Ancestors; len(first) > 0 && first[0].Key != "" && first[0].Key != parent.p.Load().Key {
		return p
	}
	l := t.family(parent, depth+1)
	if l == p.Lineage {
		return p
	}
	q := *p
	q.Lineage = l
	return t.put(s, &q)
}
