//go:build linux

package bpf

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/goruntime"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Options are a loader's.
type Options struct {
	// Ring is the size of the ring buffer between kernel and reader; what is not a power of two of pages is rounded up. 0 is 8 MiB.
	Ring bytesize.Size
	// Exclude are processes of which nothing is told: testudo itself. At most 4.
	Exclude []uint32
	// FlowInterval is the time between two summaries of a connection that goes on. 0 is a minute.
	FlowInterval time.Duration
	// Threads asks for forks and exits of threads, too.
	Threads bool
	// Log is told what does not load. nil is nobody.
	Log *slog.Logger
}

// limits of the size of the ring.
const (
	defaultRing = 8 << 20
	maxRing     = 1 << 30
)

// Loader has the programs in the kernel. Its methods are safe for concurrent use, but for Load, Attach and Close, which are called in this
// order by one goroutine.
type Loader struct {
	options Options
	log     *slog.Logger

	maps     map[string]*ebpf.Map
	private  []*ebpf.Map
	programs map[string]*loaded
	order    []string // of programs
	features []kernel.Feature
	handled  map[record.Call]bool // calls that a program is there for
	types    *btf.Cache           // of the kernel, while programs load
	attached bool
	raw      bool // typed tracepoints are not tried, for tests

	mu       sync.Mutex // of what follows
	interest kernel.Interest
	filters  filters

	want  atomic.Pointer[wants] // what interest asks for of paths, for the reader
	names nameCounts

	goPrograms goruntime.Cache

	records, bytes atomic.Uint64 // handed on
	forgotten      atomic.Uint64 // flows that did not fit into the kernel's tables
	running        atomic.Bool
	flushes        flushes
}

// New returns a loader that has loaded nothing.
func New(o Options) *Loader {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Loader{options: o, log: log, maps: map[string]*ebpf.Map{}, programs: map[string]*loaded{}, handled: map[record.Call]bool{}}
}

// Load loads everything that this kernel takes. The error says why nothing at all can be seen; what only some programs
// lack is in [Loader.Features]. After an error there is nothing to close.
func (l *Loader) Load() error {
	l.types = btf.NewCache()
	err := l.loadAll()
	l.types = nil // it holds tens of megabytes
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return nil
}

func (l *Loader) loadAll() error {
	_ = rlimit.RemoveMemlock() // before 5.11 maps count as locked memory; where it may not be raised, loading says so
	l.features = append(l.features, capabilities()...)
	for _, f := range l.features {
		if !f.OK && (f.Name == featureBTF || f.Name == featureRing) {
			return fmt.Errorf("%w: the kernel's %s is missing: %s", kernel.ErrUnable, f.Name, f.Detail)
		}
	}
	if len(l.options.Exclude) > 4 {
		return fmt.Errorf("%d processes to exclude, 4 are possible", len(l.options.Exclude))
	}
	for _, o := range objects() {
		if err := l.load(o); err != nil {
			return err
		}
	}
	if len(l.programs) == 0 {
		return fmt.Errorf("%w: none of the programs loads", kernel.ErrUnable)
	}
	return l.Watch(context.Background(), kernel.Interest{})
}

// size sets what the build cannot know of a map.
func (l *Loader) size(name string, m *ebpf.MapSpec) {
	switch name {
	case "records":
		n := uint64(os.Getpagesize())
		want := uint64(l.options.Ring)
		if want == 0 {
			want = defaultRing
		}
		for n < min(want, maxRing) {
			n <<= 1
		}
		m.MaxEntries = uint32(n)
	case "scratch":
		m.MaxEntries = uint32(ebpf.MustPossibleCPU())
	}
}

// Attach begins to see. What cannot be attached is a feature that is missing; the error says that nothing could.
func (l *Loader) Attach() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	attached := 0
	for _, name := range l.order {
		p := l.programs[name]
		if p.lazy || p.calls != nil {
			if p.refused != nil { // Watch has said so
				continue
			}
			l.note(kernel.Feature{Name: p.feature, OK: true, Detail: "by " + p.spec.SectionName})
			continue
		}
		if err := l.attach(p); err != nil {
			l.note(kernel.Feature{Name: p.feature, Detail: reason(err), Cost: p.cost, Mend: mend(err)})
			l.log.Warn("a program for the kernel cannot be attached", "program", p.name, "error", err)
			continue
		}
		attached++
		l.note(kernel.Feature{Name: p.feature, OK: true, Detail: "by " + p.spec.SectionName})
	}
	if attached == 0 {
		return fmt.Errorf("%w: none of the programs can be attached", kernel.ErrUnable)
	}
	l.attached = true
	l.attachCalls()
	return nil
}

// note tells of a feature, in the place of what was said of it before: of two forms of one program one is enough.
func (l *Loader) note(f kernel.Feature) {
	for i := range l.features {
		if l.features[i].Name == f.Name {
			l.features[i] = f
			return
		}
	}
	l.features = append(l.features, f)
}

func (l *Loader) attach(p *loaded) error {
	if p.link != nil {
		return nil
	}
	at, err := p.attachTo()
	if err != nil {
		return err
	}
	p.link = at
	return nil
}

// attachWanted attaches a program that something needs by now. Where the kernel does not take it, the features say so: what else is wanted is seen
// all the same.
func (l *Loader) attachWanted(p *loaded) (ok bool) {
	if p.refused = l.attach(p); p.refused != nil {
		l.note(kernel.Feature{Name: p.feature, Detail: reason(p.refused), Cost: p.cost, Mend: mend(p.refused)})
		l.log.Warn("a program for the kernel cannot be attached", "program", p.name, "error", p.refused)
	}
	return p.refused == nil
}

// Close takes everything out of the kernel. Run must have returned.
func (l *Loader) Close() error {
	var all []error
	for _, name := range l.order { // first nothing runs any more, then nothing is there any more
		if p := l.programs[name]; p.link != nil {
			all = append(all, p.link.Close())
			p.link = nil
		}
	}
	for _, name := range l.order {
		all = append(all, l.programs[name].prog.Close())
	}
	for _, m := range l.maps {
		all = append(all, m.Close())
	}
	for _, m := range l.private {
		all = append(all, m.Close())
	}
	clear(l.maps)
	clear(l.programs)
	l.private, l.order = nil, nil
	return errors.Join(all...)
}

// Map returns the map of that name which the programs share, nil for none: "serving" is kernel/chain's. It belongs to the loader.
func (l *Loader) Map(name string) *ebpf.Map { return l.maps[name] }

// Maps returns the maps that the programs share, for objects of other parts that include common.h. They belong to the loader.
func (l *Loader) Maps() map[string]*ebpf.Map {
	all := make(map[string]*ebpf.Map, len(l.maps))
	for name, m := range l.maps {
		all[name] = m
	}
	return all
}

// Features says what this kernel allows, and what of the programs is at work. After Attach.
func (l *Loader) Features() []kernel.Feature {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]kernel.Feature(nil), l.features...)
}

// Urgent names the kinds of record that somebody waits for: they wake the reader at once, which costs the task that they tell of
// some hundred nanoseconds each.
func (l *Loader) Urgent(kinds ...record.Kind) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.filters.urgent = 0
	for _, k := range kinds {
		l.filters.urgent |= 1 << k
	}
	return l.tellReader()
}
