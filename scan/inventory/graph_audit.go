package inventory

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

const (
	// maxAudit bounds the section of a program that names its crates, and what it unpacks to: rustc's own names 200 crates in 30 KB.
	maxAudit       = 4 << 20
	maxAuditOpened = 32 << 20
)

// auditGraph reads which crates a Rust program was made of, as cargo-auditable writes it: JSON, packed with zlib, in the section .dep-v0
// (github.com/rust-secure-code/cargo-auditable, PARSING.md).
func auditGraph(in *input) (*graph, error) {
	section, err := in.auditSection()
	if section == nil || err != nil {
		return nil, err
	}
	packed, err := io.ReadAll(io.LimitReader(section, maxAudit+1))
	if err != nil {
		return nil, err
	}
	if len(packed) > maxAudit {
		return nil, fmt.Errorf("its list of crates is larger than %d bytes", maxAudit)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("its list of crates: %w", err)
	}
	defer z.Close()
	text, err := io.ReadAll(io.LimitReader(z, maxAuditOpened+1))
	if err != nil {
		return nil, fmt.Errorf("its list of crates: %w", err)
	}
	if len(text) > maxAuditOpened {
		return nil, fmt.Errorf("its list of crates unpacks to more than %d bytes", maxAuditOpened)
	}
	var list struct {
		Packages []struct {
			Name, Version, Kind loose
			Root                bool
			Dependencies        []int
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("its list of crates: %w", err)
	}
	g := &graph{direct: true}
	nodes := make([]*node, len(list.Packages))
	for i, p := range list.Packages {
		nodes[i] = &node{name: string(p.Name), version: string(p.Version), root: p.Root}
		if p.Kind != "build" { // what served the build is not in the program
			g.nodes = append(g.nodes, nodes[i])
		}
	}
	for i, p := range list.Packages {
		for _, at := range p.Dependencies {
			if at >= 0 && at < len(nodes) {
				nodes[i].needs = append(nodes[i].needs, key(nodes[at].name, nodes[at].version))
			}
		}
	}
	markDirect(g)
	return g, nil
}

// auditSection returns the section that names crates, nil if the program has none.
func (in *input) auditSection() (io.Reader, error) {
	at := &timed{SectionReader: io.NewSectionReader(in.at, 0, in.size), in: in}
	switch head := binary.BigEndian.Uint32(in.head); {
	case head == 0x7f454c46:
		f, err := elf.NewFile(at)
		if err != nil {
			return nil, in.late() // what calls itself a program and is none names nothing
		}
		if s := f.Section(".dep-v0"); s != nil && s.Type != elf.SHT_NOBITS {
			return s.Open(), nil
		}
	case in.head[0] == 'M' && in.head[1] == 'Z':
		f, err := pe.NewFile(at)
		if err != nil {
			return nil, in.late()
		}
		if s := f.Section(".dep-v0"); s != nil {
			// The file rounds sections up; the size in memory is the right one (PE format, "Section Table").
			return io.LimitReader(s.Open(), int64(min(s.VirtualSize, s.Size))), nil
		}
	case head == 0xcafebabe:
		f, err := macho.NewFatFile(at)
		if err != nil || len(f.Arches) == 0 {
			return nil, in.late()
		}
		if s := f.Arches[0].Section(".dep-v0"); s != nil {
			return s.Open(), nil
		}
	default:
		f, err := macho.NewFile(at)
		if err != nil {
			return nil, in.late()
		}
		if s := f.Section(".dep-v0"); s != nil {
			return s.Open(), nil
		}
	}
	return nil, nil
}
