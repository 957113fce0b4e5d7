// Package streamtest has events for measurements. [Events] is a mixed stream of benign ones: processes, files, registry and sign-ins of Windows, processes and
// audit records of Linux, calls of clouds and clusters, requests of web servers and proxies, with their fields where the parsers of
// the logs room put them.
package streamtest

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/signal"
)

//go:embed records.tsv
var recordsTSV string

// Events returns n events, the same ones for the same n. It panics on a mistake in the package's own table.
func Events(n int) []*signal.Event {
	var kinds [][]string
	for line := range strings.Lines(recordsTSV) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "\t")
		weight, err := strconv.Atoi(cells[0])
		if err != nil || len(cells) < 7 {
			panic("streamtest: " + line)
		}
		for range weight {
			kinds = append(kinds, cells[1:])
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	events := make([]*signal.Event, n)
	for i := range events {
		events[i] = event(kinds[r.IntN(len(kinds))], r)
	}
	return events
}

func event(cells []string, r *rand.Rand) *signal.Event {
	e := new(signal.Event)
	e.Plane, e.Severity, e.Time = signal.PlaneLogs, signal.SeverityInfo, 1767225600e9+int64(r.IntN(1e9))
	part := func(cell string, f signal.Field) string {
		if cell == "-" {
			return ""
		}
		e.SetString(f, cell)
		return cell
	}
	src := logfields.Source{Product: part(cells[0], signal.FieldMetadataLogProduct), Service: part(cells[1], signal.FieldMetadataLogName),
		Category: part(cells[2], signal.FieldMetadataLogCategory)}
	class, err := strconv.Atoi(cells[3])
	activity, err2 := strconv.Atoi(cells[4])
	if err != nil || err2 != nil {
		panic(fmt.Sprintf("streamtest: %q", cells))
	}
	e.Class, e.Activity = signal.Class(class), uint8(activity)
	for _, cell := range cells[5:] {
		name, value, ok := strings.Cut(cell, "=")
		if !ok {
			panic("streamtest: " + cell)
		}
		put(e, src, name, fill(value, r))
	}
	return e
}

// put sets the field that holds the attribute where the value fits it, and the attribute itself otherwise.
func put(e *signal.Event, src logfields.Source, name, value string) {
	field, mapped := logfields.Lookup(src, name)
	f, known := signal.Lookup(field)
	if !mapped || !known || e.Has(f) && f.Kind() != signal.KindStrings {
		e.SetUnmapped(name, value)
		return
	}
	switch f.Kind() {
	case signal.KindString:
		e.SetString(f, value)
		return
	case signal.KindStrings:
		e.SetStrings(f, append(e.Strings(f), value))
		return
	case signal.KindInt:
		if n, err := strconv.ParseInt(value, 0, 64); err == nil {
			e.SetInt(f, n)
			return
		}
	case signal.KindIP:
		if a, err := netip.ParseAddr(value); err == nil {
			e.SetIP(f, a)
			return
		}
	case signal.KindBool:
		if v, err := strconv.ParseBool(value); err == nil {
			e.SetBool(f, v)
			return
		}
	}
	e.SetUnmapped(name, value)
}

// fill chooses what stands in braces.
func fill(text string, r *rand.Rand) string {
	var b strings.Builder
	for text != "" {
		open := strings.IndexByte(text, '{')
		if open < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:open])
		text = text[open+1:]
		shut := strings.IndexByte(text, '}')
		choice := text[:max(shut, 0)]
		switch {
		case choice == "#":
			b.WriteString(strconv.Itoa(r.IntN(90000)))
		case choice == "x":
			fmt.Fprintf(&b, "%08X", r.Uint32())
		case strings.Contains(choice, "|") && !strings.ContainsAny(choice, "{ "):
			all := strings.Split(choice, "|")
			b.WriteString(all[r.IntN(len(all))])
		default:
			b.WriteByte('{') // a brace of the text
			continue
		}
		text = text[shut+1:]
	}
	return b.String()
}
