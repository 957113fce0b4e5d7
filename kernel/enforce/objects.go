//go:build linux

package enforce

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
)

// slotsPerCPU is SLOTS of match.h.
const slotsPerCPU = 4

// objects are the maps that all programs share.
type objects struct {
	// What programs are made of, until those that work here are chosen: it takes megabytes.
	spec  *ebpf.CollectionSpec
	types *btf.Cache
	maps  map[string]*ebpf.Map

	current, tables, paths, prefixes, numbers, networks, counts, spared, decisions *ebpf.Map
	barrier, inner                                                                 *ebpf.Map
}

func loadObjects() (*objects, error) {
	spec, err := loadGuard()
	if err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil { // kernels before 5.11 count maps as locked memory
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	spec.Maps["slots"].MaxEntries = uint32(cpus * slotsPerCPU)
	only := spec.Copy()
	only.Programs = nil
	coll, err := ebpf.NewCollection(only)
	if err != nil {
		return nil, err
	}
	o := &objects{spec: spec, types: btf.NewCache(), maps: coll.Maps}
	for name, to := range map[string]**ebpf.Map{"current": &o.current, "tables": &o.tables, "paths": &o.paths, "prefixes": &o.prefixes, "numbers": &o.numbers,
		"networks": &o.networks, "counts": &o.counts, "spared": &o.spared, "decisions": &o.decisions} {
		*to = o.maps[name]
	}
	inner := &ebpf.MapSpec{Name: "guard_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if o.inner, err = ebpf.NewMap(inner); err == nil {
		o.barrier, err = ebpf.NewMap(&ebpf.MapSpec{Name: "guard_barrier", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner})
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func (o *objects) Close() error {
	var all []error
	for _, m := range o.maps {
		all = append(all, m.Close())
	}
	for _, m := range []*ebpf.Map{o.inner, o.barrier} {
		if m != nil {
			all = append(all, m.Close())
		}
	}
	return errors.Join(all...)
}

// program loads one program on the shared maps.
func (o *objects) program(name string) (*ebpf.Program, error) {
	spec := o.spec.Copy()
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: o.maps, Cache: o.types})
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

// wait returns when no program runs that began before: a change of a map of maps waits for that in the kernel.
func (o *objects) wait() error {
	if err := o.barrier.Put(uint32(0), o.inner); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

// put writes rules as one generation.
func (o *objects) put(generation uint32, c *compiled) error {
	for k, b := range c.paths {
		if err := o.paths.Put(pathKey(generation, k), b); err != nil {
			return fmt.Errorf("path %q: %w", k.text, err)
		}
	}
	for k, b := range c.prefixes {
		if err := o.prefixes.Put(prefixKey(generation, k), b); err != nil {
			return fmt.Errorf("paths with %q in front: %w", k.text, err)
		}
	}
	for k, b := range c.numbers {
		if err := o.numbers.Put(guardNumberKey{Number: k.number, Kind: k.kind, Generation: generation}, b); err != nil {
			return fmt.Errorf("number %d: %w", k.number, err)
		}
	}
	for p, b := range c.networks {
		if err := o.networks.Put(networkKey(generation, p), b); err != nil {
			return fmt.Errorf("network %s: %w", p, err)
		}
	}
	if err := o.tables.Put(generation, &c.table); err != nil {
		return fmt.Errorf("table of rules: %w", err)
	}
	return nil
}

// remove takes rules of a generation away that does not hold.
func (o *objects) remove(generation uint32, c *compiled) error {
	var all []error
	gone := func(m *ebpf.Map, key any) {
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			all = append(all, err)
		}
	}
	for k := range c.paths {
		gone(o.paths, pathKey(generation, k))
	}
	for k := range c.prefixes {
		gone(o.prefixes, prefixKey(generation, k))
	}
	for k := range c.numbers {
		gone(o.numbers, guardNumberKey{Number: k.number, Kind: k.kind, Generation: generation})
	}
	for p := range c.networks {
		gone(o.networks, networkKey(generation, p))
	}
	return errors.Join(append(all, o.tables.Put(generation, &guardTable{}))...)
}

// firstNamespace is the machine's first PID namespace: PROC_PID_INIT_INO of linux/proc_ns.h.
const firstNamespace = "pid:[4026531836]"

var errNamespace = errors.New("testudo runs in a PID namespace of its own, as in a container: it could not spare itself, nor the first process, by the numbers that it sees")

// firstPIDs returns an error outside of the machine's first PID namespace. The programs know processes by their numbers in that one.
func firstPIDs() error {
	space, err := os.Readlink("/proc/self/ns/pid")
	if err == nil && space != firstNamespace {
		err = errNamespace
	}
	return err
}

// spare writes the processes that nothing is refused to.
func (o *objects) spare(pids []int) error {
	for _, pid := range pids {
		ticks, err := startTicks(pid)
		if err != nil {
			return fmt.Errorf("process %d, which is to be spared: %w", pid, err)
		}
		if err := o.spared.Put(uint32(pid), ticks); err != nil {
			return fmt.Errorf("process %d, which is to be spared: %w", pid, err)
		}
	}
	return nil
}

// startTicks returns when a process began, in hundredths of a second since the boot (field 22 of proc(5)'s stat).
func startTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, io.ErrUnexpectedEOF
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// rootDevice returns the device of the host's root file system as the kernel numbers it inside.
func rootDevice() (uint32, error) {
	mounts, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		return 0, err
	}
	var dev uint32
	found := false
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[4] != "/" {
			continue
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor); err != nil {
			return 0, fmt.Errorf("/proc/1/mountinfo: device %q: %w", f[2], err)
		}
		dev, found = major<<20|minor, true
	}
	if !found {
		return 0, errors.New("/proc/1/mountinfo names no root")
	}
	return dev, nil
}

// read sums the counters over the processors.
func (o *objects) read() (Counts, error) {
	var n Counts
	for i, to := range []*uint64{&n.Fired, &n.Refused, &n.Spared, &n.Untold, &n.Unable, &n.Failed} {
		var each []uint64
		if err := o.counts.Lookup(uint32(i), &each); err != nil {
			return Counts{}, fmt.Errorf("counters of the guard: %w", err)
		}
		for _, v := range each {
			*to += v
		}
	}
	return n, nil
}
