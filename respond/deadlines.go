package respond

import (
	"container/heap"
	"time"
)

// deadlines orders entries by when they are due, the earliest first.
type deadlines struct{ heap dueHeap }

func (d *deadlines) push(e *entry) { heap.Push(&d.heap, e) }

func (d *deadlines) remove(e *entry) { heap.Remove(&d.heap, e.place) }

func (d *deadlines) move(e *entry, due time.Time) {
	e.due = due
	heap.Fix(&d.heap, e.place)
}

// first returns the entry that is due first, or nil.
func (d *deadlines) first() *entry {
	if len(d.heap) == 0 {
		return nil
	}
	return d.heap[0]
}

type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
