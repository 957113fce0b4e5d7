//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// object is what one C file was compiled to, and which of its programs do what.
type object struct {
	name     string
	spec     func() (*ebpf.CollectionSpec, error)
	programs []program
}

// program is one of an object's.
type program struct {
	name    string // in C
	feature string // what it sees, for people: "exec"
	cost    string // what it costs where it cannot be loaded, a sentence
	// calls are the system calls that it is a part of the one program of all system calls for.
	calls []record.Call
	// instead names a program whose loading makes this one superfluous: of two forms of one program the first that loads is taken.
	instead string
	// lazy programs are attached when something needs them.
	lazy bool
	// attach attaches the program in another way than its section says.
	attach func(*ebpf.Program) (link.Link, error)
}

// loaded is a program in the kernel.
type loaded struct {
	program
	spec *ebpf.ProgramSpec
	prog *ebpf.Program
	link link.Link // nil while it is not attached
	// refused is why it could not be attached, of one that is attached when something needs it.
	refused error
}

// shared reports whether one map of that name serves all objects.
func shared(name string) bool { return name != "scratch" && !strings.HasPrefix(name, ".") }

// load loads the programs of an object one by one, and joins its maps with those that are there.
func (l *Loader) load(o object) error {
	spec, err := o.spec()
	if err != nil {
		return fmt.Errorf("the object %s: %w", o.name, err)
	}
	own := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		l.size(name, m) // of one that is there, too: what stands in its place must be declared alike
		if have := l.maps[name]; have != nil && shared(name) {
			own[name] = have
			continue
		}
		made, err := ebpf.NewMap(m)
		if err != nil {
			return fmt.Errorf("the map %s: %w", name, err)
		}
		own[name] = made
		if shared(name) {
			l.maps[name] = made
		} else {
			l.private = append(l.private, made)
		}
	}
	for _, p := range o.programs {
		if p.instead != "" && l.programs[p.instead] != nil {
			continue
		}
		ps := spec.Programs[p.name]
		if ps == nil {
			return fmt.Errorf("the object %s has no program %s", o.name, p.name)
		}
		prog, used, err := l.loadProgram(spec, ps, own)
		if err == nil && p.lazy && used.Type == ebpf.RawTracepoint {
			if err = attachable(used, prog); err != nil {
				_ = prog.Close()
			}
		}
		if err != nil {
			l.note(kernel.Feature{Name: p.feature, Detail: reason(err), Cost: p.cost, Mend: mend(err)})
			l.log.Warn("a program for the kernel does not load", "program", p.name, "error", err)
			continue
		}
		// Not its instructions: those of all programs are some megabytes.
		slim := &ebpf.ProgramSpec{Name: used.Name, Type: used.Type, AttachType: used.AttachType, AttachTo: used.AttachTo, SectionName: used.SectionName}
		l.programs[p.name] = &loaded{program: p, spec: slim, prog: prog}
		l.order = append(l.order, p.name)
		for _, call := range p.calls {
			if err := l.maps["handlers"].Put(uint32(call), prog); err != nil {
				return fmt.Errorf("the program %s of %s: %w", p.name, call, err)
			}
			l.handled[call] = true
		}
	}
	return nil
}

// attachable tries whether the kernel has the tracepoint of a raw program, which loads in any case: else what is attached when something needs it would be
// said to work until then.
func attachable(ps *ebpf.ProgramSpec, prog *ebpf.Program) error {
	at, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: ps.AttachTo, Program: prog})
	if err != nil {
		return fmt.Errorf("the tracepoint %s: %w", ps.AttachTo, err)
	}
	return at.Close()
}

// loadProgram loads one program: of a tracepoint with types where the kernel has that, else without.
func (l *Loader) loadProgram(all *ebpf.CollectionSpec, ps *ebpf.ProgramSpec, maps map[string]*ebpf.Map) (*ebpf.Program, *ebpf.ProgramSpec, error) {
	attempt := func(ps *ebpf.ProgramSpec) (*ebpf.Program, error) {
		one := &ebpf.CollectionSpec{Maps: all.Maps, Programs: map[string]*ebpf.ProgramSpec{ps.Name: ps}, Types: all.Types, ByteOrder: all.ByteOrder}
		collection, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: maps, Cache: l.types})
		if err != nil {
			return nil, err
		}
		prog := collection.DetachProgram(ps.Name)
		collection.Close()
		return prog, nil
	}
	typed := ps.Type == ebpf.Tracing && ps.AttachType == ebpf.AttachTraceRawTp
	err := error(unix.EPERM)
	if !typed || !l.raw {
		var prog *ebpf.Program
		if prog, err = attempt(ps); err == nil || !typed {
			return prog, ps, err
		}
	}
	raw := ps.Copy()
	raw.Type, raw.AttachType, raw.SectionName = ebpf.RawTracepoint, ebpf.AttachNone, "raw_tp/"+ps.AttachTo
	prog, rawErr := attempt(raw)
	if rawErr != nil {
		return nil, nil, errors.Join(err, rawErr)
	}
	return prog, raw, nil
}

// attachProgram attaches a program as its section says.
func (p *loaded) attachTo() (link.Link, error) {
	switch {
	case p.attach != nil:
		return p.attach(p.prog)
	case p.spec.Type == ebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: p.spec.AttachTo, Program: p.prog})
	case p.spec.Type == ebpf.Tracing:
		return link.AttachTracing(link.TracingOptions{Program: p.prog})
	case p.spec.Type == ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: p.prog})
	}
	return nil, fmt.Errorf("a program of type %s has no way to be attached", p.spec.Type)
}
