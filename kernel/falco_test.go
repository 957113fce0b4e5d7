package kernel

import (
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// table reads one of the tables of Falco's rules that ship.
func table(t *testing.T, name string) [][]string {
	t.Helper()
	b, err := os.ReadFile("../policy/falco/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\n"); line != "" && line[0] != '#' {
			rows = append(rows, strings.Split(line, "\t"))
		}
	}
	return rows
}

// TestClassesAreThoseOfFalcoRules holds the classes of events together with those that the compiler of Falco's rules looks for.
func TestClassesAreThoseOfFalcoRules(t *testing.T) {
	seen := 0
	for _, row := range table(t, "calls.tsv") {
		call, ok := record.ParseCall(row[0])
		if row[0] == "procexit" {
			call, ok = record.CallNone, true
		}
		if !ok {
			continue
		}
		seen++
		kind := map[string]record.Kind{"execve": record.KindExec, "execveat": record.KindExec, "procexit": record.KindExit, "connect": record.KindConnect, "accept": record.KindAccept,
			"accept4": record.KindAccept, "bind": record.KindBind, "listen": record.KindListen}[row[0]]
		if kind == 0 {
			kind = record.KindCall
		}
		class, activity, ok := ClassOf(kind, call)
		if !ok {
			t.Errorf("%s becomes no event", row[0])
			continue
		}
		if class.String() != row[1] {
			t.Errorf("%s is %s, and rules look for %s", row[0], class, row[1])
		}
		if row[2] == "-" || row[0] == "exit" || row[0] == "exit_group" {
			continue
		}
		if ids := strings.Split(row[2], ","); !slices.Contains(ids, strconv.Itoa(int(activity))) {
			t.Errorf("%s has the activity %d, and rules look for %s", row[0], activity, row[2])
		}
	}
	if seen < 80 {
		t.Errorf("only %d calls of the sensor are in calls.tsv", seen)
	}
}

// everything is a series of records that together have all that can be known of a process, a file, a connection.
func everything() []record.Record {
	bash := execOf(90, 80, "/usr/bin/bash", "-bash")
	bash.Cgroup, bash.Creds.Group, bash.Creds.Session, bash.Creds.VPID = 77, 90, 90, 90
	sh := execOf(91, 90, "/bin/dash", "sh", "-c", "id")
	sh.Cgroup, sh.Creds.Inheritable, sh.Flags = 77, 1, record.FlagUpper|record.FlagMemory|record.FlagWritable|record.FlagSetuid|record.FlagSetgid
	sh.Name = []byte("/tmp/x")
	sh.Inode.FilesystemID, sh.Inode.Modified = overlayMagic, 5e9
	for i := range sh.Stdio {
		sh.Stdio[i] = record.Descriptor{Type: record.StreamPipe, Inode: 5}
	}
	open := callOf(91, record.CallOpenat, 3, "/etc/x", ^uint64(99), 1, 0o101, 0o755)
	open.Name = []byte("x")
	open.HasInode, open.Inode = true, record.Inode{Mode: 0o100755, Number: 5, Device: 8<<32 | 1, FilesystemID: overlayMagic}
	open.HasCreds, open.Creds = true, sh.Creds
	open.TID = 92
	rename := callOf(91, record.CallRename, 0, "/a", 1, 2)
	rename.Path2, rename.Name = []byte("/b"), []byte("a")
	connect := callOf(91, record.CallConnect, 0, "")
	connect.Kind, connect.HasNet = record.KindConnect, true
	connect.Net = record.Net{Local: netip.MustParseAddrPort("10.0.0.2:40000"), Remote: netip.MustParseAddrPort("93.184.216.34:443"), Protocol: 6, Family: 2, FD: 5}
	unix := connect
	unix.Net, unix.Path = record.Net{Family: 1, FD: 6}, []byte("/run/docker.sock")
	dns := connect
	dns.Kind, dns.Call, dns.Data = record.KindDNS, record.CallNone, query("example.org")
	told, server := dns, connect
	told.Data = answer("example.org", "93.184.216.34")
	server.Kind, server.Call = record.KindAccept, record.CallAccept
	end := record.Record{Kind: record.KindExit, Time: 95 * second, Start: 91*second - 5e6, PID: 91, TID: 91, PPID: 90, Ret: 9, UID: 1000, GID: 1000}
	all := []record.Record{bash, sh, open, rename, dns, told, connect, server, unix, end}
	for i := range all {
		all[i].Cgroup = 77
	}
	return all
}

// TestEveryFieldOfTheKernelIsSet holds what policy/falco/fields.tsv says that the kernel plane carries: an event has it.
func TestEveryFieldOfTheKernelIsSet(t *testing.T) {
	cfg := DefaultConfig()
	cfg.ParkTime = 10 * time.Second
	h := run(t, cfg, nil)
	h.sensor.mu.Lock()
	h.sensor.containers[77] = wholeContainer()
	h.sensor.mu.Unlock()
	h.SetReads(Reads{Attrs: func() map[string]bool {
		all := map[string]bool{"evt.arg.1": true, "evt.rawarg.flags": true, "evt.arg.flags": true, "evt.type.is.connect": true, "container.label.app": true,
			"proc.aexe.1": true, "proc.acmdline.1": true, "proc.apid.1": true}
		for _, name := range attrNames {
			all[name] = true
		}
		return all
	}()})
	h.send(everything()...)
	h.wait(t, len(everything()))
	fields, attrs := map[string]bool{}, map[string]bool{}
	for _, e := range h.ended() {
		for i := range e.NumFields() {
			fields[e.FieldAt(i).Name()] = true
		}
		for _, a := range e.UnmappedAttrs() {
			attrs[a.Name] = true
		}
	}
	for _, f := range []signal.Field{signal.FieldTime, signal.FieldClassUID} {
		fields[f.Name()] = true
	}
	has := func(target, name string) bool {
		target, _, _ = strings.Cut(target, "|")
		target, _, _ = strings.Cut(target, "[1]")
		if target == "=" || strings.HasPrefix(target, "attr:") {
			if target != "=" {
				name = strings.TrimPrefix(target, "attr:")
			}
			for a := range attrs {
				if a == name || strings.HasPrefix(a, name+".") || strings.HasPrefix(a, name+"[") {
					return true
				}
			}
			return false
		}
		return fields[target]
	}
	// What no rule can tell from a value of an event, and what stands under another name.
	computed := map[string]bool{"evt.failed": true, "evt.is_open_read": true, "evt.is_open_write": true, "fd.is_server": true, "container.info": true}
	for _, row := range table(t, "fields.tsv") {
		if row[5] != "kernel" || computed[row[0]] {
			continue
		}
		found := false
		for _, cell := range row[3:5] {
			for target := range strings.SplitSeq(cell, ",") {
				found = found || has(target, row[0])
			}
		}
		if !found {
			t.Errorf("%s: no event has it, and fields.tsv says that the kernel plane carries it: in %s, %s", row[0], row[3], row[4])
		}
	}
}

func wholeContainer() Container {
	return Container{ID: "0123456789abcdef", Name: "shop", Runtime: "containerd", Image: "docker.io/library/shop", Tag: "1.2", Digest: "sha256:feedbeef00112233", Labels: map[string]string{"app": "shop"},
		Pod: "shop-1", PodUID: "u-1", Namespace: "prod", Started: bootTime, Known: true, Privileged: true, Mounts: []Mount{{"/etc", "/host/etc", "ro,bind"}}}
}
